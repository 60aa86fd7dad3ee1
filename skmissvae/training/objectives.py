"""Training losses: a bound over a way of drawing, DeMissVAE, and the methods named so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .._utils.random import Noise
from ..vae.bounds import elbo, iwelbo
from ..vae.vae import VAE, Draws, Gradient


class Batch(NamedTuple):
    """Rows of the training table."""

    x: Tensor  # (B, D)   zero where missing
    observed: Tensor  # (B, D) bool
    position: Tensor  # (B,)   which rows of the table they are


class Objective(ABC):
    """What training maximises."""

    @abstractmethod
    def bound(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return the criterion that is reported and validated, (B,)."""

    @abstractmethod
    def backward(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Give every weight its gradient, and return the loss, () and without gradient."""

    def draws_per_row(self, vae: VAE) -> int:
        """Return the number of latents that are decoded for a row."""
        return 1

    def advance(self, vae: VAE, batch: Batch, noise: Noise) -> None:  # noqa: B027 - a hook
        """Move what belongs to rows that are not trained on; most objectives keep nothing."""


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

    Raises
    ------
    ValueError
        If the gradient does not hold for the bound.
    """

    def __init__(
        self,
        bound: Callable[[Draws], Tensor],
        n_draws: int,
        *,
        stratified: bool,
        gradient: Gradient,
    ) -> None:
        if gradient == "dreg" and (bound is not iwelbo or stratified):
            raise ValueError(
                "gradient must not be 'dreg': doubly reparameterised gradients are those of "
                "iwelbo over ancestral draws alone; choose 'plain' or 'stl'."
            )
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

    def draws_per_row(self, vae: VAE) -> int:
        """Return the number of latents that are decoded for a row."""
        return self.n_draws * (vae.family.n_components if self.stratified else 1)

    def backward(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Take the gradient of minus the mean of the bound."""
        loss = -self.bound(vae, batch, noise).mean()
        loss.backward()
        return loss.detach()


class Method(NamedTuple):
    """What distinguishes a method: two words, and the gradient that serves it best."""

    bound: Callable[[Draws], Tensor]
    stratified: bool
    gradient: Gradient
    mixture: bool


#: The methods of a single bound by their names in the literature.
METHODS: dict[str, Method] = {
    "MVAE": Method(elbo, stratified=False, gradient="stl", mixture=False),
    "MissVAE": Method(elbo, stratified=False, gradient="stl", mixture=True),
    "MissSVAE": Method(elbo, stratified=True, gradient="stl", mixture=True),
    "MIWAE": Method(iwelbo, stratified=False, gradient="dreg", mixture=False),
    "MissIWAE": Method(iwelbo, stratified=False, gradient="dreg", mixture=True),
    "MissSIWAE": Method(iwelbo, stratified=True, gradient="stl", mixture=True),
}
