"""Where the imputers differ from those of scikit-learn, as docs/guide/imputation.md lists it."""

import numpy as np
import pandas as pd
import pytest
from estimator_cases import every_estimator, every_imputer, quiet, tiny
from estimator_cases import table as incomplete
from scipy import sparse

from skmissvae import MVAEImputer

pytestmark = quiet


@pytest.mark.parametrize("format_", ["csr", "csc", "coo", "lil"])
@pytest.mark.parametrize("convert", [sparse.coo_matrix, sparse.coo_array])
def test_sparse_matrices_are_refused(convert, format_):
    X = incomplete()
    matrix = convert(X).asformat(format_)
    fitted = tiny(MVAEImputer).fit(X)
    calls = [tiny(MVAEImputer).fit, tiny(MVAEImputer).partial_fit, tiny(MVAEImputer).fit_transform]
    calls += [fitted.transform, fitted.impute, fitted.score_samples, fitted.cell_distribution]
    for call in calls:
        with pytest.raises(TypeError, match="dense data is required"):
            call(matrix)


def test_sparse_columns_of_pandas_stay_sparse():
    frame = pd.DataFrame(incomplete(), columns=list("abcd")).astype(pd.SparseDtype(float))
    out = tiny(MVAEImputer).fit_transform(frame)
    assert (out.dtypes == frame.dtypes).all()
    assert np.isfinite(out.to_numpy()).all()


@pytest.mark.parametrize("dtype", ["Int16", "UInt32", "Float32"])
def test_nullable_types_stay(dtype):
    frame = pd.DataFrame(np.abs(incomplete()).round(), columns=list("abcd")).astype(dtype)
    out = tiny(MVAEImputer).fit_transform(frame)
    assert (out.dtypes == dtype).all()
    assert not out.isna().any(axis=None)
    assert out.where(frame.notna()).equals(frame)


@every_imputer
def test_transform_always_returns_a_copy(cls):
    assert "copy" not in cls().get_params()
    complete = np.nan_to_num(incomplete())
    imputer = tiny(cls).fit(complete)
    assert not np.shares_memory(imputer.transform(complete), complete)
    frame = pd.DataFrame(complete)
    out = imputer.fit(frame).transform(frame)
    out.iloc[:, :] = 1.0
    np.testing.assert_array_equal(frame, complete)


@every_estimator
def test_a_table_without_any_observed_cell_is_refused(cls):
    X = np.full((20, 3), np.nan)
    frames = [pd.DataFrame(X), pd.DataFrame(X, dtype="Int64"), pd.DataFrame(X, dtype=object)]
    for keep in (False, True):
        for table in [X, *frames]:
            with pytest.raises(ValueError, match="X has no observed cell: all 60 cells"):
                tiny(cls, keep_empty_features=keep).fit(table)


@every_imputer
def test_rows_without_an_observed_cell_get_the_means_of_the_model(cls):
    imputer = tiny(cls, n_importance_draws=400).fit(incomplete())
    out = imputer.transform(np.full((3, 4), np.nan))
    np.testing.assert_array_equal(out, np.tile(out[:1], (3, 1)))
    sample = imputer.sample(4000)
    error = sample.std(0) * (1 / 400 + 1 / 4000) ** 0.5
    assert (np.abs(out[0] - sample.mean(0)) < 5 * error).all()


@every_imputer
def test_there_is_no_inverse_transform(cls):
    assert not hasattr(cls(add_indicator=True), "inverse_transform")
