"""Convolutional networks: rows are images, and what holds for every network holds for them."""

import itertools

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from helpers import stream, uniform
from sklearn.base import clone
from torch import nn

from skmissvae import MissSIWAEImputer, MVAEImputer, VAEDensityEstimator
from skmissvae.vae import (
    ConvDecoder,
    ConvEncoder,
    CrossEntropyLikelihood,
    Image,
    NormalLikelihood,
    ProductLikelihood,
)
from skmissvae.vae.factor_analysis import FactorAnalysis, initialize_from

pytestmark = quiet
SHAPES = [(1, 8, 8), (1, 5, 7), (3, 9, 4), (1, 28, 28), (2, 2, 1)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def image(shape, share=1.0, seed=0):
    """Return an image of which only a share of the pixels is modelled."""
    n = int(np.prod(shape))
    order = np.random.default_rng(seed).permutation(n)
    return Image(*shape, tuple(sorted(order[: max(1, round(share * n))].tolist())))


def pictures(n=30, seed=0, share=0.3):
    """Return images of 6 x 6 grey values with holes: a bright spot on a dark ground."""
    rng = np.random.default_rng(seed)
    at = rng.uniform(1, 4, size=(n, 2, 1, 1))
    rows, columns = np.indices((6, 6))
    X = np.exp(-0.3 * ((rows - at[:, 0]) ** 2 + (columns - at[:, 1]) ** 2)).reshape(n, 36)
    X[:, 0] = 0.0  # a corner that never varies
    holes = rng.random(X.shape) < share
    return np.where(holes, np.nan, X), X


@every_shape
@pytest.mark.parametrize("linear_path", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_networks_have_the_sizes_they_are_asked_for(shape, linear_path, share):
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


def test_what_the_encoder_sees_is_the_image_and_its_mask():
    picture = image((2, 5, 7), 0.6)
    n = len(picture.places)
    encoder = ConvEncoder(picture, 3, 8, 1)
    seen = []
    encoder.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x, mask = torch.arange(1.0, n + 1), torch.arange(n) % 2.0
    encoder(torch.cat([x, mask]).unsqueeze(0))
    canvas = seen[0][0].flatten(1)  # (4, 35): two channels of pixels, two of the mask
    full = torch.zeros(2, 70)
    full[:, list(picture.places)] = torch.stack([x, mask])
    assert torch.equal(canvas.flatten(), full.flatten())


def test_what_the_decoder_gives_is_the_map_row_by_row():
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


def test_modelled_pixels_are_those_of_the_whole_image():
    full, part = image((1, 16, 16)), image((1, 16, 16), 0.5)
    whole, some = (ConvDecoder(3, p, 2, 8, 1, linear_path=False).double() for p in (full, part))
    some.load_state_dict({**whole.state_dict(), "places": some.places})
    z = uniform(5, 3)
    out = whole(z).unflatten(-1, (2, 256))[..., list(part.places)].flatten(-2)
    torch.testing.assert_close(some(z), out)


def test_a_row_gives_what_it_gives_in_company():
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


def test_the_start_makes_the_decoder_factor_analysis():
    X, _ = pictures()
    imputer = tiny(MVAEImputer, image_shape=(6, 6), n_latents=3).fit(X)
    vae = imputer._spec.build()
    D = vae.likelihood.n_columns
    rng = np.random.default_rng(0)
    model = FactorAnalysis(rng.normal(size=(D, 3)), rng.normal(size=D), np.full(D, 0.3))
    initialize_from(vae, model)
    z = torch.randn(5, 3)
    columns = vae.decode(z)
    expected = z.numpy() @ model.loadings.T + model.intercept
    np.testing.assert_allclose(columns.loc.detach(), expected, atol=1e-5)
    np.testing.assert_allclose(columns.scale.detach(), np.sqrt(0.3), atol=1e-5)


@every_estimator
def test_every_estimator_takes_images(cls):
    X, _ = pictures()
    estimator = tiny(cls, image_shape=(6, 6)).fit(X)
    assert isinstance(estimator.vae_.encoder, ConvEncoder)
    assert isinstance(estimator.vae_.decoder, ConvDecoder)
    assert len(estimator.vae_.decoder.places) == 35  # not the corner
    scores = estimator.score_samples(X)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(estimator.score_samples(X[3:5]), scores[3:5], rtol=1e-6)
    if hasattr(estimator, "transform"):
        completed = estimator.transform(X)
        seen = ~np.isnan(X)
        assert np.array_equal(completed[seen], X[seen])
        assert np.isfinite(completed).all()
    assert estimator.sample(2).shape == (2, 36)
    assert clone(estimator).image_shape == (6, 6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "cross_entropy"])
def test_black_and_white_and_grey(likelihood):
    X, _ = pictures()
    if likelihood == "bernoulli":
        X = np.where(np.isnan(X), np.nan, X > 0.5)
        X = X[:, np.nanstd(X, 0) > 0]
        shape = (1, X.shape[1])
    else:
        shape = (6, 6)
    imputer = tiny(MissSIWAEImputer, image_shape=shape, likelihood=likelihood).fit(X)
    completed = imputer.transform(X)
    assert ((completed >= 0) & (completed <= 1)).all()
    if likelihood == "bernoulli":
        assert set(np.unique(completed)) <= {0.0, 1.0}
    elif likelihood == "cross_entropy":
        assert len(np.unique(completed[np.isnan(X)])) > 20


def test_cross_entropy_is_least_at_the_grey_value():
    x = uniform(4, 3)
    logits = x.logit()
    best = CrossEntropyLikelihood(3)(logits)
    for off in (-0.1, 0.1):
        assert (CrossEntropyLikelihood(3)(logits + off).log_prob(x) < best.log_prob(x)).all()
    torch.testing.assert_close(best.mean(), x)


def test_grey_values_are_their_means_given_the_latents():
    columns = CrossEntropyLikelihood(3)(uniform(4, 3, low=-2, high=2))
    draws, mean = columns.sample(stream()), columns.mean()
    assert torch.equal(draws, mean)
    assert torch.equal(columns.icdf(uniform(4, 3)), mean)
    assert (columns.cdf(mean) == 1).all()
    assert (columns.cdf_left(mean) == 0).all()
    # chains complete rows by the law of cross entropy all the same
    assert set(columns.completion(stream()).unique().tolist()) <= {0.0, 1.0}
    parts = [CrossEntropyLikelihood(1), NormalLikelihood(2)]
    joined = ProductLikelihood(parts, [[1], [0, 2]]).double()
    filled = joined(uniform(4, joined.n_params)).completion(stream())
    assert set(filled[:, 1].unique().tolist()) <= {0.0, 1.0}


def test_bounds_of_grey_values_move_them_and_are_no_evidence():
    X, _ = pictures(60)
    imputer = tiny(MVAEImputer, image_shape=(6, 6), likelihood="cross_entropy", max_iter=30)
    holes = np.isnan(X)
    holes[:, 0] = False  # constants are what they are
    free = imputer.fit(X).transform(X)
    bound = imputer.set_params(min_value=0.1).transform(X)
    assert bound[holes].min() >= 0.1
    assert np.abs(bound - free.clip(0.1))[holes].mean() < 0.05


def test_networks_of_ones_own_take_the_place_of_either():
    X, _ = pictures()
    imputer = tiny(MVAEImputer, image_shape=(6, 6), decoder=nn.Linear).fit(X)
    assert isinstance(imputer.vae_.encoder, ConvEncoder)
    assert isinstance(imputer.vae_.decoder, nn.Linear)


def test_a_warm_start_keeps_its_shape():
    X, _ = pictures()
    imputer = tiny(MVAEImputer, image_shape=(6, 6), warm_start=True).fit(X)
    imputer.set_params(image_shape=[6, 6]).fit(X)
    assert imputer.n_iter_ == 6
    with pytest.raises(ValueError, match=r"'image_shape' of MVAEImputer is \(1, 6, 6\)"):
        imputer.set_params(image_shape=(1, 6, 6)).fit(X)


def test_what_is_no_image_is_refused():
    X, _ = pictures()
    with pytest.raises(ValueError, match=r"\(5, 6\), which makes 30 pixels, but X has 36 columns"):
        tiny(MVAEImputer, image_shape=(5, 6)).fit(X)
    kinds = {3: "bernoulli"}
    X[:, 3] = X[:, 3] > 0.5
    with pytest.raises(ValueError, match="not pixels of one kind"):
        tiny(MVAEImputer, image_shape=(6, 6), likelihood=kinds).fit(X)


def test_a_table_without_anything_to_model_is_no_image():
    X = np.tile([1.0, np.nan, 3.0, 4.0], (5, 1))
    X[0, 1] = 2.0
    imputer = tiny(MVAEImputer, image_shape=(2, 2)).fit(X)
    assert np.array_equal(imputer.transform(X), np.tile([1.0, 2.0, 3.0, 4.0], (5, 1)))


def test_shapes_of_pixels_are_not_learned():
    X, _ = pictures(100)
    X[X < 0.05] = 0.0  # a pile in most columns
    density = tiny(VAEDensityEstimator, image_shape=(6, 6)).fit(X)
    assert all(
        column.marginal_transform is None and column.point_mass is None
        for column in density._table.columns
    )
