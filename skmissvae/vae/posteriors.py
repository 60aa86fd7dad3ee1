"""Variational families: modules that map the encoder's outputs to a Mixture for each row.

And the factor-analysis posterior, which gives the coordinates of these mixtures.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from .._utils.matmul import must_separate_rows, pad_to_cache_line, rows_times_matrix
from .distributions import (
    Component,
    DiagonalNormal,
    DiagonalStudentT,
    Mixture,
)
from .functional import raw_above, softplus_above

# residuals in standard deviations of a column are clamped for the factor-analysis posterior
_RESIDUAL_LIMIT = 10.0


class Family(nn.Module, ABC):
    """Variational family of mixtures of K diagonal components.

    Parameters
    ----------
    n_latents : int
        Number of latents L.
    n_components : int
        Number of components K.
    min_scale : float
        Floor of the scales. It keeps ratios of distribution functions and densities finite, which
        implicit reparameterization needs.
    """

    #: Degrees of freedom of the tails; their initial value if they are learned.
    tail: float = math.inf

    def __init__(self, n_latents: int, n_components: int = 1, min_scale: float = 1e-4) -> None:
        super().__init__()
        self.n_latents, self.n_components, self.min_scale = n_latents, n_components, min_scale
        self.sizes = [n_components * n_latents, n_components * n_latents, n_components]

    @property
    def n_params(self) -> int:
        """Number of parameters P per row."""
        return sum(self.sizes)

    def standard_params(self) -> Tensor:
        """Return the parameters (P,) of components with location 0, scale 1 and equal weights."""
        params = torch.zeros(self.n_params)
        # or just above a floor of one or more
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
        return Mixture(logits.log_softmax(-1), self.component(raw_loc.unflatten(-1, shape), scale))


class NormalFamily(Family):
    """Mixture of diagonal Normals.

    Parameters
    ----------
    n_latents, n_components : int
        Numbers of latents and of components.
    min_scale : float
        Lower limit of the scales.
    """

    @override
    def component(self, loc: Tensor, scale: Tensor) -> Component:
        return DiagonalNormal(loc, scale)


class StudentTFamily(Family):
    """Mixture of diagonal Student-t distributions.

    Parameters
    ----------
    n_latents, n_components : int
        Numbers of latents and of components.
    min_scale : float
        Lower limit of the scales.
    df : float
        Degrees of freedom, above 2; the initial value if they are learned.
    learn_df : bool
        Whether the degrees of freedom, one per latent, are learned.
    """

    def __init__(
        self,
        n_latents: int,
        n_components: int = 1,
        min_scale: float = 1e-4,
        *,
        df: float = 4.0,
        learn_df: bool = False,
    ) -> None:
        super().__init__(n_latents, n_components, min_scale)
        if not df > 2:
            raise ValueError(f"df of a StudentTFamily must be above 2; got {df!r}.")
        self.tail = float(df)
        raw = raw_above(torch.full((n_latents,), float(df)), 2)
        self.raw_df = nn.Parameter(raw, requires_grad=learn_df)

    @override
    def component(self, loc: Tensor, scale: Tensor) -> Component:
        return DiagonalStudentT(softplus_above(self.raw_df, 2), loc, scale)


class Coordinates(NamedTuple):
    """The map u -> m + C u of rows, for ``AffineMixture``."""

    loc: Tensor  # (*batch, L)   m
    factor: Tensor  # (*batch, L, L)   C
    inverse: Tensor  # (*batch, L, L)   of C


class FactorAnalysisPosterior(nn.Module):
    r"""The exact posterior of factor analysis, as coordinates of other posteriors.

    Under x = W z + b + noise with z ~ N(0, I), the latents given any observed cells of a row are
    Normal with precision and mean

    .. math:: \Lambda = I + \sum_{d\ obs} w_d w_d^T / v_d, \qquad
              m = \Lambda^{-1} \sum_{d\ obs} w_d (x_d - b_d) / v_d.

    The encoder's mixture is the distribution of u in z = m + C u, with C C^T the inverse of
    :math:`\Lambda`. If it is N(0, I), the posterior is exact under factor analysis for each
    missingness pattern, so that the encoder learns the deviation of the model from factor analysis.
    Initially the loadings are zero, and u is z. With other priors the posterior is approximate.

    Parameters
    ----------
    n_linear, n_latents : int
        Numbers of linearized columns S and of latents L.
    """

    def __init__(self, n_linear: int, n_latents: int) -> None:
        super().__init__()
        self.loadings = nn.Buffer(torch.zeros(n_linear, n_latents))
        self.intercept = nn.Buffer(torch.zeros(n_linear))
        # of the noise; 0 for columns without information
        self.precision = nn.Buffer(torch.zeros(n_linear))

    @torch.no_grad()
    def forward(self, x: Tensor, observed: Tensor) -> Coordinates:
        """Return the coordinates of rows; x and observed are (*batch, S)."""
        # in double precision, as many columns determine few latents almost exactly
        loadings, n_latents = self.loadings.double(), self.loadings.shape[-1]
        if x.dim() == 2 and must_separate_rows():
            loadings = pad_to_cache_line(loadings)  # with additional latents without loadings
        scaled = loadings * self.precision.unsqueeze(-1)
        outer = (scaled.unsqueeze(-1) * loadings.unsqueeze(-2)).flatten(-2)  # (S, L * L)
        identity = torch.eye(loadings.shape[-1], dtype=outer.dtype, device=outer.device)
        information = rows_times_matrix(observed.to(outer), outer)
        precision = information.unflatten(-1, identity.shape) + identity
        root, _ = torch.linalg.cholesky_ex(precision)  # cannot fail: eigenvalues are at least 1
        inverse = torch.linalg.solve_triangular(root, identity.expand_as(root), upper=False)
        # an outlier must not dominate the row
        residual = (x - self.intercept).clamp(-_RESIDUAL_LIMIT, _RESIDUAL_LIMIT)
        pull = rows_times_matrix(torch.where(observed, residual, 0.0).double(), scaled)
        loc = (inverse.mT @ (inverse @ pull.unsqueeze(-1))).squeeze(-1)
        parts = (part[..., :n_latents, :n_latents].mT.to(x.dtype) for part in (inverse, root))
        return Coordinates(loc[..., :n_latents].to(x.dtype), *parts)


#: Variational families by name, called with the numbers of latents and components.
POSTERIORS: dict[str, Callable[[int, int], Family]] = {
    "normal": NormalFamily,
    "student_t": StudentTFamily,
}
