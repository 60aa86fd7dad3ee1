"""Mixtures of diagonal distributions: the variational posteriors and the priors of the package."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ._batching import is_batched
from ._products import row_matrix_times
from .noise import Noise

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
_LINEAR_FROM = 20.0  # where softplus is the identity, as torch has it


def normal_log_prob(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return log N(x; loc, scale^2) elementwise; it has first derivatives."""
    if is_batched():
        return _log_normal((x - loc) / scale, scale)
    log_p: Tensor = _NormalLogProb.apply(x, loc, scale)
    return log_p


def _log_normal(standard: Tensor, scale: Tensor) -> Tensor:
    """Return the log-density of a Normal at standardised values."""
    rest = scale.log().neg_().sub_(_HALF_LOG_TWO_PI)
    return torch.addcmul(rest, standard, standard, value=-0.5)


class _NormalLogProb(torch.autograd.Function):
    """The log-density of a Normal in half of the passes over memory that autograd would take."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        standard = (x - loc) / scale
        ctx.save_for_backward(standard, scale)
        ctx.shapes = x.shape, loc.shape, scale.shape
        return _log_normal(standard, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        standard, scale = ctx.saved_tensors
        by_x, by_loc, by_scale = ctx.needs_input_grad
        pull = grad * standard
        dx = dloc = dscale = None
        if by_scale:
            dscale = torch.addcmul(-grad, pull, standard).div_(scale).sum_to_size(ctx.shapes[2])
        if by_x or by_loc:
            pull.div_(scale)
        if by_x:
            dx = -pull.sum_to_size(ctx.shapes[0])
        if by_loc:
            dloc = pull.sum_to_size(ctx.shapes[1])
        return dx, dloc, dscale


def student_t_log_prob(x: Tensor, df: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Return the log-density of a Student-t with ``df`` degrees of freedom elementwise."""
    constant = torch.lgamma(0.5 * (df + 1)) - torch.lgamma(0.5 * df) - 0.5 * (df * math.pi).log()
    tail = 0.5 * (df + 1) * torch.log1p(((x - loc) / scale).square() / df)
    return constant - scale.log() - tail


def mixing_scale(noise: Noise, df: Tensor) -> Tensor:
    """Return draws of the scale of a Normal that is then Student-t: degrees of freedom, likewise.

    A Student-t is a Normal whose precision is Gamma distributed.
    """
    half_df = 0.5 * df
    # in float32 a gamma draw can underflow to zero where the degrees of freedom are few
    return (noise.gamma(half_df) / half_df).clamp_min(1e-12).rsqrt()


def softplus_above(raw: Tensor, floor: float) -> Tensor:
    """Return numbers above a floor, of any numbers."""
    return nn.functional.softplus(raw) + floor


def raw_above(value: Tensor, floor: float) -> Tensor:
    """Return the numbers of which ``softplus_above`` makes values that lie above the floor."""
    off = value - floor
    # softplus leaves large numbers as they are
    return torch.where(off > _LINEAR_FROM, off, off.clamp_max(_LINEAR_FROM).expm1().log())


class Component(ABC):
    """Independent location-scale distributions, batch (*batch, K), event (L,)."""

    loc: Tensor  # (*batch, K, L)
    scale: Tensor  # (*batch, K, L)

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q_k(z): (..., *batch, K or 1, L) -> (..., *batch, K)."""

    @abstractmethod
    def standard(self, noise: Noise, *shape: int) -> Tensor:
        """Return draws with location 0 and scale 1: (..., L)."""

    @abstractmethod
    def gaussian(self, noise: Noise, *shape: int) -> DiagonalNormal:
        """Return the components as Normals given mixing scales of shape (n, *batch, L)."""

    @abstractmethod
    def like(self, loc: Tensor, scale: Tensor) -> Component:
        """Return the same kind of distribution elsewhere."""

    @abstractmethod
    def detach(self) -> Component:
        """Return the same distribution without gradients to its parameters."""

    def expand(self, *batch: int) -> Component:
        """Return the same distribution for every element of a batch."""
        shape = (*batch, *self.loc.shape[-2:])
        return self.like(self.loc.expand(shape), self.scale.expand(shape))


class DiagonalNormal(Component):
    """Normal components with diagonal covariance.

    Parameters
    ----------
    loc, scale : Tensor of shape (*batch, K, L)
        Means and standard deviations.
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log N_k(z)."""
        return normal_log_prob(z, self.loc, self.scale).sum(-1)

    def standard(self, noise: Noise, *shape: int) -> Tensor:
        """Return N(0, 1) draws."""
        return noise.normal(*shape)

    def gaussian(self, noise: Noise, *shape: int) -> DiagonalNormal:
        """Return itself: there are no mixing scales."""
        return self

    def like(self, loc: Tensor, scale: Tensor) -> DiagonalNormal:
        """Return Normals elsewhere."""
        return DiagonalNormal(loc, scale)

    def detach(self) -> DiagonalNormal:
        """Return the same distribution without gradients to its parameters."""
        return DiagonalNormal(self.loc.detach(), self.scale.detach())


class DiagonalStudentT(Component):
    """Student-t components, independent over the latents.

    Parameters
    ----------
    df : Tensor of shape (L,)
        Degrees of freedom, the same for all components.
    loc, scale : Tensor of shape (*batch, K, L)
        Locations and scales.
    """

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.df, self.loc, self.scale = df, loc, scale

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log t_k(z)."""
        return student_t_log_prob(z, self.df, self.loc, self.scale).sum(-1)

    def standard(self, noise: Noise, *shape: int) -> Tensor:
        """Return Student-t draws as Normal draws of random scale."""
        return mixing_scale(noise, self.df.expand(shape)) * noise.normal(*shape)

    def gaussian(self, noise: Noise, *shape: int) -> DiagonalNormal:
        """Return Normal components given mixing scales that they share.

        As the degrees of freedom are the same for all components, a mixture of Student-t's is,
        given these scales, a mixture of Normals with the same weights: whatever is known of those
        applies.
        """
        mixing = mixing_scale(noise, self.df.expand(shape)).unsqueeze(-2)  # (n, *batch, 1, L)
        return DiagonalNormal(self.loc.expand_as(self.scale * mixing), self.scale * mixing)

    def like(self, loc: Tensor, scale: Tensor) -> DiagonalStudentT:
        """Return Student-t's elsewhere."""
        return DiagonalStudentT(self.df, loc, scale)

    def detach(self) -> DiagonalStudentT:
        """Return the same distribution without gradients to its parameters."""
        return DiagonalStudentT(self.df.detach(), self.loc.detach(), self.scale.detach())


class LatentDistribution(ABC):
    """A distribution of latents, a mixture in some coordinates: batch (*batch,), event (L,)."""

    log_pi: Tensor  # (*batch, K)   logarithms of the weights, normalised

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
    def centres(self) -> tuple[Tensor, Tensor]:
        """Return locations and marginal scales of the components, (*batch, K, L) each."""

    @abstractmethod
    def expand(self, *batch: int) -> Self:
        """Return the same distribution for every element of a batch."""

    @abstractmethod
    def detach(self) -> Self:
        """Return the same distribution without gradients to any parameter, weights included."""

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
            Allot the draws to the components in proportion to their weights (systematic
            resampling) rather than independently: still unbiased, with less variance.

        Returns
        -------
        z : Tensor of shape (n, *batch, L)
            The draws, with gradients to every parameter of the mixture.
        log_mass : Tensor of shape (n, *batch)
            ``-log n`` each.
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
        """Return the log-density of the equal mixture over the first batch axis.

        Batch (n, *batch): (M, *batch, L) -> (M, *batch).
        """
        log_q = self.log_prob(z.unsqueeze(1))  # (M, n, *batch)
        return torch.logsumexp(log_q, 1) - math.log(log_q.shape[1])


class Mixture(LatentDistribution):
    r"""A mixture of diagonal components, q(z) = sum_k pi_k q_k(z).

    Parameters
    ----------
    log_pi : Tensor of shape (*batch, K)
        Logarithms of the weights, normalised.
    component : Component
        Batch (*batch, K), event (L,).

    Notes
    -----
    The two ways of drawing are those of [1]_: ancestral draws have gradients to locations, scales
    and weights by implicit reparameterisation [2]_, stratified draws take ``n`` from each
    component and carry its weight as their mass.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.
    .. [2] Figurnov, Mohamed and Mnih (2018). Implicit Reparameterization Gradients. NeurIPS.
    """

    def __init__(self, log_pi: Tensor, component: Component) -> None:
        self.log_pi, self.component = log_pi, component

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z): (M, *batch, L) -> (M, *batch)."""
        log_q = self.component.log_prob(z.unsqueeze(-2))  # (M, *batch, K)
        if self.n_components == 1:
            return log_q.squeeze(-1)
        return torch.logsumexp(self.log_pi + log_q, -1)

    def centres(self) -> tuple[Tensor, Tensor]:
        """Return locations and scales of the components, (*batch, K, L) each."""
        return self.component.loc, self.component.scale

    def mean(self) -> Tensor:
        """Return E[z], (*batch, L)."""
        return (self.log_pi.exp().unsqueeze(-1) * self.component.loc).sum(-2)

    def expand(self, *batch: int) -> Mixture:
        """Return the same distribution for every element of a batch."""
        return Mixture(self.log_pi.expand(*batch, self.n_components), self.component.expand(*batch))

    def detach(self) -> Mixture:
        """Return the same distribution without gradients to any parameter, weights included."""
        return Mixture(self.log_pi.detach(), self.component.detach())

    def ancestral(self, n: int, noise: Noise, *, systematic: bool = False) -> tuple[Tensor, Tensor]:
        """Draw components by their weights, then points from them."""
        batch, n_latents = self.log_pi.shape[:-1], self.component.loc.shape[-1]
        normal = self.component.gaussian(noise, n, *batch, n_latents)
        standard = noise.normal(n, *batch, n_latents)
        log_mass = self.log_pi.new_full((n, *batch), -math.log(n))
        if self.n_components == 1:
            loc, scale = normal.loc.squeeze(-2), normal.scale.squeeze(-2)
            return loc + scale * standard, log_mass
        with torch.no_grad():
            k = self._choose(n, noise, systematic)[..., None, None]  # (n, *batch, 1, 1)
            k = k.expand(*k.shape[:-1], n_latents)
            full = (n, *batch, self.n_components, n_latents)
            loc = normal.loc.expand(full).gather(-2, k).squeeze(-2)
            scale = normal.scale.expand(full).gather(-2, k).squeeze(-2)
            z = loc + scale * standard  # (n, *batch, L)
        return _reparameterise(z, self.log_pi, normal), log_mass

    def stratified(self, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Draw n points from each component."""
        loc = self.component.loc.movedim(-2, 0)  # (K, *batch, L)
        scale = self.component.scale.movedim(-2, 0)
        log_pi = self.log_pi.movedim(-1, 0)  # (K, *batch)
        z = loc + scale * self.component.standard(noise, n, *loc.shape)
        log_mass = (log_pi - math.log(n)).expand(n, *log_pi.shape)
        return z.flatten(0, 1), log_mass.flatten(0, 1)

    def _choose(self, n: int, noise: Noise, systematic: bool) -> Tensor:
        """Return indices of components, (n, *batch)."""
        batch = self.log_pi.shape[:-1]
        u = noise.uniform(1 if systematic else n, *batch, 1)  # (n, *batch, 1)
        if systematic:
            steps = torch.arange(n, device=u.device, dtype=u.dtype)
            u = (u + steps.view(n, *[1] * (len(batch) + 1))) / n
        below = self.log_pi.exp().cumsum(-1)[..., :-1]  # (*batch, K - 1)
        return (u > below).sum(-1)


class AffineMixture(LatentDistribution):
    r"""The distribution of z = m + C u, where u has a mixture of diagonal components.

    Parameters
    ----------
    base : LatentDistribution
        Distribution of u, batch (*batch,), event (L,).
    loc : Tensor of shape (*batch, L)
        The shift m.
    factor : Tensor of shape (*batch, L, L)
        The matrix C, triangular.
    inverse : Tensor of shape (*batch, L, L)
        Its inverse.
    """

    def __init__(
        self, base: LatentDistribution, loc: Tensor, factor: Tensor, inverse: Tensor
    ) -> None:
        self.log_pi, self.base = base.log_pi, base
        self.loc, self.factor, self.inverse = loc, factor, inverse

    def at(self, u: Tensor) -> Tensor:
        """Return m + C u: (M, *batch, L), likewise."""
        return self.loc + row_matrix_times(self.factor, u)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z): (M, *batch, L) -> (M, *batch)."""
        log_volume = self.inverse.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        return self.base.log_prob(row_matrix_times(self.inverse, z - self.loc)) + log_volume

    def mean(self) -> Tensor:
        """Return E[z], (*batch, L)."""
        return self.loc + (self.factor @ self.base.mean().unsqueeze(-1)).squeeze(-1)

    def centres(self) -> tuple[Tensor, Tensor]:
        """Return locations and marginal scales of the components, (*batch, K, L) each."""
        loc, scale = self.base.centres()
        variance = scale.square() @ self.factor.square().mT
        return self.loc.unsqueeze(-2) + loc @ self.factor.mT, variance.sqrt()

    def expand(self, *batch: int) -> AffineMixture:
        """Return the same distribution for every element of a batch."""
        factor, inverse = (c.expand(*batch, *c.shape[-2:]) for c in (self.factor, self.inverse))
        loc = self.loc.expand(*batch, self.loc.shape[-1])
        return AffineMixture(self.base.expand(*batch), loc, factor, inverse)

    def detach(self) -> AffineMixture:
        """Return the same distribution without gradients to any parameter."""
        moved = (c.detach() for c in (self.loc, self.factor, self.inverse))
        return AffineMixture(self.base.detach(), *moved)

    def ancestral(self, n: int, noise: Noise, *, systematic: bool = False) -> tuple[Tensor, Tensor]:
        """Draw components by their weights, then points from them."""
        u, log_mass = self.base.ancestral(n, noise, systematic=systematic)
        return self.at(u), log_mass

    def stratified(self, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Draw n points from each component."""
        u, log_mass = self.base.stratified(n, noise)
        return self.at(u), log_mass


class Defensive:
    r"""Proposals of rows with a share of others [1]_.

    .. math:: q(z) = (1 - s)\, q_1(z) + s\, q_0(z)

    No importance weight is more than 1 / s times what it would be by the other alone.

    Parameters
    ----------
    first, other : LatentDistribution
        The proposals and the others, both of batch (B,).
    share : float
        The other's part s of the draws.

    References
    ----------
    .. [1] Hesterberg (1995). Weighted average importance sampling and defensive mixture
       distributions. Technometrics 37.
    """

    def __init__(self, first: LatentDistribution, other: LatentDistribution, share: float) -> None:
        self.first, self.other, self.share = first, other, share

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z): (M, B, L) -> (M, B)."""
        first = self.first.log_prob(z) + math.log1p(-self.share)
        return torch.logaddexp(first, self.other.log_prob(z) + math.log(self.share))

    def ancestral(self, n: int, noise: Noise, *, systematic: bool = False) -> tuple[Tensor, Tensor]:
        """Draw from both, in proportion to their shares: (n, B, L), (n, B)."""
        n_other = math.floor(self.share * n)
        rest = self.share * n - n_other
        # what is left of a draw falls to either by chance
        falls = noise.uniform(1, 1, 1).double() + rest >= 1

        def drawn(part: LatentDistribution, k: int) -> Tensor:
            return part.ancestral(k, noise, systematic=systematic)[0]

        last = int(rest > 0)
        parts = ((self.first, n - n_other - last), (self.other, n_other))
        z = [drawn(part, k) for part, k in parts if k]
        if last:
            z.append(torch.where(falls, drawn(self.other, 1), drawn(self.first, 1)))
        whole = torch.cat(z)
        return whole, whole.new_full(whole.shape[:-1], -math.log(n))


def _reparameterise(z: Tensor, log_pi: Tensor, normal: DiagonalNormal) -> Tensor:
    """Give draws from a mixture of Normals their gradients to its parameters.

    With F_d(z_d | z_<d) the conditional distribution functions, F(z; phi) is uniform noise that
    does not depend on phi, so dz/dphi = -(dF/dz)^-1 dF/dphi. The Jacobian dF/dz is lower
    triangular, and in closed form: its diagonal holds the conditional densities and its entry
    (d, e) the covariance over components, under the weights w^d, of the component's distribution
    function at z_d and its score at z_e.

    Parameters
    ----------
    z : Tensor of shape (n, *batch, L)
        Draws, without gradients.
    log_pi : Tensor of shape (*batch, K)
        Logarithms of the weights.
    normal : DiagonalNormal
        Batch (*batch, K) or (n, *batch, K), event (L,).

    Returns
    -------
    Tensor of shape (n, *batch, L)
        The same numbers, with gradients.
    """
    with_gradients: Tensor = _Reparameterised.apply(z, log_pi, normal.loc, normal.scale)
    return with_gradients


class _Reparameterised(torch.autograd.Function):
    """Draws with the gradients of ``_reparameterise``, all of which is done on the way back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, log_pi: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        return z.view_as(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, log_pi, loc, scale = ctx.saved_tensors
        standard = (z.unsqueeze(-2) - loc) / scale  # (n, *batch, K, L)
        log_n = _log_normal(standard, scale)
        w = (log_pi.unsqueeze(-1) + log_n.cumsum(-1)).sub_(log_n).softmax(-2)  # given z_<d
        weighted = w * log_n.exp()
        density = weighted.sum(-2).clamp_min_(torch.finfo(z.dtype).tiny)  # (n, *batch, L)
        cdf = torch.special.ndtr(standard)
        # F_d(z_d | z_<d) is the sum of w times cdf; and what a weight adds to it, less its share
        deviation = w * cdf.sub_((w * cdf).sum(-2, keepdim=True))
        jacobian = deviation.transpose(-1, -2) @ (standard / scale)  # (n, *batch, L, L)
        jacobian = jacobian.div_(density.unsqueeze(-1)).neg_().tril(-1)  # of unit diagonal
        through = torch.linalg.solve_triangular(
            jacobian.mT, grad.unsqueeze(-1), upper=True, unitriangular=True
        ).squeeze(-1)
        by_cdf = through.div_(density).neg_().unsqueeze(-2)  # of the loss, to F_d
        by_log_w = deviation.mul_(by_cdf)
        # the weights of z_d know the densities of all z_e before it
        slope = (by_log_w.sum(-1, keepdim=True) - by_log_w.cumsum(-1)).div_(scale)
        by_loc = (slope * standard).sub_(weighted.mul_(by_cdf))
        by_scale = (by_loc * standard).sub_(slope)
        return (
            None,
            by_log_w.sum(-1).sum_to_size(log_pi.shape),
            by_loc.sum_to_size(loc.shape),
            by_scale.sum_to_size(scale.shape),
        )
