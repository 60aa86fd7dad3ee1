"""Options of the estimators' parameter ``network``: which networks encode and decode."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from ..._utils.validation import any_of, callable_with, check_fields, integer, none, one_of

#: Makes a network of an input and an output width.
NetworkFactory = Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class ResidualNetwork:
    """Residual multilayer perceptrons, the default.

    Parameters
    ----------
    linear_path : bool, default=True
        Whether a linear map from input to output is added to each network, which makes factor
        analysis a special case of the model and its initialization.

    Examples
    --------
    >>> from skmissvae import MissSIWAEImputer, ResidualNetwork
    >>> imputer = MissSIWAEImputer(network=ResidualNetwork(linear_path=False))
    """

    linear_path: bool = True

    def __post_init__(self) -> None:
        """Check the value."""
        check_fields(self, linear_path=one_of(True, False))


@dataclass(frozen=True)
class ConvNetwork:
    """Convolutional networks, for tables whose rows are images.

    Pixels are the columns in C order. ``n_hidden`` is the number of channels of the coarsest map,
    ``n_blocks`` the number of residual blocks at each size. Point masses and
    marginal transforms (``learn_shapes``) are not used.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (channels, height, width).
    linear_path : bool, default=True
        As in ``ResidualNetwork``.

    Examples
    --------
    >>> from skmissvae import ConvNetwork, MissSIWAEImputer
    >>> imputer = MissSIWAEImputer(network=ConvNetwork((28, 28)))
    """

    image_shape: Sequence[int]
    linear_path: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(self, linear_path=one_of(True, False))
        shape = self.image_shape
        is_shape = isinstance(shape, (tuple, list)) and len(shape) in (2, 3)
        if not is_shape or any(integer(1)(n) for n in shape):
            raise ValueError(
                "Parameter 'image_shape' of ConvNetwork must be (height, width) or (channels, "
                f"height, width); got {shape!r}."
            )
        # as a tuple it can be compared and hashed
        object.__setattr__(self, "image_shape", tuple(shape))


@dataclass(frozen=True)
class CustomNetwork:
    """Networks made by functions.

    Any other object with the attributes ``encoder`` and ``decoder`` serves as well.

    Parameters
    ----------
    encoder, decoder : callable or None, default=None
        ``(in_features, out_features) -> nn.Module``; None is a residual perceptron with a linear
        path. With a custom decoder there is no initialization from factor analysis.

    Examples
    --------
    >>> from torch import nn
    >>> from skmissvae import CustomNetwork, MissSIWAEImputer
    >>> imputer = MissSIWAEImputer(network=CustomNetwork(encoder=nn.Linear))
    """

    encoder: NetworkFactory | None = None
    decoder: NetworkFactory | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        check = any_of(callable_with("(in_features, out_features) -> nn.Module"), none)
        check_fields(self, encoder=check, decoder=check)
