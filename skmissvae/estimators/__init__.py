"""The scikit-learn estimators."""

from .density import VAEDensityEstimator
from .imputations import Imputations
from .imputers import (
    DeMissVAEImputer,
    MissIWAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MissVAEImputer,
    MIWAEImputer,
    MVAEImputer,
)
from .meta import MultipleImputationClassifier, MultipleImputationRegressor
from .model_files import load
from .outlier_detector import VAEOutlierDetector

__all__ = [
    "DeMissVAEImputer",
    "Imputations",
    "MIWAEImputer",
    "MVAEImputer",
    "MissIWAEImputer",
    "MissSIWAEImputer",
    "MissSVAEImputer",
    "MissVAEImputer",
    "MultipleImputationClassifier",
    "MultipleImputationRegressor",
    "VAEDensityEstimator",
    "VAEOutlierDetector",
    "load",
]
