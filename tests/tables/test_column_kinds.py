"""Tables as people have them: the frame that goes in comes out, without its holes."""

import datetime
import decimal
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from estimator_cases import IMPUTERS, every_imputer, outputs, quiet, tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from skmissvae import MissSVAEImputer, MVAEImputer, VAEDensityEstimator, diagnose
from skmissvae.tables import reader as _reading
from skmissvae.tables.dataframes import without

pytestmark = quiet

N = 60
RNG = np.random.default_rng(0)


def with_holes(values, step):
    return [None if i % step == 1 else value for i, value in enumerate(values)]


REAL = RNG.normal(size=N).round(3).tolist()
COUNTS = RNG.poisson(4, N).tolist()
FLAGS = (RNG.random(N) < 0.4).tolist()
WORDS = RNG.choice(["red", "green", "blue"], N).tolist()
RANKS = RNG.choice(["low", "middle", "high"], N).tolist()
DAYS = [
    datetime.date(2020, 1, 1) + datetime.timedelta(days=int(i)) for i in RNG.integers(99, size=N)
]
TIMES = [
    datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=int(i))
    for i in RNG.integers(99, size=N)
]


def pandas_column(dtype):
    """Return a column of a type, with holes."""
    if dtype in ("float64", "float32", "Float64", "double[pyarrow]"):
        return pd.Series(with_holes(REAL, 4), dtype=dtype)
    if dtype in ("Int64", "UInt8", "int64[pyarrow]", "Int8"):
        return pd.Series(with_holes(COUNTS, 5), dtype=dtype)
    if dtype in ("boolean", "bool[pyarrow]"):
        return pd.Series(with_holes(FLAGS, 6), dtype=dtype)
    if dtype == "flags of objects":
        return pd.Series(with_holes(FLAGS, 6), dtype=object)
    if dtype == "category":
        levels = pd.CategoricalDtype(["red", "green", "blue", "never"])
        return pd.Series(with_holes(WORDS, 7), dtype=levels)
    if dtype == "ordered":
        levels = pd.CategoricalDtype(["low", "middle", "high"], ordered=True)
        return pd.Series(with_holes(RANKS, 7), dtype=levels)
    if dtype == "numbers as categories":
        return pd.Series(with_holes([c % 3 for c in COUNTS], 5), dtype="category")
    if dtype.startswith("datetime"):
        return pd.Series(pd.to_datetime(with_holes(TIMES, 5))).astype(dtype)
    if dtype == "with a zone":
        return pd.Series(pd.to_datetime(with_holes(TIMES, 5))).dt.tz_localize("America/New_York")
    if dtype == "timedelta64[s]":
        return pd.Series(pd.to_timedelta(with_holes(COUNTS, 5), unit="h")).astype(dtype)
    if dtype == "date32[day][pyarrow]":
        return pd.Series(with_holes(DAYS, 5), dtype=pd.ArrowDtype(pa.date32()))
    return pd.Series(with_holes(WORDS, 3), dtype=dtype)


PANDAS = [
    *("float64", "float32", "Float64", "double[pyarrow]", "Int64", "UInt8", "Int8"),
    *("int64[pyarrow]", "boolean", "bool[pyarrow]", "category", "ordered", "object", "str"),
    *("string", "string[pyarrow]", "datetime64[ns]", "datetime64[s]", "timedelta64[s]"),
    *("date32[day][pyarrow]", "flags of objects", "numbers as categories", "with a zone"),
]

POLARS = {
    "Float64": (REAL, pl.Float64),
    "Float32": (REAL, pl.Float32),
    "Int64": (COUNTS, pl.Int64),
    "UInt8": (COUNTS, pl.UInt8),
    "Boolean": (FLAGS, pl.Boolean),
    "String": (WORDS, pl.String),
    "Categorical": (WORDS, pl.Categorical),
    "Enum": (RANKS, pl.Enum(["low", "middle", "high", "never"])),
    "Date": (DAYS, pl.Date),
    "Datetime": (TIMES, pl.Datetime("ms")),
    "Datetime with a zone": (TIMES, pl.Datetime("us", "Asia/Tokyo")),
    "Duration": ([datetime.timedelta(hours=c) for c in COUNTS], pl.Duration("ms")),
    "Decimal": ([f"{x:.2f}" for x in REAL], pl.Decimal(10, 2)),
}


def pandas_frame(dtype):
    index = pd.Index([f"row {i}" for i in range(N)], name="who")
    column = pandas_column(dtype).set_axis(index)
    return pd.DataFrame({"x": column, "beside": pd.Series(REAL, index)})


def polars_frame(name):
    values, dtype = POLARS[name]
    column = pl.Series("x", with_holes(values, 5)).cast(dtype)
    return pl.DataFrame([column, pl.Series("beside", REAL)])


def assert_completed(out, frame):
    """Nothing is missing, types are those of the frame, and what was seen is what it was."""
    assert type(out) is type(frame)
    assert list(out.columns) == list(frame.columns)
    if isinstance(frame, pl.DataFrame):
        assert out.schema == frame.schema
        out, frame = ({n: f[n].to_list() for n in f.columns} for f in (out, frame))
        for name, column in frame.items():
            for made, seen in zip(out[name], column, strict=True):
                assert made is not None
                assert made == made
                if seen is not None and seen == seen:
                    assert made == seen
        return
    assert out.index.equals(frame.index)
    for name in frame.columns:
        assert out[name].dtype == frame[name].dtype, name
    assert not out.isna().any(axis=None)
    seen = frame.notna()
    assert_frame_equal(out.where(seen), frame.where(seen))


@pytest.mark.parametrize("estimate", ["auto", "draw", "median", "mode", "mean"])
@pytest.mark.parametrize("dtype", PANDAS)
def test_types_of_pandas_go_round(dtype, estimate):
    frame = pandas_frame(dtype)
    before = frame.copy(deep=True)
    imputer = tiny(MVAEImputer, estimate=estimate, max_iter=2).fit(frame)
    assert_completed(imputer.transform(frame), frame)
    assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", POLARS)
def test_types_of_polars_go_round(name):
    frame = polars_frame(name)
    imputer = tiny(MVAEImputer, max_iter=2).fit(frame)
    for out in (imputer.transform(frame), *imputer.impute(frame, 2)):
        assert_completed(out, frame)
    drawn = imputer.sample(7)
    assert drawn.schema == frame.schema
    assert drawn.null_count().sum_horizontal().item() == 0


@pytest.mark.parametrize("dtype", PANDAS)
def test_samples_have_the_types_of_the_table(dtype):
    frame = pandas_frame(dtype)
    drawn = tiny(MVAEImputer, max_iter=2).fit(frame).sample(9)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert len(drawn) == 9
    assert not drawn.isna().any(axis=None)


def test_columns_of_sparse_cells_and_of_objects_keep_their_types():
    rng = np.random.default_rng(0)
    sparse = pd.arrays.SparseArray(rng.choice([0.0, 0.0, 1.5, 2.5, 4.0], N))
    prices = [decimal.Decimal(f"{x:.2f}") for x in REAL]
    frame = pd.DataFrame(
        {
            "sparse": sparse,
            "price": pd.Series(with_holes(prices, 4), dtype=object),
            "count": pd.Series(with_holes(COUNTS, 5), dtype=object),
            "x": REAL,
        }
    )
    frame["sparse"] = frame["sparse"].mask(rng.random(N) < 0.2).astype(pd.SparseDtype(float))
    frame["whole"] = pd.arrays.SparseArray(COUNTS, dtype=pd.SparseDtype("int64", 0))
    imputer = tiny(MVAEImputer, estimate="draw").fit(frame)
    out = imputer.transform(frame)
    assert_completed(out, frame)
    assert set(map(type, out["price"])) == {decimal.Decimal}
    assert set(map(type, out["count"])) == {int}
    assert imputer.sample(3)["whole"].dtype == frame["whole"].dtype
    marked = frame[["price", "x"]].assign(price=frame["price"].fillna("?"))
    out = tiny(MVAEImputer, missing_values="?").fit_transform(marked)
    assert set(map(type, out["price"])) == {decimal.Decimal}
    means = tiny(MVAEImputer, feature_kinds={"count": "continuous"}).fit_transform(frame)
    assert not (means["count"][frame["count"].isna()] % 1 == 0).all()


@pytest.mark.parametrize("dtype", [pl.Int128, pl.Object])
def test_rare_types_of_polars_go_round(dtype):
    column = pl.Series("x", with_holes(COUNTS, 5), dtype=dtype)
    frame = pl.DataFrame([column, pl.Series("beside", with_holes(REAL, 7))])
    out = tiny(MVAEImputer).fit_transform(frame)
    assert out.schema == frame.schema
    for made, seen in zip(out["x"].to_list(), column.to_list(), strict=True):
        assert made == seen if seen is not None else float(made).is_integer()


def test_empty_columns_of_any_type_are_kept_and_sampled():
    frame = pd.DataFrame({"x": REAL, "y": COUNTS})
    for dtype in ("string", "category", "object", "Int64", "float64"):
        frame[dtype] = pd.Series([None] * N, dtype=dtype)
    imputer = tiny(MVAEImputer, keep_empty_features=True).fit(frame)
    made = imputer.sample(5)
    assert list(made) == list(frame)
    assert list(map(str, made.dtypes)) == list(map(str, frame.dtypes))
    assert made["string"].isna().all()


def test_whole_numbers_of_any_size_are_whole():
    sizes = np.rint(10 ** np.random.default_rng(0).uniform(3, 14, N))
    frame = pd.DataFrame({"size": sizes, "x": REAL})
    tiny(MVAEImputer, feature_kinds={"size": "count"}).fit(frame).score_samples(frame)
    few = frame.assign(size=COUNTS)
    imputer = tiny(MVAEImputer, feature_kinds={"size": "count"}).fit(few)
    with pytest.raises(ValueError, match="only whole numbers"):
        imputer.score_samples(few.assign(size=3.4))
    with pytest.raises(ValueError, match="leave no value for column"):
        imputer.set_params(min_value=np.inf).transform(few)


def test_dates_that_are_all_seen_have_no_line():
    frame = pd.DataFrame({"when": pandas_column("with a zone"), "x": with_holes(REAL, 4)})
    imputer = tiny(MVAEImputer).fit(frame)
    seen = frame[frame["when"].notna()]
    assert set(imputer.cell_distribution(seen)["column"]) == {"x"}


def test_zeros_have_no_sign():
    frame = pd.DataFrame({"n": RNG.poisson(0.3, N).astype(float), "m": RNG.poisson(0.3, N)})
    holed = frame.mask(RNG.random(frame.shape) < 0.4)
    imputer = tiny(MVAEImputer, feature_kinds={"n": "count"}, estimate="draw").fit(holed)
    for made in (imputer.transform(holed), imputer.sample(200), imputer.impute(holed, 1)[0]):
        assert not np.signbit(made.to_numpy(float)).any()


def test_an_atom_comes_back_as_the_value_it_is():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(400) < 0.4, 0.0, rng.gamma(2.0, 3.7, 400))
    full = np.where(rng.random(400) < 0.4, 99.7, 99.7 - rng.gamma(2.0, 3.7, 400))
    X = np.column_stack([rain, full, rain + rng.normal(size=400)])
    X[rng.random(X.shape) < 0.3] = np.nan
    imputer = tiny(MVAEImputer, learn_shapes=True, estimate="draw").fit(X)
    assert (imputer.fit_report_["remark"].str.contains("probability of its own")).sum() == 2
    for made in (imputer.transform(X), imputer.sample(500), *imputer.impute(X, 2)):
        for j, value in enumerate((0.0, 99.7)):
            assert 0.2 < (made[:, j] == value).mean() < 0.6
            assert not ((made[:, j] != value) & np.isclose(made[:, j], value, 1e-5, 1e-5)).any()
    told = imputer.cell_distribution(X, [0.2])
    assert (told["20%"][told["column"] == "x0"] == 0).mean() > 0.2


def test_remarks_tell_what_may_be_amiss():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "typo": np.where(np.arange(100) == 7, 999.0, rng.normal(size=100)),
            "fine": rng.normal(size=100),
            "rare": np.where(np.arange(100) == 9, 2, 0),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, 100), "D"),
            "code": rng.choice([3, 6, 7], 100),
            "words": rng.choice(["1.5", "2.5", "7"], 100),
            "years": rng.choice(["2009_10", "2011_12", "2013_14"], 100),
            "days": rng.choice(["2020-01-02", "2021-03-04", "2022-05-06"], 100),
        }
    )
    frame.loc[[3, 5], "day"] = pd.Timestamp("2199-01-01"), pd.NaT
    imputer = tiny(MVAEImputer).fit(frame)
    remark = imputer.fit_report_["remark"]
    assert "2199-01-01 00:00:00 among them" in remark["day"]
    assert "variance" not in remark["rare"]
    assert "999 among them" in remark["typo"]
    assert "'ordinal'" in remark["code"]
    assert "to_numeric" in remark["words"]
    assert "to_datetime" in remark["days"]
    assert remark["fine"] == remark["years"] == ""
    problem = diagnose(imputer, frame).problems
    assert any("'typo'" in one.finding and "'fine'" not in one.finding for one in problem)
    warped = tiny(MVAEImputer, learn_shapes=True).fit(frame)
    assert warped.fit_report_["remark"]["typo"] == ""
    with pytest.raises(ValueError, match=r"'words' 'continuous', .*holds '.*'; .*to_numeric"):
        tiny(MVAEImputer, feature_kinds={"words": "continuous"}).fit(frame)


@pytest.mark.parametrize("dtype", ["category", "string", "Int64", "datetime64[ns]"])
def test_frames_that_cannot_be_written_to(dtype):
    frame = pandas_frame(dtype)
    for name in frame:
        values = frame[name].array
        if hasattr(values, "_ndarray"):
            values._ndarray.flags.writeable = False
    assert_completed(tiny(MVAEImputer, max_iter=2).fit_transform(frame), frame)


def mixed(container="pandas"):
    data = {
        "real": with_holes(REAL, 4),
        "count": with_holes(COUNTS, 5),
        "flag": with_holes(FLAGS, 6),
        "word": with_holes(WORDS, 7),
        "rank": with_holes(RANKS, 8),
    }
    if container == "polars":
        return pl.DataFrame(data)
    order = pd.CategoricalDtype(["low", "middle", "high"], ordered=True)
    return pd.DataFrame(data).astype({"count": "Int64", "flag": "boolean", "rank": order})


@every_imputer
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_every_imputer_completes_mixed_tables(cls, container):
    frame = mixed(container)
    imputer = tiny(cls).fit(frame)
    assert_completed(imputer.transform(frame), frame)
    for completed in imputer.impute(frame, 2):
        assert_completed(completed, frame)
    for values in outputs(imputer, frame).values():
        assert not pd.isna(np.asarray(values, dtype=object)).any()


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_frames_read_in_parts_are_as_frames_read_whole(container, monkeypatch):
    frame = mixed(container)
    imputer = tiny(MVAEImputer, add_indicator=True).fit(frame)

    def told():
        return [imputer.transform(frame), *imputer.impute(frame, 2), imputer.outlier_scores(frame)]

    whole = told()
    monkeypatch.setattr(_reading, "_AT_ONCE", 7)
    for made, expected in zip(told(), whole, strict=True):
        assert type(made) is type(expected)
        assert made.equals(expected)
    if container == "polars":
        frame[50, "word"] = "mauve"
    else:
        frame.loc[50, "word"] = "mauve"
    with pytest.raises(ValueError, match="'word', row 50, holds 'mauve'"):
        imputer.transform(frame)


@pytest.mark.parametrize("words", [False, True])
def test_columns_of_objects_are_read_alike_wherever_parts_begin(words, monkeypatch):
    cells = np.array(["a", "b"] if words else [1.5, 2.5, 4.0], dtype=object)
    cells = np.resize(cells, 450)
    cells[200:320], cells[330:] = None, -999
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object), "beside": np.resize(REAL, 450)})
    imputer = tiny(MVAEImputer, missing_values=-999).fit(frame)
    whole = imputer.transform(frame)
    assert not (whole["x"] == -999).any()
    monkeypatch.setattr(_reading, "_AT_ONCE", 200)
    assert_frame_equal(imputer.transform(frame), whole)


def test_kinds_are_read_off_the_types():
    assert tiny(MVAEImputer).fit(mixed()).feature_kinds_ == {
        "real": "continuous",
        "count": "count",
        "flag": "binary",
        "word": "categorical",
        "rank": "ordinal",
    }


def test_kinds_that_users_name():
    frame = mixed().assign(code=[i % 4 for i in range(N)], low=[i % 5 - 2 for i in range(N)])
    kinds = {"count": "continuous", "code": "ordinal"}
    fitted = tiny(MVAEImputer, feature_kinds=kinds).fit(frame).feature_kinds_
    assert fitted["count"] == "continuous"
    assert fitted["code"] == "ordinal"
    assert fitted["low"] == "integer"
    for chosen in (["code"], [5], np.array([False] * 5 + [True, False])):
        imputer = tiny(MVAEImputer, categorical_features=chosen).fit(frame)
        assert imputer.feature_kinds_["code"] == "categorical"


def test_arrays_hold_kinds_too():
    X = np.column_stack([REAL, [c % 3 for c in COUNTS], COUNTS]).astype(float)
    X[RNG.random(X.shape) < 0.2] = np.nan
    imputer = tiny(MVAEImputer, feature_kinds={1: "categorical", 2: "count"}).fit(X)
    for out in (imputer.transform(X), imputer.sample(50)):
        assert isinstance(out, np.ndarray)
        assert set(out[:, 1]) <= {0, 1, 2}
        assert (out[:, 2] == out[:, 2].round()).all()
        assert (out[:, 2] >= 0).all()


def test_arrays_of_objects_are_arrays_of_objects_again():
    X = np.array([[1.5, "a"], [None, "b"], [2.5, None], [3.0, "a"]] * 5, dtype=object)
    out = tiny(MVAEImputer).fit_transform(X)
    assert out.dtype == object
    seen = np.array([[cell is not None for cell in row] for row in X])
    assert (out[seen] == X[seen]).all()
    assert set(out[:, 1]) == {"a", "b"}


def test_set_output_is_honoured():
    frame = mixed()
    imputer = tiny(MVAEImputer).fit(frame)
    plain = imputer.transform(frame)
    assert_frame_equal(imputer.set_output(transform="pandas").transform(frame), plain)
    other = imputer.set_output(transform="polars").transform(frame)
    assert isinstance(other, pl.DataFrame)
    assert other.columns == list(frame.columns)
    array = frame[["real"]].to_numpy()
    made = tiny(MVAEImputer).set_output(transform="pandas").fit_transform(array)
    assert isinstance(made, pd.DataFrame)


def test_indicators_stand_beside_the_columns_whatever_the_output():
    frame = mixed()
    imputer = tiny(MVAEImputer, add_indicator=True).fit(frame)
    expected = imputer.transform(frame)
    with sklearn.config_context(transform_output="pandas"):
        assert_frame_equal(imputer.transform(frame), expected)


def test_indicators_stand_beside_the_columns():
    for frame in (mixed(), mixed("polars")):
        imputer = tiny(MVAEImputer, add_indicator=True).fit(frame)
        out = imputer.transform(frame)
        assert list(out.columns) == list(imputer.get_feature_names_out())
        flags = np.asarray(out["missingindicator_word"], dtype=bool)
        np.testing.assert_array_equal(flags, [i % 7 == 1 for i in range(N)])


@pytest.mark.parametrize("dtype", PANDAS)
def test_an_estimator_of_frames_survives_a_pickle(dtype):
    frame = pandas_frame(dtype)
    imputer = tiny(MVAEImputer, max_iter=2).fit(frame)
    back = pickle.loads(pickle.dumps(imputer))
    assert_frame_equal(back.transform(frame), imputer.transform(frame))
    assert_frame_equal(back.sample(3, random_state=0), imputer.sample(3, random_state=0))


# -- categories never seen, markers, cells that are wanted -----------------------------------------


@every_imputer
def test_unknown_categories(cls):
    frame = mixed()
    imputer = tiny(cls).fit(frame)
    other = frame.head(8).assign(word=["violet", *frame["word"].iloc[1:8]])
    with pytest.raises(ValueError, match=r"'word', row 0, holds 'violet'.*handle_unknown"):
        imputer.transform(other)
    imputer.set_params(handle_unknown="missing")
    out = imputer.transform(other)
    assert out["word"].iloc[0] == "violet"
    assert not out.isna().any(axis=None)
    # it is no evidence: what else the row gets is what it would get with a hole there
    holed = frame.head(8).assign(word=[None, *frame["word"].iloc[1:8]])
    assert_frame_equal(out.drop(columns="word"), imputer.transform(holed).drop(columns="word"))
    np.testing.assert_array_equal(imputer.score_samples(other), imputer.score_samples(holed))


def test_a_frame_whose_type_lacks_the_label_gets_it():
    frame = pandas_frame("category")
    imputer = tiny(MVAEImputer).fit(frame)
    poorer = frame.assign(x=pd.Categorical([None] * N, categories=["red"]))
    out = imputer.transform(poorer)
    assert not out["x"].isna().any()
    assert set(out["x"].cat.categories) <= {"red", "green", "blue", "never"}


@pytest.mark.parametrize("marker", ["?", -1, None, pd.NA, np.nan])
def test_markers_of_every_kind(marker):
    frame = pd.DataFrame({"word": with_holes(WORDS, 3), "n": with_holes(COUNTS, 5), "x": REAL})
    plain = tiny(MVAEImputer).fit_transform(frame)
    marked = frame.copy()
    if isinstance(marker, str):
        marked["word"] = frame["word"].fillna(marker)
    elif marker == -1 if marker is not pd.NA else False:
        marked["n"] = frame["n"].fillna(marker)
    imputer = tiny(MVAEImputer, missing_values=marker)
    assert_frame_equal(imputer.fit_transform(marked), plain)


def test_only_wanted_cells_are_imputed():
    frame = mixed()
    imputer = tiny(MVAEImputer).fit(frame)
    full = imputer.transform(frame)
    some = imputer.transform(frame, where=["word", "count"])
    for name in frame:
        expected = full if name in ("word", "count") else frame
        pd.testing.assert_series_equal(some[name], expected[name])
    mask = np.zeros(frame.shape, dtype=bool)
    mask[1, 0] = mask[2, 1] = True  # a hole, and a cell that is seen
    cells = imputer.transform(frame, where=mask)
    kept = cells.copy()
    kept.iloc[1, 0], kept.iloc[2, 1] = frame.iloc[1, 0], frame.iloc[2, 1]
    assert_frame_equal(kept, frame)
    hidden = frame.copy()
    hidden.iloc[2, 1] = pd.NA
    assert cells.iloc[2, 1] == imputer.transform(hidden).iloc[2, 1]
    assert cells.iloc[1, 0] == full.iloc[1, 0]
    lazily = imputer.impute(frame, 2, where=["word"])
    assert lazily[0]["count"].isna().equals(frame["count"].isna())
    for wrong in (np.zeros((2, 2), dtype=bool), "word", ["nothing"], np.zeros(frame.shape)):
        with pytest.raises(ValueError, match="where"):
            imputer.transform(frame, where=wrong)


# -- bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "likelihood", "learn_shapes"),
    [
        *((estimate, "normal", False) for estimate in ("auto", "draw", "median", "mode")),
        *((estimate, "normal", True) for estimate in ("auto", "draw", "median")),
        ("draw", "student_t", False),
        ("draw", "student_t", True),
    ],
)
def test_bounds_hold_and_nothing_piles_up_on_them(estimate, likelihood, learn_shapes):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.gamma(1.0, size=(90, 3)), columns=list("abc")).assign(
        n=rng.poisson(1.0, 90)
    )
    holed = frame.astype({"n": "Int64"}).mask(rng.random(frame.shape) < 0.4)
    bounds = {"min_value": {"a": 0.5, "n": 1}, "max_value": {"a": 0.8, "b": 1.0}}
    options = {
        "likelihood": likelihood,
        "learn_shapes": learn_shapes,
        "estimate": estimate,
        "max_iter": 10,
    }
    imputer = tiny(MissSVAEImputer, **options).fit(holed)
    imputer.set_params(**bounds)  # read at the call
    tables = [imputer.transform(holed), *imputer.impute(holed, 1)]
    for out in tables:
        made = out[holed["a"].isna()]["a"]
        assert made.between(0.5, 0.8).all()
        assert made.isin([0.5, 0.8]).mean() < 0.05
        assert (out[holed["b"].isna()]["b"] <= 1).all()
        assert (out[holed["n"].isna()]["n"] >= 1).all()
        seen = holed.notna()
        assert_frame_equal(out.where(seen), holed.where(seen))


def test_bounds_condition_the_latents_too():
    """Four views of one number: within bounds they are still four views of one number."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(400, 1))
    X = pd.DataFrame(factor + 0.1 * rng.normal(size=(400, 4)), columns=list("abcd"))
    imputer = MissSVAEImputer(
        n_hidden=16, n_blocks=0, n_latents=1, dropout=0.0, max_iter=60, random_state=0
    ).fit(X.mask(rng.random(X.shape) < 0.2))
    empty = pd.DataFrame(np.nan, index=range(400), columns=X.columns)
    free = pd.concat(imputer.impute(empty, 10, random_state=1))
    expected = free[free["a"] > 1.0]
    imputer.set_params(min_value={"a": 1.0})
    drawn = imputer.impute(empty, 2, random_state=2)[0]
    assert (drawn["a"] >= 1).all()
    for name in X:
        error = expected[name].std() * (1 / len(expected) + 1 / len(drawn)) ** 0.5
        assert abs(drawn[name].mean() - expected[name].mean()) < 4.5 * error
    assert (drawn["a"] < 1.01).mean() < 0.1
    truth = {"auto": expected["a"].mean(), "median": expected["a"].median()}
    for estimate, value in truth.items():
        middle = imputer.set_params(estimate=estimate).transform(empty[:1])["a"].iloc[0]
        assert middle == pytest.approx(value, abs=0.1)
    chains = imputer.set_params(sampler="lair", n_sampler_steps=20, estimate="auto")
    seen = empty[:3].assign(b=1.2)
    assert (chains.transform(seen)["a"] >= 1).all()


@pytest.mark.parametrize("learn_shapes", [False, True])
def test_bounds_that_cut_nothing_change_nothing(learn_shapes):
    frame = mixed().assign(heavy=np.exp(REAL))
    imputer = tiny(MVAEImputer, learn_shapes=learn_shapes).fit(frame.mask(RNG.random((N, 6)) < 0.1))
    plain = imputer.transform(frame)
    truncated = imputer.set_params(min_value=-1e9, max_value=1e9).transform(frame)
    for name in frame:
        if pd.api.types.is_float_dtype(frame[name]):
            np.testing.assert_allclose(truncated[name], plain[name], rtol=1e-4, atol=1e-4)
        else:
            pd.testing.assert_series_equal(truncated[name], plain[name])


def test_bounds_hold_in_the_tables_units():
    rng = np.random.default_rng(0)
    days = pd.to_datetime("1950-01-01") + pd.to_timedelta(rng.integers(999, size=N), unit="D")
    frame = pd.DataFrame(
        {"x": 1000 + np.array(REAL), "n": COUNTS, "day": days, "flag": FLAGS, "same": 0.5}
    ).assign(twin=lambda f: f["x"])
    holed = frame.astype({"n": "Int64", "flag": "boolean"}).mask(rng.random(frame.shape) < 0.3)
    holed["twin"] = holed["x"]
    bounds = {"x": 1001.1, "n": 2.5, "day": "1951-02-03"}
    imputer = tiny(MVAEImputer, min_value=bounds, max_value={"twin": 1001.3}).fit(holed)
    for out in (imputer.transform(holed), imputer.impute(holed, 1)[0]):
        for name in ("x", "twin"):
            assert out[name][holed[name].isna()].between(1001.1, 1001.3).all()
        assert (out["n"][holed["n"].isna()] >= 3).all()
        assert (out["day"][holed["day"].isna()] >= pd.Timestamp("1951-02-03")).all()
    # dates of days have the next day, and no bound leaves what has no value
    imputer.set_params(min_value={"day": "1951-02-03 11:00"}, max_value=None, estimate="draw")
    drawn = imputer.transform(holed)["day"][holed["day"].isna()]
    assert (drawn >= pd.Timestamp("1951-02-04")).all()
    # one number for all is for numbers: flags and dates go free
    imputer.set_params(min_value=0, max_value=None, estimate="draw")
    drawn = imputer.transform(holed)
    assert set(drawn["flag"]) == {True, False}
    assert (drawn["day"] < pd.Timestamp("1960-01-01")).all()
    X = np.array([[float(f), r] for f, r in zip(FLAGS, REAL, strict=True)])
    X[rng.random(X.shape) < 0.4] = np.nan
    coded = tiny(MVAEImputer, likelihood={0: "bernoulli"}, min_value=0, estimate="draw")
    assert 0 < coded.fit_transform(X)[np.isnan(X[:, 0]), 0].mean() < 1


def test_bounds_for_all_columns_leave_categories_alone():
    imputer = tiny(MVAEImputer, min_value=0.0, max_value=5.0).fit(mixed())
    out = imputer.transform(mixed())
    for name in ("real", "count"):
        assert out[name][mixed()[name].isna()].between(0, 5).all()
    for wrong, match in (
        ({"min_value": {"word": 1}}, "'min_value' bounds column 'word'"),
        ({"min_value": 3.0, "max_value": 2.0}, "leave no value for column 'real'"),
        ({"min_value": {"count": 0.2}, "max_value": {"count": 0.4}}, "no value for column 'count'"),
        ({"max_value": {"nothing": 1}}, "'nothing'"),
        ({"max_value": "high"}, "'max_value'"),
        ({"max_value": [0, 0]}, "'max_value'.*mapping from columns"),
        ({"max_value": {"real": "18"}}, "'max_value' must bound column 'real' by a number"),
        ({"max_value": {"real": np.nan}}, "'max_value' must bound column 'real' by a number"),
        ({"max_value": {"real": None}}, "'max_value' must bound column 'real' by a number"),
    ):
        with pytest.raises(ValueError, match=match):
            tiny(MVAEImputer, **wrong).fit(mixed()).transform(mixed())


# -- rows unlike those of the fit ------------------------------------------------------------------


def test_types_may_be_others_where_nothing_is_seen():
    frame = mixed().assign(day=pd.to_datetime(DAYS), when=pd.to_datetime(with_holes(DAYS, 5)))
    imputer = tiny(MVAEImputer).fit(frame)
    whole = imputer.transform(frame)
    for blank in (np.nan, None):
        row = frame[:2].assign(word=blank, rank=blank, flag=blank, when=blank)
        out = imputer.transform(row)
        assert not out.isna().any(axis=None)
        assert list(out.index) == [0, 1]
        assert set(out["word"]) <= set(whole["word"])
    polars = mixed("polars")
    out = tiny(MVAEImputer).fit(polars).transform(polars[:2].with_columns(word=pl.lit(None)))
    assert out["word"].dtype == pl.String
    assert out["word"].null_count() == 0
    X = np.array([[1.5, "a"], [None, "b"], [2.5, None], [3.0, "a"]] * 5, dtype=object)
    fitted = tiny(MVAEImputer).fit(X)
    assert list(fitted.transform(X[2:3])[0]) == list(fitted.transform(X)[2])


def test_new_rows_may_hold_what_kinds_were_not_guessed_from():
    frame = pd.DataFrame(
        {
            "whole": np.array(COUNTS, float),
            "few": [i % 2 for i in range(N)],
            "name": [f"person {i}" for i in range(N)],
            "same": "yes",
            "x": REAL,
        }
    )
    imputer = tiny(MVAEImputer).fit(frame)
    other = frame[:4].assign(
        whole=[1.5, -2.0, np.nan, 3.0], few=[2, 0, 1, 1], name=list("abcd"), same=["no"] * 4
    )
    out = imputer.transform(other)
    seen = other.notna()
    assert_frame_equal(out.where(seen), other)
    assert np.isfinite(imputer.score_samples(other)).all()


def test_numbers_far_from_zero_keep_their_digits():
    rng = np.random.default_rng(0)
    values = 1_600_000_000 + rng.integers(0, 10, 200)
    frame = pd.DataFrame({"t": pd.array(values, dtype="Int64"), "x": rng.normal(size=200)})
    holed = frame.mask(rng.random(frame.shape) < 0.3)
    imputer = tiny(MVAEImputer, max_iter=10, estimate="draw").fit(holed)
    drawn = imputer.transform(holed)["t"][holed["t"].isna()]
    assert drawn.nunique() > 4
    assert np.isfinite(imputer.score_samples(holed)).all()
    ids = pd.array([2**53 + 1, 2**53 + 3, None] * 8, dtype="Int64")
    labels = pd.DataFrame({"id": ids, "x": rng.normal(size=24)})
    out = tiny(MVAEImputer, categorical_features=["id"]).fit_transform(labels)
    assert set(out["id"]) == {2**53 + 1, 2**53 + 3}


def test_draws_fit_into_their_types():
    small = pl.DataFrame({"x": pl.Series([200, 255, 250, 231] * 10, dtype=pl.UInt8)})
    assert tiny(MVAEImputer).fit(small).sample(500)["x"].max() <= 255
    late = pd.DataFrame({"d": pd.to_datetime(["2000-01-01", None, "2261-01-01", "2001-01-01"] * 8)})
    for unit in ("ns", "us"):
        out = tiny(MVAEImputer, estimate="draw").fit_transform(late.astype(f"datetime64[{unit}]"))
        assert not out["d"].isna().any()


def test_names_that_are_numbers_are_names():
    frame = pd.DataFrame({2: [i % 3 for i in range(N)], 1: REAL, 0: REAL[::-1]})
    imputer = tiny(MVAEImputer, feature_kinds={2: "categorical"}).fit(frame)
    assert imputer.feature_kinds_ == {2: "categorical", 1: "continuous", 0: "continuous"}
    assert list(imputer.transform(frame).columns) == [2, 1, 0]
    with pytest.raises(ValueError, match="column 5"):
        tiny(MVAEImputer, feature_kinds={5: "categorical"}).fit(frame)


def test_masks_of_columns_and_of_frames():
    frame = mixed()
    imputer = tiny(MVAEImputer).fit(frame)
    by_name = imputer.transform(frame, where=["count", "word"])
    chosen = [False, True, False, True, False]
    for where in (chosen, np.array(chosen)):
        assert_frame_equal(imputer.transform(frame, where=where), by_name)
    mask = frame.isna() & chosen
    for where in (mask, mask[mask.columns[::-1]], mask.astype("boolean")):
        assert_frame_equal(imputer.transform(frame, where=where), by_name)
    with pytest.raises(ValueError, match="where and X have different indices"):
        imputer.transform(frame, where=mask[::-1])
    array, labelled = frame.to_numpy(dtype=object), mask.set_axis([f"r{i}" for i in range(N)])
    imputer = tiny(MVAEImputer).fit(array)
    labelled.columns = range(mask.shape[1])
    assert imputer.transform(array, where=labelled.to_numpy()).shape == array.shape


def test_markers_in_columns_of_objects_and_categories():
    frame = pd.DataFrame({"o": pd.Series([1, -9, 2, 5] * 9, dtype=object), "x": REAL[:36]})
    frame["c"] = pd.Categorical([1, 2, -9, 2] * 9)
    imputer = tiny(MVAEImputer, missing_values=-9).fit(frame)
    assert imputer.fit_report_["n_missing"].tolist() == [9, 0, 9]
    assert not (imputer.transform(frame)[["o", "c"]].astype(int) == -9).any(axis=None)


def test_columns_alike_by_chance_are_no_copies():
    rng = np.random.default_rng(0)
    for seed in range(30):
        frame = pd.DataFrame(rng.random((12, 6)) < 0.3).astype("boolean")
        holed = frame.mask(rng.random(frame.shape) < 0.3)
        report = tiny(MVAEImputer, max_iter=1, random_state=seed).fit(holed).fit_report_
        assert "copy" not in set(report["treatment"])


def test_going_on_with_other_kinds_is_refused():
    imputer = tiny(MVAEImputer, warm_start=True).fit(mixed())
    for change in ({"feature_kinds": {"count": "integer"}}, {"learn_shapes": True}):
        with pytest.raises(ValueError, match=f"{next(iter(change))!r}.*set it back"):
            pickle.loads(pickle.dumps(imputer)).set_params(**change).fit(mixed())


def test_containers_of_others_are_refused():
    table = pa.table({"x": REAL})
    for X in (table, pl.LazyFrame({"x": REAL})):
        with pytest.raises(TypeError, match=r"pandas or polars|collect"):
            tiny(MVAEImputer).fit(X)


# -- columns that carry nothing --------------------------------------------------------------------


def odd():
    frame = mixed().assign(
        name=[f"person {i}" for i in range(N)],
        number=np.arange(N)[::-1] + 100,
        empty=None,
        same="yes",
        when=TIMES,
        copy=lambda f: f["real"],
        parts=[(i,) for i in range(N)],
    )
    frame.loc[3, "same"] = frame.loc[3, "name"] = None
    return frame


def test_columns_that_carry_nothing_are_reported_and_do_no_harm():
    frame = odd()
    with pytest.warns(UserWarning, match="'empty'"):
        imputer = tiny(MVAEImputer).fit(frame)
    report = imputer.fit_report_
    assert list(report.index) == list(frame.columns)
    assert report["treatment"].loc["name":].to_dict() == {
        "name": "identifier",
        "number": "identifier",
        "empty": "empty",
        "same": "constant",
        "when": "date",
        "copy": "copy",
        "parts": "other",
    }
    np.testing.assert_array_equal(report["n_missing"], frame.isna().sum())
    out = imputer.transform(frame)
    assert_completed(out, frame.drop(columns="empty"))
    pd.testing.assert_series_equal(out["copy"], out["real"], check_names=False)
    assert out["same"].eq("yes").all()
    # densities are those of the table without them
    alone = tiny(MVAEImputer).fit(mixed())
    np.testing.assert_allclose(imputer.score_samples(frame), alone.score_samples(mixed()))
    kept = tiny(MVAEImputer, keep_empty_features=True).fit(frame).transform(frame)
    assert list(kept.columns) == list(frame.columns)


def test_a_copy_lends_its_cells():
    frame = mixed()
    frame["copy"] = REAL
    out = tiny(MVAEImputer).fit(frame).transform(frame)
    np.testing.assert_array_equal(out["real"], REAL)
    frame.loc[0, "copy"] = None
    out = tiny(MVAEImputer).fit(frame).transform(frame)
    assert out["copy"][0] == frame["real"][0]


def test_a_date_with_holes_is_imputed_among_the_dates():
    frame = mixed().assign(day=pd.to_datetime(with_holes(DAYS, 5)))
    out = tiny(MVAEImputer, estimate="draw", max_iter=20).fit(frame).transform(frame)
    assert (out["day"] == out["day"].dt.normalize()).all()
    assert out["day"].between("2019-01-01", "2021-01-01").all()


# -- the model -------------------------------------------------------------------------------------


def test_draws_of_categories_have_their_conditional_frequencies():
    rng = np.random.default_rng(0)
    n, p = 3000, {"a": [0.8, 0.15, 0.05], "b": [0.1, 0.2, 0.7]}
    group = rng.choice(["a", "b"], n)
    word = [rng.choice(["x", "y", "z"], p=p[g]) for g in group]
    frame = pd.DataFrame({"group": group, "word": word})
    holed = frame.assign(word=frame["word"].mask(rng.random(n) < 0.3))
    imputer = MissSVAEImputer(n_hidden=16, n_blocks=0, n_latents=2, dropout=0.0, random_state=0)
    imputer.fit(holed)
    drawn = imputer.set_params(n_importance_draws=100).impute(holed, 1)[0]
    made = drawn[holed["word"].isna()]
    for name, expected in p.items():
        found = made[made["group"] == name]["word"].value_counts(normalize=True)
        np.testing.assert_allclose(found.reindex(list("xyz"), fill_value=0), expected, atol=0.07)


@pytest.mark.parametrize("cls", [MVAEImputer, VAEDensityEstimator])
def test_probabilities_of_discrete_tables_sum_to_one(cls):
    flags, words = [True, False], ["x", "y", "z"]
    ranks = pd.CategoricalDtype(["low", "high", "top"], ordered=True)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"flag": rng.choice(flags, 80), "word": rng.choice(words, 80)},
    ).assign(rank=pd.Categorical(rng.choice(ranks.categories, 80), dtype=ranks))
    model = tiny(cls, n_importance_draws=20_000, max_iter=20).fit(frame)
    every = pd.MultiIndex.from_product([flags, words, ranks.categories]).to_frame(index=False)
    every.columns = frame.columns
    every["rank"] = every["rank"].astype(ranks)
    assert np.exp(model.score_samples(every)).sum() == pytest.approx(1, abs=0.02)
    words_alone = pd.DataFrame(
        {"flag": None, "word": words, "rank": pd.Series([None] * 3, dtype=ranks)}
    )
    assert np.exp(model.score_samples(words_alone)).sum() == pytest.approx(1, abs=0.02)


def test_counts_sum_to_one_and_reals_integrate_to_one_with_warps_and_atoms():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(300) < 0.5, 0.0, rng.gamma(0.7, 3, size=300))
    frame = pd.DataFrame({"n": rng.poisson(np.where(rain > 0, 9.0, 2.0)), "rain": rain})
    for learn_shapes in (False, True):
        model = tiny(
            VAEDensityEstimator, learn_shapes=learn_shapes, max_iter=10, n_importance_draws=4_000
        ).fit(frame)
        counts = pd.DataFrame({"n": range(60), "rain": np.nan})
        assert np.exp(model.score_samples(counts)).sum() == pytest.approx(1, abs=0.02)
        grid = np.linspace(-60, 160, 2001)
        density = np.exp(model.score_samples(pd.DataFrame({"n": None, "rain": [0.0, *grid]})))
        atom = density[0] if learn_shapes else 0.0
        assert atom + density[1:].sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=0.05)


# -- any table -------------------------------------------------------------------------------------

COLUMNS = {
    "real": st.floats(-1e6, 1e6, allow_nan=False, width=32),
    "count": st.integers(0, 1000),
    "integer": st.integers(-1000, 1000),
    "flag": st.booleans(),
    "word": st.sampled_from(["a", "b", "c"]),
    "day": st.dates(datetime.date(1990, 1, 1), datetime.date(2030, 1, 1)),
}
TYPES = {"count": "Int64", "integer": "Int64", "flag": "boolean", "word": "string"}


@st.composite
def tables(draw):
    n = draw(st.integers(2, 12))
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=5))
    data = {}
    for i, kind in enumerate(kinds):
        cells = draw(st.lists(st.none() | COLUMNS[kind], min_size=n, max_size=n))
        column = pd.Series(pd.to_datetime(cells) if kind == "day" else cells)
        data[f"{kind}{i}"] = column.astype(
            TYPES.get(kind, column.dtype if kind == "day" else float)
        )
    return pd.DataFrame(data)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_any_kinds_and_any_holes(frame):
    if not frame.notna().any(axis=None):
        with pytest.raises(ValueError, match="no observed cell"):
            tiny(MVAEImputer).fit(frame)
        return
    imputer = tiny(MVAEImputer, max_iter=1).fit(frame)
    kept = [name for name in frame if frame[name].notna().any()]
    for estimate in ("auto", "draw"):
        imputer.set_params(estimate=estimate)
        assert_completed(imputer.transform(frame), frame[kept])
    assert np.isfinite(imputer.score_samples(frame)).all()


def test_every_imputer_is_meant():
    assert len(IMPUTERS) == 7


# -- frames of one library at fit, of another afterwards -------------------------------------------


def of_many_kinds():
    return pd.DataFrame(
        {
            "a": REAL,
            "b": with_holes(REAL[::-1], 4),
            "n": pd.Series(with_holes(COUNTS, 5), dtype="Int64"),
            "s": pd.Series(with_holes(WORDS, 7), dtype="category"),
            "w": with_holes(WORDS, 6),
            "t": pd.Series(pd.to_datetime(with_holes(TIMES, 5))),
            "flag": pd.Series(with_holes(FLAGS, 6), dtype="boolean"),
        }
    )


def test_rows_of_nothing_but_holes_come_from_either_library():
    frame = of_many_kinds()
    row = {"a": [1.0], **{name: [None] for name in frame.columns[1:]}}
    ours, theirs = pd.DataFrame(row), pl.DataFrame(row)
    for fitted in (frame, pl.from_pandas(frame)):
        imputer = tiny(MVAEImputer).fit(fitted)
        made, also = imputer.transform(ours), imputer.transform(theirs)
        assert isinstance(made, pd.DataFrame)
        assert isinstance(also, pl.DataFrame)
        assert list(made.columns) == also.columns == list(frame.columns)
        cells, others = made.iloc[0].tolist(), also.row(0)
        assert not any(cell is None or pd.isna(cell) for cell in (*cells, *others))
        assert [str(c).removesuffix(".0") for c in cells] == [
            str(c).removesuffix(".0") for c in others
        ]
        assert also.schema["n"] == pl.Int64
        assert also.schema["t"].is_temporal()
        assert imputer.impute(theirs, 2)[1].null_count().to_numpy().sum() == 0
        assert not imputer.impute(ours, 2)[1].isna().any(axis=None)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([0.1, 0.2] * 20, dtype="float32"),
        pd.Series([1, 2, 3, 4] * 10, dtype="Int8"),
        pd.Series(pd.Categorical(["lo", "hi"] * 20, ["lo", "mid", "hi"], ordered=True)),
        pd.Series(pd.Categorical([3, 4, 5, 4] * 10)),
        pd.Series(pd.Categorical([3, 4, 5, 4] * 10, ordered=True)),
        pd.Series([1.5, 2.25] * 20, dtype=pd.ArrowDtype(pa.decimal128(6, 2))),
        pd.Series([decimal.Decimal("1.5"), decimal.Decimal("2.25")] * 20),
        pd.Series(["a", 1] * 20).map(lambda cell: cell == "a").astype(object),
        pd.Series(pd.to_datetime(TIMES[:40])).dt.tz_localize("America/New_York"),
        pl.Series([1.5, 2.25] * 20, dtype=pl.Decimal(6, 2)),
        pl.Series([1, 2, 3, 4] * 10, dtype=pl.Int128),
        pl.Series([200, 250] * 20, dtype=pl.UInt8),
        pl.Series(["lo", "hi"] * 20, dtype=pl.Enum(["lo", "mid", "hi"])),
        pl.Series(DAYS[:40]),
    ],
    ids=lambda column: f"{type(column).__module__.split('.')[0]} {column.dtype}",
)
def test_cells_keep_their_values_in_another_library(column):
    theirs = isinstance(column, pl.Series)
    frame = pl.DataFrame({"c": column}) if theirs else column.to_frame("c")
    holed = without(frame, np.arange(40)[:, None] % 5 == 0)
    x = pl.Series("x", range(40), dtype=pl.Float64) if theirs else np.arange(40.0)
    holed = holed.with_columns(x) if theirs else holed.assign(x=x)
    imputer = tiny(MVAEImputer).fit(holed)
    row = {"c": [None], "x": [7.0]}
    made = imputer.transform(pd.DataFrame(row) if theirs else pl.DataFrame(row))["c"].to_list()[0]
    known = column.to_list()
    if isinstance(known[0], (float, decimal.Decimal)):
        assert float(made) != round(float(made))  # its fraction is not lost
    elif isinstance(known[0], (int, datetime.date)):
        assert min(known) <= made <= max(known)
    else:
        assert made in known


def test_frames_of_polars_become_frames_of_pandas_with_their_types():
    frame = pl.from_pandas(of_many_kinds()).with_columns(
        pl.col("s").cast(pl.Enum(["blue", "green", "red"]))
    )
    imputer = tiny(MVAEImputer).fit(frame)
    expected = imputer.transform(frame)
    made = imputer.set_output(transform="pandas").transform(frame)
    assert isinstance(made, pd.DataFrame)
    kinds = {
        name: dtype.kind if hasattr(dtype, "kind") else dtype for name, dtype in made.dtypes.items()
    }
    assert (kinds["a"], kinds["b"], kinds["n"], kinds["t"], kinds["flag"]) == (
        "f",
        "f",
        "i",
        "M",
        "b",
    )
    assert made["s"].dtype == pd.CategoricalDtype(["blue", "green", "red"], ordered=True)
    for name in frame.columns:
        assert made[name].tolist() == expected[name].to_list()
    with sklearn.config_context(transform_output="pandas"):
        assert_frame_equal(tiny(MVAEImputer).fit(frame).transform(frame), made)


@pytest.mark.parametrize("library", [pd, pl])
def test_integers_that_a_narrower_type_cannot_hold_widen_it(library):
    number = np.arange(N) % 7 + 1000
    frame = pd.DataFrame(
        {"n": pd.array(with_holes(number.tolist(), 5), dtype="Int64"), "x": number / 7}
    )
    imputer = tiny(MVAEImputer, feature_kinds={"n": "integer"}).fit(frame)
    given = pd.DataFrame({"n": pd.array([None, 1], dtype="Int8"), "x": [143.0, 143.0]})
    made = imputer.transform(given if library is pd else pl.from_pandas(given))["n"]
    assert made.dtype == (pd.Int64Dtype() if library is pd else pl.Int64)
    assert made.to_list()[0] > 900
    assert made.to_list()[1] == 1
    complete = given.assign(n=pd.array([3, 1], dtype="Int8"))
    assert_frame_equal(imputer.transform(complete), complete)


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize(
    ("at_fit", "served", "cells"),
    [
        ("Int64", "UInt64", [None, 2**64 - 1]),  # neither type holds all
        ("UInt64", "Int64", [None, -5]),
        ("Int8", "Int64", [None, 2**40]),
    ],
)
def test_observed_integers_stay_what_they_are(library, at_fit, served, cells):
    low = {"Int64": -200, "UInt64": 2**63 + 10**6, "Int8": -90}[at_fit]
    values = [low + 3 * (i % 7) for i in range(N)]
    frame = pd.DataFrame({"n": pd.array(with_holes(values, 5), dtype=at_fit), "x": range(N)})
    imputer = tiny(MVAEImputer, feature_kinds={"n": "integer"}).fit(frame)
    given = pd.DataFrame({"n": pd.array(cells, dtype=served), "x": [3, 3]})
    made = imputer.transform(given if library is pd else pl.from_pandas(given))["n"]
    assert made.to_list()[1] == cells[1]
    assert made.to_list()[0] is not None
    assert str(made.dtype) == served


def test_columns_that_pandas_has_no_type_for_stay_objects():
    zone = pl.Datetime("us", "America/New_York")
    frame = pl.DataFrame(
        {
            "x": with_holes(REAL, 4),
            "t": pl.Series(TIMES).dt.replace_time_zone("America/New_York").cast(zone),
            "day": DAYS,
            "parts": [{"a": 1}] * N,
            "n": pl.Series(with_holes([2**60 + i for i in COUNTS], 5)),
            "flag": with_holes(FLAGS, 6),
        }
    )
    imputer = tiny(MVAEImputer).set_output(transform="pandas").fit(frame)
    made = imputer.transform(frame, where=["x"])
    assert str(made["t"].dtype.tz) == "America/New_York"
    assert [time.isoformat() for time in made["t"]] == [time.isoformat() for time in frame["t"]]
    assert made["day"].tolist() == DAYS
    assert made["parts"].tolist() == [{"a": 1}] * N
    assert made["n"].dtype == pd.Int64Dtype()
    assert made["n"].dropna().tolist() == frame["n"].drop_nulls().to_list()
    assert made["flag"].dtype == pd.BooleanDtype()


# -- what is told of columns -----------------------------------------------------------------------


def test_strings_that_are_mostly_numbers_are_warned_of():
    words = [f"{100 + 10 * x:.3f}" for x in REAL]
    words[::9] = ["?"] * len(words[::9])
    frame = pd.DataFrame({"x": REAL, "hp": words})
    with pytest.warns(UserWarning, match=r"mostly numbers.*'hp'.*to_numeric"):
        imputer = tiny(MVAEImputer).fit(frame)
    assert "to_numeric" in imputer.fit_report_.loc["hp", "remark"]
    codes = [f"0{i}" for i in range(N)]
    for quiet_options, column in (
        ({"feature_kinds": {"hp": "categorical"}}, words),
        ({"categorical_features": ["hp"]}, words),
        ({}, pd.Categorical(words)),
        ({}, pd.Series(words).map({w: w for w in words[:5]}).fillna("1").tolist()),  # few levels
        ({}, [str(10_000 + 7 * i) for i in range(N)]),  # names of rows
        ({}, codes),
    ):
        assert not warned(tiny(MVAEImputer, **quiet_options), frame.assign(hp=column), "mostly")


def warned(imputer, frame, words):
    with pytest.MonkeyPatch.context() as patch:
        told = []
        patch.setattr(
            "skmissvae.estimators.base.warnings.warn", lambda text, *_, **__: told.append(text)
        )
        imputer.fit(frame)
    return [text for text in told if words in text]


def test_holes_in_names_of_rows_are_warned_of():
    frame = pd.DataFrame({"x": REAL, "email": with_holes([f"u{i}@x" for i in range(N)], 9)})
    assert warned(tiny(MVAEImputer), frame, "'email'. Drop them")
    assert not warned(tiny(MVAEImputer), frame.dropna(), "Drop them")
    assert not warned(tiny(VAEDensityEstimator), frame, "Drop them")


def test_categories_of_polars_are_meant():
    frame = pl.DataFrame({"x": REAL, "hp": pl.Series([str(i % 30) for i in range(N)])})
    assert warned(tiny(MVAEImputer), frame, "mostly")
    meant = frame.with_columns(pl.col("hp").cast(pl.Categorical))
    assert not warned(tiny(MVAEImputer), meant, "mostly")


def test_a_stray_word_among_numbers_is_named():
    frame = pd.DataFrame({"q": pd.Series([1, 2, "42", "bad"] * 10, dtype=object), "x": range(40)})
    with pytest.raises(ValueError, match="holds 'bad' in row 3"):
        tiny(MVAEImputer).fit(frame)
    frame["q"] = pd.Series([1, 2, "nan", 4] * 10, dtype=object)
    with pytest.raises(ValueError, match="missing_values='nan'"):
        tiny(MVAEImputer).fit(frame)
    frame["q"] = pd.Series([1, 2, "42", 4] * 10, dtype=object)
    with pytest.raises(ValueError, match=r"holds '42' in row 2.*make it a number"):
        tiny(MVAEImputer).fit(frame)


def test_complex_numbers_are_left_as_they_are():
    for cells in (np.array([1j, 2j] * 10), [np.complex64(1j), np.complex64(2j)] * 10):
        frame = pd.DataFrame({"c": pd.Series(cells), "x": with_holes(REAL[:20], 3)})
        assert_frame_equal(tiny(MVAEImputer).fit_transform(frame)[["c"]], frame[["c"]])


@pytest.mark.parametrize(
    "X", [np.zeros(3, dtype=[("a", "f4"), ("b", "f4")]), [{"a": 1.0}, {"a": 2.0}]]
)
def test_what_wants_to_be_a_frame_is_told_so(X):
    with pytest.raises(TypeError, match=r"give pandas.DataFrame\(X\)"):
        tiny(MVAEImputer).fit(X)
