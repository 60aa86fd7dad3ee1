"""Calls of one estimator, and fits of clones, by several threads at a time."""

import functools
import sys
from concurrent.futures import ThreadPoolExecutor

from estimator_cases import outputs, table, tiny
from faults import differs
from sklearn.base import clone

from skmissvae import DeMissVAEImputer, MissSIWAEImputer

X = table(20)
CALLS = {
    "transform": lambda imputer: {"X": imputer.transform(X)},
    "impute": lambda imputer: {str(i): X for i, X in enumerate(imputer.impute(X, 2))},
    "score_samples": lambda imputer: {"scores": imputer.score_samples(X)},
    "sample": lambda imputer: {"rows": imputer.sample(50)},
    "encode": lambda imputer: {"z": imputer.encode(X)},
    "fit": lambda imputer: outputs(clone(imputer).fit(X), X),
}


@functools.cache
def fitted(cls):
    """Return a fitted estimator, and the results of its calls one after the other."""
    imputer = tiny(cls, dropout=0.1).fit(X)
    return imputer, {name: call(imputer) for name, call in CALLS.items()}


def run(rng, n_calls, n_threads=8):
    """Run random calls in threads; return those whose results differ from sequential ones."""
    cls = rng.choice([MissSIWAEImputer, DeMissVAEImputer])
    imputer, expected = fitted(cls)
    names = rng.choices(list(CALLS), k=n_calls)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads alternate more often
    try:
        with ThreadPoolExecutor(n_threads) as pool:
            results = list(pool.map(lambda name: CALLS[name](imputer), names))
    finally:
        sys.setswitchinterval(before)
    return [
        f"{cls.__name__}.{name}"
        for name, values in zip(names, results, strict=True)
        if differs(values, expected[name]) is not None
    ]
