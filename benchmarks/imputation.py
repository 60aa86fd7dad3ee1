"""Mean squared error on hidden cells: the first table of the benchmarks' README.

``python benchmarks/imputation.py`` hides half of the cells of three complete, standardised tables
completely at random, five times, and completes them with all imputers at their defaults beside
scikit-learn's. Each run adds a line to ``imputation.csv``; runs that are there are not done again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from common import impute_hidden, markdown, mean_and_spread, run_grid, versions
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import skmissvae

TABLES = ["wine_red", "concrete", "breast_cancer"]
OURS = ["MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE", "MissSIWAE", "DeMissVAE"]
METHODS: dict[str, Callable[[int], Any]] = {
    "mean": lambda seed: SimpleImputer(),
    "KNNImputer(10)": lambda seed: KNNImputer(n_neighbors=10),
    "IterativeImputer, BayesianRidge, 20 rounds": lambda seed: IterativeImputer(
        max_iter=20, random_state=seed
    ),
    "IterativeImputer, 50-tree forest, 5 rounds": lambda seed: IterativeImputer(
        RandomForestRegressor(50, random_state=seed), max_iter=5, random_state=seed
    ),
    **{
        f"{name}Imputer": lambda seed, name=name: getattr(skmissvae, f"{name}Imputer")(
            random_state=seed
        )
        for name in OURS
    },
}


def report(results: pd.DataFrame) -> str:
    """Return the results as a Markdown table."""
    order = pd.Categorical(results["method"], list(METHODS))
    results = results.assign(order=order).sort_values(["order", "seed"], kind="stable")
    frame = mean_and_spread(results, "method", "table", "mse")
    seconds = results.groupby(["method", "table"])["fit_seconds"].median().unstack()
    frame["fit, seconds"] = [
        f"{seconds.loc[method].min():.1f} to {seconds.loc[method].max():.1f}"
        for method in frame.index
    ]
    return (
        markdown(frame, "method")
        + "\nMean squared error on hidden standardised cells, half of the cells missing completely "
        f"at random: mean (standard deviation) over {results['seed'].nunique()} seeds of mask and "
        f"model. Seconds: median over seeds, range over tables. {versions()}"
    )


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds, one table, no forest")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="which of them")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("imputation_quick.csv" if quick else "imputation.csv")
    cells = [
        (table, method, seed)
        for seed in range(2 if quick else 5)
        for table in (TABLES[:1] if quick else TABLES)
        for method in options.methods
        if not (quick and "forest" in method)
    ]
    results = run_grid(
        path,
        ["table", "method", "seed"],
        cells,
        lambda table, method, seed: impute_hidden(METHODS[method](seed), table, seed),
        options.jobs,
    )
    text = report(results)
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
