"""Checks, scores and displays of fitted estimators."""

from .checks import ImputedComparison, compare_imputed, posterior_predictive_check
from .diagnose import Diagnosis, diagnose
from .imputed_density_display import ImputedDensityDisplay
from .latent_displays import GridDensity, LatentDisplay, MixtureUseDisplay, RowPosterior
from .likelihood import LogLikelihood, integrated_score_samples, log_likelihood
from .missingness_display import MissingnessDisplay
from .overimputation import OverimputationReport, overimputation_report
from .overimputation_display import OverimputationDisplay
from .row_diagnostics import chain_diagnostics, latent_information, mixture_weights, pareto_k
from .scoring import HiddenCellScorer
from .training_display import TrainingDisplay

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
    "chain_diagnostics",
    "compare_imputed",
    "diagnose",
    "integrated_score_samples",
    "latent_information",
    "log_likelihood",
    "mixture_weights",
    "overimputation_report",
    "pareto_k",
    "posterior_predictive_check",
]
