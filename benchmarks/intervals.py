"""Coverage of the intervals of ``cell_distribution``, with and without calibration.

``python benchmarks/intervals.py`` hides 30% of the cells of tables, completely at random or at
random given other columns, fits with ``calibrate=False`` and ``True``, and measures the share of
hidden cells within the central 50%, 80%, 90% and 95% intervals. Each run appends a line to
``intervals.csv``; existing runs are not repeated.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import tables
from common import argument_parser, markdown, run_grid, versions, write_page

from skmissvae import MissSIWAEImputer, make_missing

TABLES = ["wine_red", "concrete", "breast_cancer", "banknote", "diabetes"]
LEVELS = [0.5, 0.8, 0.9, 0.95]


def run(table: str, mechanism: str, calibrate: bool, seed: int) -> dict[str, float]:
    """Return coverage and width of the intervals of hidden cells."""
    complete = tables.load(table)
    complete = complete.sample(min(len(complete), 1000), random_state=seed).reset_index(drop=True)
    incomplete, hidden = make_missing(complete, mechanism, 0.3, random_state=seed, return_mask=True)
    q = sorted([0.5 - 0.5 * p for p in LEVELS] + [0.5 + 0.5 * p for p in LEVELS])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputer = MissSIWAEImputer(calibrate=calibrate, random_state=seed).fit(incomplete)
        cells = imputer.cell_distribution(incomplete, q)
    cells = cells[cells["mean"].notna()]
    columns = cells["column"].map(complete.columns.get_loc).to_numpy(int)
    index = cells["row"].to_numpy(int), columns
    assert hidden[index].all(), "complete tables"
    truth, scale = complete.to_numpy()[index], complete.std().to_numpy()[columns]
    outcome = {}
    for p in LEVELS:
        ends = cells[[f"{100 * (0.5 + s * 0.5 * p):g}%" for s in (-1, 1)]].to_numpy()
        outcome[f"coverage {p:.0%}"] = float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())
        if p == 0.9:
            outcome["width 90%"] = float(((ends[:, 1] - ends[:, 0]) / scale).mean())
    return outcome


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table, one mechanism, one seed")
    options = parser.parse_args()
    path = Path(__file__).with_name("intervals_quick.csv" if options.quick else "intervals.csv")
    cells = [
        (table, mechanism, calibrate, seed)
        for table in (TABLES[:1] if options.quick else TABLES)
        for mechanism in (("mcar",) if options.quick else ("mcar", "mar"))
        for calibrate in (False, True)
        for seed in range(1 if options.quick else 3)
    ]
    keys = ["table", "mechanism", "calibrate", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
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
        + "\nShare of hidden cells within central intervals, and width of 90% intervals in "
        "standard deviations of the columns: mean (standard deviation) over three seeds of rows, "
        "mask and model. At most 1,000 rows, 30% of the cells missing. " + versions()
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
