"""Categories without order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from .base import DiscreteColumns, Likelihood, pick_category
from .initialization import LEAST_UNEXPLAINED, LinearInitialization, LinearModel

_MAX_CLASSES = 255  # of a categorical column, as in scikit-learn's histogram trees


MAX_CONTRASTED = 20  # classes beyond which the linear start leaves a column alone


_ROUNDS, _POINTS = 50, 1024  # in which biases settle, and latents over which they are averaged


class CategoricalColumns(DiscreteColumns):
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
    @override
    def shape(self) -> torch.Size:
        return self.log_p.shape[:-1]

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        code = x.long().clamp(0, self.class_of.shape[-1] - 1)
        column = torch.arange(len(self.class_of), device=x.device)
        chosen = self.class_of[column, code]
        return pick_category(self.log_p, chosen) + self.log_share[column, code]

    def probabilities(self) -> Tensor:
        """Return the probability of each category, (*, D, n_levels)."""
        chosen = self.class_of.expand(*self.log_p.shape[:-2], *self.class_of.shape)
        return (self.log_p.gather(-1, chosen) + self.log_share).exp()

    @override
    def mean(self) -> Tensor:
        """Return the mean code: a number to follow chains by, nothing more."""
        codes = torch.arange(self.class_of.shape[-1], device=self.log_p.device)
        share = self.log_share.exp()
        centre = share.new_zeros(self.log_p.shape[-2:])
        centre.scatter_add_(-1, self.class_of, share * codes)
        return (self.log_p.exp() * centre).sum(-1)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        total = self.probabilities().cumsum(-1)
        at = pick_category(total, x.floor().long().clamp(0, total.shape[-1] - 1))
        return torch.where(x < 0, 0.0, at)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        total = self.probabilities().cumsum(-1)
        # the last existing category has what rounding leaves over
        code = (total < u.unsqueeze(-1) * total[..., -1:]).sum(-1)
        return torch.minimum(code, self.log_share.isfinite().sum(-1) - 1).to(u)

    @override
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
            n_linear=sum(few) - len(few),
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
    @override
    def covers_all_columns(self) -> bool:
        """Whether each column has its part in the linear start, or is left as it is on purpose."""
        return True

    @override
    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return contrasts of the classes, uncorrelated and of variance one within a column."""
        values = self.contrasts[self._place(x)].flatten(-2)
        seen = observed.unsqueeze(-1).expand(*observed.shape, self.contrasts.shape[-1]).flatten(-2)
        values, seen = (part.index_select(-1, self.contrast) for part in (values, seen))
        return torch.where(seen, values, 0.0), seen

    @override
    def start(self, model: LinearModel) -> LinearInitialization:
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
        return LinearInitialization(weight, bias, chosen, 1 / variance)

    @override
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

    @override
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
