"""Fitting a model to rows: methods, the loop, the optimizer, loaders, initialization."""

from .defaults import DensityDefaults, ImputationDefaults
from .fit import FitTask, FittedModel, fit_model
from .loop import train
from .methods import METHODS, Method
from .optim import AdamW, DivergenceError, EarlyStopping

__all__ = [
    "METHODS",
    "AdamW",
    "DensityDefaults",
    "DivergenceError",
    "EarlyStopping",
    "FitTask",
    "FittedModel",
    "ImputationDefaults",
    "Method",
    "fit_model",
    "train",
]
