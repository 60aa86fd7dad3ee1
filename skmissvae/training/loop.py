"""The training loop."""

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
from .processes import ProcessError, uninterrupted
from .state import History, TrainingState

_OPERATIONS_PER_THREAD = 12_000_000  # multiplications of a product that occupy a thread


class TrainingResult(NamedTuple):
    """The outcome of training beside the weights."""

    history: History  # a list per quantity, an entry per epoch
    validation_score: float  # bound of the weights that are kept; NaN without held-out rows
    optimizer: dict[str, Any]
    stopped: bool  # by Ctrl-C or a callback, before max_iter
    interrupted: bool  # by Ctrl-C
    n_skipped: int  # steps that were skipped
    n_steps: int  # all steps


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
    epoch_context: Callable[[], AbstractContextManager[None]] = nullcontext,
    begin_epoch: Callable[[], None] = lambda: None,
    end_epoch: Callable[[History], bool] = lambda history: False,
    restore: Callable[[TrainingState], None] = lambda state: None,
    save: Callable[[TrainingState], None] = lambda state: None,
) -> TrainingResult:
    """Fit a VAE to incomplete rows, in place.

    A step whose gradient is not finite never reaches the weights: the optimizer skips it on the
    device, and the learning rate is halved at the end of the epoch. Ctrl-C ends training like the
    last epoch: the best weights so far are kept.

    Parameters
    ----------
    vae : VAE
        The model, on the device of the rows.
    objective : Objective
        What to maximize.
    rows : Batch or BatchLoader
        The training table.
    settings : TrainingSettings
        How to train.
    generator : torch.Generator
        Source of the batches' order and of the draws, on the same device.
    held_out : Batch, optional
        Rows whose bound decides when to stop and which epoch's weights are kept.
    frozen : sequence of nn.Module
        Parts of the model that are not trained and stay in evaluation mode.
    optimizer_state : dict, optional
        ``TrainingResult.optimizer`` of earlier training to continue from.
    epoch_context : callable
        Returns a context in which an epoch is trained, such as one that seeds torch's global
        generators, which dropout uses.
    begin_epoch : callable
        Called before each epoch.
    end_epoch : callable
        Called after each epoch with the history so far; returns whether to stop.
    restore : callable
        Called with the state before the first epoch, to continue from a checkpoint.
    save : callable
        Called with the state after each epoch that another may follow, to write a checkpoint.

    Returns
    -------
    TrainingResult
        History, validation bound and the state of the optimizer.

    Raises
    ------
    DivergenceError
        If the loss stays non-finite.
    """
    fixed = {p for module in frozen for p in module.parameters() if p.requires_grad}
    loader = InMemoryLoader(rows) if isinstance(rows, Batch) else rows
    flat = FlatParameters(p for p in vae.parameters() if p.requires_grad and p not in fixed)
    optimizer = Optimizer(flat, settings, loader.n_batches(settings.batch_size), optimizer_state)
    noise = StreamNoise(generator, dtype=loader.dtype)
    validation_seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    state = TrainingState(vae, objective, optimizer, settings.early_stopping)
    history, monitor = state.history, state.monitor
    stopped, interrupted = False, False

    for weight in fixed:
        weight.requires_grad_(False)
    try:
        loader.broadcast([*flat.weights, *vae.buffers()])
        restore(state)
        loader.store_coordinates(vae)
        held_out = held_out and held_out.with_coordinates(vae)
        start = time.perf_counter() - max(history["seconds"], default=0.0)
        for _ in range(state.n_epochs, settings.max_iter):
            begin_epoch()
            with epoch_context():
                vae.train()
                for module in frozen:
                    module.eval()
                loader.begin_epoch(settings.batch_size)
                for batch in loader.batches(settings.batch_size, generator):
                    flat.zero_grad()
                    loss = objective.backward(vae, batch, noise)
                    loader.average_gradients(loss, flat)
                    optimizer.step(loss)
                history["bound"].append(optimizer.end_epoch(loader.mean))
                history["learning_rate"].append(optimizer.learning_rate)
                history["seconds"].append(time.perf_counter() - start)

                if held_out is not None:
                    score = evaluate(vae, objective, held_out, settings.batch_size, validation_seed)
                    score = loader.agree(score)
                    for batch in InMemoryLoader(held_out).batches(settings.batch_size, generator):
                        objective.update_unused(vae, batch, noise)
                    history.setdefault("validation_bound", []).append(score)
                    if monitor.is_best(score):
                        state.best_weights = copy.deepcopy(vae.state_dict())
            stopped = loader.agree(end_epoch(history))
            if stopped or monitor.should_stop:
                break
            save(state)
    except ProcessError:  # which all processes raise
        raise
    except BaseException as error:
        with uninterrupted():
            loader.leave_epoch(flat)
        if loader.is_distributed or not isinstance(error, KeyboardInterrupt):
            raise
        stopped = interrupted = True
    finally:
        flat.release()
        for weight in fixed:
            weight.requires_grad_(True)
    if state.best_weights is not None:
        vae.load_state_dict(state.best_weights)
    loader.broadcast([*vae.parameters(), *vae.buffers()])
    vae.eval()
    n_epochs = min(map(len, history.values()))  # an interrupted epoch leaves no entry
    history = {name: values[:n_epochs] for name, values in history.items()}
    score = monitor.best if held_out is not None else math.nan
    steps = optimizer.counters.n_skipped, optimizer.counters.n_done
    return TrainingResult(history, score, optimizer.state, stopped, interrupted, *steps)


def n_useful_threads(vae: VAE, objective: Objective, batch_size: int) -> int:
    """Return how many threads the matrix products of a training step occupy.

    Threads with little work wait for one another: small networks train faster with one, and many
    times as fast if other processes use the processor, too.
    """
    shapes = [weight.shape for weight in vae.parameters()]
    if any(len(shape) > 2 for shape in shapes):
        return torch.get_num_threads()  # a weight of a convolution is used for many pixels
    largest = max((shape.numel() for shape in shapes if len(shape) == 2), default=0)
    n_rows = batch_size * objective.draws_per_row(vae)
    return max(1, n_rows * largest // _OPERATIONS_PER_THREAD)


@torch.no_grad()
def evaluate(vae: VAE, objective: Objective, rows: Batch, batch_size: int, seed: int) -> float:
    """Return the weighted mean bound of rows; calls with the same seed use the same noise."""
    vae.eval()
    generator = torch.Generator(rows.x.device).manual_seed(seed)
    noise = StreamNoise(generator, dtype=rows.x.dtype)
    total = rows.x.new_zeros((), dtype=torch.float64)
    for batch in rows.split(batch_size):
        total += objective.weighted(objective.bound(vae, batch, noise).double(), batch).sum()
    weight = objective.weight
    n_rows = rows.x.shape[0] if weight is None else weight[rows.position].double().sum().item()
    return float(total.item()) / n_rows


def joined(first: History, second: History) -> History:
    """Return the history of two trainings, with an entry of each quantity for every epoch."""
    n_first, n_second = (max(map(len, h.values()), default=0) for h in (first, second))
    if n_first:
        start = first["seconds"][-1]
        second = {**second, "seconds": [start + seconds for seconds in second["seconds"]]}
    return {
        # rows may be held out in one of the trainings only
        name: [*first.get(name, [math.nan] * n_first), *second.get(name, [math.nan] * n_second)]
        for name in second | first
    }
