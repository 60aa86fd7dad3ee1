"""The training loop: rising bounds, reproducibility, early stopping, interrupts, divergence."""

import copy
import itertools
import math
import subprocess
import sys

import pytest
import torch
from helpers import generator, stream, tiny_rows, tiny_vae

from skmissvae.training import METHODS
from skmissvae.training.loop import evaluate, joined, train
from skmissvae.training.methods import BoundMethod
from skmissvae.training.objectives import BoundObjective, Objective
from skmissvae.training.optim import AdamW, DivergenceError, EarlyStopping, TrainingSettings
from skmissvae.vae import StudentTLikelihood, elbo
from skmissvae.vae.posteriors import POSTERIORS
from skmissvae.vae.priors import PRIORS

SETTINGS = TrainingSettings(max_iter=20, batch_size=16, learning_rate=3e-3, optimizer=AdamW())
CONSTANT = SETTINGS._replace(optimizer=AdamW(schedule="constant"))
BOUNDS = [name for name, method in METHODS.items() if isinstance(method, BoundMethod)]


def objective_of(name):
    method = METHODS[name]
    return method.configured(2, "auto", None).objective()


def vae_of(name, **options):
    return tiny_vae(n_components=3 if METHODS[name].mixture else 1, **options)


def weights_of(vae):
    return {name: value.clone() for name, value in vae.state_dict().items()}


def assert_equal_weights(actual, expected):
    for name, value in expected.items():
        assert torch.equal(value, actual[name]), name


class InvalidSteps(Objective):
    """An objective whose loss is NaN in some steps."""

    def __init__(self, inner, is_invalid):
        self.inner, self.is_invalid, self.step = inner, is_invalid, -1

    def bound(self, vae, batch, noise):
        return self.inner.bound(vae, batch, noise)

    def backward(self, vae, batch, noise):
        self.step += 1
        loss = -self.inner.bound(vae, batch, noise).mean()
        loss = loss * math.nan if self.is_invalid(self.step) else loss
        loss.backward()
        return loss.detach()


@pytest.mark.parametrize("name", BOUNDS)
def test_training_increases_the_bound(name):
    vae, rows = vae_of(name), tiny_rows()
    bound = train(vae, objective_of(name), rows, SETTINGS, generator()).history["bound"]
    assert len(bound) == SETTINGS.max_iter
    assert sum(bound[-3:]) / 3 > bound[0] + 0.3


@pytest.mark.parametrize("family", POSTERIORS)
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", BOUNDS)
def test_every_weight_has_a_gradient(name, prior, family):
    vae = vae_of(name, prior=prior, family=family)
    objective_of(name).backward(vae, tiny_rows(), stream(0, torch.float32))
    for weight, value in vae.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, weight
            assert value.grad.isfinite().all(), weight
            assert value.grad.abs().sum() > 0, weight


def test_training_is_reproducible_and_does_not_change_the_global_generator():
    before = torch.get_rng_state()
    results = []
    for _ in range(2):
        vae = tiny_vae()
        result = train(vae, objective_of("MissIWAE"), tiny_rows(), SETTINGS, generator(5))
        results.append((weights_of(vae), result.history["bound"]))
    assert_equal_weights(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert torch.equal(torch.get_rng_state(), before)


def test_invalid_step_is_skipped_and_halves_the_learning_rate():
    vae, rows = tiny_vae(), tiny_rows(16)
    before, by_epoch = weights_of(vae), []
    result = train(
        vae,
        InvalidSteps(objective_of("MVAE"), lambda step: step == 0),
        rows,
        CONSTANT._replace(max_iter=2),
        generator(),
        end_epoch=lambda history: by_epoch.append(weights_of(vae)),
    )
    assert_equal_weights(by_epoch[0], before)
    assert not torch.equal(before["decoder.outlet.weight"], by_epoch[1]["decoder.outlet.weight"])
    assert result.history["learning_rate"] == [3e-3, 1.5e-3]
    assert (result.n_skipped, result.n_steps) == (1, 2)


@pytest.mark.parametrize("max_iter", [1, 20])
def test_loss_that_is_never_finite_is_an_error_and_changes_no_weight(max_iter):
    vae = tiny_vae()
    before = weights_of(vae)
    objective = InvalidSteps(objective_of("MVAE"), lambda step: True)
    with pytest.raises(DivergenceError):
        train(vae, objective, tiny_rows(), SETTINGS._replace(max_iter=max_iter), generator())
    assert_equal_weights(weights_of(vae), before)


def test_early_stopping_keeps_the_best_epoch():
    vae, rows = tiny_vae(), tiny_rows(200)
    training, held_out = (rows.part(index) for index in (slice(0, 20), slice(20, 200)))
    objective = objective_of("MissSVAE")
    # few rows and a high learning rate: the model overfits soon
    options = EarlyStopping()
    settings = CONSTANT._replace(max_iter=400, learning_rate=0.02, early_stopping=options)
    result = train(vae, objective, training, settings, generator(), held_out=held_out)
    scores = result.history["validation_bound"]
    assert len(scores) < 400
    assert result.validation_score == max(scores)
    assert scores.index(max(scores)) == len(scores) - 1 - options.n_iter_no_change
    seed = int(torch.randint(2**31, (), generator=generator()))
    score = evaluate(vae, objective, held_out, 16, seed)
    assert score == pytest.approx(result.validation_score, abs=1e-5)


@pytest.mark.parametrize("has_held_out", [False, True])
def test_interrupt_keeps_the_last_or_the_best_epoch(has_held_out):
    vae, rows, by_epoch = tiny_vae(), tiny_rows(), []

    def interrupt(history):
        by_epoch.append(weights_of(vae))
        if len(by_epoch) == 3:
            raise KeyboardInterrupt

    held_out = rows if has_held_out else None
    options = {"held_out": held_out, "end_epoch": interrupt}
    result = train(vae, objective_of("MVAE"), rows, SETTINGS, generator(), **options)
    assert result.stopped
    assert result.interrupted
    assert len(result.history["bound"]) == 3
    epoch = 2
    if has_held_out:
        epoch = result.history["validation_bound"].index(result.validation_score)
    assert_equal_weights(weights_of(vae), by_epoch[epoch])


def test_callback_can_stop_training():
    options = {"end_epoch": lambda history: len(history["bound"]) == 4}
    vae = tiny_vae()
    result = train(vae, objective_of("MVAE"), tiny_rows(), SETTINGS, generator(), **options)
    assert len(result.history["bound"]) == 4
    assert result.stopped
    assert not result.interrupted


def test_weights_have_separate_memory_and_no_gradient_after_training():
    vae, rows = tiny_vae(), tiny_rows()
    train(vae, objective_of("MVAE"), rows, SETTINGS._replace(max_iter=1), generator())
    pointers = [weight.untyped_storage().data_ptr() for weight in vae.parameters()]
    assert len(set(pointers)) == len(pointers)
    for weight in vae.parameters():
        assert weight.untyped_storage().nbytes() == weight.nbytes
        assert weight.grad is None


def test_weights_of_two_data_types_are_trained_together():
    class TwoTypes(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.shift = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            return self.inner(x) + self.shift.float()

    vae, rows = tiny_vae(), tiny_rows()
    vae.encoder = TwoTypes(vae.encoder)
    before = weights_of(vae)
    train(vae, objective_of("MVAE"), rows, SETTINGS._replace(max_iter=1), generator())
    for name, value in vae.named_parameters():
        assert not torch.equal(value, before[name]), name
    assert vae.encoder.shift.dtype == torch.float64


def test_frozen_parts_do_not_change():
    vae, rows = tiny_vae(dropout=0.5), tiny_rows(40)
    before, has_dropout = weights_of(vae), set()
    for name in ("encoder", "decoder"):
        network = getattr(vae, name)
        network.register_forward_hook(lambda m, *_, name=name: has_dropout.add((name, m.training)))
    objective = BoundObjective(elbo, 2, stratified=False, gradient="plain")
    settings = SETTINGS._replace(max_iter=2, batch_size=8, learning_rate=1e-2)
    train(vae, objective, rows, settings, generator(), frozen=[vae.decoder, vae.prior])
    assert has_dropout == {("encoder", True), ("decoder", False)}
    changed = {
        name for name, value in vae.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {name for name in before if name.startswith("encoder")}
    assert all(p.requires_grad for p in vae.decoder.parameters())


def test_optimizer_continues_from_its_state():
    vae, rows, objective = tiny_vae(), tiny_rows(16), objective_of("MVAE")
    settings = CONSTANT._replace(max_iter=1)
    first = train(vae, objective, rows, settings, generator())
    new_vae = copy.deepcopy(vae)
    options = {"optimizer_state": first.optimizer}
    continued = train(vae, objective, rows, settings, generator(1), **options)
    new = train(new_vae, objective, rows, settings, generator(1))
    assert [float(result.optimizer["n_steps"][0]) for result in (continued, new)] == [2.0, 1.0]
    # with stored moments the same gradient gives another step
    assert not torch.equal(vae.decoder.outlet.weight, new_vae.decoder.outlet.weight)


@pytest.mark.slow
def test_first_fit_does_not_import_the_compiler_of_torch():
    code = """
import sys
import numpy as np
from skmissvae import MissSIWAEImputer
X = np.random.default_rng(0).normal(size=(30, 3))
MissSIWAEImputer(max_iter=1, n_hidden=8, n_importance_draws=20).fit(X).transform(X)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_cosine_schedule_rises_in_the_warm_up_and_falls_to_zero():
    settings = SETTINGS._replace(max_iter=100)
    history = train(tiny_vae(), objective_of("MVAE"), tiny_rows(32), settings, generator()).history
    rate = history["learning_rate"]
    assert rate[1] == pytest.approx(3e-3, rel=0.01)
    assert all(later < earlier for earlier, later in itertools.pairwise(rate[2:]))
    assert rate[-1] < 1e-5


def test_evaluate_returns_the_mean_over_rows():
    vae, rows = tiny_vae(n_components=1), tiny_rows(50)
    objective = BoundObjective(elbo, 200, stratified=False, gradient="plain")
    means = [
        objective.bound(vae, rows, stream(seed, torch.float32)).mean().item() for seed in range(20)
    ]
    assert evaluate(vae, objective, rows, 7, 0) == pytest.approx(sum(means) / 20, abs=0.1)


def test_evaluation_is_without_dropout():
    vae, rows, objective = tiny_vae(dropout=0.5), tiny_rows(50), objective_of("MVAE")
    first, second = (evaluate(vae.train(), objective, rows, 7, 0) for _ in range(2))
    assert first == second


def test_training_continues_from_the_state_of_an_epoch():
    rows, options = tiny_rows(200), EarlyStopping(n_iter_no_change=6)
    settings = CONSTANT._replace(max_iter=60, learning_rate=0.02, early_stopping=options)
    stored = {}

    def run(is_invalid, restore, save):
        vae, source = tiny_vae(n_hidden=64), generator()
        result = train(
            vae,
            InvalidSteps(objective_of("MVAE"), is_invalid),
            rows.part(slice(0, 20)),
            settings,
            source,
            held_out=rows.part(slice(20, 200)),
            restore=lambda state: restore(state, source),
            save=lambda state: save(state, source),
        )
        return weights_of(vae), result

    def save(state, source):
        if state.monitor.values()[2] == 3:  # epochs without improvement
            stored["state"] = copy.deepcopy(state.values()), source.get_state()

    def restore(state, source):
        values, generator_state = stored["state"]
        state.restore(values)
        source.set_state(generator_state)

    expected, complete = run(lambda step: step == 0, lambda *_: None, save)
    actual, continued = run(lambda step: False, restore, lambda *_: None)
    assert_equal_weights(actual, expected)
    assert continued.validation_score == complete.validation_score
    assert continued.n_skipped == complete.n_skipped == 1
    for name in ("bound", "learning_rate", "validation_bound"):
        assert continued.history[name] == complete.history[name]


def test_joined_histories_have_an_entry_for_every_epoch():
    first = {"bound": [1.0, 2.0], "seconds": [0.5, 1.0]}
    second = {"bound": [3.0], "seconds": [0.25], "validation_bound": [4.0]}
    history = joined(first, second)
    assert history["bound"] == [1.0, 2.0, 3.0]
    assert history["seconds"] == [0.5, 1.0, 1.25]
    assert history["validation_bound"][2:] == [4.0]
    assert all(map(math.isnan, history["validation_bound"][:2]))
    assert joined({}, second) == second


def guided_vae(name, **options):
    """Return a VAE with coordinates of the posterior that differ between rows."""
    vae = vae_of(name, guided=True, **options)
    vae.coordinates.loadings.copy_(torch.linspace(-1, 1, 8).view(4, 2))
    vae.coordinates.intercept.fill_(0.3)
    vae.coordinates.precision.fill_(4.0)
    return vae


@pytest.mark.parametrize("name", BOUNDS)
def test_coordinates_that_are_computed_once_are_those_of_each_step(name):
    vae, rows = guided_vae(name), tiny_rows()
    part = torch.tensor([70, 3, 40])
    bounds = [
        objective_of(name).bound(vae, batch.part(part), stream(dtype=torch.float32)).detach()
        for batch in (rows, rows.with_coordinates(vae))
    ]
    torch.testing.assert_close(*bounds, rtol=1e-5, atol=1e-5)
    without = objective_of(name).bound(vae_of(name), rows.part(part), stream(dtype=torch.float32))
    assert (without - bounds[0]).abs().max() > 0.01


def test_coordinates_that_may_change_or_need_much_memory_are_not_stored(monkeypatch):
    rows = tiny_rows()
    assert rows.with_coordinates(guided_vae("MissVAE")).coordinates is not None
    assert rows.with_coordinates(vae_of("MissVAE")).coordinates is None
    trained = guided_vae("MissVAE", likelihood=StudentTLikelihood(4))
    assert rows.with_coordinates(trained).coordinates is None
    monkeypatch.setattr("skmissvae.training.objectives._MAX_NUMBERS", len(rows.x) * 4 - 1)
    assert rows.with_coordinates(guided_vae("MissVAE")).coordinates is None
