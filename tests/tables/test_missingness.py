"""Patterns of missing cells, and masks borrowed from other rows."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skmissvae.tables import make_missing, missing_flux, missing_patterns
from skmissvae.tables.missingness import borrowed_masks

PATTERNS = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1]], dtype=bool)


def test_flux_equals_that_of_mice():
    # flux(nhanes) of mice 3.15.0
    expected = {
        "age": [1.00, 0.0, 1.0, 0.0, 0.36, 0.48],
        "bmi": [0.64, 0.1643836, 0.1111111, 0.4444444, 0.06250000, 0.1875],
        "hyp": [0.68, 0.1232877, 0.1481481, 0.3750000, 0.07843137, 0.2352941],
        "chl": [0.60, 0.2191781, 0.1111111, 0.5333333, 0.06666667, 0.1333333],
    }
    rows = {"1111": 13, "1110": 3, "1011": 1, "1001": 1, "1000": 7}  # age, bmi, hyp, chl
    observed = np.array([[c == "1" for c in row] for row, n in rows.items() for _ in range(n)])
    table = pd.DataFrame(np.where(observed, 1.0, np.nan), columns=list(expected))
    flux = missing_flux(table)
    assert list(flux) == ["pobs", "influx", "outflux", "ainb", "aout", "fico"]
    np.testing.assert_allclose(flux, list(expected.values()), atol=5e-8)
    for same in (table.to_numpy(), pl.from_pandas(table), table.astype("Int64")):
        np.testing.assert_array_equal(missing_flux(same), flux)
    assert missing_flux(table.to_numpy()).index.tolist() == ["x0", "x1", "x2", "x3"]


def test_flux_of_complete_and_empty_columns():
    flux = missing_flux(pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan, np.nan]}))
    assert flux["pobs"].tolist() == [1, 0]
    assert flux["outflux"].tolist() == [1, 0]
    assert flux["influx"].tolist() == [0, 1]
    assert missing_flux(np.ones((3, 2)))["outflux"].isna().all()
    assert missing_flux(np.ones((3, 1)))["pobs"].tolist() == [1]
    with pytest.raises(ValueError, match="X has no columns"):
        missing_flux(pd.DataFrame(index=[0]))


def normal(n=1000, n_columns=4, correlation=0.6):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n, 1)) * np.sqrt(correlation)
    return common + rng.normal(size=(n, n_columns)) * np.sqrt(1 - correlation)


def masked(*args, random_state=0, **kwargs):
    return make_missing(*args, random_state=random_state, return_mask=True, **kwargs)[1]


def test_patterns_equal_those_of_mice():
    # the nhanes table of mice, whose patterns md.pattern gives as an example
    rows = {"1111": 13, "1110": 1, "1101": 3, "1001": 1, "1000": 7}
    observed = np.array([[c == "1" for c in row] for row, n in rows.items() for _ in range(n)])
    names = ["age", "hyp", "bmi", "chl"]
    table = pd.DataFrame(np.where(observed, 1.0, np.nan), columns=names).sample(frac=1)
    patterns = missing_patterns(table)
    assert list(patterns) == [*names, "n_rows", "share", "n_missing"]
    assert {str(dtype) for dtype in patterns[names].dtypes} == {"bool"}
    assert patterns["n_rows"].tolist() == [13, 7, 3, 1, 1]
    assert patterns["n_missing"].tolist() == [0, 3, 1, 1, 2]
    assert patterns["share"].tolist() == [13 / 25, 7 / 25, 3 / 25, 1 / 25, 1 / 25]
    for _, line in patterns.iterrows():
        assert rows["".join(str(int(observed)) for observed in line[names])] == line["n_rows"]
    for same in (table.to_numpy(), pl.from_pandas(table), table.astype("Int64")):
        again = missing_patterns(same)
        np.testing.assert_array_equal(again, patterns)
    assert list(missing_patterns(table.to_numpy()))[:4] == ["x0", "x1", "x2", "x3"]


def test_patterns_equal_those_of_make_missing():
    hidden = masked(normal(500), patterns=PATTERNS)
    patterns = missing_patterns(np.where(hidden, np.nan, 0.0))
    assert patterns["n_rows"].sum() == 500
    assert patterns["share"].sum() == pytest.approx(1)
    assert (patterns["n_missing"] == (~patterns[["x0", "x1", "x2", "x3"]]).sum(axis=1)).all()
    assert patterns["n_rows"].is_monotonic_decreasing
    lines = patterns[["x0", "x1", "x2", "x3"]].to_numpy()
    np.testing.assert_array_equal(
        patterns["n_rows"], (~hidden[None] == lines[:, None]).all(-1).sum(1)
    )
    assert len(missing_patterns(normal(5))) == 1


@pytest.mark.parametrize("name", ["n_rows", "share", "n_missing"])
def test_reserved_column_names(name):
    with pytest.raises(ValueError, match=f"column named '{name}', .* rename it"):
        missing_patterns(pd.DataFrame({name: [1.0]}))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_borrowed_masks_are_those_of_other_rows(share):
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


def test_donors_are_drawn_equally_often():
    observed = ~np.eye(5, 8, dtype=bool)[np.r_[:5, [0] * 15]]
    observed[5:] = True
    borrowed_share = np.mean([borrowed_masks(observed, seed) for seed in range(4000)], axis=0)
    expected = np.full((20, 5), 0.2)
    expected[:5] = 0.25 * ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(borrowed_share[:, :5], expected, atol=0.035)
    assert not borrowed_share[:, 5:].any()


def test_fallback_without_missing_cells():
    complete = np.ones((5000, 4), dtype=bool)
    empty_column = complete & (np.arange(4) < 3)
    for observed in (complete, empty_column):
        hidden = borrowed_masks(observed, 0)
        assert not (hidden & ~observed).any()
        assert hidden.sum() / observed.sum() == pytest.approx(0.2, abs=0.02)
        assert borrowed_masks(observed, 0, fallback=0.5).mean() > 1.5 * hidden.mean()
    assert (borrowed_masks(complete, 0, fallback=1.0).sum(1) == 3).all()
    single = np.random.default_rng(0).random((5000, 1)) < 0.5
    assert borrowed_masks(single, 0).sum() / single.sum() == pytest.approx(0.2, abs=0.03)


def test_a_single_incomplete_row_lends_to_all_others():
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
