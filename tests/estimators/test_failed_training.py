"""Divergence, Ctrl-C, faulty custom networks, and continuation with other parameters."""

import logging
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import assert_same, every_estimator, outputs, quiet, tiny
from estimator_cases import table as incomplete
from torch import nn

from skmissvae import (
    CustomNetwork,
    DeMissVAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
)
from skmissvae.training.spec import ModelSpec
from skmissvae.vae import MixturePrior

pytestmark = quiet
every_part = pytest.mark.parametrize("part", ["encoder", "decoder"])


def frame():
    return pd.DataFrame(incomplete(), columns=["age", "height", "share", "x"])


# -- divergence ---------------------------------------------------------------------------------


class NaNLinear(nn.Linear):
    """A network whose outputs are NaN."""

    def forward(self, x):
        return super().forward(x) * torch.nan


@every_part
@every_estimator
def test_divergence_is_an_error_that_names_the_column(cls, part):
    X = frame()
    X.loc[3, "height"] = 1e6
    match = "(?s)diverged.*'height'.*learning_rate"
    network = CustomNetwork(**{part: NaNLinear})
    for fit in ("fit", "partial_fit"):
        estimator = tiny(cls, network=network, max_iter=10)
        before = dict(vars(estimator))
        with pytest.raises(ValueError, match=match):
            getattr(estimator, fit)(X)
        assert vars(estimator) == before


@every_estimator
def test_divergence_keeps_the_previous_fit(cls):
    fitted = tiny(cls, n_latents=2).fit(frame())
    before = outputs(fitted, frame())
    fitted.set_params(network=CustomNetwork(decoder=NaNLinear))
    with pytest.raises(ValueError, match="diverged"):
        fitted.fit(frame())
    assert_same(outputs(fitted, frame()), before)


class SometimesNaNLinear(nn.Linear):
    """A decoder whose outputs are NaN in the first two steps of every fit."""

    n_steps = 0

    def forward(self, z):
        self.n_steps += self.training
        is_invalid = self.training and self.n_steps <= 2
        return super().forward(z) * (torch.nan if is_invalid else 1.0)


@every_estimator
def test_skipped_steps_are_counted_in_a_warning(cls):
    X = frame()
    X.loc[3, "height"] = 1e6
    estimator = tiny(cls, network=CustomNetwork(decoder=SometimesNaNLinear), batch_size=10)
    match = "^2 of {} training steps were skipped.*'height'.*learning_rate"
    n_steps = 20 if cls is DeMissVAEImputer else 12  # with a second encoder
    with pytest.warns(UserWarning, match=match.format(n_steps)) as caught:
        estimator.fit(X)
    (message,) = [str(w.message) for w in caught if "skipped" in str(w.message)]
    assert len(message) <= 400
    n_steps = 8 if cls is DeMissVAEImputer else 4
    with pytest.warns(UserWarning, match=f"^2 of {n_steps} training steps were skipped"):
        tiny(cls, network=CustomNetwork(decoder=SometimesNaNLinear), batch_size=10).partial_fit(X)


@pytest.mark.filterwarnings("error:.*skipped")
def test_fits_without_skipped_steps_do_not_warn_of_them():
    tiny(MVAEImputer, n_bootstrap=1).fit(frame()).refit_encoder(frame())


def test_skipped_steps_of_bootstrap_models_are_counted():
    network = CustomNetwork(decoder=SometimesNaNLinear)
    with pytest.warns(UserWarning, match="^6 of 36 training steps were skipped"):
        tiny(MVAEImputer, network=network, batch_size=10, n_bootstrap=2).fit(frame())


# -- interrupts ---------------------------------------------------------------------------------


class InterruptedLinear(nn.Linear):
    """A decoder that raises KeyboardInterrupt in the fifth step, which is in the third epoch."""

    n_steps = 0

    def forward(self, z):
        if self.training:
            InterruptedLinear.n_steps += 1
            if InterruptedLinear.n_steps == 5:  # two batches an epoch
                raise KeyboardInterrupt
        return super().forward(z)


@pytest.fixture
def interrupted():
    InterruptedLinear.n_steps = 0
    return CustomNetwork(decoder=InterruptedLinear)


@pytest.mark.parametrize("early_stopping", [False, True])
@every_estimator
def test_interrupted_fit_keeps_the_model_of_the_last_epoch(cls, early_stopping, interrupted):
    X = frame()[:20]
    options = {"batch_size": 9 if early_stopping else 10, "early_stopping": early_stopping}
    estimator = tiny(cls, network=interrupted, max_iter=50, n_latents=2, **options)
    with pytest.warns(UserWarning, match="Training was interrupted"):
        estimator.fit(X)
    assert InterruptedLinear.n_steps == 5
    assert estimator.n_iter_ == 2
    assert {len(values) for values in estimator.history_.values()} == {2}
    for values in outputs(estimator, X).values():
        assert np.isfinite(np.asarray(values)).all()
    assert np.isfinite(np.asarray(estimator.sample(3))).all()


def test_fit_interrupted_in_the_first_epoch_is_a_fit(interrupted):
    InterruptedLinear.n_steps = 4
    imputer = tiny(MissSVAEImputer, network=interrupted)
    with pytest.warns(UserWarning, match="Training was interrupted"):
        imputer.fit(frame())
    assert imputer.n_iter_ == 1
    assert not imputer.transform(frame()).isna().any(axis=None)


@pytest.mark.filterwarnings("error:Training was interrupted")
def test_interrupt_warning_as_an_error_keeps_the_model(interrupted):
    estimator = tiny(MVAEImputer, network=interrupted, max_iter=50, batch_size=20)
    with pytest.raises(UserWarning, match="Training was interrupted"):
        estimator.fit(frame())
    assert estimator.n_iter_ == 2


# -- custom networks ----------------------------------------------------------------------------


class FailingLinear(nn.Linear):
    """A network that raises an error."""

    def forward(self, x):
        raise RuntimeError("error of a custom network")


def test_errors_of_custom_networks_do_not_change_the_estimator():
    density = tiny(VAEDensityEstimator, network=CustomNetwork(decoder=FailingLinear))
    before = dict(vars(density))
    with pytest.raises(RuntimeError, match="error of a custom network"):
        density.fit(frame())
    assert vars(density) == before


@every_part
def test_custom_networks_of_other_widths_are_refused(part):
    X = frame()

    def imputer(factory):
        return tiny(MVAEImputer, network=CustomNetwork(**{part: factory}))

    with pytest.raises(ValueError, match=f"The {part} of 'network' must map .* numbers to"):
        imputer(lambda n_in, n_out: nn.Linear(n_in, n_out + 1)).fit(X)
    for factory in (lambda n_in: None, lambda n_in, n_out: nn.Linear(n_in + 1, n_out)):
        with pytest.raises((TypeError, RuntimeError)) as raised:
            imputer(factory).fit(X)
        assert f"The {part} of 'network' " in raised.value.__notes__[0]


class NoisyLinear(nn.Linear):
    """A network that draws from torch's generator in every call."""

    def forward(self, x):
        torch.randn(3)
        return super().forward(x)


def test_check_of_custom_networks_draws_no_random_numbers(monkeypatch):
    X, network = frame(), CustomNetwork(encoder=NoisyLinear)
    expected = tiny(MVAEImputer, network=network).fit(X).transform(X)
    monkeypatch.setattr(ModelSpec, "check_networks", lambda *args: None)
    pd.testing.assert_frame_equal(tiny(MVAEImputer, network=network).fit(X).transform(X), expected)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("prior", {"prior": lambda n: 3}),
        ("posterior", {"posterior": lambda n, K: 3}),
        ("likelihood", {"likelihood": lambda n: 3}),
        ("network", {"network": CustomNetwork(encoder=lambda n_in, n_out: 3)}),
        ("network", {"network": CustomNetwork(decoder=lambda n_in, n_out: 3)}),
    ],
    ids=["prior", "posterior", "likelihood", "encoder", "decoder"],
)
def test_callables_that_return_another_type_are_refused(name, change):
    with pytest.raises(TypeError, match=f"Parameter '{name}' is a callable that must return"):
        tiny(MVAEImputer, **change).fit(frame())


def test_verbose_reports_on_stderr_without_logging(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest
    tiny(MVAEImputer, max_iter=2, verbose=1).fit(incomplete())
    assert "MVAEImputer, epoch 2 of 2: bound" in capsys.readouterr().err


# -- continuation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"n_hidden": 8},
        {"K": 7},
        {"n_latents": 1},
        {"prior": "mixture"},
        {"likelihood": "student_t"},
        {"network": CustomNetwork(encoder=nn.Linear)},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_continuation_with_another_model_is_refused(method, change):
    X = incomplete()
    estimator = tiny(MissSIWAEImputer, n_latents=2, warm_start=True).fit(X)
    params, before = estimator.get_params(), estimator.transform(X)
    (name,) = change
    estimator.set_params(**change)
    match = f"Parameter '{name}' of MissSIWAEImputer is .*but the fitted model has"
    with pytest.raises(ValueError, match=match):
        getattr(estimator, method)(X)
    np.testing.assert_array_equal(estimator.transform(X), before)
    getattr(estimator.set_params(**{name: params[name]}), method)(X)
    estimator.set_params(**change, warm_start=False).fit(X)


def test_custom_parts_are_equal_after_pickling():
    X = incomplete()
    estimator = tiny(MissSIWAEImputer, warm_start=True, prior=MixturePrior).fit(X)
    pickle.loads(pickle.dumps(estimator)).fit(X).partial_fit(X)
