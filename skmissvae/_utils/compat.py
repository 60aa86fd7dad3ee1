"""What differs between versions of the libraries, and types that scikit-learn does not declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    # scikit-learn's decorators have no types, and would hide those of the methods
    class CallbackSupportMixin: ...

    def with_callbacks(method: F) -> F: ...

    def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]: ...

else:
    from sklearn.utils.metaestimators import available_if as available_if

    try:
        from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
        from sklearn.callback import with_callbacks as with_callbacks
    except ImportError:  # scikit-learn < 1.9

        class CallbackSupportMixin:
            """Replacement of scikit-learn's mixin, for a ``Checkpoint`` only."""

            def set_callbacks(self, *callbacks: Any) -> Any:
                """Set the checkpoint of ``fit``; other callbacks require scikit-learn 1.9.

                Parameters
                ----------
                *callbacks : Checkpoint
                    The checkpoint; none removes it.

                Returns
                -------
                self : object
                    The estimator.
                """
                self._skl_callbacks = list(callbacks)
                return self

        def with_callbacks(method):
            """Return the method unchanged."""
            return method


def string_type(storage: Any, *, has_na: bool) -> pd.StringDtype:
    """Return pandas' type of strings whose missing values are NA, or otherwise NaN."""
    if has_na:
        return pd.StringDtype(storage)
    return pd.StringDtype(storage, na_value=np.nan)  # pandas 2.3 and later


def default_device() -> torch.device:
    """Return the device of new tensors, also within a device context.

    ``torch.get_default_device`` ignores contexts in torch 2.5, and fails there after
    ``torch.set_default_device(None)``.
    """
    return torch.empty(0).device


def pad_ends(tensor: Tensor, sizes: list[int]) -> Tensor:
    """Append zeros to the last axes of a tensor: ``sizes[0]`` to the last axis, and so on.

    torch 2.5 does not pad tensors without elements.
    """
    if not tensor.numel():
        lead = tensor.dim() - len(sizes)
        added = [0] * lead + sizes[::-1]
        shape = [size + more for size, more in zip(tensor.shape, added, strict=True)]
        return tensor.new_zeros(shape)
    return nn.functional.pad(tensor, [side for size in sizes for side in (0, size)])


def take_along_dim(values: Tensor, index: Tensor, dim: int) -> Tensor:
    """Select values by indices along an axis; other axes of both are broadcast.

    The gather of torch 2.5 returns values of wrong rows for some indices with broadcast axes.
    """
    shapes = [list(values.shape), list(index.shape)]
    shapes[0][dim] = shapes[1][dim] = 1
    full_values = list(np.broadcast_shapes(*shapes))  # torch's imports sympy, which is slow
    full_index = full_values.copy()
    full_values[dim], full_index[dim] = values.shape[dim], index.shape[dim]
    return values.expand(full_values).gather(dim, index.expand(full_index).contiguous())
