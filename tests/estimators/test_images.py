"""Convolutional networks and observation models of images."""

import itertools

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from helpers import stream, uniform
from sklearn.base import clone
from torch import nn

from skmissvae import ConvNetwork, MissSIWAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.vae import (
    ConvDecoder,
    ConvEncoder,
    CrossEntropyLikelihood,
    Image,
    NormalLikelihood,
    ProductLikelihood,
)
from skmissvae.vae.factor_analysis import initialize_from
from skmissvae.vae.likelihoods.base import LinearModel

pytestmark = quiet
NETWORK = ConvNetwork((6, 6))
SHAPES = [(1, 8, 8), (1, 5, 7), (3, 9, 4), (1, 28, 28), (2, 2, 1)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def image(shape, share=1.0, seed=0):
    """Return an image of which only a share of the pixels is modelled."""
    n = int(np.prod(shape))
    order = np.random.default_rng(seed).permutation(n)
    return Image(*shape, tuple(sorted(order[: max(1, round(share * n))].tolist())))


def images(n=30, seed=0, share=0.3):
    """Return images of 6 x 6 grey values, incomplete and complete: a bright spot on dark."""
    rng = np.random.default_rng(seed)
    center = rng.uniform(1, 4, size=(n, 2, 1, 1))
    rows, columns = np.indices((6, 6))
    X = np.exp(-0.3 * ((rows - center[:, 0]) ** 2 + (columns - center[:, 1]) ** 2)).reshape(n, 36)
    X[:, 0] = 0.0  # a constant corner
    return np.where(rng.random(X.shape) < share, np.nan, X), X


@every_shape
@pytest.mark.parametrize("linear_path", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_networks_have_the_requested_widths(shape, linear_path, share):
    picture = image(shape, share)
    n = len(picture.places)
    encoder = ConvEncoder(picture, 7, 16, 1, linear_path=linear_path)
    decoder = ConvDecoder(3, picture, 2, 16, 1, linear_path=linear_path)
    assert encoder(torch.rand(2, 4, 2 * n)).shape == (2, 4, 7)
    assert decoder(torch.rand(2, 4, 3)).shape == (2, 4, 2 * n)
    sizes = picture.sizes
    assert sizes[0] == shape[1:]
    assert min(sizes[-1]) <= 4
    assert all(b == (-(-a[0] // 2), -(-a[1] // 2)) for a, b in itertools.pairwise(sizes))


def test_encoder_gets_the_image_and_its_mask():
    picture = image((2, 5, 7), 0.6)
    n = len(picture.places)
    encoder = ConvEncoder(picture, 3, 8, 1)
    recorded = []
    encoder.body.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0]))
    x, mask = torch.arange(1.0, n + 1), torch.arange(n) % 2.0
    encoder(torch.cat([x, mask]).unsqueeze(0))
    canvas = recorded[0][0].flatten(1)  # (4, 35): two channels of pixels, two of the mask
    full = torch.zeros(2, 70)
    full[:, list(picture.places)] = torch.stack([x, mask])
    assert torch.equal(canvas.flatten(), full.flatten())


def test_decoder_output_is_the_map_in_row_order():
    picture = image((2, 5, 7), 0.6)
    decoder = ConvDecoder(3, picture, 2, 8, 1, linear_path=False)
    height, width = picture.sizes[1]
    maps = torch.arange(16.0 * height * width).view(1, 16, height, width)
    decoder.body, decoder.outlet = nn.Identity(), nn.Identity()
    decoder.outlet.forward = lambda h: maps
    out = decoder(torch.zeros(1, 3)).view(2, -1)
    for parameter in range(2):
        for d, place in enumerate(picture.places):
            channel, pixel = divmod(place, 35)
            row, column = divmod(pixel, 7)
            inner = (row % 2) * 2 + column % 2  # the place within a coarse pixel
            group = (parameter * 2 + channel) * 4 + inner
            assert out[parameter, d] == maps[0, group, row // 2, column // 2]


def test_modelled_pixels_equal_those_of_the_whole_image():
    full, part = image((1, 16, 16)), image((1, 16, 16), 0.5)
    whole, partial = (ConvDecoder(3, p, 2, 8, 1, linear_path=False).double() for p in (full, part))
    partial.load_state_dict({**whole.state_dict(), "places": partial.places})
    z = uniform(5, 3)
    out = whole(z).unflatten(-1, (2, 256))[..., list(part.places)].flatten(-2)
    torch.testing.assert_close(partial(z), out)


def test_outputs_of_a_row_do_not_depend_on_other_rows():
    picture = image((1, 9, 9), 0.8)
    encoder = ConvEncoder(picture, 5, 16, 2).double()
    decoder = ConvDecoder(4, picture, 1, 16, 2).double()
    x, z = uniform(6, 2 * len(picture.places)), uniform(6, 4)
    torch.testing.assert_close(encoder(x)[2:3], encoder(x[2:3]))
    torch.testing.assert_close(decoder(z)[2:3], decoder(z[2:3]))
    assert not any("Norm" in type(module).__name__ for module in [*encoder.modules()])


def test_dropout_of_channels_acts_in_training_only():
    decoder = ConvDecoder(3, image((1, 8, 8)), 1, 16, 2, dropout=0.5)
    z = torch.ones(1, 3)
    assert not torch.equal(decoder(z), decoder(z))
    decoder.eval()
    assert torch.equal(decoder(z), decoder(z))


def test_decoder_can_be_initialized_from_factor_analysis():
    X, _ = images()
    imputer = tiny(MVAEImputer, network=NETWORK, n_latents=3).fit(X)
    vae = imputer.model_.spec.build(0)
    D = vae.likelihood.n_columns
    rng = torch.Generator().manual_seed(0)
    loadings, intercept = torch.randn(D, 3, generator=rng), torch.randn(D, generator=rng)
    initialize_from(vae, LinearModel(loadings, intercept, torch.full((D,), 0.3)))
    z = torch.randn(5, 3)
    columns = vae.decode(z)
    expected = z @ loadings.T + intercept
    np.testing.assert_allclose(columns.loc.detach(), expected, atol=1e-5)
    np.testing.assert_allclose(columns.scale.detach(), np.sqrt(0.3), atol=1e-5)


@every_estimator
def test_every_estimator_fits_images(cls):
    X, _ = images()
    estimator = tiny(cls, network=NETWORK).fit(X)
    assert isinstance(estimator.vae_.encoder, ConvEncoder)
    assert isinstance(estimator.vae_.decoder, ConvDecoder)
    assert len(estimator.vae_.decoder.places) == 35  # without the corner
    scores = estimator.score_samples(X)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(estimator.score_samples(X[3:5]), scores[3:5], rtol=1e-6)
    if hasattr(estimator, "transform"):
        completed = estimator.transform(X)
        observed = ~np.isnan(X)
        assert np.array_equal(completed[observed], X[observed])
        assert np.isfinite(completed).all()
    assert estimator.sample(2).shape == (2, 36)
    assert clone(estimator).network == NETWORK


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "cross_entropy"])
def test_completed_pixels_are_in_the_support_of_the_likelihood(likelihood):
    X, _ = images()
    if likelihood == "bernoulli":
        X = np.where(np.isnan(X), np.nan, X > 0.5)
        X = X[:, np.nanstd(X, 0) > 0]
    network = ConvNetwork((1, X.shape[1])) if likelihood == "bernoulli" else NETWORK
    imputer = tiny(MissSIWAEImputer, network=network, likelihood=likelihood).fit(X)
    completed = imputer.transform(X)
    assert ((completed >= 0) & (completed <= 1)).all()
    if likelihood == "bernoulli":
        assert set(np.unique(completed)) <= {0.0, 1.0}
    elif likelihood == "cross_entropy":
        assert len(np.unique(completed[np.isnan(X)])) > 20


def test_cross_entropy_is_smallest_at_the_grey_value():
    x = uniform(4, 3)
    logits = x.logit()
    best = CrossEntropyLikelihood(3)(logits)
    for off in (-0.1, 0.1):
        assert (CrossEntropyLikelihood(3)(logits + off).log_prob(x) < best.log_prob(x)).all()
    torch.testing.assert_close(best.mean(), x)


def test_draws_of_grey_values_are_their_means_given_the_latents():
    columns = CrossEntropyLikelihood(3)(uniform(4, 3, low=-2, high=2))
    draws, mean = columns.sample(stream()), columns.mean()
    assert torch.equal(draws, mean)
    assert torch.equal(columns.icdf(uniform(4, 3)), mean)
    assert (columns.cdf(mean) == 1).all()
    assert (columns.cdf_left(mean) == 0).all()
    # chains complete rows by draws of black and white
    assert set(columns.completion(stream()).unique().tolist()) <= {0.0, 1.0}
    parts = [CrossEntropyLikelihood(1), NormalLikelihood(2)]
    product = ProductLikelihood(parts, [[1], [0, 2]]).double()
    completion = product(uniform(4, product.n_params)).completion(stream())
    assert set(completion[:, 1].unique().tolist()) <= {0.0, 1.0}


def test_bounds_of_grey_values_are_not_evidence():
    X, _ = images(60)
    imputer = tiny(MVAEImputer, network=NETWORK, likelihood="cross_entropy", max_iter=30)
    missing = np.isnan(X)
    missing[:, 0] = False  # bounds do not apply to constants
    free = imputer.fit(X).transform(X)
    bounded = imputer.set_params(min_value=0.1).transform(X)
    assert bounded[missing].min() >= 0.1
    assert np.abs(bounded - free.clip(0.1))[missing].mean() < 0.05


def test_warm_start_requires_the_same_network():
    X, _ = images()
    imputer = tiny(MVAEImputer, network=NETWORK, warm_start=True).fit(X)
    imputer.set_params(network=ConvNetwork([6, 6])).fit(X)
    assert imputer.n_iter_ == 6
    with pytest.raises(ValueError, match=r"'network' of MVAEImputer is .*\(1, 6, 6\)"):
        imputer.set_params(network=ConvNetwork((1, 6, 6))).fit(X)


def test_tables_that_are_not_images_are_refused():
    X, _ = images()
    with pytest.raises(ValueError, match=r"\(5, 6\), with 30 pixels, but X has 36 columns"):
        tiny(MVAEImputer, network=ConvNetwork((5, 6))).fit(X)
    X[:, 3] = X[:, 3] > 0.5
    with pytest.raises(ValueError, match="not pixels of one kind"):
        tiny(MVAEImputer, network=NETWORK, likelihood={3: "bernoulli"}).fit(X)


def test_constant_columns_need_no_network(recwarn):
    X = np.tile([1.0, np.nan, 3.0, 4.0], (5, 1))
    X[0, 1] = 2.0
    imputer = tiny(MVAEImputer, network=ConvNetwork((2, 2))).fit(X)
    assert not recwarn.list  # of a single value and missing cells
    assert np.array_equal(imputer.transform(X), np.tile([1.0, 2.0, 3.0, 4.0], (5, 1)))


def test_pixels_have_no_marginal_transforms():
    X, _ = images(100)
    X[X < 0.05] = 0.0  # a point mass in most columns
    density = tiny(VAEDensityEstimator, network=NETWORK).fit(X)
    assert all(
        column.marginal_transform is None and column.point_mass is None
        for column in density.schema_.columns
    )
