"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ._adam import AdamW, clip
from .model import VAE
from .noise import StreamNoise
from .objectives import Batch, Objective

Schedule = Literal["cosine", "constant"]

_WARM_UP = 0.02  # share of the steps in which the rate of a cosine schedule rises
_PER_THREAD = 12_000_000  # multiplications of a product that keep a thread busy
_PATIENCE = 3  # epochs without a single finite step before giving up


class DivergenceError(ArithmeticError):
    """The loss was not finite in several epochs, though the rate was halved each time."""


class Settings(NamedTuple):
    """How to train; the names are those of the estimators' parameters."""

    max_iter: int
    batch_size: int
    learning_rate: float
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    max_grad_norm: float = math.inf
    n_iter_no_change: int = 10
    tol: float = 0.0


class Stream(ABC):
    """Training rows, wherever they are, and who else trains on others."""

    n_rows: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    alone: bool = True  # whether no other process trains the same model

    @abstractmethod
    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield all rows once, in random order, ``batch_size`` at a time."""

    # what processes that train together have to agree on

    def share(self, weights: Sequence[Tensor]) -> None:  # noqa: B027 - a hook
        """Give all who train the same weights, in place."""

    def n_batches(self, batch_size: int) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(self.n_rows / batch_size)

    def average(self, loss: Tensor, gradients: Sequence[Tensor]) -> None:  # noqa: B027 - a hook
        """Make gradients the mean over all who train, in place."""

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over all who train."""
        return value

    def agree(self, value: Any) -> Any:
        """Return what all who train go by."""
        return value

    def seed(self, seed: int) -> int:
        """Return the seed of this process."""
        return seed


class Whole(Stream):
    """Training rows in memory, on their device.

    Parameters
    ----------
    rows : Batch
        The table.
    """

    def __init__(self, rows: Batch) -> None:
        self._rows, self.n_rows = rows, rows.x.shape[0]
        self.device, self.dtype = rows.x.device, rows.x.dtype

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield the rows without leaving the device."""
        order = torch.randperm(self.n_rows, generator=generator, device=self.device)
        for index in order.split(batch_size):
            yield Batch(*(piece[index] for piece in self._rows))


class State(NamedTuple):
    """What training leaves beside the weights."""

    history: dict[str, list[float]]  # a list per quantity, an entry per epoch
    best: float  # validation bound of the weights that were kept; NaN without held-out rows
    optimizer: dict[str, Any]
    stopped: bool  # by Ctrl-C or a callback, before the epochs were over
    interrupted: bool  # by Ctrl-C


def train(
    vae: VAE,
    objective: Objective,
    rows: Batch | Stream,
    settings: Settings,
    generator: torch.Generator,
    *,
    held_out: Batch | None = None,
    frozen: Sequence[nn.Module] = (),
    optimizer_state: dict[str, Any] | None = None,
    epoch: Callable[[], AbstractContextManager[None]] = nullcontext,
    begin_epoch: Callable[[], None] = lambda: None,
    end_epoch: Callable[[dict[str, list[float]]], bool] = lambda history: False,
) -> State:
    """Fit a VAE to rows with holes, in place.

    A step whose gradient is not finite never reaches the weights: the optimizer skips it on the
    device, and the rate is halved at the end of the epoch. Ctrl-C ends training as if the epochs
    were over: the best weights so far are kept.

    Parameters
    ----------
    vae : VAE
        The model, on the device of the rows.
    objective : Objective
        What to maximise.
    rows : Batch or Stream
        The training table.
    settings : Settings
        How to train.
    generator : torch.Generator
        Source of the batches' order and of the draws, on the same device.
    held_out : Batch, optional
        Rows whose bound decides when to stop and which epoch's weights are kept.
    frozen : sequence of nn.Module
        Parts of the model that stay as they are, in evaluation mode.
    optimizer_state : dict, optional
        ``State.optimizer`` of earlier training to go on from.
    epoch : callable
        Returns a context in which an epoch is trained, such as one in which torch's global
        generators, from which dropout draws, are those of this training.
    begin_epoch : callable
        Called before each epoch.
    end_epoch : callable
        Called after each epoch with the history so far; returns whether to stop.

    Returns
    -------
    State
        History, validation bound and the optimizer's state.

    Raises
    ------
    DivergenceError
        If the loss stays non-finite.
    """
    still = {p for module in frozen for p in module.parameters() if p.requires_grad}
    rows = Whole(rows) if isinstance(rows, Batch) else rows
    flat = Flat(p for p in vae.parameters() if p.requires_grad and p not in still)
    descent = Descent(flat, settings, rows.n_batches(settings.batch_size), optimizer_state)
    noise = StreamNoise(generator, dtype=rows.dtype)
    validation_seed = seed_from(generator)
    history: dict[str, list[float]] = {"bound": [], "learning_rate": [], "seconds": []}
    patience, best_weights = Patience(settings), None
    start, stopped, interrupted = time.perf_counter(), False, False

    for weight in still:
        weight.requires_grad_(False)
    try:
        rows.share([*flat.weights, *vae.buffers()])
        for _ in range(settings.max_iter):
            begin_epoch()
            with epoch():
                vae.train()
                for module in frozen:
                    module.eval()
                for batch in rows.batches(settings.batch_size, generator):
                    flat.zero_grad()
                    loss = objective.backward(vae, batch, noise)
                    rows.average(loss, flat.gradients)
                    descent.step(loss)
                history["bound"] += descent.end_epoch(rows.mean)
                history["learning_rate"].append(descent.rate)
                history["seconds"].append(time.perf_counter() - start)

                if held_out is not None:
                    score = evaluate(vae, objective, held_out, settings.batch_size, validation_seed)
                    score = rows.agree(score)
                    for batch in Whole(held_out).batches(settings.batch_size, generator):
                        objective.advance(vae, batch, noise)
                    history.setdefault("validation_bound", []).append(score)
                    if patience.improves(score):
                        best_weights = copy.deepcopy(vae.state_dict())
            stopped = rows.agree(end_epoch(history))
            if stopped or patience.over:
                break
    except KeyboardInterrupt:
        if not rows.alone:
            raise  # others are at another step
        stopped = interrupted = True
    finally:
        flat.release()
        for weight in still:
            weight.requires_grad_(True)
    if best_weights is not None:
        vae.load_state_dict(best_weights)
    rows.share([*vae.parameters(), *vae.buffers()])
    vae.eval()
    for values in history.values():  # an epoch that was cut short leaves no entry anywhere
        del values[min(map(len, history.values())) :]
    best = patience.best if held_out is not None else math.nan
    return State(history, best, descent.optimizer.state, stopped, interrupted)


def useful_threads(vae: VAE, objective: Objective, batch_size: int) -> int:
    """Return how many threads the matrix products of a step keep busy.

    Threads that have little to do wait for one another: small networks train faster with one, and
    many times so where other processes want the processor, too.
    """
    shapes = [weight.shape for weight in vae.parameters()]
    if any(len(shape) > 2 for shape in shapes):
        return torch.get_num_threads()  # a weight of a convolution serves many pixels
    largest = max((shape.numel() for shape in shapes if len(shape) == 2), default=0)
    return max(1, batch_size * objective.draws_per_row(vae) * largest // _PER_THREAD)


class Flat:
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


class Descent:
    """Steps of the optimizer, without those whose gradient is not finite.

    Parameters
    ----------
    flat : Flat
        What is learned; of several models at once, too, each of which loses its own steps.
    settings : Settings
        How to train.
    n_batches : int
        Steps of an epoch.
    optimizer_state : dict, optional
        State of an optimizer to go on from.
    """

    def __init__(
        self,
        flat: Flat,
        settings: Settings,
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


class Patience:
    """Waits for a better score of held-out rows.

    Parameters
    ----------
    settings : Settings
        How much better, and for how long.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.best = self._reference = -math.inf
        self._waited = 0

    @property
    def over(self) -> bool:
        """Whether there has been none for too long."""
        return self._waited >= self._settings.n_iter_no_change

    def improves(self, score: float) -> bool:
        """Take the score of an epoch, and tell whether it is the best so far."""
        if score > self._reference + self._settings.tol:
            self._waited, self._reference = 0, score
        else:
            self._waited += 1
        is_best = score > self.best
        self.best = score if is_best else self.best
        return is_best


def seed_from(generator: torch.Generator) -> int:
    """Draw a seed."""
    return int(torch.randint(2**31, (), generator=generator, device=generator.device))


@torch.no_grad()
def evaluate(vae: VAE, objective: Objective, rows: Batch, batch_size: int, seed: int) -> float:
    """Return the mean bound over rows, with the same noise at every call."""
    vae.eval()
    generator = torch.Generator(rows.x.device).manual_seed(seed)
    noise = StreamNoise(generator, dtype=rows.x.dtype)
    total = rows.x.new_zeros((), dtype=torch.float64)
    for pieces in zip(*(piece.split(batch_size) for piece in rows), strict=True):
        total += objective.bound(vae, Batch(*pieces), noise).double().sum()
    return float(total.item()) / rows.x.shape[0]


def _pace(schedule: Schedule, step: int, n_steps: int) -> float:
    """Return the factor of the learning rate at a step."""
    if schedule == "constant":
        return 1.0
    warm = max(1, round(_WARM_UP * n_steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))
