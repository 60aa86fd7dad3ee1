"""Missingness masks of images: pixels, squares, quadrants and halves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .codecs import Mask

_Rng = np.random.RandomState


_ROUNDING = 1e-9


def _pixels(rng: _Rng, n: int, height: int, width: int, proportion: float) -> Mask:
    return rng.uniform(size=(n, height, width)) < proportion


def _squares(rng: _Rng, n: int, height: int, width: int, proportion: float) -> Mask:
    area, most = proportion * height * width, min(height, width) ** 2
    if area > most * (1 + _ROUNDING):
        raise ValueError(
            f"proportion={proportion} is too high: no square has {area:g} pixels in an image of "
            f"height {height} and width {width}; lower it."
        )
    area = min(area, most)
    side = int(np.sqrt(area))
    # one pixel longer now and then, so that the expected area is exact
    sides = side + (rng.uniform(size=n) < (area - side**2) / (2 * side + 1))
    inside = []
    for length in (height, width):
        first = rng.randint(length - sides + 1)[:, None]
        inside.append((first <= np.arange(length)) & (np.arange(length) < first + sides[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def _quadrants(rng: _Rng, n: int, height: int, width: int, proportion: float) -> Mask:
    chosen = rng.uniform(size=(n, 4)).argsort(1) < 4 * proportion
    lower, right = _sides(height, width)
    return chosen[:, 2 * lower + right]


def _halves(rng: _Rng, n: int, height: int, width: int, proportion: float) -> Mask:
    lower, right = _sides(height, width)
    return np.stack([~lower, lower, ~right, right])[rng.randint(4, size=n)]


def _sides(height: int, width: int) -> tuple[Mask, Mask]:
    """Return which pixels are in the lower half, and in the right half: (H, W) each."""
    row, column = np.indices((height, width))
    return row >= height // 2, column >= width // 2


_Shape = Callable[[_Rng, int, int, int, float], Mask]


IMAGE_MASKS: dict[str, _Shape] = {
    "pixels": _pixels,
    "squares": _squares,
    "quadrants": _quadrants,
    "halves": _halves,
}


#: Shapes that come in some sizes alone.
MASK_SIZES = {"quadrants": (0.25, 0.5, 0.75), "halves": (0.5,)}
