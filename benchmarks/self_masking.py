"""Errors of imputations of cells that are missing because of their own value.

``python benchmarks/self_masking.py`` follows the experiment of Ipsen, Mattei and Frellsen (2021):
in half of the columns of a table, values above the mean are missing. MIWAE is fitted with ignorable
missingness, with self-masking, with self-masking of known sign, and with a linear model. In
simulated tables, cells of a column are missing because of their own value, of another column, or
both. Each fit appends a line to ``self_masking.csv``; existing ones are not repeated.
"""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import argument_parser, markdown, run_grid, versions, write_page
from scipy import special
from tables import load

from skmissvae import MIWAEImputer

TABLES = ["banknote", "concrete", "wine_red"]
#: Slopes of the probit of missing cells, by their own value and by the other column.
REASONS = {"own value": (2.0, 0.0), "other column": (0.0, 2.0), "both": (1.0, 1.0)}
N_MASKS, N_EPOCHS = 3, 200
MISSINGNESS = ["mean", "ignorable", "self_masking", "high", "linear"]


def draw(table: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a standardized table, and which cells are hidden: high ones of half of the columns.

    Of a reason the table has two correlated columns, of which the first has missing cells.
    """
    if table in REASONS:
        rng = np.random.default_rng(seed)
        X = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 1000)
        hidden = np.zeros(X.shape, dtype=bool)
        hidden[:, 0] = rng.random(1000) < special.ndtr(X @ REASONS[table] - 0.5)
        return X, hidden
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
        return {"rmse": np.sqrt(((Z - X)[hidden] ** 2).mean()), "bias": (Z - X)[hidden].mean()}
    option: Any = missingness
    if missingness == "high":
        option = dict.fromkeys(np.flatnonzero(hidden.any(0)).tolist(), "high")
    imputer = MIWAEImputer(missingness=option, max_iter=n_epochs, random_state=seed)
    Z = imputer.fit_transform(incomplete)
    signs = imputer.missingness_["slope"] > 0
    return {
        "rmse": np.sqrt(((Z - X)[hidden] ** 2).mean()),
        "bias": (Z - X)[hidden].mean(),
        "positive slopes": float(signs.mean()) if len(signs) else np.nan,
    }


def summary(results: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return mean and standard deviation over the masks, by table and model of missingness."""
    frame = results.groupby(["table", "missingness"], sort=False)[value].agg(["mean", "std"])
    frame = frame.apply(lambda row: f"{row['mean']:.3f} ± {row['std']:.3f}", axis=1)
    return frame.unstack("missingness")[MISSINGNESS]


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table, one mask, 5 epochs")
    options = parser.parse_args()
    fit = partial(run, n_epochs=5 if options.quick else N_EPOCHS)
    name = "self_masking_quick.csv" if options.quick else "self_masking.csv"
    path = Path(__file__).with_name(name)
    names = [*TABLES, *REASONS]
    tables, seeds = (names[::4], range(1)) if options.quick else (names, range(N_MASKS))
    cells = [(table, m, seed) for seed in seeds for table in tables for m in MISSINGNESS]
    cells = [] if options.report else cells
    results = run_grid(path, ["table", "missingness", "seed"], cells, fit, options.jobs)
    is_reason = results["table"].isin(REASONS)
    frame = summary(results[~is_reason], "rmse")
    signs = results[results["missingness"] == "self_masking"].groupby("table")["positive slopes"]
    frame["positive slopes"] = signs.mean().map("{:.2f}".format)
    biases = summary(results[is_reason], "bias").rename_axis("missing because of")
    text = (
        markdown(frame, "table")
        + "\nRoot mean squared errors of hidden cells in standard deviations, mean and standard "
        "deviation over the masks. In half of the columns, drawn for each mask, values above the "
        f"mean are hidden. MIWAEImputer with {N_EPOCHS} epochs and missingness as named; "
        "'high' is self-masking with known sign, and the last column the share of positive slopes "
        "without this knowledge.\n\n"
        + markdown(biases, "missing because of")
        + "\nMean errors of hidden cells of one of two columns, 1,000 rows with correlation 0.8; "
        "probits of missing cells have the slopes "
        + ", ".join(f"{own:g} and {other:g} ({name})" for name, (own, other) in REASONS.items())
        + ". "
        + versions()
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
