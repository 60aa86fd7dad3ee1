"""A decoder with a linear function of the latents added to its outputs."""

from __future__ import annotations

from torch import Tensor, nn

from .mlp import RowInvariantLinear


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
