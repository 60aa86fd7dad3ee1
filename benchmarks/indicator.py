"""Whether indicators of missingness help a prediction after imputation.

``python benchmarks/indicator.py`` hides half of the cells of five tables completely at random, and
predicts the target from the imputed table by gradient boosting and by a linear model, with and
without ``add_indicator=True``. The imputer is fitted to the training rows, two thirds of at most
1,000, and completes the test rows. Each run appends a line to ``indicator.csv``; existing ones are
not repeated.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import tables
from common import argument_parser, markdown, run_grid, versions, write_page
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmissvae import MissSIWAEImputer, make_missing

TABLES = ("wine_red", "concrete", "breast_cancer", "california_housing", "climate")
MAX_ROWS, HIDDEN, N_SEEDS = 1000, 0.5, 5
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
PREDICTORS = {
    "gradient boosting": (HistGradientBoostingClassifier, HistGradientBoostingRegressor),
    "linear": (lambda **_: LOGISTIC, lambda **_: make_pipeline(StandardScaler(), RidgeCV())),
}


def run(table: str, seed: int) -> dict[str, float]:
    """Return R2, or accuracy, of each predictor with and without indicators."""
    X, y = tables.load_whole(table, MAX_ROWS)
    is_class = y.nunique() <= 3
    X = make_missing(X, "mcar", HIDDEN, random_state=seed)
    stratify = y if is_class else None
    parts = train_test_split(X, y, test_size=1 / 3, random_state=seed, stratify=stratify)
    X_train, X_test, y_train, y_test = parts
    imputer = MissSIWAEImputer(add_indicator=True, random_state=seed).fit(X_train)
    completed = [imputer.transform(part) for part in (X_train, X_test)]
    n = X.shape[1]
    scores = {}
    for name, (classifier, regressor) in PREDICTORS.items():
        for kind, columns in (("without", slice(n)), ("with", slice(None))):
            model = (classifier if is_class else regressor)(random_state=seed)
            model.fit(completed[0].iloc[:, columns], y_train)
            scores[f"{name}, {kind}"] = model.score(completed[1].iloc[:, columns], y_test)
    return scores


def main() -> None:
    """Run what is not in the CSV file yet, and write the page."""
    parser = argument_parser(__doc__, quick="two tables, one seed")
    options = parser.parse_args()
    path = Path(__file__).with_name(f"indicator{'_quick' if options.quick else ''}.csv")
    names = [name for name in TABLES if tables.is_available(name)][: 2 if options.quick else None]
    cells = [(name, s) for name in names for s in range(1 if options.quick else N_SEEDS)]
    results = run_grid(path, ["table", "seed"], [] if options.report else cells, run, options.jobs)
    groups, lines = results.groupby("table", sort=False), {}
    for name in PREDICTORS:
        gain = results[f"{name}, with"] - results[f"{name}, without"]
        by_table = gain.groupby(results["table"], sort=False)
        lines[name] = groups[f"{name}, without"].mean().map("{:.3f}".format)
        error = by_table.std() / np.sqrt(by_table.size())
        lines[f"{name}, gain"] = by_table.mean().map("{:+.3f}".format) + error.map(
            " ({:.3f})".format, na_action="ignore"
        ).fillna("")
    text = (
        f"{markdown(pd.DataFrame(lines), 'table')}\nR2, or accuracy (`breast_cancer`, `climate`), "
        "without indicators, and what they add (standard error over seeds). "
        f"{HIDDEN:.0%} of the cells missing completely at random. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
