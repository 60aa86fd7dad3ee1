"""Categorical likelihood of categories without order."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from ..functional import pick_category
from .base import CodedColumns, Likelihood, LinearInitialization, LinearModel
from .bernoulli import MIN_UNEXPLAINED

_MAX_CLASSES = 255  # of a categorical column, as in scikit-learn's histogram trees


MAX_CONTRASTED = 20  # classes of a column that is included in the linear initialization


_MAX_ITERATIONS, _N_POINTS = 50, 1024  # of biases; latents of their averages
_TOLERANCE = 1e-5  # of the logarithms of frequencies
_MIN_FACTOR = 0.05  # by which the mean of contrasts changes a frequency


class CategoricalColumns(CodedColumns):
    """Categories 0, 1, ... without order.

    Parameters
    ----------
    logits : Tensor of shape (*, D, C)
        Logits of the classes; -inf for classes that a column does not have.
    class_of : Tensor of shape (D, n_levels)
        Class of each category; rare categories share a class.
    log_share : Tensor of shape (D, n_levels)
        Logarithm of a category's share of its class; -inf for categories that a column does not
        have.
    """

    def __init__(self, logits: Tensor, class_of: Tensor, log_share: Tensor) -> None:
        self.log_p, self.class_of, self.log_share = logits.log_softmax(-1), class_of, log_share
        self.shape = logits.shape[:-1]

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        code = x.long().clamp(0, self.class_of.shape[-1] - 1)
        column = torch.arange(len(self.class_of), device=x.device)
        classes = self.class_of[column, code]
        return pick_category(self.log_p, classes) + self.log_share[column, code]

    @override
    def probabilities(self) -> Tensor:
        classes = self.class_of.expand(*self.log_p.shape[:-2], *self.class_of.shape)
        return (self.log_p.gather(-1, classes) + self.log_share).exp()

    @override
    def mean(self) -> Tensor:
        """Return the mean code, for diagnostics of Markov chains."""
        # over the classes, of which there are fewer than categories
        codes = torch.arange(self.class_of.shape[-1], device=self.log_p.device)
        share = self.log_share.exp()
        mean_code = share.new_zeros(self.log_p.shape[-2:])
        mean_code.scatter_add_(-1, self.class_of, share * codes)
        return (self.log_p.exp() * mean_code).sum(-1)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        total = self.probabilities().cumsum(-1)
        at = pick_category(total, x.floor().long().clamp(0, total.shape[-1] - 1))
        return torch.where(x < 0, 0.0, at)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        total = self.probabilities().cumsum(-1)
        # rounding errors go to the last category of the column
        code = (total < u.unsqueeze(-1) * total[..., -1:]).sum(-1)
        return torch.minimum(code, self.log_share.isfinite().sum(-1) - 1).to(u)

    @override
    def expected(self) -> Tensor:
        """Return the probabilities of all classes, column by column."""
        return self.log_p.exp().flatten(-2)


class CategoricalLikelihood(Likelihood):
    """Softmax of classes of categories without order.

    Categories observed once share a class, and so do all but the 254 most frequent categories of
    columns with more than 255. Their proportions within the class are fixed.

    Parameters
    ----------
    counts : sequence of sequence of float
        Observed cells of each category, for each column.
    """

    support = "coded"

    def __init__(self, counts: Sequence[Sequence[float]]) -> None:
        classes, shares, frequencies = zip(*(_classes(np.asarray(c)) for c in counts), strict=True)
        n_classes = [len(frequency) for frequency in frequencies]
        # a column of C <= 20 classes has C - 1 contrasts, others have none
        n_contrasts = [n - 1 if n <= MAX_CONTRASTED else 0 for n in n_classes]
        super().__init__(
            len(counts),
            n_params=sum(n_classes),
            n_inputs=sum(n_classes),
            n_expected=len(counts) * max(n_classes),
            n_linear=sum(n_contrasts),
        )
        self.class_of = _padded(classes, 0, torch.long)
        self.log_share = _padded(map(np.log, shares), -np.inf, torch.float32)
        self.log_frequency = _padded(map(np.log, frequencies), -np.inf, torch.float32)
        places = np.split(np.arange(self.n_params), np.cumsum(n_classes)[:-1])
        self.place = _padded(places, 0, torch.long)
        widest = max(n_contrasts)
        contrasts = torch.zeros(self.n_params, widest)
        for place, frequency, n in zip(places, frequencies, n_contrasts, strict=True):
            if n:
                contrasts[place, :n] = _contrasts(frequency)
        self.contrasts = nn.Buffer(contrasts, persistent=False)  # (P, widest)   of each class
        # (S,)   among the widest contrasts of each column
        index = [widest * d + c for d, n in enumerate(n_contrasts) for c in range(n)]
        self.contrast_index = nn.Buffer(torch.tensor(index, dtype=torch.long), persistent=False)

    @property
    @override
    def covers_all_columns(self) -> bool:
        return True  # columns of more than 20 classes are excluded by design

    @override
    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return contrasts of the classes, uncorrelated with variance one within a column."""
        values = self.contrasts[self._place(x)].flatten(-2)
        observed = observed.repeat_interleave(self.contrasts.shape[-1], -1)
        values, observed = (v.index_select(-1, self.contrast_index) for v in (values, observed))
        return torch.where(observed, values, 0.0), observed

    @override
    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        r"""Return the logits of linear discriminant analysis, with a floor of the variance.

        A class with contrasts t has the weight :math:`t^T V^{-1} W`. Biases give it the frequency
        :math:`f (1 + t^T b)`, which the mean b of the contrasts implies.
        """
        variance = model.variance.clamp_min(MIN_UNEXPLAINED)  # the variance of a contrast is one
        L, widest = model.loadings.shape[1], self.contrasts.shape[-1]
        slopes = variance.new_zeros(self.n_columns * widest, L)
        slopes[self.contrast_index] = model.loadings / variance.unsqueeze(-1)
        slopes = slopes.unflatten(0, (self.n_columns, widest))
        exists = self.log_frequency.isfinite()  # (D, C)   in the order of the decoder outputs
        weight = (self.contrasts.to(variance)[self.place] @ slopes)[exists]
        # means over latents by quasi-Monte Carlo
        points = torch.quasirandom.SobolEngine(L, scramble=True, seed=0).draw(_N_POINTS)
        z = torch.special.ndtri(points.clamp(1e-6, 1 - 1e-6)).to(variance)
        bias, mean = variance.new_zeros(self.n_params), variance.new_zeros(self.n_columns * widest)
        mean[self.contrast_index] = model.intercept
        mean = mean.unflatten(0, (self.n_columns, widest, 1))
        factor = 1 + (self.contrasts.to(variance)[self.place] @ mean).squeeze(-1)  # (D, C)
        log_frequency = self.log_frequency.to(variance)
        target = (log_frequency + factor.clamp_min(_MIN_FACTOR).log()).log_softmax(-1)
        logits = z @ weight.T  # (points, P)
        for _ in range(_MAX_ITERATIONS):
            log_p = ((logits + bias)[..., self.place] + log_frequency).log_softmax(-1)
            error = (target - (torch.logsumexp(log_p, 0) - math.log(_N_POINTS)))[exists]
            bias += error
            if error.abs().max() < _TOLERANCE:
                break
        has_contrasts = self.contrasts.any(-1)  # contrasts of a class are never all zero
        return LinearInitialization(weight, bias, has_contrasts, 1 / variance)

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return the one-hot encoding of the class, zero where missing."""
        one_hot = torch.zeros(*x.shape[:-1], self.n_inputs, dtype=x.dtype, device=x.device)
        return one_hot.scatter(-1, self._place(x), observed.to(x))

    def _place(self, x: Tensor) -> Tensor:
        """Return the index of the class of each code, among the classes of all columns."""
        column = torch.arange(self.n_columns, device=x.device)
        code = x.long().clamp(0, self.class_of.shape[-1] - 1)
        return self.place[column, self.class_of[column, code]]

    def forward(self, params: Tensor) -> CategoricalColumns:
        """Return columns whose logits are offsets from the log-frequencies of the classes."""
        logits = params[..., self.place] + self.log_frequency
        return CategoricalColumns(logits, self.class_of, self.log_share)

    @override
    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        """Return the most probable category: (B, n_expected) -> (B, D)."""
        p = expected.unflatten(-1, self.log_frequency.shape)
        classes = self.class_of.expand(*p.shape[:-1], -1)
        return (p.gather(-1, classes) * self.log_share.exp()).argmax(-1).to(expected)


def _classes(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the class of each category, its share of the class, and the classes' frequencies."""
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    rare = (counts < 2) | (rank >= _MAX_CLASSES - 1)
    class_of = np.where(rare, (~rare).sum(), np.cumsum(~rare) - 1)
    # categories without observed cells count as half a cell
    weight = np.where(counts > 0, counts, 0.5)
    total = np.bincount(class_of, weight)
    return class_of, weight / total[class_of], total / total.sum()


def _contrasts(frequency: np.ndarray) -> Tensor:
    """Return contrasts of C classes, (C, C - 1): mean zero, covariance I by the frequencies."""
    # Householder reflection: the first column is minus the roots, the others are orthogonal to it.
    # A closed formula gives the same contrasts wherever a model is loaded.
    root = np.sqrt(frequency)
    axis = root + np.eye(len(root))[0]
    basis = np.eye(len(root)) - 2 * np.outer(axis, axis) / (axis @ axis)
    return torch.from_numpy(basis[:, 1:] / root[:, None]).float()


def _padded(rows: Iterable[np.ndarray], value: float, dtype: torch.dtype) -> nn.Buffer:
    """Return a buffer whose rows are arrays of several lengths, followed by a value."""
    tensors = [torch.from_numpy(row).to(dtype) for row in rows]
    return nn.Buffer(pad_sequence(tensors, batch_first=True, padding_value=value), persistent=False)
