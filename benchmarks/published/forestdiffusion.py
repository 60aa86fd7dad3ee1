"""The imputation benchmark of ForestDiffusion, next to its published figures.

``python benchmarks/published/forestdiffusion.py`` repeats the protocol of Jolicoeur-Martineau,
Fatras and Kachman (AISTATS 2024) on the 18 of their tables that are at hand. For seeds 0, 1 and 2 a
fifth of the rows is left out, a fifth of the cells of the features of the others is hidden, and the
outcome is an observed column. Errors are those of hidden cells, after columns are scaled to 0 to 1.
The masks are not theirs: the nearest neighbour, which has no random numbers, shows how much that
changes. Each run appends a line to ``forestdiffusion.csv``; existing ones are not repeated. The
published figures are read from ``F_published`` in $SKMISSVAE_DATA.
"""

import functools
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.datasets import load_iris, load_wine
from sklearn.impute import KNNImputer
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Path(__file__).parents[1]))

import tables
from common import argument_parser, markdown, run_grid, versions, write_page

from skmissvae import MissSIWAEImputer

HIDDEN, N_IMPUTATIONS, SEEDS = 0.2, 5, (0, 1, 2)
MAX_ASSIGNED = 3000  # rows up to which the Wasserstein distance is computed
OURS = {"median": "MissSIWAE, median", "draws": "MissSIWAE, draws"}
NEIGHBOUR = "KNN(1)"
#: Their names of tables, ours, and whether the outcome is a class. Tables marked with a star were
#: used to develop the defaults of this package.
TABLES = {
    "iris": ("iris", True, "*"),
    "wine": ("wine", True, ""),
    "airfoil_self_noise": ("airfoil", False, "*"),
    "blood_transfusion": ("blood", True, "*"),
    "breast_cancer_diagnostic": ("breast_cancer", True, "*"),
    "california": ("california_housing", False, ""),
    "climate_model_crashes": ("climate", True, ""),
    "concrete_compression": ("concrete", False, "*"),
    "concrete_slump": ("concrete_slump", False, ""),
    "connectionist_bench_sonar": ("sonar", True, "*"),
    "ecoli": ("ecoli", True, "*"),
    "ionosphere": ("ionosphere", True, "*"),
    "libras": ("libras", True, ""),
    "qsar_biodegradation": ("qsar", True, "*"),
    "wine_quality_red": ("wine_red", False, "*"),
    "wine_quality_white": ("wine_white", False, "*"),
    "yacht_hydrodynamics": ("yacht", False, "*"),
    "yeast": ("yeast", True, "*"),
}
MEASURES = {"AvgMAE": "mean absolute error, mean of five imputations", "MinMAE": "of the best one"}


def load(name: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return the features and the outcome of a table as they are in the benchmark."""
    own, is_class, _ = TABLES[name]
    if own in ("iris", "wine"):
        data = (load_iris if own == "iris" else load_wine)(as_frame=True)
        features, outcome = data.data, data.target
    else:
        features, outcome = tables.load_whole(own, 100_000)
    if name == "wine_quality_red":
        features = features.iloc[:, 1:]
    elif name == "concrete_slump":  # the outcome is the strength, the last of three
        features = features.iloc[:, :7]
    elif name == "climate_model_crashes":
        features = features.drop(columns=["Study", "Run"], errors="ignore")
        features = features.select_dtypes(float)
    codes = {c: pd.factorize(v)[0] for c, v in features.items() if v.dtype.kind not in "iuf"}
    return features.assign(**codes).astype(float), outcome.astype(str) if is_class else outcome


def hide(name: str, seed: int) -> tuple[pd.DataFrame, np.ndarray, pd.Series]:
    """Return the complete features of the training rows, the hidden cells, and the outcome."""
    features, outcome = load(name)
    stratify = outcome if TABLES[name][1] else None
    X, _, y, _ = train_test_split(
        features, outcome, test_size=0.2, random_state=seed, stratify=stratify
    )
    hidden = np.random.default_rng(seed).random(X.shape) < HIDDEN
    kept = ~hidden.all(1)
    return X[kept].reset_index(drop=True), hidden[kept], y[kept].reset_index(drop=True)


@functools.lru_cache(maxsize=1)
def fitted(name: str, seed: int) -> tuple[MissSIWAEImputer, pd.DataFrame]:
    """Return the imputer that is fitted to an incomplete table with its outcome, and this table."""
    X, hidden, y = hide(name, seed)
    outcome = y if is_numeric_dtype(y) else y.astype("category")
    table = X.mask(hidden).assign(outcome=outcome)
    return MissSIWAEImputer(strategy="median", random_state=seed).fit(table), table


def impute(name: str, method: str, seed: int) -> np.ndarray:
    """Return five imputations of the features, (5, N, D)."""
    X, hidden, y = hide(name, seed)
    incomplete = X.mask(hidden)
    if method == NEIGHBOUR:
        low, high = incomplete.min(), incomplete.max()
        scaled = (incomplete - low) / (high - low).where(high > low, 1.0)
        outcome = (y - y.min()) / np.ptp(y) if is_numeric_dtype(y) else pd.get_dummies(y) / 2
        whole = np.column_stack([scaled, outcome])
        imputed = KNNImputer(n_neighbors=1).fit_transform(whole)[:, : incomplete.shape[1]]
        imputed = imputed * (high - low).to_numpy() + low.to_numpy()
        return np.stack([imputed] * N_IMPUTATIONS)
    imputer, table = fitted(name, seed)
    if method == OURS["median"]:
        completed = [imputer.transform(table)] * N_IMPUTATIONS
    else:
        completed = list(imputer.impute(table, N_IMPUTATIONS))
    return np.stack([t[incomplete.columns].to_numpy(float) for t in completed])


def run(name: str, method: str, seed: int) -> dict[str, Any]:
    """Return the errors of a method on a table."""
    X, hidden, _ = hide(name, seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputed = impute(name, method, seed)
    seconds = time.perf_counter() - start
    low, high = X.min().to_numpy(), X.max().to_numpy()
    truth, imputed = (
        (cells - low) / np.where(high > low, high - low, 1.0) for cells in (X.to_numpy(), imputed)
    )
    errors = np.abs(imputed - truth) * hidden  # (5, N, D)
    by_row = errors.sum(-1) / np.maximum(hidden.sum(-1), 1)
    has_hidden = hidden.any(1)
    distances = []
    if len(truth) <= MAX_ASSIGNED:
        for completed in imputed[: 1 if method != OURS["draws"] else None]:
            cost = cdist(completed, truth, "cityblock")
            distances.append(cost[linear_sum_assignment(cost)].mean())
    return {
        "AvgMAE": errors.sum() / (N_IMPUTATIONS * hidden.sum()),
        "MinMAE": by_row.min(0)[has_hidden].mean(),
        "W_train": np.mean(distances) if distances else np.nan,
        "seconds": seconds,
    }


def published() -> pd.DataFrame:
    """Return the published figures, or an empty frame."""
    folder = os.environ.get(tables.FOLDER)
    path = Path(folder or "") / "F_published" / "forestdiffusion_imputation.csv"
    return pd.read_csv(path) if folder and path.exists() else pd.DataFrame()


def page(results: pd.DataFrame) -> str:
    """Return the tables of both measures, and mean ranks."""
    texts = []
    theirs = published()
    for measure, text in MEASURES.items():
        own = results.groupby(["table", "method"])[measure].mean().unstack()
        best_own = OURS["median"] if measure == "AvgMAE" else OURS["draws"]
        frame = own
        if len(theirs):
            columns = theirs.pivot_table(measure, "dataset", "method").drop(columns="oracle")
            frame = own.join(columns, how="left")
            ranks = columns.join(own[[best_own]], how="inner").dropna(axis=1).rank(axis=1)
            note = f" Mean rank of {best_own} among the published methods: "
            text += (
                f".{note}{ranks[best_own].mean():.2f}, next {ranks.mean().nsmallest(2).iloc[1]:.2f}"
            )
        names = {name: name + TABLES[name][2].replace("*", r"\*") for name in frame.index}
        texts.append(f"**{measure}**: {text}.\n")
        texts.append(markdown(frame.rename(index=names).map("{:.3f}".format), "table"))
    count = results.groupby("table")["seed"].nunique().min()
    ours = results[results["method"].isin(OURS.values())]  # the fit counts in the first of them
    seconds = ours.groupby(["table", "seed"])["seconds"].sum()
    texts.append(
        rf"Means over {count} or more seeds. \* used to develop the defaults. Fit and five "
        f"imputations took {seconds.median():.0f} s (median), {seconds.max():.0f} s at most. The "
        "masks differ from the published ones. " + versions()
    )
    return "\n".join(texts)


def main() -> None:
    """Run what is not in the CSV file yet, and write the tables."""
    parser = argument_parser(__doc__, quick="iris and concrete_slump, one seed")
    options = parser.parse_args()
    stem = "forestdiffusion_quick" if options.quick else "forestdiffusion"
    path = Path(__file__).with_name(f"{stem}.csv")
    names = ("iris", "concrete_slump") if options.quick else tuple(TABLES)
    seeds = SEEDS[:1] if options.quick else SEEDS
    methods = (NEIGHBOUR, *OURS.values())
    cells = [(name, method, seed) for seed in seeds for name in names for method in methods]
    if options.report:
        cells = []
    results = run_grid(path, ["table", "method", "seed"], cells, run, options.jobs)
    write_page(path, page(results))


if __name__ == "__main__":
    main()
