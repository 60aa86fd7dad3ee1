"""Imputations that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._conditional import Conditional
from ._fitted import FittedVAE
from ._rowwise import tile_by_tile
from ._task import Task
from .noise import KeyedNoise, derive_seed

_KEPT = 50_000_000  # numbers that are kept of latents between imputations


class Completion:
    """Makes the i-th of n imputations of a table, whatever becomes of the estimator.

    Parameters
    ----------
    estimator : FittedVAE
        The estimator, for its device and its warnings.
    task : Task
        The table.
    given : sequence of Conditional
        The models, which serve in turn.
    seed : int
        Source of the draws.
    n : int
        Number of imputations.
    """

    def __init__(
        self, estimator: FittedVAE, task: Task, given: Sequence[Conditional], seed: int, n: int
    ) -> None:
        self.estimator, self.task, self.given, self.seed, self.n = estimator, task, given, seed, n
        self._kept: dict[int, list[np.ndarray]] = {}
        self._told = False

    def __call__(self, i: int) -> Any:
        """Return the i-th completed table."""
        task, given = self.task, self.given[i % len(self.given)]
        if not len(task.todo):
            return task.table(np.empty((0, task.rows.x.shape[1])))
        latents, ess = self._shared(i)
        ess = ess.copy()
        many = given.by_rows()
        # one draw of a row is little to do: those of pools are taken together
        pooled = ~np.isnan(latents).any(1) & (many is not None)
        place = np.zeros(len(task.rows.x), dtype=np.intp)
        place[task.todo] = np.arange(len(task.todo))

        def sample(there: Conditional, x: Tensor, o: Tensor, rows: np.ndarray) -> tuple[Tensor]:
            z = torch.from_numpy(latents[place[rows]]).to(x.device)[None]
            return (there.decode(z).sample(self._noise(x, rows, 2, i))[0].double(),)

        def draw(there: Conditional, x: Tensor, o: Tensor, row: int) -> tuple[Tensor, ...]:
            noise, k = self._noise(x, [row], 2, i), place[row]
            z = torch.from_numpy(latents[k]).to(x.device).view(1, 1, -1)
            effective = torch.from_numpy(ess[k : k + 1]).to(x.device)
            if z.isnan().any():
                z, effective = there.latents(x, o, noise, 1)
            return there.decode(z).sample(noise)[0].double(), effective

        x = np.empty((len(task.todo), task.rows.x.shape[1]))
        estimator, rest = self.estimator, ~pooled
        if many is not None and pooled.any():
            (x[pooled],) = tile_by_tile(
                task.rows, sample, many, estimator._device(), task.todo[pooled]
            )
        if rest.any():
            x[rest], ess[rest] = estimator._row_by_row(task.rows, draw, given, task.todo[rest])
        if not self._told:
            self.estimator._warn_of_poor_weights(ess, given.n_draws)
            self._told = True
        return task.table(x)

    def _shared(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return latents (n_todo, L) of pools that serve all imputations, NaN where none may.

        Those of all imputations are found at the first call, and kept where there is room.
        """
        model = i % len(self.given)
        slots = range(model, self.n, len(self.given))
        size = len(self.task.todo) * self.n * self.given[0].vae.prior.n_latents
        if len(slots) == 1 or size > _KEPT:
            z, ess = self._find(model, [i])
            return z[:, 0], ess
        if model not in self._kept:
            self._kept[model] = self._find(model, slots)
        z, ess = self._kept[model]
        return z[:, slots.index(i)], ess

    def _find(self, model: int, slots: Sequence[int]) -> list[np.ndarray]:
        def choose(there: Conditional, x: Tensor, o: Tensor, row: int) -> tuple[Tensor, ...]:
            u = torch.cat([self._noise(x, [row], 13, i).uniform(1, 1) for i in slots])
            return there.several(x, o, self._noise(x, [row], 12), u)

        rows, todo = self.task.rows, self.task.todo
        return self.estimator._row_by_row(rows, choose, self.given[model], todo)

    def _noise(self, x: Tensor, rows: Sequence[int] | np.ndarray, *parts: int) -> KeyedNoise:
        keys = [int(key) for key in self.task.keys[rows]]
        return KeyedNoise(derive_seed(self.seed, *parts), keys, device=x.device)
