"""Observation models: modules that turn the decoder's outputs into a distribution per column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from scipy import special
from torch import Tensor, nn

from .column_distributions import (
    BernoulliColumns,
    ColumnDistribution,
    ContinuousBernoulliColumns,
    CrossEntropyColumns,
    JoinedColumns,
    NormalColumns,
    StudentTColumns,
)
from .distributions import raw_above, softplus_above


class Linear(NamedTuple):
    """The model t = W z + b + noise of straightened columns, with z ~ N(0, I)."""

    loadings: Tensor  # (S, L)
    intercept: Tensor  # (S,)
    variance: Tensor  # (S,)   of the noise


#: Any number; 0 and 1; 0 to 1; whole numbers; codes 0, 1, ... of levels; numbers of which one has
#: a probability of its own.
Support = Literal["real", "binary", "unit", "whole", "coded", "atom"]


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
        bias[S : 2 * S] = raw_above(scale, min_scale)
    return LinearStart(weight, bias, chosen, scale**-2)


def _floored(scale: Tensor, min_scale: float) -> Tensor:
    """Return scales that softplus and a floor can give."""
    return (scale - min_scale).clamp_min(0.01) + min_scale


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
                self.raw_scale.copy_(raw_above(scale, self.min_scale))
            return located(model, self.min_scale, self.n_params)
        precision = torch.full_like(model.variance, self.scale**-2)
        return located(model, 0.0, self.n_params)._replace(precision=precision)

    def forward(self, params: Tensor) -> NormalColumns:
        """Return Normal columns."""
        if self.scale == "decoder":
            loc, raw_scale = params.unflatten(-1, (2, self.n_columns)).unbind(-2)
            return NormalColumns(loc, softplus_above(raw_scale, self.min_scale))
        if self.scale == "column":
            return NormalColumns(params, softplus_above(self.raw_scale, self.min_scale))
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
        scale = softplus_above(raw_scale, self.min_scale)
        return StudentTColumns(softplus_above(raw_df, 2), loc, scale)


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


#: Observation models by name; each is called with the number of columns and the scale's floor.
LIKELIHOODS: dict[str, Callable[[int, float], Likelihood]] = {
    "normal": NormalLikelihood,
    "student_t": StudentTLikelihood,
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "cross_entropy": CrossEntropyLikelihood,
}
