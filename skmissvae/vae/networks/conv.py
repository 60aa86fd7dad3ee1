"""Convolutional encoder and decoder of images."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .mlp import linear_layer

_MIN_SIDE = 4  # pixels: maps with a shorter side up to this are not halved


_MIN_WIDTH = 8  # channels


class Image(NamedTuple):
    """Arrangement of the columns of a table as images."""

    channels: int
    height: int
    width: int
    places: tuple[int, ...]  # (D,)   pixel of each modelled column, in C order

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths from the image to the coarsest map, each half of the previous one."""
        sizes = [(self.height, self.width)]
        while min(sizes[-1]) > _MIN_SIDE or len(sizes) == 1:
            sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
        return sizes


class ConvEncoder(nn.Module):
    """Residual convolutional network from incomplete images, as rows of a table, to a vector.

    Pixels and mask are channels of one image. Convolutions with stride 2 halve it until its shorter
    side has at most four pixels, each followed by residual blocks ``h = relu(h + W_2 drop(relu(W_1
    h)))`` of 3 x 3 convolutions. The output is a linear map of the coarsest map. There is no batch
    normalization, so that the output for a row is independent of the other rows.

    Parameters
    ----------
    image : Image
        Arrangement of the columns. Pixels that are not modelled are 0 and not observed.
    out_features : int
        Width of the output.
    n_hidden : int
        Channels of the coarsest map; a map of twice the size has half as many, at least 8.
    n_blocks : int
        Residual blocks after each convolution with stride 2.
    dropout : float
        Probability of dropping a channel within a block.
    linear_path : bool
        Whether a linear map from input to output is added.
    """

    def __init__(
        self,
        image: Image,
        out_features: int,
        n_hidden: int = 128,
        n_blocks: int = 2,
        dropout: float = 0.0,
        linear_path: bool = True,
    ) -> None:
        super().__init__()
        self.image = image
        self.places = nn.Buffer(torch.tensor(image.places, dtype=torch.long))
        widths = [2 * image.channels, *_widths(n_hidden, len(image.sizes) - 1)]
        layers: list[nn.Module] = []
        for fine, coarse in itertools.pairwise(widths):
            layers += [nn.Conv2d(fine, coarse, 3, stride=2, padding=1), nn.ReLU()]
            layers += [_ConvBlock(coarse, dropout) for _ in range(n_blocks)]
        self.body = nn.Sequential(*layers)
        self.outlet = nn.Linear(widths[-1] * math.prod(image.sizes[-1]), out_features)
        n_inputs = 2 * len(image.places)
        self.linear = linear_layer(n_inputs, out_features, bias=False) if linear_path else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output: (*, 2 D), values and mask -> (*, out_features)."""
        image = self.image
        rows = x.reshape(-1, 2, len(image.places))
        canvas = rows.new_zeros(len(rows), 2, image.channels * image.height * image.width)
        canvas[..., self.places] = rows
        h = self.body(canvas.view(-1, 2 * image.channels, image.height, image.width))
        out: Tensor = self.outlet(h.flatten(1)).unflatten(0, x.shape[:-1])
        return out if self.linear is None else out + self.linear(x)


class ConvDecoder(nn.Module):
    """Residual convolutional network from a vector to parameters of the pixels.

    The mirror image of ``ConvEncoder``: maps are doubled by repeating pixels, followed by a
    convolution; the last doubling is a pixel shuffle.

    Parameters
    ----------
    in_features : int
        Width of the input.
    image : Image
        Arrangement of the columns.
    n_params : int
        Parameters per column; the outputs are D of the first parameter, then D of the second, ...
    n_hidden, n_blocks : int
        As in ``ConvEncoder``.
    dropout : float
        As in ``ConvEncoder``.
    linear_path : bool
        As in ``ConvEncoder``. With a linear path each output has a separate bias.
    """

    def __init__(
        self,
        in_features: int,
        image: Image,
        n_params: int,
        n_hidden: int = 128,
        n_blocks: int = 2,
        dropout: float = 0.0,
        linear_path: bool = True,
    ) -> None:
        super().__init__()
        self.image, self.n_params = image, n_params
        self.places = nn.Buffer(torch.tensor(image.places, dtype=torch.long))
        sizes = image.sizes[:0:-1]  # from the coarsest to half of the image
        widths = _widths(n_hidden, len(sizes))[::-1]
        self.coarsest = (widths[0], *sizes[0])
        self.inlet = nn.Linear(in_features, math.prod(self.coarsest))
        layers: list[nn.Module] = [nn.ReLU()]
        layers += [_ConvBlock(widths[0], dropout) for _ in range(n_blocks)]
        for (coarse, fine), size in zip(itertools.pairwise(widths), sizes[1:], strict=True):
            layers += [nn.Upsample(size), nn.Conv2d(coarse, fine, 3, padding=1), nn.ReLU()]
            layers += [_ConvBlock(fine, dropout) for _ in range(n_blocks)]
        self.body = nn.Sequential(*layers)
        self.outlet = nn.Conv2d(widths[-1], 4 * n_params * image.channels, 3, padding=1)
        n_outputs = n_params * len(image.places)
        self.linear = linear_layer(in_features, n_outputs) if linear_path else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output: (*, in_features) -> (*, n_params * D)."""
        image = self.image
        h = self.inlet(x.reshape(-1, x.shape[-1])).unflatten(-1, self.coarsest)
        doubled = nn.functional.pixel_shuffle(self.outlet(self.body(h)), 2)
        pixels = doubled[..., : image.height, : image.width].unflatten(1, (self.n_params, -1))
        out = pixels.flatten(2)[..., self.places].flatten(1).unflatten(0, x.shape[:-1])
        return out if self.linear is None else out + self.linear(x)

    @torch.no_grad()
    def initialize_linear_path(self, weight: Tensor, bias: Tensor, chosen: Tensor) -> None:
        """Set the chosen outputs to ``weight x + bias``: (out, in), (out,) and (out,) bool.

        The last convolution is set to zero for all outputs.
        """
        assert self.linear is not None, "has a linear path"
        self.linear.weight[chosen], self.linear.bias[chosen] = weight[chosen], bias[chosen]
        for parameter in self.outlet.parameters():
            parameter.zero_()


class _ConvBlock(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, h: Tensor) -> Tensor:
        return torch.relu(h + self.residual(h))


def _widths(n_hidden: int, n: int) -> Sequence[int]:
    """Return the channels of n maps, from the finest to the coarsest."""
    return [max(n_hidden // 2**i, min(_MIN_WIDTH, n_hidden)) for i in reversed(range(n))]
