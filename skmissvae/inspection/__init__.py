"""Checks, scores and displays of fitted estimators."""

from .checks import ImputedComparison, compare_imputed, posterior_predictive_check
from .diagnose import Diagnosis, diagnose
from .energy import EnergyIScorer, energy_distance
from .imputed_density_display import ImputedDensityDisplay
from .imputer_scores_display import ImputerScoresDisplay
from .likelihood import LogLikelihood, log_likelihood
from .missingness_display import MissingnessDisplay
from .mixture_use_display import MixtureUseDisplay
from .overimputation import OverimputationReport, overimputation_report
from .overimputation_display import OverimputationDisplay
from .row_diagnostics import (
    chain_diagnostics,
    component_divergence,
    latent_information,
    mixture_weights,
    pareto_k,
)
from .scoring import HiddenCellScorer
from .training_display import TrainingDisplay
from .value_of_measuring import ValueOfMeasuringDisplay, value_of_measuring

__all__ = [
    "Diagnosis",
    "EnergyIScorer",
    "HiddenCellScorer",
    "ImputedComparison",
    "ImputedDensityDisplay",
    "ImputerScoresDisplay",
    "LogLikelihood",
    "MissingnessDisplay",
    "MixtureUseDisplay",
    "OverimputationDisplay",
    "OverimputationReport",
    "TrainingDisplay",
    "ValueOfMeasuringDisplay",
    "chain_diagnostics",
    "compare_imputed",
    "component_divergence",
    "diagnose",
    "energy_distance",
    "latent_information",
    "log_likelihood",
    "mixture_weights",
    "overimputation_report",
    "pareto_k",
    "posterior_predictive_check",
    "value_of_measuring",
]
