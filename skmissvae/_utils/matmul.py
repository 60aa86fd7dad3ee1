"""Matrix products in which the bits of a row are independent of the other rows.

Matrix libraries choose kernels, whose last bits differ, by the number of rows and by their
alignment in memory. Here rows of a table are multiplied as a batch of aligned products of equal
shape, one per row.
"""

import torch
from torch import Tensor

from .compat import pad_ends


def must_separate_rows(n_rows: int) -> bool:
    """Return whether the bits of each of ``n_rows`` rows must be independent of the other rows.

    They must in torch's inference mode, in which methods of fitted models run, and need not in
    training, where one product for all rows is faster.
    """
    return n_rows > 1 and torch.is_inference_mode_enabled()


def pad_to_cache_line(matrix: Tensor, n_axes: int = 1) -> Tensor:
    """Pad the last axes of a tensor with zeros to multiples of 64 bytes.

    All matrices of a batch then have equal alignment.
    """
    multiple = 64 // matrix.element_size()
    padding = [-size % multiple for size in reversed(matrix.shape[-n_axes:])]
    return pad_ends(matrix, padding)


def rows_times_matrix(rows: Tensor, matrix: Tensor) -> Tensor:
    """Multiply rows by a matrix: (*, S), (S, P) -> (*, P)."""
    if rows.dim() != 2 or not must_separate_rows(len(rows)):
        return rows @ matrix
    right = pad_to_cache_line(matrix, 2).expand(len(rows), -1, -1)
    return torch.bmm(pad_to_cache_line(rows).unsqueeze(1), right)[:, 0, : matrix.shape[1]]


def matrix_times_draws(matrix: Tensor, z: Tensor) -> Tensor:
    """Multiply the draws of each row by its matrix: (*batch, L, L), (M, *batch, L)."""
    if matrix.dim() == 3 and must_separate_rows(len(matrix)):
        draws = z.expand(-1, len(matrix), -1).transpose(0, 1)  # draws may be common to all rows
        products = torch.bmm(pad_to_cache_line(draws), pad_to_cache_line(matrix.mT, 2))
        return products[..., : z.shape[-1]].transpose(0, 1)
    return (z.movedim(0, -2) @ matrix.mT).movedim(-2, 0)
