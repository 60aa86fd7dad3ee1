"""Matrix products: equal to torch's, with bits of a row that are independent of the other rows."""

import pytest
import torch
from helpers import uniform

from skmissvae._utils.matmul import matrix_times_draws, pad_to_cache_line, rows_times_matrix

DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_rows", "size", "width"), [(1, 3, 2), (7, 5, 4), (64, 20, 33)])
def test_rows_times_matrix_is_the_product_and_independent_of_other_rows(dtype, n_rows, size, width):
    rows, matrix = uniform(n_rows, size, low=-1).to(dtype), uniform(size, width, seed=1).to(dtype)
    with torch.inference_mode():
        products = rows_times_matrix(rows, matrix)
        torch.testing.assert_close(products, rows @ matrix)
        for n in range(2, n_rows):
            assert torch.equal(rows_times_matrix(rows[-n:], matrix), products[-n:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared_draws", [False, True])
def test_matrix_times_draws_is_the_product_and_independent_of_other_rows(dtype, shared_draws):
    n_draws, n_rows, n_latents = 30, 9, 5
    matrix = uniform(n_rows, n_latents, n_latents, low=-1).to(dtype)
    z = uniform(n_draws, 1 if shared_draws else n_rows, n_latents, seed=1).to(dtype)
    with torch.inference_mode():
        products = matrix_times_draws(matrix, z)
        torch.testing.assert_close(
            products, torch.einsum("bij,mbj->mbi", matrix, z.expand_as(products))
        )
        for n in range(2, n_rows):
            part = matrix_times_draws(matrix[-n:], z if shared_draws else z[:, -n:])
            assert torch.equal(part, products[:, -n:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_adds_zeros_up_to_multiples_of_64_bytes(dtype):
    multiple = 64 // dtype.itemsize
    padded = pad_to_cache_line(torch.ones(2, 3, multiple + 1, dtype=dtype), 2)
    assert padded.shape == (2, multiple, 2 * multiple)
    assert padded.sum() == 2 * 3 * (multiple + 1)
