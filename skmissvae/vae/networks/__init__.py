"""Networks of the encoder and the decoder, and the options that choose them."""

from .conv import ConvDecoder, ConvEncoder, Image
from .mlp import ResidualMLP
from .options import ConvNetwork, CustomNetwork, ResidualNetwork

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "ConvNetwork",
    "CustomNetwork",
    "Image",
    "ResidualMLP",
    "ResidualNetwork",
]
