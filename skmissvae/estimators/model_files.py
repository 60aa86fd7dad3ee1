"""Model files: fitted estimators as data, which are loaded without executing code.

A model file has the format of safetensors: arrays, and a JSON text in its header. The text holds
the parameters and the fitted state; functions and classes are stored by name.
"""

import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .._utils.quoting import quoted
from .._utils.version import __version__
from ..tables.plain_files import INVALID, read_plain_file, write_plain_file
from ..tables.plain_values import PlainReader, PlainWriter
from . import plain_state
from .imputer_base import BaseImputer
from .outlier_detector import VAEOutlierDetector
from .plain_state import FORMAT, FUNCTIONS, newer_format
from .saving import Saveable
from .stored_types import SAVEABLE

#: Classes of objects in a file, by their name in the file. Names never change.
CLASSES: dict[str, type] = plain_state.CLASSES | {cls.__name__: cls for cls in SAVEABLE}

_KIND = "skmissvae"  # of plain files


def save_model(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to a model file; see ``Saveable.save``."""
    writer = PlainWriter(CLASSES, FUNCTIONS, state_of=_attributes)
    content = {
        "format": FORMAT,
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn")},
        "version": __version__,
        "estimator": writer.write(estimator, type(estimator).__name__),
        "custom": sorted(writer.custom),
    }
    write_plain_file(path, _KIND, content, writer.arrays)


def _attributes(value: Any) -> dict[str, Any]:
    """Return the state of an object in a file: of estimators the attributes, without callbacks."""
    if not isinstance(value, Saveable):
        return value.__getstate__() or {}
    state = Saveable.__getstate__(value)
    return {name: item for name, item in state.items() if name != "_skl_callbacks"}


def load(path: str | os.PathLike[str], custom: Mapping[str, Any] | None = None) -> Any:
    """Load an estimator from a model file that its ``save`` wrote.

    The file holds data only: loading executes no code of the file and imports no module. Its
    SHA-256, sizes and shapes are checked first, so that a damaged file is refused. Then the
    estimator completes a row that it samples; a file whose fitted attributes do not fit together is
    refused.

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
    reader = PlainReader(CLASSES, FUNCTIONS, arrays, custom or {})
    try:
        estimator = reader.read(content["estimator"])
        _complete_a_row(estimator)
    except (MemoryError, torch.OutOfMemoryError, Warning):
        raise
    except Exception as error:  # the libraries raise errors of many classes
        if isinstance(error, RuntimeError) and "allocate memory" in str(error):  # torch on the CPU
            raise
        raise ValueError(_not_valid(path, str(error), content["custom"])) from error
    return estimator


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the parsed text and the arrays of a file, after a check of its SHA-256."""
    try:
        content, arrays = read_plain_file(path, _KIND)
        file_format, file_version = int(content["format"]), content["version"]
    except INVALID as error:
        raise ValueError(_not_valid(path, str(error))) from error
    if file_format > FORMAT:
        raise newer_format(f"The file {quoted(str(path))}", file_format, f"version {file_version}")
    return content, arrays


def _not_valid(path: str | os.PathLike[str], reason: str, custom: Sequence[str] = ()) -> str:
    parts = f", or a part of custom= does not fit ({', '.join(custom)[:50]})" if custom else ""
    return (
        f"{quoted(str(path))} is not a model file of skmissvae, or it is damaged{parts} "
        f"({reason[:100]}); restore it from a copy, or save the estimator again. Files of pickle, "
        "joblib and skops are loaded by their own functions."
    )


def _complete_a_row(estimator: Any) -> None:
    """Raise an error if the fitted attributes of an estimator do not fit together.

    A row is sampled, scored and, by imputers, completed. Parameters are checked when they are used;
    here they have their defaults. Bootstrap models and calibration are not tried.
    """
    if not isinstance(estimator, Saveable):
        raise TypeError("it holds no estimator")
    fitted: Any = estimator
    if isinstance(estimator, VAEOutlierDetector) and hasattr(estimator, "estimator_"):
        float(estimator.offset_)
        fitted = estimator.estimator_
    if not hasattr(fitted, "model_"):
        return
    if fitted.n_features_in_ != len(fitted.schema_.names):
        raise ValueError("the number of columns differs from that of the schema")
    options = {"n_importance_draws": 1, "sampler": "importance", "device": "cpu"}
    trial = type(fitted)(**options, random_state=0)
    names = trial.get_params()
    vars(trial).update({name: v for name, v in vars(fitted).items() if name not in names})
    row = trial.sample()
    trial._log_evidence(trial.encode_rows(row))
    if isinstance(trial, BaseImputer):
        task = trial._imputation_task(row, np.ones((1, trial.n_features_in_), bool))
        block = task.whole()
        task.table([task.numbers(block, np.zeros((len(block.incomplete), block.rows.x.shape[1])))])
