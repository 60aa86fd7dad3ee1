"""Work and memory grow at most linearly: counts of torch's operations, not seconds."""

import functools
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from work import Work

from skmissvae import DeMissVAEImputer, MIWAEImputer, VAEDensityEstimator

pytestmark = pytest.mark.filterwarnings("ignore")
MAX_SLOPE = 1.08


@pytest.fixture(autouse=True)
def one_thread():
    """Compute in this thread, whose operations are counted."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def table(n_rows, n_columns):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 2)) @ rng.normal(size=(2, n_columns))
    X += rng.normal(size=X.shape)
    X[rng.random(X.shape) < 0.3] = np.nan
    return X


def categories(n_categories, n_rows=1024):
    """Return a table with columns of many categories."""
    codes = np.random.default_rng(0).permuted(np.tile(np.arange(n_rows), (2, 1)), axis=1)
    names = np.array([f"c{i}" for i in range(n_categories)])
    X = pd.DataFrame(dict(zip("ab", names[codes % n_categories], strict=True)), dtype="category")
    X.iloc[::9, 0] = None
    return X


def new(cls=MIWAEImputer, **options):
    # fewer than 100 draws: no row gets adapted proposals, whose number depends on the table
    common = {"max_iter": 2, "batch_size": 64, "n_hidden": 16, "n_latents": 2, "init": "random"}
    common |= {"n_importance_draws": 48, "device": "cpu", "random_state": 0}
    return cls(**common | options)


@functools.cache
def fitted(n_columns=6, cls=MIWAEImputer):
    return new(cls).fit(table(128, n_columns))


def transform(n_rows, n_columns=6, n_draws=48):
    fitted(n_columns).set_params(n_importance_draws=n_draws).transform(table(n_rows, n_columns))


def score(n_rows):
    fitted(cls=VAEDensityEstimator).score_samples(table(n_rows, 6))


def impute(n_imputations):
    for _ in fitted().impute(table(64, 6), n_imputations):
        pass


def impute_categories(n_categories):
    X = categories(n_categories)
    new(max_iter=1, n_importance_draws=8).fit(X).transform(X[:64])


#: Sizes, of which the largest two are compared, and functions of a size.
CASES = {
    "rows, transform": ((256, 512, 1024), transform),
    "rows, score_samples": ((256, 512, 1024), score),
    "rows, fit": ((256, 512, 1024), lambda n: new().fit(table(n, 6))),
    "rows, fit of DeMissVAE": ((256, 512), lambda n: new(DeMissVAEImputer).fit(table(n, 6))),
    "columns, transform": ((16, 32, 64), lambda n: transform(64, n)),
    "columns, fit": ((16, 32, 64), lambda n: new().fit(table(128, n))),
    "categories": ((16, 64, 256), impute_categories),
    "draws": ((24, 48, 96), lambda n: transform(64, n_draws=n)),
    "imputations": ((4, 8, 16), impute),
    "epochs": ((4, 8), lambda n: new(max_iter=n).fit(table(128, 6))),
}


def slope(sizes, values):
    """Return the log-log slope between the largest two sizes."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


@pytest.mark.parametrize("name", CASES)
def test_work_and_memory_of_torch_grow_at_most_linearly(name):
    sizes, function = CASES[name]
    function(sizes[0])  # fits models outside of the count
    counts = []
    for size in sizes[-2:]:
        with Work() as work:
            function(size)
        counts.append((work.n_elements, work.peak))
    slopes = [slope(sizes, values) for values in zip(*counts, strict=True)]
    assert max(slopes) <= MAX_SLOPE, counts
    assert slopes[0] > 0.1, counts  # the size matters


def test_memory_of_numpy_grows_at_most_linearly_with_rows():
    sizes, peaks = (1024, 2048, 4096), []
    for size in sizes:
        X = table(size, 6)
        estimator = fitted().set_params(n_importance_draws=2)
        estimator.transform(X[:64])
        tracemalloc.start()
        try:
            estimator.transform(X)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert slope(sizes, peaks) <= MAX_SLOPE, peaks
    assert peaks[-1] < 12 * table(sizes[-1], 6).nbytes, peaks
