"""Networks of the encoder and the decoder."""

from .conv import ConvDecoder, ConvEncoder, Image
from .mlp import ResidualMLP

__all__ = ["ConvDecoder", "ConvEncoder", "Image", "ResidualMLP"]
