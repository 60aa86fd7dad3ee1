"""scikit-learn's callbacks, where the installed version has them (1.9 and later)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks as with_callbacks
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for scikit-learn's mixin: no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method as it is."""
        return method


class Epochs:
    """Tells the callbacks of an estimator when its fit and the epochs of it begin and end.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator being fitted.
    n_epochs : int
        Epochs at most.
    X, y : array-like
        What ``fit`` was given.
    """

    def __init__(self, estimator: Any, n_epochs: int, X: object, y: object) -> None:
        self._told = {"estimator": estimator, "X": X, "y": y}
        self._fit: Any = None
        self.n_epochs, self.n_done = n_epochs, 0
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(max_subtasks=n_epochs)
            self._fit.call_on_fit_task_begin(**self._told)

    def begin(self) -> None:
        """Begin an epoch."""
        if self._fit is not None:
            self._epoch = self._fit.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._told)

    def end(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """End an epoch; return whether a callback asks to stop.

        Parameters
        ----------
        fitted : callable
            Returns the attributes that make the estimator one that is fitted up to here.
        """
        self.n_done += 1
        if self._fit is None:
            return False
        stop = self._epoch.call_on_fit_task_end(**self._told, reconstruction_attributes=fitted)
        return bool(stop)

    def close(self) -> None:
        """End the fit."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._told)
