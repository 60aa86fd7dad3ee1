"""Bootstrap models: their samples of the rows, independence of processes, and their use."""

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import every_imputer, quiet, tiny
from estimator_cases import table as incomplete

from skmissvae import MissSIWAEImputer, MissSVAEImputer, MIWAEImputer, MVAEImputer
from skmissvae._utils import matmul
from skmissvae.estimators.preparation import prepare_fit
from skmissvae.training import fit
from skmissvae.training.fit import bootstrap_task, fit_bootstrap_models, fit_model
from skmissvae.training.optim import DivergenceError

pytestmark = quiet


def task_of(imputer, X):
    """Return the task of the fit of an imputer."""
    return prepare_fit(imputer, X, None)


def weights_of(models):
    return [torch.cat([w.flatten() for w in model.vae.state_dict().values()]) for model in models]


def rows_of(task):
    """Return the rows of a task with the mask, as bytes for comparison."""
    return [row.tobytes() for row in np.hstack([task.rows.rows.x, task.rows.rows.observed])]


@pytest.fixture(scope="module")
def fitted():
    """Return an imputer with three bootstrap models, and its table."""
    X = incomplete(60)
    return tiny(MissSIWAEImputer, n_bootstrap=3).fit(X), X


def test_sample_has_as_many_rows_drawn_with_replacement():
    task = task_of(tiny(MVAEImputer, init="random"), incomplete(200))
    samples = [rows_of(bootstrap_task(task, seed)) for seed in range(3)]
    for sample in samples:
        assert len(sample) == 200
        assert set(sample) <= set(rows_of(task))
        assert 0.5 < len(set(sample)) / 200 < 0.75  # 63% are expected
    assert len({tuple(sample) for sample in samples}) == 3
    assert rows_of(bootstrap_task(task, 0)) == samples[0]


def test_held_out_rows_are_not_in_the_sample():
    task = task_of(tiny(MVAEImputer, init="random", early_stopping=True), incomplete(200))
    sample = bootstrap_task(task, 3)
    held_out = sample.rows.held_out.numpy()
    rows = np.array(rows_of(sample))
    assert held_out.sum() == task.rows.held_out.sum() == 20
    assert len(rows) == 200
    assert len(set(rows[held_out])) == 20  # each row once
    assert not set(rows[held_out]) & set(rows[~held_out])


def test_models_are_those_of_fit_model_for_the_samples():
    task = task_of(tiny(MVAEImputer), incomplete())
    models = fit_bootstrap_models(task, [5, 6], None)
    expected = [fit_model(bootstrap_task(task, seed)) for seed in [5, 6]]
    for weights, expected_weights in zip(weights_of(models), weights_of(expected), strict=True):
        assert torch.equal(weights, expected_weights)
    assert fit_bootstrap_models(task, [], None) == []


def test_models_do_not_depend_on_an_interrupt_before(monkeypatch):
    def weights():
        return weights_of(tiny(MVAEImputer, n_bootstrap=1, dropout=0.3).fit(incomplete()).models_)

    expected = list(weights())
    monkeypatch.setattr(matmul._STATE, "separates", True, raising=False)  # as an interrupt may do
    for values, others in zip(weights(), expected, strict=True):
        assert torch.equal(values, others)


@pytest.mark.slow
def test_models_do_not_depend_on_the_number_of_processes():
    X = incomplete()
    results = [tiny(MVAEImputer, n_bootstrap=3, n_jobs=n, dropout=0.3).fit(X) for n in [None, 2]]
    for serial, parallel in zip(*(weights_of(imputer.models_) for imputer in results), strict=True):
        assert torch.equal(serial, parallel)
    np.testing.assert_array_equal(*(imputer.impute(X, 3)[2] for imputer in results))


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [False, True])
@every_imputer
def test_imputers_fit_different_bootstrap_models(cls, early_stopping):
    X = incomplete()
    imputer = tiny(cls, n_bootstrap=2, early_stopping=early_stopping).fit(X)
    assert len(imputer.models_) == 2
    assert len({model.history["bound"][0] for model in [imputer.model_, *imputer.models_]}) == 3
    for model in imputer.models_:
        assert model.init == imputer.init_
        assert len(model.history["bound"]) == model.n_iter == 3
        assert ("validation_bound" in model.history) is early_stopping
        assert np.isfinite(model.validation_score) == early_stopping
    first, second = imputer.impute(X, 2)
    assert np.isfinite(first).all()
    assert (first[np.isnan(X)] != second[np.isnan(X)]).all()


def test_bootstrap_models_do_not_change_the_model_of_all_rows(fitted):
    imputer, X = fitted
    single = tiny(MissSIWAEImputer).fit(X)
    assert single.models_ == []
    np.testing.assert_array_equal(imputer.transform(X), single.transform(X))
    np.testing.assert_array_equal(imputer.score_samples(X), single.score_samples(X))
    assert imputer.history_["bound"] == single.history_["bound"]


def test_imputations_use_the_models_in_turn(fitted):
    imputer, X = fitted
    tables = list(imputer.impute(X, 3))
    for i, model in enumerate(imputer.models_):
        single = imputer.with_model(model)
        np.testing.assert_array_equal(single.impute(X, 3)[i], tables[i])
    with pytest.warns(UserWarning, match="5 imputations are drawn from 3 models in turn"):
        imputer.impute(X, 5)


def test_cell_distributions_are_mixtures_over_the_models(fitted):
    imputer, X = fitted
    mean = imputer.cell_distribution(X)["mean"]
    by_model = [imputer.with_model(m).cell_distribution(X)["mean"] for m in imputer.models_]
    np.testing.assert_allclose(mean, np.mean(by_model, axis=0), rtol=1e-6)


def test_refit_encoder_refits_the_bootstrap_models(fitted):
    imputer, X = fitted
    refitted = imputer.refit_encoder(X)
    assert len(refitted.models_) == 3
    for before, after in zip(imputer.models_, refitted.models_, strict=True):
        assert torch.equal(before.vae.decoder.outlet.weight, after.vae.decoder.outlet.weight)
        assert not torch.equal(before.vae.encoder.outlet.weight, after.vae.encoder.outlet.weight)


def test_bootstrap_models_of_mixed_columns():
    rng = np.random.default_rng(0)
    z = rng.normal(size=40)
    frame = pd.DataFrame(
        {
            "number": z + 0.3 * rng.normal(size=40),
            "zeros": np.where(z > 0, z, 0.0),
            "category": pd.Categorical(rng.choice(list("xyz"), 40)),
            "rank": pd.Categorical(rng.choice(list("1234"), 40), ordered=True),
            "count": pd.array(rng.poisson(np.exp(z)), dtype="Int64"),
            "binary": pd.array(z > 0, dtype="boolean"),
        }
    )
    for j, name in enumerate(frame.columns):
        frame.loc[j::6, name] = None
    imputer = tiny(MissSVAEImputer, n_bootstrap=2, learn_shapes=True).fit(frame)
    first, second = imputer.impute(frame, 2)
    assert not first.isna().any(axis=None)
    assert not first.equals(second)


def test_global_random_state_does_not_change():
    before = torch.get_rng_state()
    tiny(MIWAEImputer, n_bootstrap=2, dropout=0.3).fit(incomplete())
    assert torch.equal(torch.get_rng_state(), before)


def test_divergence_of_a_bootstrap_model_is_an_error_that_names_the_column(monkeypatch):
    def diverge(*args, **options):
        raise DivergenceError

    monkeypatch.setattr(fit, "fit_model", diverge)
    frame = pd.DataFrame(incomplete(), columns=list("abcd"))[["a"]]
    with pytest.raises(ValueError, match="most probable reason is column 'a'"):
        tiny(MVAEImputer, n_bootstrap=2).fit(frame)
