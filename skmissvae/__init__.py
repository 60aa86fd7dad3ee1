"""Scikit-learn estimators over variational autoencoders fitted on incomplete data."""

from .density import VAEDensityEstimator
from .diagnostics import diagnose
from .imputers import (
    DeMissVAEImputer,
    MissIWAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MissVAEImputer,
    MIWAEImputer,
    MVAEImputer,
)
from .metrics import HiddenCellScorer
from .missingness import make_missing, missing_patterns
from .pooling import pool, pool_likelihood_ratio, pool_models, pool_wald
from .prediction import MultipleImputationClassifier, MultipleImputationRegressor

__version__ = "0.1.0"

__all__ = [
    "DeMissVAEImputer",
    "HiddenCellScorer",
    "MIWAEImputer",
    "MVAEImputer",
    "MissIWAEImputer",
    "MissSIWAEImputer",
    "MissSVAEImputer",
    "MissVAEImputer",
    "MultipleImputationClassifier",
    "MultipleImputationRegressor",
    "VAEDensityEstimator",
    "diagnose",
    "make_missing",
    "missing_patterns",
    "pool",
    "pool_likelihood_ratio",
    "pool_models",
    "pool_wald",
]
