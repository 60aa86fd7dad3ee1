"""Growth of the time of fit, transform, impute and score_samples.

``python benchmarks/growth.py`` measures the seconds of calls of ``MIWAEImputer`` for several
numbers of rows, columns, categories, draws and imputations, and writes ``growth.csv`` and
``growth.md`` with log-log slopes: 1 is linear. Existing runs are not repeated.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import argument_parser, markdown, run_grid, versions, write_page

from skmissvae import MIWAEImputer

#: Numbers of each quantity; the others are those of ``_DEFAULTS``.
SIZES = {
    "rows": (250, 500, 1000, 2000, 4000),
    "columns": (20, 40, 80, 160),
    "categories": (8, 16, 32, 64),
    "draws": (100, 200, 400, 800, 1600),
    "imputations": (5, 10, 20, 40),
}
_DEFAULTS = {"rows": 250, "columns": 10, "categories": 0, "draws": 100, "imputations": 5}


def table(rows: int, columns: int, categories: int) -> pd.DataFrame:
    """Return a table with 30% of the cells missing; some columns are categorical."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 3)) @ rng.normal(size=(3, columns)) + rng.normal(
        size=(rows, columns)
    )
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(columns)])
    if categories:
        codes = rng.permuted(np.arange(rows) % categories)
        frame["category"] = pd.Categorical([f"c{code}" for code in codes])
    return frame.mask(rng.random(frame.shape) < 0.3)


def run(quantity: str, size: int) -> dict[str, Any]:
    """Time the calls, each the best of three."""
    sizes = {**_DEFAULTS, quantity: size}
    X = table(sizes["rows"], sizes["columns"], sizes["categories"])
    imputer = MIWAEImputer(
        max_iter=5,
        batch_size=100,
        n_importance_draws=sizes["draws"],
        init="factor_analysis",  # otherwise two initializations of some sizes are compared
        random_state=0,
        device="cpu",
    )

    def impute() -> None:
        for _ in imputer.impute(X[:250], sizes["imputations"]):
            pass

    calls: dict[str, Callable[[], Any]] = {
        "fit": lambda: imputer.fit(X),
        "transform": lambda: imputer.transform(X),
        "impute": impute,
        "score_samples": lambda: imputer.score_samples(X),
    }
    return {name: min(map(_seconds, [call] * 3)) for name, call in calls.items()}


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()
    return time.perf_counter() - start


def main() -> None:
    """Run what is not in the CSV file yet, and write the table of slopes."""
    options = argument_parser(__doc__, quick="the two smallest sizes").parse_args()
    path = Path(__file__).with_name("growth_quick.csv" if options.quick else "growth.csv")
    cells = [(q, n) for q, sizes in SIZES.items() for n in (sizes[:2] if options.quick else sizes)]
    keys = ["quantity", "size"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    lines = {}
    for quantity, part in results.groupby("quantity", sort=False):
        seconds = part.drop(columns=keys)
        slopes = np.polyfit(np.log(part["size"]), np.log(seconds), 1)[0]
        lines[f"{quantity}, {part['size'].min():,} to {part['size'].max():,}"] = [
            f"{slope:.2f}, {last:.2f} s"
            for slope, last in zip(slopes, seconds.iloc[-1], strict=True)
        ]
    frame = pd.DataFrame.from_dict(lines, orient="index", columns=seconds.columns)
    text = markdown(frame, "quantity") + (
        "\nLog-log slope of the seconds of a call, the best of three, and the seconds at the "
        "largest size. The other quantities are "
        + ", ".join(f"{size:,} {name}" for name, size in _DEFAULTS.items())
        + f"; impute takes 250 rows, fit 5 epochs. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
