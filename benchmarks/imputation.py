"""Mean squared errors of all imputers of this package and of scikit-learn on three tables.

``python benchmarks/imputation.py`` hides half of the cells of three complete, standardized tables
completely at random, for five seeds, and imputes them by all imputers with their defaults. Each run
appends a line to ``imputation.csv``; existing runs are not repeated.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from common import (
    argument_parser,
    impute_hidden,
    markdown,
    mean_and_spread,
    median_seconds,
    run_grid,
    versions,
    write_page,
)
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import skmissvae

TABLES = ["wine_red", "concrete", "breast_cancer"]
OURS = ["MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE", "MissSIWAE", "DeMissVAE"]
METHODS: dict[str, Callable[[int], Any]] = {
    "mean": lambda seed: SimpleImputer(),
    "KNNImputer(10)": lambda seed: KNNImputer(n_neighbors=10),
    "IterativeImputer, BayesianRidge, 20 iterations": lambda seed: IterativeImputer(
        max_iter=20, random_state=seed
    ),
    "IterativeImputer, 50-tree forest, 5 iterations": lambda seed: IterativeImputer(
        RandomForestRegressor(50, random_state=seed), max_iter=5, random_state=seed
    ),
    **{
        f"{name}Imputer": lambda seed, name=name: getattr(skmissvae, f"{name}Imputer")(
            random_state=seed
        )
        for name in OURS
    },
}
QUICK = ("mean", "KNNImputer(10)", "MVAEImputer", "MissSIWAEImputer")


def report(results: pd.DataFrame) -> str:
    """Return the results as a Markdown table."""
    order = pd.Categorical(results["method"], list(METHODS))
    results = results.assign(order=order).sort_values(["order", "seed"], kind="stable")
    frame = mean_and_spread(results, "method", "table", "mse")
    if len(seconds := median_seconds(results, "method")):
        frame["fit, seconds"] = seconds.reindex(frame.index).fillna("")
    return (
        markdown(frame, "method")
        + "\nMean squared error of hidden cells of standardized columns, half of the cells missing "
        "completely at random: mean (standard deviation) over "
        f"{results['seed'].nunique()} seeds of mask and model. {versions()}"
    )


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one seed, one table, four methods")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="methods to run")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("imputation_quick.csv" if quick else "imputation.csv")
    cells = [
        (table, method, seed)
        for seed in range(1 if quick else 5)
        for table in (TABLES[:1] if quick else TABLES)
        for method in options.methods
        if method in QUICK or not quick
    ]
    results = run_grid(
        path,
        ["table", "method", "seed"],
        [] if options.report else cells,
        lambda table, method, seed: impute_hidden(METHODS[method](seed), table, seed),
        options.jobs,
    )
    text = report(results)
    write_page(path, text)


if __name__ == "__main__":
    main()
