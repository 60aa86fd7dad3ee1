"""Product of likelihoods of several kinds of columns."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.random import Noise
from .base import (
    CodedColumns,
    ColumnDistribution,
    Likelihood,
    LinearInitialization,
    LinearModel,
    Support,
)


class ProductColumns(ColumnDistribution):
    """Product of the distributions of several kinds of columns.

    Parameters
    ----------
    parts : sequence of ColumnDistribution
        One per kind.
    columns : sequence of Tensor
        Indices of the columns of each part.
    order : Tensor of shape (D,)
        Index of each column of the table in the concatenation of the parts.
    """

    def __init__(
        self, parts: Sequence[ColumnDistribution], columns: Sequence[Tensor], order: Tensor
    ) -> None:
        self.parts, self.columns, self.order = parts, columns, order
        self.shape = torch.Size([*parts[0].shape[:-1], len(order)])

    def split(self, x: Tensor) -> list[tuple[ColumnDistribution, Tensor]]:
        """Return each part with the values of its columns."""
        pairs = zip(self.parts, self.columns, strict=True)
        return [(part, x[..., columns]) for part, columns in pairs]

    def join(self, values: list[Tensor]) -> Tensor:
        """Concatenate values of the parts in the order of the table."""
        return torch.cat(values, -1).index_select(-1, self.order)

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        return self.join([part.log_prob(values) for part, values in self.split(x)])

    @override
    def mean(self) -> Tensor:
        return self.join([part.mean() for part in self.parts])

    @override
    def sample(self, noise: Noise) -> Tensor:
        return self.join([part.sample(noise) for part in self.parts])

    @override
    def completion(self, noise: Noise) -> Tensor:
        return self.join([part.completion(noise) for part in self.parts])

    @override
    def cdf(self, x: Tensor) -> Tensor:
        return self.join([part.cdf(values) for part, values in self.split(x)])

    @override
    def cdf_left(self, x: Tensor) -> Tensor:
        return self.join([part.cdf_left(values) for part, values in self.split(x)])

    @override
    def icdf(self, u: Tensor) -> Tensor:
        return self.join([part.icdf(values) for part, values in self.split(u)])

    @override
    def log_interval(self, low: Tensor, high: Tensor) -> Tensor:
        pairs = zip(self.parts, self.columns, strict=True)
        parts = [part.log_interval(low[..., c], high[..., c]) for part, c in pairs]
        return self.join(parts)

    @override
    def transformed(self, x: Tensor) -> Tensor:
        return self.join([part.transformed(values) for part, values in self.split(x)])

    @override
    def expected(self) -> Tensor:
        return torch.cat([part.expected() for part in self.parts], -1)


class ProductLikelihood(Likelihood):
    """Product of likelihoods of several kinds of columns.

    Parameters
    ----------
    parts : sequence of Likelihood
        One per kind.
    columns : sequence of sequence of int
        Indices of the columns of each part. Each column is in one part.
    """

    def __init__(self, parts: Sequence[Likelihood], columns: Sequence[Sequence[int]]) -> None:
        all_columns = [column for part in columns for column in part]
        super().__init__(
            len(all_columns),
            n_params=sum(part.n_params for part in parts),
            n_inputs=sum(part.n_inputs for part in parts),
            n_expected=sum(part.n_expected for part in parts),
            n_linear=sum(part.n_linear for part in parts),
        )
        assert sorted(all_columns) == list(range(len(all_columns))), "each column once"
        self.parts = nn.ModuleList(parts)
        self.sizes = [part.n_params for part in parts]
        self.positions = nn.Buffer(torch.tensor(all_columns), persistent=False)
        self.order = nn.Buffer(self.positions.argsort(), persistent=False)

    @property
    @override
    def supports(self) -> list[Support]:
        supports = [support for part in self.likelihoods for support in part.supports]
        return [supports[i] for i in self.order.tolist()]

    @property
    @override
    def covers_all_columns(self) -> bool:
        return all(part.covers_all_columns for part in self.likelihoods)

    @property
    def likelihoods(self) -> list[Likelihood]:
        """Likelihoods of the parts."""
        return list(self.parts)  # type: ignore[arg-type]

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """Indices of the columns of each part."""
        return self.positions.split([part.n_columns for part in self.likelihoods])

    @override
    def linear_initialization(self, model: LinearModel) -> LinearInitialization:
        sizes = [part.n_linear for part in self.likelihoods]
        pieces = zip(*(values.split(sizes) for values in model), strict=True)
        initializations = [
            part.linear_initialization(LinearModel(*piece))
            for part, piece in zip(self.likelihoods, pieces, strict=True)
        ]
        return LinearInitialization(*map(torch.cat, zip(*initializations, strict=True)))

    @override
    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(self.likelihoods, self.columns, strict=True)
        pieces = [part.linearize(x[..., c], observed[..., c]) for part, c in pairs]
        values, is_observed = zip(*pieces, strict=True)
        return torch.cat(values, -1), torch.cat(is_observed, -1)

    @override
    def point(self, expected: Tensor, decide: bool = True) -> Tensor:
        sizes = [part.n_expected for part in self.likelihoods]
        pairs = zip(self.likelihoods, expected.split(sizes, -1), strict=True)
        points = [part.point(piece, decide) for part, piece in pairs]
        return torch.cat(points, -1).index_select(-1, self.order)

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        pairs = zip(self.likelihoods, self.columns, strict=True)
        return torch.cat([part.embed(x[..., c], observed[..., c]) for part, c in pairs], -1)

    @override
    def forward(self, params: Tensor) -> ProductColumns:
        pairs = zip(self.likelihoods, params.split(self.sizes, -1), strict=True)
        return ProductColumns([part(piece) for part, piece in pairs], self.columns, self.order)


def numeric_quantiles(columns: ColumnDistribution, u: Tensor) -> Tensor:
    """Return the u-quantiles, (n, *, D), NaN in columns of categories."""
    if isinstance(columns, ProductColumns):
        return columns.join([numeric_quantiles(part, p) for part, p in columns.split(u)])
    return torch.full_like(u, torch.nan) if isinstance(columns, CodedColumns) else columns.icdf(u)
