"""Distributions of columns given latents: what observation models make of the decoder's outputs."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from scipy import special
from torch import Tensor, nn

from .distributions import mixing_scale, normal_log_prob, student_t_log_prob
from .noise import Noise

_NODES = 24  # quantiles that stand for a distribution where its mean has no formula
_LEAST = 1e-300  # probability that has a quantile in double precision
_QUANTILE_STEPS = 40  # halvings of the bracket: 1e-12 of its width


class ColumnDistribution(ABC):
    """Distributions of D columns, independent given the latents; batch (*, D)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x_d | z): (*, D) -> (*, D), not summed: the mask comes after."""

    @abstractmethod
    def mean(self) -> Tensor:
        """Return E[x_d | z], (*, D)."""

    @abstractmethod
    def cdf(self, x: Tensor) -> Tensor:
        """Return P(x_d <= x | z), (*, D)."""

    @abstractmethod
    def icdf(self, u: Tensor) -> Tensor:
        """Return the u-quantiles: probabilities (*, D), or (D,) for all latents -> (*, D)."""

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch, (*, D)."""
        return self.mean().shape

    def below(self, x: Tensor) -> Tensor:
        """Return P(x_d < x | z), (*, D); columns that can be counted have their own."""
        return self.cdf(x)

    def share(self, low: Tensor, high: Tensor) -> Tensor:
        """Return P(low <= x_d <= high | z): (D,) or (*, D), which may be infinite -> (*, D)."""
        shape = torch.broadcast_shapes(self.shape, low.shape, high.shape)
        start = torch.where(low.isinf(), 0.0, self.below(finite(low).expand(shape)))
        end = torch.where(high.isinf(), 1.0, self.cdf(finite(high).expand(shape)))
        return (end - start).clamp_min(0)

    def icdf_between(self, u: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the u-quantiles of what lies between bounds, as of ``share``: (*, D)."""
        start = torch.where(low.isinf(), 0.0, self.below(finite(low).expand(self.shape)))
        return self.icdf((start + u * self.share(low, high)).clamp(0, 1))

    def mean_between(self, low: Tensor, high: Tensor, share: Tensor) -> Tensor | None:
        """Return E[x_d | z, low <= x_d <= high], of which the share is the probability.

        Bounds (D,), which may be infinite, and (*, D) -> (*, D). None where there is no formula.
        """
        return None

    def sample(self, noise: Noise) -> Tensor:
        """Return draws, (*, D)."""
        return self.icdf(noise.uniform(*self.shape))

    def completion(self, noise: Noise) -> Tensor:
        """Return draws from the law of ``log_prob``, as chains need them, (*, D)."""
        return self.sample(noise)

    def expected(self) -> Tensor:
        """Return the means of what a point estimate is made of, (*, n_expected).

        They are averaged over latents and handed to the likelihood's ``point``.
        """
        return self.mean()


class CountableColumns(ColumnDistribution):
    """Columns of whole numbers, those of codes among them."""

    def below(self, x: Tensor) -> Tensor:
        """Return P(x_d < x | z)."""
        return self.cdf(x.ceil() - 1)


class LocatedColumns(ColumnDistribution):
    """Columns of a symmetric law with location and scale, (*, D)."""

    loc: Tensor
    scale: Tensor

    @abstractmethod
    def _below(self, t: Tensor) -> Tensor:
        """Return P(T <= t) of the law itself, to the last digit below its centre."""

    @abstractmethod
    def _quantile(self, p: Tensor) -> Tensor:
        """Return quantiles of the law itself."""

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self.loc.shape

    def mean(self) -> Tensor:
        """Return the locations: laws whose mean exists."""
        return self.loc

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        return self._below((x - self.loc) / self.scale)

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        return self.loc + self.scale * self._quantile(_inner(u))

    def share(self, low: Tensor, high: Tensor) -> Tensor:
        """Return P(low <= x_d <= high | z), to the last digit in either tail."""
        a, b, _ = self._lower(low, high)
        free = low.isinf() & high.isinf()  # of a location that is no number, too
        return torch.where(free, 1.0, (self._below(b) - self._below(a)).clamp_min(0))

    def icdf_between(self, u: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return quantiles of what lies between bounds, to the last digit in either tail."""
        a, b, mirrored = self._lower(low, high)
        start = self._below(a)
        u = torch.where(mirrored, 1 - u, u)
        t = self._quantile((start + u * (self._below(b) - start)).clamp(_LEAST, 1 - 1e-15))
        return self.loc + self.scale * torch.where(mirrored, -t, t)

    def _lower(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return standardised bounds, or their mirror image where they lie above the centre."""
        a, b = (low - self.loc) / self.scale, (high - self.loc) / self.scale
        return torch.where(a > 0, -b, a), torch.where(a > 0, -a, b), a > 0


class NormalColumns(LocatedColumns):
    """Normal columns with location and scale (*, D)."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of each cell."""
        return normal_log_prob(x, self.loc, self.scale)

    def sample(self, noise: Noise) -> Tensor:
        """Return draws."""
        return self.loc + self.scale * noise.normal(*self.loc.shape)

    def mean_between(self, low: Tensor, high: Tensor, share: Tensor) -> Tensor:
        """Return the means between bounds, mu + sigma (phi(a) - phi(b)) / share."""
        a, b = ((bound - self.loc) / self.scale for bound in (low, high))
        fall = torch.exp(-0.5 * a.square()) - torch.exp(-0.5 * b.square())
        return self.loc + self.scale * fall / (math.sqrt(2 * math.pi) * share)

    def _below(self, t: Tensor) -> Tensor:
        return 0.5 * torch.special.erfc(-math.sqrt(0.5) * t)  # torch's ndtr has no lower tail

    def _quantile(self, p: Tensor) -> Tensor:
        return torch.special.ndtri(p)


class StudentTColumns(LocatedColumns):
    """Student-t columns with degrees of freedom, location and scale (*, D).

    With more than two degrees of freedom mean and variance exist. Distribution functions and
    quantiles are scipy's, on the host: torch has none.
    """

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.df, self.loc, self.scale = df, loc, scale

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of each cell."""
        return student_t_log_prob(x, self.df, self.loc, self.scale)

    def sample(self, noise: Noise) -> Tensor:
        """Return draws."""
        mixing = mixing_scale(noise, self.df.expand_as(self.loc))
        return self.loc + self.scale * mixing * noise.normal(*self.loc.shape)

    def mean_between(self, low: Tensor, high: Tensor, share: Tensor) -> Tensor:
        r"""Return the means between bounds, by the antiderivative of t f(t).

        It is :math:`-\frac{\nu}{\nu - 1} (1 + t^2 / \nu) f(t)`.
        """
        zero, one = self.loc.new_zeros(()), self.loc.new_ones(())

        def behind(bound: Tensor) -> Tensor:
            t = (finite(bound) - self.loc) / self.scale
            density = student_t_log_prob(t, self.df, zero, one).exp()
            return torch.where(bound.isinf(), 0.0, (1 + t.square() / self.df) * density)

        factor = self.df / (self.df - 1)
        return self.loc + self.scale * factor * (behind(low) - behind(high)) / share

    def _below(self, t: Tensor) -> Tensor:
        return self._by_scipy(special.stdtr, t)

    def _quantile(self, p: Tensor) -> Tensor:
        return self._by_scipy(special.stdtrit, p)

    def _by_scipy(self, function: Callable[[Any, Any], Any], x: Tensor) -> Tensor:
        df = self.df.detach().cpu().numpy()
        return torch.as_tensor(function(df, x.detach().cpu().numpy())).to(self.loc)


class BernoulliColumns(CountableColumns):
    """Bernoulli columns with logits (*, D)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self.logits.shape

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability of each cell."""
        return x * self.logits - nn.functional.softplus(self.logits)

    def mean(self) -> Tensor:
        """Return the probabilities of one."""
        return self.logits.sigmoid()

    def sample(self, noise: Noise) -> Tensor:
        """Return draws."""
        return (noise.uniform(*self.logits.shape) < self.mean()).to(self.logits.dtype)

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        return torch.where(x < 0, 0.0, torch.where(x < 1, 1 - self.mean(), 1.0))

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        return (u > 1 - self.mean()).to(self.logits)


class CrossEntropyColumns(BernoulliColumns):
    """Columns on [0, 1] that are judged by cross entropy, and are their means for certain."""

    def sample(self, noise: Noise) -> Tensor:
        """Return the means."""
        return self.mean()

    def completion(self, noise: Noise) -> Tensor:
        """Return zeros and ones, of which cross entropy is the law."""
        return super().sample(noise)

    def cdf(self, x: Tensor) -> Tensor:
        """Return whether the means are reached."""
        return (self.mean() <= x).to(self.logits)

    def below(self, x: Tensor) -> Tensor:
        """Return whether the means are passed."""
        return (self.mean() < x).to(self.logits)

    def icdf(self, u: Tensor) -> Tensor:
        """Return the means."""
        mean = self.mean()
        return mean.expand(torch.broadcast_shapes(mean.shape, u.shape))


class ContinuousBernoulliColumns(ColumnDistribution):
    r"""Continuous Bernoulli columns on [0, 1] with logits (*, D).

    The density is :math:`e^{\eta x - A(\eta)}` with logit :math:`\eta` and
    :math:`A(\eta) = \log((e^\eta - 1) / \eta)` (Loaiza-Ganem and Cunningham 2019).
    """

    # torch.distributions has one that works with probabilities: in float32 its values and
    # gradients are lost for logits beyond 16 or so, which confident decoders reach

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self.logits.shape

    def _safe(self) -> tuple[Tensor, Tensor]:
        """Return where the logits are small, and logits that one can divide by elsewhere."""
        small = self.logits.abs() < 0.05
        return small, torch.where(small, 1.0, self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of each cell."""
        small, eta = self._safe()
        square = self.logits.square()
        series = 0.5 * self.logits + square / 24 - square.square() / 2880
        size = eta.abs()
        normaliser = eta.clamp_min(0) + torch.log(-torch.expm1(-size)) - size.log()
        return self.logits * x - torch.where(small, series, normaliser)

    def mean(self) -> Tensor:
        """Return the means."""
        small, eta = self._safe()
        series = 0.5 + self.logits / 12 - self.logits**3 / 720
        return torch.where(small, series, -1 / torch.expm1(-eta) - 1 / eta)

    def _falling(self) -> Tensor:
        """Return minus the logits' size: a density that falls, its mirror image where it rises."""
        return -self.logits.abs().clamp_min(1e-6)

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        eta, rising = self._falling(), self.logits > 0
        u = torch.where(rising, 1 - u, u)
        x = (torch.log1p(u * torch.expm1(eta)) / eta).clamp(0, 1)
        return torch.where(rising, 1 - x, x)

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        eta, rising, x = self._falling(), self.logits > 0, x.clamp(0, 1)
        below = torch.expm1(eta * torch.where(rising, 1 - x, x)) / torch.expm1(eta)
        return torch.where(rising, 1 - below, below)


class JoinedColumns(ColumnDistribution):
    """Columns of several kinds side by side.

    Parameters
    ----------
    parts : sequence of ColumnDistribution
        One per kind.
    columns : sequence of Tensor
        Indices of the columns of each part.
    order : Tensor of shape (D,)
        Where each column of the table stands in the concatenation of the parts.
    """

    def __init__(
        self, parts: Sequence[ColumnDistribution], columns: Sequence[Tensor], order: Tensor
    ) -> None:
        self.parts, self.columns, self.order = parts, columns, order

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return torch.Size([*self.parts[0].shape[:-1], len(self.order)])

    def join(self, pieces: list[Tensor]) -> Tensor:
        """Return what the parts give, in the table's order."""
        return torch.cat(pieces, -1).index_select(-1, self.order)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability or log-density of each cell."""
        pairs = zip(self.parts, self.columns, strict=True)
        return self.join([part.log_prob(x[..., columns]) for part, columns in pairs])

    def mean(self) -> Tensor:
        """Return the means."""
        return self.join([part.mean() for part in self.parts])

    def sample(self, noise: Noise) -> Tensor:
        """Return draws."""
        return self.join([part.sample(noise) for part in self.parts])

    def completion(self, noise: Noise) -> Tensor:
        """Return draws for chains."""
        return self.join([part.completion(noise) for part in self.parts])

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        pairs = zip(self.parts, self.columns, strict=True)
        return self.join([part.cdf(x[..., columns]) for part, columns in pairs])

    def below(self, x: Tensor) -> Tensor:
        """Return P(x_d < x | z)."""
        pairs = zip(self.parts, self.columns, strict=True)
        return self.join([part.below(x[..., columns]) for part, columns in pairs])

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        pairs = zip(self.parts, self.columns, strict=True)
        return self.join([part.icdf(u[..., columns]) for part, columns in pairs])

    def expected(self) -> Tensor:
        """Return what the parts expect, one after the other."""
        return torch.cat([part.expected() for part in self.parts], -1)


def finite(bound: Tensor) -> Tensor:
    """Return bounds in which those that are infinite have some value."""
    return bound.nan_to_num(posinf=0.0, neginf=0.0)


def _inner(u: Tensor) -> Tensor:
    """Return probabilities whose quantiles are finite."""
    tiny = 1e-7 if u.dtype == torch.float32 else 1e-15
    return u.clamp(tiny, 1 - tiny)


@functools.cache
def quadrature() -> tuple[tuple[float, float], ...]:
    """Return probabilities and weights by which a mean is an integral over quantiles."""
    node, weight = special.roots_legendre(_NODES)
    return tuple(zip((0.5 + 0.5 * node).tolist(), (0.5 * weight).tolist(), strict=True))


def quantile(columns: ColumnDistribution, q: float, low: Tensor, high: Tensor) -> Tensor:
    """Return the q-quantile of an equal mixture of distributions, by bisection.

    Parameters
    ----------
    columns : ColumnDistribution
        Batch (R, B, D); the mixture is over R.
    q : float
        Probability.
    low, high : Tensor of shape (B, D)
        A bracket of the quantile.

    Returns
    -------
    Tensor of shape (B, D)
        The smallest value (to the bracket's width times 1e-12) whose probability is at least q.
    """
    for _ in range(_QUANTILE_STEPS):
        middle = 0.5 * (low + high)
        below = columns.cdf(middle).mean(0) < q
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high
