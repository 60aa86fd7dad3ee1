"""Objectives of training: what a step maximizes and how it takes gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._utils.random import Noise
from .._utils.threads import thread_limit
from ..tables.encoded_rows import EncodedRows
from ..vae.likelihoods.base import Limits
from ..vae.posteriors import Coordinates
from ..vae.vae import VAE, Draws, Gradient

_MAX_NUMBERS = 10_000_000  # of the coordinates of all rows
_ROWS = 1024  # whose coordinates are computed at a time


class Batch(NamedTuple):
    """Rows of a training step."""

    x: Tensor  # (B, D)   zero where missing
    observed: Tensor  # (B, D) bool
    position: Tensor  # (B,)   of the rows in the training table
    limits: Limits | None = None  # of missing cells
    coordinates: Coordinates | None = None  # of the posteriors

    @classmethod
    def of(cls, rows: EncodedRows, device: torch.device) -> Batch:
        """Return rows on a device, with their positions."""
        positions = torch.arange(len(rows.x), device=device)
        return cls(*rows.tensors(device), positions, Limits.from_arrays(rows.limits, device))

    def part(self, rows: Tensor | slice) -> Batch:
        """Return the rows that an index selects."""
        limits = None if self.limits is None else self.limits.part(rows)
        coordinates = self.coordinates
        if coordinates is not None:
            coordinates = Coordinates(*(values[rows] for values in coordinates))
        parts = self.x[rows], self.observed[rows], self.position[rows]
        return Batch(*parts, limits, coordinates)

    def with_coordinates(self, vae: VAE) -> Batch:
        """Return the rows with the coordinates of their posteriors, which training does not change.

        Without them if they need much memory, or if they change.
        """
        n_numbers = 2 * len(self.x) * vae.prior.n_latents**2
        if n_numbers > _MAX_NUMBERS or any(True for _ in vae.likelihood.parameters()):
            return self
        with thread_limit(1):  # bits can depend on the number of threads
            parts = [vae.row_coordinates(part.x, part.observed) for part in self.split(_ROWS)]
        if not parts or parts[0] is None:
            return self
        return self._replace(coordinates=Coordinates(*map(torch.cat, zip(*parts, strict=True))))

    def split(self, size: int) -> Iterator[Batch]:
        """Yield the rows in their order, ``size`` at a time."""
        for start in range(0, len(self.x), size):
            yield self.part(slice(start, start + size))


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """What training maximizes.

    Parameters
    ----------
    weight : Tensor of shape (N,), optional
        Weights of all rows, with mean one; None if they are equal.
    """

    weight: Tensor | None = None

    def weighted(self, values: Tensor, batch: Batch) -> Tensor:
        """Return values of the rows, (*, B), multiplied by their weights."""
        return values if self.weight is None else self.weight[batch.position] * values

    @abstractmethod
    def bound(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return the bound of each row, (B,), that is reported and validated."""

    @abstractmethod
    def backward(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Add the gradients of the loss to all weights; return the loss, () and detached."""

    def draws_per_row(self, vae: VAE) -> int:
        """Return the number of latents that are decoded for a row."""
        return 1

    def update_unused(self, vae: VAE, batch: Batch, noise: Noise) -> None:  # noqa: B027
        """Update the state of rows that are not trained on; most objectives have no state."""

    def state(self) -> dict[str, np.ndarray]:
        """Return the state for ``restore``; arrays may share memory with it."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:  # noqa: B027
        """Continue from what ``state`` returned for the same rows."""


@dataclass(frozen=True)
class BoundObjective(Objective):
    """The weighted mean over rows of a bound on log p(x_obs).

    Parameters
    ----------
    function : callable
        The bound as a function of Draws.
    n_draws : int
        Draws per row, or per row and component if they are stratified.
    stratified : bool
        Whether draws are stratified over the components of the posterior.
    gradient : {"stl", "dreg", "plain"}
        Gradient estimator, as in ``VAE.draw``; "dreg" holds only for ``iwelbo`` over draws that are
        not stratified.
    """

    function: Callable[[Draws], Tensor]
    n_draws: int
    _: KW_ONLY
    stratified: bool
    gradient: Gradient

    def bound(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return the bound of each row, (B,)."""
        draws = vae.draw(
            batch.x,
            batch.observed,
            self.n_draws,
            noise,
            stratified=self.stratified,
            gradient=self.gradient,
            limits=batch.limits,
            coordinates=batch.coordinates,
        )
        return self.function(draws)

    def draws_per_row(self, vae: VAE) -> int:
        """Return the number of latents that are decoded for a row."""
        return self.n_draws * (vae.family.n_components if self.stratified else 1)

    def backward(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Add the gradients of minus the mean bound; return the loss."""
        loss = -self.weighted(self.bound(vae, batch, noise), batch).mean()
        loss.backward()
        return loss.detach()
