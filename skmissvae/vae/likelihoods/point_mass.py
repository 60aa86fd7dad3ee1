"""Columns with a point mass at one value beside a continuous part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.numerics import is_point_mass
from ..._utils.random import Noise
from .base import ColumnDistribution, Likelihood
from .initialization import LinearInitialization, LinearModel


class PointMassColumns(ColumnDistribution):
    """Columns with a value of its own probability, the atom, beside a continuum.

    Parameters
    ----------
    base : ColumnDistribution
        Distributions of all other values.
    logits : Tensor of shape (*, D)
        Of the atom.
    atoms : Tensor of shape (D,)
        The values.
    """

    def __init__(self, base: ColumnDistribution, logits: Tensor, atoms: Tensor) -> None:
        self.base, self.logits, self.atoms = base, logits, atoms

    @property
    @override
    def shape(self) -> torch.Size:
        return self.logits.shape

    @override
    def log_prob(self, x: Tensor) -> Tensor:
        atom = is_point_mass(x, self.atoms)
        # beside the atom, or its density would be infinite where a warp has no slope
        other = self.base.log_prob(x)
        log_p = nn.functional.logsigmoid(self.logits)
        return torch.where(atom, log_p, log_p - self.logits + other)

    @override
    def mean(self) -> Tensor:
        p = self.logits.sigmoid()
        return p * self.atoms + (1 - p) * self.base.mean()

    @override
    def sample(self, noise: Noise) -> Tensor:
        other = self.base.sample(noise)
        atom = noise.uniform(*self.logits.shape) < self.logits.sigmoid()
        return torch.where(atom, self.atoms, other)

    @override
    def cdf(self, x: Tensor) -> Tensor:
        p = self.logits.sigmoid()
        reached = (x >= self.atoms) | is_point_mass(x, self.atoms)
        return (1 - p) * self.base.cdf(x) + torch.where(reached, p, 0.0)

    @override
    def below(self, x: Tensor) -> Tensor:
        p = self.logits.sigmoid()
        passed = (x > self.atoms) & ~is_point_mass(x, self.atoms)
        return (1 - p) * self.base.below(x) + torch.where(passed, p, 0.0)

    @override
    def icdf(self, u: Tensor) -> Tensor:
        p = self.logits.sigmoid()
        start = (1 - p) * self.base.cdf(self.atoms.expand(p.shape))
        below, above = u < start, u > start + p
        rest = torch.where(below, u, u - p) / (1 - p).clamp_min(1e-6)
        return torch.where(below | above, self.base.icdf(rest.clamp(0, 1)), self.atoms)


class PointMassLikelihood(Likelihood):
    r"""An observation model with a value of its own probability, such as the many zeros of rain.

    .. math:: P(x = a) = \pi(z), \quad p(x | x \ne a) = (1 - \pi(z))\, p_{base}(x | z)

    Parameters
    ----------
    base : Likelihood
        Model of all other values.
    atoms : sequence of float
        The value of each column, in its model's units.
    shares : sequence of float
        Share of the observed cells that hold it.
    """

    atoms: Tensor
    log_odds: Tensor
    support = "atom"

    def __init__(self, base: Likelihood, atoms: Sequence[float], shares: Sequence[float]) -> None:
        n = base.n_columns
        super().__init__(
            n,
            base.min_scale,
            n_params=base.n_params + n,
            n_inputs=base.n_inputs + n,
            n_linear=base.n_linear,
        )
        self.base = base
        share = np.asarray(shares, dtype=np.float64)
        self.register_buffer("atoms", torch.tensor(list(atoms), dtype=torch.float32))
        log_odds = torch.tensor(np.log(share / (1 - share)), dtype=torch.float32)
        self.register_buffer("log_odds", log_odds)

    @override
    def linearize(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the base's values, those of atoms as if they were missing."""
        return self.base.linearize(x, observed & ~is_point_mass(x, self.atoms))

    @override
    def start(self, model: LinearModel) -> LinearInitialization:
        """Return the base's start; the atoms' shares start as they are."""
        base = self.base.start(model)
        n, after = self.n_columns, nn.functional.pad
        weight, bias = after(base.weight, (0, 0, 0, n)), after(base.bias, (0, n))
        return LinearInitialization(weight, bias, after(base.chosen, (0, n)), base.precision)

    @override
    def embed(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return what the base gives, and for atoms a one more, -1 for other cells."""
        atom = is_point_mass(x, self.atoms)
        sign = torch.where(observed, 2 * atom.to(x) - 1, 0.0)
        return torch.cat([self.base.embed(x, observed), sign], -1)

    def forward(self, params: Tensor) -> PointMassColumns:
        """Return columns with atoms; a decoder that says nothing leaves their shares."""
        logits = params[..., self.base.n_params :] + self.log_odds
        return PointMassColumns(self.base(params[..., : self.base.n_params]), logits, self.atoms)
