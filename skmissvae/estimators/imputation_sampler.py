"""The i-th of several imputations of a table, made when it is requested."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .._utils.progress import SILENT, Progress, Task
from .._utils.random import SeedStream, derive_seed
from ..inference.batching import RowNoise, map_rows
from ..inference.conditional import ConditionalModel, RowBatch
from ..inference.importance import RowLatents
from ..vae.networks.mlp import RowInvariantLinear, fixed_linear
from ..vae.networks.shifted import ShiftedDecoder
from .imputation_task import ImputationTask, RowBlock
from .shifts import NO_SHIFTS, Shifts

_MAX_OWN_DRAWS = 128  # of a row for one decoder, of which one is taken
_MAX_DECODERS = 32  # of imputations that are evaluated at a time
_MAX_STORED = 50_000_000  # numbers of latents that are stored between imputations


class _Cells(NamedTuple):
    """A draw of every cell of rows."""

    x: Tensor  # (B, D)


@dataclass
class ImputationSampler:
    """Returns the i-th of n imputations of a table, independent of the estimator's later changes.

    Parameters
    ----------
    task : ImputationTask
        The table.
    models : sequence of ConditionalModel
        The models, used in turn.
    shifts : sequence of nn.Linear
        Of each imputation, added to the outputs of the decoder; empty if there are none.
    device : torch.device
        Where to compute.
    seed : int
        Source of the draws.
    n : int
        Number of imputations.
    warn : callable or None
        Warns about low effective sample sizes, once.
    progress : Progress
        Shows how many rows are imputed.
    column_shifts : Shifts
        What is added to imputed numbers.
    """

    task: ImputationTask
    models: Sequence[ConditionalModel]
    shifts: Sequence[nn.Linear]
    device: torch.device
    seed: int
    n: int
    warn: Callable[[np.ndarray], None] | None
    progress: Progress = SILENT
    column_shifts: Shifts = NO_SHIFTS

    def __post_init__(self) -> None:
        """Decide whether latents are stored."""
        self._stored: dict[tuple[range, int], RowLatents] = {}
        n_latents = self.models[0].vae.prior.n_latents
        self._stores = self.task.n_incomplete * self.n * n_latents <= _MAX_STORED

    def __call__(self, i: int) -> Any:
        """Return the i-th completed table."""
        numbers, ess = [], [np.empty(0)]
        unit = f"imputation {i + 1}, row"
        with self.progress.task(unit, self.task.n_incomplete, of_rows=True) as rows:
            for block in self.task.incomplete_blocks():
                x, block_ess = self._draw_cells(i, block, rows)
                shifted = self.column_shifts.apply(x, self.task.reader.schema)
                # cells with limits are known to lie within them
                x = np.where(block.rows.has_limit()[block.incomplete], x, shifted)
                numbers.append(self.task.numbers(block, x))
                ess.append(block_ess)
        if self.warn is not None:
            self.warn(np.concatenate(ess))
            self.warn = None
        return self.task.table(numbers)

    def _draw_cells(self, i: int, block: RowBlock, rows: Task) -> tuple[np.ndarray, np.ndarray]:
        """Return the i-th draw of the incomplete rows, and the effective sample sizes."""
        model, incomplete = self._model(i), block.incomplete
        latents, pool_ess = self._latents(i, block, rows)
        x, ess = np.empty((len(incomplete), block.rows.x.shape[1])), pool_ess.copy()
        has_latents = ~np.isnan(latents).any(1)
        order = np.zeros(len(block.rows.x), dtype=np.intp)
        order[incomplete] = np.arange(len(incomplete))

        def decode(model: ConditionalModel, batch: RowBatch) -> _Cells:
            z = torch.from_numpy(latents[order[batch.positions]]).to(batch.x.device)[None]
            columns = model.decode(z, batch.limits)
            return _Cells(columns.sample(batch.new_noise())[0].double())

        def draw(function: Any, positions: np.ndarray, **options: Any) -> Any:
            noise = self._noise(block, SeedStream.IMPUTATION, i)
            arguments = block.rows, function, model, self.device, noise, positions
            return map_rows(*arguments, batched=True, **options)

        if has_latents.any():
            x[has_latents] = draw(decode, incomplete[has_latents], uses_posterior=False).x
        if not has_latents.all():
            rows.extend(int((~has_latents).sum()))
            draws = draw(ConditionalModel.draw, incomplete[~has_latents], task=rows)
            x[~has_latents], ess[~has_latents] = draws.x, draws.ess
        return x, ess

    def _latents(self, i: int, block: RowBlock, rows: Task) -> tuple[np.ndarray, np.ndarray]:
        """Return latents, (n_rows, L), from pools that all imputations share; NaN if not possible.

        Those of all imputations by one model are computed in the first call, and stored if there is
        memory.
        """
        n_models = len(self.models)
        slots = range(i % n_models, self.n, n_models) if self._stores else range(i, i + 1)
        result = self._stored.get((slots, block.first))
        if result is None:
            result = self._shared_latents(block, slots, rows)
        else:
            rows.advance(len(block.incomplete))
        if len(slots) > 1:
            self._stored[slots, block.first] = result
        return np.asarray(result.z)[:, slots.index(i)], np.asarray(result.ess)

    def _shared_latents(self, block: RowBlock, slots: range, task: Task) -> RowLatents:
        choices = [self._noise(block, SeedStream.IMPUTATION_CHOICE, i) for i in slots]
        shifts = []
        for start in range(0, len(slots) if self.shifts else 0, _MAX_DECODERS):
            part = [self.shifts[i] for i in slots[start : start + _MAX_DECODERS]]
            shifts.append(RowInvariantLinear(_joined(part)).to(self.device))

        def choose(model: ConditionalModel, batch: RowBatch) -> RowLatents:
            n, device = len(batch.x), batch.x.device
            u = [choice(batch.positions, device).uniform(n, 1) for choice in choices]
            return model.shared_latents(batch, torch.cat(u, 1), shifts)

        model = self.models[slots[0] % len(self.models)]
        noise = self._noise(block, SeedStream.IMPUTATION_POOL)
        rows, positions = block.rows, block.incomplete
        return map_rows(rows, choose, model, self.device, noise, positions, batched=True, task=task)

    def _model(self, i: int) -> ConditionalModel:
        """Return the model of the i-th imputation."""
        model = self.models[i % len(self.models)]
        if not self.shifts:
            return model
        vae = model.vae.with_decoder(ShiftedDecoder(model.vae.decoder, self.shifts[i])).eval()
        completed = model.completed_vae
        if completed is not None:
            completed = vae.with_posterior_of(completed).eval()
        n_draws = min(model.n_draws, _MAX_OWN_DRAWS)
        return model._replace(vae=vae, completed_vae=completed, n_draws=n_draws)

    def _noise(self, block: RowBlock, *stream: int) -> RowNoise:
        """Return the noise of rows by their identifiers."""
        return partial(block.noise, derive_seed(self.seed, *stream))


def _joined(layers: Sequence[nn.Linear]) -> nn.Linear:
    """Return a layer with the outputs of all layers."""
    weights, biases = zip(*((layer.weight, layer.bias) for layer in layers), strict=True)
    return fixed_linear(torch.cat(weights), torch.cat(biases))
