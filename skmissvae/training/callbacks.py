"""Epochs of a fit: scikit-learn's callbacks (1.9 and later), and shown progress."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._utils.compat import CallbackSupportMixin as CallbackSupportMixin
from .._utils.compat import with_callbacks as with_callbacks
from .._utils.progress import SILENT_TASK, Task
from .._utils.runtime import convert
from ..vae.vae import VAE
from .objectives import Objective
from .state import History

if TYPE_CHECKING:
    from .fit import FittedModel
    from .methods import Stage


class FitProgress:
    """Reports the epochs of a fit to the callbacks of its estimator, and to the user.

    Parameters
    ----------
    estimator : estimator or None
        The estimator with the callbacks; None has none.
    n_epochs : int
        Maximum number of epochs, over all stages.
    X, y : array-like
        Arguments of ``fit``.
    task : Task
        Shows the epochs.
    sample_weight : array-like, optional
        Argument of ``fit``.
    """

    def __init__(
        self,
        estimator: Any = None,
        n_epochs: int = 0,
        X: object = None,
        y: object = None,
        task: Task = SILENT_TASK,
        sample_weight: object = None,
    ) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._arguments = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._fit_context: Any = None
        self._task, self._n_done = task, 0
        begin_fit = getattr(estimator, "_init_callback_context", None)
        if begin_fit is not None:
            self._fit_context = begin_fit(max_subtasks=n_epochs)
            self._fit_context.call_on_fit_task_begin(**self._arguments)

    def begin_stage(self, stage: Stage, model: FittedModel, vae: VAE, objective: Objective) -> None:
        """Begin a stage of the fit, which trains ``vae`` in place."""
        self._stage, self._model, self._vae, self._objective = stage, model, vae, objective

    def skip(self, n_epochs: int) -> None:
        """Count epochs of an earlier process that the fit continues."""
        if n_epochs:
            self._n_done += n_epochs
            self._task.advance(n_epochs)

    def begin_epoch(self) -> None:
        """Report the begin of an epoch."""
        if self._fit_context is not None:
            self._epoch_context = self._fit_context.subcontext(task_name="epoch")
            self._epoch_context.call_on_fit_task_begin(**self._arguments)

    def end_epoch(self, history: History) -> bool:
        """Report the end of an epoch; return whether a callback requests to stop."""
        self._n_done += 1
        self._task.advance(detail=lambda: _last_values(history))
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


def _last_values(history: History) -> dict[str, float]:
    """Return the quantities of the last epoch."""
    return {name: values[-1] for name, values in history.items()}
