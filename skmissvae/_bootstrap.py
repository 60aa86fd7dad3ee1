"""Models of bootstrap samples of the rows, beside that of all rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor

from ._columns import Rows
from ._estimator import BaseVAE
from ._pieces import Training
from ._state import Seeded, own_precision
from .ensembles import train_together
from .noise import derive_seed
from .objectives import Batch
from .training import DivergenceError

E = TypeVar("E", bound=BaseVAE)

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

    def table(self, rows: Rows) -> Training:
        """Return the table to train on."""
        if self.held_out is None:
            return Training(rows.part(self.places))
        all_places = np.concatenate([self.places, self.held_out])
        is_out = torch.from_numpy(np.arange(len(all_places)) >= len(self.places))
        return Training(rows.part(all_places), is_out)


def bootstrapped(
    estimator: E, rows: Rows, max_iter: int, seeds: Sequence[int], n_jobs: int | None
) -> list[E]:
    """Return copies of an estimator whose models are fitted to bootstrap samples of its rows.

    One by one on a processor, by ``n_jobs`` processes; at once on a GPU, which one small network
    leaves idle.
    """
    if estimator._device().type != "cpu" and estimator._can_stack():
        try:
            parts = [seeds[i : i + _AT_ONCE] for i in range(0, len(seeds), _AT_ONCE)]
            return [model for part in parts for model in _at_once(estimator, rows, max_iter, part)]
        except torch.OutOfMemoryError:  # of a GPU, which others may share
            pass
    tasks = (delayed(_alone)(estimator, rows, max_iter, seed) for seed in seeds)
    return list(Parallel(n_jobs=n_jobs)(tasks))


def _alone(estimator: E, rows: Rows, max_iter: int, seed: int) -> E:
    sample = _Sample.draw(estimator, len(rows.x), seed)
    return estimator._refitted(sample.table(rows), max_iter, seed)


def _at_once(estimator: E, rows: Rows, max_iter: int, seeds: Sequence[int]) -> list[E]:
    samples = [_Sample.draw(estimator, len(rows.x), seed) for seed in seeds]
    models = [copy.copy(estimator) for _ in seeds]
    for model, sample, seed in zip(models, samples, seeds, strict=True):
        model._build(seed)
        model._begin(sample.table(rows), seed)
    device = estimator._device()

    def there(places: Sequence[NDArray[np.intp] | None]) -> Tensor | None:
        known = [one for one in places if one is not None]
        return torch.from_numpy(np.stack(known)).to(device) if known else None

    vaes = [copy.deepcopy(model.vae_).to(device) for model in models]
    table = Batch(*rows.tensors(device), torch.arange(len(rows.x), device=device))
    places, held_out = (there(part) for part in zip(*samples, strict=True))
    assert places is not None, "there always are"
    # dropout's stream must not be that of the draws
    dropout = Seeded(derive_seed(seeds[0], 4), device)
    try:
        with own_precision(device):
            states = train_together(
                vaes,
                estimator._objective(),
                table,
                places,
                estimator._settings(len(rows.x), max_iter, estimator.schedule),
                torch.Generator(device).manual_seed(seeds[0]),
                held_out=held_out,
                epoch=dropout.block,
            )
    except DivergenceError as error:
        raise ValueError(estimator._blame(Training(rows))) from error
    for model, vae, state in zip(models, vaes, states, strict=True):
        model.vae_ = vae.cpu()
        model._keep(state)
    return models
