"""Imputation errors of small tables by initialization, and of the choice between them.

``python benchmarks/initialization.py`` imputes tables of 103 to 360 rows by ``MissSIWAEImputer``
initialized from factor analysis, at random, and by the choice of ``init="auto"``, and measures the
errors of hidden cells; also those of the mean of the first two imputations. Each run appends a line
to ``initialization.csv``; existing runs are not repeated.
"""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables
from common import argument_parser, markdown, run_grid, versions, write_page

from skmissvae import MissSIWAEImputer

TABLES = ("ionosphere", "sonar", "ecoli", "concrete_slump", "yacht", "libras")
SHARES = (0.5, 0.2)
INITS = ("factor_analysis", "random", "auto")
MEAN = "mean of both"


def run(table: str, share: float, seed: int, n_hidden: int) -> dict[str, Any]:
    """Impute a table with each initialization."""
    complete = tables.load(table).to_numpy()
    hidden = np.random.default_rng(seed).random(complete.shape) < share
    incomplete = np.where(hidden, np.nan, complete)
    imputed, outcome = {}, {}
    for init in INITS:
        imputer = MissSIWAEImputer(init=init, n_hidden=n_hidden, random_state=seed)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            imputed[init] = imputer.fit_transform(incomplete)
        outcome[f"{init}, seconds"] = time.perf_counter() - start
        outcome["chosen"] = imputer.init_  # of "auto", which is last
    imputed[MEAN] = (imputed["factor_analysis"] + imputed["random"]) / 2
    errors = {init: float(np.mean((x - complete)[hidden] ** 2)) for init, x in imputed.items()}
    return {**errors, **outcome}


def times(results: pd.DataFrame) -> str:
    """Return the median time of each initialization, if times were measured."""
    names = [f"{init}, seconds" for init in INITS]
    if not set(names) <= set(results):
        return ""
    seconds = ", ".join(
        f"{init} {s:.1f}" for init, s in zip(INITS, results[names].median(), strict=True)
    )
    return f". Seconds of fit and transform, median: {seconds}"


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="two tables, one seed, small networks")
    parser.add_argument("--seeds", type=int, default=3, help="masks per table and share")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("initialization_quick.csv" if quick else "initialization.csv")
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
    text = markdown(frame, "table, cells missing") + (
        "\nMean squared error of hidden cells of standardized columns, missing completely at "
        f"random: mean (standard deviation) over {results['seed'].nunique()} masks. Errors "
        "relative to factor analysis, geometric means: "
        + ", ".join(f"{way} {np.exp(np.log(r).mean()):.3f}" for way, r in ratio.items())
        + f'. "auto" chose the better one in {int((best == results["chosen"]).sum())} of '
        f"{len(results)} cases{times(results)}. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
