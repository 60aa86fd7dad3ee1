"""What remains in the process after a call: objects, memory, open files and threads."""

import functools
import gc
import os
import threading
import tracemalloc
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from estimator_cases import table, tiny
from sklearn.base import clone

from skmissvae import MissSIWAEImputer, load

X = np.hstack([table(100, seed=seed) for seed in range(6)])
CALLS = {
    "fit": lambda imputer, path: clone(imputer).fit(X),
    "partial_fit": lambda imputer, path: clone(imputer).partial_fit(X),
    "transform": lambda imputer, path: imputer.transform(X),
    "impute": lambda imputer, path: list(imputer.impute(X, 2)),
    "score_samples": lambda imputer, path: imputer.score_samples(X),
    "save and load": lambda imputer, path: (imputer.save(path), load(path)),
    "errors": lambda imputer, path: failed(imputer),
}


def failed(imputer):
    """Call with a parameter, and with a table, that are refused."""
    with suppress(ValueError):
        clone(imputer).set_params(K=0).fit(X)
        raise AssertionError("no error")
    with suppress(ValueError):
        imputer.transform(X[:, :2])
        raise AssertionError("no error")


@functools.cache
def fitted():
    options = {"n_latents": 2, "n_importance_draws": 20, "init": "random"}
    return tiny(MissSIWAEImputer, **options).fit(X)


def remains():
    """Return the numbers of objects, traced bytes, open files and threads."""
    gc.collect()
    n_files = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    n_bytes = tracemalloc.get_traced_memory()[0]
    return {
        "objects": len(gc.get_objects()),
        "bytes": n_bytes,
        "files": n_files,
        "threads": threading.active_count(),
    }


def growth(name, folder, n_before, n):
    """Return what ``n`` calls leave in the process, after others that fill caches."""
    call = functools.partial(CALLS[name], fitted(), folder / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracemalloc.start()
        gc.freeze()  # the objects so far are neither searched nor counted
        try:
            for _ in range(n_before):
                call()
            before = remains()
            for _ in range(n):
                call()
            after = remains()
        finally:
            gc.unfreeze()
            tracemalloc.stop()
    return {key: after[key] - value for key, value in before.items()}


def resident_bytes():
    """Return the resident memory of the process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
