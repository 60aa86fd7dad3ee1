"""Observation models of columns whose values can be counted: categories, ranks, whole numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .column_distributions import CountableColumns, quadrature
from .distributions import raw_above, softplus_above
from .likelihoods import LEAST_UNEXPLAINED, Likelihood, Linear, LinearStart, located
from .warps import Warp

_MAX_CLASSES = 255  # of a categorical column, as in scikit-learn's histogram trees
_EDGE = 1e-6  # probabilities that stand for 0 and 1 where a quantile would be infinite
_SD = 3**0.5 / torch.pi  # scale of a logistic distribution of standard deviation one
MAX_CONTRASTED = 20  # classes beyond which the linear start leaves a column alone
_ROUNDS, _POINTS = 50, 1024  # in which biases settle, and latents over which they are averaged
_NARROW = 1e-3  # width of a cell from which on its slope stands for a difference of edges


def log_interval(low: Tensor, width: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
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


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Return the entry of the last axis that each cell names: (*, D, C), (*, D) -> (*, D)."""
    shape = torch.broadcast_shapes(values.shape[:-1], index.shape)
    chosen = index.expand(shape).unsqueeze(-1)
    return values.expand(*shape, -1).gather(-1, chosen).squeeze(-1)


class WholeColumns(CountableColumns):
    """Whole numbers: a logistic distribution, of warped values, cut into cells.

    Parameters
    ----------
    loc, scale : Tensor of shape (*, D)
        Mean and standard deviation of the warped values.
    warp : Warp
        From values to warped values.
    step, low : Tensor of shape (D,)
        Distance of neighbours; the least value, whose cell has all that lies below, or -inf.
    origin : Tensor of shape (D,)
        A value of the grid.
    """

    def __init__(
        self, loc: Tensor, scale: Tensor, warp: Warp, step: Tensor, low: Tensor, origin: Tensor
    ) -> None:
        self.loc, self.scale, self.warp = loc, scale * _SD, warp
        self.step, self.low, self.origin = step, low, origin

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self.loc.shape

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability of each cell."""
        half = 0.5 * self.step
        low = self.warp(x - half)
        slope = self.step * self.warp.log_slope(x).exp()
        width = torch.where(self.step < _NARROW, slope, self.warp(x + half) - low)
        lowest = x < self.low + half
        never = torch.zeros_like(lowest)
        return log_interval((low - self.loc) / self.scale, width / self.scale, lowest, never)

    def mean(self) -> Tensor:
        """Return the means.

        Without a warp it is a sum over cells: of the nearest ones where they are wide, else by
        the first three terms of Euler and Maclaurin's formula for that of the upper tail. With one
        it is an integral over quantiles.
        """
        if self.warp.identity:
            return torch.where(self.scale < 0.5 * self.step, self._mean_of_wide(), self._smooth())
        total = torch.zeros_like(self.loc)
        for u, weight in quadrature():
            at = self.warp.inverse(self.loc + self.scale * math.log(u / (1 - u)))
            total = total + weight * torch.maximum(at, self.low)
        return total

    def _smooth(self) -> Tensor:
        edge = self.low.nan_to_num(neginf=0.0) + 0.5 * self.step
        above = (self.loc - edge) / self.scale
        first = above.sigmoid()
        slope = first * (1 - first) / self.scale
        tail = self.scale * nn.functional.softplus(above) + 0.5 * self.step * first
        tail = tail + self.step.square() / 12 * slope
        return torch.where(self.low.isinf(), self.loc, self.low + tail)

    def _mean_of_wide(self) -> Tensor:
        nearest = torch.maximum(self._on_grid(self.loc), self.low)
        steps = torch.arange(4, dtype=self.loc.dtype, device=self.loc.device).unsqueeze(-1) + 0.5
        away = steps * self.step  # (4, D)   from the nearest cell's middle to edges on either side
        loc, scale, middle = (v.unsqueeze(-2) for v in (self.loc, self.scale, nearest))
        beyond = ((loc - middle - away) / scale).sigmoid()
        before = ((middle - away - loc) / scale).sigmoid()
        before = torch.where(middle - away > self.low, before, 0.0)
        return nearest + self.step * (beyond - before).sum(-2)

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        at = self.warp.inverse(self.loc + self.scale * u.clamp(_EDGE, 1 - _EDGE).logit())
        return torch.maximum(self._on_grid(at), self.low)

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        # a little above, lest a value of the grid be taken for the one below
        cell = ((x - self.origin) / self.step + 1e-3).floor() * self.step + self.origin
        below = ((self.warp(cell + 0.5 * self.step) - self.loc) / self.scale).sigmoid()
        return torch.where(cell < self.low - 0.5 * self.step, 0.0, below)

    def below(self, x: Tensor) -> Tensor:
        """Return P(x_d < x | z)."""
        cell = ((x - self.origin) / self.step - 1e-3).ceil() - 1
        return self.cdf(cell * self.step + self.origin)

    def _on_grid(self, x: Tensor) -> Tensor:
        return ((x - self.origin) / self.step).round() * self.step + self.origin


class WholeLikelihood(Likelihood):
    r"""Whole numbers, such as counts and ages, by a discretised logistic distribution.

    .. math:: P(n) = \sigma\left(\frac{T(n + 1/2) - \mu}{s}\right)
                   - \sigma\left(\frac{T(n - 1/2) - \mu}{s}\right),

    where T is the column's warp. The least value of a count has all that lies below it.

    Parameters
    ----------
    steps, lows, origins : sequence of float
        Distance of neighbouring values, the least one (-inf where there is none), and one of them.
    min_scale : float
        Floor of the standard deviation, in those of the column.
    warps : array-like of shape (n_columns, 4), optional
        Parameters of ``Warp``; None leaves values as they are.
    """

    steps: Tensor
    lows: Tensor
    origins: Tensor
    support = "whole"

    def __init__(
        self,
        steps: Sequence[float],
        lows: Sequence[float],
        origins: Sequence[float],
        min_scale: float = 0.01,
        warps: Sequence[Sequence[float]] | None = None,
    ) -> None:
        n = len(steps)
        super().__init__(n, min_scale, n_params=2 * n, n_straight=n)
        for name, values in (("steps", steps), ("lows", lows), ("origins", origins)):
            self.register_buffer(name, torch.tensor(list(values), dtype=torch.float32))
        self.warp = Warp(len(steps), warps)

    def start(self, model: Linear) -> LinearStart:
        """Return locations and scales."""
        return located(model, self.min_scale, self.n_params)

    def straighten(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return warped values."""
        return self.warp(x), observed

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return warped values, zero where missing."""
        return torch.where(observed, self.warp(torch.where(observed, x, 0.0)), 0.0)

    def forward(self, params: Tensor) -> WholeColumns:
        """Return columns of whole numbers."""
        loc, raw_scale = params.unflatten(-1, (2, self.n_columns)).unbind(-2)
        scale = softplus_above(raw_scale, self.min_scale)
        return WholeColumns(loc, scale, self.warp, self.steps, self.lows, self.origins)


class RankedColumns(CountableColumns):
    """Ordered categories 0, 1, ...: a logistic distribution cut by thresholds.

    Parameters
    ----------
    loc, scale : Tensor of shape (*, D)
        Of the logistic distribution.
    thresholds : Tensor of shape (D, C + 1)
        Lower edge of each category, -inf first and then +inf.
    """

    def __init__(self, loc: Tensor, scale: Tensor, thresholds: Tensor) -> None:
        self.loc, self.scale, self.thresholds = loc, scale, thresholds

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self.loc.shape

    def _below(self) -> Tensor:
        """Return P(x < c) for c = 0, ..., C: (*, D, C + 1)."""
        at = (self.thresholds - self.loc.unsqueeze(-1)) / self.scale.unsqueeze(-1)
        return at.sigmoid()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability of each cell."""
        n_levels = self.thresholds.shape[-1] - 1
        code = x.long().clamp(0, n_levels - 1)
        column = torch.arange(self.thresholds.shape[0], device=x.device)
        low, high = self.thresholds[column, code], self.thresholds[column, code + 1]
        lowest, highest = low.isinf(), high.isinf()
        low, high = low.nan_to_num(neginf=0.0), high.nan_to_num(posinf=0.0)
        # the lowest is known by its upper edge alone
        start = torch.where(lowest, high, low)
        width = torch.where(lowest | highest, 0.0, high - low) / self.scale
        return log_interval((start - self.loc) / self.scale, width, lowest, highest)

    def probabilities(self) -> Tensor:
        """Return the probability of each category, (*, D, C); those that do not exist have 0."""
        return self._below().diff(dim=-1)

    def mean(self) -> Tensor:
        """Return the mean rank."""
        return (1 - self._below()[..., 1:]).sum(-1)

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions."""
        n_levels = self.thresholds.shape[-1] - 1
        below = self._below()
        code = x.floor().long().clamp(-1, n_levels - 1) + 1
        return _pick(below, code)

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles."""
        below = self._below()[..., 1:-1]
        return (below < u.unsqueeze(-1)).sum(-1).to(u)

    def expected(self) -> Tensor:
        """Return the probabilities of all ranks, one column after the other."""
        return self.probabilities().flatten(-2)


class OrdinalLikelihood(Likelihood):
    r"""Ordered categories by a cumulative logistic model (McCullagh 1980).

    .. math:: P(x \le c) = \sigma\left(\frac{\theta_{c + 1} - \mu}{s}\right)

    with thresholds that a column learns, and location and scale from the decoder.

    Parameters
    ----------
    counts : sequence of sequence of int
        Observed cells of each category, in their order, for each column.
    """

    exists: Tensor
    inner: Tensor
    support = "coded"

    def __init__(self, counts: Sequence[Sequence[int]]) -> None:
        n, n_levels = len(counts), [len(column) for column in counts]
        widest = max(n_levels, default=0)
        super().__init__(n, 0.1, n_params=2 * n, n_inputs=sum(n_levels) - n, n_expected=n * widest)
        self.n_levels = n_levels
        first, gaps = [], torch.zeros(len(counts), max(widest - 2, 0))
        for d, column in enumerate(counts):
            share = (np.asarray(column, float) + 0.5).cumsum()
            theta = np.log(share[:-1] / (share[-1] - share[:-1]))
            first.append(float(theta[0]))
            gap = torch.tensor(np.diff(theta), dtype=torch.float32)
            gaps[d, : len(gap)] = raw_above(gap.clamp_min(0.01), 0)
        self.lowest_threshold = nn.Parameter(torch.tensor(first))
        self.raw_gaps = nn.Parameter(gaps)
        exists = torch.arange(widest + 1) < torch.tensor(self.n_levels)[:, None]
        self.register_buffer("exists", exists, persistent=False)
        inner = exists[:, 1:-1].flatten().nonzero().squeeze(-1)
        self.register_buffer("inner", inner, persistent=False)

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return whether a value lies above each threshold, as -1 and 1, zero where missing."""
        between = torch.arange(max(self.n_levels) - 1, device=x.device) + 0.5
        above = 2.0 * (x.unsqueeze(-1) > between) - 1
        above = torch.where(observed.unsqueeze(-1), above, 0.0)
        return above.flatten(-2).index_select(-1, self.inner)

    def forward(self, params: Tensor) -> RankedColumns:
        """Return columns of ranks."""
        loc, raw_scale = params.unflatten(-1, (2, self.n_columns)).unbind(-2)
        first = self.lowest_threshold.unsqueeze(-1)
        inner = torch.cat([first, first + softplus_above(self.raw_gaps, 0).cumsum(-1)], -1)
        inner = torch.where(self.exists[:, 1:-1], inner, torch.inf)
        edge = torch.full_like(first, torch.inf)
        scale = softplus_above(raw_scale, self.min_scale)
        return RankedColumns(loc, scale, torch.cat([-edge, inner, edge], -1))

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return the most probable rank: (B, n_expected) -> (B, D)."""
        widest = max(self.n_levels, default=0)
        return expected.unflatten(-1, (self.n_columns, widest)).argmax(-1).to(expected)


class CategoricalColumns(CountableColumns):
    """Categories 0, 1, ... without order.

    Parameters
    ----------
    logits : Tensor of shape (*, D, C)
        Of the classes; -inf for those that do not exist.
    class_of : Tensor of shape (D, n_levels)
        Class of each category; rare ones share a class.
    log_share : Tensor of shape (D, n_levels)
        Logarithm of a category's share of its class; -inf for those that do not exist.
    """

    def __init__(self, logits: Tensor, class_of: Tensor, log_share: Tensor) -> None:
        self.log_p, self.class_of, self.log_share = logits.log_softmax(-1), class_of, log_share

    @property
    def shape(self) -> torch.Size:
        """Shape of the batch."""
        return self.log_p.shape[:-1]

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability of each cell."""
        code = x.long().clamp(0, self.class_of.shape[-1] - 1)
        column = torch.arange(len(self.class_of), device=x.device)
        chosen = self.class_of[column, code]
        return _pick(self.log_p, chosen) + self.log_share[column, code]

    def probabilities(self) -> Tensor:
        """Return the probability of each category, (*, D, n_levels)."""
        chosen = self.class_of.expand(*self.log_p.shape[:-2], *self.class_of.shape)
        return (self.log_p.gather(-1, chosen) + self.log_share).exp()

    def mean(self) -> Tensor:
        """Return the mean code: a number to follow chains by, nothing more."""
        codes = torch.arange(self.class_of.shape[-1], device=self.log_p.device)
        share = self.log_share.exp()
        centre = share.new_zeros(self.log_p.shape[-2:])
        centre.scatter_add_(-1, self.class_of, share * codes)
        return (self.log_p.exp() * centre).sum(-1)

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution functions of the codes."""
        total = self.probabilities().cumsum(-1)
        at = _pick(total, x.floor().long().clamp(0, total.shape[-1] - 1))
        return torch.where(x < 0, 0.0, at)

    def icdf(self, u: Tensor) -> Tensor:
        """Return the quantiles of the codes."""
        total = self.probabilities().cumsum(-1)
        # the last existing category has what rounding leaves over
        code = (total < u.unsqueeze(-1) * total[..., -1:]).sum(-1)
        return torch.minimum(code, self.log_share.isfinite().sum(-1) - 1).to(u)

    def expected(self) -> Tensor:
        """Return the probabilities of all classes, one column after the other."""
        return self.log_p.exp().flatten(-2)


class CategoricalLikelihood(Likelihood):
    """Categories without order, by a softmax.

    Categories seen once, and where there are more than 255 all but the 254 most frequent ones,
    share a class, within which they keep their proportions.

    Parameters
    ----------
    counts : sequence of sequence of int
        Observed cells of each category, for each column.
    """

    contrasts: Tensor
    contrast: Tensor
    class_of: Tensor
    log_share: Tensor
    log_frequency: Tensor
    place: Tensor
    support = "coded"

    def __init__(self, counts: Sequence[Sequence[int]]) -> None:
        made = [_classes(np.asarray(column)) for column in counts]
        each = [len(frequency) for _, _, frequency in made]
        n_levels, n_classes = max(map(len, counts), default=0), max(each, default=0)
        # a column of a few classes has as many contrasts less one
        few = [n if n <= MAX_CONTRASTED else 1 for n in each]
        super().__init__(
            len(counts),
            n_params=sum(each),
            n_inputs=sum(each),
            n_expected=len(counts) * n_classes,
            n_straight=sum(few) - len(few),
        )
        self.n_classes = each
        class_of = torch.zeros(len(made), n_levels, dtype=torch.long)
        log_share = torch.full((len(made), n_levels), -torch.inf)
        log_frequency = torch.full((len(made), n_classes), -torch.inf)
        place = torch.zeros(len(made), n_classes, dtype=torch.long)
        before = 0
        for d, (classes, shares, frequency) in enumerate(made):
            class_of[d, : len(classes)] = torch.from_numpy(classes)
            log_share[d, : len(classes)] = torch.from_numpy(np.log(shares)).float()
            log_frequency[d, : len(frequency)] = torch.from_numpy(np.log(frequency)).float()
            place[d, : len(frequency)] = before + torch.arange(len(frequency))
            before += len(frequency)
        widest = max(few, default=1) - 1
        contrasts = torch.zeros(before, widest)
        for d, (_, _, frequency) in enumerate(made):
            if few[d] > 1:
                contrasts[place[d, : few[d]], : few[d] - 1] = _contrasts(frequency)
        exists = torch.arange(widest) < torch.tensor(few, dtype=torch.long).unsqueeze(-1) - 1
        for name, value in (
            ("contrasts", contrasts),  # (classes, widest)   those of a class's own column
            ("contrast", exists.flatten().nonzero().squeeze(-1)),  # (S,)   of D * widest
            ("class_of", class_of),
            ("log_share", log_share),
            ("log_frequency", log_frequency),
            ("place", place),
        ):
            self.register_buffer(name, value, persistent=False)

    @property
    def starts_whole(self) -> bool:
        """Whether each column has its part in the linear start, or is left as it is on purpose."""
        return True

    def straighten(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return contrasts of the classes, uncorrelated and of variance one within a column."""
        values = self.contrasts[self._place(x)].flatten(-2)
        seen = observed.unsqueeze(-1).expand(*observed.shape, self.contrasts.shape[-1]).flatten(-2)
        values, seen = (part.index_select(-1, self.contrast) for part in (values, seen))
        return torch.where(seen, values, 0.0), seen

    def start(self, model: Linear) -> LinearStart:
        r"""Return the logits of linear discriminant analysis, tempered.

        A class with contrasts t has the weight :math:`t^T V^{-1} W`. Biases keep the frequencies.
        """
        variance = model.variance.clamp_min(LEAST_UNEXPLAINED)  # that of a contrast is one
        L, widest = model.loadings.shape[1], self.contrasts.shape[-1]
        slopes = variance.new_zeros(self.n_columns * widest, L)
        slopes[self.contrast] = model.loadings / variance.unsqueeze(-1)
        slopes = slopes.unflatten(0, (self.n_columns, widest))  # of each column's contrasts
        weight = variance.new_zeros(self.n_params, L)
        exists = self.log_frequency.isfinite()
        by_class = self.contrasts.to(variance)[self.place] @ slopes  # (D, C, L)
        weight[self.place[exists]] = by_class[exists]
        # the mean over latents, by points that fill their space evenly
        points = torch.quasirandom.SobolEngine(L, scramble=True, seed=0).draw(_POINTS)
        z = torch.special.ndtri(points.clamp(1e-6, 1 - 1e-6)).to(variance)
        bias, wanted = variance.new_zeros(self.n_params), self.log_frequency.to(variance)
        reach = z @ weight.T  # (points, classes)
        for _ in range(_ROUNDS):
            log_p = ((reach + bias)[..., self.place] + wanted).log_softmax(-1)
            off = wanted - (torch.logsumexp(log_p, 0) - math.log(_POINTS))
            bias[self.place[exists]] += off[exists]
        chosen = torch.zeros_like(bias, dtype=torch.bool)
        contrasted = torch.zeros_like(exists)
        contrasted[self.contrast // max(widest, 1)] = True
        chosen[self.place[exists & contrasted]] = True
        return LinearStart(weight, bias, chosen, 1 / variance)

    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return a one for the class and zeros for the others, all zero where missing."""
        seen = torch.zeros(*x.shape[:-1], self.n_inputs, dtype=x.dtype, device=x.device)
        return seen.scatter(-1, self._place(x), observed.to(x))

    def _place(self, x: Tensor) -> Tensor:
        """Return which of all classes each code belongs to."""
        column = torch.arange(self.n_columns, device=x.device)
        code = x.long().clamp(0, self.class_of.shape[-1] - 1)
        return self.place[column, self.class_of[column, code]]

    def forward(self, params: Tensor) -> CategoricalColumns:
        """Return columns of categories; a decoder that says nothing leaves the frequencies."""
        logits = params[..., self.place] + self.log_frequency
        return CategoricalColumns(logits, self.class_of, self.log_share)

    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return the most probable category: (B, n_expected) -> (B, D)."""
        p = expected.unflatten(-1, self.log_frequency.shape)
        chosen = self.class_of.expand(*p.shape[:-1], -1)
        return (p.gather(-1, chosen) * self.log_share.exp()).argmax(-1).to(expected)


def _classes(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return class and share of each category, and the classes' frequencies."""
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    rare = (counts < 2) | (rank >= _MAX_CLASSES - 1)
    class_of = np.where(rare, (~rare).sum(), np.cumsum(~rare) - 1)
    # what was never seen has a share all the same: half of a cell
    weight = np.maximum(counts, 0.5)
    total = np.bincount(class_of, weight)
    return class_of, weight / total[class_of], total / total.sum()


def _contrasts(frequency: np.ndarray) -> Tensor:
    """Return contrasts of C classes, (C, C - 1): mean zero, covariance I by the frequencies."""
    # a reflection, whose first column is minus the roots; the others are orthogonal to them. It has
    # a formula, and so is the same wherever a model is loaded.
    root = np.sqrt(frequency)
    axis = root + np.eye(len(root))[0]
    basis = np.eye(len(root)) - 2 * np.outer(axis, axis) / (axis @ axis)
    return torch.from_numpy(basis[:, 1:] / root[:, None]).float()
