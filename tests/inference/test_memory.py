"""Draws that are decoded at a time: limits of the working memory and of a GPU."""

import functools
import math

import numpy as np
import pytest
import sklearn
import torch
from helpers import stream
from test_adaptive import MODEL, shifted_vae
from torch import nn

from skmissvae import MVAEImputer
from skmissvae.inference import ImportanceSampler


class SmallDecoder(nn.Module):
    """A decoder that is out of memory for more than ``limit`` draws at a time."""

    def __init__(self, decoder, limit):
        super().__init__()
        self.decoder, self.limit, self.n_decoded = decoder, limit, 0

    def forward(self, z):
        n = z.shape[:-1].numel()
        if n > self.limit:
            raise torch.OutOfMemoryError(f"no memory for {n} draws")
        self.n_decoded = max(self.n_decoded, n)
        return self.decoder(z)


@torch.no_grad()
@pytest.mark.parametrize("make", [shifted_vae, MODEL.vae], ids=["adapted", "not adapted"])
def test_results_do_not_depend_on_the_number_of_draws_decoded_at_a_time(make):
    x, observed = MODEL.rows(3)
    estimates = (
        ImportanceSampler.means,
        ImportanceSampler.evidence,
        ImportanceSampler.weighted_draws,
        functools.partial(ImportanceSampler.resample, n=20),
    )
    for i in range(3):
        rows = x[i : i + 1], observed[i : i + 1], 2500
        for estimate in estimates:
            vae = make()
            expected = estimate(ImportanceSampler(vae, *rows, stream(1), proposal="sufficient"))
            vae.decoder = SmallDecoder(vae.decoder, 100)
            result = estimate(
                ImportanceSampler(vae, *rows, stream(1), proposal="sufficient", n_decoded=100)
            )
            for values, others in zip(result, expected, strict=True):
                if isinstance(values, torch.Tensor):
                    torch.testing.assert_close(values, others, rtol=1e-9, atol=1e-9)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 6)) + 0.5 * rng.normal(size=(20, 6))
    X[rng.random(X.shape) < 0.3] = np.nan
    return X


@pytest.fixture
def imputer(table):
    imputer = MVAEImputer(
        max_iter=1, n_importance_draws=500, init="factor_analysis", device="cpu", random_state=0
    )
    return imputer.fit(table)


def test_fewer_draws_are_decoded_at_a_time_if_memory_is_short(imputer, table):
    def impute(X):
        return imputer.impute(X, 2)[1]

    methods = imputer.transform, imputer.score_samples, imputer.encode, impute
    decoder = imputer.vae_.decoder
    imputer.vae_.decoder = SmallDecoder(decoder, math.inf)  # rows are computed one by one
    expected = [method(table) for method in methods]
    imputer.vae_.decoder = SmallDecoder(decoder, 100)
    for method, values in zip(methods, expected, strict=True):
        np.testing.assert_allclose(method(table), values, rtol=1e-4, atol=1e-5)
    assert 50 < imputer.vae_.decoder.n_decoded <= 100
    imputer.vae_.decoder = SmallDecoder(decoder, 0)
    with pytest.raises(torch.OutOfMemoryError, match="no memory for 1 draws"):
        imputer.transform(table)


@pytest.mark.parametrize(("min_value", "limit"), [(None, 60), (-5.0, 30)])
def test_working_memory_limits_the_number_of_draws_decoded_at_a_time(
    imputer, table, min_value, limit
):
    imputer.set_params(min_value=min_value)
    imputer.vae_.decoder = SmallDecoder(imputer.vae_.decoder, math.inf)
    expected = imputer.transform(table)
    imputer.vae_.decoder.n_decoded = 0
    with sklearn.config_context(working_memory=0.1):
        np.testing.assert_allclose(imputer.transform(table), expected, rtol=1e-4, atol=1e-5)
    assert limit / 2 < imputer.vae_.decoder.n_decoded <= limit
    imputer.transform(table)
    assert imputer.vae_.decoder.n_decoded == 500
