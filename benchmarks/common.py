"""Functions shared by the benchmarks: arguments, resumable grids of runs, tables as Markdown."""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
import tables
import torch
from joblib import Parallel, delayed

import skmissvae


def argument_parser(doc: str | None, quick: str, jobs: bool = True) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all benchmarks have.

    Parameters
    ----------
    doc : str
        Description of the benchmark.
    quick : str
        What ``--quick`` runs.
    jobs : bool
        Whether runs may be parallel.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--quick", action="store_true", help=quick)
    if jobs:
        parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument(
        "--report", action="store_true", help="only write the page from the CSV file"
    )
    return parser


def run_grid(
    path: Path,
    keys: list[str],
    cells: Iterable[tuple],
    run: Callable[..., dict[str, Any]],
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Run all settings that the CSV file does not have yet, and append a line to it for each.

    Parameters
    ----------
    path : Path
        The CSV file.
    keys : list of str
        Names of the entries of a setting.
    cells : iterable of tuple
        The settings.
    run : callable
        ``(*setting) -> results``, a dict of columns.
    n_jobs : int
        Number of processes. Times that are measured with several of them are too long.

    Returns
    -------
    DataFrame
        All lines of the file.
    """
    results = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=keys)
    done = set(results[keys].itertuples(index=False, name=None))
    todo = [cell for cell in cells if cell not in done]
    work = Parallel(n_jobs, return_as="generator_unordered")(
        delayed(_timed_run)(run, cell) for cell in todo
    )
    for cell, seconds, outcome in work:
        line = pd.DataFrame([{**dict(zip(keys, cell, strict=True)), **outcome}])
        results = pd.concat([results if len(results) else None, line])
        results.to_csv(path, index=False, float_format="%.5g")
        print(", ".join(map(str, cell)), f"{seconds:.1f} s", flush=True)
    return pd.read_csv(path)


def _timed_run(run: Callable[..., dict[str, Any]], cell: tuple) -> tuple[tuple, float, dict]:
    start = time.perf_counter()
    outcome = run(*cell)
    return cell, time.perf_counter() - start, outcome


def impute_hidden(imputer: Any, table: str, seed: int, hidden_share: float = 0.5) -> dict[str, Any]:
    """Hide cells completely at random, impute them, and measure the error.

    Parameters
    ----------
    imputer : object
        A scikit-learn imputer.
    table : str
        Name of the table.
    seed : int
        Seed of the mask.
    hidden_share : float
        Share of hidden cells.

    Returns
    -------
    dict
        Mean squared error of the hidden cells of standardized columns, seconds of ``fit`` and of
        ``transform``.
    """
    complete = tables.load(table).to_numpy()
    hidden = np.random.default_rng(seed).random(complete.shape) < hidden_share
    incomplete = np.where(hidden, np.nan, complete)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputer.fit(incomplete)
        fitted = time.perf_counter()
        completed = imputer.transform(incomplete)
    done = time.perf_counter()
    return {
        "mse": float(np.mean((completed - complete)[hidden] ** 2)),
        "fit_seconds": fitted - start,
        "transform_seconds": done - fitted,
    }


def fit_by_passes(
    estimator: Any, X: Any, n_epochs: int, path: Path, minutes: float = 5.0
) -> tuple[Any, float]:
    """Fit with ``partial_fit``, at a constant learning rate, with checkpoints.

    Parameters
    ----------
    estimator : object
        An estimator with ``partial_fit``.
    X : array-like
        The table.
    n_epochs : int
        Total number of epochs.
    path : Path
        The checkpoint; training continues from it if it exists. The caller deletes it after its
        own results are written.
    minutes : float
        Time between checkpoints.

    Returns
    -------
    estimator : object
        The fitted estimator.
    seconds : float
        Time of all epochs.
    """
    n_done, seconds = 0, 0.0
    if path.exists():
        estimator, n_done, seconds = joblib.load(path)
    saved = start = time.perf_counter()
    while n_done < n_epochs:
        estimator.partial_fit(X)
        n_done += 1
        now = time.perf_counter()
        if n_done == n_epochs or now - saved > 60 * minutes:
            saved = now
            partial = path.with_suffix(".partial")
            joblib.dump((estimator, n_done, seconds + now - start), partial)
            os.replace(partial, path)  # an interrupted write leaves the previous checkpoint
    return estimator, seconds + time.perf_counter() - start


def mean_and_spread(results: pd.DataFrame, rows: str, columns: str, value: str) -> pd.DataFrame:
    """Return a data frame of texts "mean (standard deviation)".

    The standard deviation is left out for a single run; settings without a run are empty. Rows and
    columns are in the order of their first appearance.
    """
    groups = results.groupby([rows, columns], sort=False)[value]
    mean, spread = groups.mean().unstack(), groups.std().unstack()
    order = results[rows].drop_duplicates(), results[columns].drop_duplicates()
    mean, spread = mean.loc[order], spread.loc[order]
    spread = spread.map(" ({:.3f})".format, na_action="ignore").fillna("")
    return mean.map("{:.3f}".format, na_action="ignore").fillna("") + spread


def median_seconds(
    results: pd.DataFrame, by: str, columns: tuple[str, ...] = ("fit_seconds",)
) -> pd.Series:
    """Return the median time of each group of runs as texts; empty if no time was measured."""
    if not set(columns) <= set(results):
        return pd.Series(dtype=str)
    total = results[list(columns)].sum(axis=1, skipna=False)
    return total.groupby(results[by]).median().dropna().map("{:.1f}".format)


def markdown(frame: pd.DataFrame, corner: str) -> str:
    """Return a data frame of texts as a Markdown table."""
    lines = [[corner, *frame.columns], ["---"] * (len(frame.columns) + 1)]
    lines += [[str(name), *row] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def pyplot() -> Any:
    """Return matplotlib.pyplot with a backend that draws into files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def versions() -> str:
    """Return the versions of the packages, and the number of threads."""
    return (
        f"skmissvae {skmissvae.__version__}, scikit-learn {sklearn.__version__}, torch "
        f"{torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"threads: {torch.get_num_threads()}.\n"
    )


def write_page(path: Path, text: str) -> None:
    """Write the Markdown page of a CSV file, and print it."""
    path.with_suffix(".md").write_text(text)
    print(text)
