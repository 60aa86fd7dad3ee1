"""Fitting a model to rows: methods, the loop, the optimizer, loaders, initialization."""

from .methods import METHODS
from .optim import AdamW, EarlyStopping

__all__ = ["METHODS", "AdamW", "EarlyStopping"]
