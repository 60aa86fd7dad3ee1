"""Base classes of likelihoods and of the distributions of columns."""

import functools
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.random import Noise
from ..functional import log_ndtr, raw_above, softplus_above

_N_NODES = 24  # of the quadrature over quantiles, for means without a formula


_MIN_PROBABILITY = 1e-300  # with a finite quantile and logarithm in double precision


_N_BISECTIONS = 40  # 1e-12 of the width of the bracket


_MIN_WIDTH = 1e-5  # of an interval, in scales, for a difference of the distribution function


class Limits(NamedTuple):
    """Intervals in which missing cells are known to lie, infinite for all other cells."""

    low: Tensor  # (*, D)   in double precision
    high: Tensor  # (*, D)

    @classmethod
    def from_arrays(
        cls, limits: tuple[NDArray[np.float64], NDArray[np.float64]] | None, device: torch.device
    ) -> Self | None:
        """Return the limits of rows on a device, given arrays (N, D) of lower and upper ones."""
        if limits is None:
            return None
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in limits))

    @property
    def exist(self) -> Tensor:
        """Which cells have a limit, (*, D)."""
        return self.low.isfinite() | self.high.isfinite()

    def of(self, cells: Tensor) -> Self:
        """Return the limits of some cells, given their mask (*, D)."""
        low, high = (
            torch.where(cells, self.low, -torch.inf),
            torch.where(cells, self.high, torch.inf),
        )
        return self._replace(low=low, high=high)

    def part(self, rows: Any) -> Self:
        """Return the limits of the rows that an index selects."""
        return self._replace(low=self.low[rows], high=self.high[rows])


class ColumnDistribution(ABC):
    """Distributions of D columns, independent given the latents; batch (*, D)."""

    #: Quantiles by which expectations without a formula are computed.
    n_quantiles: ClassVar[int] = 97

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x_d | z): (*, D) -> (*, D), not summed over columns."""

    @abstractmethod
    def mean(self) -> Tensor:
        """Return E[x_d | z], (*, D)."""

    @abstractmethod
    def cdf(self, x: Tensor) -> Tensor:
        """Return P(x_d <= x | z), (*, D)."""

    @abstractmethod
    def icdf(self, u: Tensor) -> Tensor:
        """Return the u-quantiles: probabilities (*, D), or (D,) for all latents -> (*, D).

        Probabilities may have more leading axes, (n, *, D), as has the result.
        """

    @functools.cached_property
    def shape(self) -> torch.Size:
        """Shape of the batch, (*, D)."""
        return self.mean().shape

    def cdf_left(self, x: Tensor) -> Tensor:
        """Return P(x_d < x | z), (*, D), the left limit of the distribution function."""
        return self.cdf(x)

    def interval_probability(self, low: Tensor, high: Tensor) -> Tensor:
        """Return P(low <= x_d <= high | z) for bounds (D,) or (*, D), also infinite: (*, D)."""
        shape = np.broadcast_shapes(self.shape, low.shape, high.shape)
        lower = torch.where(low.isinf(), 0.0, self.cdf_left(finite(low).expand(shape)))
        upper = torch.where(high.isinf(), 1.0, self.cdf(finite(high).expand(shape)))
        return (upper - lower).clamp_min(0)

    def log_interval(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log P(low <= x_d <= high | z) with its gradients, (*, D).

        Bounds are in double precision, (D,) or (*, D), and may be infinite.
        """
        return self.interval_probability(low, high).double().clamp_min(_MIN_PROBABILITY).log()

    def transformed(self, x: Tensor) -> Tensor:
        """Return values after the marginal transform of their column: (*, D) -> (*, D)."""
        return x

    def smooth_icdf(self, u: Tensor) -> Tensor:
        """Return quantiles as ``icdf``, with gradients also for discrete columns."""
        return self.icdf(u)

    def log_expected_probit(self, slope: Tensor, intercept: Tensor) -> Tensor:
        r"""Return :math:`\log E[\Phi(a_d T(x_d) + b_d) | z]`, with gradients, (*, D).

        Coefficients are (D,), and T is the marginal transform.
        """
        logits, log_weights = probability_grid(self.n_quantiles, slope.device)
        terms = []
        for u, log_weight in zip(logits.sigmoid().tolist(), log_weights.tolist(), strict=True):
            x = self.smooth_icdf(slope.new_full(slope.shape, u))
            terms.append(log_weight + log_ndtr(slope * self.transformed(x) + intercept))
        return torch.stack(terms).logsumexp(0)

    def truncated_icdf(self, u: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the u-quantiles given low <= x_d <= high: (*, D)."""
        lower = torch.where(low.isinf(), 0.0, self.cdf_left(finite(low).expand(self.shape)))
        return self.icdf((lower + u * self.interval_probability(low, high)).clamp(0, 1))

    def truncated_mean(self, low: Tensor, high: Tensor, probability: Tensor) -> Tensor | None:
        """Return E[x_d | z, low <= x_d <= high], or None for columns without a formula.

        Finite or infinite bounds (D,) and the probability of the condition (*, D) -> (*, D).
        """
        return None

    def mean_by_quadrature(self, like: Tensor) -> Tensor:
        """Return the means as integrals over quantiles, with the data type of ``like``, (*, D)."""
        # probabilities of shape (D,): quantiles of standard distributions are slow
        shape = like.shape[-1:]
        terms = [weight * self.icdf(like.new_full(shape, u)) for u, weight in quadrature()]
        return torch.stack(terms).sum(0)

    def sample(self, noise: Noise) -> Tensor:
        """Return draws, (*, D)."""
        return self.icdf(noise.uniform(*self.shape))

    def completion(self, noise: Noise) -> Tensor:
        """Return draws from the distribution of ``log_prob``, for Markov chains, (*, D)."""
        return self.sample(noise)

    def expected(self) -> Tensor:
        """Return the means on which a point estimate is based, (*, n_expected).

        Their averages over latents are arguments of the likelihood's ``point``.
        """
        return self.mean()


class DiscreteColumns(ColumnDistribution):
    """Columns of integers, such as counts and codes of categories."""

    @override
    def cdf_left(self, x: Tensor) -> Tensor:
        return self.cdf(x.ceil() - 1)


class CodedColumns(DiscreteColumns):
    """Columns of codes 0, 1, ... of categories."""

    @abstractmethod
    def probabilities(self) -> Tensor:
        """Return the probability of each category, (*, D, C); 0 if a column does not have it."""


class LocationScaleColumns(ColumnDistribution):
    """Columns with a symmetric distribution, location and scale (*, D)."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale, self.shape = loc, scale, loc.shape

    @abstractmethod
    def _standard_cdf(self, t: Tensor) -> Tensor:
        """Return P(T <= t) for location 0 and scale 1, with full precision for t < 0."""

    @abstractmethod
    def _standard_log_cdf(self, t: Tensor) -> Tensor:
        """Return log P(T <= t) for location 0 and scale 1, in double precision."""

    @abstractmethod
    def _standard_icdf(self, p: Tensor) -> Tensor:
        """Return the quantiles for location 0 and scale 1."""

    @override
    def mean(self) -> Tensor:
        """Return the locations; subclasses have a finite mean."""
        return self.loc

    @override
    def cdf(self, x: Tensor) -> Tensor:
        return self._standard_cdf((x - self.loc) / self.scale)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        tiny = 1e-7 if u.dtype == torch.float32 else 1e-15  # quantiles of 0 and 1 are infinite
        return self.loc + self.scale * self._standard_icdf(u.clamp(tiny, 1 - tiny))

    @override
    def interval_probability(self, low: Tensor, high: Tensor) -> Tensor:
        """Return P(low <= x_d <= high | z), with full precision in both tails."""
        a, b, _ = self._mirrored_bounds(low, high)
        probability = (self._standard_cdf(b) - self._standard_cdf(a)).clamp_min(0)
        unbounded = low.isinf() & high.isinf()  # one even if the location is NaN
        return torch.where(unbounded, 1.0, probability)

    @override
    def log_interval(self, low: Tensor, high: Tensor) -> Tensor:
        """Return log P(low <= x_d <= high | z), also of intervals far from the location."""
        loc, scale = self.loc.double(), self.scale.double()
        a, b = (finite(low) - loc) / scale, (finite(high) - loc) / scale
        has_low, has_high = low.isfinite(), high.isfinite()
        has_both = has_low & has_high
        # mirrored into the lower tail, where logarithms of small probabilities are accurate
        is_above = a + b > 0
        upper = torch.where(has_both, torch.where(is_above, -a, b), torch.where(has_high, b, -a))
        # any value below replaces a limit that does not exist, as gradients must be finite
        lower = torch.where(has_both, torch.where(is_above, -b, a), upper - 1)
        log_upper = self._standard_log_cdf(upper)
        log_ratio = (self._standard_log_cdf(lower) - log_upper).clamp_max(-_MIN_PROBABILITY)
        rest = torch.where(has_both, torch.log(-torch.expm1(log_ratio)), 0.0)
        result = torch.where(has_low | has_high, log_upper + rest, 0.0)
        # differences of the distribution function lose their digits
        width = torch.where(has_both, finite(high) - finite(low), 1.0)
        middle = finite(low) + torch.where(has_both, 0.5 * width, 0.0)
        at_middle = self.log_prob(middle).double() + width.clamp_min(_MIN_PROBABILITY).log()
        return torch.where(has_both & (width < _MIN_WIDTH * scale), at_middle, result)

    @override
    def truncated_icdf(self, u: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return the u-quantiles given low <= x_d <= high, with full precision in both tails."""
        a, b, mirrored = self._mirrored_bounds(low, high)
        lower = self._standard_cdf(a)
        u = torch.where(mirrored, 1 - u, u)
        p = lower + u * (self._standard_cdf(b) - lower)
        t = self._standard_icdf(p.clamp(_MIN_PROBABILITY, 1 - 1e-15))
        return self.loc + self.scale * torch.where(mirrored, -t, t)

    def _mirrored_bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return standardized bounds, mirrored at 0 where the lower one is positive, and where."""
        a, b = (low - self.loc) / self.scale, (high - self.loc) / self.scale
        return torch.where(a > 0, -b, a), torch.where(a > 0, -a, b), a > 0


def finite(bound: Tensor) -> Tensor:
    """Replace infinite bounds by zero."""
    return bound.nan_to_num(posinf=0.0, neginf=0.0)


@functools.cache
def quadrature() -> tuple[tuple[float, float], ...]:
    """Return probabilities and weights of a Gauss-Legendre quadrature over quantiles."""
    nodes, weights = special.roots_legendre(_N_NODES)
    return tuple(zip((0.5 + 0.5 * nodes).tolist(), (0.5 * weights).tolist(), strict=True))


def probability_grid(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return logits of n probabilities, and log-weights of expectations over quantiles, (n,).

    It is a trapezoidal rule over the logits, which includes the tails.
    """
    logits = torch.linspace(-12, 12, n, dtype=torch.float64, device=device)
    log_density = nn.functional.logsigmoid(logits) + nn.functional.logsigmoid(-logits)
    return logits, log_density.log_softmax(0)


def quantile(columns: ColumnDistribution, q: float, low: Tensor, high: Tensor) -> Tensor:
    """Return the q-quantile of a mixture of distributions with equal weights, by bisection.

    Parameters
    ----------
    columns : ColumnDistribution
        Batch (R, B, D); the mixture is over R.
    q : float
        Probability.
    low, high : Tensor of shape (B, D)
        Bracket of the quantile.

    Returns
    -------
    Tensor of shape (B, D)
        The smallest value whose distribution function is at least q, up to 1e-12 times the width
        of the bracket.
    """
    for _ in range(_N_BISECTIONS):
        middle = 0.5 * (low + high)
        below = columns.cdf(middle).mean(0) < q
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high


#: All numbers; 0 and 1; 0 to 1; integers; codes 0, 1, ... of categories; all numbers, with a point
#: mass at one of them.
Support = Literal["real", "binary", "unit", "whole", "coded", "atom"]


class LinearModel(NamedTuple):
    """Factor analysis of linearized columns: t = W z + b + noise, with z ~ N(0, I)."""

    loadings: Tensor  # (S, L)
    intercept: Tensor  # (S,)
    variance: Tensor  # (S,)   of the noise


class LinearInitialization(NamedTuple):
    """Initial decoder outputs ``weight z + bias`` and noise precisions of a likelihood."""

    weight: Tensor  # (P, L)
    bias: Tensor  # (P,)
    initialized: Tensor  # (P,) bool   which outputs are initialized
    precision: Tensor  # (S,)   of the noise of linearized columns


class Likelihood(nn.Module, ABC):
    """Observation model of D columns: a module from decoder outputs to distributions.

    Parameters
    ----------
    n_columns : int
        Number of columns D.
    min_scale : float
        Floor of the scale, in standard deviations of the column, for likelihoods with a scale.
    n_params : int
        Number of decoder outputs P.
    n_inputs, n_expected : int, optional
        Widths of the outputs of ``embed`` and of the columns' ``expected``; None means D.
    n_linear : int
        Width S of the outputs of ``linearize``; 0 for likelihoods without linear initialization.
    """

    #: Values of a column, by which tables are encoded for the model and decoded.
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

    @property
    def covers_all_columns(self) -> bool:
        """Whether the linear initialization includes every column."""
        return self.n_linear >= self.n_columns

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return the encoder's inputs, zero where missing: (*, D), (*, D) -> (*, n_inputs)."""
        return torch.where(observed, x, 0.0)

    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return values for factor analysis, and which are observed: (*, D), (*, D) -> (*, S)."""
        return x[..., : self.n_linear], observed[..., : self.n_linear]

    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        """Return decoder outputs that approximate a linear model of the linearized values.

        By default the first outputs are S locations and, unless there are only S outputs, S raw
        scales of the linearized columns; other outputs are not initialized.
        """
        S, L = model.loadings.shape
        # softplus_above cannot return the floor itself
        scale = (model.variance.sqrt() - self.min_scale).clamp_min(0.01) + self.min_scale
        weight = model.loadings.new_zeros(self.n_params, L)
        bias = weight.new_zeros(self.n_params)
        initialized = torch.arange(self.n_params, device=bias.device) < 2 * S
        weight[:S], bias[:S] = model.loadings, model.intercept
        if self.n_params > S:
            bias[S : 2 * S] = raw_above(scale, self.min_scale)
        return LinearInitialization(weight, bias, initialized, scale**-2)

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return point estimates: (B, n_expected) -> (B, D).

        Estimates of binary columns are the more probable value if ``decide``, else the mean.
        """
        return expected

    @abstractmethod
    def forward(self, params: Tensor) -> ColumnDistribution:
        """Return p(x | z): (*, P) -> batch (*, D)."""

    def loc_scale(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Return locations, the first D outputs, and scales of the others: (*, 2 D) -> (*, D)."""
        loc, raw_scale = params.unflatten(-1, (2, self.n_columns)).unbind(-2)
        return loc, softplus_above(raw_scale, self.min_scale)


def log_logistic_interval(low: Tensor, width: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    r"""Return :math:`\log(\sigma(a + w) - \sigma(a))` of the logistic distribution, stably.

    It is computed as :math:`\log\sigma(a + w) + \log\sigma(-a) + \log(1 - e^{-w})`. Intervals have
    no lower edge where ``lowest`` is true and no upper edge where ``highest`` is true.
    """
    finite_width = torch.where(lowest | highest, 1.0, width)
    return (
        torch.where(highest, 0.0, nn.functional.logsigmoid(low + width))
        + torch.where(lowest, 0.0, nn.functional.logsigmoid(-low))
        + torch.where(lowest | highest, 0.0, torch.log(-torch.expm1(-finite_width)))
    )
