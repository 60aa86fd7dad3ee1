"""Imputations that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._utils.random import KeyedNoise, derive_seed
from ..inference.batching import tile_by_tile
from ..inference.conditional import ConditionalModel
from .fitted import FittedVAE
from .imputation_task import ImputationTask, RowBlock

_KEPT = 50_000_000  # numbers that are kept of latents between imputations


class ImputationSampler:
    """Makes the i-th of n imputations of a table, whatever becomes of the estimator.

    Parameters
    ----------
    estimator : FittedVAE
        A copy of the estimator that nobody changes.
    task : ImputationTask
        The table.
    given : sequence of ConditionalModel
        The models, which serve in turn.
    seed : int
        Source of the draws.
    n : int
        Number of imputations.
    """

    def __init__(
        self,
        estimator: FittedVAE,
        task: ImputationTask,
        given: Sequence[ConditionalModel],
        seed: int,
        n: int,
    ) -> None:
        self.estimator, self.task, self.given, self.seed, self.n = estimator, task, given, seed, n
        self._kept: dict[tuple[int, int], list[np.ndarray]] = {}
        n_latents, n_todo = given[0].vae.prior.n_latents, int(task.wanted.any(1).sum())
        self._keeps = n_todo * n * n_latents <= _KEPT
        self._told = False

    def __call__(self, i: int) -> Any:
        """Return the i-th completed table."""
        found, ess = [], []
        for part in self.task.parts():
            x, effective_sample_size_of = self._draws(part, i)
            found.append(self.task.numbers(part, x))
            ess.append(effective_sample_size_of)
        if not self._told:
            n_draws = self.given[0].n_draws
            self.estimator._warn_of_poor_weights(np.concatenate(ess), n_draws)
            self._told = True
        return self.task.table(found)

    def _draws(self, part: RowBlock, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the i-th draw of all modelled cells of the rows to do, and effective draws."""
        given, estimator, todo = self.given[i % len(self.given)], self.estimator, part.todo
        x = np.empty((len(todo), part.rows.x.shape[1]))
        if not len(todo):
            return x, np.empty(0)
        latents, ess = self._shared(part, i)
        ess = ess.copy()
        pooled, place = ~np.isnan(latents).any(1), np.zeros(len(part.rows.x), dtype=np.intp)
        place[todo] = np.arange(len(todo))

        def sample(
            there: ConditionalModel, x: Tensor, o: Tensor, rows: Sequence[int]
        ) -> tuple[Tensor, ...]:
            z = torch.from_numpy(latents[place[rows]]).to(x.device)[None]
            return (there.decode(z).sample(self._noise(part, x, rows, 2, i))[0].double(),)

        def draw(
            there: ConditionalModel, x: Tensor, o: Tensor, rows: Sequence[int]
        ) -> tuple[Tensor, ...]:
            return there.drawn(x, o, self._noise(part, x, rows, 2, i))

        if pooled.any():
            places, many, made = todo[pooled], given.row_invariant(), None
            if many is not None:  # one draw of a row is little to do
                made = tile_by_tile(part.rows, sample, many, estimator._device(), places)
            if made is None:
                made = estimator._row_by_row(
                    part.rows, lambda g, x, o, i: sample(g, x, o, [i]), given, places
                )
            (x[pooled],) = made
        if not pooled.all():
            rest = todo[~pooled]
            x[~pooled], ess[~pooled] = estimator._by_weights(part.rows, draw, rest, given=given)
        return x, ess

    def _shared(self, part: RowBlock, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return latents (n_todo, L) of pools that serve all imputations, NaN where none may.

        Those of all imputations are found at the first call, and kept where there is room.
        """
        model = i % len(self.given)
        slots = range(model, self.n, len(self.given))
        if len(slots) == 1 or not self._keeps:
            z, ess = self._find(part, model, [i])
            return z[:, 0], ess
        key = model, part.start
        if key not in self._kept:
            self._kept[key] = self._find(part, model, slots)
        z, ess = self._kept[key]
        return z[:, slots.index(i)], ess

    def _find(self, part: RowBlock, model: int, slots: Sequence[int]) -> list[np.ndarray]:
        def choose(
            there: ConditionalModel, x: Tensor, o: Tensor, rows: Sequence[int]
        ) -> tuple[Tensor, ...]:
            each = [self._noise(part, x, rows, 13, i).uniform(len(rows), 1) for i in slots]
            return there.several(x, o, self._noise(part, x, rows, 12), torch.cat(each, 1))

        given = self.given[model]
        return self.estimator._by_weights(part.rows, choose, part.todo, given=given)

    def _noise(self, part: RowBlock, x: Tensor, rows: Sequence[int], *of: int) -> KeyedNoise:
        return part.noise(derive_seed(self.seed, *of), rows, x.device)
