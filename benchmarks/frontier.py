"""Errors of imputers against their time, with cheaper settings of this package.

``OMP_NUM_THREADS=1 python benchmarks/frontier.py`` imputes the tables of ``accuracy.py``, with 20
and 50% of the cells missing completely at random, one after the other in this process. Each run
appends a line to ``frontier.csv``; existing runs are not repeated. Times are those of ``fit`` and
``transform`` on an otherwise idle machine.
"""

import functools
import warnings
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import pandas as pd
import peers
import tables
from common import argument_parser, markdown, pyplot, run_grid, versions, write_page

MECHANISMS = ("mcar 20%", "mcar 50%")
#: Settings of MissSIWAEImputer: the default, and two that are cheaper for most tables.
SETTINGS: dict[str, dict[str, Any]] = {
    "MissSIWAEImputer": {},
    "MissSIWAEImputer, max_iter=60": {
        "max_iter": 60,
        "learning_rate": 0.006,
        "n_importance_draws": 128,
    },
    "MissSIWAEImputer, max_iter=15": {
        "max_iter": 15,
        "learning_rate": 0.006,
        "n_importance_draws": 128,
        "init": "factor_analysis",
    },
}
PEERS = [
    "mean",
    "PCA",
    "KNN",
    "iterative, ridge",
    "iterative, forest",
]
KEYS = ["method", "table", "mechanism", "seed"]


@functools.cache
def imputers() -> dict[str, Any]:
    """Return functions that impute a table, by method, after a first call of each."""
    methods = {
        name: peers.ours(peers.default(peers.OURS, **options)) for name, options in SETTINGS.items()
    }
    methods |= {name: peers.METHODS[name].run for name in PEERS}
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[::3, 1] = np.nan
    for method in methods.values():  # imports and caches
        method(peers.IncompleteTable(x, np.zeros(3, dtype=int), x, 0))
    return methods


def run(method: str, table: str, mechanism: str, seed: int) -> dict[str, Any]:
    """Hide cells, impute them, and return the error and the time."""
    frame, _ = tables.load_whole(table, accuracy.MAX_ROWS)
    truth, hidden, n_categories = accuracy.hide(frame, mechanism, seed)
    incomplete = np.where(hidden, np.nan, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputation = imputers()[method](
            peers.IncompleteTable(incomplete, n_categories, truth, seed)
        )
    numeric = hidden & (n_categories == 0)
    deviation = ((imputation.completed - truth) / np.nanstd(truth, 0))[numeric]
    return {
        "rmse": float(np.sqrt(np.mean(deviation**2))),
        "seconds": imputation.fit_seconds + imputation.transform_seconds,
    }


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return the mean error relative to mean imputation, and the times, by method.

    Only runs count that all methods have.
    """
    wide = results.pivot_table(index=KEYS[1:], columns="method").dropna()
    relative = np.exp(np.log(wide["rmse"].div(wide["rmse", "mean"], axis=0)).mean())
    seconds = wide["seconds"]
    frame = pd.DataFrame({"error": relative, "seconds": seconds.median(), "slowest": seconds.max()})
    return frame.sort_values("error")


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draw the mean error of each method against its median time."""
    plt = pyplot()
    figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, line in frame.iterrows():
        is_ours = name in SETTINGS
        ax.scatter(line.seconds, line.error, color="C3" if is_ours else "0.4", zorder=3)
        ax.annotate(
            str(name), (line.seconds, line.error), (5, 4), textcoords="offset points", fontsize=8
        )
    ours = frame.loc[[name for name in SETTINGS if name in frame.index]]
    ax.plot(ours.seconds, ours.error, color="C3", lw=1)
    ax.set_xscale("log")
    ax.set_xlim(right=frame.seconds.max() * 12)
    ax.set_xlabel("median seconds of fit and transform, one thread")
    ax.set_ylabel("RMSE / RMSE of the mean")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Run what is not in the CSV file yet, and write table and figure."""
    parser = argument_parser(__doc__, quick="two tables, half of the cells missing", jobs=False)
    parser.add_argument("--seeds", type=int, default=1, help="masks per table and mechanism")
    options = parser.parse_args()
    name = "frontier_quick.csv" if options.quick else "frontier.csv"
    path = Path(__file__).with_name(name)
    names = ("auto_mpg", "concrete") if options.quick else accuracy.TABLES
    cells = [
        (method, table, mechanism, seed)
        for seed in range(options.seeds)
        for table in names
        if tables.is_available(table)
        for mechanism in (MECHANISMS[1:] if options.quick else MECHANISMS)
        for method in [*SETTINGS, *PEERS]
    ]
    results = run_grid(path, KEYS, [] if options.report else cells, run)
    frame = summary(results)
    if not options.quick:
        draw(frame, path.with_suffix(".png"))
    columns = {
        "RMSE / RMSE of the mean": frame["error"].map("{:.3f}".format),
        "median seconds": frame["seconds"].map("{:.2f}".format),
        "slowest table, seconds": frame["slowest"].map("{:.1f}".format),
    }
    n_runs = int(results.groupby("method").size().min())
    text = markdown(pd.DataFrame(columns), f"{n_runs} runs of each method") + (
        "\nErrors are of hidden cells of numeric columns, geometric means over the runs. "
        "Times are of fit and transform. The cheaper settings were not tuned on these tables. "
        "`max_iter=60`: with `learning_rate=0.006` and "
        '`n_importance_draws=128`; `max_iter=15`: with `init="factor_analysis"`, too. At most '
        f"{accuracy.MAX_ROWS} rows. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
