"""The optimizer against torch's AdamW, clipping, and the options of the estimators."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from estimator_cases import quiet, tiny
from estimator_cases import table as incomplete
from helpers import uniform
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skmissvae import (
    AdamW,
    ConvNetwork,
    CustomNetwork,
    EarlyStopping,
    MVAEImputer,
    ResidualNetwork,
)
from skmissvae.training.optim import (
    DivergenceError,
    EarlyStoppingMonitor,
    FlatParameters,
    Optimizer,
    TrainingSettings,
    clip_gradients,
    schedule_factor,
)

pytestmark = quiet


def optimizer_of(weights, n_epochs=100, state=None, **options):
    """Return an optimizer with one batch per epoch and a constant learning rate."""
    options = AdamW(schedule="constant", max_grad_norm=math.inf, **options)
    settings = TrainingSettings(n_epochs, 10, 0.1, options)
    return Optimizer(FlatParameters(weights), settings, 1, state)


def step(optimizer, weights, gradients, loss=1.0):
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad.copy_(gradient)
    optimizer.step(torch.tensor(loss))


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"amsgrad": True}])
def test_steps_equal_those_of_torch_and_invalid_ones_are_skipped(options):
    initial = [uniform(5, low=-1), uniform(3, seed=1, low=-1).float()]
    weights, expected = ([nn.Parameter(w.clone()) for w in initial] for _ in range(2))
    optimizer = optimizer_of(weights, **options)
    reference = torch.optim.AdamW(expected, lr=0.1, **{"weight_decay": 0.0} | options)
    for i in range(20):
        size = 2.0 if i < 5 else 0.5  # so that the greatest squares are not the last ones
        gradients = [size * uniform(*w.shape, seed=10 + i, low=-1).to(w) for w in initial]
        for weight, gradient in zip(expected, gradients, strict=True):
            weight.grad = gradient.clone()
        reference.step()
        step(optimizer, weights, gradients)
        before = [w.detach().clone() for w in weights]
        step(optimizer, weights, [torch.full_like(w, torch.inf) for w in initial])
        step(optimizer, weights, gradients, loss=math.nan)
        for weight, value in zip(weights, before, strict=True):
            assert torch.equal(weight, value)
        if i == 10:  # the state is all that is needed to continue
            optimizer = optimizer_of(weights, state=optimizer.state, **options)
    for weight, value, start in zip(weights, expected, initial, strict=True):
        torch.testing.assert_close(weight.detach(), value.detach())
        assert not torch.equal(weight, start)


@pytest.mark.parametrize("amsgrad", [True, False])
def test_amsgrad_may_change_between_two_fits(amsgrad):
    X = incomplete()
    imputer = tiny(MVAEImputer, optimizer=AdamW(amsgrad=np.bool_(amsgrad))).partial_fit(X)
    imputer.set_params(optimizer=AdamW(amsgrad=not amsgrad)).partial_fit(X)
    assert np.isfinite(imputer.score(X))


def test_the_state_of_another_model_is_refused():
    state = optimizer_of([nn.Parameter(torch.zeros(3))]).state
    with pytest.raises(ValueError, match=r"another model\. Call fit with warm_start=False"):
        optimizer_of([nn.Parameter(torch.zeros(2))], state=state)


def test_epochs_without_a_finite_step_end_training():
    weights = [nn.Parameter(torch.ones(3))]
    optimizer = optimizer_of(weights)
    gradients = [torch.ones(3)]
    for loss in [math.nan, math.nan, 1.0, math.nan, math.nan]:
        step(optimizer, weights, gradients, loss)
        optimizer.end_epoch()
    step(optimizer, weights, gradients, math.nan)
    with pytest.raises(DivergenceError):
        optimizer.end_epoch()


def test_a_skipped_step_halves_the_learning_rate_and_is_not_in_the_mean_bound():
    weights = [nn.Parameter(torch.ones(3))]
    settings = TrainingSettings(2, 10, 0.1, AdamW(schedule="constant"))
    optimizer = Optimizer(FlatParameters(weights), settings, 3)
    for loss in [2.0, math.nan, 4.0]:
        step(optimizer, weights, [torch.ones(3)], loss)
    assert optimizer.end_epoch() == pytest.approx(-3.0)
    step(optimizer, weights, [torch.ones(3)])
    assert optimizer.learning_rate == pytest.approx(0.05)


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e3, torch.inf])
def test_gradients_are_clipped_like_those_of_torch(max_norm):
    weights = [torch.zeros(5), torch.zeros(3, dtype=torch.float64)]
    for seed, weight in enumerate(weights):
        weight.grad = uniform(*weight.shape, seed=seed, low=-1).to(weight)
    gradients = [w.grad.clone() for w in weights]
    norm = clip_gradients(gradients, max_norm)
    expected_norm = torch.nn.utils.clip_grad_norm_(weights, max_norm)
    torch.testing.assert_close(norm, expected_norm, check_dtype=False)
    for gradient, weight in zip(gradients, weights, strict=True):
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-5, atol=0)
    assert clip_gradients([torch.zeros(3)], 1.0) == 0


def test_schedules():
    assert [schedule_factor("constant", i, 100) for i in (0, 50, 99)] == [1.0, 1.0, 1.0]
    factors = [schedule_factor("cosine", i, 100) for i in range(100)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert factors == [0.5, *sorted(factors[1:], reverse=True)]
    assert factors[-1] < 1e-3


def test_early_stopping_monitor_counts_epochs_without_improvement():
    monitor = EarlyStoppingMonitor(EarlyStopping(n_iter_no_change=2, tol=0.1))
    assert [monitor.is_best(score) for score in (0.0, 1.0, 1.05)] == [True, True, True]
    assert not monitor.should_stop
    assert not monitor.is_best(math.nan)
    assert monitor.should_stop
    assert monitor.best == 1.05


def test_model_without_trained_weights_is_an_error():
    with pytest.raises(ValueError, match="no trainable weight"):
        FlatParameters([])


# -- options of the estimators ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "field", "values"),
    [
        (AdamW, "schedule", ["linear", True, None]),
        (AdamW, "weight_decay", [-0.1, math.nan, math.inf, "0", None]),
        (AdamW, "max_grad_norm", [0.0, -1.0, math.nan, None]),
        (EarlyStopping, "validation_fraction", [0.0, 1.0, 5, math.nan, "a"]),
        (EarlyStopping, "n_iter_no_change", [0, 1.5, True, None]),
        (EarlyStopping, "tol", [-1e-4, math.nan, "small"]),
        (ConvNetwork, "image_shape", [28, (28,), (0, 28), (1, 1, 28, 28), "88", (2.5, 2)]),
        (ConvNetwork, "linear_path", ["yes", 2, None]),
        (ResidualNetwork, "linear_path", ["yes", 2, None]),
        (CustomNetwork, "encoder", ["mlp", 3]),
        (CustomNetwork, "decoder", ["mlp", 3]),
    ],
    ids=lambda value: getattr(value, "__name__", value if isinstance(value, str) else ""),
)
def test_invalid_options_are_errors_that_name_the_field(cls, field, values):
    options = {"image_shape": (4, 4)} if cls is ConvNetwork else {}
    for value in values:
        with pytest.raises(ValueError, match=f"Parameter '{field}' of {cls.__name__} must be"):
            cls(**{**options, field: value})


def test_valid_options_can_have_types_of_numpy():
    assert AdamW(weight_decay=np.float32(0.1), max_grad_norm=np.inf).schedule == "cosine"
    assert EarlyStopping(n_iter_no_change=np.int64(3)).tol == 1e-4
    assert ResidualNetwork(linear_path=np.True_).linear_path
    assert ConvNetwork([np.int64(2), 3]) == ConvNetwork((2, 3))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", AdamW(weight_decay=0.1)),
        ("early_stopping", EarlyStopping(tol=0.1)),
        ("network", ConvNetwork((2, 2))),
        ("network", ResidualNetwork(linear_path=False)),
        ("network", CustomNetwork(encoder=nn.Linear)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_options_are_values_in_clones_and_set_params(name, value):
    imputer = tiny(MVAEImputer).set_params(**{name: value})
    assert imputer.get_params()[name] is value
    assert clone(imputer).get_params()[name] == value
    assert hash(value) == hash(clone(value, safe=False))
    with pytest.raises(FrozenInstanceError):
        value.tol = 0.2
    X = incomplete()
    completed = clone(imputer).fit(X).transform(X)
    np.testing.assert_array_equal(completed, imputer.fit(X).transform(X))


def test_grid_search_over_optimizer_and_network():
    grid = {
        "optimizer": [None, AdamW(weight_decay=0.5), AdamW(schedule="constant")],
        "network": [None, ResidualNetwork(linear_path=False)],
    }
    search = GridSearchCV(tiny(MVAEImputer), grid, cv=2, error_score="raise").fit(incomplete())
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 6
    assert search.best_estimator_.network == search.best_params_["network"]


def test_none_is_the_default_optimizer_and_network():
    X = incomplete()
    expected = tiny(MVAEImputer).fit(X).transform(X)
    explicit = tiny(MVAEImputer, optimizer=AdamW(), network=ResidualNetwork())
    np.testing.assert_array_equal(explicit.fit(X).transform(X), expected)
