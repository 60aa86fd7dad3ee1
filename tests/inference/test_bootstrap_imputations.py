"""Imputations and distributions of cells by models of bootstrap samples."""

import copy
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from estimator_cases import (
    MissSIWAEImputer,
    MVAEImputer,
    assert_same,
    every_imputer,
    outputs,
    quiet,
    table,
    tiny,
)

from skmissvae import EarlyStopping
from skmissvae.estimators import base
from skmissvae.inspection import latent_information, pareto_k
from skmissvae.training import fit

pytestmark = [quiet, pytest.mark.filterwarnings("ignore:.*imputations are drawn:UserWarning")]


@every_imputer
def test_imputations_come_from_the_bootstrap_models_in_turn(cls):
    X = table()
    imputer, without = tiny(cls, n_bootstrap=2).fit(X), tiny(cls).fit(X)
    assert len(imputer.models_) == 2
    assert without.models_ == []
    np.testing.assert_array_equal(imputer.transform(X), without.transform(X))
    np.testing.assert_array_equal(imputer.score_samples(X), without.score_samples(X))
    tables = imputer.impute(X, 3, random_state=5)
    single_models = [imputer.with_model(model) for model in imputer.models_]
    for i, model in ((0, 0), (1, 1), (2, 0)):
        expected = single_models[model].impute(X, 3, random_state=5)[i]
        np.testing.assert_array_equal(tables[i], expected)
    assert not np.array_equal(*(single.transform(X) for single in single_models))


def test_bootstrap_models_survive_pickling():
    X = pd.DataFrame(table(), columns=list("abcd"))
    imputer = tiny(MissSIWAEImputer, n_bootstrap=2).fit(X)
    unpickled = pickle.loads(pickle.dumps(imputer))
    for actual, expected in zip(unpickled.impute(X, 2), imputer.impute(X, 2), strict=True):
        pd.testing.assert_frame_equal(actual, expected)


def test_cell_distributions_are_mixtures_over_the_models():
    X = table()
    imputer = tiny(MVAEImputer, n_bootstrap=3).fit(X)
    cells = imputer.cell_distribution(X)
    parts = [imputer.with_model(model).cell_distribution(X) for model in imputer.models_]
    mean = np.mean([part["mean"] for part in parts], 0)
    second_moment = np.mean([part["std"] ** 2 + part["mean"] ** 2 for part in parts], 0)
    np.testing.assert_allclose(cells["mean"], mean, rtol=1e-6)
    # standard deviations are those of values, means those of the distributions of the values
    np.testing.assert_allclose(cells["std"] ** 2, second_moment - mean**2, rtol=0.02)


def test_bootstrap_samples_do_not_contain_held_out_rows(monkeypatch):
    X, tasks = table(50), []
    fit_model = fit.fit_model
    monkeypatch.setattr(fit, "fit_model", lambda task: tasks.append(task) or fit_model(task))
    stopping = EarlyStopping(validation_fraction=0.2)
    tiny(MVAEImputer, n_bootstrap=2, early_stopping=stopping).fit(X)
    assert len(tasks) == 2
    for task in tasks:
        x, held_out = task.rows.rows.x, task.rows.held_out.numpy()
        in_training, validation = ({row.tobytes() for row in x[m]} for m in (~held_out, held_out))
        assert len(validation) == 10
        assert not in_training & validation
        assert len(in_training) < 40  # some rows occur twice, others not at all


@pytest.mark.parametrize(("name", "value"), [("n_bootstrap", 2), ("calibrate", True)])
def test_partial_fit_refuses_options_that_require_all_rows(name, value):
    with pytest.raises(ValueError, match=f"'{name}' of MVAEImputer must be"):
        tiny(MVAEImputer, **{name: value}).partial_fit(table())


def test_partial_fit_drops_the_bootstrap_models_and_the_calibration():
    X = table()
    imputer = tiny(MVAEImputer, n_bootstrap=2, calibrate=True).fit(X)
    imputer.set_params(n_bootstrap=0, calibrate=False).partial_fit(X)
    assert imputer.models_ == []
    assert imputer.calibration_ is None
    draws = copy.deepcopy(imputer).set_params(strategy="draw").transform(X)
    assert not np.isnan(draws).any()


def test_bootstrap_models_use_the_current_options_of_inference():
    X = table()
    options = {"n_bootstrap": 2, "n_importance_draws": 300}
    imputer = tiny(MVAEImputer, **options | {"n_importance_draws": 12}).fit(X)
    cells = imputer.set_params(n_importance_draws=300).cell_distribution(X)
    expected = tiny(MVAEImputer, **options).fit(X).cell_distribution(X)
    pd.testing.assert_frame_equal(cells, expected)


def test_bounds_apply_to_imputations_only():
    X = table()
    imputer = tiny(MVAEImputer).fit(X)

    def statistics():
        rows = {"information": latent_information(imputer, X), "pareto_k": pareto_k(imputer, X)}
        return outputs(imputer, X) | rows

    unbounded = statistics()
    imputer.set_params(min_value={0: 0.0}, max_value={1: 90.0})
    bounded = statistics()
    assert not np.array_equal(bounded.pop("transform"), unbounded.pop("transform"))
    assert_same(bounded, unbounded)


@pytest.mark.parametrize(
    "bounds",
    [
        {"min_value": {"x9": 0.0}},
        {"min_value": {0: "a"}},
        {"min_value": 100.0, "max_value": 0.0},
        {"max_value": math.nan},
    ],
)
def test_invalid_bounds_raise_an_error_before_training(bounds, monkeypatch):
    monkeypatch.setattr(base, "fit_model", None)
    with pytest.raises(ValueError, match=r"'(min|max)_value'"):
        tiny(MVAEImputer, **bounds).fit(table())


def test_more_imputations_than_models_lead_to_a_warning():
    imputer = tiny(MVAEImputer, n_bootstrap=2).fit(table())
    with pytest.warns(UserWarning, match="3 imputations are drawn from 2 models"):
        imputer.impute(table(), 3)


def test_warm_start_refits_bootstrap_models_for_all_epochs():
    imputer = tiny(MVAEImputer, n_bootstrap=2, warm_start=True)
    for _ in range(3):
        imputer.fit(table())
    assert imputer.n_iter_ == 9
    assert [model.n_iter for model in imputer.models_] == [9, 9]


def test_a_low_effective_sample_size_of_bootstrap_models_leads_to_a_warning():
    X = table()
    imputer = tiny(MVAEImputer, n_bootstrap=3).fit(X).set_params(n_importance_draws=100)
    for model in imputer.models_:
        for weight in model.vae.encoder.parameters():
            weight.data.mul_(20.0)
    with pytest.warns(UserWarning, match="effective sample size below 10 of 100 importance draws"):
        imputer.cell_distribution(X)


def test_refit_encoder_refits_the_encoders_of_bootstrap_models():
    X = table()
    imputer = tiny(MVAEImputer, n_bootstrap=2).fit(X)
    refitted = imputer.refit_encoder(X)
    for before, after in zip(imputer.models_, refitted.models_, strict=True):
        ess = [imputer.with_model(m).effective_sample_size(X) for m in (before, after)]
        assert not np.array_equal(*ess)


def test_an_interrupt_between_bootstrap_models_leaves_the_estimator_unchanged(monkeypatch):
    imputer, tasks = tiny(MVAEImputer, n_bootstrap=2), []
    fit_model = fit.fit_model

    def interrupt(task):
        tasks.append(task)
        if len(tasks) == 2:
            raise KeyboardInterrupt
        return fit_model(task)

    monkeypatch.setattr(fit, "fit_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        imputer.fit(table())
    assert not hasattr(imputer, "model_")
