"""Models of bootstrap samples of the rows, beside that of all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed

from ..estimators.base import BaseVAE
from ..tables.schema import EncodedRows
from .data import TrainingRows

E = TypeVar("E", bound=BaseVAE)


class _Sample(NamedTuple):
    """Rows drawn with replacement, and rows that decide when to stop."""

    places: NDArray[np.intp]
    held_out: NDArray[np.intp] | None

    @classmethod
    def draw(cls, estimator: BaseVAE, n_rows: int, seed: int) -> _Sample:
        """Draw from the rows that are not held out, as many as they are."""
        chosen = estimator._held_out(n_rows, seed)
        out = None if chosen is None else np.flatnonzero(chosen.numpy())
        kept = np.arange(n_rows) if chosen is None else np.flatnonzero(~chosen.numpy())
        return cls(np.random.default_rng(seed).choice(kept, len(kept)), out)

    def table(self, rows: EncodedRows) -> TrainingRows:
        """Return the table to train on."""
        if self.held_out is None:
            return TrainingRows(rows.part(self.places))
        all_places = np.concatenate([self.places, self.held_out])
        is_out = torch.from_numpy(np.arange(len(all_places)) >= len(self.places))
        return TrainingRows(rows.part(all_places), is_out)


def fit_bootstrap_models(
    estimator: E, rows: EncodedRows, max_iter: int, seeds: Sequence[int], n_jobs: int | None
) -> list[E]:
    """Return copies of an estimator whose models are fitted to bootstrap samples of its rows.

    They are fitted one by one, by ``n_jobs`` processes.
    """
    samples = [_Sample.draw(estimator, len(rows.x), seed) for seed in seeds]
    jobs = list(zip(samples, seeds, strict=True))
    parallel = Parallel(n_jobs=n_jobs)
    return list(parallel(delayed(_fitted)(estimator, rows, max_iter, *job) for job in jobs))


def _fitted(estimator: E, rows: EncodedRows, max_iter: int, sample: _Sample, seed: int) -> E:
    return estimator._refitted(sample.table(rows), max_iter, seed)
