"""The state of training between two epochs, which a checkpoint stores."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._utils.runtime import convert
from .._utils.validation import check_form
from ..vae.vae import VAE
from .objectives import Objective
from .optim import EarlyStopping, EarlyStoppingMonitor, Optimizer

History = dict[str, list[float]]


class TrainingState:
    """What an epoch of training changes, except for the generators of noise.

    Parameters
    ----------
    vae : VAE
        The model, which is trained in place.
    objective : Objective
        What is maximized.
    optimizer : Optimizer
        The optimizer of the model.
    early_stopping : EarlyStopping or None
        When to stop.

    Attributes
    ----------
    history : dict of str to list of float
        A list per quantity with an entry per epoch.
    monitor : EarlyStoppingMonitor
        Follows the bound of held-out rows.
    best_weights : dict or None
        Weights of the best epoch by held-out rows.
    """

    def __init__(
        self,
        vae: VAE,
        objective: Objective,
        optimizer: Optimizer,
        early_stopping: EarlyStopping | None,
    ) -> None:
        self._vae, self._objective, self._optimizer = vae, objective, optimizer
        self.history: History = {"bound": [], "learning_rate": [], "seconds": []}
        self.monitor = EarlyStoppingMonitor(early_stopping)
        self.best_weights: dict[str, Tensor] | None = None

    @property
    def n_epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.history["bound"])

    def values(self) -> dict[str, Any]:
        """Return plain values for ``restore``; arrays may share memory with the state."""
        return {
            "weights": to_arrays(dict(self._vae.state_dict())),
            "best_weights": to_arrays(self.best_weights),
            "optimizer": to_arrays(self._optimizer.state),
            "counters": vars(self._optimizer.counters).copy(),
            "monitor": self.monitor.values(),
            "history": self.history,
            "objective": self._objective.state(),
        }

    def check(self, values: dict[str, Any]) -> None:
        """Raise ValueError if values are not those of a state of this model."""
        own, weights = self.values(), values["best_weights"]
        own |= {"history": values["history"], "best_weights": weights}
        check_form(values, own, "a state of another model")
        check_history(values["history"])
        if weights is not None:
            check_form(weights, own["weights"], "weights of another model")

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from what ``values`` returned, after ``check``."""
        self._vae.load_state_dict(to_tensors(values["weights"]))
        self.best_weights = to_tensors(values["best_weights"])
        self._optimizer.restore(to_tensors(values["optimizer"]), values["counters"])
        self.monitor.restore(values["monitor"])
        self.history.update(values["history"])
        self._objective.restore(values["objective"])

    def buffers(self) -> dict[str, Any]:
        """Return the buffers of the model, in which processes that train it may differ."""
        return to_arrays(dict(self._vae.named_buffers()))

    @torch.no_grad()
    def restore_buffers(self, values: dict[str, Any]) -> None:
        """Set the buffers to what ``buffers`` returned."""
        for name, buffer in self._vae.named_buffers():
            buffer.copy_(torch.tensor(values[name]))


def check_history(history: History) -> None:
    """Raise ValueError if a history is not one list of numbers per quantity."""
    quantities = list(history.values())
    if not all(isinstance(values, list) for values in quantities):
        raise ValueError("a history of other values than lists")
    is_number = (isinstance(value, (int, float)) for values in quantities for value in values)
    if len(set(map(len, quantities))) > 1 or not all(is_number):
        raise ValueError("a history of lists that differ in length or hold other values")


def to_arrays(values: Any) -> Any:
    """Return nested values with arrays in place of tensors."""
    return convert(values, Tensor, lambda tensor: tensor.cpu().numpy())


def to_tensors(values: Any) -> Any:
    """Return nested values with tensors in place of arrays, which may be views of a file."""
    return convert(values, np.ndarray, torch.tensor)
