"""Initialization from factor analysis or random weights, and the choice between them."""

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from estimator_cases import table as incomplete

from skmissvae import (
    Chunks,
    ConvNetwork,
    CustomNetwork,
    DeMissVAEImputer,
    MissSIWAEImputer,
    MVAEImputer,
    ResidualNetwork,
    VAEDensityEstimator,
)
from skmissvae.estimators import imputer_base
from skmissvae.training import fit, selection
from skmissvae.training.optim import DivergenceError
from skmissvae.vae.factor_analysis import factor_analysis

pytestmark = quiet
NO_LINEAR_PATH = ResidualNetwork(linear_path=False)


def two_factors(n=110):
    """Return a table of two linear factors with little noise."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, 8)) + 0.05 * rng.normal(size=(n, 8))


@every_estimator
def test_tables_of_one_row_or_one_column_are_fitted(cls):
    X = incomplete()
    for table in (X[:1], X[:, :1]):
        assert np.isfinite(tiny(cls).fit(table).score(X[:2, : table.shape[1]]))


@every_estimator
def test_initialization_from_factor_analysis_is_the_default_where_it_is_possible(cls, monkeypatch):
    monkeypatch.setattr(imputer_base, "decoder_uncertainty", lambda *args: None)
    X = incomplete(20)
    binary = np.where(np.nanmedian(X, 0) < X, 0.8, 0.3)
    is_possible = cls is not DeMissVAEImputer
    assert (tiny(cls, max_iter=1).fit(X).init_ == "factor_analysis") == is_possible
    for table, options in (
        (X, {"init": "random"}),
        (X, {"network": NO_LINEAR_PATH}),
        (X, {"network": CustomNetwork(decoder=torch.nn.Linear)}),
        (X[:9], {}),
        (binary, {"likelihood": "continuous_bernoulli"}),
    ):
        assert tiny(cls, max_iter=1, **options).fit(table).init_ == "random"
    encoder = CustomNetwork(encoder=torch.nn.Linear)
    assert (tiny(cls, max_iter=1, network=encoder).fit(X).init_ == "factor_analysis") == is_possible
    image = ConvNetwork((2, 2))
    assert (tiny(cls, max_iter=1, network=image).fit(X).init_ == "factor_analysis") == is_possible


@every_estimator
def test_required_factor_analysis_that_is_not_possible_is_refused(cls):
    X = incomplete()
    binary = np.where(np.nanmedian(X, 0) < X, 0.8, 0.3)
    for table, options in (
        (X, {"network": NO_LINEAR_PATH}),
        (X[:9], {}),
        (binary, {"likelihood": "continuous_bernoulli"}),
    ):
        estimator = tiny(cls, init="factor_analysis", **options)
        with pytest.raises(ValueError, match=r"'init' cannot be 'factor_analysis' here"):
            estimator.fit(table)
        assert not hasattr(estimator, "vae_")


@pytest.mark.parametrize("cls", [MissSIWAEImputer, VAEDensityEstimator])
def test_held_out_rows_are_not_used_by_factor_analysis(cls, monkeypatch):
    n_rows = []

    def recorded(x, *args, **options):
        n_rows.append(len(x))
        return factor_analysis(x, *args, **options)

    monkeypatch.setattr(fit, "factor_analysis", recorded)
    tiny(cls, early_stopping=True, init="factor_analysis").fit(incomplete(100))
    assert n_rows == [90]


def test_continuation_requires_the_same_initialization():
    imputer = tiny(MVAEImputer, warm_start=True).fit(incomplete())
    with pytest.raises(ValueError, match="initialization of the fitted model was 'factor_anal"):
        imputer.set_params(init="random").fit(incomplete())
    assert imputer.set_params(init="factor_analysis").fit(incomplete()).init_ == "factor_analysis"


# -- the choice of imputers of small tables -----------------------------------------------------


@pytest.fixture
def few_epochs(monkeypatch):
    """Limit the default number of epochs."""
    monkeypatch.setattr("skmissvae.training.defaults._MAX_EPOCHS", 2)


@pytest.mark.parametrize("init", ["factor_analysis", "random"])
def test_initialization_with_the_lower_error_of_hidden_cells_is_chosen(init, monkeypatch):
    X = two_factors()
    X[np.random.default_rng(2).random(X.shape) < 0.4] = np.nan
    monkeypatch.setattr("skmissvae.training.defaults._MAX_EPOCHS", 40)
    fitted, scored = [], []
    fit_model, hidden_error = selection.fit_model, selection._hidden_error

    def recorded_fit(task, **options):
        fitted.append(task.rows.rows)
        return fit_model(task, **options)

    def recorded_error(model, task, rows, is_coded):
        scored.append(task.rows.rows)
        error = hidden_error(model, task, rows, is_coded)
        # random weights are worse for this table; with minus the error the worse one is chosen
        return error if init == "factor_analysis" else -error

    monkeypatch.setattr(selection, "fit_model", recorded_fit)
    monkeypatch.setattr(selection, "_hidden_error", recorded_error)
    chosen, expected = (
        tiny(MVAEImputer, max_iter=None, n_hidden=32, init=value).fit(X) for value in ("auto", init)
    )
    assert chosen.init_ == expected.init_ == init
    observed = ~np.isnan(X)
    assert len(fitted) == len(scored) == 2
    for rows in [*fitted, *scored]:  # neither training nor imputation uses hidden cells
        assert 0.05 < 1 - rows.observed.sum() / observed.sum() < 0.15
        assert not (rows.observed & ~observed).any()
        assert not rows.x[~rows.observed].any()
    assert chosen.history_["bound"] == expected.history_["bound"]
    np.testing.assert_array_equal(chosen.transform(X), expected.transform(X))


def test_initializations_are_compared_by_shorter_fits(monkeypatch):
    monkeypatch.setattr("skmissvae.training.defaults._MAX_EPOCHS", 50)
    settings, fit = [], selection.fit_model

    def recorded(task, **options):
        settings.append(task.settings)
        return fit(task._replace(settings=task.settings._replace(max_iter=1)), **options)

    monkeypatch.setattr(selection, "fit_model", recorded)
    fitted = {
        init: tiny(MVAEImputer, max_iter=None, learning_rate=None, init=init).fit(two_factors())
        for init in ("auto", "factor_analysis", "random")
    }
    assert len(settings) == 2
    for setting, init in zip(settings, ("factor_analysis", "random"), strict=True):
        whole = fitted[init]
        assert setting.max_iter == np.ceil(0.3 * whole.max_iter_)
        assert setting.learning_rate == pytest.approx(2 * whole.learning_rate_)


def test_initialization_is_chosen_for_imputers_of_small_tables_only(monkeypatch):
    calls = []

    def recorded(task, *args, **options):
        calls.append(len(task.rows.rows.x))
        return task.spec

    monkeypatch.setattr(imputer_base, "choose_initialization", recorded)
    monkeypatch.setattr(imputer_base, "ROWS_WITH_CHOICE", range(30, 40))
    X = incomplete(40)
    tiny(MVAEImputer).fit(X[:39])
    tiny(MVAEImputer, max_iter=None, learning_rate=0.1, early_stopping=True).fit(X[:30])
    assert calls == [39, 30]
    for estimator, table in (
        (tiny(MVAEImputer), X),
        (tiny(MVAEImputer), X[:29]),
        (tiny(MVAEImputer), Chunks(lambda: iter([X[:39]]))),
        (tiny(MVAEImputer, init="random"), X[:39]),
        (tiny(MVAEImputer, init="factor_analysis"), X[:39]),
        (tiny(MVAEImputer, network=NO_LINEAR_PATH), X[:39]),
        (tiny(VAEDensityEstimator), X[:39]),
        (tiny(DeMissVAEImputer), X[:39]),
    ):
        estimator.fit(table)
    tiny(MVAEImputer).partial_fit(X[:39])
    assert calls == [39, 30]


def test_choice_does_not_depend_on_parameters_of_training(few_epochs, monkeypatch):
    errors, hidden_error = [], selection._hidden_error

    def recorded(*args):
        errors.append(hidden_error(*args))
        return errors[-1]

    monkeypatch.setattr(selection, "_hidden_error", recorded)
    X = two_factors()
    for options in (
        {},
        {"max_iter": 1},
        {"batch_size": 13, "learning_rate": 0.1, "warm_start": True},
    ):
        tiny(MVAEImputer, **{"max_iter": None, **options}).fit(X)
    assert len(errors) == 6
    assert errors[:2] == errors[2:4] == errors[4:]


@pytest.mark.parametrize("diverges", ["if possible", "never"])
def test_initialization_that_diverges_is_not_chosen(diverges, few_epochs, monkeypatch):
    fit_model = selection.fit_model

    def diverge(task, **options):
        if task.spec.factor_analysis == diverges:
            raise DivergenceError
        return fit_model(task, **options)

    monkeypatch.setattr(selection, "fit_model", diverge)
    imputer = tiny(MVAEImputer).fit(two_factors())
    assert imputer.init_ == ("random" if diverges == "if possible" else "factor_analysis")
    monkeypatch.setattr(selection, "_hidden_error", lambda *args: np.nan)
    assert imputer.fit(two_factors()).init_ == "factor_analysis"


def test_categories_of_hidden_cells_are_scored_by_their_share_of_errors(few_epochs):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(3, size=120), rng.normal(size=120)])
    imputer = tiny(MVAEImputer, max_iter=None, feature_kinds={0: "categorical"}).fit(X)
    assert imputer.init_ in ("factor_analysis", "random")
