"""The loop: it climbs, repeats itself, keeps the best, and lets nothing non-finite through."""

import copy
import itertools
import math
import subprocess
import sys

import pytest
import torch
from helpers import generator, stream, tiny_rows, tiny_vae, uniform

from skmissvae.training.loop import evaluate, train
from skmissvae.training.objectives import METHODS, Batch, BoundObjective, Objective
from skmissvae.training.optim import AdamW, DivergenceError, TrainingSettings, clip
from skmissvae.vae import elbo
from skmissvae.vae.posteriors import POSTERIORS
from skmissvae.vae.priors import PRIORS

SETTINGS = TrainingSettings(max_iter=20, batch_size=16, learning_rate=3e-3, schedule="cosine")


def objective_of(name):
    method = METHODS[name]
    return BoundObjective(method.bound, 2, stratified=method.stratified, gradient=method.gradient)


def weights_of(vae):
    return {name: value.clone() for name, value in vae.state_dict().items()}


def assert_equal_weights(one, other):
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


class Spoiled(Objective):
    """An objective whose loss is not a number in chosen steps."""

    def __init__(self, inner, spoiled):
        self.inner, self.spoiled, self.step = inner, spoiled, -1

    def bound(self, vae, batch, noise):
        return self.inner.bound(vae, batch, noise)

    def backward(self, vae, batch, noise):
        self.step += 1
        loss = -self.inner.bound(vae, batch, noise).mean()
        loss = loss * math.nan if self.spoiled(self.step) else loss
        loss.backward()
        return loss.detach()


@pytest.mark.parametrize("name", METHODS)
def test_the_bound_rises(name):
    vae, rows = tiny_vae(n_components=3 if METHODS[name].mixture else 1), tiny_rows()
    bound = train(vae, objective_of(name), rows, SETTINGS, generator()).history["bound"]
    assert len(bound) == SETTINGS.max_iter
    assert sum(bound[-3:]) / 3 > bound[0] + 0.3


@pytest.mark.parametrize("family", POSTERIORS)
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", METHODS)
def test_every_weight_gets_a_gradient(name, prior, family):
    vae = tiny_vae(n_components=3 if METHODS[name].mixture else 1, prior=prior, family=family)
    objective_of(name).backward(vae, tiny_rows(), stream(0, torch.float32))
    for weight, value in vae.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, weight
            assert value.grad.isfinite().all(), weight
            assert value.grad.abs().sum() > 0, weight


def test_training_repeats_itself_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    outcomes = []
    for _ in range(2):
        vae = tiny_vae()
        state = train(vae, objective_of("MissIWAE"), tiny_rows(), SETTINGS, generator(5))
        outcomes.append((weights_of(vae), state.history["bound"]))
    assert_equal_weights(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_that_is_not_finite_leaves_weights_alone_and_halves_the_rate():
    vae, rows = tiny_vae(), tiny_rows(16)
    before = weights_of(vae)
    first_only = Spoiled(objective_of("MVAE"), lambda step: step == 0)
    settings = SETTINGS._replace(max_iter=2, schedule="constant")
    seen = []
    state = train(
        vae,
        first_only,
        rows,
        settings,
        generator(),
        end_epoch=lambda history: seen.append(weights_of(vae)),
    )
    assert_equal_weights(before, seen[0])
    assert not torch.equal(before["decoder.outlet.weight"], seen[1]["decoder.outlet.weight"])
    assert state.history["learning_rate"] == [3e-3, 1.5e-3]


@pytest.mark.parametrize("max_iter", [1, 20])
def test_a_loss_that_is_never_finite_is_an_error_and_changes_no_weight(max_iter):
    vae = tiny_vae()
    before = weights_of(vae)
    never = Spoiled(objective_of("MVAE"), lambda step: True)
    with pytest.raises(DivergenceError):
        train(vae, never, tiny_rows(), SETTINGS._replace(max_iter=max_iter), generator())
    assert_equal_weights(before, weights_of(vae))


def test_the_best_epoch_is_kept_and_waiting_ends_training():
    vae, rows = tiny_vae(), tiny_rows(200)
    parts = [Batch(*(piece[i] for piece in rows)) for i in (slice(0, 20), slice(20, 200))]
    objective = objective_of("MissSVAE")
    # few rows and a high rate: it overfits soon
    settings = SETTINGS._replace(max_iter=400, learning_rate=0.02, schedule="constant")
    state = train(vae, objective, parts[0], settings, generator(), held_out=parts[1])
    scores = state.history["validation_bound"]
    assert len(scores) < 400
    assert state.best == max(scores)
    assert scores.index(max(scores)) == len(scores) - 1 - settings.n_iter_no_change
    seed = int(torch.randint(2**31, (), generator=generator()))
    assert evaluate(vae, objective, parts[1], 16, seed) == pytest.approx(state.best, abs=1e-5)


@pytest.mark.parametrize("held_out", [False, True])
def test_an_interrupt_keeps_what_was_reached(held_out):
    vae, rows, seen = tiny_vae(), tiny_rows(), []

    def interrupt(history):
        seen.append(weights_of(vae))
        if len(seen) == 3:
            raise KeyboardInterrupt

    state = train(
        vae,
        objective_of("MVAE"),
        rows,
        SETTINGS,
        generator(),
        held_out=rows if held_out else None,
        end_epoch=interrupt,
    )
    assert state.stopped
    assert state.interrupted
    assert len(state.history["bound"]) == 3
    best = state.history["validation_bound"].index(state.best) if held_out else 2
    assert_equal_weights(seen[best], weights_of(vae))


def test_weights_have_memory_and_no_gradient_of_their_own_afterwards():
    vae, rows = tiny_vae(), tiny_rows()
    train(vae, objective_of("MVAE"), rows, SETTINGS._replace(max_iter=1), generator())
    pointers = [weight.untyped_storage().data_ptr() for weight in vae.parameters()]
    assert len(set(pointers)) == len(pointers)
    for weight in vae.parameters():
        assert weight.untyped_storage().nbytes() == weight.nbytes
        assert weight.grad is None


def test_weights_of_two_types_are_trained_together():
    class Mixed(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.shift = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            return self.inner(x) + self.shift.float()

    vae, rows = tiny_vae(), tiny_rows()
    vae.encoder = Mixed(vae.encoder)
    before = weights_of(vae)
    train(vae, objective_of("MVAE"), rows, SETTINGS._replace(max_iter=1), generator())
    moved = [name for name, value in vae.named_parameters() if not torch.equal(value, before[name])]
    assert moved == [name for name, _ in vae.named_parameters()]
    assert vae.encoder.shift.dtype == torch.float64


def test_a_callback_can_stop_training():
    state = train(
        tiny_vae(),
        objective_of("MVAE"),
        tiny_rows(),
        SETTINGS,
        generator(),
        end_epoch=lambda history: len(history["bound"]) == 4,
    )
    assert len(state.history["bound"]) == 4


def test_the_optimizer_goes_on_from_its_state():
    vae, rows, objective = tiny_vae(), tiny_rows(16), objective_of("MVAE")
    settings = SETTINGS._replace(max_iter=1, schedule="constant")
    first = train(vae, objective, rows, settings, generator())
    fresh = copy.deepcopy(vae)
    kept = train(vae, objective, rows, settings, generator(1), optimizer_state=first.optimizer)
    new = train(fresh, objective, rows, settings, generator(1))
    assert [float(state.optimizer["n_steps"][0]) for state in (kept, new)] == [2.0, 1.0]
    # moments that are kept make another step of the same gradient
    assert not torch.equal(vae.decoder.outlet.weight, fresh.decoder.outlet.weight)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torchs_optimizer_and_a_lost_one_is_none(weight_decay):
    start = [uniform(5, low=-1), uniform(3, seed=1, low=-1).float()]
    ours, theirs = [w.clone() for w in start], [w.clone().requires_grad_() for w in start]
    adam = AdamW(ours, weight_decay)
    reference = torch.optim.AdamW(theirs, weight_decay=weight_decay)
    kept, lost = torch.tensor(False), torch.tensor(True)
    spoiled = [torch.full_like(w, torch.nan) for w in start]
    adam.step(spoiled, 0.1, lost)
    for i in range(20):
        slopes = [uniform(*w.shape, seed=10 + i, low=-1).to(w) for w in start]
        for weight, slope in zip(theirs, slopes, strict=True):
            weight.grad = slope.clone()
        (group,) = reference.param_groups
        group["lr"] = 0.1 / (1 + i)
        reference.step()
        adam.step(slopes, 0.1 / (1 + i), kept)
        before = [w.clone() for w in ours]
        adam.step([torch.full_like(w, torch.inf) for w in start], 0.1, lost)
        for w, was in zip(ours, before, strict=True):
            assert torch.equal(w, was)
        if i == 10:  # what is kept of it is all there is
            adam = AdamW(ours, weight_decay, adam.state)
    for mine, other, was in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(mine, other.detach())
        assert not torch.equal(mine, was)


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e3, torch.inf])
def test_gradients_are_clipped_as_torch_does(max_norm):
    weights = [torch.zeros(5), torch.zeros(3, dtype=torch.float64)]
    for seed, weight in enumerate(weights):
        weight.grad = uniform(*weight.shape, seed=seed, low=-1).to(weight)
    ours = [w.grad.clone() for w in weights]
    norm = clip(ours, max_norm)
    theirs = torch.nn.utils.clip_grad_norm_(weights, max_norm)
    torch.testing.assert_close(norm, theirs, check_dtype=False)
    for mine, weight in zip(ours, weights, strict=True):
        torch.testing.assert_close(mine, weight.grad, rtol=1e-5, atol=0)
    assert clip([torch.zeros(3)], 1.0) == 0


def test_a_first_fit_does_not_wait_for_torchs_compiler():
    code = """
import sys
import numpy as np
from skmissvae import MissSIWAEImputer
X = np.random.default_rng(0).normal(size=(30, 3))
MissSIWAEImputer(max_iter=1, n_hidden=8, n_importance_draws=20).fit(X).transform(X)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_cosine_rises_shortly_and_falls_to_zero():
    settings = SETTINGS._replace(max_iter=100)
    rate = train(tiny_vae(), objective_of("MVAE"), tiny_rows(), settings, generator()).history[
        "learning_rate"
    ]
    assert rate[1] == pytest.approx(3e-3, rel=0.01)
    assert all(later < earlier for earlier, later in itertools.pairwise(rate[2:]))
    assert rate[-1] < 1e-5


def test_reported_bound_is_the_mean_over_rows():
    vae, rows = tiny_vae(n_components=1), tiny_rows(50)
    objective = BoundObjective(elbo, 200, stratified=False, gradient="plain")
    exact = [
        objective.bound(vae, rows, stream(seed, torch.float32)).mean().item() for seed in range(20)
    ]
    found = evaluate(vae, objective, rows, 7, 0)
    assert found == pytest.approx(sum(exact) / 20, abs=0.1)
