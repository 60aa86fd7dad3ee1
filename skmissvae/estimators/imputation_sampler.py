"""The i-th of several imputations of a table, made when it is requested."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._utils.progress import SILENT, Progress, Task
from .._utils.random import SeedStream, derive_seed
from ..inference.batching import RowNoise, map_rows
from ..inference.conditional import ConditionalModel
from ..inference.importance import RowLatents
from ..inference.row_batch import RowBatch, of_draws
from ..tables.constraints import Constraint
from ..vae.networks.shifted import DecoderShifts, ShiftedDecoder
from .imputation_task import ImputationTask, RowBlock
from .rejection import accepted_draws, rejected_shares, warn_of_unmet
from .shifts import NO_SHIFTS, Shifts

_MAX_OWN_DRAWS = 128  # of a row for one decoder, of which one is taken
_MAX_STORED = 50_000_000  # numbers of latents that are stored between imputations


class _Cells(NamedTuple):
    """Draws of every cell of rows."""

    x: Tensor  # (B, n, D)


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
    constraints : sequence of Constraint
        Conditions of completed rows.
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
    constraints: Sequence[Constraint] = ()

    def __post_init__(self) -> None:
        """Decide whether latents are stored."""
        self._rejected: dict[int, dict[str, float]] = {}
        self._warned_of_unmet = False
        self._stored: dict[tuple[range, int], RowLatents] = {}
        n_latents = self.models[0].vae.prior.n_latents
        self._stores = self.task.n_incomplete * self.n * n_latents <= _MAX_STORED

    def __call__(self, i: int) -> Any:
        """Return the i-th completed table."""
        numbers, ess, constraints = [], [np.empty(0)], self.constraints
        violated = [np.empty((0, len(constraints)), dtype=bool)]
        unmet = [np.empty(0, dtype=np.intp)]
        unit = f"imputation {i + 1}, row"
        with self.progress.task(unit, self.task.n_incomplete, of_rows=True) as rows:
            for block in self.task.incomplete_blocks():
                x, block_ess = self._draw_cells(i, block, rows)
                x = self._shifted(x, block)
                if constraints:
                    at = block.first + block.incomplete
                    accepted = accepted_draws(
                        x, self.task.part(at), constraints, partial(self.redraws, i)
                    )
                    x = accepted.x
                    violated.append(accepted.violated)
                    unmet.append(at[accepted.unmet])
                numbers.append(self.task.numbers(block, x))
                ess.append(block_ess)
        if self.warn is not None:
            self.warn(np.concatenate(ess))
            self.warn = None
        rows_unmet = np.concatenate(unmet)
        if not self._warned_of_unmet:
            warn_of_unmet(constraints, rows_unmet)
            self._warned_of_unmet = len(rows_unmet) > 0
        self._rejected[i] = rejected_shares(constraints, np.concatenate(violated))
        return self.task.table(numbers)

    def rejected_shares(self, i: int) -> dict[str, float]:
        """Return the share of the rows whose first draw violates each constraint."""
        if i not in self._rejected:
            self(i)
        return self._rejected[i]

    def redraws(self, i: int, task: ImputationTask, number: int, n: int) -> NDArray[np.float64]:
        """Return n draws of rows, (N, n, D), by the model of the i-th imputation, in a round.

        The latents of a row come from the same pools, or chains.
        """
        block, model = task.whole(), self._model(i)
        stream = SeedStream.CONSTRAINED_DRAWS, i, number
        choice = self._noise(block, *stream, 0)

        @of_draws
        def choose(model: ConditionalModel, batch: RowBatch) -> RowLatents:
            u = choice(batch.positions, batch.x.device).uniform(len(batch.x), n)
            return model.shared_latents(batch, u)

        def draw(model: ConditionalModel, batch: RowBatch) -> RowLatents:
            return model.latents(batch, n)

        arguments = model, self.device, self._noise(block, *stream, 1)
        z = np.asarray(map_rows(block.rows, choose, *arguments, batched=True).z)  # (N, n, L)
        rest = np.flatnonzero(np.isnan(z).any((1, 2)))
        if len(rest):
            z = z.copy()
            z[rest] = map_rows(block.rows, draw, *arguments, rest).z
        x = self._decoded(model, block, block.incomplete, z, self._noise(block, *stream, 2))
        shifted = [self._shifted(draws, block) for draws in x.transpose(1, 0, 2)]
        return np.stack(shifted, 1)

    def _shifted(self, x: np.ndarray, block: RowBlock) -> np.ndarray:
        """Return draws of the incomplete rows with shifts."""
        shifted = self.column_shifts.apply(x, self.task.reader.schema)
        # cells with limits are known to lie within them
        return np.where(block.rows.has_limit()[block.incomplete], x, shifted)

    def _draw_cells(self, i: int, block: RowBlock, rows: Task) -> tuple[np.ndarray, np.ndarray]:
        """Return the i-th draw of the incomplete rows, and the effective sample sizes."""
        model, incomplete = self._model(i), block.incomplete
        latents, pool_ess = self._latents(i, block, rows)
        x, ess = np.empty((len(incomplete), block.rows.x.shape[1])), pool_ess.copy()
        has_latents = ~np.isnan(latents).any(1)
        noise = self._noise(block, SeedStream.IMPUTATION, i)
        if has_latents.any():
            at, z = incomplete[has_latents], latents[has_latents]
            x[has_latents] = self._decoded(model, block, at, z[:, None], noise)[:, 0]
        if not has_latents.all():
            rows.extend(int((~has_latents).sum()))
            arguments = block.rows, ConditionalModel.draw, model, self.device, noise
            rest = incomplete[~has_latents]
            draws = map_rows(*arguments, rest, batched=True, task=rows)
            x[~has_latents], ess[~has_latents] = draws.x, draws.ess
        return x, ess

    def _decoded(
        self,
        model: ConditionalModel,
        block: RowBlock,
        positions: NDArray[np.intp],
        latents: NDArray[Any],
        noise: RowNoise,
    ) -> np.ndarray:
        """Return draws of each row given its latents: (N, n, L) -> (N, n, D)."""
        order = np.zeros(len(block.rows.x), dtype=np.intp)
        order[positions] = np.arange(len(positions))

        def decode(model: ConditionalModel, batch: RowBatch) -> _Cells:
            z = torch.from_numpy(latents[order[batch.positions]]).to(batch.x.device)
            columns = model.decode(z.transpose(0, 1), batch)
            return _Cells(columns.sample(batch.new_noise()).transpose(0, 1).double())

        arguments = block.rows, decode, model, self.device, noise, positions
        return np.asarray(map_rows(*arguments, batched=True, uses_posterior=False).x)

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
        shifts = None
        if self.shifts:
            shifts = DecoderShifts([self.shifts[i] for i in slots]).to(self.device)

        @of_draws
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
