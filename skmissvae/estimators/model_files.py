"""Model files: fitted estimators as data, which are loaded without executing code.

A model file has the format of safetensors: arrays, and a JSON text in its header. The text holds
the parameters and the fitted state; functions and classes are stored by name.
"""

import os
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import MissingIndicator

from .. import vae
from .._utils.quoting import quoted
from .._utils.version import InconsistentVersionWarning, __version__
from ..inference.calibration import Calibration
from ..inference.samplers import SAMPLERS
from ..tables.codecs import Categories, Dates, Numbers, Unsupported
from ..tables.plain_files import INVALID, read_plain_file, write_plain_file
from ..tables.plain_values import PlainReader, PlainWriter
from ..tables.schema import ColumnSchema, TableSchema
from ..tables.suspect_cells import Suspicion
from ..training.fit import FittedModel
from ..training.optim import AdamW, EarlyStopping, TrainingSettings
from ..training.spec import ModelSpec
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
from .outlier_detector import VAEOutlierDetector
from .saving import Saveable

FORMAT = 1  # of the files that this version writes; it reads these and older ones

#: Classes of objects in a file, by the name that stands in it. Names never change.
CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        *(MVAEImputer, MIWAEImputer, MissVAEImputer, MissSVAEImputer, MissIWAEImputer),
        *(MissSIWAEImputer, DeMissVAEImputer, VAEDensityEstimator, VAEOutlierDetector),
        *(TableSchema, ColumnSchema, Suspicion, Numbers, Categories, Dates, Unsupported),
        *(FittedModel, ModelSpec, TrainingSettings, AdamW, EarlyStopping, MissingIndicator),
        Calibration,
        *(ResidualNetwork, ConvNetwork, CustomNetwork, *map(type, SAMPLERS.values())),
    )
}

#: Functions and classes that are stored by name: parts of models of this package.
FUNCTIONS = {
    name: part
    for name, part in vars(vae).items()
    if isinstance(part, type) and issubclass(part, vae.Prior | vae.Family | vae.Likelihood)
}

_KIND = "skmissvae"  # of plain files


def save_model(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to a model file; see ``Saveable.save``."""
    writer = PlainWriter(CLASSES, FUNCTIONS, omitted=["_skl_callbacks"])
    content = {
        "format": FORMAT,
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn")},
        "version": __version__,
        "estimator": writer.write(estimator, type(estimator).__name__),
        "custom": sorted(writer.custom),
    }
    write_plain_file(path, _KIND, content, writer.arrays)


def load(path: str | os.PathLike[str], custom: Mapping[str, Any] | None = None) -> Any:
    """Load an estimator from a model file that its ``save`` wrote.

    The file holds data only: loading executes no code of the file and imports no module. Its
    SHA-256, sizes and shapes are checked first, so that a damaged file is refused. Then the
    estimator completes a row that it draws itself, so that its fitted attributes fit together.

    Parameters
    ----------
    path : str or path-like
        The file.
    custom : mapping of str to callable, optional
        Custom functions and classes that were parameters of the estimator, such as a likelihood, by
        their names. An error lists the names that the file needs.

    Returns
    -------
    estimator : estimator of this package
        The fitted estimator. It returns the same bits as the saved one on the same machine.

    Raises
    ------
    ValueError
        If the file is not a model file, is damaged, or was written by a newer version with another
        format; or if a custom function is missing.
    OSError
        If the file cannot be read.

    Warns
    -----
    InconsistentVersionWarning
        If another version of the package wrote the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skmissvae import MVAEImputer, load
    >>> X = [[1.0, 2.0], [np.nan, 3.0], [2.0, np.nan], [4.0, 5.0]]
    >>> imputer = MVAEImputer(max_iter=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "imputer.skmissvae")
    ...     imputer.save(path)
    ...     restored = load(path)
    >>> np.array_equal(restored.transform(X), imputer.transform(X))
    True
    """
    content, arrays = _read(Path(path))
    missing = sorted(set(content["custom"]) - set(custom or {}))
    if missing:
        raise ValueError(
            f"The model in {quoted(str(path))} has custom functions or classes; pass them as "
            f"custom={{{', '.join(f'{name!r}: ...' for name in missing[:5])}}}."
        )
    if content["version"] != __version__:
        warnings.warn(
            InconsistentVersionWarning(content["estimator"]["@object"][0], content["version"]),
            stacklevel=2,
        )
    reader = PlainReader(CLASSES, FUNCTIONS, arrays, custom or {})
    try:
        estimator = reader.read(content["estimator"])
        _complete_a_row(estimator)
        return estimator
    except MemoryError:
        raise
    except Exception as error:  # the libraries raise errors of many classes
        raise ValueError(_not_valid(path, str(error))) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the parsed text and the arrays of a file, after a check of its SHA-256."""
    try:
        content, arrays = read_plain_file(path, _KIND)
        file_format, file_version = int(content["format"]), content["version"]
    except INVALID as error:
        raise ValueError(_not_valid(path, str(error))) from error
    if file_format > FORMAT:
        raise ValueError(
            f"The file {quoted(str(path))} has the format {file_format} of version {file_version}; "
            f"this version, {__version__}, reads formats up to {FORMAT}. Install a newer version "
            "of skmissvae."
        )
    return content, arrays


def _not_valid(path: str | os.PathLike[str], reason: str) -> str:
    return (
        f"{quoted(str(path))} is not a model file of skmissvae, or it is damaged ({reason[:100]}); "
        "restore it from a copy, or save the estimator again. Files of pickle, joblib and skops "
        "are loaded by their own functions."
    )


def _complete_a_row(estimator: Any) -> None:
    """Raise if the fitted attributes of an estimator do not fit together.

    Its parameters are checked when they are used; here they have their defaults.
    """
    if not isinstance(estimator, Saveable):
        raise TypeError("it holds no estimator")
    fitted: Any = getattr(estimator, "estimator_", estimator)
    if not hasattr(fitted, "model_"):
        return
    options = {"n_importance_draws": 1, "sampler": "importance", "device": "cpu"}
    trial = type(fitted)(**options, random_state=0)
    names = trial.get_params()
    vars(trial).update({name: v for name, v in vars(fitted).items() if name not in names})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = trial.sample()
        trial.score_samples(row)
        if hasattr(trial, "transform"):
            trial.transform(row, where=np.ones((1, trial.n_features_in_), bool))
