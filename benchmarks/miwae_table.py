"""Imputation errors on the six tables of Mattei and Frellsen (2019), half of the cells hidden.

``python benchmarks/miwae_table.py`` imputes the features of the tables by imputers with their
defaults, and on the same masks by MIWAE and MVAE with the published networks and distributions and
25,000 steps. Each run appends a line to ``miwae_table.csv``; existing runs are not repeated.
``miwae_table.md`` also has the published errors, after 500,000 steps.
"""

import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables
from common import (
    argument_parser,
    markdown,
    mean_and_spread,
    median_seconds,
    run_grid,
    versions,
    write_page,
)
from peers import default, published

PUBLISHED = {  # errors of MIWAE, MVAE and missForest in the paper
    "banknote": (0.446, 0.593, 0.676),
    "breast_cancer": (0.280, 0.318, 0.291),
    "concrete": (0.501, 0.587, 0.510),
    "wine_red": (0.643, 0.686, 0.697),
    "wine_white": (0.735, 0.782, 0.798),
    "yeast": (0.964, 0.997, 1.41),
}
METHODS = {
    "MissSIWAEImputer": default("MissSIWAEImputer"),
    "MIWAEImputer": default("MIWAEImputer"),
    "MIWAE, published settings": published("MIWAEImputer", 20),
    "MVAE, published settings": published("MVAEImputer", 20),
}
STEPS = 25_000  # of the published settings


def hide_half(table: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the standardized features of a table, complete and with half of the cells hidden."""
    frame = tables.load_whole(table, 10**6)[0].select_dtypes("number")
    complete = ((frame - frame.mean()) / frame.std(ddof=0)).to_numpy()
    hidden = np.random.default_rng(seed).random(complete.shape) < 0.5
    return complete, np.where(hidden, np.nan, complete)


def run(table: str, method: str, seed: int) -> dict[str, Any]:
    """Hide half of the cells, impute them, and return the error."""
    complete, incomplete = hide_half(table, seed)
    hidden = np.isnan(incomplete)
    imputer = METHODS[method](seed)
    if "published" in method:
        imputer.set_params(max_iter=math.ceil(STEPS / math.ceil(len(complete) / 64)))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        completed = imputer.fit(incomplete).transform(incomplete)
    return {
        "mse": float(np.mean((completed - complete)[hidden] ** 2)),
        "steps": imputer.n_iter_ * math.ceil(len(complete) / imputer.batch_size_),
        "seconds": time.perf_counter() - start,
    }


def compared(results: pd.DataFrame) -> str:
    """Return a table that compares MissSIWAEImputer with the published settings."""
    wide = results.pivot_table(index=["table", "seed"], columns="method", values="mse")
    ours = "MissSIWAEImputer"
    lines = {}
    for peer in METHODS:
        if "published" not in peer or not {ours, peer} <= set(wide):
            continue
        both = wide[[ours, peer]].dropna()
        lines[peer] = {
            table: f"{part[ours].mean():.3f} / {part[peer].mean():.3f}, "
            f"{(part[ours] < part[peer]).sum()} of {len(part)}"
            for table, part in both.groupby(level="table")
        }
    if not lines:
        return ""
    return (
        f"\nErrors of {ours} / of the published settings, means over the masks of both, and number "
        f"of masks on which {ours} is better.\n\n"
        + markdown(pd.DataFrame(lines).T, "published settings")
    )


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="two tables, one seed, no published settings")
    parser.add_argument("--seeds", type=int, default=5, help="masks per table")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="methods to run")
    parser.add_argument("--tables", nargs="+", default=list(PUBLISHED), help="tables to run")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("miwae_table_quick.csv" if quick else "miwae_table.csv")
    cells = [
        (table, method, seed)
        for seed in range(1 if quick else options.seeds)
        for method in options.methods
        for table in (("banknote", "concrete") if quick else options.tables)
        if tables.is_available(table)
        if not (quick and "published" in method)
    ]
    keys = ["table", "method", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    pairs = compared(results)
    # errors differ more by mask than by method: only masks on which every method has run
    n_methods = results.groupby(["table", "seed"])["method"].transform("nunique")
    results = results[n_methods == results["method"].nunique()]
    order = pd.Categorical(results["method"], list(METHODS))
    results = results.assign(order=order).sort_values(["order", "seed"], kind="stable")
    frame = mean_and_spread(results, "method", "table", "mse")
    frame = frame[[table for table in PUBLISHED if table in frame]]
    for i, name in enumerate(("MIWAE", "MVAE", "missForest")):
        frame.loc[f"{name}, as published"] = {t: f"{PUBLISHED[t][i]:.3f}" for t in frame}
    steps = results.groupby("method")["steps"]
    frame["steps"] = [
        f"{steps.min()[m]:,} to {steps.max()[m]:,}" if m in METHODS else "500,000"
        for m in frame.index
    ]
    frame.loc["missForest, as published", "steps"] = ""
    if len(seconds := median_seconds(results, "method", ("seconds",))):
        frame["seconds"] = seconds.reindex(frame.index).fillna("")
    text = (
        markdown(frame, "method")
        + "\nMean squared error of hidden cells of standardized features, half of the cells "
        "missing completely at random: mean (standard deviation) over at most "
        f"{results['seed'].nunique()} masks on which all methods have run. Columns and masks of "
        f"the published errors may differ.\n{pairs}\n{versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
