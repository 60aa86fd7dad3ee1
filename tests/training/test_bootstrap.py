"""Models that are trained at once are those that are trained one by one."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import quiet, tiny
from helpers import generator, stream, tiny_rows, tiny_vae
from pretend import Pretended

from skmissvae import (
    DeMissVAEImputer,
    MissIWAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MissVAEImputer,
    MIWAEImputer,
    MVAEImputer,
)
from skmissvae._utils.random import Noise
from skmissvae.training import bootstrap as _bootstrap
from skmissvae.training.loop import train
from skmissvae.training.objectives import METHODS, Batch, BoundObjective
from skmissvae.training.optim import (
    AdamW,
    DivergenceError,
    FlatParameters,
    Optimizer,
    TrainingSettings,
    clip,
)
from skmissvae.training.stacked import Stack, train_together

# vmap tells of operations that it takes one model after the other
pytestmark = pytest.mark.filterwarnings("error::UserWarning")
SETTINGS = TrainingSettings(max_iter=4, batch_size=64, learning_rate=5e-3)
STACKABLE = [
    MVAEImputer,
    MissVAEImputer,
    MissSVAEImputer,
    MIWAEImputer,
    MissIWAEImputer,
    MissSIWAEImputer,
]


class Known(Noise):
    """Noise that is the same for all rows and all models, and other at each call."""

    def __init__(self, source=None, **_):
        self.n_calls, self.device = 0, "cpu" if source is None else source.device

    def _numbers(self, shape):
        self.n_calls += 1
        size = math.prod([*shape[:-2], shape[-1]])
        numbers = torch.arange(1, size + 1, device=self.device) * math.sqrt(2) + 0.3 * self.n_calls
        return (numbers % 1).view(*shape[:-2], 1, shape[-1]).expand(shape)

    def normal(self, *shape):
        return torch.special.ndtri(self._numbers(shape).clamp(0.01, 0.99))

    def uniform(self, *shape):
        return self._numbers(shape)

    def gamma(self, concentration):
        return concentration * (0.5 + self._numbers(concentration.shape))


def objective_of(name, n_draws=2, gradient=None):
    method = METHODS[name]
    return BoundObjective(
        method.bound, n_draws, stratified=method.stratified, gradient=gradient or method.gradient
    )


def mixed_table(n=40):
    """Return a table with columns of every kind."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "plain": z + 0.3 * rng.normal(size=n),
            "skewed": np.exp(z + 0.3 * rng.normal(size=n)),
            "rain": np.where(z > 0, z + 0.1 * rng.normal(size=n), 0.0),
            "kind": pd.Categorical(rng.choice(list("xyz"), n)),
            "rank": pd.Categorical(rng.choice(list("1234"), n), ordered=True),
            "n": pd.array(rng.poisson(np.exp(z)), dtype="Int64"),
            "flag": pd.array(z > 0, dtype="boolean"),
        }
    )
    for j, name in enumerate(frame.columns):
        frame.loc[j::6, name] = None
    return frame


def models_of(imputer, n):
    """Return models of an imputer's make, no two of which are alike."""
    models = []
    for seed in range(n):
        source, other = generator(seed), copy.copy(imputer)
        other._build(seed)
        with torch.no_grad():
            for weight in other.vae_.parameters():
                weight += 0.1 * torch.randn(weight.shape, generator=source)
            if other.vae_.coordinates is not None:
                other.vae_.coordinates.loadings.normal_(generator=source)
                other.vae_.coordinates.precision.uniform_(0.5, 2, generator=source)
        models.append(other.vae_)
    return models


def rows_of(imputer, X):
    rows = imputer._rows(X)[2]
    return Batch(*rows.tensors(), torch.arange(len(rows.x)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prior": "student_t", "learn_shapes": True, "feature_kinds": {"rain": "continuous"}},
        {"prior": "mixture", "init": "random", "n_blocks": 0},
        {"likelihood": "student_t", "posterior": "student_t", "linear_path": False},
    ],
    ids=["defaults", "shapes", "mixture", "student_t"],
)
@pytest.mark.parametrize("cls", STACKABLE, ids=lambda cls: cls.__name__)
def test_each_model_gets_its_own_gradient(cls, options):
    X = mixed_table()
    imputer = tiny(cls, max_iter=1, n_draws=2, **options).fit(X)
    table, objective, models = rows_of(imputer, X), imputer._objective(), models_of(imputer, 3)
    index = torch.stack([torch.arange(i, i + 30) for i in range(3)])
    batches = Batch(*(piece[index] for piece in table))
    alone = []
    for vae, *batch in zip(models, *batches, strict=True):
        vae.zero_grad()
        bound = objective.bound(vae, Batch(*batch), Known())
        bound.mean().backward()
        alone.append((bound.detach(), {k: p.grad for k, p in vae.named_parameters()}))
    stack = Stack(models, objective)
    bounds = stack.bound(batches, Known())
    bounds.mean(1).sum().backward()
    for g, (bound, gradients) in enumerate(alone):
        torch.testing.assert_close(bounds[g], bound, rtol=1e-4, atol=1e-4)
        for name, gradient in gradients.items():
            if gradient is not None:
                found = stack.own[name].grad[g]
                torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-4, msg=name)
    spread = bounds.mean(1).detach()
    assert len(set(spread.tolist())) == 3


@pytest.mark.parametrize("likelihood", ["continuous_bernoulli", "cross_entropy", "bernoulli"])
def test_pixels_have_their_own_gradient_too(likelihood):
    X = np.random.default_rng(0).random((30, 4))
    X = X.round() if likelihood == "bernoulli" else X
    X[::4, 0] = np.nan
    imputer = tiny(MissSIWAEImputer, max_iter=1, likelihood=likelihood).fit(X)
    models, objective, table = models_of(imputer, 2), imputer._objective(), rows_of(imputer, X)
    both = Batch(*(torch.stack([piece, piece]) for piece in table))
    bounds = Stack(models, objective).bound(both, Known())
    for bound, vae in zip(bounds, models, strict=True):
        expected = objective.bound(vae, table, Known())
        torch.testing.assert_close(bound, expected, rtol=1e-4, atol=1e-4)


def trained(monkeypatch, vaes, samples, settings, held_out=None, name="MissSIWAE"):
    """Return states and models that were trained at once, and one by one, by the same noise."""
    for module in ("training", "ensembles"):
        monkeypatch.setattr(f"skmissvae.{module}.StreamNoise", Known)
    rows, objective, alone = tiny_rows(), objective_of(name), []
    for g, vae in enumerate(vaes):
        mine = copy.deepcopy(vae)
        out = None if held_out is None else Batch(*(part[held_out[g]] for part in rows))
        part = Batch(*(part[samples[g]] for part in rows))
        alone.append((train(mine, objective, part, settings, generator(), held_out=out), mine))
    together = [copy.deepcopy(vae) for vae in vaes]
    states = train_together(
        together, objective, rows, samples, settings, generator(), held_out=held_out
    )
    return list(zip(states, together, strict=True)), alone


def samples_of(n_models, n_rows=64):
    return torch.stack([torch.randperm(96, generator=generator(g)) for g in range(n_models)])[
        :, :n_rows
    ]


def assert_alike(found, alone):
    for (state, vae), (expected, other) in zip(found, alone, strict=True):
        for name, values in expected.history.items():
            if name != "seconds":
                assert state.history[name] == pytest.approx(values, rel=1e-4, abs=1e-4), name
        assert state.best == pytest.approx(expected.best, rel=1e-4, nan_ok=True)
        assert not vae.training
        for (name, weight), theirs in zip(vae.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(weight, theirs, rtol=1e-3, atol=1e-4, msg=name)
            assert weight.grad is None


@pytest.mark.parametrize("name", METHODS)
def test_models_learn_what_they_learn_alone(monkeypatch, name):
    vaes = [tiny_vae(seed=g, n_components=1 if name[1] == "I" else 3) for g in range(3)]
    settings = SETTINGS._replace(schedule="cosine", weight_decay=0.1, max_grad_norm=0.5)
    assert_alike(*trained(monkeypatch, vaes, samples_of(3), settings, name=name))


def test_each_stops_when_it_would_alone_and_keeps_its_best_weights(monkeypatch):
    vaes = [tiny_vae(seed=g) for g in range(3)]
    settings = SETTINGS._replace(max_iter=60, n_iter_no_change=3, learning_rate=0.02)
    places = samples_of(3, 96)
    found, alone = trained(monkeypatch, vaes, places[:, :64], settings, places[:, 64:])
    assert_alike(found, alone)
    n_epochs = {len(state.history["bound"]) for state, _ in found}
    assert len(n_epochs) > 1
    assert max(n_epochs) < 60


def test_one_model_at_once_is_one_alone():
    rows, objective, settings = (
        tiny_rows(),
        objective_of("MissVAE"),
        SETTINGS._replace(batch_size=20),
    )
    vae = tiny_vae(dropout=0.0)
    other = copy.deepcopy(vae)
    expected = train(vae, objective, rows, settings, generator())
    places = torch.arange(96).unsqueeze(0)
    (found,) = train_together([other], objective, rows, places, settings, generator())
    assert_alike([(found, other)], [(expected, vae)])


def test_dropout_is_each_models_own():
    vaes = [tiny_vae(seed=0, dropout=0.5) for _ in range(2)]
    stack = Stack(vaes, objective_of("MVAE"))
    rows = Batch(*(torch.stack([piece, piece]) for piece in tiny_rows()))
    stack.train()
    first, second = stack.bound(rows, Known())
    assert not torch.allclose(first, second)
    stack.train(False)
    first, second = stack.bound(rows, Known())
    torch.testing.assert_close(first, second)


def test_draws_are_each_models_own():
    stack = Stack([tiny_vae(seed=0) for _ in range(2)], objective_of("MVAE"))
    stack.train(False)
    rows = Batch(*(torch.stack([piece, piece]) for piece in tiny_rows()))
    first, second = stack.bound(rows, stream(dtype=torch.float32))
    assert not torch.isclose(first, second).any()
    again = stack.bound(rows, stream(dtype=torch.float32))
    torch.testing.assert_close(again, torch.stack([first, second]))


def test_the_order_of_rows_is_each_models_own(monkeypatch):
    monkeypatch.setattr("skmissvae._utils.random.StreamNoise", Known)
    vaes = [tiny_vae(seed=0) for _ in range(2)]
    places = torch.arange(96).expand(2, -1)
    train_together(vaes, objective_of("MVAE"), tiny_rows(), places, SETTINGS, generator())
    assert not torch.equal(vaes[0].encoder.inlet.weight, vaes[1].encoder.inlet.weight)


def test_a_model_that_has_stopped_is_no_matter_of_the_others(monkeypatch):
    """It goes on in the stack: neither its weights nor its steps count any more."""
    rows, places = tiny_rows(), samples_of(2, 96)
    settings = SETTINGS._replace(max_iter=6, n_iter_no_change=1)
    bound, n_calls = Stack.bound, []

    def spoiled(self, rows, noise):
        found = bound(self, rows, noise)
        if torch.is_grad_enabled():
            return found
        n_calls.append(1)
        rising = torch.tensor([[-1.0 if len(n_calls) > 1 else 0.0], [float(len(n_calls))]])
        if len(n_calls) == 2:  # the first has stopped: what it has become does not matter
            self.weights[0].data[0] = torch.nan
        return rising.expand(2, rows.x.shape[1])

    monkeypatch.setattr(Stack, "bound", spoiled)
    vaes = [tiny_vae(seed=g) for g in range(2)]
    states = train_together(
        vaes,
        objective_of("MVAE"),
        rows,
        places[:, :64],
        settings,
        generator(),
        held_out=places[:, 64:],
    )
    assert [len(state.history["bound"]) for state in states] == [2, 6]
    assert set(states[1].history["learning_rate"]) == {settings.learning_rate}
    assert all(weight.isfinite().all() for vae in vaes for weight in vae.parameters())


def test_epochs_are_lost_model_by_model():
    weights = [torch.nn.Parameter(torch.ones(3, 2))]
    descent = Optimizer(FlatParameters(weights, 3), SETTINGS._replace(max_iter=9), n_batches=1)
    for lost in (0, 1, 2, 0, 1):  # never the same in three epochs running
        losses = torch.ones(3)
        losses[lost] = torch.nan
        descent.step(losses)
        descent.end_epoch(going=[True] * 3)
    descent.step(losses)
    descent.end_epoch(going=[True] * 3)
    descent.step(losses)
    with pytest.raises(DivergenceError):
        descent.end_epoch(going=[True] * 3)


def test_weights_are_the_last_where_no_bound_is_finite(monkeypatch):
    rows, places = tiny_rows(), samples_of(2, 96)
    rows.x[places[0, 64]], rows.observed[places[0, 64]] = 1e25, True
    vaes = [tiny_vae(seed=g) for g in range(2)]
    before = copy.deepcopy(vaes[0].state_dict())
    options = {"held_out": places[:, 64:]}
    objective = objective_of("MVAE")
    trained = places[:, :64].clone()
    trained[trained == places[0, 64]] = places[0, 0]
    train_together(vaes, objective, rows, trained, SETTINGS, generator(), **options)
    assert any(not torch.equal(value, before[name]) for name, value in vaes[0].state_dict().items())


def test_a_lost_step_is_that_of_one_model_alone():
    weights = [torch.ones(2, 3)]
    optimizer = AdamW(weights, 0.0)
    gradients = [torch.tensor([[1.0, 2.0, 3.0], [torch.nan, 1.0, torch.inf]])]
    optimizer.step(gradients, 0.1, torch.tensor([False, True]))
    assert (weights[0][0] < 1).all()
    assert (weights[0][1] == 1).all()
    before = weights[0].clone()
    optimizer.step([torch.full((2, 3), torch.nan)], 0.1, torch.tensor([True, True]))
    torch.testing.assert_close(weights[0], before, rtol=0, atol=0)


def test_norms_are_clipped_model_by_model():
    gradients = [torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[4.0], [0.4]])]
    torch.testing.assert_close(clip(gradients, 1.0), torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(gradients[0], torch.tensor([[0.6, 0.0], [0.3, 0.0]]))
    torch.testing.assert_close(gradients[1], torch.tensor([[0.8], [0.4]]))


def test_an_error_of_one_model_leaves_the_others_finite_and_many_are_told():
    rows = tiny_rows()
    rows.x[0, 0], rows.observed[0, 0] = torch.inf, True
    places = torch.stack([torch.arange(1, 65), torch.arange(64)])
    settings = SETTINGS._replace(batch_size=32, max_iter=3)
    vaes = [tiny_vae(seed=g) for g in range(2)]
    states = train_together(vaes, objective_of("MVAE"), rows, places, settings, generator())
    assert all(weight.isfinite().all() for vae in vaes for weight in vae.parameters())
    assert states[0].history["learning_rate"] == pytest.approx([5e-3, 2.5e-3, 1.25e-3])
    with pytest.raises(DivergenceError):
        train_together(vaes, objective_of("MVAE"), rows, places, SETTINGS, generator())


# -- estimators: a GPU that is pretended trains the models of bootstrap samples at once ------------


@pytest.fixture
def at_once(monkeypatch):
    """Return the numbers of models that were trained at once."""
    counts, whole = [], _bootstrap.train_together

    def counted(vaes, *args, **options):
        counts.append(len(vaes))
        return whole(vaes, *args, **options)

    monkeypatch.setattr(_bootstrap, "train_together", counted)
    return counts


@quiet
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("cls", STACKABLE, ids=lambda cls: cls.__name__)
def test_a_gpu_trains_all_models_at_once(monkeypatch, at_once, cls, early_stopping):
    X = mixed_table()
    options = {"n_models": 3, "device": "auto", "early_stopping": early_stopping}
    imputer = tiny(cls, **options, dropout=0.1)
    with Pretended(monkeypatch):
        imputer.fit(X)
        tables = list(imputer.impute(X, 3))
    assert at_once == [3]
    assert len(imputer.models_) == 3
    first, *others = imputer.models_
    for model in others:
        assert model.init_ == first.init_ == imputer.init_
        assert len(model.history_["bound"]) == model.n_iter_ == 3
        assert model.history_["bound"] != first.history_["bound"]
        assert ("validation_bound" in model.history_) is early_stopping
        assert math.isfinite(model.validation_score_) is early_stopping
    assert not any(frame.isna().any(axis=None) for frame in tables)
    assert not tables[0].equals(tables[1])


@quiet
def test_no_step_of_several_models_waits(monkeypatch):
    X, waits = mixed_table(64), []
    with Pretended(monkeypatch) as gpu:
        for batch_size in (32, 8):
            gpu.waits.clear()
            tiny(MIWAEImputer, n_models=3, device="auto", max_iter=1, batch_size=batch_size).fit(X)
            waits.append(len(gpu.waits))
    assert waits[0] == waits[1]


@quiet
def test_many_models_are_trained_in_parts(monkeypatch, at_once):
    monkeypatch.setattr(_bootstrap, "_AT_ONCE", 2)
    with Pretended(monkeypatch):
        model = tiny(MVAEImputer, n_models=5, device="auto", max_iter=1).fit(mixed_table())
    assert at_once == [2, 2, 1]
    assert len(model.models_) == 5


@quiet
def test_a_gpu_without_room_trains_fewer_models_at_once(monkeypatch, at_once):
    whole = _bootstrap.train_together

    def small(vaes, *args, **options):
        if len(vaes) > room:
            raise torch.OutOfMemoryError
        return whole(vaes, *args, **options)

    monkeypatch.setattr(_bootstrap, "train_together", small)
    monkeypatch.setattr(_bootstrap, "_AT_ONCE", 4)
    with Pretended(monkeypatch):
        room = 2
        found = tiny(MVAEImputer, n_models=5, device="auto").fit(mixed_table())
        room = 0
        with pytest.raises(torch.OutOfMemoryError):
            tiny(MVAEImputer, n_models=2, device="auto").fit(mixed_table())
    assert at_once == [2, 2, 1]
    assert all(len(model.history_["bound"]) == 3 for model in found.models_)


@quiet
@pytest.mark.parametrize("early_stopping", [False, True])
def test_models_of_a_gpu_are_those_of_the_cpu(monkeypatch, early_stopping):
    """They have the same samples, starts and held-out rows; here draws and order, too."""
    for module in ("training", "ensembles"):
        monkeypatch.setattr(f"skmissvae.{module}.StreamNoise", Known)
    X = mixed_table()
    options = {"n_models": 3, "early_stopping": early_stopping, "batch_size": 64, "dropout": 0.0}
    alone = tiny(MissSVAEImputer, **options).fit(X)
    with Pretended(monkeypatch):
        found = tiny(MissSVAEImputer, device="auto", **options).fit(X)
    for mine, theirs in zip(found.models_, alone.models_, strict=True):
        assert mine.n_iter_ == theirs.n_iter_
        for name in mine.history_.keys() - {"seconds"}:
            assert mine.history_[name] == pytest.approx(theirs.history_[name], rel=1e-4)
        pairs = zip(mine.vae_.parameters(), theirs.vae_.parameters(), strict=True)
        for weight, other in pairs:
            torch.testing.assert_close(weight, other, rtol=1e-3, atol=1e-4)


@quiet
def test_fits_of_several_models_leave_the_worlds_generator(monkeypatch):
    with Pretended(monkeypatch):
        before = torch.get_rng_state()
        fits = [
            tiny(MVAEImputer, n_models=2, device="auto", dropout=0.3, random_state=seed).fit(
                mixed_table()
            )
            for seed in (0, 0, 1)
        ]
        assert torch.equal(torch.get_rng_state(), before)
    first, again, other = (fit.models_[0].history_["bound"] for fit in fits)
    assert first == again != other


@quiet
def test_held_out_rows_are_judged_without_dropout(monkeypatch):
    scores = []
    for dropout in (0.0, 0.9):
        vaes = [tiny_vae(seed=0, dropout=dropout)]
        settings = SETTINGS._replace(max_iter=1, learning_rate=0.0)
        places = torch.arange(96).unsqueeze(0)
        (state,) = train_together(
            vaes,
            objective_of("MVAE"),
            tiny_rows(),
            places[:, :64],
            settings,
            generator(),
            held_out=places[:, 64:],
        )
        scores.append(state.best)
    assert scores[0] == pytest.approx(scores[1])


@quiet
@pytest.mark.parametrize(
    "imputer",
    [
        tiny(DeMissVAEImputer),
        tiny(MVAEImputer, encoder=torch.nn.Linear),
        tiny(MVAEImputer, image_shape=(2, 2)),
    ],
    ids=["DeMissVAE", "own encoder", "images"],
)
def test_what_cannot_be_stacked_is_trained_one_by_one(monkeypatch, at_once, imputer):
    X = np.random.default_rng(0).normal(size=(30, 4))
    X[::5, 0] = np.nan
    with Pretended(monkeypatch):
        imputer.set_params(n_models=2, device="auto", max_iter=1).fit(X)
    assert not at_once
    assert len(imputer.models_) == 2


def test_one_that_diverges_is_an_error_that_names_the_column(monkeypatch):
    def diverge(*args, **options):
        raise DivergenceError

    monkeypatch.setattr(_bootstrap, "train_together", diverge)
    with Pretended(monkeypatch), pytest.raises(ValueError, match="most likely at fault is 'plain'"):
        tiny(MVAEImputer, n_models=2, device="auto").fit(mixed_table()[["plain"]])
