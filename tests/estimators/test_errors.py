"""What users do wrong: they are told what and where, and nothing is broken by it."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import IMPUTERS, assert_same, every_estimator, outputs, quiet, tiny
from estimator_cases import table as holed
from pandas.testing import assert_frame_equal
from sklearn.exceptions import NotFittedError
from torch import nn

from skmissvae import MissSIWAEImputer, MissSVAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.training.spec import ModelSpec
from skmissvae.vae import MixturePrior

pytestmark = quiet


def frame():
    return pd.DataFrame(holed(), columns=["age", "height", "share", "x"])


def with_cell(value, dtype=None):
    X = frame()
    if dtype:
        X = X.astype(dtype)
    X.loc[3, "height"] = value
    return X


def with_column(name, values):
    return frame().assign(**{name: np.resize(values, 40)})


TABLES = {
    "infinity": (with_cell(np.inf), {}, "infinity: column 'height', row 3"),
    "minus infinity": (with_cell(-np.inf), {}, "infinity: column 'height', row 3"),
    "a word": (with_cell("tall", object), {}, "Column 'height' holds 'tall' in row 3, but numb"),
    "two columns of a name": (
        frame().set_axis(list("aabb"[: frame().shape[1]]), axis=1),
        {},
        "'a'",
    ),
    "a kind that is none": (frame(), {"feature_kinds": {"age": "odd"}}, "'age' 'odd'"),
    "a kind for no column": (frame(), {"feature_kinds": {"wage": "count"}}, "column 'wage'"),
    "no integers": (frame(), {"feature_kinds": {"share": "count"}}, "'share' 'count'.*integers"),
    "too many for two": (frame(), {"feature_kinds": {"share": "binary"}}, "'binary', but it has"),
    "no order": (
        with_column("share", ["a", "b", "c"]),
        {"feature_kinds": {"share": "ordinal"}},
        "'share' 'ordinal'.*strings",
    ),
    "words that are no numbers": (
        with_column("share", ["a", "b", "c"]),
        {"feature_kinds": {"share": "continuous"}},
        "'share' 'continuous', which needs numbers, but it holds 'a'",
    ),
    "too short a mask": (frame(), {"categorical_features": [True]}, "mask of 1 columns"),
    "nothing seen": (frame() * np.nan, {}, "no observed cell"),
    "nothing seen, by marker": (np.full((3, 2), -1.0), {"missing_values": -1}, "no observed cell"),
    "no rows": (frame()[:0], {}, "0 sample"),
    "no columns": (frame()[[]], {}, "0 feature|at least one"),
    "one dimension": (np.arange(4.0), {}, "2D array"),
    "three dimensions": (np.zeros((2, 2, 2)), {}, "dim 3"),
    "complex": (np.zeros((3, 2)) * 1j, {}, "Complex data"),
    "three values": (
        with_column("share", [0, 1, 2]),
        {"likelihood": {"share": "bernoulli"}},
        "Column 'share', row 1, holds 1.*0 or 2",
    ),
    "below zero": (
        with_column("share", [-0.5, 0.5]),
        {"likelihood": {"share": "continuous_bernoulli"}},
        "Column 'share' holds -0.5.*between 0 and 1",
    ),
    "above one": (
        with_column("share", [0.5, 1.5]),
        {"likelihood": {"share": "continuous_bernoulli"}},
        "Column 'share' holds 1.5.*between 0 and 1",
    ),
}

PARAMETERS = {
    "n_latents": ([0, -1, 1.5, "two"], "an integer of 1 or more or None"),
    "n_draws": ([0, 2.0], "an integer of 1 or more"),
    "n_hidden": ([0], "an integer of 1 or more"),
    "n_blocks": ([-1], "an integer of 0 or more"),
    "dropout": ([-0.1, 1.0], "a number of 0 or more and below 1"),
    "linear_path": (["yes", 2], "one of True, False"),
    "init": (["pca", True], "'auto', 'factor_analysis', 'random'"),
    "min_scale": ([0, -1.0, np.nan], "a number above 0"),
    "max_iter": ([0, 2.5], "an integer of 1 or more or None"),
    "batch_size": ([0, 1.5], "an integer of 1 or more or None"),
    "learning_rate": ([0.0, -1e-3, np.inf, np.nan, "fast"], "a number above 0 or None"),
    "weight_decay": ([-0.1], "a number of 0 or more"),
    "max_grad_norm": ([0.0], "a number above 0"),
    "validation_fraction": ([0.0, 1.0], "a number above 0 and below 1"),
    "n_iter_no_change": ([0], "an integer of 1 or more"),
    "tol": ([-1e-4], "a number of 0 or more"),
    "n_importance_draws": ([0, 10.5, True], "an integer of 1 or more"),
    "verbose": ([-1], "an integer of 0 or more"),
    "prior": (["cauchy", 3], "'normal', 'student_t', 'mixture' or a callable"),
    "posterior": (["cauchy", 3], "'auto', 'normal', 'student_t' or a callable"),
    "likelihood": (
        ["cauchy", 3, {"age": "cauchy"}],
        "'normal', 'student_t', 'bernoulli', 'continuous_bernoulli', 'cross_entropy', a callable",
    ),
    "gradient": (["exact"], "'auto', 'stl', 'dreg', 'plain'"),
    "schedule": (["linear"], "'cosine', 'constant'"),
    "early_stopping": (["never", None], "'auto', True, False"),
    "device": (["gpu", "cuda:99", 3.5], "must name a device"),
    "missing_values": ([[1]], "a number, a string, np.nan, None or pd.NA"),
    "encoder": (["mlp"], "a callable"),
    "decoder": ([nn.Linear(2, 2)], None),
    "image_shape": ([28, (28,), (0, 28), (1, 1, 28, 28), "88"], r"\(height, width\) or"),
    "keep_empty_features": (["no"], "one of True, False"),
    "warm_start": (["no"], "one of True, False"),
}
ONLY_SOME = {
    "K": ([0, -3, 2.5], "an integer of 1 or more"),
    "estimate": (["modes"], "'auto', 'mean', 'median', 'mode', 'draw'"),
    "add_indicator": (["no"], "one of True, False"),
    "objective": (["VAE"], "'MVAE', 'MissVAE', 'MissSVAE', 'MIWAE', 'MissIWAE', 'MissSIWAE'"),
}


def assert_refused(estimator, X, match):
    """Assert that neither fit nor partial_fit takes X, nor leaves any trace."""
    for fit in [estimator.fit, estimator.partial_fit]:
        before, given = dict(vars(estimator)), copy.deepcopy(X)
        with pytest.raises(ValueError, match=match):
            fit(X)
        after = vars(estimator)
        assert after.keys() == before.keys()
        assert all(after[name] is value for name, value in before.items())
        if hasattr(X, "equals"):
            assert X.equals(given)
        else:
            np.testing.assert_array_equal(X, given)


@pytest.mark.parametrize("case", TABLES)
@every_estimator
def test_tables_that_cannot_be_fitted(cls, case):
    X, options, match = TABLES[case]
    assert_refused(tiny(cls, **options), X, match)


@every_estimator
def test_a_failed_refit_leaves_the_old_fit(cls):
    estimator = tiny(cls).fit(frame())
    said, before = outputs(estimator, frame()), dict(vars(estimator))
    for X, options, match in TABLES.values():
        estimator.set_params(**options)
        with pytest.raises(ValueError, match=match):
            estimator.fit(X)
        estimator.set_params(
            likelihood="normal",
            missing_values=np.nan,
            feature_kinds=None,
            categorical_features="from_dtype",
        )
        assert vars(estimator) == before
    assert_same(outputs(estimator, frame()), said)


@pytest.mark.parametrize("name", [*PARAMETERS, *ONLY_SOME])
@every_estimator
def test_parameters_out_of_range(cls, name):
    if name not in cls().get_params():
        with pytest.raises(ValueError, match="Invalid parameter"):
            cls().set_params(**{name: 1})
        return
    values, want = (PARAMETERS | ONLY_SOME)[name]
    for value in values:
        estimator = tiny(cls, **{name: value})
        if want is not None:
            assert_refused(estimator, frame(), f"(?s)'{name}'.*{want}")


@pytest.mark.parametrize("name", ["n_importance_draws", "estimate", "device"])
def test_parameters_read_at_the_call_are_checked_at_the_call(name):
    imputer = tiny(MVAEImputer).fit(frame())
    imputer.set_params(**{name: "wrong"})
    with pytest.raises(ValueError, match=name):
        imputer.transform(frame())


@every_estimator
def test_a_likelihood_for_a_column_that_is_not_there(cls):
    for column, match in [("weight", "'weight'.*age, height"), (4, "column 4"), (-1, "column -1")]:
        assert_refused(tiny(cls, likelihood={column: "student_t"}), frame(), match)


def test_a_misspelt_likelihood_of_a_column_that_is_not_modelled():
    X = frame().assign(share=1.0)
    assert_refused(tiny(MVAEImputer, likelihood={"share": "bernuolli"}), X, "bernuolli")


@every_estimator
def test_doubly_reparameterised_gradients_where_they_do_not_hold(cls):
    if cls.__name__ in ("MIWAEImputer", "MissIWAEImputer"):
        tiny(cls, gradient="dreg").fit(frame())
    else:
        assert_refused(tiny(cls, gradient="dreg"), frame(), "'plain' or 'stl'")


@every_estimator
def test_nothing_works_before_fit(cls):
    estimator, X = tiny(cls), frame()
    calls = [estimator.score_samples, estimator.score, estimator.encode]
    calls += [estimator.effective_sample_size, lambda _: estimator.sample()]
    if cls in IMPUTERS:
        calls += [
            estimator.transform,
            estimator.impute,
            lambda _: estimator.get_feature_names_out(),
        ]
    for call in calls:
        with pytest.raises(NotFittedError):
            call(X)


@every_estimator
def test_other_columns_than_at_fit(cls):
    X = frame()
    estimator = tiny(cls).fit(X)
    calls = [estimator.score_samples, estimator.encode, estimator.partial_fit]
    calls += [estimator.transform, estimator.impute] if cls in IMPUTERS else []
    for call in calls:
        with pytest.raises(ValueError, match="feature names should match"):
            call(X.rename(columns={"x": "y"}))
        with pytest.raises(ValueError, match="feature names should match"):
            call(X[X.columns[::-1]])
        with pytest.raises(ValueError, match=r"(?s)feature names should match.*missing.*\bx"):
            call(X.drop(columns="x"))
        with pytest.raises(ValueError, match="infinity: column 'height', row 3"):
            call(with_cell(np.inf))


@every_estimator
def test_other_numbers_of_columns_than_at_fit(cls):
    X = holed()
    estimator = tiny(cls).fit(X)
    calls = [estimator.score_samples, estimator.score, estimator.encode, estimator.partial_fit]
    calls += [estimator.transform, estimator.impute] if cls in IMPUTERS else []
    for call in calls:
        for other in [X[:, :3], np.column_stack([X, X])]:
            with pytest.raises(ValueError, match="expecting 4 features"):
                call(other)


def test_values_that_a_columns_likelihood_does_not_allow():
    for options, seen, wrong, match in (
        ({"feature_kinds": {"share": "binary"}}, [0.1, 0.9], 0.5, "holds 0.5.*it had 0.1, 0.9"),
        ({"likelihood": {"share": "continuous_bernoulli"}}, [0.1, 0.9], 1.5, "holds 1.5.*0 and 1"),
        ({"feature_kinds": {"share": "binary"}}, [0, 1], 0.5, "row 0, holds 0.5, which it did not"),
        ({"feature_kinds": {"share": "count"}}, [0, 1, 2], 0.5, "holds 0.5.*only integers"),
        ({"feature_kinds": {"share": "count"}}, [0, 1, 2], -1, "holds -1.*0 or more"),
    ):
        imputer = tiny(MVAEImputer, **options).fit(with_column("share", seen))
        for call in [imputer.transform, imputer.score_samples, imputer.impute, imputer.partial_fit]:
            with pytest.raises(ValueError, match=f"Column 'share'.*{match}"):
                call(with_column("share", [wrong]))


@pytest.mark.parametrize("n", [0, -1, 2.5, "two"])
def test_numbers_of_samples_and_imputations(n):
    imputer = tiny(MVAEImputer).fit(frame())
    with pytest.raises(ValueError, match="n_samples must be an integer of 1 or more"):
        imputer.sample(n)
    with pytest.raises(ValueError, match="n_imputations must be an integer of 1 or more"):
        imputer.impute(frame(), n)


# -- training that goes wrong -----------------------------------------------------------------


class Nowhere(nn.Linear):
    """A decoder that loses its way."""

    def forward(self, z):
        return super().forward(z) * torch.nan


@pytest.mark.parametrize("network", ["encoder", "decoder"])
@every_estimator
def test_training_that_diverges(cls, network):
    X = frame()
    X.loc[3, "height"] = 1e6  # the column to blame
    match = "(?s)diverged.*'height'.*learning_rate"
    assert_refused(tiny(cls, **{network: Nowhere}), X, match)
    assert_refused(tiny(cls, max_iter=10, **{network: Nowhere}), X, match)

    fitted = tiny(cls).fit(frame())
    before = outputs(fitted, frame())
    fitted.set_params(**{network: Nowhere})
    with pytest.raises(ValueError, match=match):
        fitted.fit(X)
    assert_same(outputs(fitted, frame()), before)


class Interrupted(nn.Linear):
    """A decoder during whose third epoch the user presses Ctrl-C."""

    calls = 0

    def forward(self, z):
        if self.training:
            Interrupted.calls += 1
            if Interrupted.calls == 5:  # two batches an epoch
                raise KeyboardInterrupt
        return super().forward(z)


@pytest.mark.parametrize("early_stopping", [False, True])
@every_estimator
def test_an_interrupted_fit_keeps_what_it_has(cls, early_stopping):
    X = frame()
    options = {"batch_size": 20 if not early_stopping else 18, "early_stopping": early_stopping}
    Interrupted.calls = 0
    estimator = tiny(cls, decoder=Interrupted, max_iter=50, **options)
    with pytest.warns(UserWarning, match="interrupted after 2 epochs"):
        estimator.fit(X)
    assert Interrupted.calls == 5
    assert estimator.n_iter_ == 2
    assert {len(values) for values in estimator.history_.values()} == {2}
    for values in outputs(estimator, X).values():
        assert np.isfinite(np.asarray(values)).all()
    assert np.isfinite(np.asarray(estimator.sample(3))).all()


def test_a_fit_interrupted_at_once_is_still_one():
    Interrupted.calls = 4
    imputer = tiny(MissSVAEImputer, decoder=Interrupted)
    with pytest.warns(UserWarning, match="interrupted after 0 epochs"):
        imputer.fit(frame())
    assert imputer.n_iter_ == 1
    assert not imputer.transform(frame()).isna().any(axis=None)


class Broken(nn.Linear):
    """A decoder with an error of the user's own."""

    def forward(self, z):
        raise RuntimeError("my own mistake")


def test_errors_of_the_users_own_networks_pass_and_leave_no_trace():
    density = tiny(VAEDensityEstimator, decoder=Broken)
    before = dict(vars(density))
    with pytest.raises(RuntimeError, match="my own mistake"):
        density.fit(frame())
    assert vars(density) == before


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_networks_of_the_wrong_width_are_named(part):
    X = frame()
    with pytest.raises(ValueError, match=f"Parameter '{part}' must make a network from .* to"):
        tiny(MVAEImputer, **{part: lambda n_in, n_out: nn.Linear(n_in, n_out + 1)}).fit(X)
    for make in (lambda n_in: None, lambda n_in, n_out: nn.Linear(n_in + 1, n_out)):
        with pytest.raises((TypeError, RuntimeError)) as raised:
            tiny(MVAEImputer, **{part: make}).fit(X)
        assert f"Parameter '{part}' " in raised.value.__notes__[0]


class Noisy(nn.Linear):
    """A network that draws from torch's generator whenever it is asked."""

    def forward(self, x):
        torch.randn(3)
        return super().forward(x)


@quiet
def test_looking_at_networks_draws_nothing(monkeypatch):
    X = frame()
    seen = tiny(MVAEImputer, encoder=Noisy).fit(X).transform(X)
    monkeypatch.setattr(ModelSpec, "check_networks", lambda *given: None)
    assert_frame_equal(tiny(MVAEImputer, encoder=Noisy).fit(X).transform(X), seen)


@pytest.mark.filterwarnings("error:Training was interrupted")
def test_a_warning_that_is_an_error_leaves_what_was_trained():
    Interrupted.calls = 0
    estimator = tiny(MVAEImputer, decoder=Interrupted, max_iter=50, batch_size=20)
    with pytest.raises(UserWarning, match="interrupted after 2 epochs"):
        estimator.fit(frame())
    assert estimator.n_iter_ == 2


@pytest.mark.parametrize("part", ["prior", "posterior", "likelihood", "encoder", "decoder"])
def test_callables_that_return_something_else_are_named(part):
    with pytest.raises(TypeError, match=f"Parameter '{part}' is a callable that must return"):
        tiny(MVAEImputer, **{part: lambda *widths: 3}).fit(frame())


def test_what_is_told_is_told_where_nobody_has_set_logging_up():
    code = (
        "import numpy as np; from skmissvae import MVAEImputer; "
        "MVAEImputer(max_iter=2, verbose=1, init='random').fit(np.random.rand(30, 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "MVAEImputer, epoch 2 of 2: bound" in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"n_hidden": 8},
        {"K": 7},
        {"n_latents": 1},
        {"prior": "mixture"},
        {"likelihood": "student_t"},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("go_on", ["fit", "partial_fit"])
def test_weights_do_not_go_on_as_another_model(go_on, change):
    X = holed()
    estimator = tiny(MissSIWAEImputer, warm_start=True).fit(X)
    old = estimator.get_params()
    before = estimator.transform(X)
    (name,) = change
    estimator.set_params(**change)
    with pytest.raises(ValueError, match=f"Parameter '{name}' of MissSIWAEImputer is .*made for"):
        getattr(estimator, go_on)(X)
    np.testing.assert_array_equal(estimator.transform(X), before)
    getattr(estimator.set_params(**{name: old[name]}), go_on)(X)
    estimator.set_params(**change, warm_start=False).fit(X)


def test_a_model_goes_on_in_another_process_as_the_same():
    X = holed()
    estimator = tiny(MissSIWAEImputer, warm_start=True, prior=MixturePrior).fit(X)
    pickle.loads(pickle.dumps(estimator)).fit(X).partial_fit(X)


def test_warnings_name_the_line_of_the_user():
    X = frame().to_numpy()
    imputer = tiny(MissSIWAEImputer).fit(X)
    far = 100 * X
    for call in (imputer.transform, imputer.score_samples, lambda X: list(imputer.impute(X, 1))):
        with pytest.warns(UserWarning, match="effective importance draws") as told:
            call(far)
        assert {warning.filename for warning in told} == {__file__}


@every_estimator
def test_a_masked_array_is_refused_rather_than_read_as_seen(cls):
    X = np.ma.masked_invalid(holed())
    with pytest.raises(TypeError, match=r"X is a masked array.*filled\(np.nan\)"):
        tiny(cls).fit(X)
    estimator = tiny(cls).fit(X.filled(np.nan))
    with pytest.raises(TypeError, match="X is a masked array"):
        estimator.score_samples(X)
