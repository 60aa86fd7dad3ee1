"""Matrix products in which the bits of a row are independent of the other rows.

Matrix libraries choose kernels, whose last bits differ, by the number of rows and by their
alignment in memory. Here rows of a table are multiplied as a batch of aligned products of equal
shape, one per row. Functions of numbers have other last bits in the rest of a tensor beyond a
multiple of the width of a processor's vectors.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .compat import pad_ends

VECTOR_WIDTH = 32  # numbers that a processor computes at a time, at most

_STATE = threading.local()


@contextmanager
def separate_rows(separates: bool) -> Iterator[None]:
    """Make the bits of rows independent of other rows within the block, in this thread, or not."""
    before = must_separate_rows()
    try:  # Ctrl-C may come before the block begins
        _STATE.separates = separates
        yield
    finally:
        _STATE.separates = before


def must_separate_rows() -> bool:
    """Return whether the bits of rows must be independent of other rows.

    They must in methods of fitted models, and need not in training, where one product for all rows
    is faster.
    """
    return getattr(_STATE, "separates", False)


def pad_to_cache_line(matrix: Tensor, n_axes: int = 1) -> Tensor:
    """Pad the last axes of a tensor with zeros to multiples of 64 bytes.

    All matrices of a batch then have equal alignment.
    """
    multiple = 64 // matrix.element_size()
    padding = [-size % multiple for size in reversed(matrix.shape[-n_axes:])]
    return pad_ends(matrix, padding)


def apply_to_rows(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a function of numbers to rows, whose bits do not depend on how many there are.

    (B, D), likewise.
    """
    if rows.dim() != 2 or not must_separate_rows():
        return function(rows)
    padded = pad_ends(rows, [0, -len(rows) % VECTOR_WIDTH])
    return function(padded)[: len(rows)]


def rows_times_matrix(rows: Tensor, matrix: Tensor) -> Tensor:
    """Multiply rows by a matrix: (*, S), (S, P) -> (*, P)."""
    if rows.dim() != 2 or not must_separate_rows():
        return rows @ matrix
    right = pad_to_cache_line(matrix, 2).expand(len(rows), -1, -1)
    return torch.bmm(pad_to_cache_line(rows).unsqueeze(1), right)[:, 0, : matrix.shape[1]]


def matrix_times_draws(matrix: Tensor, z: Tensor) -> Tensor:
    """Multiply the draws of each row by its matrix: (*batch, L, L), (M, *batch, L)."""
    if matrix.dim() == 3 and must_separate_rows():
        draws = z.expand(-1, len(matrix), -1).transpose(0, 1)  # draws may be common to all rows
        products = torch.bmm(pad_to_cache_line(draws), pad_to_cache_line(matrix.mT, 2))
        return products[..., : z.shape[-1]].transpose(0, 1)
    return (z.movedim(0, -2) @ matrix.mT).movedim(-2, 0)


def products(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices of rows: (*batch, N, S), (*batch, S, P) -> (*batch, N, P)."""
    if not must_separate_rows():
        return left @ right
    product = pad_to_cache_line(left, 2) @ pad_to_cache_line(right, 2)
    return product[..., : left.shape[-2], : right.shape[-1]]
