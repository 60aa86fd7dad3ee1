"""The training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from .._utils.random import StreamNoise
from ..vae.vae import VAE
from .loaders import BatchLoader, InMemoryLoader
from .objectives import Batch, Objective
from .optim import FlatParameters, Optimizer, TrainingSettings

_PER_THREAD = 12_000_000  # multiplications of a product that keep a thread busy


class TrainingResult(NamedTuple):
    """What training leaves beside the weights."""

    history: dict[str, list[float]]  # a list per quantity, an entry per epoch
    best: float  # validation bound of the weights that were kept; NaN without held-out rows
    optimizer: dict[str, Any]
    stopped: bool  # by Ctrl-C or a callback, before the epochs were over
    interrupted: bool  # by Ctrl-C


def train(
    vae: VAE,
    objective: Objective,
    rows: Batch | BatchLoader,
    settings: TrainingSettings,
    generator: torch.Generator,
    *,
    held_out: Batch | None = None,
    frozen: Sequence[nn.Module] = (),
    optimizer_state: dict[str, Any] | None = None,
    epoch: Callable[[], AbstractContextManager[None]] = nullcontext,
    begin_epoch: Callable[[], None] = lambda: None,
    end_epoch: Callable[[dict[str, list[float]]], bool] = lambda history: False,
) -> TrainingResult:
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
    rows : Batch or BatchLoader
        The training table.
    settings : TrainingSettings
        How to train.
    generator : torch.Generator
        Source of the batches' order and of the draws, on the same device.
    held_out : Batch, optional
        Rows whose bound decides when to stop and which epoch's weights are kept.
    frozen : sequence of nn.Module
        Parts of the model that stay as they are, in evaluation mode.
    optimizer_state : dict, optional
        ``TrainingResult.optimizer`` of earlier training to go on from.
    epoch : callable
        Returns a context in which an epoch is trained, such as one in which torch's global
        generators, from which dropout draws, are those of this training.
    begin_epoch : callable
        Called before each epoch.
    end_epoch : callable
        Called after each epoch with the history so far; returns whether to stop.

    Returns
    -------
    TrainingResult
        History, validation bound and the optimizer's state.

    Raises
    ------
    DivergenceError
        If the loss stays non-finite.
    """
    still = {p for module in frozen for p in module.parameters() if p.requires_grad}
    rows = InMemoryLoader(rows) if isinstance(rows, Batch) else rows
    flat = FlatParameters(p for p in vae.parameters() if p.requires_grad and p not in still)
    descent = Optimizer(flat, settings, rows.n_batches(settings.batch_size), optimizer_state)
    noise = StreamNoise(generator, dtype=rows.dtype)
    validation_seed = seed_from(generator)
    history: dict[str, list[float]] = {"bound": [], "learning_rate": [], "seconds": []}
    patience, best_weights = EarlyStoppingMonitor(settings), None
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
                    for batch in InMemoryLoader(held_out).batches(settings.batch_size, generator):
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
    return TrainingResult(history, best, descent.optimizer.state, stopped, interrupted)


def n_useful_threads(vae: VAE, objective: Objective, batch_size: int) -> int:
    """Return how many threads the matrix products of a step keep busy.

    Threads that have little to do wait for one another: small networks train faster with one, and
    many times so where other processes want the processor, too.
    """
    shapes = [weight.shape for weight in vae.parameters()]
    if any(len(shape) > 2 for shape in shapes):
        return torch.get_num_threads()  # a weight of a convolution serves many pixels
    largest = max((shape.numel() for shape in shapes if len(shape) == 2), default=0)
    return max(1, batch_size * objective.draws_per_row(vae) * largest // _PER_THREAD)


class EarlyStoppingMonitor:
    """Waits for a better score of held-out rows.

    Parameters
    ----------
    settings : TrainingSettings
        How much better, and for how long.
    """

    def __init__(self, settings: TrainingSettings) -> None:
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
