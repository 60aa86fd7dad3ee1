"""Scikit-learn estimators over variational autoencoders fitted on incomplete data."""

from ._utils.version import InconsistentVersionWarning
from ._utils.version import __version__ as __version__
from .estimators import (
    DeMissVAEImputer,
    Imputations,
    MissIWAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MissVAEImputer,
    MIWAEImputer,
    MultipleImputationClassifier,
    MultipleImputationRegressor,
    MVAEImputer,
    VAEDensityEstimator,
    VAEOutlierDetector,
    load,
)
from .estimators.stored_types import publish_stored_types
from .inspection import (
    Diagnosis,
    EnergyIScorer,
    HiddenCellScorer,
    ImputedComparison,
    OverimputationReport,
    compare_imputed,
    diagnose,
    overimputation_report,
    posterior_predictive_check,
    value_of_measuring,
)
from .pooling import (
    PooledEstimates,
    PooledTest,
    SensitivityAnalysis,
    pool,
    pool_likelihood_ratio,
    pool_models,
    pool_nested_models,
    pool_wald,
    sensitivity,
)
from .tables import Chunks, make_missing, missing_flux, missing_patterns
from .training import AdamW, Checkpoint, EarlyStopping
from .vae.networks.options import ConvNetwork, CustomNetwork, ResidualNetwork

#: Names of the classes of this package that files of skops can hold, for the parameter ``trusted``
#: of ``skops.io.load``. Names are never removed.
SKOPS_TYPES: list[str] = publish_stored_types()

__all__ = [
    "SKOPS_TYPES",
    "AdamW",
    "Checkpoint",
    "ConvNetwork",
    "CustomNetwork",
    "EarlyStopping",
    "ResidualNetwork",
    "Chunks",
    "DeMissVAEImputer",
    "Diagnosis",
    "EnergyIScorer",
    "HiddenCellScorer",
    "Imputations",
    "ImputedComparison",
    "InconsistentVersionWarning",
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
    "SensitivityAnalysis",
    "VAEDensityEstimator",
    "VAEOutlierDetector",
    "compare_imputed",
    "diagnose",
    "load",
    "make_missing",
    "missing_flux",
    "missing_patterns",
    "overimputation_report",
    "pool",
    "pool_likelihood_ratio",
    "pool_models",
    "pool_nested_models",
    "pool_wald",
    "posterior_predictive_check",
    "sensitivity",
    "value_of_measuring",
]
