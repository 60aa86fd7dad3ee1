import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import expit

from skmissvae.tables import make_missing, missing_patterns
from skmissvae.tables.missingness import borrowed_masks
from skmissvae.tables.missingness_mechanisms import missing_probabilities

N = 20_000
ERROR = 4 * np.sqrt(0.25 / N)  # of a share of rows, and more than that of one of cells
KINDS = ["right", "left", "mid", "tail"]
TABLES = ["mcar", "mar", "mnar"]
IMAGES = {"pixels": 0.5, "squares": 0.25, "quadrants": 0.5, "halves": 0.5}
PATTERNS = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1]], dtype=bool)

every_mechanism = pytest.mark.parametrize("mechanism", TABLES)
every_kind = pytest.mark.parametrize("kind", KINDS)


def normal(n=N, n_columns=4, correlation=0.6):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n, 1)) * np.sqrt(correlation)
    return common + rng.normal(size=(n, n_columns)) * np.sqrt(1 - correlation)


def holed(n=N, share=0.3):
    X = normal(n)
    X[np.random.default_rng(1).random(X.shape) < share * np.array([0, 1, 1.5, 0.5])] = np.nan
    return X


def masked(*args, random_state=0, **kwargs):
    return make_missing(*args, random_state=random_state, return_mask=True, **kwargs)[1]


def related(values, mask):
    """Return whether values differ between hidden and other cells by more than chance."""
    return abs(np.corrcoef(values, mask)[0, 1]) > 4 / np.sqrt(len(values))


@every_mechanism
@every_kind
@pytest.mark.parametrize("X", [normal(), holed(), normal() ** 3], ids=["all", "holed", "heavy"])
@pytest.mark.parametrize("proportion", [0.02, 0.3, 0.7])
def test_the_share_of_cells(mechanism, kind, X, proportion):
    hidden = masked(X, mechanism, proportion, kind=kind)
    assert hidden.sum() / (~np.isnan(X)).sum() == pytest.approx(proportion, abs=ERROR)


@every_mechanism
@every_kind
@pytest.mark.parametrize("X", [normal(), holed()], ids=["all", "holed"])
def test_the_share_of_cells_by_patterns(mechanism, kind, X):
    chosen = {"patterns": PATTERNS, "frequencies": [3, 2, 5]}
    hidden = masked(X, mechanism, 0.25, kind=kind, **chosen)
    assert hidden.sum() / (~np.isnan(X)).sum() == pytest.approx(0.25, abs=ERROR)


@every_mechanism
@every_kind
def test_the_share_of_rows_and_the_frequencies_of_patterns(mechanism, kind):
    chosen = {"patterns": PATTERNS, "frequencies": [3, 2, 5], "of": "rows"}
    hidden = masked(normal(), mechanism, 0.8, kind=kind, **chosen)
    found = (hidden[:, None] == PATTERNS).all(-1)  # (N, P)
    assert (found.any(1) == hidden.any(1)).all()
    np.testing.assert_allclose(found.mean(0), [0.24, 0.16, 0.40], atol=ERROR)


@every_kind
@pytest.mark.parametrize("share", [1e-6, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("draw", ["normal", "standard_cauchy", "exponential"])
def test_expected_shares_are_exact(kind, share, draw):
    rng = np.random.default_rng(0)
    score, weight = getattr(rng, draw)(size=1000) * 1e200, rng.integers(3, size=1000).astype(float)
    chances = missing_probabilities(score, share, weight, kind)
    assert np.average(chances, weights=weight) == pytest.approx(share, abs=1e-9)


def test_kinds_are_those_of_ampute():
    score, weight = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.ones(5)
    z = score / np.sqrt(2)
    curves = {"right": z, "left": -z, "mid": 0.75 - abs(z), "tail": abs(z) - 0.75}
    for kind, curve in curves.items():
        chances = missing_probabilities(7 + 3 * score, expit(curve + 0.3).mean(), weight, kind)
        np.testing.assert_allclose(chances, expit(curve + 0.3), atol=1e-9)


@pytest.mark.parametrize("patterns", [None, PATTERNS], ids=["cells", "patterns"])
def test_completely_at_random_is_whatever_the_values(patterns):
    X = normal()
    hidden = masked(X, "mcar", patterns=patterns)
    assert not any(related(x, gone) for x in X.T for gone in hidden.T)
    if patterns is None:
        assert not any(related(hidden[:, i], hidden[:, j]) for i in range(4) for j in range(i))
    np.testing.assert_array_equal(hidden, masked(X**3, "mcar", patterns=patterns))


def rest(X, hidden, others):
    """Return the part of a column that the others do not explain, and whether it is hidden."""
    j = np.flatnonzero(hidden.any(0))[0]
    given = np.column_stack([np.ones(len(X)), X[:, others]])
    return X[:, j] - given @ np.linalg.lstsq(given, X[:, j], rcond=None)[0], hidden[:, j]


@pytest.mark.parametrize("patterns", [None, [[False, True]]], ids=["cells", "patterns"])
@pytest.mark.parametrize("kind", ["right", "left"])
def test_at_random_is_by_observed_values_alone(patterns, kind):
    X = normal(n_columns=2)
    hidden = masked(X, "mar", 0.2, kind=kind, patterns=patterns)
    kept = ~hidden.any(0)
    assert kept.sum() == 1
    seen, gone = X[:, kept][:, 0], hidden[:, ~kept][:, 0]
    assert related(seen, gone)
    assert related(X[:, ~kept][:, 0], gone)
    assert not related(*rest(X, hidden, kept))
    # nor is the hidden column another one within any layer of the observed one
    value = X[:, ~kept][:, 0]
    for rows in np.array_split(np.argsort(seen), 20)[1:-1]:
        difference = value[rows][gone[rows]].mean() - value[rows][~gone[rows]].mean()
        assert abs(difference) < 4.5 / np.sqrt(gone[rows].sum() * (~gone[rows]).mean())


@pytest.mark.parametrize("patterns", [None, [[False, True]]], ids=["cells", "patterns"])
@every_kind
def test_not_at_random_is_by_hidden_values(patterns, kind):
    X = normal(n_columns=2)
    hidden = masked(X, "mnar", 0.2, kind=kind, patterns=patterns)
    value, gone = rest(X, hidden, [1 - np.flatnonzero(hidden.any(0))[0]])
    assert related(value if kind in ("right", "left") else abs(value), gone)


@pytest.mark.parametrize("patterns", [None, [[False, True, True, False]]])
@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
def test_kinds_say_which_scores_go_missing(mechanism, patterns):
    X = normal(correlation=0.95)  # any sum of columns is nearly the mean
    score = X.mean(1) / X.mean(1).std()
    signs = {}
    for kind in KINDS:
        gone = masked(X, mechanism, 0.2, kind=kind, patterns=patterns).any(1)
        signs[kind] = [
            np.sign(np.round(value[gone].mean() - value[~gone].mean(), 1))
            for value in (score, abs(score))
        ]
    assert signs["right"][0] == 1
    assert signs["left"][0] == -1
    assert signs["mid"] == [0, -1]
    assert signs["tail"] == [0, 1]


@pytest.mark.parametrize("patterns", [None, PATTERNS], ids=["cells", "patterns"])
@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
def test_left_is_right_of_the_mirror_image_in_any_units(mechanism, patterns):
    X, chosen = holed(), {"mechanism": mechanism, "patterns": patterns}
    for kind, mirror in {"right": "left", "left": "right", "mid": "mid", "tail": "tail"}.items():
        hidden = masked(X, kind=kind, **chosen)
        np.testing.assert_array_equal(hidden, masked(-X, kind=mirror, **chosen))
        np.testing.assert_array_equal(hidden, masked(X * 2.0**600, kind=kind, **chosen))


def test_weights_say_which_columns_count():
    X = normal(correlation=0.0)
    patterns = [[True, True, False, False], [False, False, True, True]]
    weights = np.array([[0, 0, 1, 0], [-1, 0, 0, 0.0]])
    hidden = masked(X, "mar", patterns=patterns, weights=weights)
    np.testing.assert_array_equal(hidden, masked(X, "mar", patterns=patterns, weights=9 * weights))
    for p, (column, sign) in enumerate([(2, 1), (0, -1)]):
        gone = hidden[:, 2 * p]
        assert sign * (X[gone, column].mean() - X[~gone, column].mean()) > 0.3
        # rows of the other pattern are not it
        assert not any(related(X[:, j], gone) for j in range(4) if j != column)
    hidden = masked(X, "mnar", patterns=patterns, weights=[[0, 0, 0, 0], [0, 1, 0, 0]])
    assert [related(X[:, j], hidden[:, 0]) for j in range(4)] == [False] * 4
    assert [related(X[:, j], hidden[:, 2]) for j in range(4)] == [False, True, False, False]


@pytest.mark.parametrize("n_columns", [2, 3, 5, 10])
def test_at_random_works_for_every_possible_proportion(n_columns):
    X = normal(2000, n_columns)
    for most in np.linspace(0.125, 1, 8):
        proportion = most * (n_columns - 1) / n_columns
        hidden = masked(X, "mar", proportion)
        assert hidden.mean() == pytest.approx(proportion, abs=0.03)
        n_kept = (~hidden.any(0)).sum()
        assert 1 <= n_kept <= round(n_columns / 3)
        # chances leave room for values to matter
        assert n_kept == 1 or proportion * n_columns <= 0.9 * (n_columns - n_kept)
    assert (~masked(X, "mar", 0.3).any(0)).sum() == round(n_columns / 3)
    columns = {tuple(masked(X, "mar", random_state=seed).any(0)) for seed in range(20)}
    assert len(columns) > 1


@every_mechanism
def test_the_ends_of_the_scale(mechanism):
    X = normal(50)
    np.testing.assert_array_equal(make_missing(X, mechanism, 0), X)
    if mechanism != "mar":
        assert np.isnan(make_missing(X, mechanism, 1)).all()
    assert not masked(X, mechanism, 0, patterns=PATTERNS).any()
    assert masked(X, mechanism, 1, patterns=PATTERNS, of="rows").any(1).all()


@every_mechanism
def test_what_holds_one_value_or_none_carries_no_score(mechanism):
    X = np.column_stack([np.full(N, 0.1), np.full(N, np.nan), np.full(N, 3.0), normal()[:, 0]])
    for seed in range(5):
        hidden = masked(X, mechanism, 0.3, random_state=seed)
        assert hidden.sum() / (3 * N) == pytest.approx(0.3, abs=ERROR)
        if mechanism == "mar":
            assert not hidden[:, 3].any()
            assert related(X[:, 3], hidden[:, 0])
    hidden = masked(X[:, :3], mechanism, 0.3)
    assert hidden.sum() / (2 * N) == pytest.approx(0.3, abs=ERROR)


def test_holes_count_as_the_mean():
    X = holed(2000) + 5
    filled = np.where(np.isnan(X), np.nanmean(X, 0), X)
    chosen = {"of": "rows", "patterns": [[True, False, False, False]], "weights": [[0, 0, 1, 0]]}
    hidden = masked(X, "mar", **chosen)
    np.testing.assert_array_equal(hidden, masked(filled, "mar", **chosen))


def many(n=3000):
    rng = np.random.default_rng(0)
    code = rng.integers(3, size=n)
    day = pd.Timestamp("2020-01-01", tz="Europe/Berlin") + pd.to_timedelta(code, "D")
    return code, pd.DataFrame(
        {
            "word": np.array(["a", "b", "c"])[code],
            "level": pd.Categorical(np.array(["z", "m", "a"])[code], ["z", "m", "a"], ordered=True),
            "day": day,
            "wait": pd.to_timedelta(code, "h"),
            "count": pd.array(code, "Int64"),
            "flag": pd.array(code > 1, "boolean"),
            "int": code,
            "bool": code > 1,
            "small": code.astype(np.float32),
            "object": np.array(["a", "b", "c"], dtype=object)[code],
            "whole": rng.integers(-9, 9, size=n).astype(np.int8),
        },
        index=pd.Index(rng.permutation(n), name="row"),
    )


def as_polars(frame):
    return pl.from_pandas(frame.drop(columns=["level", "object"])).with_columns(
        pl.Series("^.*$", frame["level"].to_list(), dtype=pl.Enum(["z", "m", "a"])),
        pl.Series("date", frame["day"].dt.date.to_list()),
        pl.Series("price", frame["count"].to_list(), dtype=pl.Decimal(10, 2)),
    )


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_columns_of_every_type_carry_scores(container):
    code, frame = many()
    X = as_polars(frame) if container == "polars" else frame
    hidden = masked(X, "mnar", 0.4)
    for name, gone in zip(X.columns, hidden.T, strict=True):
        if name != "whole":
            assert code[gone].mean() > code[~gone].mean() + 0.3, name
    for j in range(X.shape[1]):
        others = [[k == (j + 1) % X.shape[1] for k in range(X.shape[1])]]
        weights = [[float(k == j) for k in range(X.shape[1])]]
        gone = masked(X, "mar", 0.4, of="rows", patterns=others, weights=weights).any(1)
        assert code[gone].mean() > code[~gone].mean() + 0.3 or X.columns[j] == "whole"


def test_columns_of_other_types_are_hidden_at_random():
    X = pl.DataFrame(
        {
            "list": [[1], [2], [3]] * 100,
            "time": [datetime.time(1)] * 300,
            "null": [None] * 300,
            "x": range(300),
        }
    )
    for mechanism in TABLES:
        made, hidden = make_missing(X, mechanism, 0.3, random_state=0, return_mask=True)
        assert made.schema == X.schema
        assert hidden.sum() / 900 == pytest.approx(0.3, abs=0.06)
        assert not hidden[:, 2].any()


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_frames_of_pandas_keep_all_but_what_is_hidden(mechanism):
    _, frame = many(300)
    frame = frame.mask(np.random.default_rng(1).random(frame.shape) < [0.1] * 6 + [0] * 5)
    given = frame.copy()
    made, hidden = make_missing(frame, mechanism, random_state=0, return_mask=True)
    pd.testing.assert_frame_equal(frame, given)
    np.testing.assert_array_equal(made.isna(), frame.isna() | hidden)
    assert made.columns.equals(frame.columns)
    pd.testing.assert_index_equal(made.index, frame.index)
    for name, gone in zip(frame, hidden.T, strict=True):
        expected = {"int": "float64", "bool": "object", "whole": "float64"}.get(name)
        if expected is None or not gone.any():
            expected = frame[name].dtype
        assert made[name].dtype == expected, name
        assert made[name][~gone].dropna().tolist() == frame[name][~gone].dropna().tolist()


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_frames_of_polars_keep_all_but_what_is_hidden(mechanism):
    frame = as_polars(many(300)[1])
    given = frame.clone()
    made, hidden = make_missing(frame, mechanism, random_state=0, return_mask=True)
    assert frame.equals(given)
    assert made.schema == frame.schema
    for before, after, gone in zip(frame, made, hidden.T, strict=True):
        assert after.is_null().to_list() == gone.tolist()
        assert after.filter(~gone).equals(before.filter(~gone))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, int, bool])
def test_arrays_keep_all_but_what_is_hidden(dtype):
    X = (100 * normal(200)).astype(dtype)
    given = X.copy()
    made, hidden = make_missing(X, "mar", random_state=0, return_mask=True)
    np.testing.assert_array_equal(X, given)
    assert made.dtype == (dtype if dtype == np.float32 else np.float64)
    assert not np.shares_memory(made, X)
    np.testing.assert_array_equal(np.isnan(made), hidden)
    np.testing.assert_array_equal(made[~hidden], X[~hidden])


def test_lists_are_tables():
    X = normal(30)
    made = make_missing(X.tolist(), random_state=0)
    np.testing.assert_array_equal(made, make_missing(X, random_state=0))


@every_mechanism
def test_holes_stay_and_are_not_hidden_anew(mechanism):
    X = holed(500)
    for patterns in (None, PATTERNS):
        made, hidden = make_missing(X, mechanism, patterns=patterns, return_mask=True)
        assert not (hidden & np.isnan(X)).any()
        np.testing.assert_array_equal(np.isnan(made), hidden | np.isnan(X))


@every_mechanism
@pytest.mark.parametrize("patterns", [None, PATTERNS], ids=["cells", "patterns"])
def test_the_same_seed_hides_the_same_cells_in_any_container(mechanism, patterns):
    X, chosen = holed(500), {"mechanism": mechanism, "patterns": patterns}
    state = np.random.get_state()[1].copy()  # noqa: NPY002  that of everybody
    hidden = masked(X, **chosen)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    frame = pd.DataFrame(X, index=range(9, 509))
    for same in (X, X.copy("F"), frame, pl.DataFrame(X)):
        np.testing.assert_array_equal(hidden, masked(same, **chosen))
    rng = np.random.RandomState(0)
    np.testing.assert_array_equal(hidden, masked(X, random_state=rng, **chosen))
    assert (hidden != masked(X, random_state=rng, **chosen)).any()
    assert (hidden != masked(X, random_state=1, **chosen)).any()


@pytest.mark.parametrize("mechanism", IMAGES)
@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (3, 9, 5)])
def test_images_lose_their_share_in_all_channels_alike(mechanism, shape):
    X = np.ones((5000, np.prod(shape)))
    shares = {"quadrants": [0.25, 0.5, 0.75], "halves": [0.5]}.get(mechanism, [0.1, 0.33, 0.5])
    for proportion in shares:
        hidden = masked(X, mechanism, proportion, image_shape=shape)
        assert hidden.mean() == pytest.approx(proportion, abs=0.015)
        images = hidden.reshape(-1, *shape)
        if len(shape) == 3:
            assert (images == images[:, :1]).all()
    default = masked(X, mechanism, image_shape=shape)
    np.testing.assert_array_equal(
        default, masked(X, mechanism, IMAGES[mechanism], image_shape=shape)
    )


def test_pixels_go_on_their_own():
    hidden = masked(np.ones((N, 6)), "pixels", 0.4, image_shape=(2, 3))
    np.testing.assert_allclose(hidden.mean(0), 0.4, atol=ERROR)
    assert not any(related(hidden[:, i], hidden[:, j]) for i in range(6) for j in range(i))


def test_squares_are_squares_anywhere():
    images = masked(np.ones((N, 70)), "squares", 0.3, image_shape=(7, 10)).reshape(-1, 7, 10)
    rows, columns = images.any(2), images.any(1)
    np.testing.assert_array_equal(images, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):
        assert (np.abs(np.diff(line, axis=1, prepend=False, append=False)).sum(1) == 2).all()
    np.testing.assert_array_equal(rows.sum(1), columns.sum(1))
    assert set(rows.sum(1)) == {4, 5}  # of 21 pixels
    for side in (4, 5):
        of_side = rows.sum(1) == side
        for line in (rows[of_side], columns[of_side]):
            n_places = line.shape[1] - side + 1
            places = np.bincount(line.argmax(1), minlength=n_places) / len(line)
            np.testing.assert_allclose(places, 1 / n_places, atol=0.03)
    whole = masked(np.ones((9, 784)), "squares", 0.25, image_shape=(28, 28))
    assert (whole.sum(1) == 14**2).all()
    assert masked(np.ones((9, 70)), "squares", 49 / 70, image_shape=(10, 7)).sum() == 9 * 49


def test_quadrants_and_halves_are_exact():
    lower, right = np.indices((5, 4)) >= np.array([2, 2])[:, None, None]
    quadrants = [~lower & ~right, ~lower & right, lower & ~right, lower & right]
    X, shape = np.ones((4000, 20)), (5, 4)
    for n in (1, 2, 3):
        images = masked(X, "quadrants", n / 4, image_shape=shape).reshape(-1, *shape)
        chosen = np.column_stack([images[:, quadrant].all(1) for quadrant in quadrants])
        touched = np.column_stack([images[:, quadrant].any(1) for quadrant in quadrants])
        np.testing.assert_array_equal(chosen, touched)
        assert (chosen.sum(1) == n).all()
        np.testing.assert_allclose(chosen.mean(0), n / 4, atol=0.04)
    images = masked(X, "halves", image_shape=shape).reshape(-1, *shape)
    found = [(images == half).all((1, 2)) for half in (lower, ~lower, right, ~right)]
    assert np.any(found, axis=0).all()
    np.testing.assert_allclose(np.mean(found, axis=1), 0.25, atol=0.04)


def test_defaults_hide_three_tenths():
    for mechanism in TABLES:
        assert masked(normal(), mechanism).mean() == pytest.approx(0.3, abs=ERROR)


@pytest.mark.parametrize(
    ("error", "parameters"),
    [
        ("mechanism must be one of 'mcar', .* 'halves'; got 'MAR'", {"mechanism": "MAR"}),
        ("proportion must be a number from 0 to 1, or None; got 30", {"proportion": 30}),
        ("proportion must be .* got nan", {"proportion": np.nan}),
        ("proportion must be .* got '0.3'", {"proportion": "0.3"}),
        ("proportion must be .* got True", {"proportion": True}),
        ("of must be one of 'cells', 'rows'; got 'columns'", {"of": "columns"}),
        ("kind must be one of 'right', .* got \\['left'\\]", {"kind": ["left"]}),
        ("of='rows' counts the rows that get a pattern; give patterns", {"of": "rows"}),
        ("frequencies are those of patterns; give patterns", {"frequencies": [1]}),
        ("weights are those of patterns; give", {"mechanism": "mar", "weights": [[1, 0, 0, 0]]}),
        ("weights mean nothing to mechanism='mcar'", {"patterns": PATTERNS, "weights": PATTERNS}),
        ("proportion=0.8 is too high: at most 0.75 of", {"mechanism": "mar", "proportion": 0.8}),
        ("too high: at most 0.5 of", {"patterns": PATTERNS, "proportion": 0.6}),
        ("patterns must be bool of shape .n_patterns, 4.* got int64", {"patterns": 1 * PATTERNS}),
        ("patterns must be bool .* got bool of shape .3, 3.", {"patterns": PATTERNS[:, 1:]}),
        ("patterns must be bool .* got bool of shape .4,.", {"patterns": PATTERNS[0]}),
        ("patterns must be bool .* got bool of shape .0, 4.", {"patterns": PATTERNS[:0]}),
        ("patterns.1. hides no column", {"patterns": [[True] * 4, [False] * 4]}),
        (
            "patterns.0. hides every column, but mechanism='mar'",
            {"mechanism": "mar", "patterns": [[True] * 4]},
        ),
        ("frequencies must be .* 3 patterns", {"patterns": PATTERNS, "frequencies": [1, 1]}),
        ("frequencies must be", {"patterns": PATTERNS, "frequencies": [1, 1, -1]}),
        ("frequencies must be", {"patterns": PATTERNS, "frequencies": [0, 0, 0]}),
        ("frequencies must be", {"patterns": PATTERNS, "frequencies": [0, np.nan, 1]}),
        (
            "weights must be finite numbers of the shape of patterns, .3, 4.",
            {"mechanism": "mnar", "patterns": PATTERNS, "weights": [1, 2, 3, 4]},
        ),
        (
            "weights must be finite",
            {"mechanism": "mnar", "patterns": PATTERNS, "weights": np.where(PATTERNS, np.inf, 0)},
        ),
        (
            "weights.1, 2.=3.0 is of a column that patterns.1. hides",
            {
                "mechanism": "mar",
                "patterns": PATTERNS,
                "weights": [[0, 1, 1, 1], [1, 0, 3, 1], [0, 0, 1, 0]],
            },
        ),
        ("'pixels' hides parts of images; give image_shape", {"mechanism": "pixels"}),
        ("image_shape=.2, 2. means nothing to mechanism='mcar'", {"image_shape": (2, 2)}),
        (
            "patterns mean nothing to mechanism='squares'",
            {"mechanism": "squares", "image_shape": (2, 2), "patterns": PATTERNS},
        ),
        (
            "image_shape=.2, 3. has 6 cells, but X has 4 columns",
            {"mechanism": "halves", "image_shape": (2, 3)},
        ),
        ("image_shape must be .height", {"mechanism": "halves", "image_shape": 4}),
        ("image_shape must be .height", {"mechanism": "halves", "image_shape": (2.0, 2.0)}),
        ("image_shape must be .height", {"mechanism": "halves", "image_shape": (-2, -2)}),
        (
            "proportion must be 0.25 or 0.5 or 0.75 for mechanism='quadrants'; got 0.3",
            {"mechanism": "quadrants", "image_shape": (2, 2), "proportion": 0.3},
        ),
        (
            "proportion must be 0.5 for mechanism='halves'; got 0.25",
            {"mechanism": "halves", "image_shape": (2, 2), "proportion": 0.25},
        ),
        (
            "=0.5 is too high: no square has 2 pixels in an image of height 1 and width 4",
            {"mechanism": "squares", "image_shape": (1, 4), "proportion": 0.5},
        ),
    ],
)
def test_what_does_not_go_together(error, parameters):
    with pytest.raises(ValueError, match=error):
        make_missing(normal(20), **parameters)


@pytest.mark.parametrize("function", [make_missing, missing_patterns])
def test_what_is_no_table(function):
    frame = pl.DataFrame({"a": [1, 2]})
    with pytest.raises(TypeError, match="lazy frame"):
        function(frame.lazy())
    for wrong in (frame["a"], pd.Series([1.0]), np.ones(3), pd.DataFrame()):
        with pytest.raises(ValueError):
            function(wrong)


def test_tables_with_nothing_to_hide():
    for X in (np.full((3, 2), np.nan), pd.DataFrame({"a": []}), pl.DataFrame()):
        with pytest.raises(ValueError, match="no observed cell to hide"):
            make_missing(X)
    with pytest.raises(ValueError, match="contains infinity: column 'b', row 1, holds -inf"):
        make_missing(pd.DataFrame({"a": [1.0, 2.0], "b": [0.5, -np.inf]}), "mnar")
    with pytest.raises(ValueError, match="at most 0 of"):
        make_missing(normal(20, 1), "mar")


def test_patterns_are_counted_as_in_mice():
    # the nhanes table of mice, whose patterns md.pattern gives as an example
    rows = {"1111": 13, "1110": 1, "1101": 3, "1001": 1, "1000": 7}
    observed = np.array([[c == "1" for c in row] for row, n in rows.items() for _ in range(n)])
    names = ["age", "hyp", "bmi", "chl"]
    table = pd.DataFrame(np.where(observed, 1.0, np.nan), columns=names).sample(frac=1)
    found = missing_patterns(table)
    assert list(found) == [*names, "n_rows", "share", "n_missing"]
    assert {str(dtype) for dtype in found[names].dtypes} == {"bool"}
    assert found["n_rows"].tolist() == [13, 7, 3, 1, 1]
    assert found["n_missing"].tolist() == [0, 3, 1, 1, 2]
    assert found["share"].tolist() == [13 / 25, 7 / 25, 3 / 25, 1 / 25, 1 / 25]
    for _, line in found.iterrows():
        assert rows["".join(str(int(seen)) for seen in line[names])] == line["n_rows"]
    for same in (table.to_numpy(), pl.from_pandas(table), table.astype("Int64")):
        again = missing_patterns(same)
        np.testing.assert_array_equal(again, found)
    assert list(missing_patterns(table.to_numpy()))[:4] == ["x0", "x1", "x2", "x3"]


def test_patterns_are_those_that_were_made():
    hidden = masked(normal(500), patterns=PATTERNS)
    found = missing_patterns(np.where(hidden, np.nan, 0.0))
    assert found["n_rows"].sum() == 500
    assert found["share"].sum() == pytest.approx(1)
    assert (found["n_missing"] == (~found[["x0", "x1", "x2", "x3"]]).sum(axis=1)).all()
    assert found["n_rows"].is_monotonic_decreasing
    lines = found[["x0", "x1", "x2", "x3"]].to_numpy()
    np.testing.assert_array_equal(found["n_rows"], (~hidden[None] == lines[:, None]).all(-1).sum(1))
    assert len(missing_patterns(normal(5))) == 1


@pytest.mark.parametrize("name", ["n_rows", "share", "n_missing"])
def test_columns_called_as_those_that_patterns_add(name):
    with pytest.raises(ValueError, match=f"column named '{name}', .* rename it"):
        missing_patterns(pd.DataFrame({name: [1.0]}))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_borrowed_holes_are_those_of_other_rows(share):
    observed = np.random.default_rng(0).random((300, 6)) > share
    hidden = borrowed_masks(observed, 0)
    assert not (hidden & ~observed).any()
    assert ((observed & ~hidden).any(1) == observed.any(1)).all()
    donors = observed[~observed.all(1)]
    borrowed = observed[:, None] & ~donors  # (N, M, D)
    all_of_one = (borrowed == hidden[:, None]).all(-1).any(1)
    last = (observed & ~hidden).sum(1) == 1
    assert (all_of_one | last).all()
    assert hidden.any()
    np.testing.assert_array_equal(hidden, borrowed_masks(observed, 0))
    assert (hidden != borrowed_masks(observed, 1)).any()


def test_every_other_row_with_holes_lends_as_often():
    observed = ~np.eye(5, 8, dtype=bool)[np.r_[:5, [0] * 15]]
    observed[5:] = True
    lent = np.mean([borrowed_masks(observed, seed) for seed in range(4000)], axis=0)
    expected = np.full((20, 5), 0.2)
    expected[:5] = 0.25 * ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(lent[:, :5], expected, atol=0.035)
    assert not lent[:, 5:].any()


def test_where_there_is_nothing_to_borrow():
    whole = np.ones((5000, 4), dtype=bool)
    empty_column = whole & (np.arange(4) < 3)
    for observed in (whole, empty_column):
        hidden = borrowed_masks(observed, 0)
        assert not (hidden & ~observed).any()
        assert hidden.sum() / observed.sum() == pytest.approx(0.2, abs=0.02)
        assert borrowed_masks(observed, 0, fallback=0.5).mean() > 1.5 * hidden.mean()
    assert (borrowed_masks(whole, 0, fallback=1.0).sum(1) == 3).all()
    single = np.random.default_rng(0).random((5000, 1)) < 0.5
    assert borrowed_masks(single, 0).sum() / single.sum() == pytest.approx(0.2, abs=0.03)


def test_a_single_row_with_holes_lends_to_all_others():
    observed = np.ones((50, 3), dtype=bool)
    observed[7, 1] = False
    hidden = borrowed_masks(observed, 0)
    np.testing.assert_array_equal(
        hidden, np.arange(3) == np.where(np.arange(50) == 7, 9, 1)[:, None]
    )
    observed[7] = False
    hidden = borrowed_masks(observed, 0)
    assert (hidden.sum(1) == np.where(np.arange(50) == 7, 0, 2)).all()
    assert (hidden[np.arange(50) != 7].mean(0) > 0.5).all()
