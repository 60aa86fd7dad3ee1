"""Pooling of analyses of multiply imputed tables by Rubin's rules."""

from .estimates import PooledEstimates, pool
from .f_distribution import PooledTest
from .likelihood_ratio import pool_likelihood_ratio
from .models import pool_models
from .wald import pool_wald

__all__ = [
    "PooledEstimates",
    "PooledTest",
    "pool",
    "pool_likelihood_ratio",
    "pool_models",
    "pool_wald",
]
