"""Random estimates and covariances for the tests of pooling."""

import numpy as np

INF = np.inf
NAMES = ["b", "a", "c"]


def analyses(m=5, p=3, seed=0):
    """Return random estimates (m, p) and covariances (m, p, p)."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(m, p)) + np.arange(1, p + 1)
    root = rng.normal(size=(m, p, p + 2))
    return q, root @ root.swapaxes(1, 2) / p


def variances_of(covariances):
    return np.diagonal(covariances, axis1=1, axis2=2)
