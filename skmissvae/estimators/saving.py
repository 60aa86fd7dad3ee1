"""How estimators are saved: model files, and the state that pickle, joblib and skops store."""

import os

from .._utils.version import VersionedState


class Saveable(VersionedState):
    """Adds ``save`` to an estimator, and the version to its stored state."""

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
