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
        if "_metadata_request" in state:  # plain values in place of a class of scikit-learn
            by_method = vars(state.pop("_metadata_request")).items()
            requests = {name: dict(getattr(part, "requests", {})) for name, part in by_method}
            state["_requests"] = {name: request for name, request in requests.items() if request}
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
        requests = state.pop("_requests", None)
        super().__setstate__(state)  # type: ignore[misc]
        if requests is not None:
            self._metadata_request = self.get_metadata_routing()  # type: ignore[attr-defined]
            for name, request in requests.items():
                for param, alias in request.items():
                    part = getattr(self._metadata_request, name)
                    part.add_request(param=param, alias=alias)


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
