"""Scikit-learn estimators over variational autoencoders fitted on incomplete data."""

from .density import VAEDensityEstimator
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
    "VAEDensityEstimator",
]
