"""``impute``: a lazy sequence of completed tables, reproducible, independent of later changes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import every_imputer, quiet, tiny
from estimator_cases import table as incomplete

from skmissvae import Imputations, MVAEImputer
from skmissvae.estimators import imputation_sampler

pytestmark = quiet


@every_imputer
def test_imputations_are_a_lazy_sequence(cls, monkeypatch):
    X = incomplete(12)
    imputer = tiny(cls).fit(X)
    tables = imputer.impute(X, 6)
    assert len(tables) == 6
    with monkeypatch.context() as patch:
        patch.setattr(imputation_sampler, "map_rows", None)
        part = imputer.impute(X, 6)[2:]  # a table is drawn when it is requested
        with pytest.raises(TypeError):
            part[0]
    as_list = list(tables)
    assert len(as_list) == 6
    np.testing.assert_array_equal(tables[2], as_list[2])
    np.testing.assert_array_equal(tables[-1], as_list[5])
    np.testing.assert_array_equal(tables[np.int64(1)], as_list[1])
    for selection in [slice(1, 3), slice(None, None, -2), slice(-2, None), slice(4, 4)]:
        part = tables[selection]
        assert len(part) == len(as_list[selection])
        for left, right in zip(part, as_list[selection], strict=True):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(tables[::2][1:][-1], as_list[4])
    for out_of_range in [6, -7]:
        with pytest.raises(IndexError):
            tables[out_of_range]


@every_imputer
def test_imputations_agree_in_observed_cells_and_differ_in_missing_cells(cls):
    X = incomplete()
    observed = ~np.isnan(X)
    first, second = tiny(cls, n_latents=2).fit(X).impute(X, 2)
    for completed in [first, second]:
        assert np.isfinite(completed).all()
        assert completed[observed].tobytes() == X[observed].tobytes()
    assert (first[~observed] != second[~observed]).all()


@every_imputer
def test_imputations_are_reproducible(cls):
    X = incomplete(12)
    imputer = tiny(cls).fit(X)
    default, repeated, seed_7 = (imputer.impute(X, 1, random_state=s)[0] for s in [None, None, 7])
    np.testing.assert_array_equal(default, repeated)
    assert (default != seed_7).any()
    np.testing.assert_array_equal(seed_7, imputer.impute(X, 3, random_state=7)[0])
    state = np.random.RandomState(7)
    np.testing.assert_array_equal(seed_7, imputer.impute(X, 1, random_state=state)[0])
    assert (imputer.impute(X, 1, random_state=state)[0] != seed_7).any()


@every_imputer
def test_imputations_of_equal_rows_are_independent(cls):
    equal_rows = np.tile([0.5, np.nan, np.nan, -7.0], (40, 1))
    imputer = tiny(cls, n_latents=2).fit(incomplete())
    drawn = imputer.impute(equal_rows, 1)[0][:, 1:3]
    assert len(np.unique(drawn, axis=0)) == 40
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.5
    drawn = imputer.set_params(strategy="draw").transform(equal_rows)[:, 1:3]
    assert len(np.unique(drawn, axis=0)) == 40


@every_imputer
def test_imputations_do_not_change_when_the_imputer_does(cls):
    X = incomplete(20)
    imputer = tiny(cls, n_latents=2).fit(X)
    tables = imputer.impute(X, 2)
    before = tables[0]
    frames = imputer.impute(pd.DataFrame(X), 1)
    columns = list(frames[0])
    imputer.set_params(n_importance_draws=1, strategy="mean").partial_fit(X)
    np.testing.assert_array_equal(tables[0], before)
    new_table = pd.DataFrame(incomplete(seed=3), columns=list("abcd")).assign(b=np.nan)
    with pytest.warns(UserWarning, match="without an observed cell are left out: 'b'"):
        imputer.set_params(add_indicator=True).fit(new_table)
    np.testing.assert_array_equal(tables[0], before)
    assert list(frames[0]) == columns


def test_imputations_do_not_change_when_the_table_does():
    X = incomplete()
    imputer = tiny(MVAEImputer).fit(X)
    tables = imputer.impute(X, 1)
    before = tables[0]
    X[:] = 0.0
    np.testing.assert_array_equal(tables[0], before)


@every_imputer
def test_imputations_of_frames_are_frames(cls):
    frame = pd.DataFrame(incomplete(), columns=list("abcd"), index=pd.RangeIndex(40) + 7)
    completed = tiny(cls, n_latents=2).fit(frame).impute(frame, 1)[0]
    assert isinstance(completed, pd.DataFrame)
    assert list(completed) == list(frame)
    pd.testing.assert_index_equal(completed.index, frame.index)
    pd.testing.assert_frame_equal(completed[frame.notna()], frame)


def test_indicator_columns_of_imputations_have_names():
    frame = pd.DataFrame(incomplete(), columns=list("abcd"))
    imputer = tiny(MVAEImputer, add_indicator=True).fit(frame)
    assert list(imputer.impute(frame, 1)[0]) == list(imputer.get_feature_names_out())


def mids_case(container):
    """Return an incomplete table with an empty column, and two imputations with indicators."""
    X = np.column_stack([incomplete(12), np.full(12, np.nan)])
    names = ["a", "b", "c", "d", "empty"]
    X = {
        "pandas": lambda: pd.DataFrame(X, columns=names, index=[f"r{i}" for i in range(12)]),
        "polars": lambda: pl.DataFrame(X, schema=names),
        "array": lambda: X,
    }[container]()
    imputer = tiny(MVAEImputer, add_indicator=True, max_iter=1).fit(X)
    return X, imputer.impute(X, 2)


@pytest.mark.parametrize("container", ["pandas", "polars", "array"])
def test_a_frame_for_mice_holds_the_table_and_its_imputations(container):
    X, tables = mids_case(container)
    frame = tables.to_mids_frame(X)
    names = ["x0", "x1", "x2", "x3"] if container == "array" else ["a", "b", "c", "d"]
    assert frame.columns.tolist() == [".imp", ".id", *names]
    assert frame[".imp"].tolist() == [0] * 12 + [1] * 12 + [2] * 12
    labels = X.index.tolist() if container == "pandas" else list(range(1, 13))
    assert frame[".id"].tolist() == labels * 3
    np.testing.assert_array_equal(frame.loc[:11, names], np.asarray(X)[:, :4])
    for i, table in enumerate(tables, 1):
        cells = frame.loc[frame[".imp"] == i, names]
        np.testing.assert_array_equal(cells, np.asarray(table)[:, :4])
    back = Imputations.from_mids_frame(frame)
    assert len(back) == 2
    np.testing.assert_array_equal(back[1], np.asarray(tables[1])[:, :4])
    assert back[0].index.tolist() == labels


def test_frames_for_mice_are_checked():
    X, tables = mids_case("pandas")
    for other in (X[:5], X.set_axis(list("vwxyz"), axis=1)):
        with pytest.raises(ValueError, match="is not the table that was imputed"):
            tables.to_mids_frame(other)
    renamed = X.rename(columns={"a": ".id"})
    imputations = tiny(MVAEImputer, max_iter=1).fit(renamed).impute(renamed, 1)
    with pytest.raises(ValueError, match=r"has a column '\.id', which to_mids_frame adds"):
        imputations.to_mids_frame(renamed)
    repeated = X.set_axis([0] * 12)
    assert tables.to_mids_frame(repeated)[".id"].tolist() == [*range(1, 13)] * 3
    with pytest.raises(ValueError, match=r"no column '\.imp'"):
        Imputations.from_mids_frame(X)
    uneven = pd.DataFrame({".imp": [1, 1, 2], "x": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"have \[1, 2\] rows"):
        Imputations.from_mids_frame(uneven)
    shuffled = pd.DataFrame({".imp": [1, 1, 2, 2], ".id": [1, 2, 2, 1], "x": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match=r"different values of '\.id', or another order"):
        Imputations.from_mids_frame(shuffled)
    back = Imputations.from_mids_frame(shuffled.assign(**{".id": [1, 2, 1, 2], "same": 0}))
    back[0].loc[1, "x"] = 99
    assert back[0].loc[1, "x"] == 1
    assert back._n_imputed == [2, 0]
    permuted = tiny(MVAEImputer, max_iter=1).fit(X[["b", "a", "c", "d"]])
    array = X[["b", "a", "c", "d"]].to_numpy()
    of_array = permuted.impute(array, 1).to_mids_frame(array)
    np.testing.assert_array_equal(of_array.loc[:11, ["b", "a", "c", "d"]], array)
    long = pd.DataFrame({".imp": [2, 1, 2, 1], "x": [3, 1, 4, 2]})
    assert [t["x"].tolist() for t in Imputations.from_mids_frame(long)] == [[1, 2], [3, 4]]
