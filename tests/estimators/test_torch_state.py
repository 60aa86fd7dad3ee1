"""Results under other defaults of torch: data type, device, gradient and inference mode."""

import copy
import functools
import itertools
import pickle
import threading
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import ESTIMATORS, quiet, tiny
from torch import nn

from skmissvae import CustomNetwork, MVAEImputer
from skmissvae._utils.runtime import torch_defaults

pytestmark = quiet


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "float64": functools.partial(default_dtype, torch.float64),
    "float16": functools.partial(default_dtype, torch.float16),
    "no_grad": torch.no_grad,
    "set_grad_enabled": functools.partial(torch.set_grad_enabled, False),
    "inference_mode": torch.inference_mode,
    "set_default_device": default_device,
    "device": functools.partial(torch.device, "meta"),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


def state():
    """Return the settings that a call must restore."""
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return torch.get_default_dtype(), torch.empty(0).device, *modes


@functools.cache
def frame():
    """Return a table with columns of every kind."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=20)
    X = pd.DataFrame({"x": z, "y": z + rng.normal(size=20), "share": rng.random(20)})
    X["binary"] = pd.array(z > 0, dtype="boolean")
    X["count"] = pd.array(rng.poisson(3, 20), dtype="Int64")
    X["town"] = pd.Categorical(rng.choice(list("abc"), 20))
    X["rank"] = pd.Categorical(rng.choice(list("123"), 20), ordered=True)
    return X.mask(rng.random(X.shape) < 0.2)


def new(cls, **changes):
    return tiny(cls, **{"max_iter": 2, "dropout": 0.1, "early_stopping": True, **changes})


@functools.cache
def fitted(cls):
    """Return a fitted estimator, which tests must not change."""
    return new(cls).fit(frame())


def weights(estimator):
    """Return the weights; training and gradients must remain possible."""
    tensors = estimator.vae_.state_dict().values()
    assert all(tensor.device.type == "cpu" and not tensor.is_inference() for tensor in tensors)
    assert {tensor.dtype for tensor in tensors} <= {torch.float32, torch.int64, torch.bool}
    assert all(weight.requires_grad for weight in estimator.vae_.parameters())
    return [tensor.numpy() for tensor in tensors]


def load(estimator):
    data = pickle.dumps(estimator)
    return weights(pickle.loads(data))


def transform(estimator, n=None, **changes):
    return copy.copy(estimator).set_params(**changes).transform(frame()[:n])


ENTRY_POINTS = {
    "fit": lambda estimator: weights(new(type(estimator)).fit(frame())),
    "partial_fit": lambda estimator: weights(copy.deepcopy(estimator).partial_fit(frame())),
    "refit_encoder": lambda estimator: weights(estimator.refit_encoder(frame())),
    "pickle": load,
    "deepcopy": lambda estimator: weights(copy.deepcopy(estimator)),
    "score_samples": lambda estimator: estimator.score_samples(frame()),
    "encode": lambda estimator: estimator.encode(frame()),
    "outlier_scores": lambda estimator: estimator.outlier_scores(frame()[:2]),
    "sample": lambda estimator: estimator.sample(5),
    "transform": transform,
    "draw": functools.partial(transform, strategy="draw"),
    "median": functools.partial(transform, n=2, strategy="median"),
    "mode": functools.partial(transform, n=2, strategy="mode"),
    "bounds": functools.partial(transform, min_value={"x": -0.5}),
    "impute": lambda estimator: pd.concat(list(estimator.impute(frame(), 2))),
    "cell_distribution": lambda estimator: estimator.cell_distribution(frame()[:2]),
}


@functools.cache
def expected(cls, name):
    return ENTRY_POINTS[name](fitted(cls))


def assert_equal(actual, reference):
    if isinstance(reference, pd.DataFrame):
        pd.testing.assert_frame_equal(actual, reference)
    else:
        for a, b in zip(actual, reference, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


@every_setting
@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_results_do_not_depend_on_settings(setting, name):
    reference = expected(MVAEImputer, name)
    with setting():
        before = state()
        actual = ENTRY_POINTS[name](fitted(MVAEImputer))
        assert state() == before
    assert_equal(actual, reference)


@pytest.mark.parametrize(
    ("cls", "setting"),
    list(
        zip(
            ESTIMATORS,
            itertools.cycle(["float64", "inference_mode", "set_default_device"]),
            strict=False,
        )
    ),
)
def test_every_method_trains_under_other_settings(setting, cls):
    reference = expected(cls, "refit_encoder")
    with SETTINGS[setting]():
        actual = weights(new(cls).fit(frame()).refit_encoder(frame()))
    assert_equal(actual, reference)


class OffsetLinear(nn.Linear):
    """A custom network that makes tensors of torch's default type, on its default device."""

    def forward(self, x):
        return super().forward(x + torch.zeros(x.shape[-1]))


class FailingLinear(OffsetLinear):
    """The same, which raises an error in training."""

    def forward(self, x):
        if self.training:
            raise RuntimeError("error of a custom network")
        return super().forward(x)


@functools.cache
def completed_by_custom_networks():
    network = CustomNetwork(encoder=OffsetLinear, decoder=OffsetLinear)
    return new(MVAEImputer, network=network).fit(frame()).transform(frame())


@every_setting
def test_custom_networks_do_not_depend_on_settings(setting):
    reference = completed_by_custom_networks()
    with setting():
        actual = completed_by_custom_networks.__wrapped__()
    assert_equal(actual, reference)


@every_setting
def test_settings_are_restored_after_an_error(setting):
    imputer = new(MVAEImputer, network=CustomNetwork(decoder=FailingLinear))
    with setting():
        before = state()
        with pytest.raises(RuntimeError, match="error of a custom network"):
            imputer.fit(frame())
        assert state() == before


def test_the_last_of_overlapping_blocks_restores_the_data_type():
    is_inside, may_end = threading.Event(), threading.Event()

    def other_thread():
        with torch_defaults():
            is_inside.set()
            may_end.wait(10)

    thread = threading.Thread(target=other_thread)
    with default_dtype(torch.float64):
        with torch_defaults():
            thread.start()
            assert is_inside.wait(10)
        assert torch.get_default_dtype() == torch.float32  # the other thread needs it
        may_end.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64
