"""One imputer, one table, in a process of its own: what ``accuracy.py`` calls.

``python peers.py METHOD incomplete.npz seed outcome.npz`` reads a table in numbers, with the codes
of levels for columns of words, and writes it completed, with draws of the hidden cells where the
method has them, and the seconds of fit and transform. The module runs in the
environment of a peer, which may have little more than numpy: everything else is imported where it
is used.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

N_DRAWS = 19  # the range of 19 draws holds a 20th one with probability 18/20


class TableSchema(NamedTuple):
    """A table in numbers."""

    x: np.ndarray  # (N, D)   NaN where missing
    n_levels: np.ndarray  # (D,)   0 for columns of numbers
    truth: np.ndarray  # (N, D)   the same without the hidden cells missing
    seed: int

    def expanded(self) -> np.ndarray:
        """Return the table with numbers standardised and an indicator per level."""
        pieces = []
        for column, n in zip(self.x.T, self.n_levels, strict=True):
            if not n:
                pieces.append((column[:, None] - np.nanmean(column)) / np.nanstd(column))
                continue
            indicators = (column[:, None] == np.arange(n)).astype(float)
            pieces.append(np.where(np.isnan(column)[:, None], np.nan, indicators))
        return np.hstack(pieces)

    def collapsed(self, wide: np.ndarray) -> np.ndarray:
        """Return a completed table in units and codes, of the levels with the greatest numbers."""
        out, at = [], 0
        for column, n in zip(self.x.T, self.n_levels, strict=True):
            if n:
                out.append(wide[:, at : at + n].argmax(1))
            else:
                out.append(wide[:, at] * np.nanstd(column) + np.nanmean(column))
            at += max(n, 1)
        return np.column_stack(out).astype(float)

    def frame(self) -> Any:
        """Return a data frame whose columns of levels are categorical."""
        import pandas as pd

        frame = pd.DataFrame(self.x, columns=[f"c{j}" for j in range(self.x.shape[1])])
        for j in np.flatnonzero(self.n_levels):
            codes = frame[f"c{j}"].fillna(-1).astype(int)
            frame[f"c{j}"] = pd.Categorical.from_codes(codes, [*map(str, range(self.n_levels[j]))])
        return frame

    def codes(self, frame: Any) -> np.ndarray:
        """Return a data frame as ``x`` is."""
        return np.column_stack(
            [
                frame.iloc[:, j].astype(str).astype(float) if n else frame.iloc[:, j].astype(float)
                for j, n in enumerate(self.n_levels)
            ]
        )


class Outcome(NamedTuple):
    """What a method makes of a table."""

    completed: np.ndarray  # (N, D)
    fit_seconds: float
    transform_seconds: float
    draws: Iterator[np.ndarray] | None = None  # each (N, D); made after the clock has stopped
    log_density: Callable[[], float] | None = None  # sum over rows of log p(x_hidden | x_seen)


def sklearn_imputer(make: Callable[[int], Any], draw: Callable[[int], Any] | None = None) -> Any:
    """Return a method that is an imputer of scikit-learn over indicators of levels."""

    def run(table: TableSchema) -> Outcome:
        wide = table.expanded()
        empty = np.isnan(wide).all(0)
        imputer = make(table.seed)
        if hasattr(imputer, "keep_empty_features"):
            imputer.set_params(keep_empty_features=True)
        assert not empty.any(), "no column is empty"
        start = time.perf_counter()
        imputer.fit(wide)
        fitted = time.perf_counter()
        completed = table.collapsed(imputer.transform(wide))
        done = time.perf_counter()
        draws = None
        if draw is not None:
            sampler = draw(table.seed).fit(wide)
            draws = (table.collapsed(sampler.transform(wide)) for _ in range(N_DRAWS))
        return Outcome(completed, fitted - start, done - fitted, draws)

    return run


def mean(seed: int) -> Any:
    """Return an imputer by the mean or, of levels, the mode."""
    from sklearn.impute import SimpleImputer

    return SimpleImputer()  # the greatest mean of indicators is the mode


def knn(seed: int) -> Any:
    """Return an imputer by ten neighbours."""
    from sklearn.impute import KNNImputer

    return KNNImputer(n_neighbors=10, weights="distance")


class PCAImputer:
    """Iterated principal components with regularised singular values, as in missMDA's imputePCA.

    The number of components, up to ten, is that with the least error on a tenth of the observed
    cells, hidden.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, x: np.ndarray) -> "PCAImputer":
        """Choose the number of components."""
        rng = np.random.default_rng(self.seed)
        hidden = ~np.isnan(x) & (rng.random(x.shape) < 0.1)
        hidden &= np.isnan(np.where(hidden, np.nan, x)).mean(0) < 1
        holed = np.where(hidden, np.nan, x)
        errors = [
            np.mean((self._complete(holed, k) - x)[hidden] ** 2)
            for k in range(1, min(10, min(x.shape) - 1) + 1)
        ]
        self.n_components_ = 1 + int(np.argmin(errors))
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Complete a table by its own components."""
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
            made = mean + (u[:, :k] * shrunk) @ vt[:k]
            change = np.sqrt(np.mean((made - completed)[missing] ** 2))
            completed[missing] = made[missing]
            if change < tol:
                break
        return completed


def iterative(estimator: Callable[[int], Any] | None, n_iter: int, posterior: bool = False) -> Any:
    """Return a maker of IterativeImputer, with an estimator of its own or BayesianRidge."""

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
    """Return a random forest as missForest has it, of 50 trees."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(50, max_features="sqrt", random_state=seed)


def boosting(seed: int) -> Any:
    """Return gradient boosting."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=seed)


def miceforest(table: TableSchema) -> Outcome:
    """Five imputations by chained light gradient boosting, averaged."""
    import miceforest as mf

    frame = table.frame()
    start = time.perf_counter()
    try:
        kernel = mf.ImputationKernel(frame, num_datasets=5, random_state=table.seed)
        kernel.mice(5)
    except ValueError:
        # its matching by log-odds takes no probability of 0 or 1; its time counts, as a user's does
        kernel = mf.ImputationKernel(
            frame, num_datasets=5, random_state=table.seed, mean_match_strategy="fast"
        )
        kernel.mice(5)
    made = [table.codes(kernel.complete_data(dataset=i)) for i in range(5)]
    completed = np.mean(made, 0)
    for j, n in enumerate(table.n_levels):
        if n:
            votes = [np.sum([one[:, j] == level for one in made], 0) for level in range(n)]
            completed[:, j] = np.argmax(votes, 0)
    return Outcome(completed, time.perf_counter() - start, 0.0, iter(made))


def hyperimpute(plugin: str) -> Callable[[TableSchema], Outcome]:
    """Return a plugin of hyperimpute."""

    def run(table: TableSchema) -> Outcome:
        import pandas as pd
        from hyperimpute.plugins.imputers import Imputers
        from hyperimpute.utils.distributions import enable_reproducible_results

        enable_reproducible_results(table.seed)
        frame = pd.DataFrame(table.x, columns=[f"c{j}" for j in range(table.x.shape[1])])
        imputer = Imputers().get(plugin)
        start = time.perf_counter()
        completed = np.asarray(imputer.fit_transform(frame.copy()), dtype=float)
        done = time.perf_counter()
        for j in np.flatnonzero(table.n_levels):
            completed[:, j] = completed[:, j].round().clip(0, table.n_levels[j] - 1)
        return Outcome(completed, done - start, 0.0)

    return run


def gcimpute(table: TableSchema) -> Outcome:
    """Gaussian copula, of numbers and codes: indicators would be collinear."""
    from gcimpute.gaussian_copula import GaussianCopula

    def coded(made: np.ndarray) -> np.ndarray:
        return np.where(table.n_levels, np.clip(made.round(), 0, table.n_levels - 1), made)

    model = GaussianCopula(random_state=table.seed, verbose=0)
    start = time.perf_counter()
    try:
        completed = coded(np.asarray(model.fit_transform(X=table.x)))
    except ValueError:
        # it takes columns of numbers that repeat for ranks, whose neighbours may be too close
        model = GaussianCopula(random_state=table.seed, verbose=0)
        numbers = np.flatnonzero(table.n_levels == 0).tolist()
        completed = coded(np.asarray(model.fit_transform(X=table.x, continuous=numbers)))
    done = time.perf_counter()

    def draws() -> Iterator[np.ndarray]:
        made = model.sample_imputation(X=table.x, num=N_DRAWS)  # (N, D, n)
        yield from (coded(made[..., i]) for i in range(N_DRAWS))

    return Outcome(completed, done - start, 0.0, draws())


def ours(make: Callable[[int], Any], coded: bool = False) -> Callable[[TableSchema], Outcome]:
    """Return one of our imputers: on a data frame, or on indicators of levels."""

    def run(table: TableSchema) -> Outcome:
        def read(made: Any) -> np.ndarray:
            return table.collapsed(made) if coded else table.codes(made)

        holed = table.expanded() if coded else table.frame()
        imputer = make(table.seed)
        start = time.perf_counter()
        imputer.fit(holed)
        fitted = time.perf_counter()
        completed = imputer.transform(holed)
        done = time.perf_counter()
        draws = (read(one) for one in imputer.impute(holed, N_DRAWS))

        def log_density() -> float:
            if coded or set(imputer.feature_kinds_.values()) != {"continuous"}:
                return math.nan  # no density, or one of other units
            rows = np.flatnonzero((np.isnan(table.x) & ~np.isnan(table.truth)).any(1))
            complete = table._replace(x=table.truth).frame()
            full, part = (imputer.score_samples(t.iloc[rows]) for t in (complete, holed))
            return float((full - part).sum())

        return Outcome(read(completed), fitted - start, done - fitted, draws, log_density)

    return run


def default(name: str, **options: Any) -> Callable[[int], Any]:
    """Return a maker of one of our imputers."""

    def make(seed: int) -> Any:
        import skmissvae

        return getattr(skmissvae, name)(random_state=seed, **options)

    return make


def published(name: str, n_draws: int) -> Callable[[int], Any]:
    """Return a maker of MVAE or MIWAE after Mattei and Frellsen.

    Theirs are three tanh layers of 128 units, Student-t prior, posterior and observation model, and
    10,000 importance draws. Ten latents, Adam at 1e-3 in batches of 64 and 2,000 epochs, far fewer
    steps than theirs, are our choice.
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
    """How to run a method, and in which environment: that of the package, or one of its own."""

    run: Callable[[TableSchema], Outcome]
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
    "iterative, boosting": Method(sklearn_imputer(iterative(boosting, 5))),
    "miceforest": Method(miceforest, "miceforest"),
    "hyperimpute": Method(hyperimpute("hyperimpute"), "hyperimpute"),
    "GAIN": Method(hyperimpute("gain"), "hyperimpute"),
    "gcimpute": Method(gcimpute, "gcimpute"),
    "MVAE, published": Method(ours(published("MVAEImputer", 20), coded=True)),
    "MIWAE, published": Method(ours(published("MIWAEImputer", 20), coded=True)),
}


def main() -> None:
    """Run one method on one table."""
    warnings.simplefilter("ignore")
    name, source, seed, target = sys.argv[1:]
    with np.load(source) as file:
        table = TableSchema(file["x"], file["n_levels"], file["truth"], int(seed))
    outcome = METHODS[name].run(table)
    hidden = np.isnan(table.x) & ~np.isnan(table.truth)
    told: dict[str, Any] = {
        "completed": outcome.completed,
        "fit_seconds": outcome.fit_seconds,
        "transform_seconds": outcome.transform_seconds,
    }
    np.savez(target, **told)  # what follows may take longer than there is time
    if table.seed:
        return  # draws and densities take longer than all else: they are of the first mask alone
    if outcome.draws is not None:
        told["draws"] = np.array([draw[hidden] for draw in outcome.draws])
    if outcome.log_density is not None:
        told["log_density"] = outcome.log_density()
    np.savez(target, **told)


if __name__ == "__main__":
    main()
