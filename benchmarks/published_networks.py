"""Networks of Mattei and Frellsen (2019): perceptrons of three tanh layers of 128 units."""

import itertools

from torch import Tensor, nn


class Tanh(nn.Module):
    """Hyperbolic tangent by the sigmoid, which is faster than torch.tanh."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the hyperbolic tangent of each element."""
        return (2 * x).sigmoid().mul(2).sub(1)


def mlp(in_features: int, out_features: int) -> nn.Module:
    """Return an encoder or a decoder."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise([in_features, 128, 128, 128]):
        layers += [nn.Linear(a, b), Tanh()]
    return nn.Sequential(*layers, nn.Linear(128, out_features))
