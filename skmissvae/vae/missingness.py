"""Missingness that depends on the missing value itself (self-masking)."""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from scipy import special
from torch import Tensor, nn
from typing_extensions import override

from .functional import log_ndtr, pick_category
from .likelihoods.base import CodedColumns, ColumnDistribution, probability_grid
from .likelihoods.bernoulli import BernoulliColumns
from .likelihoods.normal import NormalColumns
from .likelihoods.point_mass import PointMassColumns
from .likelihoods.product import ProductColumns
from .likelihoods.transformed import TransformedColumns

_SPEED = 10.0  # steps of the optimizer, relative to those of other weights
_FIRST_SLOPE = 0.3  # if its sign is known


#: Which values of a column are missing more often; "ignorable" cells have no model, and those of a
#: "linear" column also depend on the other columns.
Direction = Literal["ignorable", "any", "high", "low", "linear"]


class SelfMasking(nn.Module):
    r"""Probit model of the missing cells of columns, given the values of these cells.

    .. math:: P(x_d \text{ is missing} \mid x) = \Phi(a_d x_d + b_d)

    Values are in standard deviations, after marginal transforms. The probability is a Normal
    distribution function since its expectation under a Normal column has a closed form. In "linear"
    columns :math:`\sum_{e \ne d} w_{de}\, x_e` is added to the probit, with the mean given the
    latents in place of a missing cell: missing cells stay independent given the latents.

    Parameters
    ----------
    directions : sequence of {"ignorable", "any", "high", "low", "linear"}
        For each column the values that are missing more often; the missing cells of an "ignorable"
        one have no model.
    shares : sequence of float
        Share of missing cells of each column.
    are_numbers : sequence of bool
        Which columns hold numbers, on which the missing cells of others may depend.
    """

    def __init__(
        self,
        directions: Sequence[Direction],
        shares: Sequence[float],
        are_numbers: Sequence[bool],
    ) -> None:
        super().__init__()
        signs = {"high": 1.0, "low": -1.0}
        sign = torch.tensor([signs.get(direction, 0.0) for direction in directions])
        self.sign = nn.Buffer(sign, persistent=False)
        has_model = torch.tensor([direction != "ignorable" for direction in directions])
        self.has_model = nn.Buffer(has_model, persistent=False)
        first = math.log(math.expm1(_FIRST_SLOPE))
        self.raw_slope = nn.Parameter(torch.where(sign == 0, 0.0, first) / _SPEED)
        intercept = torch.tensor([float(special.ndtri(share)) for share in shares])
        self.raw_intercept = nn.Parameter(intercept / _SPEED)
        self.raw_weight: nn.Parameter | None = None
        is_linear = torch.tensor([direction == "linear" for direction in directions])
        if is_linear.any():
            self.raw_weight = nn.Parameter(torch.zeros(len(directions), len(directions)))
        others = torch.tensor(are_numbers) & ~torch.eye(len(directions), dtype=torch.bool)
        self.has_weight = nn.Buffer(is_linear[:, None] & others, persistent=False)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return slopes and intercepts, (D,), zero in columns without a model."""
        raw = _SPEED * self.raw_slope
        slope = torch.where(self.sign == 0, raw, self.sign * nn.functional.softplus(raw))
        slopes = torch.where(self.has_model, slope, 0.0)
        return slopes, torch.where(self.has_model, _SPEED * self.raw_intercept, 0.0)

    def weights(self) -> Tensor | None:
        """Return the weights of other columns, (D, D), or None."""
        if self.raw_weight is None:
            return None
        return torch.where(self.has_weight, _SPEED * self.raw_weight, 0.0)

    def _coefficients(
        self, columns: ColumnDistribution, x: Tensor, observed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return slopes, (D,), and intercepts given the other cells, (D,) or (*, B, D).

        Values of missing cells, (B, D), are 0.
        """
        (slope, intercept), weights = self.coefficients(), self.weights()
        if weights is not None:
            values = torch.where(observed, columns.transformed(x), _means(columns)).to(weights)
            intercept = intercept + _products(values, weights)
        return slope, intercept

    def log_prob(
        self, columns: ColumnDistribution, x: Tensor, observed: Tensor, missing: Tensor
    ) -> Tensor:
        """Return the log-probability of each cell's mask given the latents, (*, B, D).

        Given are the columns, values of observed cells, and masks of observed and missing cells;
        cells in neither mask and columns without a model have zero.
        """
        x = torch.where(observed, x, 0.0)
        slope, intercept = self._coefficients(columns, x, observed)
        log_p_observed = log_ndtr(-(slope * columns.transformed(x) + intercept))
        log_p = torch.where(observed, log_p_observed, 0.0)
        missing = missing & self.has_model
        if missing.any():
            log_p_missing = _log_expected(columns, slope, intercept, self.has_model)
            log_p = torch.where(missing, log_p_missing, log_p)
        return torch.where(self.has_model, log_p, 0.0)

    def of_missing(
        self,
        columns: ColumnDistribution,
        x: Tensor,
        observed: Tensor,
        explained: Tensor | None = None,
    ) -> ColumnDistribution:
        """Return the distribution of missing cells, given that they are missing.

        Given are the columns, and values and mask of observed cells, (B, D). Cells of another mask,
        such as those with limits, are missing for other reasons.
        """
        slope, intercept = self._coefficients(columns, torch.where(observed, x, 0.0), observed)
        if explained is not None:
            slope, intercept = (torch.where(explained, 0.0, c) for c in (slope, intercept))
        return _selected(columns, slope, intercept, self.has_model)


class SelectedColumns(ColumnDistribution):
    r"""Columns of numbers given that their cells are missing under self-masking.

    .. math:: p(x_d | z, x_d \text{ is missing}) \propto p(x_d | z)\, \Phi(a_d x_d + b_d)

    The distribution function is interpolated between quantiles of the base, or for Normal columns
    of a Normal distribution with the same mean and variance.

    Parameters
    ----------
    base : ColumnDistribution
        The distributions of all cells.
    slope, intercept : Tensor of shape (D,) or (B, D)
        Coefficients of the missingness.
    """

    def __init__(self, base: ColumnDistribution, slope: Tensor, intercept: Tensor) -> None:
        self.base, self.slope, self.intercept = base, slope, intercept
        self.shape, self._near = base.shape, base
        if isinstance(base, NormalColumns):
            self._near = NormalColumns(*base.selected_moments(slope, intercept))

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        selection = log_ndtr(self.slope * self.base.transformed(x) + self.intercept)
        return self.base.log_prob(x) + (selection - self._normalizer).to(x)

    @override
    def mean(self) -> Tensor:
        if self._near is not self.base:
            return self._near.mean()
        _, values, mass, _ = self._grid
        return (mass * values).sum(0)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        return self._interpolated(self._near.cdf(x))

    @override
    def cdf_left(self, x: Tensor) -> Tensor:
        return self._interpolated(self._near.cdf_left(x))

    @override
    def icdf(self, u: Tensor) -> Tensor:
        logits, _, _, cumulative = self._grid
        shape = np.broadcast_shapes(u.shape, self.shape)
        # probabilities of a cell on the last axis
        target = u.to(cumulative).expand(shape).reshape(-1, *self.shape).movedim(0, -1).contiguous()
        index = torch.searchsorted(cumulative, target, right=True).clamp(1, len(logits) - 1)
        low, high = cumulative.gather(-1, index - 1), cumulative.gather(-1, index)
        share = ((target - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
        logit = logits[index - 1] + share * (logits[index] - logits[index - 1])
        return self._near.icdf(logit.movedim(-1, 0).reshape(shape).sigmoid().to(u))

    def _interpolated(self, p: Tensor) -> Tensor:
        """Return the distribution function where that of the base is p, (*, D)."""
        logits, _, _, cumulative = self._grid
        place = (p.to(cumulative).logit(1e-15) - logits[0]) / (logits[1] - logits[0])
        place = place.clamp(0, len(logits) - 1)
        index = place.long().clamp_max(len(logits) - 2)
        low, high = pick_category(cumulative, index), pick_category(cumulative, index + 1)
        inside = (low + (place - index) * (high - low)).to(p)
        return torch.where(p <= 0, 0.0, torch.where(p >= 1, 1.0, inside))

    @functools.cached_property
    def _normalizer(self) -> Tensor:
        """Log-probability that a cell is missing, (*, D)."""
        return self.base.log_expected_probit(self.slope, self.intercept)

    @functools.cached_property
    def _grid(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits of probabilities, the quantiles there, their mass, and its sum below.

        (K,), (K, *, D), (K, *, D) and (*, D, K).
        """
        logits, log_weights = probability_grid(self.base.n_quantiles, self.slope.device)
        u = logits.sigmoid().tolist()
        like = self.slope.new_zeros(self.shape[-1])
        values = torch.stack([self._near.smooth_icdf(torch.full_like(like, p)) for p in u])
        log_p = log_ndtr(self.slope * self.base.transformed(values) + self.intercept)
        if self._near is not self.base:
            log_p = log_p + self.base.log_prob(values) - self._near.log_prob(values)
        mass = (log_p + log_weights.view(-1, *[1] * (log_p.ndim - 1))).softmax(0)
        below = mass.cumsum(0) - 0.5 * (mass + mass[:1])
        cumulative = (below / below[-1:]).movedim(0, -1).contiguous()
        return logits, values, mass.to(values), cumulative


def _products(values: Tensor, weights: Tensor) -> Tensor:
    """Return products of a matrix with the values of each row: (*, B, D), (D, D) -> (*, B, D).

    The bits of a row do not depend on other rows in inference, nor on the number of draws.
    """
    if torch.is_grad_enabled():
        return values @ weights.T
    parts = [(row * values).sum(-1) if row.any() else values.new_zeros(()) for row in weights]
    return torch.stack([part.expand(values.shape[:-1]) for part in parts], -1)


def _means(columns: ColumnDistribution) -> Tensor:
    """Return the means of columns, in standard deviations after transforms, zero of categories."""
    if isinstance(columns, ProductColumns):
        return columns.join([_means(part) for part in columns.parts])
    if isinstance(columns, TransformedColumns):
        return _means(columns.base)
    if isinstance(columns, CodedColumns):
        return torch.zeros_like(columns.expected()[..., : columns.shape[-1]])
    return columns.transformed(columns.mean())


def _log_expected(
    columns: ColumnDistribution, slope: Tensor, intercept: Tensor, has_model: Tensor
) -> Tensor:
    """Return the log-probabilities that cells are missing, (*, D), for columns with a model."""
    if not isinstance(columns, ProductColumns):
        return columns.log_expected_probit(slope, intercept)
    return columns.join(
        [
            _log_expected(part, slope[places], intercept[..., places], has_model[places])
            if has_model[places].any()
            else slope.new_zeros(part.shape, dtype=torch.float64)
            for part, places in zip(columns.parts, columns.columns, strict=True)
        ]
    )


def _selected(
    columns: ColumnDistribution, slope: Tensor, intercept: Tensor, has_model: Tensor
) -> ColumnDistribution:
    """Return columns given that their cells are missing; (D,) are those with a model.

    Coefficients may differ between rows, but not the class of the columns, on which draws depend.
    """
    if isinstance(columns, ProductColumns):
        pairs = zip(columns.parts, columns.columns, strict=True)
        parts = [
            _selected(part, slope[..., c], intercept[..., c], has_model[c]) for part, c in pairs
        ]
        return ProductColumns(parts, columns.columns, columns.order)
    if isinstance(columns, CodedColumns) or not has_model.any():
        return columns
    if isinstance(columns, TransformedColumns):
        base = _selected(columns.base, slope, intercept, has_model)
        return TransformedColumns(base, columns.transform)
    if isinstance(columns, PointMassColumns):
        at_location = log_ndtr(slope * columns.transformed(columns.locations) + intercept)
        ratio = at_location - columns.base.log_expected_probit(slope, intercept)
        base = _selected(columns.base, slope, intercept, has_model)
        logits = columns.logits + ratio.to(columns.logits)
        return PointMassColumns(base, logits, columns.locations)
    if type(columns) is BernoulliColumns:
        ratio = log_ndtr(slope + intercept) - log_ndtr(intercept)
        return BernoulliColumns(columns.logits + ratio.to(columns.logits))
    return SelectedColumns(columns, slope, intercept)
