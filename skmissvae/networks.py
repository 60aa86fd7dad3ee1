"""Networks of the encoder and the decoder. Any ``nn.Module`` can stand in their place."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


class ResidualMLP(nn.Module):
    """Residual multilayer perceptron with an optional linear path beside it.

    ``h = relu(W_in x)``, then per block ``h = relu(h + W_2 drop(relu(W_1 h)))``, and the output is
    ``W_out h`` plus, with a linear path, ``A x``. The linear path makes the linear-Gaussian
    model (factor analysis) the easy case: the network has only the rest to learn.

    Parameters
    ----------
    in_features, out_features : int
        Widths of input and output.
    n_hidden : int
        Width of the hidden layers.
    n_blocks : int
        Number of residual blocks; 0 leaves a single hidden layer.
    dropout : float
        Probability of dropping a hidden unit within a block.
    linear_path : bool
        Whether a linear map from input to output is added.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_hidden: int = 128,
        n_blocks: int = 2,
        dropout: float = 0.0,
        linear_path: bool = True,
    ) -> None:
        super().__init__()
        self.inlet = _linear(in_features, n_hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _linear(n_hidden, n_hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                _linear(n_hidden, n_hidden),
            )
            for _ in range(n_blocks)
        )
        self.outlet = _linear(n_hidden, out_features)
        self.linear = _linear(in_features, out_features, bias=False) if linear_path else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output: (*, in_features) -> (*, out_features)."""
        h = torch.relu(self.inlet(x))
        for block in self.blocks:
            h = torch.relu(h + block(h))
        out: Tensor = self.outlet(h)
        return out if self.linear is None else out + self.linear(x)


def _linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """Return a linear layer; a table without columns to model gives one without weights."""
    if in_features and out_features:
        return nn.Linear(in_features, out_features, bias)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.Linear(in_features, out_features, bias)
