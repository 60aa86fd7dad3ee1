"""Models of bootstrap samples of the rows, beside that of all rows."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed

from ..estimators.base import BaseVAE, sources
from ..tables.schema import EncodedRows
from .data import TrainingRows
from .objectives import Batch
from .stacked import train_together

E = TypeVar("E", bound=BaseVAE)


_log = logging.getLogger("skmissvae")


_AT_ONCE = 32  # models: more keep a GPU no busier, and take more of its memory


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

    One by one on a processor, by ``n_jobs`` processes; many at once on a GPU, which one small
    network leaves idle.
    """
    samples = [_Sample.draw(estimator, len(rows.x), seed) for seed in seeds]
    jobs = list(zip(samples, seeds, strict=True))
    parallel = Parallel(n_jobs=n_jobs)
    if estimator._device().type == "cpu" or not estimator._can_stack():
        return list(parallel(delayed(_fitted)(estimator, rows, max_iter, *job) for job in jobs))
    begun = list(parallel(delayed(_begun)(estimator, rows, *job) for job in jobs))
    done, at_once = 0, _AT_ONCE
    while done < len(jobs):
        part = slice(done, done + at_once)
        try:
            _train_at_once(estimator, rows, max_iter, begun[part], samples[part], seeds[done])
        except torch.OutOfMemoryError:  # of a GPU, which others may share
            if at_once == 1:
                raise
            at_once //= 2
            _log.info(
                "no room for %d models at a time: %d are trained at once", 2 * at_once, at_once
            )
        else:
            done += at_once
    return begun


def _fitted(estimator: E, rows: EncodedRows, max_iter: int, sample: _Sample, seed: int) -> E:
    return estimator._refitted(sample.table(rows), max_iter, seed)


def _begun(estimator: E, rows: EncodedRows, sample: _Sample, seed: int) -> E:
    """Return a copy whose model is not trained yet."""
    model = copy.copy(estimator)
    model._build(seed)
    model._begin(sample.table(rows), seed)
    return model


def _train_at_once(
    estimator: E,
    rows: EncodedRows,
    max_iter: int,
    models: Sequence[E],
    samples: Sequence[_Sample],
    seed: int,
) -> None:
    """Train the models of some samples as one; they stay as they are if it fails."""
    device, held_out = estimator._device(), None
    table = Batch(*rows.tensors(device), torch.arange(len(rows.x), device=device))
    places = torch.from_numpy(np.stack([sample.places for sample in samples])).to(device)
    if estimator._holds_out(len(rows.x)):
        out = [sample.held_out for sample in samples if sample.held_out is not None]
        held_out = torch.from_numpy(np.stack(out)).to(device)
    vaes = [copy.deepcopy(model.vae_).to(device) for model in models]
    generator, dropout = sources(seed, device)
    with estimator._training(TrainingRows(rows), device):
        states = train_together(
            vaes,
            estimator._objective(),
            table,
            places,
            estimator._settings(len(rows.x), max_iter, estimator.schedule),
            generator,
            held_out=held_out,
            epoch=dropout.block,
        )
    for model, vae, state in zip(models, vaes, states, strict=True):
        model.vae_ = vae.cpu()
        model._record(state)
