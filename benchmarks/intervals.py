"""Coverage of the intervals of ``cell_distribution``, before and after calibration.

``python benchmarks/intervals.py`` hides three tenths of the cells of tables, completely at random
or by other columns' values, fits with ``calibrate=False`` and ``True``, and counts how many hidden
cells the central 50%, 80%, 90% and 95% intervals hold. Each run adds a line to ``intervals.csv``;
runs that are there are not done again.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import tables
from common import markdown, run_grid, versions

from skmissvae import MissSIWAEImputer, make_missing

TABLES = ["wine_red", "concrete", "breast_cancer", "banknote", "diabetes"]
LEVELS = [0.5, 0.8, 0.9, 0.95]


def run(table: str, mechanism: str, calibrate: bool, seed: int) -> dict[str, float]:
    """Return coverage and width of intervals on hidden cells."""
    complete = tables.load(table)
    complete = complete.sample(min(len(complete), 1000), random_state=seed).reset_index(drop=True)
    holes, hidden = make_missing(complete, mechanism, 0.3, random_state=seed, return_mask=True)
    q = sorted([0.5 - 0.5 * p for p in LEVELS] + [0.5 + 0.5 * p for p in LEVELS])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputer = MissSIWAEImputer(calibrate=calibrate, random_state=seed).fit(holes)
        told = imputer.cell_distribution(holes, q)
    told = told[told["mean"].notna()]
    place = told["row"].to_numpy(int), told["column"].map(complete.columns.get_loc).to_numpy(int)
    assert hidden[place].all(), "complete tables"
    truth, scale = complete.to_numpy()[place], complete.std().to_numpy()[place[1]]
    found = {}
    for p in LEVELS:
        ends = told[[f"{100 * (0.5 + s * 0.5 * p):g}%" for s in (-1, 1)]].to_numpy()
        found[f"coverage {p:.0%}"] = float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())
        if p == 0.9:
            found["width 90%"] = float(((ends[:, 1] - ends[:, 0]) / scale).mean())
    return found


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two tables, one seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    path = Path(__file__).with_name("intervals_quick.csv" if options.quick else "intervals.csv")
    cells = [
        (table, mechanism, calibrate, seed)
        for table in (TABLES[:2] if options.quick else TABLES)
        for mechanism in ("mcar", "mar")
        for calibrate in (False, True)
        for seed in range(1 if options.quick else 3)
    ]
    results = run_grid(path, ["table", "mechanism", "calibrate", "seed"], cells, run, options.jobs)
    groups = results.groupby(["table", "mechanism", "calibrate"], sort=False)
    mean, spread = groups.mean(), groups.std()
    frame = pd.DataFrame(
        {
            name: [
                f"{m:.3f} ({s:.3f})" if np.isfinite(s) else f"{m:.3f}"
                for m, s in zip(mean[name], spread[name], strict=True)
            ]
            for name in mean.columns
            if name != "seed"
        }
    )
    frame.insert(0, "calibrate", [str(calibrate) for *_, calibrate in mean.index])
    frame.insert(0, "mechanism", [mechanism for _, mechanism, _ in mean.index])
    frame.index = pd.Index([table for table, *_ in mean.index])
    text = (
        markdown(frame, "table")
        + "\nShare of hidden cells that central intervals hold, and width of 90% intervals in "
        "standard deviations: mean (standard deviation) over three seeds of rows, mask and model. "
        "1,000 rows at most, 30% of the cells missing. " + versions()
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
