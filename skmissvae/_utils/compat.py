"""What differs between versions of the libraries, and types that scikit-learn does not declare."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch

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
            """Empty replacement of scikit-learn's mixin, without callbacks."""

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
