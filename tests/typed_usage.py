"""Uses of the public methods, with the types of their results: checked by mypy and pyright."""

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

import skmissvae as sv
from skmissvae.datasets import load_penguins
from skmissvae.inference import ConditionalModel
from skmissvae.inspection import chain_diagnostics, latent_information, mixture_weights, pareto_k
from skmissvae.tables import EncodedRows, TableSchema
from skmissvae.training.fit import FittedModel
from skmissvae.vae import VAE

Array = NDArray[Any]


def imputers(frame: pd.DataFrame, polars: pl.DataFrame, x: NDArray[np.float64]) -> None:
    imputer = sv.MissSIWAEImputer(n_bootstrap=2, strategy="draw", random_state=0)
    assert_type(imputer.fit(frame), sv.MissSIWAEImputer)
    assert_type(imputer.partial_fit(frame), sv.MissSIWAEImputer)
    assert_type(imputer.refit_encoder(frame), sv.MissSIWAEImputer)
    assert_type(imputer.with_model(imputer.model_), sv.MissSIWAEImputer)
    assert_type(sv.DeMissVAEImputer().fit(x).transform(x), Array)
    assert_type(imputer.transform(frame), pd.DataFrame)
    assert_type(imputer.transform(polars), pl.DataFrame)
    assert_type(imputer.transform([[1.0, None]]), Array)
    assert_type(imputer.fit_transform(frame), pd.DataFrame)
    assert_type(imputer.fit_transform(polars), pl.DataFrame)
    assert_type(imputer.fit_transform(x), Array)
    assert_type(imputer.cell_distribution(frame), pd.DataFrame)
    assert_type(imputer.get_feature_names_out(), np.ndarray)
    assert_type(imputer.calibration_, pd.DataFrame | None)


def imputations(frame: pd.DataFrame, polars: pl.DataFrame, x: NDArray[np.float64]) -> None:
    imputer = sv.MissSIWAEImputer().fit(frame)
    imputed = imputer.impute(frame, 3)
    assert_type(imputed, sv.Imputations[pd.DataFrame])
    assert_type(imputed[0], pd.DataFrame)
    assert_type(imputed[:2], sv.Imputations[pd.DataFrame])
    assert_type(iter(imputed), Iterator[pd.DataFrame])
    assert_type(imputed.to_frame(), pd.DataFrame)
    assert_type(imputer.impute(polars).to_frame(), pl.DataFrame)
    assert_type(imputer.impute(x)[0], Array)
    assert_type(imputer.impute(x).to_frame(), pd.DataFrame)


def fitted_attributes(imputer: sv.MIWAEImputer) -> None:
    assert_type(imputer.model_, FittedModel)
    assert_type(imputer.vae_, VAE)
    assert_type(imputer.schema_, TableSchema)
    assert_type(imputer.max_iter_, int)
    assert_type(imputer.batch_size_, int)
    assert_type(imputer.learning_rate_, float)
    assert_type(imputer.n_latents_, int)
    assert_type(imputer.init_, str)
    assert_type(imputer.history_, dict[str, list[float]])
    assert_type(imputer.n_iter_, int)
    assert_type(imputer.validation_score_, float)
    assert_type(imputer.fit_report_, pd.DataFrame)
    assert_type(imputer.n_features_in_, int)


def densities(frame: pd.DataFrame) -> None:
    density = sv.VAEDensityEstimator(objective="MIWAE").fit(frame)
    assert_type(density, sv.VAEDensityEstimator)
    assert_type(density.score_samples(frame), np.ndarray)
    assert_type(density.score(frame), float)
    assert_type(density.outlier_scores(frame), pd.DataFrame)
    assert_type(density.encode(frame), np.ndarray)
    assert_type(density.effective_sample_size(frame), np.ndarray)
    assert_type(density.encode_rows(frame), EncodedRows)
    assert_type(density.conditional_model(), ConditionalModel)
    rows = density.sample(5)  # in the container of the table of fit
    if isinstance(rows, pd.DataFrame):
        assert_type(rows.mean(), "pd.Series[Any]")
    detector = sv.VAEOutlierDetector(density, contamination=0.05)
    assert_type(detector.fit(frame), sv.VAEOutlierDetector)
    assert_type(detector.predict(frame), NDArray[np.int64])
    assert_type(detector.score_samples(frame), NDArray[np.float64])
    assert_type(detector.decision_function(frame), NDArray[np.float64])


def predictions(member: Any, frame: pd.DataFrame, y: NDArray[np.int64]) -> None:
    classifier = sv.MultipleImputationClassifier(member, n_imputations=3)
    assert_type(classifier.fit(frame, y), sv.MultipleImputationClassifier)
    assert_type(classifier.predict(frame), np.ndarray)
    assert_type(classifier.predict_proba(frame), np.ndarray)
    assert_type(classifier.predict_all(frame), np.ndarray)
    assert_type(classifier.classes_, np.ndarray)
    regressor = sv.MultipleImputationRegressor(member)
    assert_type(regressor.fit(frame, y), sv.MultipleImputationRegressor)
    assert_type(regressor.predict(frame), np.ndarray)
    assert_type(regressor.predict(frame, return_std=True), tuple[np.ndarray, np.ndarray])


def inspection(frame: pd.DataFrame, imputer: sv.MissSIWAEImputer) -> None:
    assert_type(sv.diagnose(imputer, frame), sv.Diagnosis)
    assert_type(sv.compare_imputed(imputer, frame), sv.ImputedComparison)
    assert_type(sv.overimputation_report(imputer, frame), sv.OverimputationReport)
    assert_type(sv.posterior_predictive_check(imputer, frame), pd.DataFrame)
    assert_type(sv.HiddenCellScorer()(imputer, frame), float)
    assert_type(pareto_k(imputer, frame), np.ndarray)
    assert_type(mixture_weights(imputer, frame), np.ndarray)
    assert_type(latent_information(imputer, frame), np.ndarray)
    assert_type(chain_diagnostics(imputer, frame), pd.DataFrame)


def pooling() -> None:
    pooled = sv.pool([2.1, 1.8, 2.4], [0.4, 0.5, 0.3])
    assert_type(pooled, sv.PooledEstimates)
    assert_type(pooled.to_frame(), pd.DataFrame)
    assert_type(pooled.test(), sv.PooledTest)
    assert_type(pooled.qbar, "float | NDArray[np.float64] | pd.Series[float]")
    assert_type(pooled.t_cov, NDArray[np.float64] | pd.DataFrame | None)
    assert_type(sv.pool_models([]), sv.PooledEstimates)
    assert_type(sv.pool_wald([1.0, 2.0], 3), sv.PooledTest)


def tables(frame: pd.DataFrame, polars: pl.DataFrame, x: NDArray[np.float64]) -> None:
    assert_type(load_penguins(), pd.DataFrame)
    assert_type(sv.missing_patterns(frame), pd.DataFrame)
    assert_type(sv.make_missing(frame), pd.DataFrame)
    assert_type(sv.make_missing(polars, "mar", 0.2), pl.DataFrame)
    assert_type(sv.make_missing(x, random_state=0), Array)
    hidden, mask = sv.make_missing(frame, return_mask=True)
    assert_type(hidden, pd.DataFrame)
    assert_type(mask, NDArray[np.bool_])
    hidden_cells, _ = sv.make_missing(x, return_mask=True)
    assert_type(hidden_cells, Array)
