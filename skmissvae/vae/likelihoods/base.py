"""Base classes of likelihoods and of the distributions of columns."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Literal

import torch
from scipy import special
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.random import Noise
from .initialization import LinearInitialization, LinearModel

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


class DiscreteColumns(ColumnDistribution):
    """Columns of whole numbers, those of codes among them."""

    @override
    def below(self, x: Tensor) -> Tensor:
        return self.cdf(x.ceil() - 1)


class LocationScaleColumns(ColumnDistribution):
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
    @override
    def shape(self) -> torch.Size:
        return self.loc.shape

    @override
    def mean(self) -> Tensor:
        """Return the locations: laws whose mean exists."""
        return self.loc

    @override
    def cdf(self, x: Tensor) -> Tensor:
        return self._below((x - self.loc) / self.scale)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        return self.loc + self.scale * self._quantile(_inner(u))

    @override
    def share(self, low: Tensor, high: Tensor) -> Tensor:
        """Return P(low <= x_d <= high | z), to the last digit in either tail."""
        a, b, _ = self._lower(low, high)
        free = low.isinf() & high.isinf()  # of a location that is no number, too
        return torch.where(free, 1.0, (self._below(b) - self._below(a)).clamp_min(0))

    @override
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


#: Any number; 0 and 1; 0 to 1; whole numbers; codes 0, 1, ... of levels; numbers of which one has
#: a probability of its own.
Support = Literal["real", "binary", "unit", "whole", "coded", "atom"]


class Likelihood(nn.Module, ABC):
    """An observation model of D columns.

    Parameters
    ----------
    n_columns : int
        Number of columns D.
    min_scale : float
        Floor of the scale, in standard deviations of the column, for models that have a scale.
    n_params : int
        Number of decoder outputs P.
    n_inputs, n_expected : int, optional
        Width of what ``embed`` returns and of the ``expected`` of its columns; None is D.
    n_straight : int
        Width S of what ``linearize`` returns: 0 for a model that has no linear start.
    """

    #: What the table must do with a column before the model sees it, and how it reads it after.
    support: Support = "real"

    def __init__(
        self,
        n_columns: int,
        min_scale: float = 0.01,
        *,
        n_params: int,
        n_inputs: int | None = None,
        n_expected: int | None = None,
        n_linear: int = 0,
    ) -> None:
        super().__init__()
        self.n_columns, self.min_scale = n_columns, min_scale
        self.n_params, self.n_linear = n_params, n_linear
        self.n_inputs = n_columns if n_inputs is None else n_inputs
        self.n_expected = n_columns if n_expected is None else n_expected

    @property
    def supports(self) -> list[Support]:
        """Support of each column."""
        return [self.support] * self.n_columns

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return what the encoder sees, zero where missing: (*, D), (*, D) -> (*, n_inputs)."""
        return torch.where(observed, x, 0.0)

    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return values that factor analysis can take, and which count: (*, D) -> (*, S)."""
        return x[..., : self.n_linear], observed[..., : self.n_linear]

    def start(self, model: LinearModel) -> LinearInitialization:
        """Return where the decoder is nearest to a linear model of the straightened values."""
        none = model.loadings.new_zeros(self.n_params)
        weight = none.new_zeros(self.n_params, model.loadings.shape[1])
        return LinearInitialization(weight, none, none.bool(), none.new_zeros(self.n_linear))

    @property
    def covers_all_columns(self) -> bool:
        """Whether each column has its part in the linear start."""
        return self.n_linear >= self.n_columns

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return point estimates: (B, n_expected) -> (B, D).

        Those of two numbers are the more probable one where they ``decide``, else the mean.
        """
        return expected

    @abstractmethod
    def forward(self, params: Tensor) -> ColumnDistribution:
        """Return p(x | z): (*, P) -> batch (*, D)."""


def log_logistic_interval(low: Tensor, width: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    r"""Return :math:`\log(\sigma(a + w) - \sigma(a))` of a logistic distribution, by no difference.

    It is :math:`\log\sigma(a + w) + \log\sigma(-a) + \log(1 - e^{-w})`. Where ``lowest`` holds the
    interval has no lower edge, where ``highest`` no upper one.
    """
    inner = torch.where(lowest | highest, 1.0, width)
    return (
        torch.where(highest, 0.0, nn.functional.logsigmoid(low + width))
        + torch.where(lowest, 0.0, nn.functional.logsigmoid(-low))
        + torch.where(lowest | highest, 0.0, torch.log(-torch.expm1(-inner)))
    )


def pick_category(values: Tensor, index: Tensor) -> Tensor:
    """Return the entry of the last axis that each cell names: (*, D, C), (*, D) -> (*, D)."""
    shape = torch.broadcast_shapes(values.shape[:-1], index.shape)
    chosen = index.expand(shape).unsqueeze(-1)
    return values.expand(*shape, -1).gather(-1, chosen).squeeze(-1)


def mean_by_quadrature(columns: ColumnDistribution, like: Tensor) -> Tensor:
    """Return the means of columns by their quantiles, of the shape and type of ``like``."""
    # one number per column: quantiles of standard distributions are slow
    width = like.shape[-1:]
    parts = [weight * columns.icdf(like.new_full(width, u)) for u, weight in quadrature()]
    return torch.stack(parts).sum(0)
