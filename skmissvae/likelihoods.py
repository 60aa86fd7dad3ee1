"""Observation models: modules that turn the decoder's outputs into a distribution per column."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from scipy import special
from torch import Tensor, nn

from .distributions import normal_log_prob, student_t_log_prob
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
        half_df = (0.5 * self.df).expand_as(self.loc)
        mixing = (noise.gamma(half_df) / (0.5 * self.df)).clamp_min(1e-12).rsqrt()
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


class BernoulliColumns(ColumnDistribution):
    """Bernoulli columns with logits (*, D)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

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

    def below(self, x: Tensor) -> Tensor:
        """Return P(x_d < x | z)."""
        return self.cdf(x.ceil() - 1)

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


class Linear(NamedTuple):
    """The model t = W z + b + noise of straightened columns, with z ~ N(0, I)."""

    loadings: Tensor  # (S, L)
    intercept: Tensor  # (S,)
    variance: Tensor  # (S,)   of the noise


#: Any number; 0 and 1; 0 to 1; whole numbers; codes 0, 1, ... of levels; numbers of which one has
#: a probability of its own.
Support = Literal["real", "binary", "unit", "whole", "coded", "atom"]


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


class LinearStart(NamedTuple):
    """A decoder and a posterior to start from: what factor analysis is in an observation model."""

    weight: Tensor  # (P, L)   of latents in the decoder's outputs
    bias: Tensor  # (P,)
    chosen: Tensor  # (P,) bool   the outputs that have a start
    precision: Tensor  # (S,)   of straightened cells


#: Share of a coded column's variance that counts as unexplained, at least: what a linear model
#: tells of flags and categories is too sure, and a start that is so is hard to leave.
LEAST_UNEXPLAINED = 0.8
_ROUNDS = 100  # in which biases settle


def steady_bias(weight: Tensor, share: Tensor) -> Tensor:
    """Return biases b with E sigma(w z + b) as given, z ~ N(0, I): (D, L), (D,) -> (D,)."""
    nodes, masses = (torch.from_numpy(part).to(weight) for part in special.roots_hermitenorm(40))
    reach = weight.norm(dim=-1).unsqueeze(-1) * nodes  # (D, 40)
    bias = share.logit()
    for _ in range(_ROUNDS):
        mean = ((reach + bias.unsqueeze(-1)).sigmoid() @ masses) / masses.sum()
        bias = bias + share.logit() - mean.logit()
    return bias


def located(model: Linear, min_scale: float, n_params: int) -> LinearStart:
    """Return the start of S columns whose outputs are S locations, then S raw scales, then others.

    Where there is no place for scales they are not among the outputs.
    """
    S, L = model.loadings.shape
    scale = _floored(model.variance.sqrt(), min_scale)
    weight = model.loadings.new_zeros(n_params, L)
    bias = weight.new_zeros(n_params)
    chosen = torch.arange(n_params, device=bias.device) < 2 * S
    weight[:S], bias[:S] = model.loadings, model.intercept
    if n_params > S:
        bias[S : 2 * S] = _raw(scale, min_scale)
    return LinearStart(weight, bias, chosen, scale**-2)


def _floored(scale: Tensor, min_scale: float) -> Tensor:
    """Return scales that softplus and a floor can give."""
    return (scale - min_scale).clamp_min(0.01) + min_scale


def _raw(scale: Tensor, min_scale: float) -> Tensor:
    """Return what softplus and a floor make scales of."""
    return torch.log(torch.expm1(scale - min_scale))


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
        Width S of what ``straighten`` returns: 0 for a model that has no linear start.
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
        n_straight: int = 0,
    ) -> None:
        super().__init__()
        self.n_columns, self.min_scale = n_columns, min_scale
        self.n_params, self.n_straight = n_params, n_straight
        self.n_inputs = n_columns if n_inputs is None else n_inputs
        self.n_expected = n_columns if n_expected is None else n_expected

    @property
    def supports(self) -> list[Support]:
        """Support of each column."""
        return [self.support] * self.n_columns

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return what the encoder sees, zero where missing: (*, D), (*, D) -> (*, n_inputs)."""
        return torch.where(observed, x, 0.0)

    def straighten(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return values that factor analysis can take, and which count: (*, D) -> (*, S)."""
        return x[..., : self.n_straight], observed[..., : self.n_straight]

    def start(self, model: Linear) -> LinearStart:
        """Return where the decoder is nearest to a linear model of the straightened values."""
        none = model.loadings.new_zeros(self.n_params)
        weight = none.new_zeros(self.n_params, model.loadings.shape[1])
        return LinearStart(weight, none, none.bool(), none.new_zeros(self.n_straight))

    @property
    def starts_whole(self) -> bool:
        """Whether each column has its part in the linear start."""
        return self.n_straight >= self.n_columns

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return point estimates: (B, n_expected) -> (B, D).

        Those of two numbers are the more probable one where they ``decide``, else the mean.
        """
        return expected

    @abstractmethod
    def forward(self, params: Tensor) -> ColumnDistribution:
        """Return p(x | z): (*, P) -> batch (*, D)."""


class NormalLikelihood(Likelihood):
    """Normal columns whose scale has a floor.

    Parameters
    ----------
    n_columns : int
        Number of columns D.
    min_scale : float
        Floor of the scale, in standard deviations of the column. Without one the likelihood has
        no upper bound where a column repeats a value.
    scale : {"decoder", "column"} or float
        Whether the scale is an output of the decoder, a parameter per column, or fixed and known.
    """

    def __init__(
        self,
        n_columns: int,
        min_scale: float = 0.01,
        scale: Literal["decoder", "column"] | float = "decoder",
    ) -> None:
        n_params = (2 if scale == "decoder" else 1) * n_columns
        super().__init__(n_columns, min_scale, n_params=n_params, n_straight=n_columns)
        known = not isinstance(scale, str) and scale > 0
        if not known and scale not in ("decoder", "column"):
            raise ValueError(
                "scale of a NormalLikelihood must be 'decoder', 'column' or a positive number; "
                f"got {scale!r}."
            )
        self.scale = scale
        if scale == "column":
            self.raw_scale = nn.Parameter(torch.zeros(n_columns))

    @torch.no_grad()
    def start(self, model: Linear) -> LinearStart:
        """Return locations and scales; those that are parameters are set."""
        if isinstance(self.scale, str):
            if self.scale == "column":
                scale = _floored(model.variance.sqrt(), self.min_scale)
                self.raw_scale.copy_(_raw(scale, self.min_scale))
            return located(model, self.min_scale, self.n_params)
        precision = torch.full_like(model.variance, self.scale**-2)
        return located(model, 0.0, self.n_params)._replace(precision=precision)

    def forward(self, params: Tensor) -> NormalColumns:
        """Return Normal columns."""
        if self.scale == "decoder":
            loc, raw_scale = params.unflatten(-1, (2, self.n_columns)).unbind(-2)
            return NormalColumns(loc, nn.functional.softplus(raw_scale) + self.min_scale)
        if self.scale == "column":
            return NormalColumns(params, nn.functional.softplus(self.raw_scale) + self.min_scale)
        return NormalColumns(params, params.new_full((), self.scale))


class StudentTLikelihood(Likelihood):
    """Student-t columns, for tables with outliers.

    Parameters
    ----------
    n_columns : int
        Number of columns D.
    min_scale : float
        Floor of the scale, in standard deviations of the column.
    df : {"column", "decoder"}
        Whether the degrees of freedom (above 2) are a parameter per column or outputs of the
        decoder.
    """

    def __init__(
        self,
        n_columns: int,
        min_scale: float = 0.01,
        df: Literal["column", "decoder"] = "column",
    ) -> None:
        n_params = (3 if df == "decoder" else 2) * n_columns
        super().__init__(n_columns, min_scale, n_params=n_params, n_straight=n_columns)
        if df not in ("column", "decoder"):
            raise ValueError(
                f"df of a StudentTLikelihood must be 'column' or 'decoder'; got {df!r}."
            )
        self.df = df
        if df == "column":
            self.raw_df = nn.Parameter(torch.full((n_columns,), 2.0))

    def start(self, model: Linear) -> LinearStart:
        """Return locations and scales."""
        return located(model, self.min_scale, self.n_params)

    def forward(self, params: Tensor) -> StudentTColumns:
        """Return Student-t columns."""
        n_outputs = 3 if self.df == "decoder" else 2
        loc, raw_scale, *rest = params.unflatten(-1, (n_outputs, self.n_columns)).unbind(-2)
        raw_df = rest[0] if rest else self.raw_df
        scale = nn.functional.softplus(raw_scale) + self.min_scale
        return StudentTColumns(2 + nn.functional.softplus(raw_df), loc, scale)


class BernoulliLikelihood(Likelihood):
    """Binary columns; any two values, of which the greater is the model's one."""

    support: Support = "binary"

    def __init__(self, n_columns: int, min_scale: float = 0.01) -> None:
        super().__init__(n_columns, min_scale, n_params=n_columns, n_straight=n_columns)

    def start(self, model: Linear) -> LinearStart:
        r"""Return the logits of linear discriminant analysis, tempered.

        Where latents are Normal given a value, with the moments of the linear model, the log-odds
        are linear, with :math:`w / v` for weight. The bias keeps the share of ones.
        """
        share = model.intercept.clamp(0.001, 0.999)
        variance = torch.maximum(model.variance, LEAST_UNEXPLAINED * share * (1 - share))
        weight = model.loadings / variance.unsqueeze(-1)
        bias = steady_bias(weight, share)
        return LinearStart(weight, bias, torch.ones_like(bias).bool(), 1 / variance)

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return -1 and 1, so that zero stands for missing alone."""
        return torch.where(observed, 2 * x - 1, 0.0)

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return the more probable value."""
        return (expected >= 0.5).to(expected) if decide else expected

    def forward(self, params: Tensor) -> BernoulliColumns:
        """Return Bernoulli columns."""
        return BernoulliColumns(params)


class CrossEntropyLikelihood(BernoulliLikelihood):
    r"""Columns with values from 0 to 1, each taken for the mean of many Bernoulli draws.

    The log-density is the cross entropy :math:`x \log p + (1 - x) \log(1 - p)`, as is common for
    grey values of pixels. It is no density: it does not integrate to one, so that scores can be
    compared among models of this kind alone. Given the latents a draw is the mean itself:
    imputations and intervals tell how uncertain the latents are, and nothing beside, and bounds
    move it without being evidence. ``estimate="mode"`` is 0 or 1, where cross entropy is least.
    """

    support: Support = "unit"

    def start(self, model: Linear) -> LinearStart:
        """Return logits that move as the linear model does, and keep the column's mean."""
        mean = model.intercept.clamp(0.01, 0.99)
        slope = 1 / (mean * (1 - mean))
        weight = model.loadings * slope.unsqueeze(-1)
        bias = steady_bias(weight, mean)
        return LinearStart(weight, bias, torch.ones_like(bias).bool(), slope)

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return the means, which rounding may have brought beyond an end."""
        return expected.clamp(0, 1)

    def forward(self, params: Tensor) -> CrossEntropyColumns:
        """Return columns of grey values."""
        return CrossEntropyColumns(params)


class ContinuousBernoulliLikelihood(Likelihood):
    """Columns with values from 0 to 1, such as grey values of pixels."""

    support: Support = "unit"

    def __init__(self, n_columns: int, min_scale: float = 0.01) -> None:
        super().__init__(n_columns, min_scale, n_params=n_columns)

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return values from -1 to 1."""
        return torch.where(observed, 2 * x - 1, 0.0)

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return the means, which rounding may have brought beyond an end."""
        return expected.clamp(0, 1)

    def forward(self, params: Tensor) -> ContinuousBernoulliColumns:
        """Return continuous Bernoulli columns."""
        return ContinuousBernoulliColumns(params)


class JoinedLikelihood(Likelihood):
    """Observation models of several kinds of columns, side by side.

    Parameters
    ----------
    parts : sequence of Likelihood
        One per kind.
    columns : sequence of sequence of int
        Indices of the columns of each part; together each column once.
    """

    order: Tensor

    def __init__(self, parts: Sequence[Likelihood], columns: Sequence[Sequence[int]]) -> None:
        joined = [column for part in columns for column in part]
        super().__init__(
            len(joined),
            n_params=sum(part.n_params for part in parts),
            n_inputs=sum(part.n_inputs for part in parts),
            n_expected=sum(part.n_expected for part in parts),
            n_straight=sum(part.n_straight for part in parts),
        )
        assert sorted(joined) == list(range(len(joined))), "each column once"
        self.parts = nn.ModuleList(parts)
        self.sizes = [part.n_params for part in parts]
        self._places = [tuple(part) for part in columns]
        for i, part in enumerate(columns):
            index = torch.tensor(list(part), dtype=torch.long)
            self.register_buffer(f"columns_{i}", index, persistent=False)
        self.register_buffer("order", torch.tensor(joined).argsort(), persistent=False)

    @property
    def each(self) -> list[Likelihood]:
        """Models of the parts."""
        return list(self.parts)  # type: ignore[arg-type]

    @property
    def columns(self) -> list[Tensor]:
        """Indices of the columns of each part."""
        return [getattr(self, f"columns_{i}") for i in range(len(self._places))]

    @property
    def supports(self) -> list[Support]:
        """Support of each column."""
        support: dict[int, Support] = {
            place: kind
            for places, part in zip(self._places, self.each, strict=True)
            for place, kind in zip(places, part.supports, strict=True)
        }
        return [support[place] for place in range(self.n_columns)]

    @property
    def starts_whole(self) -> bool:
        """Whether each column has its part in the linear start."""
        return all(part.starts_whole for part in self.each)

    def start(self, model: Linear) -> LinearStart:
        """Return the parts' starts, one after the other."""
        sizes = [part.n_straight for part in self.each]
        pieces = zip(*(values.split(sizes) for values in model), strict=True)
        starts = [part.start(Linear(*piece)) for part, piece in zip(self.each, pieces, strict=True)]
        return LinearStart(*map(torch.cat, zip(*starts, strict=True)))

    def straighten(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts' straightened values, one after the other."""
        pairs = zip(self.each, self.columns, strict=True)
        pieces = [part.straighten(x[..., c], observed[..., c]) for part, c in pairs]
        values, count = (torch.cat(list(piece), -1) for piece in zip(*pieces, strict=True))
        return values, count

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return the parts' point estimates."""
        sizes = [part.n_expected for part in self.each]
        pairs = zip(self.each, expected.split(sizes, -1), strict=True)
        points = [part.point(piece, decide) for part, piece in pairs]
        return torch.cat(points, -1).index_select(-1, self.order)

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return the parts' embeddings, one after the other."""
        pairs = zip(self.each, self.columns, strict=True)
        return torch.cat([part.embed(x[..., c], observed[..., c]) for part, c in pairs], -1)

    def forward(self, params: Tensor) -> JoinedColumns:
        """Return the parts' columns in the table's order."""
        pairs = zip(self.each, params.split(self.sizes, -1), strict=True)
        return JoinedColumns([part(piece) for part, piece in pairs], self.columns, self.order)


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


#: Observation models by name; each is called with the number of columns and the scale's floor.
LIKELIHOODS: dict[str, Callable[[int, float], Likelihood]] = {
    "normal": NormalLikelihood,
    "student_t": StudentTLikelihood,
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "cross_entropy": CrossEntropyLikelihood,
}
