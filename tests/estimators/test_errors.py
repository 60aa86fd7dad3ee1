"""Invalid parameters and tables: an error names the cause, and the estimator does not change."""

import copy

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import (
    IMPUTERS,
    assert_same,
    every_estimator,
    every_imputer,
    outputs,
    quiet,
    tiny,
)
from estimator_cases import table as incomplete
from sklearn.exceptions import NotFittedError
from torch import nn

from skmissvae import MissSIWAEImputer, MVAEImputer

pytestmark = quiet


def frame():
    return pd.DataFrame(incomplete(), columns=["age", "height", "share", "x"])


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
    "a string": (with_cell("tall", object), {}, "Column 'height' holds 'tall' in row 3, but numb"),
    "two columns of one name": (frame().set_axis(list("aabb"), axis=1), {}, "'a'"),
    "an unknown kind": (frame(), {"feature_kinds": {"age": "odd"}}, "'age' 'odd'"),
    "a kind of no column": (frame(), {"feature_kinds": {"wage": "count"}}, "column 'wage'"),
    "no integers": (frame(), {"feature_kinds": {"share": "count"}}, "'share' 'count'.*integers"),
    "not binary": (frame(), {"feature_kinds": {"share": "binary"}}, "'binary', but it has"),
    "no order": (
        with_column("share", ["a", "b", "c"]),
        {"feature_kinds": {"share": "ordinal"}},
        "'share' 'ordinal'.*strings",
    ),
    "strings as numbers": (
        with_column("share", ["a", "b", "c"]),
        {"feature_kinds": {"share": "continuous"}},
        "'share' 'continuous', which needs numbers, but it holds 'a'",
    ),
    "no observed cell": (frame() * np.nan, {}, "no observed cell"),
    "markers only": (np.full((3, 2), -1.0), {"missing_values": -1}, "no observed cell"),
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
    "init": (["pca", True], "'auto', 'factor_analysis', 'random'"),
    "min_scale": ([0, -1.0, np.nan], "a number above 0"),
    "max_iter": ([0, 2.5], "an integer of 1 or more or None"),
    "batch_size": ([0, 1.5], "an integer of 1 or more or None"),
    "learning_rate": ([0.0, -1e-3, np.inf, np.nan, "fast"], "a number above 0 or None"),
    "optimizer": (["adam", {"schedule": "cosine"}, 3], "an AdamW or None"),
    "early_stopping": (["never", None, 0.1], "'auto', True, False or an EarlyStopping"),
    "network": (["mlp", nn.Linear(2, 2), (28, 28)], "None, a ResidualNetwork, a ConvNetwork or"),
    "n_importance_draws": ([0, 10.5, True], "an integer of 1 or more"),
    "sampler": (["gibbs", None], "'importance', 'pseudo_gibbs', 'metropolis', 'lair' or a Sampler"),
    "verbose": ([-1], "an integer of 0 or more"),
    "prior": (["cauchy", 3], "'normal', 'student_t', 'mixture' or a callable"),
    "posterior": (["cauchy", 3], "'auto', 'normal', 'student_t' or a callable"),
    "missingness": (["missing", 3, {0: "up"}], "'ignorable', 'self_masking', 'linear', or"),
    "likelihood": (
        ["cauchy", 3, {"age": "cauchy"}],
        "'normal', 'student_t', 'bernoulli', 'continuous_bernoulli', 'cross_entropy', a callable",
    ),
    "gradient": (["exact"], "'auto', 'stl', 'dreg', 'plain'"),
    "device": (["gpu", "cuda:99", 3.5], "must name a device"),
    "missing_values": (
        [1j, [[1]], {0: 1j}, {0: {1: 2}}],
        "a number, a string, np.nan, None or pd.NA, a list of them, or a mapping",
    ),
    "feature_kinds": (["count", ["age"]], "a mapping from columns or None"),
    "handle_unknown": (["ignore"], "'error', 'missing'"),
    "keep_empty_features": (["no"], "one of True, False"),
    "warm_start": (["no"], "one of True, False"),
    "random_state": (["seed"], "an int of 0 or more"),
}
#: Parameters of some of the estimators.
SOME_PARAMETERS = {
    "K": ([0, -3, 2.5], "an integer of 1 or more"),
    "strategy": (["modes"], "'auto', 'mean', 'median', 'mode', 'draw'"),
    "add_indicator": (["no"], "one of True, False"),
    "min_value": (
        ["low", np.nan, "", [0, None], [np.nan], {0}, ["0"], [[0.0]]],
        "a number or one for each column or a mapping from columns or None",
    ),
    "derived": ([["bmi"], "bmi", len], "a mapping from columns or None"),
    "constraints": (["low <= high", len, [len]], "a list of expressions, a mapping from names"),
    "n_bootstrap": ([-1, 1.5], "(an integer of 0 or more|must be 0 for partial_fit)"),
    "n_jobs": ([0, 1.5], "an integer other than 0 or None"),
    "calibrate": (["yes"], "(one of True, False|must be False for partial_fit)"),
    "objective": (["VAE"], "'MVAE', 'MissVAE', 'MissSVAE', 'MIWAE', 'MissIWAE', 'MissSIWAE'"),
}


def assert_refused(estimator, X, match):
    """Assert that fit and partial_fit raise and change neither the estimator nor the table."""
    for fit in [estimator.fit, estimator.partial_fit]:
        attributes, table = dict(vars(estimator)), copy.deepcopy(X)
        with pytest.raises(ValueError, match=match):
            fit(X)
        after = vars(estimator)
        assert after.keys() == attributes.keys()
        assert all(after[name] is value for name, value in attributes.items())
        if hasattr(X, "equals"):
            assert X.equals(table)
        else:
            np.testing.assert_array_equal(X, table)


@pytest.mark.parametrize("case", TABLES)
@every_estimator
def test_invalid_tables_are_refused(cls, case):
    X, options, match = TABLES[case]
    assert_refused(tiny(cls, **options), X, match)


@pytest.mark.parametrize("to_container", [pd.DataFrame, pl.from_pandas])
@every_imputer
def test_columns_named_like_indicators_are_refused(cls, to_container):
    X = to_container(frame().rename(columns={"height": "missingindicator_age"}))
    assert_refused(tiny(cls, add_indicator=True), X, "column named 'missingindicator_age'.*rename")


@every_estimator
def test_failed_fit_keeps_the_previous_fit(cls):
    estimator = tiny(cls).fit(frame())
    results, before = outputs(estimator, frame()), dict(vars(estimator))
    for X, options, match in TABLES.values():
        estimator.set_params(**options)
        with pytest.raises(ValueError, match=match):
            estimator.fit(X)
        estimator.set_params(likelihood="normal", missing_values=np.nan, feature_kinds=None)
        assert vars(estimator) == before
    assert_same(outputs(estimator, frame()), results)


@pytest.mark.parametrize("name", [*PARAMETERS, *SOME_PARAMETERS])
@every_estimator
def test_invalid_parameters_are_refused(cls, name):
    if name not in cls().get_params():
        with pytest.raises(ValueError, match="Invalid parameter"):
            cls().set_params(**{name: 1})
        return
    values, requirement = (PARAMETERS | SOME_PARAMETERS)[name]
    if name == "sampler" and "auto" in str(cls().sampler):
        requirement = requirement.replace("'importance', 'pseudo", "'auto', 'importance', 'pseudo")
    for value in values:
        assert_refused(tiny(cls, **{name: value}), frame(), f"(?s)'{name}'.*{requirement}")


@pytest.mark.parametrize("name", ["n_importance_draws", "strategy", "device", "sampler"])
def test_parameters_of_transform_are_checked_by_transform(name):
    imputer = tiny(MVAEImputer).fit(frame())
    imputer.set_params(**{name: "wrong"})
    with pytest.raises(ValueError, match=name):
        imputer.transform(frame())


@every_estimator
def test_likelihood_of_a_missing_column_is_refused(cls):
    cases = [("weight", "'weight'.*'age', 'height'"), (4, "column 4"), (-1, "column -1")]
    for column, match in cases:
        assert_refused(tiny(cls, likelihood={column: "student_t"}), frame(), match)


def test_unknown_likelihood_of_a_constant_column_is_refused():
    X = frame().assign(share=1.0)
    assert_refused(tiny(MVAEImputer, likelihood={"share": "bernuolli"}), X, "bernuolli")


@every_estimator
def test_doubly_reparameterized_gradients_are_refused_where_they_do_not_hold(cls):
    if cls.__name__ in ("MIWAEImputer", "MissIWAEImputer"):
        tiny(cls, gradient="dreg").fit(frame())
    else:
        assert_refused(tiny(cls, gradient="dreg"), frame(), "'plain' or 'stl'")


@every_estimator
def test_methods_require_a_fit(cls):
    estimator, X = tiny(cls), frame()
    calls = [estimator.score_samples, estimator.score, estimator.encode, estimator.outlier_scores]
    calls += [estimator.effective_sample_size, lambda _: estimator.sample()]
    calls += [estimator.draw_latents, estimator.reconstruct, estimator.component_probabilities]
    calls += [lambda _: estimator.decode([[0.0]])]
    if cls in IMPUTERS:
        calls += [estimator.transform, estimator.impute, estimator.cell_distribution]
        calls += [lambda _: estimator.get_feature_names_out()]
    for call in calls:
        with pytest.raises(NotFittedError):
            call(X)


@every_estimator
def test_other_columns_than_in_fit_are_refused(cls):
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
def test_other_numbers_of_columns_than_in_fit_are_refused(cls):
    X = incomplete()
    estimator = tiny(cls).fit(X)
    calls = [estimator.score_samples, estimator.score, estimator.encode, estimator.partial_fit]
    calls += [estimator.transform, estimator.impute] if cls in IMPUTERS else []
    for call in calls:
        for table in [X[:, :3], np.column_stack([X, X])]:
            with pytest.raises(ValueError, match="expecting 4 features"):
                call(table)


@pytest.mark.parametrize(
    ("options", "values", "value", "match"),
    [
        ({"feature_kinds": {"share": "binary"}}, [0.1, 0.9], 0.5, "holds 0.5.*it had 0.1, 0.9"),
        ({"likelihood": {"share": "continuous_bernoulli"}}, [0.1, 0.9], 1.5, "holds 1.5.*0 and 1"),
        ({"feature_kinds": {"share": "binary"}}, [0, 1], 0.5, "row 0, holds 0.5, which it did not"),
        ({"feature_kinds": {"share": "count"}}, [0, 1, 2], 0.5, "holds 0.5.*only integers"),
        ({"feature_kinds": {"share": "count"}}, [0, 1, 2], -1, "holds -1.*0 or more"),
    ],
    ids=["binary", "continuous Bernoulli", "two integers", "count", "negative count"],
)
def test_values_that_a_likelihood_does_not_allow_are_refused(options, values, value, match):
    imputer = tiny(MVAEImputer, **options).fit(with_column("share", values))
    for call in [imputer.transform, imputer.score_samples, imputer.impute, imputer.partial_fit]:
        with pytest.raises(ValueError, match=f"Column 'share'.*{match}"):
            call(with_column("share", [value]))


@pytest.mark.parametrize("n", [0, -1, 2.5, "two"])
def test_numbers_of_samples_and_imputations_are_positive_integers(n):
    imputer = tiny(MVAEImputer).fit(frame())
    with pytest.raises(ValueError, match="n_samples must be an integer of 1 or more"):
        imputer.sample(n)
    with pytest.raises(ValueError, match="n_imputations must be an integer of 1 or more"):
        imputer.impute(frame(), n)


@every_estimator
def test_masked_arrays_are_refused(cls):
    X = np.ma.masked_invalid(incomplete())
    with pytest.raises(TypeError, match=r"X is a masked array.*filled\(np.nan\)"):
        tiny(cls).fit(X)
    estimator = tiny(cls).fit(X.filled(np.nan))
    with pytest.raises(TypeError, match="X is a masked array"):
        estimator.score_samples(X)


def test_warnings_show_the_line_of_the_user():
    X = frame().to_numpy()
    imputer = tiny(MissSIWAEImputer).fit(X)
    outliers = 100 * X
    for call in (imputer.transform, imputer.score_samples, lambda X: list(imputer.impute(X, 1))):
        with pytest.warns(UserWarning, match="have an effective sample size below") as warnings:
            call(outliers)
        assert {warning.filename for warning in warnings} == {__file__}
