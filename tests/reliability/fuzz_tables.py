"""Fit every estimator to random tables, and pass new rows in other containers and types.

usage: python fuzz_tables.py NUMBER SEED [FIRST]

Tables FIRST to FIRST + NUMBER - 1 of the seed are made. The laws for each of them:

- It is completed, or refused by a ValueError or TypeError of at most 400 characters that names a
  column or what is wrong; a refused table leaves the estimator as it is.
- Observed cells are returned bit for bit, in the container and data types of the table. No cell
  stays missing, except in columns of unsupported types. Numbers are finite and within the bounds.
- The same holds for new rows: other cells missing, another container, other types of numbers,
  columns of another kind, new categories. Rows with other, more or fewer columns are refused.
- The estimator, saved and loaded by pickle, joblib, skops or as a model file, gives the same bits.
- No table is changed, and there is no RuntimeWarning.

Violations and a summary are printed; the exit status is 1 if there is a violation.
"""

import collections
import datetime
import decimal
import math
import numbers
import re
import string
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from estimator_cases import ESTIMATORS
from round_trips import by_joblib, by_model_file, by_pickle, by_skops

from skmissvae.inference import LAIR

MAX_MESSAGE = 400  # characters
LIMIT = 5.0  # of imputed numbers

DAY = datetime.datetime(2020, 1, 1)
#: Functions that return n cells, by kind.
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
FRAMES = ("pandas", "nullable", "arrow", "polars")
ARRAYS = ("float64", "float32", "object")


# -- tables -------------------------------------------------------------------------------------


def choose(rng, options):
    """Return one of the options."""
    return options[rng.integers(len(options))]


def some_missing(values, share, rng):
    """Return a list of cells, None where missing."""
    return [None if u < share else v for u, v in zip(rng.random(len(values)), values, strict=True)]


def in_container(columns, container):
    """Return columns of cells, by name, in a container."""
    cells = list(columns.values())
    if container in ("float64", "float32"):
        with np.errstate(over="ignore"):
            array = np.array(cells, dtype=float).T.astype(container)
        return np.where(np.isinf(array), np.nan, array)
    if container == "object":
        array = np.empty((len(cells[0]), len(cells)), dtype=object)
        for j, column in enumerate(cells):
            array[:, j] = column
        return array
    if container == "polars":
        return pl.DataFrame(columns, strict=False)
    frame = pd.DataFrame({name: pd.Series(c) for name, c in columns.items()})
    if container == "pandas":
        return frame
    backend = {"nullable": "numpy_nullable", "arrow": "pyarrow"}[container]
    with np.errstate(invalid="ignore"):  # pandas 2 converts large floats to integers
        return frame.convert_dtypes(dtype_backend=backend)


def random_columns(rng, container):
    """Return columns of cells, with missing ones, by name."""
    choice = NUMBERS if container.startswith("float") else sorted(KINDS)
    n = min(int(rng.geometric(0.08)), 80)
    kinds = [choose(rng, choice) for _ in range(min(int(rng.geometric(0.25)), 19))]
    shares = rng.choice([0.0, 0.1, 0.4, 0.9, 1.0], 3, p=[0.25, 0.3, 0.25, 0.15, 0.05])
    columns = {
        f"{kind} {j}": some_missing(KINDS[kind](rng, n), shares[j % 3], rng)
        for j, kind in enumerate(kinds)
    }
    if rng.random() < 0.3:
        columns["a copy"] = list(next(iter(columns.values())))
    return columns


def random_estimator(rng):
    """Return an estimator with small networks and random options."""
    cls = choose(rng, list(ESTIMATORS))
    options = {
        "n_hidden": 2,
        "n_blocks": int(rng.integers(2)),
        "max_iter": 1,
        "n_draws": 1,
        "n_importance_draws": 3,
        "init": choose(rng, ["random", "auto"]),
        "learn_shapes": bool(rng.integers(2)),
        "handle_unknown": choose(rng, ["error", "missing"]),
        "keep_empty_features": rng.random() < 0.2,
        "device": "cpu",
        "random_state": 0,
    }
    if "K" in ESTIMATORS[cls]:
        options["K"] = 2
    if "sampler" in ESTIMATORS[cls]:
        options["sampler"] = LAIR(n_steps=1)
    if hasattr(cls, "transform"):
        options["strategy"] = choose(rng, [*["auto"] * 7, "median", "mode", "draw"])
        if rng.random() < 0.4:
            options |= {"min_value": -LIMIT, "max_value": LIMIT}
    return cls(**options)


# -- laws ---------------------------------------------------------------------------------------


def lists(table):
    """Return the columns of a table as lists of Python values, and their types."""
    if isinstance(table, np.ndarray):
        return [column.tolist() for column in table.T], [table.dtype] * table.shape[1]
    if isinstance(table, pl.DataFrame):
        return [table[name].to_list() for name in table.columns], table.dtypes
    return [table.iloc[:, j].tolist() for j in range(table.shape[1])], table.dtypes.tolist()


def is_null(cell):
    """Return whether a cell is missing."""
    return cell is None or cell is pd.NA or cell is pd.NaT or cell != cell


def is_same(old, new, *, is_float):
    """Return whether an observed cell is returned bit for bit; as a float, if it is read as one."""
    if is_float:
        old = float(old)
    if isinstance(old, float):
        return new == old and math.copysign(1, new) == math.copysign(1, old)
    return type(new) is type(old) and new == old


def check_completed(imputer, table, completed, dtypes_at_fit=None):
    """Check the container, types, observed cells and imputed cells of a completed table."""
    assert type(completed) is type(table)
    report = imputer.fit_report_
    returned = list(range(len(report)))
    if not imputer.keep_empty_features:
        returned = np.flatnonzero(report["role"] != "empty").tolist()
    (before, types), (after, types_after) = lists(table), lists(completed)
    assert len(after) == len(returned), "the number of columns"
    for j, column, dtype in zip(returned, after, types_after, strict=True):
        role, kind = report["role"].iloc[j], report["kind"].iloc[j]
        where = f"column {j}, {role}, {kind}, {types[j]}, {dtype}"
        # arrays of objects that are all numbers are read, and returned, as floats
        is_float = isinstance(table, np.ndarray) and dtype == np.float64
        # a column without any observed cell gets the type at fit
        is_empty = all(map(is_null, before[j]))
        assert is_float or is_empty or dtype == types[j], f"type of {where}"
        for old, new in zip(before[j], column, strict=True):
            if not is_null(old):
                assert is_same(old, new, is_float=is_float), f"{old!r} is {new!r}: {where}"
            elif role not in ("other", "empty"):
                assert not is_null(new), f"missing: {where}"
                assert not isinstance(new, float) or np.isfinite(new), f"{new}: {where}"
                if kind in ("continuous", "count", "integer") and role == "modelled":
                    is_bounded = imputer.min_value is not None and isinstance(new, numbers.Number)
                    assert not is_bounded or abs(new) <= LIMIT, f"{new}: {where}"


def check_message(error, name=None):
    """Check the message of a refusal, which names a column if it is known which one is wrong."""
    message = str(error)
    assert 0 < len(message) <= MAX_MESSAGE, f"length of {message!r}"
    assert name is None or name in message, f"{name} is not in {message!r}"
    assert re.search(r"\b(column|feature|observed cell)", message, re.IGNORECASE), message


def results(estimator, table, method):
    """Return the result of a method, after checks."""
    if method == "impute":
        (result,) = estimator.impute(table, 1, random_state=0)
    else:
        result = getattr(estimator, method)(table)
    if method in ("transform", "impute"):
        check_completed(estimator, table, result)
        return lists(result)
    assert np.isfinite(result).all(), method
    return np.asarray(result).tolist()


FORMATS = [*[by_pickle, by_joblib, by_model_file] * 3, by_skops]


# -- new rows -----------------------------------------------------------------------------------


def other_cells_missing(rng, columns, container):
    """Return the same rows with other cells missing, also in columns without missing cells."""
    return {k: some_missing(c, 0.3, rng) for k, c in columns.items()}, container


def other_rows(rng, columns, container):
    """Return new rows of the same kinds."""
    n = int(rng.integers(1, 9))
    new = {}
    for name in columns:
        kind = name.rsplit(" ", 1)[0]
        kind = kind if kind in KINDS else next(iter(columns)).rsplit(" ", 1)[0]
        new[name] = some_missing(KINDS[kind](rng, n), 0.3, rng)
    return new, container


def other_container(rng, columns, container):
    """Return the first rows in another container."""
    n, options = int(rng.integers(1, 20)), [*FRAMES, "object"]
    if all(name.rsplit(" ", 1)[0] in NUMBERS for name in columns if name != "a copy"):
        is_number = next(iter(columns)).rsplit(" ", 1)[0] in NUMBERS
        options += ["float64", "float32"] if is_number else []
    return {name: cells[:n] for name, cells in columns.items()}, choose(rng, options)


def other_numbers(rng, columns, container):
    """Return floats for integers, and integers for floats."""
    return {name: [as_other_number(c) for c in cells] for name, cells in columns.items()}, container


def as_other_number(cell):
    """Return a float for an integer, an integer for a float, and other cells as they are."""
    if isinstance(cell, float):
        return int(cell) if abs(cell) < 2**60 else cell
    return float(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell


def new_categories(rng, columns, container):
    """Return rows with a new word in the columns of words."""
    names = [name for name in columns if name.startswith(("word", "text and marker", "one word"))]
    changed = {name: ["purple", *columns[name][1:]] for name in names}
    return columns | changed, container


def no_cells(rng, columns, container):
    """Return rows without any observed cell."""
    return {name: [None, None] for name in columns}, container


def reordered(rng, columns, container):
    """Return the columns in another order."""
    return dict(reversed(columns.items())), container


def without_a_column(rng, columns, container):
    """Return all columns but the last."""
    return dict(list(columns.items())[:-1]), container


def with_another_column(rng, columns, container):
    """Return the columns and another one."""
    return columns | {"another": [1.0] * len(next(iter(columns.values())))}, container


ACCEPTED = [other_cells_missing]
ANY = [other_rows, other_container, other_container, other_numbers, new_categories, no_cells]
REFUSED = [reordered, without_a_column, with_another_column]


def new_rows(rng, columns, container):
    """Return new rows in a container, whether they must be refused, and the changed column."""
    changes = [*ACCEPTED * 2, *ANY, None, None]
    changes += REFUSED if len(columns) > 1 and container in FRAMES else []
    change = choose(rng, changes)
    if change is not None:
        return *change(rng, columns, container), change, None
    name = choose(rng, list(columns))
    kind = choose(rng, NUMBERS if container.startswith("float") else sorted(KINDS))
    cells = some_missing(KINDS[kind](rng, len(columns[name])), 0.2, rng)
    return columns | {name: cells}, container, None, name


def check_new_rows(rng, estimator, columns, container, method):
    """Check the result of new rows; return "completed" or "refused"."""
    columns, container, change, name = new_rows(rng, columns, container)
    table = in_container(columns, container)
    before = repr(lists(table))
    what = "a column of another kind" if change is None else change.__name__
    try:
        results(estimator, table, method)
        refusal = None
    except (ValueError, TypeError) as error:
        refusal = error
    except Exception as error:
        error.add_note(what)
        raise
    assert refusal is None or change not in ACCEPTED, f"{what}: {refusal}"
    if refusal is not None:
        check_message(refusal, name if container in FRAMES else None)
    assert refusal is not None or change not in REFUSED, what
    assert repr(lists(table)) == before, "the new rows have changed"
    return "completed" if refusal is None else "refused"


# -- the run ------------------------------------------------------------------------------------


def check_table(seed, i):
    """Check all laws for a table; return "completed" or "refused", for the table and new rows."""
    rng = np.random.default_rng([seed, i])
    container = choose(rng, [*FRAMES, *ARRAYS])
    columns, estimator = random_columns(rng, container), random_estimator(rng)
    table = in_container(columns, container)
    before, unfitted = repr(lists(table)), dict(vars(estimator))
    try:
        estimator.fit(table)
    except (ValueError, TypeError) as error:
        check_message(error)
        assert vars(estimator) == unfitted, "the refused table has changed the estimator"
        assert repr(lists(table)) == before, "the table has changed"
        return "refused", None
    fitted = dict(vars(estimator))
    methods = ["score_samples", "encode"]
    methods += ["transform"] * 4 + ["impute"] * 2 if hasattr(estimator, "transform") else []
    first, second = choose(rng, methods), choose(rng, methods)
    result = results(estimator, table, first)
    outcome = check_new_rows(rng, estimator, columns, container, second)
    assert repr(lists(table)) == before, "the table has changed"
    assert all(vars(estimator)[name] is value for name, value in fitted.items()), "has changed"
    loaded = choose(rng, FORMATS)(estimator)
    assert repr(results(loaded, table, first)) == repr(result), "differs after saving and loading"
    return "completed", outcome


def run(n, seed, first=0):
    """Check tables; return the number of each outcome, and descriptions of violations."""
    counts, violations = collections.Counter(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        for i in range(first, first + n):
            try:
                counts.update(zip(("tables", "new rows"), check_table(seed, i), strict=True))
            except Exception:
                violations.append(f"table {i} of seed {seed}:\n{traceback.format_exc(limit=-4)}")
    return counts, violations


def main(n, seed, first=0):
    """Print violations and a summary."""
    counts, violations = run(n, seed, first)
    sys.stdout.write("".join(violations))
    for what in ("tables", "new rows"):
        numbers = ", ".join(f"{counts[what, key]} {key}" for key in ("completed", "refused"))
        sys.stdout.write(f"{n} {what}: {numbers}, {len(violations)} violations\n")
    return len(violations)


if __name__ == "__main__":
    sys.exit(1 if main(*map(int, sys.argv[1:])) else 0)
