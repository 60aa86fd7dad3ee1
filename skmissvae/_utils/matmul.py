"""Matrix products: by whichever of torch's libraries is the faster, or row by row.

On a processor torch multiplies by Intel's MKL. It uses but half of the width of those of AMD that
have AVX-512, which oneDNN, the library of torch's convolutions, uses whole: of large matrices it
makes products twice as fast, in the same precision. A call of it takes longer, so that small ones
are left to MKL.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

_LARGE = 1_500_000  # multiplications from which on oneDNN is the faster


_AMD = "AuthenticAMD"


LinearModel = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@functools.cache
def onednn() -> LinearModel | None:
    """Return oneDNN's X W^T + b where it is the faster for large matrices, else None."""
    is_wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not (is_wide and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return None
    # what torch's compiler makes of linear layers; there is no public name for it
    linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if linear is None or _AMD not in _processor():
        return None
    return lambda x, weight, bias: linear(x, weight, bias, "none", [], "")


def _processor() -> str:
    """Return what the system says of the processor, its maker included where it tells."""
    try:
        with Path("/proc/cpuinfo").open() as told:
            return next((line for line in told if line.startswith("vendor_id")), "")
    except OSError:
        return platform.processor()


def _fast(left: Tensor, n_columns: int) -> LinearModel | None:
    """Return oneDNN's product where it serves."""
    large = left.dim() == 2 and left.numel() * n_columns >= _LARGE
    if not large or left.device.type != "cpu" or left.dtype != torch.float32:
        return None
    return onednn() if torch.backends.mkldnn.enabled else None


def times(left: Tensor, right: Tensor) -> Tensor:
    """Return a product of matrices, or of as many as lie side by side."""
    fast = _fast(left, right.shape[-1])
    return left @ right if fast is None else fast(left, right.T, None)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return W x + b of rows (N, in); of several networks, too, with an axis more everywhere."""
    if x.dim() == 3:
        return torch.baddbmm(bias.unsqueeze(-2), x, weight.mT)
    fast = _fast(x, len(weight))
    return torch.addmm(bias, x, weight.T) if fast is None else fast(x, weight, bias)


def add_product(to: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Add a product to a matrix, or products to as many, in place."""
    if to.dim() == 3:
        return to.baddbmm_(left, right)
    fast = _fast(left, right.shape[-1])
    return to.addmm_(left, right) if fast is None else to.add_(fast(left, right.T, None))


def must_separate_rows(n_rows: int) -> bool:
    """Tell whether each of so many rows has to get, to the last bit, what it gets alone.

    Matrix libraries choose kernels by where a row stands, and even by where it lies in memory. In
    torch's inference mode, which only calls of fitted models are in, rows that come together are
    multiplied in batches of aligned products; in training it does not matter.
    """
    return n_rows > 1 and torch.is_inference_mode_enabled()


def pad_to_cache_line(matrix: Tensor, n_axes: int = 1) -> Tensor:
    """Return a matrix whose last axes are filled up with zeros to multiples of 64 bytes.

    In a batch of such matrices all are aligned alike.
    """
    multiple = 64 // matrix.element_size()
    spare = [-size % multiple for size in reversed(matrix.shape[-n_axes:])]
    return nn.functional.pad(matrix, [part for one in spare for part in (0, one)])


def rows_times_matrix(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return rows times a matrix, (*, S), (S, P) -> (*, P)."""
    if rows.dim() != 2 or not must_separate_rows(len(rows)):
        return rows @ matrix
    right = pad_to_cache_line(matrix, 2).expand(len(rows), -1, -1)
    return torch.bmm(pad_to_cache_line(rows).unsqueeze(1), right)[:, 0, : matrix.shape[1]]


def matrix_times_draws(matrix: Tensor, z: Tensor) -> Tensor:
    """Return a row's matrix times each of its draws: (*batch, L, L), (M, *batch, L)."""
    if matrix.dim() == 3 and must_separate_rows(len(matrix)):
        draws = z.expand(-1, len(matrix), -1).transpose(0, 1)  # all rows may share them
        products = torch.bmm(pad_to_cache_line(draws), pad_to_cache_line(matrix.mT, 2))
        return products[..., : z.shape[-1]].transpose(0, 1)
    return (z.movedim(0, -2) @ matrix.mT).movedim(-2, 0)
