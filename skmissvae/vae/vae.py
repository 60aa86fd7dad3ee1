"""The variational autoencoder: networks, variational family, prior and likelihood."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .._utils.random import Noise
from .distributions import AffineMixture, LatentDistribution
from .likelihoods.base import ColumnDistribution, Likelihood, Limits
from .missingness import SelfMasking
from .posteriors import Coordinates, FactorAnalysisPosterior, Family
from .priors import Prior

Gradient = Literal["stl", "dreg", "plain"]


# standard deviations to which inputs of the encoder are clamped, as outliers can overflow float32;
# the likelihood uses the values themselves
_ENCODER_LIMIT = 100.0


class Draws(NamedTuple):
    """Weighted draws from q(z | x_obs), M per row."""

    z: Tensor  # (M, B, L)
    log_mass: Tensor  # (M, B)   exp(log_mass) sums to one over M
    log_ratio: Tensor  # (M, B)   log p(x_obs, z) - log q(z | x_obs)
    columns: ColumnDistribution  # (M, B, D)   p(x | z)


class _DoublyReparameterized(torch.autograd.Function):
    """Multiply the path derivative of draws by their normalized weights, in the backward pass.

    The second output is zero and must be added to the log-ratios. Its gradients are the
    derivatives of the bound by the log-ratios, which under an importance-weighted bound are
    proportional to the weights of a row.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.view_as(z), z.new_zeros(z.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, ratio_grad: Tensor) -> Tensor:
        total = ratio_grad.sum(0)
        weights = ratio_grad / torch.where(total == 0, 1.0, total)  # 0 for rows without a bound
        return weights.unsqueeze(-1) * grad


# Models of ``VAE.row_invariant`` with the modules and versions of the weights they were made from.
_ROW_INVARIANT: WeakKeyDictionary[VAE, tuple[Any, VAE | None]] = WeakKeyDictionary()


class VAE(nn.Module):
    """Variational autoencoder of incomplete rows.

    Parameters
    ----------
    encoder : nn.Module
        Maps the embedded cells and the mask, (*, n_inputs + D), to parameters of the family.
    decoder : nn.Module
        Maps latents (*, L) to parameters of the likelihood.
    prior : Prior
        Prior of the latents.
    family : Family
        Maps the encoder's outputs to the posterior.
    likelihood : Likelihood
        Maps the decoder's outputs to distributions of the columns.
    coordinates : FactorAnalysisPosterior, optional
        Coordinates of the posterior.
    missingness : SelfMasking, optional
        Model of missing cells; None ignores the reasons of missingness.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior,
        family: Family,
        likelihood: Likelihood,
        coordinates: FactorAnalysisPosterior | None = None,
        missingness: SelfMasking | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.prior, self.family, self.likelihood = prior, family, likelihood
        self.coordinates, self.missingness = coordinates, missingness

    def with_posterior_of(self, other: VAE) -> VAE:
        """Return the same model with the posterior of another model."""
        modules = other.encoder, self.decoder, self.prior, other.family, self.likelihood
        return VAE(*modules, other.coordinates, self.missingness)

    def with_decoder(self, decoder: nn.Module) -> VAE:
        """Return the same model with another decoder."""
        modules = self.encoder, decoder, self.prior, self.family, self.likelihood
        return VAE(*modules, self.coordinates, self.missingness)

    def ignoring_missingness(self) -> VAE:
        """Return the same model of the cells, without that of the missingness."""
        modules = self.encoder, self.decoder, self.prior, self.family, self.likelihood
        return VAE(*modules, self.coordinates).eval()

    def row_invariant(self) -> VAE | None:
        """Return the same model for inference on many rows, with bits independent of other rows.

        None if a network has no method ``row_invariant`` or returns None. The model is made once
        for the same modules and weights.
        """
        networks = self.encoder, self.decoder
        weights = (w for network in networks for w in (*network.parameters(), *network.buffers()))
        state = tuple(self.children()), tuple((w.data_ptr(), w._version) for w in weights)
        cached = _ROW_INVARIANT.get(self)
        if cached is None or cached[0] != state:
            cached = _ROW_INVARIANT[self] = state, self._make_row_invariant()
        return cached[1]

    def _make_row_invariant(self) -> VAE | None:
        encoder, decoder = (
            getattr(network, "row_invariant", lambda: None)()
            for network in (self.encoder, self.decoder)
        )
        if encoder is None or decoder is None:
            return None
        modules = encoder, decoder, self.prior, self.family, self.likelihood
        return VAE(*modules, self.coordinates, self.missingness).eval()

    def posterior(
        self, x: Tensor, observed: Tensor, coordinates: Coordinates | None = None
    ) -> LatentDistribution:
        """Return q(z | x_obs): (*, D), (*, D) bool -> batch (*, K), event (L,).

        ``coordinates`` may be ``row_coordinates`` of the rows, to avoid computing them again.
        """
        cells = self.likelihood.embed(x, observed).clamp(-_ENCODER_LIMIT, _ENCODER_LIMIT)
        inputs = torch.cat([cells, observed.to(cells)], -1)
        q: LatentDistribution = self.family(self.encoder(inputs))
        coordinates = self.row_coordinates(x, observed) if coordinates is None else coordinates
        return q if coordinates is None else AffineMixture(q, *coordinates)

    def row_coordinates(self, x: Tensor, observed: Tensor) -> Coordinates | None:
        """Return the coordinates of the posteriors of rows, None without factor analysis."""
        if self.coordinates is None:
            return None
        return self.coordinates(*self.likelihood.linearize(x, observed))

    def decode(self, z: Tensor) -> ColumnDistribution:
        """Return p(x | z): (*, L) -> batch (*, D)."""
        return self.likelihood(self.decoder(z))

    def log_joint(
        self,
        x: Tensor,
        observed: Tensor,
        z: Tensor,
        columns: ColumnDistribution | None = None,
        limits: Limits | None = None,
    ) -> Tensor:
        """Return log p(x_obs, z), with a model of missingness also of the mask, (M, B).

        Given are rows and mask, (B, D), and latents (M, B, L). Cells with limits contribute the
        log-probability of their interval. ``columns`` may be ``decode(z)``, to avoid computing it
        again.
        """
        columns = self.decode(z) if columns is None else columns
        log_p = self.log_prob_of_cells(columns, x, observed, limits)
        return log_p.sum(-1) + self.prior().log_prob(z)

    def log_prob_of_cells(
        self, columns: ColumnDistribution, x: Tensor, observed: Tensor, limits: Limits | None = None
    ) -> Tensor:
        """Return what each cell contributes to the log-density of rows given latents, (*, B, D).

        It is zero for missing cells without limits, unless there is a model of missingness.
        """
        log_p = columns.log_prob(torch.where(observed, x, 0.0))
        log_p, missing = torch.where(observed, log_p, 0.0), ~observed
        if limits is not None:
            log_p = torch.where(limits.exist, columns.log_interval(*limits).to(log_p), log_p)
            observed, missing = observed & ~limits.exist, missing & ~limits.exist
        if self.missingness is not None:
            log_p = log_p + self.missingness.log_prob(columns, x, observed, missing).to(log_p)
        return log_p

    def of_missing(
        self, columns: ColumnDistribution, x: Tensor, observed: Tensor, limits: Limits | None = None
    ) -> ColumnDistribution:
        """Return the distribution of missing cells of rows, given those of all cells."""
        if self.missingness is None:
            return columns
        explained = None if limits is None else limits.exist
        observed = observed if explained is None else observed & ~explained
        return self.missingness.of_missing(columns, x, observed, explained)

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
        limits: Limits | None = None,
        coordinates: Coordinates | None = None,
    ) -> Draws:
        """Draw from the posterior and compute the masses and log-ratios of the draws.

        Parameters
        ----------
        x : Tensor of shape (B, D)
            Rows; values of missing cells are ignored.
        observed : Tensor of shape (B, D)
            Mask of the observed cells.
        n : int
            Draws per row, or per row and component if stratified.
        noise : Noise
            Source of the noise.
        stratified : bool
            Draw ``n`` from each component, with its weight as mass.
        systematic : bool
            Allocate ancestral draws to the components by systematic resampling.
        gradient : {"stl", "dreg", "plain"}
            Estimator of the gradient to the posterior's parameters. "plain" is the total
            derivative. "stl" (sticking the landing, Roeder et al. 2017) omits the derivative of
            log q with respect to its parameters, but not that of the masses. "dreg" (doubly
            reparameterized, Tucker et al. 2019) is "stl" with the path derivative multiplied by
            the normalized weights, only for ancestral draws under ``iwelbo``.
        limits : Limits, optional
            Intervals of missing cells.
        coordinates : Coordinates, optional
            ``row_coordinates`` of the rows.

        Returns
        -------
        Draws
            M = n draws per row, or n * K if stratified.
        """
        q = self.posterior(x, observed, coordinates)
        if stratified:
            z, log_mass = q.stratified(n, noise)
        else:
            z, log_mass = q.ancestral(n, noise, systematic=systematic)
        scoring_q = q if gradient == "plain" else q.detach()
        zeros = 0.0
        if gradient == "dreg":
            z, zeros = _DoublyReparameterized.apply(z)
        columns = self.decode(z)
        log_joint = self.log_joint(x, observed, z, columns, limits)
        log_ratio = log_joint - scoring_q.log_prob(z) + zeros
        return Draws(z, log_mass, log_ratio, columns)

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Return new rows, (n, D)."""
        z, _ = self.prior().ancestral(n, noise)
        return self.decode(z).sample(noise)
