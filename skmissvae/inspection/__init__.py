"""Checks, scores and displays of fitted estimators."""

from .checks import ImputedComparison, compare_imputed, posterior_predictive_check
from .diagnose import Diagnosis, diagnose
from .displays import ImputedDensityDisplay, MissingnessDisplay
from .latent_displays import GridDensity, LatentDisplay, MixtureUseDisplay, RowPosterior
from .likelihood import LogLikelihood, integrated_score_samples, log_likelihood
from .overimputation import OverimputationDisplay, OverimputationReport, overimputation_report
from .scoring import HiddenCellScorer
from .training_displays import TrainingDisplay

__all__ = [
    "Diagnosis",
    "GridDensity",
    "HiddenCellScorer",
    "ImputedComparison",
    "ImputedDensityDisplay",
    "LatentDisplay",
    "LogLikelihood",
    "MissingnessDisplay",
    "MixtureUseDisplay",
    "OverimputationDisplay",
    "OverimputationReport",
    "RowPosterior",
    "TrainingDisplay",
    "compare_imputed",
    "diagnose",
    "integrated_score_samples",
    "log_likelihood",
    "overimputation_report",
    "posterior_predictive_check",
]
