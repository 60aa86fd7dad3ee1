"""Variational families: modules that turn the encoder's outputs into a Mixture per row.

And the coordinates that such a mixture can be written in.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from .._utils.matmul import must_separate_rows, pad_to_cache_line, rows_times_matrix
from .distributions import (
    AffineMixture,
    Component,
    DiagonalNormal,
    DiagonalStudentT,
    LatentDistribution,
    Mixture,
)
from .functional import raw_above, softplus_above

_GUIDE_LIMIT = 10.0  # standard deviations of a column


class Family(nn.Module, ABC):
    """A mixture of K diagonal components per row.

    Parameters
    ----------
    n_latents : int
        Number of latents L.
    n_components : int
        Number of components K.
    weights : {"learned", "equal"}
        Whether each row's weights are outputs of the encoder, or 1 / K.
    min_scale : float
        Floor of the scales. It keeps the ratio of distribution function and density finite, on
        which implicit reparameterisation rests.
    """

    #: Degrees of freedom of the tails, where they start from if they are learned.
    tail: float = math.inf

    def __init__(
        self,
        n_latents: int,
        n_components: int = 1,
        weights: Literal["learned", "equal"] = "learned",
        min_scale: float = 1e-4,
    ) -> None:
        super().__init__()
        if weights not in ("learned", "equal"):
            raise ValueError(
                f"weights of a {type(self).__name__} must be 'learned' or 'equal'; got {weights!r}."
            )
        self.n_latents, self.n_components = n_latents, n_components
        self.weights, self.min_scale = weights, min_scale
        n_weights = n_components if weights == "learned" else 0
        self.sizes = [n_components * n_latents, n_components * n_latents, n_weights]

    @property
    def n_params(self) -> int:
        """Number of parameters P per row."""
        return sum(self.sizes)

    def standard(self) -> Tensor:
        """Return the parameters (P,) of components with location 0 and scale 1, alike in weight."""
        params = torch.zeros(self.n_params)
        # a floor of one or more leaves little above it
        scale = torch.tensor(max(1.0, self.min_scale + 0.01))
        params[self.sizes[0] : self.sizes[0] + self.sizes[1]] = raw_above(scale, self.min_scale)
        return params

    @abstractmethod
    def component(self, loc: Tensor, scale: Tensor) -> Component:
        """Return the components: (B, K, L), (B, K, L) -> batch (B, K), event (L,)."""

    def forward(self, params: Tensor) -> Mixture:
        """Return q(z | x_obs): (*batch, P) -> batch (*batch, K), event (L,)."""
        raw_loc, raw_scale, logits = params.split(self.sizes, -1)
        shape = (self.n_components, self.n_latents)
        scale = softplus_above(raw_scale.unflatten(-1, shape), self.min_scale)
        if self.weights == "equal":
            logits = params.new_zeros(*params.shape[:-1], self.n_components)
        return Mixture(logits.log_softmax(-1), self.component(raw_loc.unflatten(-1, shape), scale))


class NormalFamily(Family):
    """Mixture of diagonal Normals."""

    @override
    def component(self, loc: Tensor, scale: Tensor) -> Component:
        return DiagonalNormal(loc, scale)


class StudentTFamily(Family):
    """Mixture of diagonal Student-t's.

    Parameters
    ----------
    n_latents, n_components, weights, min_scale
        As in Family.
    df : float
        Degrees of freedom, above 2; the start value where they are learned.
    learn_df : bool
        Whether the degrees of freedom, one per latent, are learned.
    """

    def __init__(
        self,
        n_latents: int,
        n_components: int = 1,
        weights: Literal["learned", "equal"] = "learned",
        min_scale: float = 1e-4,
        *,
        df: float = 4.0,
        learn_df: bool = False,
    ) -> None:
        super().__init__(n_latents, n_components, weights, min_scale)
        if not df > 2:
            raise ValueError(f"df of a StudentTFamily must be above 2; got {df!r}.")
        self.tail = float(df)
        raw = raw_above(torch.full((n_latents,), float(df)), 2)
        self.raw_df = nn.Parameter(raw, requires_grad=learn_df)

    @override
    def component(self, loc: Tensor, scale: Tensor) -> Component:
        return DiagonalStudentT(softplus_above(self.raw_df, 2), loc, scale)


class FactorAnalysisPosterior(nn.Module):
    r"""The exact posterior of factor analysis, as coordinates for other posteriors.

    Under x = W z + b + noise, with z ~ N(0, I), the latents of a row are Normal given whichever of
    its cells are observed, with

    .. math:: \Lambda = I + \sum_{d\ obs} w_d w_d^T / v_d, \qquad
              m = \Lambda^{-1} \sum_{d\ obs} w_d (x_d - b_d) / v_d.

    An encoder's mixture is taken as that of u in z = m + C u, with C C^T the inverse of
    :math:`\Lambda`. Where it is N(0, I) the posterior is exact for each pattern of holes; what is
    left to learn is how the model differs from factor analysis. Without loadings, as a new guide
    is, u is z. With other priors it is but a guide.

    Parameters
    ----------
    n_straight, n_latents : int
        Numbers of straightened columns S and of latents L.
    """

    loadings: Tensor  # (S, L)
    intercept: Tensor  # (S,)
    precision: Tensor  # (S,)   of the noise; 0 for columns that tell nothing

    def __init__(self, n_linear: int, n_latents: int) -> None:
        super().__init__()
        self.register_buffer("loadings", torch.zeros(n_linear, n_latents))
        self.register_buffer("intercept", torch.zeros(n_linear))
        self.register_buffer("precision", torch.zeros(n_linear))

    @torch.no_grad()
    def forward(self, u: LatentDistribution, x: Tensor, observed: Tensor) -> AffineMixture:
        """Return the distribution of z, batch (*batch,): also (*batch, S), (*batch, S) bool."""
        # in double precision: many columns tell of few latents almost exactly
        loadings, n_latents = self.loadings.double(), self.loadings.shape[-1]
        if x.dim() == 2 and must_separate_rows(len(x)):
            loadings = pad_to_cache_line(loadings)  # more latents, of which nothing tells
        scaled = loadings * self.precision.unsqueeze(-1)
        outer = (scaled.unsqueeze(-1) * loadings.unsqueeze(-2)).flatten(-2)  # (S, L * L)
        identity = torch.eye(loadings.shape[-1], dtype=outer.dtype, device=outer.device)
        precision = (
            rows_times_matrix(observed.to(outer), outer).unflatten(-1, identity.shape) + identity
        )
        root, _ = torch.linalg.cholesky_ex(precision)  # of no error: the least eigenvalue is 1
        inverse = torch.linalg.solve_triangular(root, identity.expand_as(root), upper=False)
        # a cell far out must not carry the whole row away
        off = (x - self.intercept).clamp(-_GUIDE_LIMIT, _GUIDE_LIMIT)
        pull = rows_times_matrix(torch.where(observed, off, 0.0).double(), scaled)
        loc = (inverse.mT @ (inverse @ pull.unsqueeze(-1))).squeeze(-1)
        inverse, root = (part[..., :n_latents, :n_latents] for part in (inverse, root))
        parts = loc[..., :n_latents], inverse.mT, root.mT
        return AffineMixture(u, *(part.to(x.dtype) for part in parts))


#: Variational families by name; each is called with the numbers of latents and of components.
POSTERIORS: dict[str, Callable[[int, int], Family]] = {
    "normal": NormalFamily,
    "student_t": StudentTFamily,
}
