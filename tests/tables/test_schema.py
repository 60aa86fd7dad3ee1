"""The schema: empty, constant and copied columns, units, point masses, likelihoods of columns."""

import functools

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
from table_cases import REAL, mixed, with_missing

from skmissvae import MissSVAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.tables.column_statistics import fit_sinh_arcsinh

pytestmark = quiet


@functools.cache
def fitted(cls):
    """Return an estimator that is fitted to the incomplete table; tests do not change it."""
    return tiny(cls).fit(incomplete())


@pytest.mark.slow
@every_estimator
def test_empty_rows_get_means_and_score_zero(cls):
    X = incomplete(99)
    estimator = tiny(cls, max_iter=15, learning_rate=0.01, n_importance_draws=500).fit(X)
    empty = np.full((3, 4), np.nan)
    np.testing.assert_array_equal(estimator.score_samples(empty), 0.0)
    if cls in IMPUTERS:
        out = estimator.transform(empty)
        assert (out == out[0]).all()
        error = (out[0] - np.nanmean(X, 0)) / np.nanstd(X, 0)
        assert (abs(error) < 0.35).all()


@every_imputer
def test_new_patterns_of_missing_cells(cls):
    X = incomplete(share=0.0)
    imputer = tiny(cls).fit(X)
    masks = np.array(np.meshgrid(*[[False, True]] * 4)).reshape(4, -1).T
    new = np.where(masks, np.nan, X[: len(masks)])
    out = imputer.transform(new)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[~masks], new[~masks])


@every_imputer
def test_columns_missing_only_at_transform(cls):
    X = incomplete()
    for j in range(4):
        new = X.copy()
        new[:, j] = np.nan
        out = fitted(cls).transform(new)
        assert np.isfinite(out).all()
        assert abs(out[:, j].mean() - np.nanmean(X[:, j])) < 2 * np.nanstd(X[:, j])


@every_imputer
def test_empty_columns_are_dropped_or_zero(cls):
    X = incomplete()
    X[:, 1] = np.nan
    imputer = tiny(cls).fit(X)
    assert list(imputer.get_feature_names_out()) == ["x0", "x2", "x3"]
    assert imputer.transform(X).shape == (40, 3)
    assert np.isnan(imputer.sample(2)).tolist() == [[False, True, False, False]] * 2
    assert imputer.impute(X, 1)[0].shape == (40, 3)

    imputer = tiny(cls, keep_empty_features=True).fit(X)
    assert list(imputer.get_feature_names_out("abcd")) == list("abcd")
    np.testing.assert_array_equal(imputer.transform(X)[:, 1], 0.0)
    X[3, 1] = 5.0  # observed after fit
    out = imputer.transform(X)
    assert out[3, 1] == 5.0
    assert (np.delete(out[:, 1], 3) == 0.0).all()


def test_empty_columns_of_frames_are_dropped():
    frame = pd.DataFrame(incomplete(), columns=list("abcd")).assign(b=np.nan)
    imputer = tiny(MVAEImputer).set_output(transform="pandas")
    assert list(imputer.fit_transform(frame)) == list("acd")
    assert list(imputer.impute(frame, 1)[0]) == list("acd")


@every_estimator
def test_constant_columns_are_not_modelled(cls):
    X, bare = incomplete(), fitted(cls)
    with_constant = np.column_stack([X, np.where(np.arange(40) % 3, 3.7, np.nan)])
    estimator = tiny(cls).fit(with_constant)
    np.testing.assert_array_equal(estimator.score_samples(with_constant), bare.score_samples(X))
    assert (estimator.sample(3)[:, 4] == 3.7).all()
    if cls in IMPUTERS:
        out = estimator.transform(with_constant)
        np.testing.assert_array_equal(out[:, :4], bare.transform(X))
        assert (out[:, 4] == 3.7).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_columns_that_differ_by_rounding_are_constant(dtype):
    X = incomplete(dtype=dtype)
    value = dtype(0.3)
    X[:, 1] = np.where(np.arange(len(X)) % 2, value, np.nextafter(value, dtype(1)))
    imputer = tiny(MVAEImputer).fit(X)
    assert imputer.fit_report_["role"].tolist() == [
        "modelled",
        "constant",
        "modelled",
        "modelled",
    ]
    np.testing.assert_array_equal(imputer.transform(X)[:, 1], X[:, 1])
    X[:, 1] = dtype(1e8) + np.spacing(dtype(1e8)) * (np.arange(len(X)) % 6).astype(dtype)
    assert tiny(MVAEImputer).fit(X).fit_report_["role"].iloc[1] == "modelled"


@every_imputer
def test_a_column_with_one_observed_cell(cls):
    X = incomplete()
    X[1:, 2], X[0, 2] = np.nan, 1.25
    np.testing.assert_array_equal(tiny(cls).fit_transform(X)[:, 2], 1.25)


def test_tables_of_constants():
    X = [[1.0, 2.0], [np.nan, 2.0], [1.0, np.nan]]
    imputer = tiny(MVAEImputer)
    np.testing.assert_array_equal(imputer.fit_transform(X), [[1, 2], [1, 2], [1, 2]])
    np.testing.assert_array_equal(imputer.score_samples(X), 0.0)


@every_estimator
def test_duplicate_columns(cls):
    X = incomplete()
    X = np.column_stack([X, X[:, 0]])
    estimator = tiny(cls).fit(X)
    for values in outputs(estimator, X).values():
        assert np.isfinite(values).all()


def test_copies_share_observed_cells():
    frame = mixed()
    frame["copy"] = REAL
    out = tiny(MVAEImputer).fit(frame).transform(frame)
    np.testing.assert_array_equal(out["real"], REAL)
    frame.loc[0, "copy"] = None
    out = tiny(MVAEImputer).fit(frame).transform(frame)
    assert out["copy"][0] == frame["real"][0]


def test_encoding_does_not_change_the_table():
    X = incomplete()
    X = np.column_stack([X, X[:, 0]])
    schema = tiny(MVAEImputer, max_iter=1).fit(X).schema_
    assert schema.copies == {4: 0}
    X[0, [0, 4]] = np.nan, 1.0
    observed = ~np.isnan(X)
    table, mask = X.copy(), observed.copy()
    assert schema.encode(table, mask).observed[0, 0]
    np.testing.assert_array_equal(table, X)
    np.testing.assert_array_equal(mask, observed)


def test_columns_equal_by_chance_are_no_copies():
    rng = np.random.default_rng(0)
    for seed in range(15):
        frame = pd.DataFrame(rng.random((12, 6)) < 0.3).astype("boolean")
        incomplete = frame.mask(rng.random(frame.shape) < 0.3)
        report = tiny(MVAEImputer, max_iter=1, random_state=seed).fit(incomplete).fit_report_
        assert "copy" not in set(report["role"])


@every_estimator
def test_one_row_and_one_column(cls):
    X = incomplete()
    estimator = tiny(cls).fit(X[:, :1])
    for values in outputs(estimator, X[:, :1]).values():
        assert len(values) == 40
        assert np.isfinite(values).all()
    estimator = tiny(cls).fit(X[:1])
    for values in outputs(estimator, X[:2]).values():
        assert np.isfinite(values).all()


@pytest.mark.slow
@pytest.mark.parametrize("units", [(1e9, 1.0, 1e-9, 1.0), (1.0, 1e200, 1.0, 1e-200)])
@every_estimator
def test_results_are_equivariant_to_units(cls, units):
    X = incomplete()
    plain, scaled = fitted(cls), tiny(cls).fit(X * units)
    shift = ~np.isnan(X) @ np.log(units)
    np.testing.assert_allclose(
        scaled.score_samples(X * units), plain.score_samples(X) - shift, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(scaled.encode(X * units), plain.encode(X), rtol=1e-3, atol=1e-3)
    if cls in IMPUTERS:
        np.testing.assert_allclose(
            scaled.transform(X * units) / units / np.nanstd(X, 0),
            plain.transform(X) / np.nanstd(X, 0),
            rtol=1e-3,
            atol=1e-3,
        )


def test_columns_far_from_zero_keep_their_variation():
    X = incomplete()
    plain = tiny(MVAEImputer).fit(X)
    far = tiny(MVAEImputer).fit(X + np.array([1e9, 0, 0, 0]))
    np.testing.assert_allclose(
        far.transform(X + np.array([1e9, 0, 0, 0])) - [1e9, 0, 0, 0], plain.transform(X), atol=1e-2
    )


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
@every_estimator
def test_heavy_tails_stay_finite(cls, likelihood):
    X = incomplete()
    X = np.where(np.isnan(X), np.nan, np.random.default_rng(3).standard_cauchy(X.shape) ** 3)
    estimator = tiny(cls, likelihood=likelihood).fit(X)
    for name, values in outputs(estimator, X).items():
        assert np.isfinite(values).all(), name


def test_float32_tables_do_not_overflow():
    X = incomplete(dtype=np.float32)
    X[:, 0] *= np.float32(1e38)
    out = tiny(MVAEImputer, strategy="draw").fit(X).transform(X)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()


@every_imputer
def test_outliers_after_fit_stay_finite(cls):
    X, imputer = incomplete(), fitted(cls)
    X[0, :2] = [1e30, np.nan]
    X[1, :2] = [np.nan, -1e300]
    assert np.isfinite(imputer.transform(X)).all()
    assert np.isfinite(imputer.score_samples(X)).all()


@pytest.mark.slow
def test_marginal_transforms_are_robust_to_an_outlier():
    """Marginal transforms are fitted in units of the middle half of a column."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 1))
    X = z + 0.3 * rng.normal(size=(300, 2))
    density = VAEDensityEstimator(
        max_iter=30,
        learning_rate=0.01,
        n_hidden=32,
        n_blocks=1,
        n_importance_draws=100,
        device="cpu",
        random_state=0,
    )
    clean = density.fit(X).score_samples(X[1:]).mean()
    for size in (1e4, 1e9):
        X[0, 0] = size
        with_outlier = density.fit(X).score_samples(X[1:]).mean()
        assert with_outlier == pytest.approx(clean, abs=0.25)


def test_frequent_values_alone_do_not_change_units():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(300) < 0.15, 1013 + 5 * rng.normal(size=300), 0.0)
    imputer = tiny(MVAEImputer, learn_shapes=True, init="random").fit(
        np.column_stack([x, rng.normal(size=300)])
    )
    assert imputer.schema_.location[0] == pytest.approx(x.mean())
    assert imputer.schema_.scale[0] == pytest.approx(x.std())


def test_point_masses_beside_an_outlier():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(300) < 0.3, 0.0, np.exp(9 + rng.normal(size=300)))
    x[7] = 1e13
    imputer = tiny(MVAEImputer, learn_shapes=True, init="random").fit(
        np.column_stack([x, rng.normal(size=300)])
    )
    schema = imputer.schema_
    rows = imputer.encode_rows(np.column_stack([x, x]))
    assert schema._at_point_mass(0, rows.x[:, 0]).sum() == (x == 0).sum()


@pytest.mark.slow
def test_point_masses_are_imputed_exactly():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(200) < 0.4, 0.0, rng.gamma(2.0, 3.7, 200))
    full = np.where(rng.random(200) < 0.4, 99.7, 99.7 - rng.gamma(2.0, 3.7, 200))
    X = np.column_stack([rain, full, rain + rng.normal(size=200)])
    X[rng.random(X.shape) < 0.3] = np.nan
    imputer = tiny(MVAEImputer, learn_shapes=True, strategy="draw", init="random").fit(X)
    assert (imputer.fit_report_["remark"].str.contains("point mass")).sum() == 2
    for result in (imputer.transform(X), imputer.sample(500), *imputer.impute(X, 2)):
        for j, value in enumerate((0.0, 99.7)):
            assert 0.2 < (result[:, j] == value).mean() < 0.6
            assert not ((result[:, j] != value) & np.isclose(result[:, j], value, 1e-5, 1e-5)).any()
    cells = imputer.cell_distribution(X, [0.2])
    assert (cells["20%"][cells["column"] == "x0"] == 0).mean() > 0.2


def test_the_transform_of_a_column_is_that_of_its_values_beside_the_point_mass():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(400) < 0.4, 0.0, rng.gamma(2.0, 3.7, 400))[:, None]
    schema = tiny(MVAEImputer, learn_shapes=True, init="random", max_iter=1).fit(x).schema_
    rest = (x[x > 0] - schema.location) / schema.scale
    transform = schema.columns[0].marginal_transform
    np.testing.assert_allclose(transform, fit_sinh_arcsinh(rest), atol=1e-6)


def coded(*codes):
    """Return a table whose first columns hold the lower or the higher code of a pair."""
    X = incomplete()
    for j, (low, high) in enumerate(codes):
        is_high = X[:, j] > np.nanmedian(X[:, j])
        X[:, j] = np.where(np.isnan(X[:, j]), np.nan, np.where(is_high, high, low))
    return X


@pytest.mark.slow
@every_imputer
def test_binary_columns_get_one_of_two_values(cls):
    codes = np.array([(0, 1), (1, 2), (-1, 1)])
    X = coded(*codes)
    imputer = tiny(cls, likelihood=dict.fromkeys(range(3), "bernoulli")).fit(X)
    results = {"impute": imputer.impute(X, 1)[0], "sample": imputer.sample(20)}
    for strategy in ["auto", "mean", "median", "mode", "draw"]:
        results[strategy] = imputer.set_params(strategy=strategy).transform(X[:24])
    for j, (low, high) in enumerate(codes):
        missing = np.isnan(X[:24, j])
        mean = results["mean"][missing, j]
        assert ((low < mean) & (mean < high)).all()
        expected = np.where(mean >= (low + high) / 2, high, low)
        np.testing.assert_array_equal(results["auto"][missing, j], expected)
        for name, result in results.items():
            assert name == "mean" or set(result[:, j]) <= {low, high}, name


def test_binary_columns_contribute_probabilities():
    density = tiny(VAEDensityEstimator, likelihood={0: "bernoulli"}).fit(coded((1, 2)))
    both = np.full((2, 4), np.nan)
    both[:, 0] = [1, 2]
    assert np.exp(density.score_samples(both)).sum() == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.1), (0.1, 0.7)])
def test_binary_values_are_imputed_exactly(low, high):
    X = coded((low, high))
    imputer = tiny(MVAEImputer, likelihood={0: "bernoulli"}).fit(X)
    assert set(imputer.transform(X)[:, 0]) == {low, high}
    single = imputer.transform(X.astype(np.float32))[:, 0]
    assert set(single) == {np.float32(low), np.float32(high)}


def test_continuous_bernoulli_columns_stay_in_the_unit_interval():
    X = incomplete()
    low, high = np.nanmin(X, 0), np.nanmax(X, 0)
    X = (X - low) / (high - low)
    imputer = tiny(MissSVAEImputer, likelihood="continuous_bernoulli").fit(X)
    for strategy in ["auto", "mean", "median", "mode", "draw"]:
        out = imputer.set_params(strategy=strategy).transform(X)
        assert ((out >= 0) & (out <= 1)).all(), strategy
    assert np.isfinite(imputer.score_samples(X)).all()


@every_estimator
def test_a_likelihood_for_each_column(cls):
    X = coded((1, 2))
    low, high = np.nanmin(X[:, 2]), np.nanmax(X[:, 2])
    X[:, 2] = (X[:, 2] - low) / (high - low)
    kinds = {"flag": "bernoulli", "share": "continuous_bernoulli", "wild": "student_t"}
    frame = pd.DataFrame(X, columns=["flag", "plain", "share", "wild"])
    options = {"init": "random", "max_iter": 1}
    estimator = tiny(cls, likelihood=kinds, **options).fit(frame)
    by_index = dict(enumerate(["bernoulli", "normal", "continuous_bernoulli", "student_t"]))
    of_array = tiny(cls, likelihood=by_index, **options).fit(X)
    assert_same(outputs(of_array, X[:20]), outputs(estimator, frame[:20]))
    drawn = estimator.sample(50)
    assert set(drawn["flag"]) <= {1, 2}
    assert drawn["share"].between(0, 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("learn_shapes", [False, True])
@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, pl.DataFrame])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_columns_near_the_largest_float_are_imputed(container, learn_shapes):
    """The values are those of a smaller unit, to rounding."""
    rng = np.random.default_rng(0)
    x = np.tile([1.7, -1.7, np.nan, 1.7, 0.5], 12)
    X = np.column_stack([x, rng.normal(size=60)])
    out = []
    for size in (1e308, 1e300):
        rows = container(X * [size, 1.0])
        imputer = tiny(MVAEImputer, learn_shapes=learn_shapes).fit(rows)
        tables = [imputer.set_params(strategy=name).transform(rows) for name in ("auto", "draw")]
        columns = np.array([np.asarray(table)[:, 0] / size for table in tables])
        assert np.isfinite(columns).all()
        assert np.isfinite(imputer.score_samples(rows)).all()
        assert np.isfinite(imputer.cell_distribution(rows)[["mean", "50%"]].to_numpy()).all()
        out.append(columns)
    largest = np.finfo(float).max / 1e308
    np.testing.assert_allclose(out[0], out[1].clip(-largest, largest), rtol=1e-5)


def test_numbers_beyond_integer_types_are_continuous():
    cells = with_missing([*range(20), *np.geomspace(1, 1e300, 20).round()], 5)
    frame = pd.DataFrame({"a": cells, "b": np.arange(40.0)})
    imputer = tiny(MVAEImputer).fit(frame)
    assert imputer.feature_kinds_ == {"a": "continuous", "b": "count"}
    assert np.isfinite(imputer.transform(frame).to_numpy()).all()


def test_new_rows_far_from_those_at_fit_are_clipped_without_a_warning():
    imputer = tiny(MVAEImputer).fit(
        np.column_stack([incomplete()[:, 0] * 1e-100, incomplete()[:, 1]])
    )
    assert np.isfinite(imputer.transform([[1e300, np.nan]])).all()
