"""The table of Mattei and Frellsen (2019): six UCI tables, half of the cells hidden.

``python benchmarks/miwae_table.py`` completes the features of the six tables by our defaults, and
by MIWAE and MVAE with the published networks and distributions on the same masks, these with
25,000 steps. Each run adds a line to ``miwae_table.csv``; runs that are there are not done again.
The published numbers, of 500,000 steps, stand beside them in ``miwae_table.md``.
"""

import argparse
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables
from common import markdown, mean_and_spread, run_grid, versions
from peers import default, published

PUBLISHED = {  # MIWAE, MVAE and missForest, as the paper has them
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
STEPS = 25_000  # of the published settings here


def hide_half(table: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the standardised features of a table, complete and with half of the cells hidden."""
    frame = tables.load_whole(table, 10**6)[0].select_dtypes("number")
    complete = ((frame - frame.mean()) / frame.std(ddof=0)).to_numpy()
    hidden = np.random.default_rng(seed).random(complete.shape) < 0.5
    return complete, np.where(hidden, np.nan, complete)


def run(table: str, method: str, seed: int) -> dict[str, Any]:
    """Hide half of the cells, complete the table, and return the error."""
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
    """Return a table of ours against each of the published settings, over all masks of both."""
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
        f"\n{ours} against the published settings: means over the masks that both have, and on "
        "how many of them it is better.\n\n" + markdown(pd.DataFrame(lines).T, "against")
    )


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two tables, one seed, ours alone")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=5, help="masks per table")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="which of them")
    parser.add_argument("--tables", nargs="+", default=list(PUBLISHED), help="which of them")
    parser.add_argument("--report", action="store_true", help="write what is done, run nothing")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("miwae_table_quick.csv" if quick else "miwae_table.csv")
    cells = [
        (table, method, seed)
        for seed in range(1 if quick else options.seeds)
        for method in options.methods
        for table in (("banknote", "concrete") if quick else options.tables)
        if tables.is_at_hand(table)
        if not (quick and "published" in method)
    ]
    keys = ["table", "method", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    pairs = compared(results)
    # masks differ by more than methods do: only those count that every method has run on
    n_methods = results.groupby(["table", "seed"])["method"].transform("nunique")
    results = results[n_methods == results["method"].nunique()]
    order = pd.Categorical(results["method"], list(METHODS))
    results = results.assign(order=order).sort_values(["order", "seed"], kind="stable")
    frame = mean_and_spread(results, "method", "table", "mse")
    frame = frame[[table for table in PUBLISHED if table in frame]]
    for i, name in enumerate(("MIWAE", "MVAE", "missForest")):
        told = {table: f"{PUBLISHED[table][i]:.3f}" for table in frame}
        frame.loc[f"{name}, as published"] = told
    steps = results.groupby("method")["steps"]
    frame["steps"] = [
        f"{steps.min()[m]:,} to {steps.max()[m]:,}" if m in METHODS else "500,000"
        for m in frame.index
    ]
    frame.loc["missForest, as published", "steps"] = ""
    seconds = results.groupby("method")["seconds"].median()
    frame["seconds"] = [f"{seconds[m]:.0f}" if m in METHODS else "" for m in frame.index]
    text = (
        markdown(frame, "method")
        + "\nMean squared error on hidden standardised cells, half of the cells of the features "
        f"missing completely at random: mean (standard deviation) over up to "
        f"{results['seed'].nunique()} seeds that all methods have. Seconds: medians. The paper's "
        f"columns and masks may differ.\n{pairs}\n{versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
