"""Priors of the latents: modules that return a Mixture with batch () and event (L,)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn

from .distributions import DiagonalNormal, DiagonalStudentT, Mixture
from .functional import raw_above, softplus_above

_MIN_SCALE = 1e-4  # of a component of MixturePrior


class Prior(nn.Module, ABC):
    """Prior distribution of the latents.

    Parameters
    ----------
    n_latents : int
        Number of latents L.
    """

    #: Degrees of freedom of the tails; a posterior should not have more.
    tail: float = math.inf

    def __init__(self, n_latents: int) -> None:
        super().__init__()
        self.n_latents = n_latents

    @abstractmethod
    def forward(self) -> Mixture:
        """Return p(z), batch (), event (L,)."""


class NormalPrior(Prior):
    """Standard Normal, independent over the latents.

    Parameters
    ----------
    n_latents : int
        Number of latents.
    """

    def __init__(self, n_latents: int) -> None:
        super().__init__(n_latents)
        self.loc = nn.Buffer(torch.zeros(1, n_latents), persistent=False)

    def forward(self) -> Mixture:
        """Return N(0, I)."""
        return Mixture(self.loc.new_zeros(1), DiagonalNormal(self.loc, torch.ones_like(self.loc)))


class StudentTPrior(Prior):
    """Student-t with fixed degrees of freedom, independent over the latents.

    Parameters
    ----------
    n_latents : int
        Number of latents L.
    df : float
        Degrees of freedom, above 2 so that the variance exists.
    """

    def __init__(self, n_latents: int, df: float = 5.0) -> None:
        super().__init__(n_latents)
        if not df > 2:
            raise ValueError(f"df of a StudentTPrior must be above 2; got {df!r}.")
        self.tail = float(df)
        self.df = nn.Buffer(torch.full((n_latents,), float(df)), persistent=False)

    def forward(self) -> Mixture:
        """Return the product of Student-t's with location 0 and scale 1."""
        loc = self.df.new_zeros(1, self.n_latents)
        return Mixture(loc.new_zeros(1), DiagonalStudentT(self.df, loc, torch.ones_like(loc)))


class MixturePrior(Prior):
    """Mixture of Gaussians with learned weights, means and scales.

    Parameters
    ----------
    n_latents : int
        Number of latents L.
    n_components : int
        Number of components.
    """

    def __init__(self, n_latents: int, n_components: int = 10) -> None:
        super().__init__(n_latents)
        # random locations, as components with equal initial values would stay equal
        self.loc = nn.Parameter(torch.randn(n_components, n_latents))
        self.raw_scale = nn.Parameter(raw_above(torch.ones(n_components, n_latents), _MIN_SCALE))
        self.logits = nn.Parameter(torch.zeros(n_components))

    def forward(self) -> Mixture:
        """Return the mixture with the current parameters."""
        scale = softplus_above(self.raw_scale, _MIN_SCALE)
        return Mixture(self.logits.log_softmax(-1), DiagonalNormal(self.loc, scale))


#: Priors by name, called with the number of latents.
PRIORS: dict[str, Callable[[int], Prior]] = {
    "normal": NormalPrior,
    "student_t": StudentTPrior,
    "mixture": MixturePrior,
}
