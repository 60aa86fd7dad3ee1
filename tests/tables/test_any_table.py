"""Random tables of all types: completed, or refused with a short message."""

import datetime
import decimal
import io
import numbers
import os
import pickle
import string
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import skops.io
from estimator_cases import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skmissvae import MVAEImputer

N_EXAMPLES = int(os.environ.get("SKMISSVAE_EXAMPLES", "500"))
MAX_MESSAGE = 400  # characters
LIMIT = 5.0  # of imputed numbers

DAY = datetime.datetime(2020, 1, 1)
KINDS = {
    "real": lambda rng, n: (rng.normal(size=n) * 10.0 ** rng.integers(-5, 6)).tolist(),
    "extreme": lambda rng, n: (rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-300, 300, n)).tolist(),
    "count": lambda rng, n: rng.poisson(3, n).tolist(),
    "integer": lambda rng, n: rng.integers(-1000, 1000, n).tolist(),
    "huge": lambda rng, n: (2**53 + 1 + rng.integers(0, 99, n)).tolist(),
    "identifier": lambda rng, n: (10**6 + rng.permutation(n)).tolist(),
    "flag": lambda rng, n: (rng.random(n) < 0.5).tolist(),
    "zero or one": lambda rng, n: rng.integers(0, 2, n).tolist(),
    "word": lambda rng, n: rng.choice(["red", "green", "blue"], n).tolist(),
    "name": lambda rng, n: ["".join(rng.choice(list(string.ascii_letters), 6)) for _ in range(n)],
    "constant": lambda rng, n: [7.5] * n,
    "one word": lambda rng, n: ["yes"] * n,
    "day": lambda rng, n: [DAY + datetime.timedelta(days=int(d)) for d in rng.integers(0, 999, n)],
    "time": lambda rng, n: [DAY + datetime.timedelta(seconds=s) for s in rng.normal(0, 1e6, n)],
    "duration": lambda rng, n: [datetime.timedelta(seconds=s) for s in rng.exponential(1e4, n)],
    "decimal": lambda rng, n: [decimal.Decimal(int(i)) / 100 for i in rng.integers(0, 10**6, n)],
    "text number": lambda rng, n: [f"{x:.1f}" for x in rng.normal(size=n)],
    "text and marker": lambda rng, n: rng.choice(["red", "green", "?", "n/a"], n).tolist(),
    "marker": lambda rng, n: np.where(rng.random(n) < 0.3, -999.0, rng.normal(size=n)).tolist(),
}
NUMBERS = ("real", "extreme", "count", "integer", "identifier", "zero or one", "constant", "marker")
CONTAINERS = ("float64", "float32", "object", "pandas", "nullable", "arrow", "polars")


def cells(kind, n, share, rng):
    """Return a list of cells, None where missing."""
    values = KINDS[kind](rng, n)
    return [None if u < share else value for u, value in zip(rng.random(n), values, strict=True)]


def in_container(columns, container):
    """Return columns of cells in a container."""
    if container in ("float64", "float32"):
        array = np.array(columns, dtype=float).T
        with np.errstate(over="ignore"):
            array = array.astype(container)
        return np.where(np.isinf(array), np.nan, array)
    if container == "object":
        array = np.empty((len(columns[0]), len(columns)), dtype=object)
        for j, column in enumerate(columns):
            array[:, j] = column
        return array
    names = [f"column {j}" for j in range(len(columns))]
    if container == "polars":
        return pl.DataFrame(dict(zip(names, columns, strict=True)), strict=False)
    frame = pd.DataFrame({name: pd.Series(c) for name, c in zip(names, columns, strict=True)})
    backends = {"nullable": "numpy_nullable", "arrow": "pyarrow"}
    if container == "pandas":
        return frame
    with np.errstate(invalid="ignore"):  # pandas 2 converts large floats to integers
        return frame.convert_dtypes(dtype_backend=backends[container])


@st.composite
def tables(draw):
    """Return a table with up to 80 rows and 20 columns."""
    container = draw(st.sampled_from(CONTAINERS))
    choice = NUMBERS if container.startswith("float") else sorted(KINDS)
    kinds = draw(st.lists(st.sampled_from(choice), min_size=1, max_size=19))
    n = draw(st.integers(1, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shares = draw(st.lists(st.sampled_from([0.0, 0.1, 0.4, 0.9, 1.0]), min_size=1, max_size=5))
    columns = [cells(kind, n, shares[j % len(shares)], rng) for j, kind in enumerate(kinds)]
    if draw(st.booleans()):
        columns.append(list(columns[0]))  # a copy
    return in_container(columns, container)


def lists(table):
    """Return the columns of a table as lists of Python values, and their types."""
    if isinstance(table, np.ndarray):
        return [column.tolist() for column in table.T], [table.dtype] * table.shape[1]
    if isinstance(table, pl.DataFrame):
        return [table[name].to_list() for name in table.columns], table.dtypes
    return [table.iloc[:, j].tolist() for j in range(table.shape[1])], table.dtypes.tolist()


def is_null(cell):
    return cell is None or cell is pd.NA or cell is pd.NaT or cell != cell


def assert_completed(imputer, table, completed):
    """Check the container, types, observed cells and imputed cells of a completed table."""
    assert type(completed) is type(table)
    report = imputer.fit_report_
    returned = np.flatnonzero(report["role"] != "empty").tolist()
    (before, types), (after, types_after) = lists(table), lists(completed)
    assert len(after) == len(returned)
    for j, column, dtype in zip(returned, after, types_after, strict=True):
        role, kind = report["role"].iloc[j], report["kind"].iloc[j]
        # arrays of objects that are all numbers are read, and returned, as floats
        is_float = isinstance(table, np.ndarray) and dtype == np.float64
        assert is_float or dtype == types[j], (role, kind)
        for old, new in zip(before[j], column, strict=True):
            if not is_null(old):
                # so are strings that are all numbers
                assert new == (float(old) if is_float else old), (role, kind)
                assert is_float or type(new) is type(old), (role, kind)
            elif role != "other":
                assert not is_null(new), (role, kind)
                assert not isinstance(new, float) or np.isfinite(new), (role, kind)
                if kind in ("continuous", "count", "integer") and role == "modelled":
                    is_bounded = imputer.min_value is not None and isinstance(new, numbers.Number)
                    assert not is_bounded or abs(new) <= LIMIT, (role, kind)


def saved_and_loaded(estimator, format):
    """Return an estimator after it is saved and loaded in a format."""
    if format == "pickle":
        return pickle.loads(pickle.dumps(estimator))
    if format == "joblib":
        file = io.BytesIO()
        joblib.dump(estimator, file)
        file.seek(0)
        return joblib.load(file)
    data = skops.io.dumps(estimator)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


@settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(tables(), st.booleans(), st.sampled_from(["pickle", "joblib", "skops"]))
def test_any_table_is_completed_or_refused(table, bounded, format):
    imputer = tiny(MVAEImputer, max_iter=1, n_hidden=4, n_importance_draws=5, init="random")
    if bounded:
        imputer.set_params(min_value=-LIMIT, max_value=LIMIT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            completed = imputer.fit(table).transform(table)
            (imputed,) = imputer.impute(table, 1)
            scores = imputer.score_samples(table)
        except (ValueError, TypeError) as error:
            message = str(error)
            assert 0 < len(message) <= MAX_MESSAGE, message
            assert "column" in message.lower() or "X has no observed cell" in message
            return
    for result in (completed, imputed):
        assert_completed(imputer, table, result)
    assert np.isfinite(scores).all()
    loaded = saved_and_loaded(imputer, format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = lists(loaded.transform(table))
    assert str(again) == str(lists(completed))
