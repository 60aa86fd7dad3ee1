"""Imputations by row identifiers, and all imputations in one frame."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import MVAEImputer, every_imputer, quiet, table, tiny

pytestmark = quiet


@pytest.fixture(scope="module")
def imputer():
    return tiny(MVAEImputer).fit(table())


@every_imputer
def test_imputations_of_a_row_with_an_identifier_do_not_depend_on_its_position(cls):
    X = table()
    imputer = tiny(cls).fit(X)
    ids = [f"patient {i}" for i in range(len(X))]
    order = np.random.default_rng(1).permutation(len(X))[:25]
    tables = imputer.impute(X, 2, row_ids=ids)
    selected = imputer.impute(X[order], 2, row_ids=[ids[i] for i in order])
    for completed, part in zip(tables, selected, strict=True):
        np.testing.assert_array_equal(completed[order], part)
    assert not np.array_equal(tables[0], imputer.impute(X, 1)[0])


def test_identifiers_that_are_positions_change_nothing(imputer):
    X, positions = table(), np.arange(40)
    expected = imputer.impute(X, 1)[0]
    for ids in (range(40), pd.Series(positions, dtype="Int64"), positions.astype("u1")):
        np.testing.assert_array_equal(imputer.impute(X, 1, row_ids=ids)[0], expected)
    negative = imputer.impute(X, 1, row_ids=-positions)[0]
    np.testing.assert_array_equal(negative[0], expected[0])
    assert not np.array_equal(negative, expected)


@pytest.mark.parametrize(
    "ids", [[1, 2, 3], [0, *range(39)], [None, *range(39)]], ids=["few", "equal", "missing"]
)
def test_invalid_identifiers_raise_an_error(imputer, ids):
    with pytest.raises(ValueError, match="row_ids must"):
        imputer.impute(table(), 1, row_ids=ids)


@pytest.mark.parametrize("container", ["array", "pandas", "polars"])
def test_all_imputations_in_one_frame(container):
    X, names = table(), [f"x{j}" for j in range(4)]
    if container != "array":
        library = {"pandas": pd, "polars": pl}[container]
        X = library.DataFrame(dict(zip(names, X.T, strict=True)))
    tables = tiny(MVAEImputer).fit(X).impute(X, 3)
    frame = tables.to_frame()
    assert isinstance(frame, pl.DataFrame if container == "polars" else pd.DataFrame)
    assert list(frame.columns) == ["imputation", "row", *names]
    for i in range(3):
        part = frame[40 * i : 40 * (i + 1)]
        assert set(part["imputation"]) == {i}
        np.testing.assert_array_equal(part["row"].to_numpy(), np.arange(40))
        np.testing.assert_array_equal(part[names].to_numpy(), np.asarray(tables[i]))


def test_imputations_survive_pickling(imputer):
    X = table()
    tables = imputer.impute(X, 3)
    first = tables[0]
    unpickled = pickle.loads(pickle.dumps(tables))
    np.testing.assert_array_equal(unpickled[0], first)
    np.testing.assert_array_equal(unpickled[2], tables[2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tables[1:]))[1], tables[2])


def test_an_empty_selection_of_imputations_has_no_frame(imputer):
    with pytest.raises(ValueError, match="imputation"):
        imputer.impute(table(), 2)[:0].to_frame()


def test_a_frame_of_all_imputations_has_the_types_and_labels_of_the_table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "real": rng.normal(size=30),
            "count": pd.array(rng.poisson(3.0, 30), dtype="Int64"),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9, 30), "D"),
        },
        index=[f"row {i}" for i in range(30)],
    ).mask(rng.random((30, 3)) < 0.25)
    frame = tiny(MVAEImputer).fit(X).impute(X, 2).to_frame()
    assert frame["row"].tolist() == [*X.index, *X.index]
    assert frame.dtypes[X.columns].to_dict() == X.dtypes.to_dict()


def test_a_column_with_a_name_that_the_frame_adds_raises_an_error():
    X = pd.DataFrame(table(), columns=["a", "row", "c", "d"])
    tables = tiny(MVAEImputer).fit(X).impute(X, 2)
    with pytest.raises(ValueError, match=r"column 'row'.*rename it"):
        tables.to_frame()


@every_imputer
def test_complete_tables_are_unchanged(cls):
    X = table()
    imputer = tiny(cls).fit(X)
    complete = np.where(np.isnan(X), 0.0, X)
    np.testing.assert_array_equal(imputer.impute(complete, 2)[1], complete)
    np.testing.assert_array_equal(imputer.transform(complete), complete)
    np.testing.assert_array_equal(imputer.impute(X, 2, where=[])[0], X)
