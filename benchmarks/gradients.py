"""Imputation errors of the gradient estimators, by which the default of each method was chosen.

``python benchmarks/gradients.py`` hides half of the cells of two tables (not those of
``imputation.py``), fits each method with each gradient estimator that it supports, and measures the
error of the hidden cells. Each run appends a line to ``gradients.csv``; existing runs are not
repeated.
"""

from pathlib import Path

from common import (
    argument_parser,
    impute_hidden,
    markdown,
    mean_and_spread,
    run_grid,
    versions,
    write_page,
)

import skmissvae
from skmissvae.training.methods import METHODS, BoundMethod

TABLES = ["wine_white", "energy_efficiency"]


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table, two seeds, 20 epochs")
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

    keys = ["table", "method", "gradient", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    results["variant"] = results["method"] + ", " + results["gradient"]
    text = (
        markdown(mean_and_spread(results, "variant", "table", "mse"), "method, gradient")
        + "\nMean squared error of hidden cells of standardized columns, half of the cells missing "
        "completely at random: mean (standard deviation) over "
        f"{results['seed'].nunique()} seeds. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
