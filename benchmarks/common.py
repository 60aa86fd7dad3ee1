"""What the benchmarks share: resumable grids, and the line of versions."""

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


def run_grid(
    path: Path,
    keys: list[str],
    cells: Iterable[tuple],
    run: Callable[..., dict[str, Any]],
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Run every cell that the CSV file does not hold yet, adding a line each.

    Parameters
    ----------
    path : Path
        The CSV file.
    keys : list of str
        Names of a cell's entries.
    cells : iterable of tuple
        What to run.
    run : callable
        Takes a cell's entries, returns its outcome.
    n_jobs : int
        Processes; with several of them each has its share of the threads, and seconds are those
        of a busy machine.

    Returns
    -------
    DataFrame
        All lines of the file.
    """
    results = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=keys)
    done = set(results[keys].itertuples(index=False, name=None))
    todo = [cell for cell in cells if cell not in done]
    work = Parallel(n_jobs, return_as="generator_unordered")(
        delayed(_outcome)(run, cell) for cell in todo
    )
    for cell, seconds, outcome in work:
        line = pd.DataFrame([{**dict(zip(keys, cell, strict=True)), **outcome}])
        results = pd.concat([results if len(results) else None, line])
        results.to_csv(path, index=False, float_format="%.5g")
        print(", ".join(map(str, cell)), f"{seconds:.1f} s", flush=True)
    return pd.read_csv(path)


def _outcome(run: Callable[..., dict[str, Any]], cell: tuple) -> tuple[tuple, float, dict]:
    start = time.perf_counter()
    outcome = run(*cell)
    return cell, time.perf_counter() - start, outcome


def impute_hidden(imputer: Any, table: str, seed: int, hidden_share: float = 0.5) -> dict[str, Any]:
    """Hide cells completely at random, complete the table, and measure.

    Parameters
    ----------
    imputer : object
        A scikit-learn imputer.
    table : str
        Name of the table.
    seed : int
        Seed of the mask.
    hidden_share : float
        Share of the cells that is hidden.

    Returns
    -------
    dict
        Mean squared error on hidden standardised cells, seconds of fit and of transform.
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
    """Fit by one pass after the other, at a constant rate, with checkpoints.

    Parameters
    ----------
    estimator : object
        An estimator with ``partial_fit``.
    X : array-like
        The table.
    n_epochs : int
        Passes in all.
    path : Path
        The checkpoint: where there is one, it is gone on from. It is left when all is done, for
        what comes after may be interrupted, too.
    minutes : float
        Time between checkpoints.

    Returns
    -------
    estimator : object
        The fitted one.
    seconds : float
        Time of all passes.
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
            beside = path.with_suffix(".partial")
            joblib.dump((estimator, n_done, seconds + now - start), beside)
            os.replace(beside, path)  # never half a file
    return estimator, seconds + time.perf_counter() - start


def mean_and_spread(results: pd.DataFrame, rows: str, columns: str, value: str) -> pd.DataFrame:
    """Return a frame of texts, mean (standard deviation), in the order of first appearance.

    A single run has no deviation, and what was not run no text.
    """
    groups = results.groupby([rows, columns], sort=False)[value]
    mean, spread = groups.mean().unstack(), groups.std().unstack()
    order = results[rows].drop_duplicates(), results[columns].drop_duplicates()
    mean, spread = mean.loc[order], spread.loc[order]
    spread = spread.map(" ({:.3f})".format, na_action="ignore").fillna("")
    return mean.map("{:.3f}".format, na_action="ignore").fillna("") + spread


def markdown(frame: pd.DataFrame, corner: str) -> str:
    """Return a frame of texts as a Markdown table."""
    lines = [[corner, *frame.columns], ["---"] * (len(frame.columns) + 1)]
    lines += [[str(name), *row] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def pyplot() -> Any:
    """Return matplotlib.pyplot, which draws into files alone."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def versions() -> str:
    """Return the versions that a table was made with."""
    return (
        f"skmissvae {skmissvae.__version__}, scikit-learn {sklearn.__version__}, torch "
        f"{torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"threads: {torch.get_num_threads()}.\n"
    )
