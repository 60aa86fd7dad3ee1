"""Missing quadrants of images, as in the papers' experiments."""

from __future__ import annotations

import numpy as np


def hide_quadrants(
    X: np.ndarray, proportion: float, image_shape: tuple[int, int], seed: int
) -> np.ndarray:
    """Return images in rows with random quadrants missing.

    Parameters
    ----------
    X : ndarray of shape (n_images, height * width)
        Images.
    proportion : {0.25, 0.5, 0.75}
        Share of the four quadrants that are missing.
    image_shape : tuple of int
        Height and width.
    seed : int
        Seed of the choice of quadrants.
    """
    height, width = image_shape
    row, column = np.indices(image_shape)
    quadrant = 2 * (row >= height // 2) + (column >= width // 2)
    order = np.random.RandomState(seed).uniform(size=(len(X), 4)).argsort(1)
    is_hidden = (order < 4 * proportion)[:, quadrant].reshape(len(X), -1)
    return np.where(is_hidden, np.nan, X)
