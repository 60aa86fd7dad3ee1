"""``map_rows``: applies a function of a fitted model to rows.

The guarantee: a row gets the same bits whatever the other rows are, in any order, with any number
of threads. Matrix libraries choose kernels, with other last bits, by a row's position in a product,
by its alignment in memory and by the number of threads. So rows are computed one at a time in one
thread each, or, if the draws of one row are too few to occupy a processor, in batches of constant
size whose products are separate for each row.
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

from .._utils.progress import SILENT_TASK, Task
from .._utils.random import Noise
from .._utils.runtime import inference as inference_mode
from .._utils.threads import thread_map
from ..tables.encoded_rows import EncodedRows
from ..vae.likelihoods.base import Limits
from ..vae.vae import VAE
from .adaptive import n_adaptation_draws
from .conditional import ConditionalModel
from .importance import BLOCK
from .row_batch import RowBatch
from .weights import needs_adaptation

_log = logging.getLogger("skmissvae")

_ROWS_PER_THREAD = 64  # rows that a thread computes at a time, one by one
_VECTOR_WIDTH = 32  # numbers that a processor computes at a time, at most
_MAX_LATENTS = 32  # with more latents, proposals are adapted faster one row at a time
_BYTES_PER_ENTRY = 40  # of the matrices of a row's factor-analysis posterior
_BYTES_PER_POINT = 100  # of a latent of a draw to which a proposal is adapted
_SELECTION_FACTOR = 10  # of memory, for quantiles of missing cells under self-masking
_BYTES_PER_OUTPUT = 160  # of an output of the decoder for a draw, with transforms


# Draws in total and rows of the largest batch. With more than 128 draws a single row occupies a
# processor, and a batch for a single row takes no longer than a row of 1,000 draws. A GPU needs
# more work at a time.
_CPU_LIMITS, _GPU_LIMITS = (2**12, 2**7), (2**16, 2**12)

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
        ``proposal_ess``: rows with a low effective sample size are computed again with adapted
        proposals, or with chains.
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
    options = noise, device, runs_chains, uses_posterior, task
    job = _Job(model.to(device), x, observed, limits, *options)
    index = np.arange(len(rows.x)) if positions is None else np.array(list(positions), np.intp)
    if not len(index):  # the fields of an empty result are those of a row
        return _apply(lambda values: values[:0], job.one_by_one(function, np.array([0])))
    size = _batch_size(model, device, runs_chains) if uses_posterior else 2 * _VECTOR_WIDTH
    invariant = job.model.row_invariant() if batched and size else None
    if invariant is not None:
        try:
            in_batches = job.adaptive_batches if uses_posterior else job.batches
            return in_batches(function, invariant, index, size)
        except torch.OutOfMemoryError:  # of a GPU, which other processes may use
            _log.info("not enough memory for %d rows at a time: they are computed singly", size)
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

        def evaluate(part: Positions) -> Result:
            padded = np.pad(part, (0, size - len(part)), mode="edge")
            with inference_mode(self.device):
                result = function(model, self._encode(model, padded.tolist()))
                return _apply(lambda values: values[: len(part)].cpu().numpy(), result)

        return self.parts(evaluate, index, size)

    def adaptive_batches(
        self,
        function: RowFunction[Result],
        invariant: ConditionalModel,
        index: Positions,
        size: int,
    ) -> Result:
        """Return the results of rows, computed ``size`` at a time if they have an observed cell.

        Rows with a low effective sample size are computed again: with adapted proposals, and then
        with chains if the model has a sampler. Which way a row takes depends on that row alone.
        """
        observed = self.observed.cpu().numpy()[index]
        has_evidence: NDArray[np.bool_] = np.any(observed, axis=1)
        one_by_one = functools.partial(self.one_by_one, function)
        if not has_evidence.any():
            return self.parts(one_by_one, index, _ROWS_PER_THREAD)
        first: Any = self.batches(function, invariant, index[has_evidence], size)
        n = len(index)
        result = _apply(lambda values: np.empty((n, *values.shape[1:]), values.dtype), first)
        _assign(result, has_evidence, first)
        low_ess, alone = has_evidence.copy(), ~has_evidence
        proposal_ess = torch.from_numpy(first.proposal_ess)
        low_ess[has_evidence] = needs_adaptation(proposal_ess, invariant.n_draws).numpy()
        if not _adapts_in_batches(invariant):
            alone |= low_ess
        elif low_ess.any():
            adaptive = invariant._replace(adapt="always")
            self.task.extend(int(low_ess.sum()))
            try:
                adapted = self.batches(function, adaptive, index[low_ess], _VECTOR_WIDTH)
                _assign(result, low_ess, adapted)
            except torch.OutOfMemoryError:  # of a GPU; the other results are kept
                alone |= low_ess
        if self.runs_chains and self.model.sampler is not None:
            has_low_ess = self.model.has_low_ess(torch.from_numpy(result.ess)).numpy()
            alone |= has_low_ess & has_evidence & ~self.is_complete.cpu().numpy()[index]
        if alone.any():
            self.task.extend(int((alone & has_evidence).sum()))
            _assign(result, alone, self.parts(one_by_one, index[alone], _ROWS_PER_THREAD))
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


def _assign(result: NamedTuple, rows: NDArray[np.bool_], part: NamedTuple) -> None:
    """Write the results of some rows into those of all, in place."""
    for values, part_values in zip(result, part, strict=True):
        values[rows] = part_values


def _batch_size(model: ConditionalModel, device: torch.device, runs_chains: bool) -> int:
    """Return how many rows are computed at a time; 0 for one by one."""
    always_runs_chains = model.sampler is not None and not model.chains_for_low_ess
    if model.n_draws > BLOCK or (runs_chains and always_runs_chains):
        return 0
    max_draws, max_rows = _CPU_LIMITS if device.type == "cpu" else _GPU_LIMITS
    n_draws = min(_n_draws_in_memory(model.vae, 1 if model.bounds is None else 2), max_draws)
    # each row has matrices of its factor-analysis posterior
    n_matrices = _working_memory() // (_BYTES_PER_ENTRY * (model.vae.prior.n_latents + 8) ** 2)
    n_rows = min(n_draws // model.n_draws, n_matrices, max_rows)
    # the rest of a tensor beyond the vector width is computed by other code with other last bits
    return n_rows // _VECTOR_WIDTH * _VECTOR_WIDTH


def _adapts_in_batches(model: ConditionalModel) -> bool:
    """Return whether proposals of many rows are adapted at a time.

    With many latents the draws of a single row occupy a processor and need much memory.
    """
    n_latents = model.vae.prior.n_latents
    n_draws = model.n_draws + n_adaptation_draws(model.n_draws, n_latents)
    per_draw = max(_BYTES_PER_POINT * n_latents, _bytes_per_draw(model.vae))
    return n_latents <= _MAX_LATENTS and _VECTOR_WIDTH * n_draws * per_draw <= _working_memory()


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
