"""The i-th of several imputations of a table, made when it is requested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._utils.random import KeyedNoise, SeedStream, derive_seed
from ..inference.batching import map_rows
from ..inference.conditional import ConditionalModel, RowBatch
from ..inference.importance import RowLatents
from .imputation_task import ImputationTask, RowBlock

_MAX_STORED = 50_000_000  # numbers of latents that are stored between imputations


class _Cells(NamedTuple):
    """A draw of every cell of rows."""

    x: Tensor  # (B, D)


class ImputationSampler:
    """Returns the i-th of n imputations of a table, independent of the estimator's later changes.

    Parameters
    ----------
    task : ImputationTask
        The table.
    models : sequence of ConditionalModel
        The models, used in turn.
    device : torch.device
        Where to compute.
    seed : int
        Source of the draws.
    n : int
        Number of imputations.
    warn : callable
        Warns about low effective sample sizes.
    """

    def __init__(
        self,
        task: ImputationTask,
        models: Sequence[ConditionalModel],
        device: torch.device,
        seed: int,
        n: int,
        warn: Callable[[np.ndarray], None],
    ) -> None:
        self.task, self.models, self.device, self.seed, self.n = task, models, device, seed, n
        self._warn: Callable[[np.ndarray], None] | None = warn
        self._stored: dict[tuple[int, int], RowLatents] = {}
        n_latents, n_rows = models[0].vae.prior.n_latents, int(task.to_impute.any(1).sum())
        self._stores = n_rows * n * n_latents <= _MAX_STORED

    def __call__(self, i: int) -> Any:
        """Return the i-th completed table."""
        numbers, ess = [], []
        for block in self.task.blocks():
            x, block_ess = self._draw_cells(block, i)
            numbers.append(self.task.numbers(block, x))
            ess.append(block_ess)
        if self._warn is not None:  # once
            self._warn(np.concatenate(ess))
            self._warn = None
        return self.task.table(numbers)

    def _draw_cells(self, block: RowBlock, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the i-th draw of the incomplete rows, and the effective sample sizes."""
        incomplete = block.incomplete
        x = np.empty((len(incomplete), block.rows.x.shape[1]))
        if not len(incomplete):
            return x, np.empty(0)
        model = self.models[i % len(self.models)]
        latents, ess = self._latents(block, i)
        ess = ess.copy()
        has_latents = ~np.isnan(latents).any(1)
        order = np.zeros(len(block.rows.x), dtype=np.intp)
        order[incomplete] = np.arange(len(incomplete))

        def decode(model: ConditionalModel, batch: RowBatch) -> _Cells:
            z = torch.from_numpy(latents[order[batch.positions]]).to(batch.x.device)[None]
            return _Cells(model.decode(z).sample(batch.new_noise())[0].double())

        def draw(function: Any, positions: np.ndarray, **options: Any) -> Any:
            noise = self._noise(block, SeedStream.IMPUTATION, i)
            arguments = block.rows, function, model, self.device, noise, positions
            return map_rows(*arguments, batched=True, **options)

        if has_latents.any():
            x[has_latents] = draw(decode, incomplete[has_latents], uses_posterior=False).x
        if not has_latents.all():
            draws = draw(ConditionalModel.draw, incomplete[~has_latents])
            x[~has_latents], ess[~has_latents] = draws.x, draws.ess
        return x, ess

    def _latents(self, block: RowBlock, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return latents, (n_rows, L), from pools that all imputations share; NaN if not possible.

        Those of all imputations are computed in the first call, and stored if there is memory.
        """
        model = i % len(self.models)
        slots = range(model, self.n, len(self.models))
        if len(slots) == 1 or not self._stores:
            result = self._shared_latents(block, model, [i])
            return np.asarray(result.z)[:, 0], np.asarray(result.ess)
        key = model, block.first
        if key not in self._stored:
            self._stored[key] = self._shared_latents(block, model, slots)
        result = self._stored[key]
        return np.asarray(result.z)[:, slots.index(i)], np.asarray(result.ess)

    def _shared_latents(self, block: RowBlock, model: int, slots: Sequence[int]) -> RowLatents:
        choices = [self._noise(block, SeedStream.IMPUTATION_CHOICE, i) for i in slots]

        def choose(model: ConditionalModel, batch: RowBatch) -> RowLatents:
            n, device = len(batch.x), batch.x.device
            u = [choice(batch.positions, device).uniform(n, 1) for choice in choices]
            return model.shared_latents(batch, torch.cat(u, 1))

        return map_rows(
            block.rows,
            choose,
            self.models[model],
            self.device,
            self._noise(block, SeedStream.IMPUTATION_POOL),
            block.incomplete,
            batched=True,
        )

    def _noise(
        self, block: RowBlock, *stream: int
    ) -> Callable[[Sequence[int], torch.device], KeyedNoise]:
        """Return the noise of rows by their identifiers."""
        seed = derive_seed(self.seed, *stream)
        return lambda positions, device: block.noise(seed, positions, device)
