"""Mean squared error on hidden cells: the table of the README.

``python benchmarks/imputation.py`` hides half of the cells of three complete, standardised tables
completely at random, five times, and completes them with all imputers at their defaults beside
scikit-learn's. Each run adds a line to ``imputation.csv``; runs that are there are not done again.
"""

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import tables
import torch
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

import skmissvae

HERE = Path(__file__).parent
OURS = ["MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE", "MissSIWAE"]
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


def run(table: str, method: str, seed: int) -> dict[str, Any]:
    """Return the outcome of one method on one table with one mask."""
    complete = tables.load(table).to_numpy()
    hidden = np.random.default_rng(seed).random(complete.shape) < 0.5
    incomplete = np.where(hidden, np.nan, complete)
    imputer = METHODS[method](seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputer.fit(incomplete)
        fitted = time.perf_counter()
        completed = imputer.transform(incomplete)
    done = time.perf_counter()
    return {
        "table": table,
        "method": method,
        "seed": seed,
        "mse": np.mean((completed - complete)[hidden] ** 2),
        "fit_seconds": fitted - start,
        "transform_seconds": done - fitted,
    }


def report(results: pd.DataFrame) -> str:
    """Return the results as a Markdown table: mean (standard deviation) over seeds."""
    groups = results.groupby(["method", "table"], sort=False)
    mean, spread = groups["mse"].mean().unstack(), groups["mse"].std().unstack()
    seconds = groups["fit_seconds"].median().unstack()
    lines = [
        "| method | " + " | ".join(mean.columns) + " | fit, seconds |",
        "|---" * (len(mean.columns) + 2) + "|",
    ]
    for method in mean.index:
        cells = [f"{mean.loc[method, t]:.3f} ({spread.loc[method, t]:.3f})" for t in mean.columns]
        span = f"{seconds.loc[method].min():.1f} to {seconds.loc[method].max():.1f}"
        lines.append(f"| {method} | " + " | ".join([*cells, span]) + " |")
    lines += [
        "",
        "Mean squared error on hidden standardised cells, 50% missing completely at random; mean "
        f"(standard deviation) over {results['seed'].nunique()} seeds of mask and model. Median "
        "seconds of `fit`, range over tables.",
        "",
        f"skmissvae {skmissvae.__version__}, scikit-learn {sklearn.__version__}, torch "
        f"{torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, one table, no forest")
    quick = parser.parse_args().quick
    name = "imputation_quick" if quick else "imputation"
    path = HERE / f"{name}.csv"
    results = pd.read_csv(path) if path.exists() else pd.DataFrame()
    done = (
        set(results[["table", "method", "seed"]].itertuples(index=False, name=None))
        if len(results)
        else set()
    )
    for seed in range(1 if quick else 5):
        for table in ["wine_red"] if quick else tables.FILES:
            for method in METHODS:
                if (table, method, seed) in done or (quick and "forest" in method):
                    continue
                outcome = run(table, method, seed)
                print(f"{table}, {method}, seed {seed}: {outcome['mse']:.3f}", flush=True)
                results = pd.concat([results, pd.DataFrame([outcome])], ignore_index=True)
                results.to_csv(path, index=False, float_format="%.5g")
    order = pd.Categorical(results["method"], list(METHODS))
    text = report(results.assign(method=order).sort_values(["method", "seed"], kind="stable"))
    (HERE / f"{name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
