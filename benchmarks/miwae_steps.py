"""Imputation error of MIWAE with the published settings by the number of training steps.

``python benchmarks/miwae_steps.py`` trains MIWAE with the published networks and distributions on a
table of ``miwae_table.py``, half of its cells hidden, for the 500,000 steps of the paper, and
imputes the table after 25,000, 100,000, 200,000 and 500,000 steps. Each appends a line to
``miwae_steps.csv``; interrupted training continues from a checkpoint.
"""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import argument_parser, fit_by_passes, markdown, run_grid, versions, write_page
from miwae_table import METHODS, hide_half

STEPS = (25_000, 100_000, 200_000, 500_000)
PUBLISHED = METHODS["MIWAE, published settings"]


def checkpoint_of(path: Path, table: str, seed: int) -> Path:
    """Return the path of the checkpoint of a table and mask."""
    return path.with_name(f"{path.stem}_{table}_{seed}.ckpt")


def run(table: str, seed: int, steps: int, path: Path) -> dict[str, Any]:
    """Continue training up to a number of steps, impute the table, and return the error."""
    complete, incomplete = hide_half(table, seed)
    hidden = np.isnan(incomplete)
    epochs = math.ceil(steps / math.ceil(len(complete) / 64))
    checkpoint = checkpoint_of(path, table, seed)
    imputer, seconds = fit_by_passes(PUBLISHED(seed), incomplete, epochs, checkpoint)
    if imputer.n_iter_ > epochs:
        raise ValueError(f"{checkpoint.name} has more than {steps} steps. Delete it.")
    completed = imputer.transform(incomplete)
    mse = float(np.mean((completed - complete)[hidden] ** 2))
    return {"mse": mse, "fit_seconds": seconds}


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="500 and 1,000 steps", jobs=False)
    parser.add_argument("--table", default="banknote", help="a table of miwae_table.py")
    parser.add_argument("--seeds", type=int, default=1, help="masks")
    options = parser.parse_args()
    path = Path(__file__).with_name(f"miwae_steps{'_quick' * options.quick}.csv")
    steps = (500, 1000) if options.quick else STEPS
    cells = [(options.table, seed, n) for seed in range(options.seeds) for n in steps]
    results = run_grid(
        path,
        ["table", "seed", "steps"],
        [] if options.report else cells,
        functools.partial(run, path=path),
    )
    for table, seed, n in results[["table", "seed", "steps"]].itertuples(index=False):
        if n == steps[-1]:  # all results are written
            checkpoint_of(path, table, seed).unlink(missing_ok=True)
    ours = pd.read_csv(path.with_name("miwae_table.csv"))
    ours = ours[ours["method"] == "MissSIWAEImputer"].set_index(["table", "seed"])
    lines = {}
    for (table, seed), part in results.groupby(["table", "seed"]):
        line = {
            f"{n:,} steps": f"{m:.3f}" for n, m in part[["steps", "mse"]].itertuples(index=False)
        }
        default = ours.loc[(table, seed)]
        line["MissSIWAEImputer"] = f"{default['mse']:.3f}, {default['steps']:,} steps"
        lines[f"{table}, mask {seed}"] = line
    text = (
        markdown(pd.DataFrame(lines).T.fillna(""), "MIWAE, published settings")
        + "\nMean squared error of hidden cells of standardized columns, half of the cells missing "
        f"completely at random. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
