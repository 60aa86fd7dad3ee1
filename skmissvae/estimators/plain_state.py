"""Fitted attributes as data: the same form in model files and in files of pickle, joblib, skops.

The form holds a JSON text, arrays, and objects that have no such form: custom functions and classes
and, outside model files, labels and attributes of other packages.
"""

import json
from typing import Any

import numpy as np
from sklearn.impute import MissingIndicator

from .. import vae
from .._utils.version import __version__
from ..inference.calibration import Calibration
from ..inference.decoder_uncertainty import DecoderUncertainty
from ..inference.samplers import SAMPLERS
from ..tables.codecs import Categories, Dates, Numbers, Unsupported
from ..tables.input_table import InputTable
from ..tables.plain_files import INVALID
from ..tables.plain_values import PlainReader, PlainWriter
from ..tables.schema import ColumnSchema, TableSchema
from ..tables.suspect_cells import Suspicion
from ..training.fit import FittedModel
from ..training.optim import AdamW, EarlyStopping, TrainingSettings
from ..training.spec import ModelSpec
from ..vae.networks.options import ConvNetwork, CustomNetwork, ResidualNetwork

FORMAT = 1  # that this version writes; it reads this one and older ones

#: Classes of fitted attributes and parameters, by the name in the text. Names never change.
CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        *(TableSchema, ColumnSchema, Suspicion, Numbers, Categories, Dates, Unsupported),
        *(FittedModel, ModelSpec, TrainingSettings, AdamW, EarlyStopping, MissingIndicator),
        *(Calibration, DecoderUncertainty, ResidualNetwork, ConvNetwork, CustomNetwork),
        *map(type, SAMPLERS.values()),
    )
}

#: Functions and classes that are stored by name: parts of models of this package.
FUNCTIONS: dict[str, type] = {
    name: part
    for name, part in vars(vae).items()
    if isinstance(part, type) and issubclass(part, vae.Prior | vae.Family | vae.Likelihood)
}


def to_plain_state(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as a JSON text, arrays and objects that have no such form."""
    writer = PlainWriter(CLASSES, FUNCTIONS, keeps_others=True)
    text = json.dumps(writer.write(attributes, "fitted"))
    return {"format": FORMAT, "text": text, "arrays": writer.arrays, "custom": writer.custom}


def from_plain_state(state: dict[str, Any], owner: str) -> dict[str, Any]:
    """Return the attributes that ``to_plain_state`` converted, of an estimator of class ``owner``.

    Raises
    ------
    ValueError
        If the state is damaged or has a newer format.
    """
    try:
        file_format = int(state["format"])
        if file_format <= FORMAT:
            arrays = {name: np.asarray(array) for name, array in state["arrays"].items()}
            reader = PlainReader(CLASSES, FUNCTIONS, arrays, state["custom"])
            attributes = dict(reader.read(json.loads(state["text"])))
            if "_template" in attributes:
                attributes["_template"] = InputTable.from_plain(attributes["_template"])
            return attributes
    except INVALID as error:
        raise ValueError(
            f"The stored {owner} is damaged ({str(error)[:100]}); restore its file from a copy, or "
            "save the estimator again."
        ) from error
    raise newer_format(f"The stored {owner}", file_format, "a newer version")


def newer_format(what: str, file_format: int, writer: str) -> ValueError:
    """Return the error for a format that this version cannot read."""
    return ValueError(
        f"{what} has the format {file_format} of {writer}; this version, {__version__}, reads "
        f"formats up to {FORMAT}. Install a newer version of skmissvae."
    )
