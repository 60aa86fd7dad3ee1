"""Fully connected networks of encoder and decoder, which any ``nn.Module`` can replace."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..._utils.matmul import pad_to_cache_line


class _Residual(nn.Module):
    """The layers of a residual network."""

    inlet: nn.Module
    blocks: nn.ModuleList
    outlet: nn.Module
    linear: nn.Module | None

    def _outputs(self, x: Tensor) -> Tensor:
        h = self.inlet(x).relu_()
        for block in self.blocks:
            h = block(h).add_(h).relu_()
        out: Tensor = self.outlet(h)
        return out if self.linear is None else out.add_(self.linear(x))


class ResidualMLP(_Residual):
    """Residual multilayer perceptron with an optional linear path.

    ``h = relu(W_in x)``, then per block ``h = relu(h + W_2 drop(relu(W_1 h)))``, and the output is
    ``W_out h`` plus, with a linear path, ``A x``. A linear path contains the linear-Gaussian model
    (factor analysis), so that the network learns the deviation from it.

    Parameters
    ----------
    in_features, out_features : int
        Widths of input and output.
    n_hidden : int
        Width of the hidden layers.
    n_blocks : int
        Number of residual blocks; 0 gives a single hidden layer.
    dropout : float
        Probability of dropping a hidden unit within a block.
    linear_path : bool
        Whether a linear map from input to output is added.
    """

    inlet: nn.Linear
    outlet: nn.Linear
    linear: nn.Linear | None

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
        self.inlet = linear_layer(in_features, n_hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                linear_layer(n_hidden, n_hidden),
                nn.ReLU(inplace=True),
                Dropout(dropout),
                linear_layer(n_hidden, n_hidden),
            )
            for _ in range(n_blocks)
        )
        self.outlet = linear_layer(n_hidden, out_features)
        self.linear = linear_layer(in_features, out_features, bias=False) if linear_path else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output: (*, in_features) -> (*, out_features)."""
        # with more axes a linear layer would return a view, and autograd would copy the gradients
        # of the operations that change it in place
        if x.dim() < 3:
            return self._outputs(x)
        return self._outputs(x.flatten(0, -2)).unflatten(0, x.shape[:-1])

    def row_invariant(self) -> RowInvariantMLP | None:
        """Return the same network for inference, with bits of a row independent of other rows.

        None for subclasses, which may override ``forward``.
        """
        return RowInvariantMLP(self) if type(self) is ResidualMLP else None

    @torch.no_grad()
    def initialize_linear_path(self, weight: Tensor, bias: Tensor, chosen: Tensor) -> None:
        """Set the chosen outputs to ``weight x + bias``: (out, in), (out,) and (out,) bool."""
        assert self.linear is not None, "has a linear path"
        self.linear.weight[chosen] = weight[chosen]
        self.outlet.weight[chosen] = 0.0
        self.outlet.bias[chosen] = bias[chosen]


class RowInvariantMLP(_Residual):
    """The same network for inference, with one matrix product per row of the table.

    Matrix libraries choose kernels, whose last bits differ, by the number of rows and by their
    alignment in memory. In a batch of products of equal shape and alignment, one per row of the
    table, the output for a row is independent of the other rows. Without dropout and gradients.

    Parameters
    ----------
    network : ResidualMLP
        The network. Its weights are copied.
    """

    def __init__(self, network: ResidualMLP) -> None:
        super().__init__()
        self.out_features = network.outlet.out_features
        self.inlet, self.outlet = _rowwise(network.inlet), _rowwise(network.outlet)
        self.blocks = nn.ModuleList(map(_rowwise, network.blocks))
        self.linear = None if network.linear is None else _rowwise(network.linear)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output: (B, in_features) or (M, B, in_features), likewise."""
        return _row_by_row(self._outputs, x, self.out_features)


class RowInvariantLinear(nn.Module):
    """A linear layer for inference, with one matrix product per row of the table.

    Parameters
    ----------
    layer : nn.Linear
        The layer. Its weights are copied.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.out_features, self.layer = layer.out_features, _RowwiseLinear(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output: (B, in_features) or (M, B, in_features), likewise."""
        return _row_by_row(self.layer, x, self.out_features)


def _row_by_row(network: Callable[[Tensor], Tensor], x: Tensor, out_features: int) -> Tensor:
    """Apply a network of padded rows (B, M, in_features) to (M, B, in_features) or (B, ...)."""
    rows = pad_to_cache_line((x.unsqueeze(0) if x.dim() == 2 else x).transpose(0, 1))
    out = network(rows)[..., :out_features].transpose(0, 1)  # (M, B, out_features)
    return out.squeeze(0) if x.dim() == 2 else out


def _rowwise(module: nn.Module) -> nn.Module:
    """Return a copy of layers for inference, for a batch of rows with M inputs each."""
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*map(_rowwise, module))
    if isinstance(module, nn.Linear):
        return _RowwiseLinear(module)
    return nn.Identity() if isinstance(module, nn.Dropout) else copy.deepcopy(module)


class _RowwiseLinear(nn.Module):
    """A linear layer as a batch of matrix products, padded with zeros: (B, M, in), likewise."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Buffer(pad_to_cache_line(layer.weight.detach().T, 2))
        bias = layer.bias
        self.bias = None if bias is None else nn.Buffer(pad_to_cache_line(bias.detach()))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.bmm(x, self.weight.expand(len(x), -1, -1))
        return out if self.bias is None else out.add_(self.bias)


class Dropout(nn.Dropout):
    """Dropout by a mask that is faster to draw on the CPU than that of torch."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        return x * dropout_mask(self.p, x.shape, x)


def dropout_mask(dropout: float, shape: Sequence[int], like: Tensor) -> Tensor:
    """Return independent factors of mean one, each zero with the probability ``dropout``.

    The probability is rounded to a multiple of 2**-16. Data type and device are those of ``like``.
    """
    # one random integer of 64 bits gives four factors, and all other operations are vectorized:
    # several times as fast on the CPU as torch's own dropout
    size = math.prod(shape)
    bits = torch.randint(-(2**63), 2**63 - 1, (math.ceil(size / 4),), device=like.device)
    levels = bits.view(torch.int16)[:size].view(*shape).to(like.dtype)
    n_dropped = min(round(dropout * 2**16), 2**16 - 1)  # of the 2**16 levels
    return levels.sub_(n_dropped - 2**15 - 1).relu_().sign_().mul_(2**16 / (2**16 - n_dropped))


def fixed_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a linear layer with given parameters, which are not trained."""
    n_outputs, n_inputs = weight.shape
    layer = nn.Linear(n_inputs, n_outputs, device="meta")  # without initial weights
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def linear_layer(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """Return a linear layer, without a warning if a table has no columns to model."""
    if in_features and out_features:
        return nn.Linear(in_features, out_features, bias)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.Linear(in_features, out_features, bias)
