"""Missing parts of images: pixels, squares, quadrants and halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .columns import Mask

_ROUNDING = 1e-9


def _pixels(rng: np.random.RandomState, n: int, height: int, width: int, proportion: float) -> Mask:
    return rng.uniform(size=(n, height, width)) < proportion


def _squares(
    rng: np.random.RandomState, n: int, height: int, width: int, proportion: float
) -> Mask:
    area, max_area = proportion * height * width, min(height, width) ** 2
    if area > max_area * (1 + _ROUNDING):
        raise ValueError(
            f"proportion={proportion} is too high: no square has {area:g} pixels in an image of "
            f"height {height} and width {width}; lower it."
        )
    area = min(area, max_area)
    side = int(np.sqrt(area))
    # some are one pixel longer, so that the expected area is exact
    sides = side + (rng.uniform(size=n) < (area - side**2) / (2 * side + 1))
    inside = []
    for length in (height, width):
        first = rng.randint(length - sides + 1)[:, None]
        inside.append((first <= np.arange(length)) & (np.arange(length) < first + sides[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def _quadrants(
    rng: np.random.RandomState, n: int, height: int, width: int, proportion: float
) -> Mask:
    is_hidden = rng.uniform(size=(n, 4)).argsort(1) < 4 * proportion
    lower, right = _sides(height, width)
    return is_hidden[:, 2 * lower + right]


def _halves(rng: np.random.RandomState, n: int, height: int, width: int, proportion: float) -> Mask:
    lower, right = _sides(height, width)
    return np.stack([~lower, lower, ~right, right])[rng.randint(4, size=n)]


def _sides(height: int, width: int) -> tuple[Mask, Mask]:
    """Return which pixels are in the lower half, and which in the right half: (H, W) each."""
    row, column = np.indices((height, width))
    return row >= height // 2, column >= width // 2


#: Functions of a random state, a number of images, height, width and proportion: (N, H, W).
IMAGE_MASKS: dict[str, Callable[[np.random.RandomState, int, int, int, float], Mask]] = {
    "pixels": _pixels,
    "squares": _squares,
    "quadrants": _quadrants,
    "halves": _halves,
}


#: Proportions of masks that have fixed sizes.
MASK_SIZES = {"quadrants": (0.25, 0.5, 0.75), "halves": (0.5,)}


def draw_image_masks(
    mechanism: str,
    proportion: float,
    shape: tuple[int, ...],
    image_shape: Any,
    rng: np.random.RandomState,
) -> Mask:
    """Return a mask of images in rows, (N, D), the same for all channels of an image."""
    n_rows, n_columns = shape
    sizes = np.asarray(image_shape)
    if sizes.dtype.kind not in "iu" or sizes.shape not in ((2,), (3,)) or (sizes < 1).any():
        raise ValueError(
            "image_shape must be (height, width) or (channels, height, width), integers of 1 or "
            f"more; got {image_shape!r}."
        )
    if sizes.prod() != n_columns:
        raise ValueError(
            f"image_shape={image_shape!r} has {sizes.prod()} cells, but X has {n_columns} columns."
        )
    *_, height, width = sizes.tolist()
    pixels = IMAGE_MASKS[mechanism](rng, n_rows, height, width, proportion)
    return np.tile(pixels.reshape(n_rows, -1), n_columns // (height * width))
