"""Functions that behave alike in all supported versions of the libraries."""

import pytest
import torch

from skmissvae._utils.compat import default_device, pad_ends, take_along_dim


@pytest.mark.parametrize("n_rows", [1, 2, 7])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_values_are_selected_by_indices_that_are_broadcast(n, n_rows):
    z, index = torch.randn(30, n_rows, 6), torch.randint(30, (n_rows, n))
    expected = torch.stack([z[index[:, i], torch.arange(n_rows)] for i in range(n)])
    assert torch.equal(take_along_dim(z, index.T.unsqueeze(-1), 0), expected)
    assert torch.equal(take_along_dim(z.mT, index.T.unsqueeze(-2), 0), expected.mT)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3)])
def test_tensors_without_elements_are_padded(shape):
    padded = pad_ends(torch.ones(shape), [5, 1])
    assert padded.shape == (shape[0] + 1, shape[1] + 5)
    assert padded.sum() == torch.Size(shape).numel()


def test_the_default_device_is_that_of_a_context():
    assert default_device() == torch.device("cpu")
    with torch.device("meta"):
        assert default_device() == torch.device("meta")
