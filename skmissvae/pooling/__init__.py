"""Pooling of analyses of multiply imputed tables by Rubin's rules."""

from .estimates import PooledEstimates, pool
from .models import pool_models, pool_nested_models
from .sensitivity import SensitivityAnalysis, sensitivity
from .statistics import PooledTest, pool_likelihood_ratio, pool_wald

__all__ = [
    "PooledEstimates",
    "PooledTest",
    "SensitivityAnalysis",
    "pool",
    "pool_likelihood_ratio",
    "pool_models",
    "pool_nested_models",
    "pool_wald",
    "sensitivity",
]
