"""The classes that stored estimators hold, and their names in files."""

import inspect
from collections.abc import Iterable

from ..inference.samplers import SAMPLERS
from ..training.optim import AdamW, EarlyStopping
from ..vae.networks.options import ConvNetwork, CustomNetwork, ResidualNetwork
from .density import VAEDensityEstimator
from .imputers import (
    DeMissVAEImputer,
    MissIWAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MissVAEImputer,
    MIWAEImputer,
    MVAEImputer,
)
from .meta import MultipleImputationClassifier, MultipleImputationRegressor
from .outlier_detector import VAEOutlierDetector
from .plain_state import FUNCTIONS

#: Estimators that have model files.
SAVEABLE = (
    *(MVAEImputer, MIWAEImputer, MissVAEImputer, MissSVAEImputer, MissIWAEImputer),
    *(MissSIWAEImputer, DeMissVAEImputer, VAEDensityEstimator, VAEOutlierDetector),
)
_ESTIMATORS = (*SAVEABLE, MultipleImputationClassifier, MultipleImputationRegressor)
_OPTIONS = (AdamW, EarlyStopping, ResidualNetwork, ConvNetwork, CustomNetwork)


def publish_stored_types() -> list[str]:
    """Give the classes that stored estimators hold their public module; return their names.

    Files of pickle, joblib and skops hold these names, so that classes can move within the package.
    """
    return [
        *_published("skmissvae", (*_ESTIMATORS, *_OPTIONS)),
        *_published("skmissvae.inference", map(type, SAMPLERS.values())),
        *_published("skmissvae.vae", (c for c in FUNCTIONS.values() if not inspect.isabstract(c))),
    ]


def _published(module: str, classes: Iterable[type]) -> list[str]:
    names = []
    for cls in classes:
        cls.__module__ = module
        names.append(f"{module}.{cls.__name__}")
    return names
