"""The residual network: its formula, gradients, dropout, and independence of rows."""

import pytest
import torch
from helpers import uniform
from torch import nn

from skmissvae._utils.runtime import SeededGenerators
from skmissvae.vae import ResidualMLP
from skmissvae.vae.networks.mlp import dropout_mask


@pytest.mark.parametrize("linear_path", [True, False])
@pytest.mark.parametrize("n_blocks", [0, 2])
def test_network_equals_its_formula(n_blocks, linear_path):
    net = ResidualMLP(3, 5, 8, n_blocks, linear_path=linear_path).double()
    x = uniform(2, 4, 3, low=-1, high=1)
    h = (x @ net.inlet.weight.T + net.inlet.bias).relu()
    for block in net.blocks:
        first, second = block[0], block[3]
        inner = (h @ first.weight.T + first.bias).relu()
        h = (h + inner @ second.weight.T + second.bias).relu()
    out = h @ net.outlet.weight.T + net.outlet.bias
    if linear_path:
        out = out + x @ net.linear.weight.T
    torch.testing.assert_close(net(x), out)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("linear_path", [True, False])
@pytest.mark.parametrize("n_blocks", [0, 2])
def test_gradients_of_the_network_equal_finite_differences(n_blocks, linear_path, dropout):
    net = ResidualMLP(3, 2, 5, n_blocks, dropout, linear_path).double()
    x = uniform(2, 4, 3, low=-1, high=1).requires_grad_()

    def output(x, *weights):
        with SeededGenerators(3, x.device).block():  # the same units are dropped
            return net(x)

    assert torch.autograd.gradcheck(output, (x, *net.parameters()))


def test_frozen_weights_have_no_gradient_but_the_input_has():
    net, x = ResidualMLP(3, 2, 5, 1), uniform(4, 3).float().requires_grad_()
    expected = torch.autograd.grad(net(x).square().sum(), x)[0]
    out = net(x).square().sum()
    net.requires_grad_(False)  # also after the forward pass
    net.outlet.bias.requires_grad_(True)
    out.backward()
    torch.testing.assert_close(x.grad, expected)
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["outlet.bias"]


@pytest.mark.parametrize("dropout", [1e-4, 0.1, 0.5, 0.99])
def test_dropout_mask_is_independent_with_mean_one(dropout):
    n = 200_000
    with SeededGenerators(0, torch.device("cpu")).block():
        factors = dropout_mask(dropout, (2, n), torch.empty(0, dtype=torch.float64))
    dropped = (factors == 0).double()
    error = (dropout * (1 - dropout) / n) ** 0.5
    assert (dropped.mean(1) - dropout).abs().max() < 4 * error + 2**-16
    assert (factors[factors > 0] == factors.max()).all()
    assert factors.max() * (1 - dropout) == pytest.approx(1, abs=2**-16 / (1 - dropout))
    pairs = torch.stack([dropped[0, :-1], dropped[0, 1:], dropped[0].roll(4)[1:], dropped[1, 1:]])
    correlation = torch.corrcoef(pairs) - torch.eye(4)
    assert correlation.abs().max() < 4.5 / n**0.5


def test_dropout_is_only_active_in_training():
    net = ResidualMLP(3, 5, 64, 2, dropout=0.5)
    x = torch.ones(1, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert any(isinstance(module, nn.Dropout) for module in net.modules())


@torch.no_grad()
@pytest.mark.parametrize("linear_path", [True, False])
@pytest.mark.parametrize("n_blocks", [0, 2])
def test_row_invariant_network_gives_a_row_the_same_bits_with_any_other_rows(n_blocks, linear_path):
    net = ResidualMLP(5, 7, 33, n_blocks, dropout=0.5, linear_path=linear_path)
    x = uniform(20, 9, 5, low=-1, high=1).float()
    row_invariant = net.row_invariant()
    out = row_invariant(x)
    torch.testing.assert_close(out, net.eval()(x))
    for b in range(9):
        assert torch.equal(row_invariant(x[:, b : b + 1]), out[:, b : b + 1])
    torch.testing.assert_close(row_invariant(x[0]), out[0])
