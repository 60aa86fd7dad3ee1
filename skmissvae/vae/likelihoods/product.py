"""Columns of several kinds side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..._utils.random import Noise
from .base import ColumnDistribution, Likelihood, Support
from .initialization import LinearInitialization, LinearModel


class ProductColumns(ColumnDistribution):
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


class ProductLikelihood(Likelihood):
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
            n_linear=sum(part.n_linear for part in parts),
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
    def covers_all_columns(self) -> bool:
        """Whether each column has its part in the linear start."""
        return all(part.covers_all_columns for part in self.each)

    def start(self, model: LinearModel) -> LinearInitialization:
        """Return the parts' starts, one after the other."""
        sizes = [part.n_linear for part in self.each]
        pieces = zip(*(values.split(sizes) for values in model), strict=True)
        starts = [
            part.start(LinearModel(*piece)) for part, piece in zip(self.each, pieces, strict=True)
        ]
        return LinearInitialization(*map(torch.cat, zip(*starts, strict=True)))

    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parts' straightened values, one after the other."""
        pairs = zip(self.each, self.columns, strict=True)
        pieces = [part.linearize(x[..., c], observed[..., c]) for part, c in pairs]
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

    def forward(self, params: Tensor) -> ProductColumns:
        """Return the parts' columns in the table's order."""
        pairs = zip(self.each, params.split(self.sizes, -1), strict=True)
        return ProductColumns([part(piece) for part, piece in pairs], self.columns, self.order)
