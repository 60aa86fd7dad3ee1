"""Several models trained at once, as one whose weights have an axis more.

A GPU takes as long to be told of a step of a small network as to do many times its work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from .._utils.random import Noise, StreamNoise
from .._utils.vmap_mode import batched
from ..vae.vae import VAE
from .loop import EarlyStoppingMonitor, TrainingResult, seed_from
from .objectives import Batch, BoundObjective
from .optim import FlatParameters, Optimizer, TrainingSettings


class Stack:
    """Models that are alike but for their numbers, side by side.

    Parameters
    ----------
    vaes : sequence of VAE
        Models G of one make and on one device, of modules that leave their buffers as they are. The
        first lends its modules.
    objective : BoundObjective
        What is computed of each.
    """

    def __init__(self, vaes: Sequence[VAE], objective: BoundObjective) -> None:
        self.vaes, self._module = vaes, _Bound(vaes[0], objective)
        each = [dict([*vae.named_parameters(), *vae.named_buffers()]) for vae in vaes]
        learned = {name for name, weight in vaes[0].named_parameters() if weight.requires_grad}
        #: What models do not share, (G, ...) each; of what all have alike one is enough.
        self.own: dict[str, Tensor] = {}
        for name, value in each[0].items():
            values = [named[name].detach() for named in each]
            if name in learned:
                self.own[name] = nn.Parameter(torch.stack(values))
            elif any(not torch.equal(value, other) for other in values[1:]):
                self.own[name] = torch.stack(values)

    @property
    def weights(self) -> list[nn.Parameter]:
        """What is learned."""
        return [weight for weight in self.own.values() if isinstance(weight, nn.Parameter)]

    def bound(self, rows: Batch, noise: Noise) -> Tensor:
        """Return the bound of each model's rows: (G, B, D) -> (G, B)."""

        def of_one(own: dict[str, Tensor], rows: Batch) -> Tensor:
            named = {f"vae.{name}": value for name, value in own.items()}
            bound: Tensor = functional_call(self._module, named, (rows, noise))
            return bound

        with batched():
            bounds: Tensor = vmap(of_one, randomness="different")(self.own, rows)
        return bounds

    def train(self, mode: bool = True) -> None:
        """Set modules to training or evaluation."""
        self._module.train(mode)

    @torch.no_grad()
    def unstack(self) -> None:
        """Give the models their weights, and set them to evaluation."""
        for g, vae in enumerate(self.vaes):
            weights = dict(vae.named_parameters())
            for name, value in self.own.items():
                if name in weights:
                    weights[name].copy_(value[g])
            vae.eval()


class _Bound(nn.Module):
    """The bound of rows as what a module returns, which functional calls want."""

    def __init__(self, vae: VAE, objective: BoundObjective) -> None:
        super().__init__()
        self.vae, self._objective = vae, objective

    def forward(self, rows: Batch, noise: Noise) -> Tensor:
        return self._objective.bound(self.vae, rows, noise)


def train_together(
    vaes: Sequence[VAE],
    objective: BoundObjective,
    rows: Batch,
    samples: Tensor,
    settings: TrainingSettings,
    generator: torch.Generator,
    *,
    held_out: Tensor | None = None,
    epoch: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[TrainingResult]:
    """Fit models, each to a sample of its own from the rows of a table, in place.

    Each step is one of all models. What is said of ``train`` holds for each, but that all go
    slower where one that still learns has lost a step, which moves it by its moments, and that
    Ctrl-C is an error.

    Parameters
    ----------
    vaes : sequence of VAE
        Models G as ``Stack`` takes them, on the device of the rows.
    objective : BoundObjective
        What to maximise.
    rows : Batch
        The table.
    samples : Tensor of shape (G, n)
        Places of the rows that each is trained on.
    settings : TrainingSettings
        How to train.
    generator : torch.Generator
        Source of the batches' order and of the draws, on the same device.
    held_out : Tensor of shape (G, n_held_out), optional
        Places of the rows by whose bound each model stops and keeps its best weights.
    epoch : callable
        Returns a context in which an epoch is trained.

    Returns
    -------
    list of State
        One per model; the state of the optimizer is not kept.

    Raises
    ------
    DivergenceError
        If the loss of a model stays non-finite.
    """
    stack, n_rows = Stack(vaes, objective), samples.shape[1]
    flat = FlatParameters(stack.weights, len(vaes))
    descent = Optimizer(flat, settings, math.ceil(n_rows / settings.batch_size))
    noise = StreamNoise(generator, dtype=rows.x.dtype)
    validation_seed = seed_from(generator)
    histories: list[dict[str, list[float]]] = [
        {"bound": [], "learning_rate": [], "seconds": []} for _ in vaes
    ]
    waits, best = (
        [EarlyStoppingMonitor(settings) for _ in vaes],
        [whole.clone() for whole in flat.weights],
    )
    start = time.perf_counter()

    try:
        for _ in range(settings.max_iter):
            with epoch():
                stack.train()
                for batch in _batches(rows, samples, settings.batch_size, generator):
                    losses = -stack.bound(batch, noise).mean(1)
                    flat.take_grad(losses.sum())
                    descent.step(losses.detach())
                bounds = descent.end_epoch(going=[not wait.over for wait in waits])
                seconds = time.perf_counter() - start
                if held_out is not None:
                    scores = _scores(stack, rows, held_out, settings.batch_size, validation_seed)
            for g, (history, wait) in enumerate(zip(histories, waits, strict=True)):
                if wait.over:
                    continue
                told = {"bound": bounds[g], "learning_rate": descent.rate, "seconds": seconds}
                if held_out is not None:
                    told["validation_bound"] = scores[g]
                    if wait.improves(scores[g]):
                        for kept, now in zip(best, flat.weights, strict=True):
                            kept[g] = now[g]
                for name, value in told.items():
                    history.setdefault(name, []).append(value)
            if all(wait.over for wait in waits):
                break
        for g, wait in enumerate(waits):
            if math.isfinite(wait.best):  # else the last weights are as good as any
                for kept, now in zip(best, flat.weights, strict=True):
                    now[g] = kept[g]
    finally:
        flat.release()
    stack.unstack()
    found = [math.nan if held_out is None else wait.best for wait in waits]
    pairs = zip(histories, found, strict=True)
    return [TrainingResult(history, score, {}, False, False) for history, score in pairs]


def _batches(
    rows: Batch, samples: Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """Yield each model's rows once, in an order of its own, ``batch_size`` at a time."""
    n_models, n_rows = samples.shape
    orders = [
        torch.randperm(n_rows, generator=generator, device=samples.device) for _ in range(n_models)
    ]
    for part in torch.stack(orders).split(batch_size, 1):
        places = samples.gather(1, part)
        yield Batch(*(piece[places] for piece in rows))


@torch.no_grad()
def _scores(stack: Stack, rows: Batch, places: Tensor, batch_size: int, seed: int) -> list[float]:
    """Return each model's mean bound over rows of its own, with the same noise at every call."""
    stack.train(False)
    generator = torch.Generator(rows.x.device).manual_seed(seed)
    noise = StreamNoise(generator, dtype=rows.x.dtype)
    total = torch.zeros(len(places), dtype=torch.float64, device=places.device)
    for part in places.split(batch_size, 1):
        total += stack.bound(Batch(*(piece[part] for piece in rows)), noise).double().sum(1)
    return list((total / places.shape[1]).tolist())
