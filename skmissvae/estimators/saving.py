"""How estimators are saved: model files, and the state that pickle, joblib and skops store."""

import os
import warnings
from typing import Any

from .._utils.runtime import user_stacklevel
from .._utils.version import InconsistentVersionWarning, __version__
from ..tables.input_table import InputTable
from .plain_state import from_plain_state


class StoredState:
    """Makes the state that pickle, joblib and skops store: with the version, and plain values."""

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        state = {**state, "_skmissvae_version": __version__}
        if "_template" in state:
            state["_template"] = state["_template"].to_plain()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state, owner = dict(state), type(self).__name__
        saved = state.pop("_skmissvae_version", "an unknown version")
        if saved != __version__:
            warning = InconsistentVersionWarning(owner, saved)
            warnings.warn(warning, stacklevel=user_stacklevel())
        if "_attributes" in state:
            state |= from_plain_state(state.pop("_attributes"), owner)
        elif "_template" in state:
            state["_template"] = InputTable.from_plain(state["_template"])
        super().__setstate__(state)  # type: ignore[misc]


class Saveable(StoredState):
    """Adds ``save`` to an estimator."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to a model file, which ``skmissvae.load`` reads.

        The file holds data only, in the format safetensors: arrays, and parameters and fitted
        state as JSON. Custom functions and classes are stored by name; ``load`` needs them.
        Callbacks are not stored. A file at the path is replaced when the new one is complete, so
        that an error, a full disk or the end of the process leaves it as it is.

        Parameters
        ----------
        path : str or path-like
            The file.

        Raises
        ------
        TypeError
            If a parameter or a label of the table is of a class that the format does not have.
        OSError
            If the file cannot be written.
        """
        from .model_files import save_model  # which imports the estimators

        save_model(self, path)
