"""Imputers that ``accuracy.py`` compares; a process imputes one table by one of them.

``python benchmarks/peers.py METHOD source.npz SEED output.npz`` reads a table of numbers and codes
of categories, and writes the imputed table, draws of the hidden cells if the method has them, and
the times of fit and transform. The module also runs in environments that have few packages:
packages other than numpy are imported where they are used.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

N_DRAWS = 19  # the range of 19 draws contains a 20th draw with probability 18/20


class IncompleteTable(NamedTuple):
    """An incomplete table of numbers and codes of categories."""

    x: np.ndarray  # (N, D)   NaN where missing
    n_categories: np.ndarray  # (D,)   0 for numeric columns
    truth: np.ndarray  # (N, D)   with the values of the hidden cells
    seed: int

    def with_indicators(self) -> np.ndarray:
        """Return the table with standardized numbers and indicators of categories."""
        columns = []
        for column, n in zip(self.x.T, self.n_categories, strict=True):
            if not n:
                columns.append((column[:, None] - np.nanmean(column)) / np.nanstd(column))
                continue
            indicators = (column[:, None] == np.arange(n)).astype(float)
            columns.append(np.where(np.isnan(column)[:, None], np.nan, indicators))
        return np.hstack(columns)

    def from_indicators(self, wide: np.ndarray) -> np.ndarray:
        """Return a table in the units of ``x``, with categories of the largest indicators."""
        columns, first = [], 0
        for column, n in zip(self.x.T, self.n_categories, strict=True):
            if n:
                columns.append(wide[:, first : first + n].argmax(1))
            else:
                columns.append(wide[:, first] * np.nanstd(column) + np.nanmean(column))
            first += max(n, 1)
        return np.column_stack(columns).astype(float)

    def frame(self) -> Any:
        """Return a data frame with columns of the categorical dtype."""
        import pandas as pd

        frame = pd.DataFrame(self.x, columns=[f"c{j}" for j in range(self.x.shape[1])])
        for j in np.flatnonzero(self.n_categories):
            codes = frame[f"c{j}"].fillna(-1).astype(int)
            frame[f"c{j}"] = pd.Categorical.from_codes(
                codes, [*map(str, range(self.n_categories[j]))]
            )
        return frame

    def codes(self, frame: Any) -> np.ndarray:
        """Return a data frame as an array of numbers and codes, like ``x``."""
        return np.column_stack(
            [
                frame.iloc[:, j].astype(str).astype(float) if n else frame.iloc[:, j].astype(float)
                for j, n in enumerate(self.n_categories)
            ]
        )


class Imputation(NamedTuple):
    """An imputed table."""

    completed: np.ndarray  # (N, D)
    fit_seconds: float
    transform_seconds: float
    draws: Iterator[np.ndarray] | None = None  # each (N, D); drawn after times are measured
    log_density: Callable[[], float] | None = None  # sum over rows of log p(x_hidden | x_obs)


def sklearn_imputer(make: Callable[[int], Any], draw: Callable[[int], Any] | None = None) -> Any:
    """Return a method that applies an imputer of scikit-learn to indicators of categories."""

    def run(table: IncompleteTable) -> Imputation:
        wide = table.with_indicators()
        empty = np.isnan(wide).all(0)
        imputer = make(table.seed)
        if hasattr(imputer, "keep_empty_features"):
            imputer.set_params(keep_empty_features=True)
        assert not empty.any(), "no column is empty"
        start = time.perf_counter()
        imputer.fit(wide)
        fitted = time.perf_counter()
        completed = table.from_indicators(imputer.transform(wide))
        done = time.perf_counter()
        draws = None
        if draw is not None:
            sampler = draw(table.seed).fit(wide)
            draws = (table.from_indicators(sampler.transform(wide)) for _ in range(N_DRAWS))
        return Imputation(completed, fitted - start, done - fitted, draws)

    return run


def mean(seed: int) -> Any:
    """Return mean imputation, for categories imputation by the mode."""
    from sklearn.impute import SimpleImputer

    return SimpleImputer()  # the largest mean of the indicators is the mode


def knn(seed: int) -> Any:
    """Return imputation by ten nearest neighbors."""
    from sklearn.impute import KNNImputer

    return KNNImputer(n_neighbors=10, weights="distance")


class PCAImputer:
    """Iterated principal components with shrunken singular values, as imputePCA of missMDA.

    The number of components, at most ten, minimizes the error of a hidden tenth of the observed
    cells.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, x: np.ndarray) -> "PCAImputer":
        """Choose the number of components."""
        rng = np.random.default_rng(self.seed)
        hidden = ~np.isnan(x) & (rng.random(x.shape) < 0.1)
        hidden &= np.isnan(np.where(hidden, np.nan, x)).mean(0) < 1
        incomplete = np.where(hidden, np.nan, x)
        errors = [
            np.mean((self._complete(incomplete, k) - x)[hidden] ** 2)
            for k in range(1, min(10, min(x.shape) - 1) + 1)
        ]
        self.n_components_ = 1 + int(np.argmin(errors))
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Impute a table by the components of this table."""
        return self._complete(x, self.n_components_)

    @staticmethod
    def _complete(x: np.ndarray, k: int, n_iter: int = 200, tol: float = 1e-5) -> np.ndarray:
        missing = np.isnan(x)
        mean = np.nanmean(x, 0)
        completed = np.where(missing, mean, x)
        for _ in range(n_iter):
            mean = completed.mean(0)
            u, s, vt = np.linalg.svd(completed - mean, full_matrices=False)
            noise = np.mean(s[k:] ** 2)
            shrunk = np.maximum(s[:k] ** 2 - noise, 0) / np.maximum(s[:k], 1e-12)
            fitted = mean + (u[:, :k] * shrunk) @ vt[:k]
            change = np.sqrt(np.mean((fitted - completed)[missing] ** 2))
            completed[missing] = fitted[missing]
            if change < tol:
                break
        return completed


def iterative(estimator: Callable[[int], Any] | None, n_iter: int, posterior: bool = False) -> Any:
    """Return a function of the seed that makes an IterativeImputer; None is BayesianRidge."""

    def make(seed: int) -> Any:
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401
        from sklearn.impute import IterativeImputer

        return IterativeImputer(
            None if estimator is None else estimator(seed),
            max_iter=n_iter,
            sample_posterior=posterior,
            random_state=seed,
        )

    return make


def forest(seed: int) -> Any:
    """Return a random forest of 50 trees, with the settings of missForest."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(50, max_features="sqrt", random_state=seed)


def chained_forests(table: IncompleteTable, n_trees: int = 50, n_rounds: int = 5) -> Imputation:
    """Impute by random forests of each column, as missForest (Stekhoven and Buehlmann 2012).

    Categories are predicted by classifiers, from the other columns. In IterativeImputer their
    indicators, which are missing together, would predict one another.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    start = time.perf_counter()
    missing, x = np.isnan(table.x), table.x.copy()
    for j, n in enumerate(table.n_categories):
        observed = x[~missing[:, j], j]
        x[missing[:, j], j] = np.bincount(observed.astype(int)).argmax() if n else observed.mean()
    order = [j for j in missing.sum(0).argsort(kind="stable") if missing[:, j].any()]
    for i in range(n_rounds):
        for j in order:
            others = [k for k in range(x.shape[1]) if k != j]
            part = table._replace(x=x[:, others], n_categories=table.n_categories[others])
            wide, hidden = np.nan_to_num(part.with_indicators()), missing[:, j]
            Forest = RandomForestClassifier if table.n_categories[j] else RandomForestRegressor
            model = Forest(n_trees, max_features="sqrt", random_state=table.seed + i)
            x[hidden, j] = model.fit(wide[~hidden], x[~hidden, j]).predict(wide[hidden])
    return Imputation(x, time.perf_counter() - start, 0.0)


def boosting(seed: int) -> Any:
    """Return gradient boosting."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=seed)


def miceforest(table: IncompleteTable) -> Imputation:
    """Return the mean of five imputations by chained equations with LightGBM."""
    import miceforest as mf

    frame = table.frame()
    start = time.perf_counter()
    try:
        kernel = mf.ImputationKernel(frame, num_datasets=5, random_state=table.seed)
        kernel.mice(5)
    except ValueError:
        # its default matching by log-odds fails for probabilities of 0 or 1; the failed attempt is
        # part of the time
        kernel = mf.ImputationKernel(
            frame, num_datasets=5, random_state=table.seed, mean_match_strategy="fast"
        )
        kernel.mice(5)
    imputed = [table.codes(kernel.complete_data(dataset=i)) for i in range(5)]
    completed = np.mean(imputed, 0)
    for j, n in enumerate(table.n_categories):
        if n:
            votes = [np.sum([x[:, j] == code for x in imputed], 0) for code in range(n)]
            completed[:, j] = np.argmax(votes, 0)
    return Imputation(completed, time.perf_counter() - start, 0.0, iter(imputed))


def hyperimpute(plugin: str) -> Callable[[IncompleteTable], Imputation]:
    """Return a method of hyperimpute."""

    def run(table: IncompleteTable) -> Imputation:
        import pandas as pd
        from hyperimpute.plugins.imputers import Imputers
        from hyperimpute.utils.distributions import enable_reproducible_results

        enable_reproducible_results(table.seed)
        frame = pd.DataFrame(table.x, columns=[f"c{j}" for j in range(table.x.shape[1])])
        imputer = Imputers().get(plugin)
        start = time.perf_counter()
        completed = np.asarray(imputer.fit_transform(frame.copy()), dtype=float)
        done = time.perf_counter()
        for j in np.flatnonzero(table.n_categories):
            completed[:, j] = completed[:, j].round().clip(0, table.n_categories[j] - 1)
        return Imputation(completed, done - start, 0.0)

    return run


def gcimpute(table: IncompleteTable) -> Imputation:
    """Impute by a Gaussian copula of numbers and codes, as indicators would be collinear."""
    from gcimpute.gaussian_copula import GaussianCopula

    def to_codes(x: np.ndarray) -> np.ndarray:
        return np.where(table.n_categories, np.clip(x.round(), 0, table.n_categories - 1), x)

    model = GaussianCopula(random_state=table.seed, verbose=0)
    start = time.perf_counter()
    try:
        completed = to_codes(np.asarray(model.fit_transform(X=table.x)))
    except ValueError:
        # it treats numeric columns with repeated values as ordinal, and fails if they are too close
        model = GaussianCopula(random_state=table.seed, verbose=0)
        numbers = np.flatnonzero(table.n_categories == 0).tolist()
        completed = to_codes(np.asarray(model.fit_transform(X=table.x, continuous=numbers)))
    done = time.perf_counter()

    def draws() -> Iterator[np.ndarray]:
        imputed = model.sample_imputation(X=table.x, num=N_DRAWS)  # (N, D, n)
        yield from (to_codes(imputed[..., i]) for i in range(N_DRAWS))

    return Imputation(completed, done - start, 0.0, draws())


def ours(
    make: Callable[[int], Any], indicators: bool = False
) -> Callable[[IncompleteTable], Imputation]:
    """Return an imputer of this package, for a data frame or for indicators of categories."""

    def run(table: IncompleteTable) -> Imputation:
        def read(x: Any) -> np.ndarray:
            return table.from_indicators(x) if indicators else table.codes(x)

        incomplete = table.with_indicators() if indicators else table.frame()
        imputer = make(table.seed)
        start = time.perf_counter()
        imputer.fit(incomplete)
        fitted = time.perf_counter()
        completed = imputer.transform(incomplete)
        done = time.perf_counter()
        draws = (read(x) for x in imputer.impute(incomplete, N_DRAWS))

        def log_density() -> float:
            if indicators or set(imputer.feature_kinds_.values()) != {"continuous"}:
                return math.nan  # not a density of all columns in their units
            rows = np.flatnonzero((np.isnan(table.x) & ~np.isnan(table.truth)).any(1))
            complete = table._replace(x=table.truth).frame()
            scores = [imputer.score_samples(t.iloc[rows]) for t in (complete, incomplete)]
            return float((scores[0] - scores[1]).sum())

        return Imputation(read(completed), fitted - start, done - fitted, draws, log_density)

    return run


def default(name: str, **options: Any) -> Callable[[int], Any]:
    """Return a function of the seed that makes an imputer of this package."""

    def make(seed: int) -> Any:
        import skmissvae

        return getattr(skmissvae, name)(random_state=seed, **options)

    return make


def published(name: str, n_draws: int) -> Callable[[int], Any]:
    """Return a function of the seed that makes MVAE or MIWAE with the settings of the MIWAE paper.

    Of Mattei and Frellsen (2019) are three tanh layers of 128 units, Student-t prior, posterior and
    observation model, and 10,000 importance draws. Not of the paper are ten latents, Adam with a
    rate of 0.001, batches of 64 rows and 2,000 epochs, which are fewer steps than published.
    """

    def make(seed: int) -> Any:
        from published_networks import mlp

        import skmissvae

        return getattr(skmissvae, name)(
            n_latents=10,
            n_draws=n_draws,
            network=skmissvae.CustomNetwork(encoder=mlp, decoder=mlp),
            prior="student_t",
            likelihood="student_t",
            min_scale=0.001,
            max_iter=2000,
            learning_rate=1e-3,
            optimizer=skmissvae.AdamW(schedule="constant"),
            early_stopping=False,
            gradient="plain",
            n_importance_draws=10_000,
            random_state=seed,
        )

    return make


class Method(NamedTuple):
    """A method and the environment it runs in; None is the environment of this package."""

    run: Callable[[IncompleteTable], Imputation]
    environment: str | None = None


OURS = "MissSIWAEImputer"
METHODS = {
    OURS: Method(ours(default(OURS))),
    "MIWAEImputer": Method(ours(default("MIWAEImputer"))),
    "mean": Method(sklearn_imputer(mean)),
    "PCA": Method(sklearn_imputer(PCAImputer)),
    "KNN": Method(sklearn_imputer(knn)),
    "iterative, ridge": Method(
        sklearn_imputer(iterative(None, 20), iterative(None, 20, posterior=True))
    ),
    "iterative, forest": Method(sklearn_imputer(iterative(forest, 5))),
    "forests by column": Method(chained_forests),
    "iterative, boosting": Method(sklearn_imputer(iterative(boosting, 5))),
    "miceforest": Method(miceforest, "miceforest"),
    "hyperimpute": Method(hyperimpute("hyperimpute"), "hyperimpute"),
    "GAIN": Method(hyperimpute("gain"), "hyperimpute"),
    "gcimpute": Method(gcimpute, "gcimpute"),
    "MVAE, published": Method(ours(published("MVAEImputer", 20), indicators=True)),
    "MIWAE, published": Method(ours(published("MIWAEImputer", 20), indicators=True)),
}


def main() -> None:
    """Impute one table by one method."""
    warnings.simplefilter("ignore")
    name, source, seed, target = sys.argv[1:]
    with np.load(source) as file:
        table = IncompleteTable(file["x"], file["n_categories"], file["truth"], int(seed))
    imputation = METHODS[name].run(table)
    hidden = np.isnan(table.x) & ~np.isnan(table.truth)
    output: dict[str, Any] = {
        "completed": imputation.completed,
        "fit_seconds": imputation.fit_seconds,
        "transform_seconds": imputation.transform_seconds,
    }
    np.savez(target, **output)  # in case that the rest exceeds the time limit
    if table.seed:
        return  # draws and densities take the most time: only for the first mask
    if imputation.draws is not None:
        output["draws"] = np.array([draw[hidden] for draw in imputation.draws])
    if imputation.log_density is not None:
        output["log_density"] = imputation.log_density()
    np.savez(target, **output)


if __name__ == "__main__":
    main()
