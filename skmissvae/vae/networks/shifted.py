"""Decoders with linear functions of the latents added to their outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .mlp import RowInvariantLinear, fixed_linear

_MAX_TOGETHER = 32  # functions that are evaluated at a time


class ShiftedDecoder(nn.Module):
    """A decoder with a linear function of the latents added to its outputs.

    Parameters
    ----------
    decoder : nn.Module
        The decoder, which is shared.
    shift : nn.Module
        The linear function, ``(*, L) -> (*, P)``.
    """

    def __init__(self, decoder: nn.Module, shift: nn.Module) -> None:
        super().__init__()
        self.decoder, self.shift = decoder, shift

    def forward(self, z: Tensor) -> Tensor:
        """Return the outputs: (*, L) -> (*, P)."""
        outputs: Tensor = self.decoder(z) + self.shift(z)
        return outputs

    def row_invariant(self) -> ShiftedDecoder | None:
        """Return the same decoder for inference, with bits of a row independent of other rows.

        None if the decoder has no such form.
        """
        decoder = getattr(self.decoder, "row_invariant", lambda: None)()
        if decoder is None:
            return None
        assert isinstance(self.shift, nn.Linear), "not yet row-invariant"
        return ShiftedDecoder(decoder, RowInvariantLinear(self.shift))


class DecoderShifts(nn.Module):
    """What is added to the outputs of a decoder in each of n decoders, for inference.

    Parameters
    ----------
    layers : sequence of nn.Linear
        Linear functions of the latents, ``(*, L) -> (*, P)``.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.each = nn.ModuleList(map(RowInvariantLinear, layers))
        starts = range(0, len(layers), _MAX_TOGETHER)
        self.n_together = min(len(layers), _MAX_TOGETHER)
        self._joined = nn.ModuleList(_joined(layers[i : i + _MAX_TOGETHER]) for i in starts)

    def parts(self, z: Tensor) -> Iterator[Tensor]:
        """Yield what is added in some of the decoders at a time: (M, B, L) -> (M, m, B, P)."""
        n_outputs = self.each[0].out_features
        for layer in self._joined:
            yield layer(z).unflatten(-1, (-1, n_outputs)).transpose(1, 2)


def _joined(layers: Sequence[nn.Linear]) -> RowInvariantLinear:
    """Return a layer with the outputs of all layers."""
    weights, biases = zip(*((layer.weight, layer.bias) for layer in layers), strict=True)
    return RowInvariantLinear(fixed_linear(torch.cat(weights), torch.cat(biases)))
