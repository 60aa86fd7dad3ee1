"""``map_rows``: applies a function of a fitted model to rows.

The guarantee: a row gets the same bits whatever the other rows are, in any order, with any number
of threads. Matrix libraries choose kernels, with other last bits, by a row's position in a product,
by its alignment in memory and by the number of threads. So rows are computed one at a time in one
thread each, or in batches whose products are separate for each row.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import get_config
from torch import Tensor

from .._utils.matmul import VECTOR_WIDTH
from .._utils.progress import SILENT_TASK, Task
from .._utils.random import Noise
from .._utils.runtime import inference as inference_mode
from .._utils.runtime import torch_defaults
from .._utils.threads import thread_map
from ..tables.encoded_rows import EncodedRows
from ..vae.likelihoods.base import Limits
from ..vae.vae import VAE
from .adaptive import n_adaptation_draws
from .conditional import ConditionalModel
from .importance import BLOCK, ProposalKind
from .normal_proposal import n_points
from .row_batch import RowBatch, is_separable
from .weights import sufficient_ess

_log = logging.getLogger("skmissvae")

_ROWS_PER_THREAD = 64  # rows that a thread computes at a time, one by one
_MIN_FIRST_DRAWS = 256  # of a trial
_MAX_LATENTS = 32  # with more latents, proposals are adapted faster one row at a time
_BYTES_PER_ENTRY = 40  # of the matrices of a row's factor-analysis posterior
_BYTES_PER_POINT = 100  # of a latent of a draw to which a proposal is adapted
_SELECTION_FACTOR = 10  # of memory, for quantiles of missing cells under self-masking
_BYTES_PER_OUTPUT = 160  # of an output of the decoder for a draw, with transforms


# Draws in total and rows of the largest batch. A GPU needs more work at a time.
_CPU_LIMITS, _GPU_LIMITS = (2**13, 2**7), (2**16, 2**12)

#: Positions of rows in the table.
Positions = NDArray[np.intp]
#: Returns the noise of rows, given their positions and the device.
RowNoise = Callable[[Sequence[int], torch.device], Noise]
#: A named tuple of tensors, or of arrays, with rows on the first axis.
Result = TypeVar("Result", bound=NamedTuple)
#: Returns the results of the rows of a batch.
RowFunction = Callable[[ConditionalModel, RowBatch], Result]


def map_rows(
    rows: EncodedRows,
    function: RowFunction[Result],
    model: ConditionalModel,
    device: torch.device,
    noise: RowNoise,
    positions: Iterable[int] | None = None,
    *,
    batched: bool = False,
    runs_chains: bool = True,
    uses_posterior: bool = True,
    task: Task = SILENT_TASK,
) -> Result:
    """Apply a function to rows and concatenate its results.

    Parameters
    ----------
    rows : EncodedRows
        The rows.
    function : callable
        ``(model, batch) -> result``, a named tuple of tensors with rows on the first axis. It is
        called with one row at a time, and if ``batched`` with many.
    model : ConditionalModel
        The fitted model.
    device : torch.device
        Where to compute.
    noise : callable
        Returns the noise of rows, given their positions and the device.
    positions : iterable of int, optional
        Which rows; None takes all.
    batched : bool
        Whether the function takes many rows at a time. Its result then has the fields ``ess`` and
        ``proposal_ess``: rows with a low effective sample size are computed again with better
        proposals and more draws, or with chains.
    runs_chains : bool
        Whether the function runs chains if the model has a sampler, which takes one row at a time.
    uses_posterior : bool
        Whether the function uses the posterior of the rows. Without it a function has little work
        per row; if ``batched``, all rows are computed in batches, and its result needs no fields.
    task : Task
        Shows how many rows are computed; its total includes these rows.

    Returns
    -------
    Result
        The named tuple with arrays, a row for each position.
    """
    x, observed = rows.tensors(device)
    limits = Limits.from_arrays(rows.limits, device)
    of_draws = uses_posterior and getattr(function, "is_of_draws", False)
    options = noise, device, runs_chains, uses_posterior, of_draws, task
    job = _Job(model.to(device), x, observed, limits, *options)
    index = np.arange(len(rows.x)) if positions is None else np.array(list(positions), np.intp)
    if not len(index):  # the fields of an empty result are those of a row
        one_by_one = functools.partial(job.one_by_one, function)
        return _apply(lambda values: values[:0], job.parts(one_by_one, np.array([0]), 1))
    always_runs_chains = model.sampler is not None and not model.chains_for_low_ess
    if batched and not (runs_chains and always_runs_chains):
        with torch_defaults():
            invariant = job.model.row_invariant()
        if invariant is not None and uses_posterior:
            return job.in_trials(function, invariant, index)
        try:
            if invariant is not None:
                return job.batches(function, invariant, index, 2 * VECTOR_WIDTH)
        except torch.OutOfMemoryError:  # of a GPU, which other processes may use
            _log.info("not enough memory for many rows at a time: they are computed singly")
    return job.parts(functools.partial(job.one_by_one, function), index, _ROWS_PER_THREAD)


@dataclass
class _Job:
    """A model and the rows that it is applied to, on a device."""

    model: ConditionalModel
    x: Tensor  # (N, D)
    observed: Tensor  # (N, D)
    limits: Limits | None
    noise: RowNoise
    device: torch.device
    runs_chains: bool
    uses_posterior: bool
    of_draws: bool  # whether the tensors of the function have an axis of draws
    task: Task

    @property
    def is_complete(self) -> Tensor:
        """Whether the values of all cells of a row are known, (N,)."""
        known = self.observed if self.limits is None else self.observed & ~self.limits.exist
        return known.all(1)

    def one_by_one(self, function: RowFunction[Result], index: Positions) -> Result:
        """Return the results of rows, computed one at a time."""
        results, waiting = [], index.tolist()
        with inference_mode(self.device):
            while waiting:
                try:
                    results.append(function(self.model, self._encode(self.model, waiting[:1])))
                except torch.OutOfMemoryError:  # of a GPU, which other processes may use
                    if self.model.n_decoded == 1:
                        raise
                    n_decoded = max(min(self.model.n_decoded, self.model.n_draws) // 2, 1)
                    self.model = self.model._replace(n_decoded=n_decoded)
                else:
                    waiting.pop(0)
            fields = zip(*results, strict=True)
            return results[0]._make(torch.cat(field).cpu().numpy() for field in fields)

    def batches(
        self, function: RowFunction[Result], model: ConditionalModel, index: Positions, size: int
    ) -> Result:
        """Return the results of rows, computed ``size`` at a time."""
        multiple = 1 if self._takes_any_number(model) else min(size, VECTOR_WIDTH)
        if self.device.type != "cpu":
            multiple = size

        def evaluate(part: Positions) -> Result:
            padded = np.pad(part, (0, -len(part) % multiple), mode="edge")
            with inference_mode(self.device):
                result = function(model, self._encode_many(model, padded))
                return _apply(lambda values: values[: len(part)].cpu().numpy(), result)

        return self.parts(evaluate, index, size)

    def in_trials(
        self, function: RowFunction[Result], model: ConditionalModel, index: Positions
    ) -> Result:
        """Return the results of rows by the first model with a sufficient effective sample size.

        Rows without an observed cell are computed by chains or draws from the prior, and chains
        replace draws with a low effective sample size if the model has a sampler. Which way a row
        takes depends on that row alone.
        """
        observed = self.observed.cpu().numpy()[index]
        alone = ~np.any(observed, axis=1)
        waiting = np.flatnonzero(~alone)
        result: Any = None
        share = np.zeros(len(index))  # of effective draws from the last kind of proposal
        kind: str | None = None
        for trial in _trials(model):
            is_promising = share[waiting] * trial.n_draws >= trial.required_ess
            at = waiting if trial.proposal != kind else waiting[is_promising]
            if not len(at):
                continue
            if kind is not None:
                self.task.extend(len(at))
            kind = trial.proposal
            try:
                part: Any = self.batches(function, trial, index[at], self._size(trial))
            except torch.OutOfMemoryError:  # of a GPU, which other processes may use
                _log.info("not enough memory for many rows at a time: they are computed singly")
                alone[waiting] = True
                break
            if result is None:
                result = _apply(functools.partial(_empty, len(index)), part)
            _assign(result, at, part)
            share[at] = part.proposal_ess / trial.n_draws
            waiting = np.setdiff1d(waiting, at[part.proposal_ess >= trial.required_ess])
        if self.runs_chains and self.model.sampler is not None and result is not None:
            has_low_ess = self.model.has_low_ess(torch.from_numpy(result.ess)).numpy()
            alone |= has_low_ess & ~self.is_complete.cpu().numpy()[index]
        if not alone.any():
            return result
        self.task.extend(int((alone & np.any(observed, axis=1)).sum()))
        one_by_one = functools.partial(self.one_by_one, function)
        rest = self.parts(one_by_one, index[alone], _ROWS_PER_THREAD)
        if result is None:
            return rest
        _assign(result, alone, rest)
        return result

    def parts(self, function: Callable[[Positions], Result], index: Positions, size: int) -> Result:
        """Apply a function to ``size`` positions at a time, in threads."""
        parts = [index[i : i + size] for i in range(0, len(index), size)]
        with thread_map(self.device, len(parts)) as run:
            results = []
            for part, result in zip(parts, run(function, parts), strict=True):
                results.append(result)
                self.task.advance(len(part))
        return results[0]._make(map(np.concatenate, zip(*results, strict=True)))

    def _size(self, model: ConditionalModel) -> int:
        """Return how many rows are computed at a time."""
        on_cpu, n_draws = self.device.type == "cpu", model.n_draws
        max_draws, max_rows = _CPU_LIMITS if on_cpu else _GPU_LIMITS
        max_draws = min(_n_draws_in_memory(model.vae, 1 if model.bounds is None else 2), max_draws)
        # each row has matrices of its factor-analysis posterior
        n_matrices = _working_memory() // (_BYTES_PER_ENTRY * (model.vae.prior.n_latents + 8) ** 2)
        if model.proposal != "encoder":
            n_draws = max(n_draws, n_points(model.vae.prior.n_latents))
        n_rows = min(max_draws // n_draws, n_matrices, max_rows)
        if model.proposal == "adapted":
            n_rows = VECTOR_WIDTH if n_rows >= VECTOR_WIDTH and _adapts_in_batches(model) else 1
        if not self._takes_any_number(model):
            n_rows = n_rows // VECTOR_WIDTH * VECTOR_WIDTH
        return max(n_rows, 1)

    def _takes_any_number(self, model: ConditionalModel) -> bool:
        """Return whether the bits of rows do not depend on how many are computed at a time.

        They do not if all tensors have an axis of draws, whose number is a multiple of the vector
        width.
        """
        is_multiple = model.n_draws % VECTOR_WIDTH == 0 and model.proposal != "adapted"
        return self.of_draws and is_multiple and is_separable(model.vae, self.device)

    def _encode_many(self, model: ConditionalModel, positions: Positions) -> RowBatch:
        """Return rows with their posterior, which is computed for a multiple of 32 rows."""
        n = len(positions)
        if not self.uses_posterior:
            return self._encode(model, positions.tolist())
        padded = np.pad(positions, (0, -n % VECTOR_WIDTH), mode="edge")
        batch = self._encode(model, padded.tolist()).first(n)
        new_noise = functools.partial(self.noise, positions.tolist(), self.device)
        return batch._replace(new_noise=new_noise)

    def _encode(self, model: ConditionalModel, positions: Sequence[int]) -> RowBatch:
        index = torch.as_tensor(positions, device=self.device)
        new_noise = functools.partial(self.noise, positions, self.device)
        x, observed = self.x[index], self.observed[index]
        limits = None if self.limits is None else self.limits.part(index)
        if not self.uses_posterior:
            return RowBatch(x, observed, model.vae.prior(), new_noise, positions, limits)
        return model.encode(x, observed, new_noise, positions, limits)


def _apply(function: Callable[[Any], Any], result: Result) -> Result:
    """Return a result with a function applied to each field."""
    return result._make(map(function, result))


def _empty(n: int, like: NDArray[Any]) -> NDArray[Any]:
    return np.empty((n, *like.shape[1:]), like.dtype)


def _assign(result: NamedTuple, rows: NDArray[Any], part: NamedTuple) -> None:
    """Write the results of some rows into those of all, in place."""
    for values, part_values in zip(result, part, strict=True):
        values[rows] = part_values


def _trials(model: ConditionalModel) -> list[ConditionalModel]:
    """Return models of which the first one with a sufficient effective sample size counts.

    Proposals become better, and draws more. A quarter of the draws is sufficient if their effective
    sample size is a tenth of all draws.
    """
    n, required_ess = model.n_draws, sufficient_ess(model.n_draws)
    if not required_ess:
        return [model._replace(proposal="encoder")]
    if n >= _MIN_FIRST_DRAWS:  # any number of rows is computed at a time
        n = n // VECTOR_WIDTH * VECTOR_WIDTH
    first = min(n, max(_MIN_FIRST_DRAWS, n // (4 * VECTOR_WIDTH) * VECTOR_WIDTH))
    second = min(2 * first, n)
    numbers: dict[ProposalKind, tuple[int, int]] = {
        "encoder": (first, second),
        "normal": (first, second),
        "refined": (second, n),
    }
    trials = [
        model._replace(n_draws=number, proposal=kind, required_ess=required_ess)
        for kind, pair in numbers.items()
        for number in dict.fromkeys(pair)
    ]
    return [*trials, model._replace(n_draws=n, proposal="adapted")]


def _adapts_in_batches(model: ConditionalModel) -> bool:
    """Return whether proposals of many rows are adapted at a time.

    With many latents the draws of a single row occupy a processor and need much memory.
    """
    n_latents = model.vae.prior.n_latents
    n_draws = model.n_draws + n_adaptation_draws(model.n_draws, n_latents)
    per_draw = max(_BYTES_PER_POINT * n_latents, _bytes_per_draw(model.vae))
    return n_latents <= _MAX_LATENTS and VECTOR_WIDTH * n_draws * per_draw <= _working_memory()


def n_decoded_draws(vae: VAE, factor: int = 1) -> int:
    """Return how many draws of a row are decoded at a time, with ``factor`` times the memory."""
    return max(min(_n_draws_in_memory(vae, factor), BLOCK), 1)


def _n_draws_in_memory(vae: VAE, factor: int) -> int:
    """Return how many draws fit into ``sklearn.set_config(working_memory=...)``."""
    return _working_memory() // (factor * _bytes_per_draw(vae))


def _bytes_per_draw(vae: VAE) -> int:
    factor = 1 if vae.missingness is None else _SELECTION_FACTOR
    return factor * _BYTES_PER_OUTPUT * max(1, vae.likelihood.n_params)


def _working_memory() -> int:
    """Return the bytes that scikit-learn's ``working_memory`` allows per thread."""
    return int(get_config()["working_memory"] * 2**20)
