"""Errors of imputations of cells that are missing because of their own value.

``python benchmarks/self_masking.py`` follows the experiment of Ipsen, Mattei and Frellsen (2021):
in half of the columns of a table, values above the mean are missing. MIWAE is fitted with ignorable
missingness, with self-masking, and with self-masking of known sign. Each fit appends a line to
``self_masking.csv``; existing ones are not repeated.
"""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import argument_parser, markdown, run_grid, versions, write_page
from tables import load

from skmissvae import MIWAEImputer

TABLES = ["banknote", "concrete", "wine_red"]
N_MASKS, N_EPOCHS = 3, 200
MISSINGNESS = ["mean", "ignorable", "self_masking", "high"]


def draw(table: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a standardized table, and which cells are hidden: high ones of half of the columns."""
    X = load(table).select_dtypes("number").to_numpy(dtype=float)
    X = (X - X.mean(0)) / X.std(0)
    rng = np.random.default_rng(seed)
    columns = rng.permutation(X.shape[1])[: X.shape[1] // 2]
    hidden = np.zeros(X.shape, dtype=bool)
    hidden[:, columns] = X[:, columns] > 0
    return X, hidden


def run(table: str, missingness: str, seed: int, n_epochs: int) -> dict[str, Any]:
    """Return the root mean squared error of hidden cells, in standard deviations."""
    warnings.simplefilter("ignore")
    X, hidden = draw(table, seed)
    incomplete = np.where(hidden, np.nan, X)
    if missingness == "mean":
        Z = np.where(hidden, np.nanmean(incomplete, 0), X)
        return {"rmse": np.sqrt(((Z - X)[hidden] ** 2).mean())}
    option: Any = missingness
    if missingness == "high":
        option = dict.fromkeys(np.flatnonzero(hidden.any(0)).tolist(), "high")
    imputer = MIWAEImputer(missingness=option, max_iter=n_epochs, random_state=seed)
    Z = imputer.fit_transform(incomplete)
    signs = imputer.missingness_["slope"] > 0
    return {
        "rmse": np.sqrt(((Z - X)[hidden] ** 2).mean()),
        "positive slopes": float(signs.mean()) if len(signs) else np.nan,
    }


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table, one mask, 5 epochs")
    options = parser.parse_args()
    fit = partial(run, n_epochs=5 if options.quick else N_EPOCHS)
    name = "self_masking_quick.csv" if options.quick else "self_masking.csv"
    path = Path(__file__).with_name(name)
    tables, seeds = (TABLES[:1], range(1)) if options.quick else (TABLES, range(N_MASKS))
    cells = [(table, m, seed) for seed in seeds for table in tables for m in MISSINGNESS]
    cells = [] if options.report else cells
    results = run_grid(path, ["table", "missingness", "seed"], cells, fit, options.jobs)
    frame = results.groupby(["table", "missingness"], sort=False)["rmse"].agg(["mean", "std"])
    frame = frame.apply(lambda row: f"{row['mean']:.3f} ± {row['std']:.3f}", axis=1)
    frame = frame.unstack("missingness")[MISSINGNESS]
    signs = results[results["missingness"] == "self_masking"].groupby("table")["positive slopes"]
    frame["positive slopes"] = signs.mean().map("{:.2f}".format)
    text = (
        markdown(frame, "table")
        + "\nRoot mean squared errors of hidden cells in standard deviations, mean and standard "
        "deviation over the masks. In half of the columns, drawn for each mask, values above the "
        f"mean are hidden. MIWAEImputer with {N_EPOCHS} epochs and missingness as named; "
        "'high' is self-masking with known sign, and the last column the share of positive slopes "
        "without this knowledge. " + versions()
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
