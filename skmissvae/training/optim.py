"""The optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

_BETAS, _EPS = (0.9, 0.999), 1e-8


class AdamW:
    """Adam with decoupled weight decay (Kingma and Ba 2015, Loshchilov and Hutter 2019).

    It is torch's, without its class, whose first use in a process imports torch's compiler: that
    takes seconds, when a small table takes few.

    Parameters
    ----------
    weights : sequence of Tensor
        What is learned, in place.
    weight_decay : float
        Rate at which weights fall, in units of the learning rate.
    state : dict, optional
        ``state`` of an optimizer of such weights, to go on from.
    """

    def __init__(
        self, weights: Sequence[Tensor], weight_decay: float, state: dict[str, Any] | None = None
    ) -> None:
        self.weights, self.weight_decay = list(weights), weight_decay
        #: A list per quantity, an entry per weight: steps taken, and moments of the gradients.
        self.state: dict[str, list[Tensor]] = {
            # of single precision, whatever the weights are: kernels of GPUs expect it
            "n_steps": [torch.zeros((), dtype=torch.float32, device=w.device) for w in weights],
            "means": [torch.zeros_like(weight) for weight in weights],
            "squares": [torch.zeros_like(weight) for weight in weights],
        }
        if state is not None:
            for name, moments in self.state.items():
                for moment, known in zip(moments, state[name], strict=True):
                    moment.copy_(known)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float, lost: Tensor) -> None:
        """Take a step, unless it is lost.

        Parameters
        ----------
        gradients : sequence of Tensor
            Those of the weights.
        rate : float
            Learning rate.
        lost : Tensor of shape () or (n_models,)
            True where gradients are not to be trusted: all stays as it is, without anybody waiting
            for the device to tell. Where weights are those of several models, along their first
            axis, one that has lost its step goes on by its moments.
        """
        if lost.dim():
            for gradient in gradients:
                gradient.masked_fill_(lost.unsqueeze(-1), 0.0)
            lost = lost.all()
        adamw(
            self.weights,
            list(gradients),
            self.state["means"],
            self.state["squares"],
            [],
            self.state["n_steps"],
            fused=True,
            found_inf=lost.float(),
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=rate,
            weight_decay=self.weight_decay,
            eps=_EPS,
            maximize=False,
        )


def clip(gradients: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale gradients to a norm of ``max_norm`` at most, in place; return the norm they had.

    (n_weights,) -> (), or of several models (n_models, n_weights) -> (n_models,).
    """
    norms = torch.stack([torch.linalg.vector_norm(gradient, dim=-1) for gradient in gradients])
    norm = torch.linalg.vector_norm(norms, dim=0)
    factor = (max_norm / norm).clamp_max(1).unsqueeze(-1)
    for gradient in gradients:
        gradient.mul_(factor)
    return norm


Schedule = Literal["cosine", "constant"]


_WARM_UP = 0.02  # share of the steps in which the rate of a cosine schedule rises


_PATIENCE = 3  # epochs without a single finite step before giving up


class DivergenceError(ArithmeticError):
    """The loss was not finite in several epochs, though the rate was halved each time."""


class TrainingSettings(NamedTuple):
    """How to train; the names are those of the estimators' parameters."""

    max_iter: int
    batch_size: int
    learning_rate: float
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    max_grad_norm: float = math.inf
    n_iter_no_change: int = 10
    tol: float = 0.0


class FlatParameters:
    """Weights, and their gradients, side by side in one tensor per type.

    One norm, one step of the optimizer and one reset serve them all, where small networks would
    spend as much time on calls as on numbers.

    Parameters
    ----------
    weights : iterable of Parameter
        They are views of the whole until ``release``.
    n_models : int, optional
        Models whose weights are stacked, on the first axis of each, and of the whole; None is one
        without that axis, whose gradients are views, too.
    """

    def __init__(self, weights: Iterable[nn.Parameter], n_models: int | None = None) -> None:
        self._parts = list(weights)
        if not self._parts:
            raise ValueError(
                "There is nothing to learn: no part of the model that is trained has a weight."
            )
        #: Shape of what there is one of for each model.
        self.models = torch.Size([] if n_models is None else [n_models])
        alike: dict[torch.dtype, list[nn.Parameter]] = {}
        for weight in self._parts:
            alike.setdefault(weight.dtype, []).append(weight)
        self._groups = list(alike.values())
        self.weights = [
            torch.cat([weight.detach().reshape(*self.models, -1) for weight in group], -1)
            for group in self._groups
        ]
        self.gradients = [torch.zeros_like(whole) for whole in self.weights]
        for whole, slope, group in zip(self.weights, self.gradients, self._groups, strict=True):
            sizes = [weight.numel() // self.models.numel() for weight in group]
            pieces = zip(whole.split(sizes, -1), slope.split(sizes, -1), strict=True)
            for weight, (value, grad) in zip(group, pieces, strict=True):
                weight.data = value.view(weight.shape)
                if n_models is None:
                    weight.grad = grad.view(weight.shape)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for gradient in self.gradients:
            gradient.zero_()

    def take_grad(self, loss: Tensor) -> None:
        """Take the gradients of a loss, where they are no views."""
        found = torch.autograd.grad(loss, self._parts, materialize_grads=True)
        by_weight = dict(zip(self._parts, found, strict=True))
        for whole, group in zip(self.gradients, self._groups, strict=True):
            pieces = [by_weight[weight].reshape(*self.models, -1) for weight in group]
            torch.cat(pieces, -1, out=whole)

    def release(self) -> None:
        """Give every weight memory of its own."""
        for weight in self._parts:
            weight.data, weight.grad = weight.data.clone(), None


class Optimizer:
    """Steps of the optimizer, without those whose gradient is not finite.

    Parameters
    ----------
    flat : FlatParameters
        What is learned; of several models at once, too, each of which loses its own steps.
    settings : TrainingSettings
        How to train.
    n_batches : int
        Steps of an epoch.
    optimizer_state : dict, optional
        State of an optimizer to go on from.
    """

    def __init__(
        self,
        flat: FlatParameters,
        settings: TrainingSettings,
        n_batches: int,
        optimizer_state: dict[str, Any] | None = None,
    ) -> None:
        self._flat, self._settings, self._n_batches = flat, settings, n_batches
        self.optimizer = AdamW(flat.weights, settings.weight_decay, optimizer_state)
        self._n_steps = n_batches * settings.max_iter
        self._step, self._factor = 0, 1.0
        self._lost_epochs = [0] * flat.models.numel()  # in a row, of each model
        self.rate = settings.learning_rate
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        device, models = self._flat.weights[0].device, self._flat.models
        self._total = torch.zeros(models, dtype=torch.float64, device=device)
        self._n_lost = torch.zeros(models, device=device)

    def step(self, loss: Tensor) -> None:
        """Follow the gradients of a loss, () or one per model, if they are finite."""
        settings, gradients = self._settings, self._flat.gradients
        pace = _pace(settings.schedule, self._step, self._n_steps)
        self.rate = self._factor * settings.learning_rate * pace
        norm = clip(gradients, settings.max_grad_norm)
        lost = ~(norm.isfinite() & loss.isfinite())
        self.optimizer.step(gradients, self.rate, lost)
        self._n_lost += lost
        self._total -= torch.where(lost, 0.0, loss.double())
        self._step += 1

    def end_epoch(
        self,
        mean: Callable[[Tensor], Tensor] = lambda total: total,
        going: Sequence[bool] = (True,),
    ) -> list[float]:
        """Return the mean bound of the epoch, one per model, and halve the rate if a step was lost.

        ``mean`` takes it over all who train; ``going`` tells which models still count. Raises
        DivergenceError where one of these has lost too many epochs.
        """
        told = torch.stack([mean(self._total), self._n_lost.double()])
        bounds, lost = told.view(2, -1).tolist()  # waits for the device
        self._begin_epoch()
        if any(n for n, goes in zip(lost, going, strict=True) if goes):
            self._factor *= 0.5
        self._lost_epochs = [
            n_epochs + 1 if goes and n == self._n_batches else 0
            for n_epochs, n, goes in zip(self._lost_epochs, lost, going, strict=True)
        ]
        n_epochs = max(self._lost_epochs)
        if n_epochs == _PATIENCE or (n_epochs and self._step == self._n_steps):
            raise DivergenceError
        return [bound / max(self._n_batches - n, 1) for bound, n in zip(bounds, lost, strict=True)]


def _pace(schedule: Schedule, step: int, n_steps: int) -> float:
    """Return the factor of the learning rate at a step."""
    if schedule == "constant":
        return 1.0
    warm = max(1, round(_WARM_UP * n_steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))
