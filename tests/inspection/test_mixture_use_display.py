"""MixtureUseDisplay: the weights of the components."""

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import quiet, table, tiny

from skmissvae import MissSVAEImputer, MIWAEImputer
from skmissvae.inspection import MixtureUseDisplay, component_divergence

pytestmark = [quiet, pytest.mark.usefixtures("agg_backend")]

X = table()
FRAME = pd.DataFrame(X, columns=list("abcd"))


def test_mixture_weights_equal_those_of_the_posteriors():
    imputer = tiny(MissSVAEImputer).fit(FRAME)
    display = MixtureUseDisplay.from_estimator(imputer, FRAME, color="k")
    x, observed = imputer.encode_rows(FRAME).tensors()
    with torch.no_grad():
        weights = imputer.vae_.posterior(x, observed).log_pi.exp().numpy()
    np.testing.assert_allclose(display.weights, weights, rtol=1e-5)
    np.testing.assert_allclose(display.mean, weights.mean(0), rtol=1e-5)
    np.testing.assert_allclose([bar.get_height() for bar in display.bars_], display.mean)
    assert ((display.low <= display.mean) & (display.mean <= display.high)).all()
    assert display.bars_[0].get_facecolor()[:3] == (0, 0, 0)
    divergence = component_divergence(imputer, FRAME)
    np.testing.assert_allclose(display.n_effective, np.exp(divergence.mean()))
    assert f"as far apart as {display.n_effective:.2g}" in display.ax_.get_title()
    assert MixtureUseDisplay(weights).plot().ax_.get_title() == ""


def test_a_single_component_has_a_weight_of_one():
    display = MixtureUseDisplay.from_estimator(tiny(MIWAEImputer).fit(X), X)
    np.testing.assert_array_equal(display.mean, [1.0])
    assert display.n_effective == 1.0
