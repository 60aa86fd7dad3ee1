"""A fitted model given the observed cells of rows: importance sampling, chains, summaries."""

from .batching import map_rows
from .conditional import ConditionalModel
from .importance import ImportanceSampler
from .row_batch import RowBatch
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
    "LAIR",
    "SAMPLERS",
    "Chain",
    "ConditionalModel",
    "ImportanceResampling",
    "ImportanceSampler",
    "MetropolisWithinGibbs",
    "PseudoGibbs",
    "RowBatch",
    "Sampler",
    "map_rows",
]
