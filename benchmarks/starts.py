"""Which start serves small tables, and whether hidden cells tell.

``python benchmarks/starts.py`` has ``MissSIWAEImputer`` complete tables of 100 to 360 rows from
factor analysis, from nothing, and from the start that it chooses itself (``init="auto"``), and
measures the error on hidden cells; that of the mean of the first two is beside them. Each run adds
a line to ``starts.csv``; runs that are there are not done again.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tables
from common import markdown, run_grid, versions

from skmissvae import MissSIWAEImputer

TABLES = ("ionosphere", "sonar", "ecoli", "concrete_slump", "yacht", "libras")
SHARES = (0.5, 0.2)
INITS = ("factor_analysis", "random", "auto")
MEAN = "mean of both"


def run(table: str, share: float, seed: int, n_hidden: int) -> dict[str, Any]:
    """Complete a table from each start."""
    complete = tables.load(table).to_numpy()
    hidden = np.random.default_rng(seed).random(complete.shape) < share
    holed = np.where(hidden, np.nan, complete)
    made, found = {}, {}
    for init in INITS:
        imputer = MissSIWAEImputer(init=init, n_hidden=n_hidden, random_state=seed)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made[init] = imputer.fit_transform(holed)
        found[f"{init}, seconds"] = time.perf_counter() - start
        found["chosen"] = imputer.init_  # at last by init="auto"
    made[MEAN] = (made["factor_analysis"] + made["random"]) / 2
    errors = {way: float(np.mean((x - complete)[hidden] ** 2)) for way, x in made.items()}
    return {**errors, **found}


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two tables, one seed, small networks")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=3, help="masks per table and share")
    parser.add_argument("--report", action="store_true", help="write what is done, run nothing")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("starts_quick.csv" if quick else "starts.csv")
    cells = [
        (table, share, seed, 16 if quick else 128)
        for seed in range(1 if quick else options.seeds)
        for share in SHARES
        for table in (TABLES[2:4] if quick else TABLES)
    ]

    keys = ["table", "share", "seed", "n_hidden"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    ways = [*INITS, MEAN]
    groups = results.groupby(["table", "share"], sort=False)
    means, spreads = groups[ways].mean(), groups[ways].std()
    frame = means.map("{:.3f}".format) + spreads.map(" ({:.3f})".format).where(spreads.notna(), "")
    frame.index = [f"{table}, {share:.0%}" for table, share in frame.index]
    best = results[["factor_analysis", "random"]].idxmin(axis=1)
    ratio = {way: results[way] / results["factor_analysis"] for way in ("random", "auto", MEAN)}
    seconds = results[[f"{init}, seconds" for init in INITS]].median()
    text = markdown(frame, "table, cells missing") + (
        "\nMean squared error on hidden standardised cells, missing completely at random: mean "
        f"(standard deviation) over {results['seed'].nunique()} masks. Relative to factor "
        "analysis, geometric means over all: "
        + ", ".join(f"{way} {np.exp(np.log(r).mean()):.3f}" for way, r in ratio.items())
        + f". The better start was chosen in {int((best == results['chosen']).sum())} of "
        f"{len(results)} cases. Seconds of fit and transform, median: "
        + ", ".join(f"{init} {s:.1f}" for init, s in zip(INITS, seconds, strict=True))
        + f". {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
