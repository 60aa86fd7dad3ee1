"""Comparison of values with the location of a point mass."""

from torch import Tensor


def is_point_mass(x: Tensor, locations: Tensor) -> Tensor:
    """Return which values equal the location of a point mass up to rounding: (*, D), (D,)."""
    return (x - locations).abs() <= 1e-6 * (1 + locations.abs())
