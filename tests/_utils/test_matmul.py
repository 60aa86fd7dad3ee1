"""Products of matrices are the same by either library."""

import pytest
import torch
from helpers import generator, uniform

from skmissvae._utils import matmul as _products
from skmissvae.vae import ResidualMLP

SHAPES = [(1, 3, 2), (7, 5, 4), (64, 20, 33)]


@pytest.fixture(params=["MKL", "oneDNN"])
def library(request, monkeypatch):
    """Take a library for all products, large or not, whatever the processor is."""
    monkeypatch.setattr(_products, "_LARGE", 0)
    choice = _products.onednn
    if request.param == "MKL":
        monkeypatch.setattr(_products, "onednn", lambda: None)
    else:
        choice.cache_clear()
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        monkeypatch.setattr(_products, "_processor", lambda: "vendor_id : AuthenticAMD")
        if choice() is None:
            pytest.skip("torch has been built without MKL or oneDNN")
    yield
    choice.cache_clear()


def matrices(*shapes, dtype):
    return [uniform(*shape, seed=i, low=-1).to(dtype) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [(), (3,)])
def test_products_are_those_of_torch(library, dtype, shape, batch):
    n, k, m = shape
    left, right, to, weight = matrices(
        (*batch, n, k), (*batch, k, m), (*batch, n, m), (*batch, m, k), dtype=dtype
    )
    bias = to[..., 0, :]
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(_products.times(left, right), left @ right, **close)
    across = right.mT.contiguous().mT  # the way in which gradients of weights are multiplied
    torch.testing.assert_close(_products.times(left, across), left @ right, **close)
    expected = left @ weight.mT + bias.unsqueeze(-2)
    torch.testing.assert_close(_products.affine(left, weight, bias), expected, **close)
    expected = to + left @ right
    found = _products.add_product(to, left, right)
    assert found is to
    torch.testing.assert_close(found, expected, **close)


def test_who_switches_onednn_off_has_torchs_own(monkeypatch):
    monkeypatch.setattr(_products, "onednn", lambda: pytest.fail)
    with torch.backends.mkldnn.flags(enabled=False):
        _products.times(torch.zeros(2000, 30), torch.zeros(30, 50))


def test_gradients_of_networks_do_not_depend_on_the_library(library, monkeypatch):
    network = ResidualMLP(5, 4, n_hidden=16, n_blocks=2).train()
    x = torch.randn(20, 5, generator=generator()).requires_grad_()

    def gradients():
        for one in (x, *network.parameters()):
            one.grad = None
        network(x).square().sum().backward()
        return [one.grad.clone() for one in (x, *network.parameters())]

    found = gradients()
    monkeypatch.setattr(_products, "_LARGE", 10**12)
    for mine, theirs in zip(found, gradients(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_large_products_alone_are_by_onednn(monkeypatch):
    asked = []
    monkeypatch.setattr(
        _products, "onednn", lambda: lambda x, weight, bias: asked.append(x.shape) or x @ weight.T
    )
    for n in (999, 1000, 1001):
        _products.times(torch.zeros(n, 30), torch.zeros(30, 50))
        _products.times(torch.zeros(n, 30).double(), torch.zeros(30, 50).double())
    assert asked == [(1000, 30), (1001, 30)]


@pytest.mark.parametrize(
    ("capability", "maker", "wanted"),
    [
        ("AVX512", "vendor_id\t: AuthenticAMD", True),
        ("AVX512", "AMD64 Family 26 Model 2 Stepping 1, AuthenticAMD", True),
        ("AVX512", "vendor_id\t: GenuineIntel", False),
        ("AVX2", "vendor_id\t: AuthenticAMD", False),
        ("AVX512", "", False),
    ],
)
def test_onednn_is_for_wide_processors_of_amd(monkeypatch, capability, maker, wanted):
    _products.onednn.cache_clear()
    for library in (torch.backends.mkl, torch.backends.mkldnn):
        monkeypatch.setattr(library, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(_products, "_processor", lambda: maker)
    has_operation = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    assert (_products.onednn() is not None) is (wanted and has_operation)
    _products.onednn.cache_clear()


def test_what_the_system_tells_of_a_processor(monkeypatch):
    assert isinstance(_products._processor(), str)

    def missing(self):
        raise FileNotFoundError

    monkeypatch.setattr(_products.Path, "open", missing)
    monkeypatch.setattr(_products.platform, "processor", lambda: "told")
    assert _products._processor() == "told"
