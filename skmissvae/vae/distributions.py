"""Mixtures of diagonal distributions, which variational posteriors and priors are."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor
from typing_extensions import override

from .._utils.compat import take_along_dim
from .._utils.matmul import matrix_times_draws, products
from .._utils.random import Noise
from .functional import mixing_scale, normal_log_prob, student_t_log_prob
from .reparameterization import reparameterize_mixture


class _Detachable:
    """Distribution with parameters that are attributes, or attributes of its parts."""

    def detach(self) -> Self:
        """Return the same distribution without gradients to any parameter."""
        detached = copy.copy(self)
        for name, part in vars(self).items():
            if isinstance(part, (Tensor, _Detachable)):
                setattr(detached, name, part.detach())
        return detached


class Component(_Detachable, ABC):
    """Independent location-scale distributions, batch (*batch, K), event (L,).

    Parameters
    ----------
    loc, scale : Tensor of shape (*batch, K, L)
        Locations and scales.
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q_k(z): (..., *batch, K or 1, L) -> (..., *batch, K)."""

    @abstractmethod
    def standard_draws(self, noise: Noise, *shape: int) -> Tensor:
        """Return draws with location 0 and scale 1: (..., L)."""

    @abstractmethod
    def given_mixing_scales(self, noise: Noise, *shape: int) -> DiagonalNormal:
        """Return the components, Normal given drawn mixing scales of shape (n, *batch, L)."""

    def expand(self, *batch: int) -> Self:
        """Return the same distribution expanded to a batch."""
        expanded, shape = copy.copy(self), (*batch, *self.loc.shape[-2:])
        expanded.loc, expanded.scale = self.loc.expand(shape), self.scale.expand(shape)
        return expanded

    def first(self, n: int) -> Self:
        """Return the distributions of the first n rows of the batch."""
        part = copy.copy(self)
        part.loc, part.scale = self.loc[:n], self.scale[:n]
        return part


class DiagonalNormal(Component):
    """Normal components with diagonal covariance.

    Parameters
    ----------
    loc, scale : Tensor of shape (*batch, K, L)
        Means and standard deviations.
    """

    @override
    def log_prob(self, z: Tensor) -> Tensor:
        return normal_log_prob(z, self.loc, self.scale).sum(-1)

    @override
    def standard_draws(self, noise: Noise, *shape: int) -> Tensor:
        return noise.normal(*shape)

    @override
    def given_mixing_scales(self, noise: Noise, *shape: int) -> DiagonalNormal:
        return self


class DiagonalStudentT(Component):
    """Student-t components with independent latents.

    Parameters
    ----------
    df : Tensor of shape (L,)
        Degrees of freedom, common to all components.
    loc, scale : Tensor of shape (*batch, K, L)
        Locations and scales.
    """

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor) -> None:
        super().__init__(loc, scale)
        self.df = df

    @override
    def log_prob(self, z: Tensor) -> Tensor:
        return student_t_log_prob(z, self.df, self.loc, self.scale).sum(-1)

    @override
    def standard_draws(self, noise: Noise, *shape: int) -> Tensor:
        """Return Student-t draws as Normal draws with random scales."""
        return mixing_scale(noise, self.df.expand(shape)) * noise.normal(*shape)

    @override
    def given_mixing_scales(self, noise: Noise, *shape: int) -> DiagonalNormal:
        """Return Normal components given mixing scales that are common to all components.

        As all components have the same degrees of freedom, a mixture of Student-t distributions
        given these scales is a mixture of Normals with the same weights.
        """
        mixing = mixing_scale(noise, self.df.expand(shape)).unsqueeze(-2)  # (n, *batch, 1, L)
        return DiagonalNormal(self.loc.expand_as(self.scale * mixing), self.scale * mixing)


class LatentDistribution(_Detachable, ABC):
    """Distribution of latents, a mixture in some coordinates: batch (*batch,), event (L,)."""

    log_pi: Tensor  # (*batch, K)   logarithms of the normalized weights

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return self.log_pi.shape[-1]

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z): (M, *batch, L) -> (M, *batch)."""

    @abstractmethod
    def mean(self) -> Tensor:
        """Return E[z], (*batch, L)."""

    @abstractmethod
    def covariance(self) -> Tensor:
        """Return Cov[z], (*batch, L, L), with squared scales as the variances of components.

        It is in double precision, as it can be almost singular.
        """

    @abstractmethod
    def centres(self) -> tuple[Tensor, Tensor]:
        """Return locations and marginal scales of the components, (*batch, K, L) each."""

    @abstractmethod
    def first(self, n: int) -> Self:
        """Return the distributions of the first n rows of the batch."""

    @abstractmethod
    def expand(self, *batch: int) -> Self:
        """Return the same distribution expanded to a batch."""

    @abstractmethod
    def ancestral(self, n: int, noise: Noise, *, systematic: bool = False) -> tuple[Tensor, Tensor]:
        """Draw components by their weights, then points from them.

        Parameters
        ----------
        n : int
            Draws per row.
        noise : Noise
            Source of the noise.
        systematic : bool
            Draw components by systematic resampling rather than independently, which is unbiased
            with less variance.

        Returns
        -------
        z : Tensor of shape (n, *batch, L)
            The draws, with gradients to every parameter of the mixture.
        log_mass : Tensor of shape (n, *batch)
            ``-log n`` each.
        """

    @abstractmethod
    def component_divergence(self, n: int, noise: Noise) -> Tensor:
        r"""Return how far apart the components are, in nats, (*batch,).

        It is their generalized Jensen-Shannon divergence, the mutual information of component and
        latents, :math:`\sum_k \pi_k \mathrm{KL}(q_k \| q)`: from 0, if all components are equal,
        to the entropy of the weights, if they do not overlap. It is estimated by n draws of each.
        """

    @abstractmethod
    def stratified(self, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Draw n points from each component.

        Parameters
        ----------
        n : int
            Draws per row and component.
        noise : Noise
            Source of the noise.

        Returns
        -------
        z : Tensor of shape (n * K, *batch, L)
            The draws, component fastest.
        log_mass : Tensor of shape (n * K, *batch)
            ``log pi_k - log n``, with gradients to the weights.
        """

    def log_prob_pooled(self, z: Tensor) -> Tensor:
        """Return the log-density of the mixture over the first batch axis, with equal weights.

        Batch (n, *batch): (M, *batch, L) -> (M, *batch).
        """
        log_q = self.log_prob(z.unsqueeze(1))  # (M, n, *batch)
        return torch.logsumexp(log_q, 1) - math.log(log_q.shape[1])


class Mixture(LatentDistribution):
    r"""Mixture of diagonal components, q(z) = sum_k pi_k q_k(z).

    Parameters
    ----------
    log_pi : Tensor of shape (*batch, K)
        Logarithms of the normalized weights.
    component : Component
        Batch (*batch, K), event (L,).

    Notes
    -----
    Both methods of drawing are those of [1]_: ancestral draws have gradients to locations, scales
    and weights by implicit reparameterization [2]_; stratified draws are ``n`` per component, and
    their mass is the weight of the component.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.
    .. [2] Figurnov, Mohamed and Mnih (2018). Implicit Reparameterization Gradients. NeurIPS.
    """

    def __init__(self, log_pi: Tensor, component: Component) -> None:
        self.log_pi, self.component = log_pi, component

    @override
    def log_prob(self, z: Tensor) -> Tensor:
        log_q = self.component.log_prob(z.unsqueeze(-2))  # (M, *batch, K)
        if self.n_components == 1:
            return log_q.squeeze(-1)
        return torch.logsumexp(self.log_pi + log_q, -1)

    @override
    def centres(self) -> tuple[Tensor, Tensor]:
        return self.component.loc, self.component.scale

    @override
    def mean(self) -> Tensor:
        return (self.log_pi.exp().unsqueeze(-1) * self.component.loc).sum(-2)

    @override
    def covariance(self) -> Tensor:
        pi = self.log_pi.double().exp().unsqueeze(-1)
        within = (pi * self.component.scale.double().square()).sum(-2)
        loc = self.component.loc.double()  # (*batch, K, L)
        deviation = loc - (pi * loc).sum(-2, keepdim=True)
        return torch.diag_embed(within) + products((pi * deviation).mT, deviation)

    @override
    def first(self, n: int) -> Mixture:
        return Mixture(self.log_pi[:n], self.component.first(n))

    @override
    def expand(self, *batch: int) -> Mixture:
        return Mixture(self.log_pi.expand(*batch, self.n_components), self.component.expand(*batch))

    @override
    def ancestral(self, n: int, noise: Noise, *, systematic: bool = False) -> tuple[Tensor, Tensor]:
        batch, n_latents = self.log_pi.shape[:-1], self.component.loc.shape[-1]
        normal = self.component.given_mixing_scales(noise, n, *batch, n_latents)
        standard = noise.normal(n, *batch, n_latents)
        log_mass = self.log_pi.new_full((n, *batch), -math.log(n))
        if self.n_components == 1:
            loc, scale = normal.loc.squeeze(-2), normal.scale.squeeze(-2)
            return loc + scale * standard, log_mass
        with torch.no_grad():
            k = self._choose(n, noise, systematic)[..., None, None]  # (n, *batch, 1, 1)
            full = (n, *batch, self.n_components, n_latents)
            loc = take_along_dim(normal.loc.expand(full), k, -2).squeeze(-2)
            scale = take_along_dim(normal.scale.expand(full), k, -2).squeeze(-2)
            z = loc + scale * standard  # (n, *batch, L)
        return reparameterize_mixture(z, self.log_pi, normal.loc, normal.scale), log_mass

    @override
    def stratified(self, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
        loc = self.component.loc.movedim(-2, 0)  # (K, *batch, L)
        scale = self.component.scale.movedim(-2, 0)
        log_pi = self.log_pi.movedim(-1, 0)  # (K, *batch)
        z = loc + scale * self.component.standard_draws(noise, n, *loc.shape)
        log_mass = (log_pi - math.log(n)).expand(n, *log_pi.shape)
        return z.flatten(0, 1), log_mass.flatten(0, 1)

    @override
    def component_divergence(self, n: int, noise: Noise) -> Tensor:
        z, log_mass = self.stratified(n, noise)  # (n * K, *batch, L), K draws after each other
        log_q = self.component.log_prob(z.unsqueeze(-2))  # (n * K, *batch, K)
        k = torch.arange(self.n_components, device=z.device).repeat(n)
        own = log_q[torch.arange(len(k), device=z.device), ..., k]
        ratio = own - torch.logsumexp(self.log_pi + log_q, -1)
        return (log_mass.exp() * ratio).sum(0)

    def _choose(self, n: int, noise: Noise, systematic: bool) -> Tensor:
        """Return indices of components, (n, *batch)."""
        batch = self.log_pi.shape[:-1]
        u = noise.uniform(1 if systematic else n, *batch, 1)  # (n, *batch, 1)
        if systematic:
            steps = torch.arange(n, device=u.device, dtype=u.dtype)
            u = (u + steps.view(n, *[1] * (len(batch) + 1))) / n
        cumulative = self.log_pi.exp().cumsum(-1)[..., :-1]  # (*batch, K - 1)
        return (u > cumulative).sum(-1)


class AffineMixture(LatentDistribution):
    r"""Distribution of z = m + C u, where u has a mixture of diagonal components.

    Parameters
    ----------
    base : LatentDistribution
        Distribution of u, batch (*batch,), event (L,).
    loc : Tensor of shape (*batch, L)
        Shift m.
    factor : Tensor of shape (*batch, L, L)
        Triangular matrix C.
    inverse : Tensor of shape (*batch, L, L)
        Inverse of C.
    """

    def __init__(
        self, base: LatentDistribution, loc: Tensor, factor: Tensor, inverse: Tensor
    ) -> None:
        self.log_pi, self.base = base.log_pi, base
        self.loc, self.factor, self.inverse = loc, factor, inverse

    def transform(self, u: Tensor) -> Tensor:
        """Return m + C u: (M, *batch, L), likewise."""
        return self.loc + matrix_times_draws(self.factor, u)

    @override
    def log_prob(self, z: Tensor) -> Tensor:
        log_volume = self.inverse.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        return self.base.log_prob(matrix_times_draws(self.inverse, z - self.loc)) + log_volume

    @override
    def mean(self) -> Tensor:
        return self.loc + products(self.factor, self.base.mean().unsqueeze(-1)).squeeze(-1)

    @override
    def covariance(self) -> Tensor:
        factor = self.factor.double()
        return products(products(factor, self.base.covariance()), factor.mT)

    @override
    def first(self, n: int) -> AffineMixture:
        parts = (part[:n] for part in (self.loc, self.factor, self.inverse))
        return AffineMixture(self.base.first(n), *parts)

    @override
    def component_divergence(self, n: int, noise: Noise) -> Tensor:
        return self.base.component_divergence(n, noise)

    @override
    def centres(self) -> tuple[Tensor, Tensor]:
        loc, scale = self.base.centres()
        variance = scale.square() @ self.factor.square().mT
        return self.loc.unsqueeze(-2) + loc @ self.factor.mT, variance.sqrt()

    @override
    def expand(self, *batch: int) -> AffineMixture:
        factor, inverse = (c.expand(*batch, *c.shape[-2:]) for c in (self.factor, self.inverse))
        loc = self.loc.expand(*batch, self.loc.shape[-1])
        return AffineMixture(self.base.expand(*batch), loc, factor, inverse)

    @override
    def ancestral(self, n: int, noise: Noise, *, systematic: bool = False) -> tuple[Tensor, Tensor]:
        u, log_mass = self.base.ancestral(n, noise, systematic=systematic)
        return self.transform(u), log_mass

    @override
    def stratified(self, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
        u, log_mass = self.base.stratified(n, noise)
        return self.transform(u), log_mass


class DefensiveMixture:
    r"""Defensive mixture of two proposals for importance sampling [1]_.

    .. math:: q(z) = (1 - s)\, q_1(z) + s\, q_0(z)

    Importance weights are at most 1 / s times those of the defensive proposal :math:`q_0`.

    Parameters
    ----------
    proposal, defensive : LatentDistribution or DefensiveMixture
        The proposals :math:`q_1` and :math:`q_0`, with batch (B,).
    share : float
        Weight s of the defensive proposal.

    References
    ----------
    .. [1] Hesterberg (1995). Weighted average importance sampling and defensive mixture
       distributions. Technometrics 37.
    """

    def __init__(self, proposal: Proposal, defensive: Proposal, share: float) -> None:
        self.proposal, self.defensive, self.share = proposal, defensive, share

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z): (M, B, L) -> (M, B)."""
        log_proposal = self.proposal.log_prob(z) + math.log1p(-self.share)
        return torch.logaddexp(log_proposal, self.defensive.log_prob(z) + math.log(self.share))

    def ancestral(self, n: int, noise: Noise, *, systematic: bool = False) -> tuple[Tensor, Tensor]:
        """Draw from both proposals in proportion to their weights: (n, B, L), (n, B)."""
        n_defensive = math.floor(self.share * n)
        rest = self.share * n - n_defensive
        # the proposal of the last draw is random if share * n is not an integer
        last_is_defensive = noise.uniform(1, 1, 1).double() + rest >= 1

        def draw(q: Proposal, k: int) -> Tensor:
            return q.ancestral(k, noise, systematic=systematic)[0]

        n_last = int(rest > 0)
        sizes = ((self.proposal, n - n_defensive - n_last), (self.defensive, n_defensive))
        draws = [draw(q, k) for q, k in sizes if k]
        if n_last:
            last = torch.where(last_is_defensive, draw(self.defensive, 1), draw(self.proposal, 1))
            draws.append(last)
        z = torch.cat(draws)
        return z, z.new_full(z.shape[:-1], -math.log(n))


#: Proposals of importance sampling, with batch (B,).
Proposal = LatentDistribution | DefensiveMixture
