"""Fitting a model to rows: methods, the loop, the optimizer, loaders, initialization."""

from .checkpoint import Checkpoint
from .methods import METHODS
from .optim import AdamW, EarlyStopping

__all__ = ["METHODS", "AdamW", "Checkpoint", "EarlyStopping"]
