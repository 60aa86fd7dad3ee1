"""The variational autoencoder: the one place that joins networks, family, prior and likelihood."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .._utils.random import Noise
from .distributions import LatentDistribution
from .likelihoods.base import ColumnDistribution, Likelihood
from .posteriors import FactorAnalysisPosterior, Family
from .priors import Prior

Gradient = Literal["stl", "dreg", "plain"]


# What the encoder sees of an outlier, in standard deviations: more would tell it nothing and can
# overflow float32. The likelihood sees the value itself.
_ENCODER_LIMIT = 100.0


class Draws(NamedTuple):
    """Weighted draws from q(z | x_obs), M per row."""

    z: Tensor  # (M, B, L)
    log_mass: Tensor  # (M, B)   exp(log_mass) sums to one over M
    log_ratio: Tensor  # (M, B)   log p(x_obs, z) - log q(z | x_obs)
    columns: ColumnDistribution  # (M, B, D)   p(x | z)


class _DoublyReparameterized(torch.autograd.Function):
    """Draws whose path derivative is multiplied by their normalised weights, on the way back.

    The zeros beside them, added to the log-ratios, hear the bound's derivative by each: of an
    importance-weighted bound these are the weights, but for a factor of the row.
    """

    @staticmethod
    def forward(z: Tensor) -> tuple[Tensor, Tensor]:
        return z.view_as(z), z.new_zeros(z.shape[:-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        pass

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, by_ratio: Tensor) -> Tensor:
        total = by_ratio.sum(0)
        weights = by_ratio / torch.where(total == 0, 1.0, total)  # of a row that no bound is asked
        return weights.unsqueeze(-1) * grad


class VAE(nn.Module):
    """Variational autoencoder of rows with holes.

    Parameters
    ----------
    encoder : nn.Module
        Maps the embedded cells and the mask, (*, n_inputs + D), to the family's parameters.
    decoder : nn.Module
        Maps latents (*, L) to the likelihood's parameters.
    prior : Prior
        Distribution of the latents.
    family : Family
        Turns the encoder's outputs into the posterior.
    likelihood : Likelihood
        Turns the decoder's outputs into distributions of the columns.
    guide : FactorAnalysisPosterior, optional
        Coordinates in which the posterior is written.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior,
        family: Family,
        likelihood: Likelihood,
        coordinates: FactorAnalysisPosterior | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.prior, self.family, self.likelihood = prior, family, likelihood
        self.coordinates = coordinates

    def with_posterior_of(self, other: VAE) -> VAE:
        """Return the same model with the posterior of another."""
        return VAE(
            other.encoder,
            self.decoder,
            self.prior,
            other.family,
            self.likelihood,
            other.coordinates,
        )

    def row_invariant(self) -> VAE | None:
        """Return the same model for inference on many rows, each of which gets what it gets alone.

        None where a network has no such form, ``row_invariant``.
        """
        parts = self.encoder, self.decoder
        encoder, decoder = (getattr(part, "row_invariant", lambda: None)() for part in parts)
        if encoder is None or decoder is None:
            return None
        return VAE(
            encoder, decoder, self.prior, self.family, self.likelihood, self.coordinates
        ).eval()

    def posterior(self, x: Tensor, observed: Tensor) -> LatentDistribution:
        """Return q(z | x_obs): (*, D), (*, D) bool -> batch (*, K), event (L,)."""
        seen = self.likelihood.embed(x, observed).clamp(-_ENCODER_LIMIT, _ENCODER_LIMIT)
        q: LatentDistribution = self.family(self.encoder(torch.cat([seen, observed.to(seen)], -1)))
        if self.coordinates is not None:
            q = self.coordinates(q, *self.likelihood.linearize(x, observed))
        return q

    def decode(self, z: Tensor) -> ColumnDistribution:
        """Return p(x | z): (*, L) -> batch (*, D)."""
        columns: ColumnDistribution = self.likelihood(self.decoder(z))
        return columns

    def log_joint(
        self, x: Tensor, observed: Tensor, z: Tensor, columns: ColumnDistribution | None = None
    ) -> Tensor:
        """Return log p(x_obs, z): (B, D), (B, D), (M, B, L) -> (M, B).

        ``columns`` is ``decode(z)`` where it is at hand.
        """
        columns = self.decode(z) if columns is None else columns
        log_p = columns.log_prob(torch.where(observed, x, 0.0))  # (M, B, D)
        log_prior: Tensor = self.prior().log_prob(z)
        return torch.where(observed, log_p, 0.0).sum(-1) + log_prior

    def draw(
        self,
        x: Tensor,
        observed: Tensor,
        n: int,
        noise: Noise,
        *,
        stratified: bool = False,
        systematic: bool = False,
        gradient: Gradient = "plain",
    ) -> Draws:
        """Draw from the posterior and weigh the draws.

        Parameters
        ----------
        x : Tensor of shape (B, D)
            Rows; what missing cells hold does not matter.
        observed : Tensor of shape (B, D)
            True where a cell is seen.
        n : int
            Draws per row, or per row and component where they are stratified.
        noise : Noise
            Source of the noise.
        stratified : bool
            Draw ``n`` from each component, with its weight as mass.
        systematic : bool
            Allot ancestral draws to the components in proportion to their weights.
        gradient : {"stl", "dreg", "plain"}
            Estimator of the gradient to the posterior's parameters. "plain" is the total
            derivative. "stl" (sticking the landing, Roeder et al. 2017) leaves out the
            derivative of log q with respect to its parameters, though not of the masses. "dreg"
            (doubly reparameterised, Tucker et al. 2019) is "stl" whose path derivative is
            multiplied by the normalised weights: for ancestral draws under ``iwelbo`` only.

        Returns
        -------
        Draws
            M = n, or n * K where they are stratified.
        """
        q = self.posterior(x, observed)
        if stratified:
            z, log_mass = q.stratified(n, noise)
        else:
            z, log_mass = q.ancestral(n, noise, systematic=systematic)
        scored = q if gradient == "plain" else q.detach()
        naught = 0.0
        if gradient == "dreg":
            z, naught = _DoublyReparameterized.apply(z)
        columns = self.decode(z)
        log_ratio = self.log_joint(x, observed, z, columns) - scored.log_prob(z) + naught
        return Draws(z, log_mass, log_ratio, columns)

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return new rows, (n, D)."""
        z, _ = self.prior().ancestral(n, noise)
        return self.decode(z).sample(noise)
