"""Matrix products, by whichever of torch's libraries is the faster.

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
from torch import Tensor

_LARGE = 1_500_000  # multiplications from which on oneDNN is the faster
_AMD = "AuthenticAMD"

Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@functools.cache
def onednn() -> Linear | None:
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


def _fast(left: Tensor, n_columns: int) -> Linear | None:
    """Return oneDNN's product where it serves."""
    large = left.dim() == 2 and left.numel() * n_columns >= _LARGE
    if not large or left.device.type != "cpu" or left.dtype != torch.float32:
        return None
    return onednn()


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
