"""Training losses: a bound over a way of drawing, and the methods that are named so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from .bounds import elbo, iwelbo
from .model import VAE, Draws, Gradient
from .noise import Noise


class Batch(NamedTuple):
    """Rows of the training table."""

    x: Tensor  # (B, D)   zero where missing
    observed: Tensor  # (B, D) bool
    position: Tensor  # (B,)   which rows of the table they are


class Objective(nn.Module, ABC):
    """What training maximises. A module, for buffers that belong to the table's rows."""

    @abstractmethod
    def bound(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return the criterion that is reported and validated, (B,)."""

    @abstractmethod
    def loss(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return the loss, (): its backward pass gives every gradient."""


class BoundObjective(Objective):
    """The mean of a bound over the rows.

    Parameters
    ----------
    bound : callable
        A function of Draws.
    n_draws : int
        Draws per row, or per row and component where they are stratified.
    stratified : bool
        How draws are taken.
    gradient : {"stl", "dreg", "plain"}
        Estimator of the gradient, as in ``VAE.draw``.
    """

    def __init__(
        self,
        bound: Callable[[Draws], Tensor],
        n_draws: int,
        *,
        stratified: bool,
        gradient: Gradient,
    ) -> None:
        super().__init__()
        self._bound, self.n_draws = bound, n_draws
        self.stratified, self.gradient = stratified, gradient

    def bound(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return the bound of each row."""
        draws = vae.draw(
            batch.x,
            batch.observed,
            self.n_draws,
            noise,
            stratified=self.stratified,
            gradient=self.gradient,
        )
        return self._bound(draws)

    def loss(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return minus the mean of the bound."""
        return -self.bound(vae, batch, noise).mean()


class Method(NamedTuple):
    """What distinguishes a method: two words, and the gradient that serves it best."""

    bound: Callable[[Draws], Tensor]
    stratified: bool
    gradient: Gradient
    mixture: bool


#: The methods by their names in the literature.
METHODS: dict[str, Method] = {
    "MVAE": Method(elbo, stratified=False, gradient="stl", mixture=False),
    "MissVAE": Method(elbo, stratified=False, gradient="stl", mixture=True),
    "MissSVAE": Method(elbo, stratified=True, gradient="stl", mixture=True),
    "MIWAE": Method(iwelbo, stratified=False, gradient="dreg", mixture=False),
    "MissIWAE": Method(iwelbo, stratified=False, gradient="dreg", mixture=True),
    "MissSIWAE": Method(iwelbo, stratified=True, gradient="stl", mixture=True),
}
