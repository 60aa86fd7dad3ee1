"""Missing parts of images: pixels, squares, quadrants and halves."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_random_state


def hide_parts(X, part, proportion, image_shape, random_state):
    """Return images in rows, (N, H * W), with parts hidden independently of all values.

    Parameters
    ----------
    X : ndarray of shape (n_images, height * width)
        The images.
    part : {"pixels", "squares", "quadrants", "halves"}
        Independent pixels; a square at a random position, whose side is one of the two integers
        next to the exact one; one, two or three of the four quadrants; the upper, lower, left or
        right half.
    proportion : float
        Expected share of the pixels; for halves it is 0.5.
    image_shape : (int, int)
        Height and width.
    random_state : int or RandomState
        Randomness of the hidden parts.
    """
    height, width = image_shape
    hidden = PARTS[part](check_random_state(random_state), len(X), height, width, proportion)
    return np.where(hidden.reshape(X.shape), np.array(np.nan, X.dtype), X)


def _pixels(rng, n, height, width, proportion):
    return rng.uniform(size=(n, height, width)) < proportion


def _squares(rng, n, height, width, proportion):
    area = min(proportion * height * width, min(height, width) ** 2)
    side = int(np.sqrt(area))
    # some are one pixel longer, so that the expected area is exact
    sides = side + (rng.uniform(size=n) < (area - side**2) / (2 * side + 1))
    inside = []
    for length in (height, width):
        first = rng.randint(length - sides + 1)[:, None]
        inside.append((first <= np.arange(length)) & (np.arange(length) < first + sides[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def _quadrants(rng, n, height, width, proportion):
    is_hidden = rng.uniform(size=(n, 4)).argsort(1) < 4 * proportion
    lower, right = _sides(height, width)
    return is_hidden[:, 2 * lower + right]


def _halves(rng, n, height, width, proportion):
    lower, right = _sides(height, width)
    return np.stack([~lower, lower, ~right, right])[rng.randint(4, size=n)]


def _sides(height, width):
    """Return which pixels are in the lower half, and which in the right half: (H, W) each."""
    row, column = np.indices((height, width))
    return row >= height // 2, column >= width // 2


PARTS = {"pixels": _pixels, "squares": _squares, "quadrants": _quadrants, "halves": _halves}
