"""Observation models made of others: of warped values, and with a value that is often repeated."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .column_distributions import ColumnDistribution, CrossEntropyColumns, JoinedColumns, quadrature
from .likelihoods import Likelihood, Linear, LinearStart
from .noise import Noise
from .warps import Warp

_NOTHING = 1e-290  # what is within bounds, where digits are lost
_LEAST_SHARE = -60.0  # logarithm of what is within bounds, where nothing is: all latents the same


def integral(columns: ColumnDistribution, like: Tensor) -> Tensor:
    """Return the means of columns by their quantiles, of the shape and type of ``like``."""
    # one number per column: quantiles of standard distributions are slow
    width = like.shape[-1:]
    parts = [weight * columns.icdf(like.new_full(width, u)) for u, weight in quadrature()]
    return torch.stack(parts).sum(0)


class WarpedColumns(ColumnDistribution):
    """Columns whose warped values have known distributions.

    Parameters
    ----------
    base : ColumnDistribution
        Distributions of the warped values.
    warp : Warp
        From values to warped values.
    """

    def __init__(self, base: ColumnDistribution, warp: Warp) -> None:
        self.base, self.warp = base, warp

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of each cell."""
        return self.base.log_prob(self.warp(x)) + self.warp.log_slope(x)

    def mean(self) -> Tensor:
        """Return the means."""
        return integral(self, self.base.mean())

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self.base.shape

    def sample(self, noise: Noise) -> Tensor:
        """Return draws."""
        return self.warp.inverse(self.base.sample(noise))

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        return self.base.cdf(self.warp(x))

    def below(self, x: Tensor) -> Tensor:
        """Return P(x_d < x | z)."""
        return self.base.below(self.warp(x))

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        return self.warp.inverse(self.base.icdf(u))


class WarpedLikelihood(Likelihood):
    r"""A continuous observation model of warped values.

    .. math:: p(x | z) = p_{base}(T(x) | z)\, T'(x)

    Parameters
    ----------
    base : Likelihood
        Model of the warped values.
    warps : array-like of shape (n_columns, 4)
        Parameters of ``Warp``.
    """

    def __init__(self, base: Likelihood, warps: Sequence[Sequence[float]]) -> None:
        n_params, n_straight = base.n_params, base.n_straight
        super().__init__(base.n_columns, base.min_scale, n_params=n_params, n_straight=n_straight)
        self.base, self.warp = base, Warp(base.n_columns, warps)

    def straighten(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the base makes of warped values."""
        return self.base.straighten(self.warp(x), observed)

    def start(self, model: Linear) -> LinearStart:
        """Return the base's start."""
        return self.base.start(model)

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return what the encoder sees of warped values."""
        return self.base.embed(self.warp(torch.where(observed, x, 0.0)), observed)

    def forward(self, params: Tensor) -> WarpedColumns:
        """Return warped columns."""
        return WarpedColumns(self.base(params), self.warp)


class BoundedColumns(ColumnDistribution):
    """Columns whose distributions are cut off: what imputations may be, not what evidence is.

    Parameters
    ----------
    base : ColumnDistribution
        The distributions, in double precision for the sake of their tails.
    low, high : Tensor of shape (D,)
        Bounds, infinite where there are none.
    """

    def __init__(self, base: ColumnDistribution, low: Tensor, high: Tensor) -> None:
        self.base, self.low, self.high = base, low, high
        self._share = base.share(low, high)
        self._share = torch.where(self._share < _NOTHING, 0.0, self._share)
        self._free = self._share >= 1

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self._share.shape

    def log_share(self) -> Tensor:
        """Return the logarithm of what lies within the bounds, (*, D)."""
        if isinstance(self.base, CrossEntropyColumns):  # certain given z: moved to a bound
            return torch.zeros_like(self._share)
        return self._share.log().clamp_min(_LEAST_SHARE)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of each cell within the bounds."""
        inside = (x >= self.low) & (x <= self.high)
        return torch.where(inside, self.base.log_prob(x) - self.log_share(), -torch.inf)

    def mean(self) -> Tensor:
        """Return the means."""
        share = torch.where(self._share > 0, self._share, 1.0)
        within = self.base.mean_between(self.low, self.high, share)
        if within is None:
            within = integral(self, self._share)
        else:  # but for rounding
            within = torch.minimum(torch.maximum(within, self.low), self.high)
            within = torch.where(self._share > 0, within, self._edge)
        return torch.where(self._free, self.base.mean(), within)

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        inside = self.base.share(self.low, torch.minimum(x, self.high)) / self._share.clamp_min(
            _NOTHING
        )
        # where nothing lies within the bounds all is at the nearest one
        inside = torch.where(self._share > 0, inside.clamp(0, 1), (x >= self._edge).to(inside))
        return torch.where(x < self.low, 0.0, torch.where(x >= self.high, 1.0, inside))

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        at = self.base.icdf_between(u, self.low, self.high)
        at = torch.minimum(torch.maximum(at, self.low), self.high)
        return torch.where(self._share > 0, at, self._edge)

    @functools.cached_property
    def _edge(self) -> Tensor:
        """Return the bound nearest to what there is."""
        free = self.low.new_full((), -torch.inf)
        above = (self.base.share(free, self.low) >= 0.5) | self.high.isinf()
        return torch.where(above & self.low.isfinite(), self.low, self.high)


def bounded(
    columns: ColumnDistribution, low: Tensor, high: Tensor
) -> tuple[ColumnDistribution, Tensor]:
    """Return columns cut off at bounds of shape (D,), and the logarithm of what is left of them.

    Coded columns have infinite bounds.
    """
    if isinstance(columns, JoinedColumns):
        pairs = zip(columns.parts, columns.columns, strict=True)
        parts = [bounded(part, low[places], high[places]) for part, places in pairs]
        joined = JoinedColumns([part for part, _ in parts], columns.columns, columns.order)
        return joined, joined.join([share for _, share in parts])
    if bool((low.isinf() & high.isinf()).all()):
        return columns, low.new_zeros(columns.shape)
    cut = BoundedColumns(columns, low, high)
    return cut, cut.log_share()


class AtomColumns(ColumnDistribution):
    """Columns with a value of its own probability, the atom, beside a continuum.

    Parameters
    ----------
    base : ColumnDistribution
        Distributions of all other values.
    logits : Tensor of shape (*, D)
        Of the atom.
    atoms : Tensor of shape (D,)
        The values.
    """

    def __init__(self, base: ColumnDistribution, logits: Tensor, atoms: Tensor) -> None:
        self.base, self.logits, self.atoms = base, logits, atoms

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self.logits.shape

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability of an atom, and the log-density of other cells."""
        atom = is_atom(x, self.atoms)
        # beside the atom, or its density would be infinite where a warp has no slope
        other = self.base.log_prob(x)
        log_p = nn.functional.logsigmoid(self.logits)
        return torch.where(atom, log_p, log_p - self.logits + other)

    def mean(self) -> Tensor:
        """Return the means."""
        p = self.logits.sigmoid()
        return p * self.atoms + (1 - p) * self.base.mean()

    def sample(self, noise: Noise) -> Tensor:
        """Return draws."""
        other = self.base.sample(noise)
        atom = noise.uniform(*self.logits.shape) < self.logits.sigmoid()
        return torch.where(atom, self.atoms, other)

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        p = self.logits.sigmoid()
        reached = (x >= self.atoms) | is_atom(x, self.atoms)
        return (1 - p) * self.base.cdf(x) + torch.where(reached, p, 0.0)

    def below(self, x: Tensor) -> Tensor:
        """Return P(x_d < x | z)."""
        p = self.logits.sigmoid()
        passed = (x > self.atoms) & ~is_atom(x, self.atoms)
        return (1 - p) * self.base.below(x) + torch.where(passed, p, 0.0)

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        p = self.logits.sigmoid()
        start = (1 - p) * self.base.cdf(self.atoms.expand(p.shape))
        below, above = u < start, u > start + p
        rest = torch.where(below, u, u - p) / (1 - p).clamp_min(1e-6)
        return torch.where(below | above, self.base.icdf(rest.clamp(0, 1)), self.atoms)


class AtomLikelihood(Likelihood):
    r"""An observation model with a value of its own probability, such as the many zeros of rain.

    .. math:: P(x = a) = \pi(z), \quad p(x | x \ne a) = (1 - \pi(z))\, p_{base}(x | z)

    Parameters
    ----------
    base : Likelihood
        Model of all other values.
    atoms : sequence of float
        The value of each column, in its model's units.
    shares : sequence of float
        Share of the observed cells that hold it.
    """

    atoms: Tensor
    log_odds: Tensor
    support = "atom"

    def __init__(self, base: Likelihood, atoms: Sequence[float], shares: Sequence[float]) -> None:
        n = base.n_columns
        super().__init__(
            n,
            base.min_scale,
            n_params=base.n_params + n,
            n_inputs=base.n_inputs + n,
            n_straight=base.n_straight,
        )
        self.base = base
        share = np.asarray(shares, dtype=np.float64)
        self.register_buffer("atoms", torch.tensor(list(atoms), dtype=torch.float32))
        log_odds = torch.tensor(np.log(share / (1 - share)), dtype=torch.float32)
        self.register_buffer("log_odds", log_odds)

    def straighten(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the base's values, those of atoms as if they were missing."""
        return self.base.straighten(x, observed & ~is_atom(x, self.atoms))

    def start(self, model: Linear) -> LinearStart:
        """Return the base's start; the atoms' shares start as they are."""
        base = self.base.start(model)
        n, after = self.n_columns, nn.functional.pad
        weight, bias = after(base.weight, (0, 0, 0, n)), after(base.bias, (0, n))
        return LinearStart(weight, bias, after(base.chosen, (0, n)), base.precision)

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return what the base gives, and for atoms a one more, -1 for other cells."""
        atom = is_atom(x, self.atoms)
        sign = torch.where(observed, 2 * atom.to(x) - 1, 0.0)
        return torch.cat([self.base.embed(x, observed), sign], -1)

    def forward(self, params: Tensor) -> AtomColumns:
        """Return columns with atoms; a decoder that says nothing leaves their shares."""
        logits = params[..., self.base.n_params :] + self.log_odds
        return AtomColumns(self.base(params[..., : self.base.n_params]), logits, self.atoms)


def is_atom(x: Tensor, atoms: Tensor) -> Tensor:
    """Tell which values are the atom, but for rounding: (*, D), (D,) -> (*, D)."""
    return (x - atoms).abs() <= 1e-6 * (1 + atoms.abs())
