"""Networks of the encoder and the decoder. Any ``nn.Module`` can stand in their place."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..._utils.matmul import add_product, affine, pad_to_cache_line, times


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
        self.inlet = linear_layer(in_features, n_hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                linear_layer(n_hidden, n_hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                linear_layer(n_hidden, n_hidden),
            )
            for _ in range(n_blocks)
        )
        self.outlet = linear_layer(n_hidden, out_features)
        self.linear = linear_layer(in_features, out_features, bias=False) if linear_path else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the output: (*, in_features) -> (*, out_features)."""
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        layers: list[Any] = [self.inlet]
        dropout = 0.0
        for block in self.blocks:
            assert isinstance(block, nn.Sequential), "made so above"
            first, _, drop, second = block
            assert isinstance(drop, nn.Dropout), "made so above"
            layers += first, second
            dropout = drop.p
        weights = [part for layer in (*layers, self.outlet) for part in (layer.weight, layer.bias)]
        linear = None if self.linear is None else self.linear.weight
        keep = None
        if self.training and dropout:
            keep = _kept(dropout, (len(self.blocks), len(rows), len(weights[0])), rows)
        out: Tensor
        out = _Residual.apply(rows, keep, linear, *weights)
        return out.view(*x.shape[:-1], out.shape[-1])

    def row_invariant(self) -> RowInvariantMLP | None:
        """Return the same network for inference on rows, each of which gets what it gets alone.

        None of a subclass, which may do otherwise.
        """
        return RowInvariantMLP(self) if type(self) is ResidualMLP else None

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor, chosen: Tensor) -> None:
        """Make the chosen outputs ``weight x + bias``: (out, in), (out,) and (out,) bool."""
        assert self.linear is not None, "has a linear path"
        self.linear.weight[chosen] = weight[chosen]
        self.outlet.weight[chosen] = 0.0
        self.outlet.bias[chosen] = bias[chosen]


class RowInvariantMLP(nn.Module):
    """A residual network for inference that multiplies each row's draws apart from others'.

    Matrix libraries choose other kernels, with other last bits, by where a row stands in a product,
    and by where it lies in memory. A batch of products, one per row, all of the same shape and
    aligned alike, gives each row what it gets alone. Dropout and gradients are left out.

    Parameters
    ----------
    network : ResidualMLP
        The network, whose weights are taken as they are now.
    """

    path: Tensor | None

    def __init__(self, network: ResidualMLP) -> None:
        super().__init__()
        self.out_features = network.outlet.out_features
        layers: list[Any] = [network.inlet]
        for block in network.blocks:
            assert isinstance(block, nn.Sequential), "made so"
            layers += block[0], block[-1]
        # filled up with units and outputs that are zero
        weights = [
            pad_to_cache_line(layer.weight.detach().T, 2) for layer in (*layers, network.outlet)
        ]
        biases = [pad_to_cache_line(layer.bias.detach()) for layer in (*layers, network.outlet)]
        self.n_layers = len(weights)
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            self.register_buffer(f"weight_{i}", weight)
            self.register_buffer(f"bias_{i}", bias)
        linear = network.linear
        path = None if linear is None else pad_to_cache_line(linear.weight.detach().T, 2)
        self.register_buffer("path", path)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output: (B, in_features) or (M, B, in_features), likewise."""
        rows = pad_to_cache_line(
            (x.unsqueeze(0) if x.dim() == 2 else x).transpose(0, 1)
        )  # (B, M, in)
        weights, biases = (
            [getattr(self, f"{kind}_{i}") for i in range(self.n_layers)]
            for kind in ("weight", "bias")
        )
        each = [weight.expand(len(rows), -1, -1) for weight in weights]
        h = torch.bmm(rows, each[0]).add_(biases[0]).relu_()
        for i in range(1, self.n_layers - 1, 2):
            inner = torch.bmm(h, each[i]).add_(biases[i]).relu_()
            h.baddbmm_(inner, each[i + 1]).add_(biases[i + 1]).relu_()
        out = torch.bmm(h, each[-1]).add_(biases[-1])
        if self.path is not None:
            out = out.baddbmm_(rows, self.path.expand(len(rows), -1, -1))
        out = out[..., : self.out_features].transpose(0, 1)
        return out.squeeze(0) if x.dim() == 2 else out


class _Residual(torch.autograd.Function):
    """The residual network as one operation, with its gradient.

    It is what autograd makes of the layers one by one, with fewer passes over memory: what comes
    after a nonlinearity is all that is kept, sums and nonlinearities are in place, and so are the
    gradients. It has no second derivatives.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, keep: Tensor | None, linear: Tensor | None, *weights: Tensor
    ) -> Tensor:
        """Return the output: (N, in), factors of hidden units (n_blocks, N, hidden) -> (N, out).

        Weights and biases follow in the order of the layers.
        """
        out, *layers = _forward(x, keep, linear, *weights)
        ctx.save_for_backward(x, keep, linear, *weights, *layers)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients; weights that are frozen meanwhile get none."""
        return _backward(ctx, out)


def _forward(
    x: Tensor, keep: Tensor | None, linear: Tensor | None, *weights: Tensor
) -> tuple[Tensor, ...]:
    """Return the output of a residual network, its hidden layers, and those within blocks."""
    w, b = weights[::2], weights[1::2]
    hidden = [affine(x, w[0], b[0]).relu_()]
    inner = []
    for i in range(1, len(w) - 1, 2):
        inner.append(affine(hidden[-1], w[i], b[i]).relu_())
        if keep is not None:
            inner[-1].mul_(keep[..., i // 2, :, :])
        h = affine(inner[-1], w[i + 1], b[i + 1])
        hidden.append(h.add_(hidden[-1]).relu_())
    out = affine(hidden[-1], w[-1], b[-1])
    if linear is not None:
        add_product(out, x, linear.mT)
    return out, *hidden, *inner


def _backward(ctx: Any, out: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients to all arguments, from that to the output."""
    x, keep, linear, *saved = ctx.saved_tensors
    n = (len(saved) + 1) // 6  # hidden layers; two parameters of each map, and n - 1 blocks
    weights, hidden, inner = saved[: 4 * n], saved[4 * n : 5 * n], saved[5 * n :]
    w = weights[::2]
    grads: list[Tensor | None] = [None] * (4 * n)

    def layer(i: int, grad: Tensor, source: Tensor) -> None:
        if weights[2 * i].requires_grad:
            grads[2 * i] = times(grad.mT, source)
        if weights[2 * i + 1].requires_grad:
            grads[2 * i + 1] = grad.sum(-2)

    layer(2 * n - 1, out, hidden[-1])
    g = _through_relu(times(out, w[-1]), hidden[-1])
    for i in reversed(range(n - 1)):
        layer(2 * i + 2, g, inner[i])
        within = _through_relu(times(g, w[2 * i + 2]), inner[i])
        if keep is not None:
            within.mul_(keep[..., i, :, :])
        layer(2 * i + 1, within, hidden[i])
        g = _through_relu(add_product(g, within, w[2 * i + 1]), hidden[i])
    layer(0, g, x)
    back = through = None
    if linear is not None and linear.requires_grad:
        through = times(out.mT, x)
    if ctx.needs_input_grad[0]:
        back = times(g, w[0])
        if linear is not None:
            add_product(back, out, linear)
    return back, None, through, *grads


def _through_relu(grad: Tensor, out: Tensor) -> Tensor:
    """Take a gradient back through ``out = relu(...)``, in place."""
    threshold = torch.ops.aten.threshold_backward.grad_input
    passed: Tensor = threshold(grad, out, 0, grad_input=grad)
    return passed


def _kept(dropout: float, shape: Sequence[int], like: Tensor) -> Tensor:
    """Return factors of mean one, each 0 with the given probability, to a 65,536th."""
    # torch's own takes several times as long on CPU: a number of 64 bits is enough for four
    # factors, and what follows is done in vectors
    size = math.prod(shape)
    bits = torch.randint(-(2**63), 2**63 - 1, (math.ceil(size / 4),), device=like.device)
    levels = bits.view(torch.int16)[:size].view(*shape).to(like.dtype)
    least = min(round(dropout * 2**16), 2**16 - 1)  # of 65,536 levels are dropped
    return levels.sub_(least - 2**15 - 1).relu_().sign_().mul_(2**16 / (2**16 - least))


def linear_layer(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    """Return a linear layer; a table without columns to model gives one without weights."""
    if in_features and out_features:
        return nn.Linear(in_features, out_features, bias)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.Linear(in_features, out_features, bias)
