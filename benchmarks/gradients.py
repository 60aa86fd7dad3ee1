"""Gradient estimators compared: what the default of each method rests on.

``python benchmarks/gradients.py`` fits every method with every gradient estimator that holds for it
to two tables of which half is hidden (others than those of ``imputation.py``), and measures the
error on hidden cells. Each run adds a line to ``gradients.csv``; runs that are there are not done
again.
"""

import argparse
from pathlib import Path

from common import impute_hidden, markdown, mean_and_spread, run_grid, versions

import skmissvae
from skmissvae.training.methods import METHODS, BoundMethod

TABLES = ["wine_white", "energy_efficiency"]


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one table, two seeds, short fits")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("gradients_quick.csv" if quick else "gradients.csv")
    cells = [
        (table, name, gradient, seed)
        for seed in range(2 if quick else 3)
        for table in (TABLES[1:] if quick else TABLES)
        for name, method in METHODS.items()
        if isinstance(method, BoundMethod)
        for gradient in ("plain", "stl", *(["dreg"] if method.gradient == "dreg" else []))
    ]

    def run(table: str, name: str, gradient: str, seed: int) -> dict[str, float]:
        imputer = getattr(skmissvae, f"{name}Imputer")(
            gradient=gradient, random_state=seed, max_iter=20 if quick else None
        )
        return impute_hidden(imputer, table, seed)

    results = run_grid(path, ["table", "method", "gradient", "seed"], cells, run, options.jobs)
    results["variant"] = results["method"] + ", " + results["gradient"]
    text = (
        markdown(mean_and_spread(results, "variant", "table", "mse"), "method, gradient")
        + "\nMean squared error on hidden standardised cells, half of the cells missing completely "
        f"at random: mean (standard deviation) over {results['seed'].nunique()} seeds. {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
