"""Do the published settings of MIWAE gain from more steps? Their error, as training goes on.

``python benchmarks/miwae_steps.py`` trains MIWAE with the published networks and distributions on
one of the tables of ``miwae_table.py``, half of its cells hidden, for up to the 500,000 steps of
the paper, and completes the table at 25,000, 100,000, 200,000 and 500,000 of them. Each adds a line
to ``miwae_steps.csv``; training goes on where it was stopped. ``miwae_steps.md`` has the table.
"""

import argparse
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import fit_by_passes, markdown, run_grid, versions
from miwae_table import METHODS, hide_half

STEPS = (25_000, 100_000, 200_000, 500_000)
PUBLISHED = METHODS["MIWAE, published settings"]


def checkpoint_of(path: Path, table: str, seed: int) -> Path:
    """Return where training is kept between the numbers of steps."""
    return path.with_name(f"{path.stem}_{table}_{seed}.ckpt")


def run(table: str, seed: int, steps: int, path: Path) -> dict[str, Any]:
    """Go on with the training up to so many steps, complete the table, and return the error."""
    complete, incomplete = hide_half(table, seed)
    hidden = np.isnan(incomplete)
    epochs = math.ceil(steps / math.ceil(len(complete) / 64))
    checkpoint = checkpoint_of(path, table, seed)
    imputer, seconds = fit_by_passes(PUBLISHED(seed), incomplete, epochs, checkpoint)
    if imputer.n_iter_ > epochs:
        raise ValueError(f"{checkpoint.name} has more than {steps} steps; remove it.")
    completed = imputer.transform(incomplete)
    mse = float(np.mean((completed - complete)[hidden] ** 2))
    return {"mse": mse, "fit_seconds": seconds}


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps alone")
    parser.add_argument("--table", default="banknote", help="which of those of miwae_table.py")
    parser.add_argument("--seeds", type=int, default=1, help="masks")
    parser.add_argument("--report", action="store_true", help="write what is done, run nothing")
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
        if n == steps[-1]:  # done, and written
            checkpoint_of(path, table, seed).unlink(missing_ok=True)
    ours = pd.read_csv(path.with_name("miwae_table.csv"))
    ours = ours[ours["method"] == "MissSIWAEImputer"].set_index(["table", "seed"])
    lines = {}
    for (table, seed), part in results.groupby(["table", "seed"]):
        told = {
            f"{n:,} steps": f"{mse:.3f}" for n, mse in zip(part["steps"], part["mse"], strict=True)
        }
        told["minutes"] = f"{part['fit_seconds'].max() / 60:.0f}"
        mine = ours.loc[(table, seed)]
        told["MissSIWAEImputer"] = f"{mine['mse']:.3f}, {mine['steps']:,} steps"
        lines[f"{table}, mask {seed}"] = told
    text = (
        markdown(pd.DataFrame(lines).T.fillna(""), "MIWAE, published settings")
        + "\nMean squared error on hidden standardised cells, half of them missing completely at "
        f"random. Minutes: all training.\n\n{versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
