"""Mechanisms of make_missing: shares of missing cells, and the values that they depend on."""

import numpy as np
import pytest
from scipy.special import expit

from skmissvae.tables import make_missing
from skmissvae.tables.amputation import missing_probabilities

N = 10_000


ERROR = 4 * np.sqrt(0.25 / N)  # four standard errors of a share of N rows, an upper bound for cells


KINDS = ["right", "left", "mid", "tail"]


TABLES = ["mcar", "mar", "mnar"]


PATTERNS = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1]], dtype=bool)


every_mechanism = pytest.mark.parametrize("mechanism", TABLES)


every_kind = pytest.mark.parametrize("kind", KINDS)


def normal(n=N, n_columns=4, correlation=0.6):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n, 1)) * np.sqrt(correlation)
    return common + rng.normal(size=(n, n_columns)) * np.sqrt(1 - correlation)


def incomplete(n=N, share=0.3):
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
@pytest.mark.parametrize(
    "X", [normal(), incomplete(), normal() ** 3], ids=["complete", "incomplete", "heavy"]
)
@pytest.mark.parametrize("proportion", [0.02, 0.3, 0.7])
def test_share_of_cells(mechanism, kind, X, proportion):
    hidden = masked(X, mechanism, proportion, kind=kind)
    assert hidden.sum() / (~np.isnan(X)).sum() == pytest.approx(proportion, abs=ERROR)


@every_mechanism
@every_kind
@pytest.mark.parametrize("X", [normal(), incomplete()], ids=["complete", "incomplete"])
def test_share_of_cells_with_patterns(mechanism, kind, X):
    hidden = masked(X, mechanism, 0.25, kind=kind, patterns=PATTERNS.repeat([3, 2, 5], axis=0))
    assert hidden.sum() / (~np.isnan(X)).sum() == pytest.approx(0.25, abs=ERROR)


@every_mechanism
@every_kind
def test_share_of_rows_and_frequencies_of_patterns(mechanism, kind):
    patterns = PATTERNS.repeat([3, 2, 5], axis=0)
    hidden = masked(normal(), mechanism, 0.8, kind=kind, patterns=patterns, of="rows")
    has_pattern = (hidden[:, None] == PATTERNS).all(-1)  # (N, P)
    assert (has_pattern.any(1) == hidden.any(1)).all()
    np.testing.assert_allclose(has_pattern.mean(0), [0.24, 0.16, 0.40], atol=ERROR)


@every_kind
@pytest.mark.parametrize("share", [1e-6, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("draw", ["normal", "standard_cauchy", "exponential"])
def test_expected_shares_are_exact(kind, share, draw):
    rng = np.random.default_rng(0)
    score, weight = getattr(rng, draw)(size=1000) * 1e200, rng.integers(3, size=1000).astype(float)
    chances = missing_probabilities(score, share, weight, kind)
    assert np.average(chances, weights=weight) == pytest.approx(share, abs=1e-9)


def test_kinds_equal_those_of_ampute():
    score, weight = np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), np.ones(5)
    z = score / np.sqrt(2)
    curves = {"right": z, "left": -z, "mid": 0.75 - abs(z), "tail": abs(z) - 0.75}
    for kind, curve in curves.items():
        chances = missing_probabilities(7 + 3 * score, expit(curve + 0.3).mean(), weight, kind)
        np.testing.assert_allclose(chances, expit(curve + 0.3), atol=1e-9)


@pytest.mark.parametrize("patterns", [None, PATTERNS], ids=["cells", "patterns"])
def test_mcar_is_independent_of_values(patterns):
    X = normal()
    hidden = masked(X, "mcar", patterns=patterns)
    assert not any(related(x, is_hidden) for x in X.T for is_hidden in hidden.T)
    if patterns is None:
        assert not any(related(hidden[:, i], hidden[:, j]) for i in range(4) for j in range(i))
    np.testing.assert_array_equal(hidden, masked(X**3, "mcar", patterns=patterns))


def rest(X, hidden, others):
    """Return the part of a column that the others do not explain, and whether it is hidden."""
    j = np.flatnonzero(hidden.any(0))[0]
    design = np.column_stack([np.ones(len(X)), X[:, others]])
    return X[:, j] - design @ np.linalg.lstsq(design, X[:, j], rcond=None)[0], hidden[:, j]


@pytest.mark.parametrize("patterns", [None, [[False, True]]], ids=["cells", "patterns"])
@pytest.mark.parametrize("kind", ["right", "left"])
def test_mar_depends_on_observed_values_only(patterns, kind):
    X = normal(n_columns=2)
    hidden = masked(X, "mar", 0.2, kind=kind, patterns=patterns)
    is_observed = ~hidden.any(0)
    assert is_observed.sum() == 1
    observed, is_hidden = X[:, is_observed][:, 0], hidden[:, ~is_observed][:, 0]
    assert related(observed, is_hidden)
    assert related(X[:, ~is_observed][:, 0], is_hidden)
    assert not related(*rest(X, hidden, is_observed))
    # given the observed column, hidden and other values have the same mean
    value = X[:, ~is_observed][:, 0]
    for rows in np.array_split(np.argsort(observed), 20)[1:-1]:
        difference = value[rows][is_hidden[rows]].mean() - value[rows][~is_hidden[rows]].mean()
        assert abs(difference) < 4.5 / np.sqrt(is_hidden[rows].sum() * (~is_hidden[rows]).mean())


@pytest.mark.parametrize("patterns", [None, [[False, True]]], ids=["cells", "patterns"])
@every_kind
def test_mnar_depends_on_hidden_values(patterns, kind):
    X = normal(n_columns=2)
    hidden = masked(X, "mnar", 0.2, kind=kind, patterns=patterns)
    value, is_hidden = rest(X, hidden, [1 - np.flatnonzero(hidden.any(0))[0]])
    assert related(value if kind in ("right", "left") else abs(value), is_hidden)


@pytest.mark.parametrize("patterns", [None, [[False, True, True, False]]])
@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
def test_kinds_choose_which_scores_go_missing(mechanism, patterns):
    X = normal(correlation=0.95)  # weighted sums of columns are close to the mean
    score = X.mean(1) / X.mean(1).std()
    signs = {}
    for kind in KINDS:
        is_hidden = masked(X, mechanism, 0.2, kind=kind, patterns=patterns).any(1)
        signs[kind] = [
            np.sign(np.round(value[is_hidden].mean() - value[~is_hidden].mean(), 1))
            for value in (score, abs(score))
        ]
    assert signs["right"][0] == 1
    assert signs["left"][0] == -1
    assert signs["mid"] == [0, -1]
    assert signs["tail"] == [0, 1]


@pytest.mark.parametrize("patterns", [None, PATTERNS], ids=["cells", "patterns"])
@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
def test_left_is_right_of_the_negated_table_in_any_units(mechanism, patterns):
    X, chosen = incomplete(), {"mechanism": mechanism, "patterns": patterns}
    for kind, mirror in {"right": "left", "left": "right", "mid": "mid", "tail": "tail"}.items():
        hidden = masked(X, kind=kind, **chosen)
        np.testing.assert_array_equal(hidden, masked(-X, kind=mirror, **chosen))
        np.testing.assert_array_equal(hidden, masked(X * 2.0**600, kind=kind, **chosen))


def test_weights_choose_the_columns_of_the_score():
    X = normal(correlation=0.0)
    patterns = [[True, True, False, False], [False, False, True, True]]
    weights = np.array([[0, 0, 1, 0], [-1, 0, 0, 0.0]])
    hidden = masked(X, "mar", patterns=patterns, weights=weights)
    np.testing.assert_array_equal(hidden, masked(X, "mar", patterns=patterns, weights=9 * weights))
    for p, (column, sign) in enumerate([(2, 1), (0, -1)]):
        is_hidden = hidden[:, 2 * p]
        assert sign * (X[is_hidden, column].mean() - X[~is_hidden, column].mean()) > 0.3
        # masks of a pattern do not depend on other columns
        assert not any(related(X[:, j], is_hidden) for j in range(4) if j != column)
    hidden = masked(X, "mnar", patterns=patterns, weights=[[0, 0, 0, 0], [0, 1, 0, 0]])
    assert [related(X[:, j], hidden[:, 0]) for j in range(4)] == [False] * 4
    assert [related(X[:, j], hidden[:, 2]) for j in range(4)] == [False, True, False, False]


@pytest.mark.parametrize("n_columns", [2, 3, 5, 10])
def test_mar_works_for_every_possible_proportion(n_columns):
    X = normal(2000, n_columns)
    for most in np.linspace(0.125, 1, 8):
        proportion = most * (n_columns - 1) / n_columns
        hidden = masked(X, "mar", proportion)
        assert hidden.mean() == pytest.approx(proportion, abs=0.03)
        n_kept = (~hidden.any(0)).sum()
        assert 1 <= n_kept <= round(n_columns / 3)
        # probabilities below 1 depend on values
        assert n_kept == 1 or proportion * n_columns <= 0.9 * (n_columns - n_kept)
    assert (~masked(X, "mar", 0.3).any(0)).sum() == round(n_columns / 3)
    columns = {tuple(masked(X, "mar", random_state=seed).any(0)) for seed in range(20)}
    assert len(columns) > 1


@every_mechanism
def test_proportions_of_zero_and_one(mechanism):
    X = normal(50)
    np.testing.assert_array_equal(make_missing(X, mechanism, 0), X)
    if mechanism != "mar":
        assert np.isnan(make_missing(X, mechanism, 1)).all()
    assert not masked(X, mechanism, 0, patterns=PATTERNS).any()
    assert masked(X, mechanism, 1, patterns=PATTERNS, of="rows").any(1).all()


@every_mechanism
def test_constant_and_empty_columns_have_no_score(mechanism):
    X = np.column_stack([np.full(N, 0.1), np.full(N, np.nan), np.full(N, 3.0), normal()[:, 0]])
    for seed in range(5):
        hidden = masked(X, mechanism, 0.3, random_state=seed)
        assert hidden.sum() / (3 * N) == pytest.approx(0.3, abs=ERROR)
        if mechanism == "mar":
            assert not hidden[:, 3].any()
            assert related(X[:, 3], hidden[:, 0])
    hidden = masked(X[:, :3], mechanism, 0.3)
    assert hidden.sum() / (2 * N) == pytest.approx(0.3, abs=ERROR)


def test_missing_cells_count_as_the_mean():
    X = incomplete(2000) + 5
    filled = np.where(np.isnan(X), np.nanmean(X, 0), X)
    chosen = {"of": "rows", "patterns": [[True, False, False, False]], "weights": [[0, 0, 1, 0]]}
    hidden = masked(X, "mar", **chosen)
    np.testing.assert_array_equal(hidden, masked(filled, "mar", **chosen))


def test_default_proportions():
    for mechanism in TABLES:
        assert masked(normal(), mechanism).mean() == pytest.approx(0.3, abs=ERROR)
