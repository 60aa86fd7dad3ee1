"""Fréchet distance between two samples."""

from typing import Any

import numpy as np
from sklearn.utils import check_array


def frechet_distance(first: Any, second: Any) -> float:
    r"""Return the squared Fréchet distance between Normal distributions fitted to two samples.

    .. math:: |\mu_1 - \mu_2|^2 + tr(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})

    Samples are usually features, such as ``encode`` of a model that was not fitted to them (Heusel
    et al. 2017, GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium, NeurIPS). Both samples have shape (n_samples, n_features), without missing cells.
    """
    samples = [
        check_array(sample, dtype=np.float64, ensure_min_samples=2) for sample in (first, second)
    ]
    if samples[0].shape[1] != samples[1].shape[1]:
        raise ValueError(
            "The samples must have the same number of features; got "
            f"{samples[0].shape[1]} and {samples[1].shape[1]}."
        )
    means = [sample.mean(0) for sample in samples]
    covs = [np.atleast_2d(np.cov(sample.T)) for sample in samples]
    # the square root of the product may be complex; those of symmetric matrices are not
    values, vectors = np.linalg.eigh(covs[0])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    trace_root = np.sqrt(np.linalg.eigvalsh(root @ covs[1] @ root).clip(0)).sum()
    distance = ((means[0] - means[1]) ** 2).sum()
    distance = distance + np.trace(covs[0]) + np.trace(covs[1]) - 2 * trace_root
    return float(max(distance, 0.0))
