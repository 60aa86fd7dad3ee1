"""Scikit-learn estimators over variational autoencoders fitted on incomplete data."""

from ._task import Imputations
from .checks import ImputedComparison, compare_imputed, posterior_predictive_check
from .chunks import Chunks
from .density import VAEDensityEstimator
from .diagnostics import Diagnosis, diagnose
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
from .overimputation import OverimputationReport, overimputation_report
from .pooling import (
    PooledEstimates,
    PooledTest,
    pool,
    pool_likelihood_ratio,
    pool_models,
    pool_wald,
)
from .prediction import MultipleImputationClassifier, MultipleImputationRegressor

__version__ = "0.1.0"

__all__ = [
    "Chunks",
    "DeMissVAEImputer",
    "Diagnosis",
    "HiddenCellScorer",
    "Imputations",
    "ImputedComparison",
    "MIWAEImputer",
    "MVAEImputer",
    "MissIWAEImputer",
    "MissSIWAEImputer",
    "MissSVAEImputer",
    "MissVAEImputer",
    "MultipleImputationClassifier",
    "MultipleImputationRegressor",
    "OverimputationReport",
    "PooledEstimates",
    "PooledTest",
    "VAEDensityEstimator",
    "compare_imputed",
    "diagnose",
    "make_missing",
    "missing_patterns",
    "overimputation_report",
    "pool",
    "pool_likelihood_ratio",
    "pool_models",
    "pool_wald",
    "posterior_predictive_check",
]
