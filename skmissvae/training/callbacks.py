"""Progress of a fit: scikit-learn's callbacks (1.9 and later), and messages to the log."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._utils.compat import CallbackSupportMixin as CallbackSupportMixin
from .._utils.compat import with_callbacks as with_callbacks
from .._utils.runtime import convert, log_progress
from ..vae.vae import VAE
from .loop import History
from .objectives import Objective

if TYPE_CHECKING:
    from .fit import FittedModel
    from .methods import Stage

_N_MESSAGES = 10  # of a fit with verbose=1


class FitProgress:
    """Reports the epochs of a fit to the callbacks of its estimator and to the log.

    Parameters
    ----------
    estimator : estimator or None
        The estimator that is fitted; None does not report.
    n_epochs : int
        Maximum number of epochs, over all stages.
    X, y : array-like
        Arguments of ``fit``.
    verbose : int
        1 for about ten messages a fit, 2 for one an epoch.
    """

    def __init__(
        self, estimator: Any, n_epochs: int, X: object, y: object, verbose: int = 0
    ) -> None:
        self._arguments = {"estimator": estimator, "X": X, "y": y}
        self._name, self._verbose = type(estimator).__name__, verbose
        self._fit_context: Any = None
        self._n_epochs, self._n_done = n_epochs, 0
        begin_fit = getattr(estimator, "_init_callback_context", None)
        if begin_fit is not None:
            self._fit_context = begin_fit(max_subtasks=n_epochs)
            self._fit_context.call_on_fit_task_begin(**self._arguments)

    def begin_stage(self, stage: Stage, model: FittedModel, vae: VAE, objective: Objective) -> None:
        """Begin a stage of the fit, which trains ``vae`` in place."""
        self._stage, self._model, self._vae, self._objective = stage, model, vae, objective

    def begin_epoch(self) -> None:
        """Report the begin of an epoch."""
        if self._fit_context is not None:
            self._epoch_context = self._fit_context.subcontext(task_name="epoch")
            self._epoch_context.call_on_fit_task_begin(**self._arguments)

    def end_epoch(self, history: History) -> bool:
        """Report the end of an epoch; return whether a callback requests to stop."""
        self._n_done += 1
        interval = 1 if self._verbose > 1 else max(1, self._n_epochs // _N_MESSAGES)
        if self._verbose and self._n_done % interval == 0:
            values = ", ".join(f"{name} {values[-1]:.4g}" for name, values in history.items())
            message = "%s, epoch %d of %d: %s"
            log_progress(message, self._name, self._n_done, self._n_epochs, values)
        if self._fit_context is None:
            return False
        stop = self._epoch_context.call_on_fit_task_end(
            **self._arguments, reconstruction_attributes=self._fitted_attributes
        )
        return bool(stop)

    def close(self) -> None:
        """Report the end of the fit."""
        if self._fit_context is not None:
            self._fit_context.call_on_fit_task_end(**self._arguments)

    def _fitted_attributes(self) -> dict[str, Any]:
        """Return the attributes of an estimator that is fitted up to this epoch."""
        vae = copy.deepcopy(self._vae).cpu().eval()
        updates = self._stage.updates(vae, self._objective, self._model)
        # training changes stored imputations in place
        updates = convert(updates, np.ndarray, np.ndarray.copy)
        model = self._model.replace(
            **updates, n_iter=self._n_done, history={}, validation_score=math.nan
        )
        return {"model_": model}
