"""Imputations as draws, next to those of R's mice, by the energy distance and the energy I-score.

``python benchmarks/draws.py`` hides 30% of the cells of the complete rows of the tables of
``accuracy.py``. For the energy distance, cells of all columns are hidden completely at random, and
five completed tables are compared with the true one, relative to a table completed by means. For
the energy I-score, cells of three columns are hidden at random given the others. Each run appends
a line to ``draws.csv``; existing ones are not repeated. Methods of mice need Rscript and the
packages mice, rpart, nnet and ranger; they are left out if these are not installed. ``--distance``
leaves out the energy I-score, which takes most of the time.
"""

import io
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import pandas as pd
import tables
from common import argument_parser, markdown, run_grid, versions, write_page
from sklearn.base import BaseEstimator, clone
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from skmissvae import EnergyIScorer, MissSIWAEImputer, make_missing
from skmissvae.inspection import energy_distance

HIDDEN, N_IMPUTATIONS, N_DRAWS, N_INCOMPLETE = 0.3, 5, 30, 3
MAX_ROWS = 500
DISTANCE, SCORE = "energy distance", "energy I-score"
OURS = "MissSIWAEImputer"
PACKAGES = 'q(status = !all(sapply(c("mice", "rpart", "nnet", "ranger"), requireNamespace)))'
MICE = """
file <- file("stdin"); x <- read.csv(file); arguments <- commandArgs(TRUE)
is_factor <- startsWith(names(x), "category"); x[is_factor] <- lapply(x[is_factor], factor)
method <- if (arguments[1] == "pmm") NULL else arguments[1]
imputed <- mice::mice(x, as.integer(arguments[2]), method, maxit = 5, printFlag = FALSE,
                      seed = as.integer(arguments[3]), remove.collinear = FALSE)
write.csv(mice::complete(imputed, "long"), row.names = FALSE)
"""


class Mice(BaseEstimator):
    """Draws by mice; "pmm" is its default, logistic regressions for categories."""

    def __init__(self, method: str = "pmm") -> None:
        self.method = method

    def fit(self, X: pd.DataFrame, y: object = None) -> "Mice":
        """Return the imputer; mice fits its models when it imputes."""
        return self

    def impute(
        self, X: pd.DataFrame, n_imputations: int, *, random_state: int = 0
    ) -> list[pd.DataFrame]:
        """Return completed tables."""
        categories = [isinstance(dtype, pd.CategoricalDtype) for dtype in X.dtypes]
        names = [f"{'category' if c else 'number'}{j}" for j, c in enumerate(categories)]
        # mice ignores predictors of columns with a variance below 1e-4
        numbers = X.loc[:, ~np.array(categories)].astype(float)
        mean, scale = numbers.mean(), numbers.std(ddof=0)
        codes = {c: X[c].cat.codes.where(X[c].notna()) for c in X.columns[categories]}
        table = X.assign(**((numbers - mean) / scale), **codes).set_axis(names, axis=1)
        with tempfile.NamedTemporaryFile("w", suffix=".R") as script:
            script.write(MICE)
            script.flush()
            process = subprocess.run(
                ["Rscript", script.name, self.method, str(n_imputations), str(random_state)],
                input=table.to_csv(index=False, na_rep="NA"),
                capture_output=True,
                text=True,
            )
        if process.returncode:
            raise RuntimeError(process.stderr)
        long = pd.read_csv(io.StringIO(process.stdout))
        completed = []
        for _, part in long.groupby(".imp"):
            table = part[names].set_axis(X.columns, axis=1).set_axis(X.index)
            for column, is_category in zip(X, categories, strict=True):
                if is_category:
                    codes = table[column].astype(int)
                    table[column] = pd.Categorical.from_codes(codes, dtype=X[column].dtype)
                else:
                    table[column] = table[column] * scale[column] + mean[column]
            completed.append(table)
        return completed


class Chained(BaseEstimator):
    """Draws by IterativeImputer with BayesianRidge, for tables of numbers."""

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: object = None) -> "Chained":
        """Fit the imputer."""
        imputer = IterativeImputer(sample_posterior=True, random_state=self.random_state)
        self.imputer_ = imputer.set_output(transform="pandas").fit(X)
        return self

    def impute(
        self, X: pd.DataFrame, n_imputations: int, *, random_state: int = 0
    ) -> list[pd.DataFrame]:
        """Return completed tables; the fitted imputer has its own random numbers."""
        return [self.imputer_.transform(X) for _ in range(n_imputations)]


class Mean(BaseEstimator):
    """Imputation by means and modes, without draws."""

    def fit(self, X: pd.DataFrame, y: object = None) -> "Mean":
        """Store means and modes."""
        numbers = X.select_dtypes("number").mean()
        self.values_ = X.mode().iloc[0].astype(object)
        self.values_[numbers.index] = numbers
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the completed table."""
        return X.fillna(self.values_.to_dict())


MICE_METHODS = {f"mice, {method}": Mice(method) for method in ("pmm", "cart", "rf")}
METHODS: dict[str, Any] = {
    OURS: MissSIWAEImputer(random_state=0),
    **MICE_METHODS,
    "IterativeImputer, draws": Chained(),
    "mean": Mean(),
}


def incomplete_table(name: str, measure: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the complete rows of a table, and the same rows with hidden cells."""
    frame, _ = tables.load_whole(name, 100_000)
    frame = frame.dropna()
    frame = frame.sample(min(len(frame), MAX_ROWS), random_state=seed).reset_index(drop=True)
    frame = frame.loc[:, frame.nunique() > 1]
    is_number = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    for column in frame.columns[~np.array(is_number)]:
        frame[column] = frame[column].astype(str).astype("category")
    if measure == DISTANCE:
        return frame, make_missing(frame, "mcar", HIDDEN, random_state=seed)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(frame.shape[1], N_INCOMPLETE, replace=False)
    patterns = np.zeros((7, frame.shape[1]), dtype=bool)  # any one, two or three of them
    patterns[:, chosen] = [[n & bit for bit in (1, 2, 4)] for n in range(1, 8)]
    share = HIDDEN * 7 / 4
    return frame, make_missing(frame, "mar", share, of="rows", patterns=patterns, random_state=seed)


def run(name: str, measure: str, method: str, seed: int) -> dict[str, float]:
    """Return a measure of the imputations of a table."""
    complete, incomplete = incomplete_table(name, measure, seed)
    imputer = clone(METHODS[method])
    is_number = all(map(pd.api.types.is_numeric_dtype, incomplete.dtypes))
    if isinstance(imputer, Chained) and not is_number:
        return {"value": np.nan, "seconds": np.nan}
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = measured(imputer, measure, complete, incomplete, seed)
        except RuntimeError as error:  # of R
            print(error)
            return {"value": np.nan, "seconds": np.nan}
    return {"value": value, "seconds": time.perf_counter() - start}


def measured(
    imputer: Any, measure: str, complete: pd.DataFrame, incomplete: pd.DataFrame, seed: int
) -> float:
    """Return the energy I-score of an imputer, or the mean distance of its imputations."""
    imputer.fit(incomplete)
    if measure == SCORE:
        return EnergyIScorer(N_DRAWS)(imputer, incomplete)
    drawn = [imputer.transform(incomplete)] if isinstance(imputer, Mean) else None
    drawn = drawn or imputer.impute(incomplete, N_IMPUTATIONS, random_state=seed)
    return float(np.mean([energy_distance(table, complete) for table in drawn]))


def has_mice() -> bool:
    """Return whether Rscript and its packages are installed."""
    if shutil.which("Rscript") is None:
        return False
    return not subprocess.run(["Rscript", "-e", PACKAGES], capture_output=True).returncode


def comparison(results: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how the methods compare by one measure, and the measure by table; less is better."""
    loss = results.pivot_table("value", "table", "method").abs()
    loss = loss[[method for method in METHODS if method in loss]]
    seconds = results.groupby("method")["seconds"].median()
    relative = loss.div(loss["mean"], axis=0)
    lines = {}
    for method in loss:
        both = relative[[OURS, method]].dropna()
        ours, other = relative.loc[both.index, OURS], relative.loc[both.index, method]
        lines[method] = {
            "mean over tables": f"{other.mean():.3f}",
            f"{OURS}, same tables": f"{ours.mean():.3f}",
            f"{OURS} better": f"{int((ours < other).sum())} of {len(ours)}"
            if method != OURS
            else "",
            "seconds (median)": f"{seconds[method]:.1f}",
        }
    return pd.DataFrame(lines).T, loss


def page(results: pd.DataFrame) -> str:
    """Return the comparison and the values by table, for each measure."""
    texts = []
    for measure, text in (
        (DISTANCE, "of completed to true rows"),
        (
            SCORE,
            "as a loss, the continuous ranked probability score of draws in standard deviations",
        ),
    ):
        part = results[results["measure"] == measure]
        if not len(part):
            continue
        lines, values = comparison(part)
        n = part.groupby("table")["seed"].nunique()
        texts += [
            f"**{measure}**, {text}; less is better. The means are relative to that of imputation "
            f"by means. Masks of each table: {n.min()} to {n.max()}.\n",
            markdown(lines, "method"),
            markdown(values.map("{:.4f}".format), "table"),
        ]
    return "\n".join([*texts, versions()])


def main() -> None:
    """Run what is not in the CSV file yet, and write the tables."""
    parser = argument_parser(__doc__, quick="one table, without mice")
    parser.add_argument("--distance", action="store_true", help="without the energy I-score")
    options = parser.parse_args()
    path = Path(__file__).with_name("draws_quick.csv" if options.quick else "draws.csv")
    names = [name for name in accuracy.TABLES if tables.is_available(name)]
    with_mice = not options.quick and has_mice()
    cells = [
        (name, measure, method, seed)
        for seed in range(1 if options.quick else 3)
        for name in (names[:1] if options.quick else names)
        for measure in ((DISTANCE,) if options.distance else (DISTANCE, SCORE))
        for method in METHODS
        if with_mice or method not in MICE_METHODS
    ]
    keys = ["table", "measure", "method", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    write_page(path, page(results))


if __name__ == "__main__":
    main()
