"""A fitted model given the observed cells of rows: importance sampling, chains, summaries."""

from .conditional import ConditionalModel
from .importance import ImportanceSampler
from .samplers import (
    LAIR,
    SAMPLERS,
    Chain,
    ImportanceResampling,
    MetropolisWithinGibbs,
    PseudoGibbs,
    Sampler,
)

__all__ = [
    "Chain",
    "ConditionalModel",
    "ImportanceResampling",
    "ImportanceSampler",
    "LAIR",
    "MetropolisWithinGibbs",
    "PseudoGibbs",
    "SAMPLERS",
    "Sampler",
]
