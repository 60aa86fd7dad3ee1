"""Fitting a model to rows: objectives, the loop, optimizer, loaders, initialization."""

from .loop import train
from .objectives import METHODS
from .optim import DivergenceError

__all__ = ["DivergenceError", "METHODS", "train"]
