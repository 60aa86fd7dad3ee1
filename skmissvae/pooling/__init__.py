"""Pooling of analyses of multiply imputed tables by Rubin's rules."""

from .arithmetic import PooledTest
from .estimates import PooledEstimates, pool, pool_models
from .wald import pool_likelihood_ratio, pool_wald

__all__ = [
    "PooledEstimates",
    "PooledTest",
    "pool",
    "pool_likelihood_ratio",
    "pool_models",
    "pool_wald",
]
