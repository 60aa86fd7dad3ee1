"""``fit_model``: continuation, stages, interrupts; ``FittedModel`` after pickling."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from estimator_cases import every_estimator, quiet, tiny
from estimator_cases import table as incomplete

from skmissvae import DeMissVAEImputer, MissSIWAEImputer, MVAEImputer
from skmissvae.estimators.preparation import prepare_fit, prepare_partial_fit
from skmissvae.training.callbacks import FitProgress
from skmissvae.training.fit import factor_analysis_error, fit_model, untrained_model
from skmissvae.training.methods import encoder_epochs
from skmissvae.training.state import check_history

pytestmark = quiet


def task_of(cls, X=None, **options):
    """Return the task of a tiny fit."""
    return prepare_fit(tiny(cls, **options), incomplete() if X is None else X, None)


def arrays(value):
    """Return the arrays and tensors in nested dicts and lists, as bytes."""
    if isinstance(value, dict):
        return {key: arrays(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [arrays(item) for item in value]
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    return value.tobytes() if isinstance(value, np.ndarray) else value


def contents(model):
    """Return weights, history and state of a model, comparable by ``==``."""
    completed = model.completed_vae
    return {
        "vae": arrays(dict(model.vae.state_dict())),
        "completed_vae": completed and arrays(dict(completed.state_dict())),
        "optimizers": arrays(model.optimizers),
        "imputations": arrays(model.imputations),
        "history": {k: v for k, v in model.history.items() if k != "seconds"},
        "numbers": (model.init, model.n_iter, model.stopped_by, model.settings, model.spec),
        "score": repr(model.validation_score),
    }


class Interrupt(FitProgress):
    """Progress that interrupts training in an epoch."""

    def __init__(self, epoch):
        super().__init__(None, 0, None, None)
        self.epoch = epoch

    def end_epoch(self, history):
        if len(history["bound"]) == self.epoch:
            raise KeyboardInterrupt
        return False


@every_estimator
def test_fit_model_is_reproducible_and_has_a_record(cls):
    task = task_of(cls)
    model = fit_model(task)
    assert contents(model) == contents(fit_model(task))
    assert model.spec is task.spec
    assert model.settings == task.settings
    assert model.n_iter == len(model.history["bound"]) == 3
    assert math.isnan(model.validation_score)
    assert model.stopped_by is None
    assert not model.vae.training
    assert (model.completed_vae is not None) == (cls is DeMissVAEImputer)
    assert set(model.optimizers) == {stage.name for stage in task.method.stages}


@every_estimator
def test_continuation_does_not_change_the_previous_model(cls):
    task = task_of(cls)
    first = fit_model(task)
    before = copy.deepcopy(contents(first))
    second = fit_model(task._replace(seed=task.seed + 1), previous=first)
    assert contents(first) == before
    assert second.n_iter == 6
    assert second.init == first.init
    assert len(second.history["bound"]) == 3
    assert not torch.equal(first.vae.decoder.outlet.weight, second.vae.decoder.outlet.weight)


@every_estimator
def test_continuation_uses_the_state_of_the_optimizer(cls):
    task = task_of(cls)
    first = fit_model(task)
    second, without_state = (
        fit_model(task, previous=previous) for previous in (first, first.without_training_state())
    )
    assert contents(second)["vae"] != contents(without_state)["vae"]
    steps, steps_without_state = (
        float(model.optimizers[task.method.stages[0].name]["n_steps"][0])
        for model in (second, without_state)
    )
    assert steps == 2 * steps_without_state


@every_estimator
def test_encoder_stage_changes_the_encoder_alone(cls):
    task = task_of(cls, prior="mixture", likelihood="student_t")  # both are trained otherwise
    model = fit_model(task)
    refitted = fit_model(task, previous=model, stages=[task.method.encoder_stage])
    before, after = model.vae.state_dict(), refitted.vae.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "encoder.outlet.weight" in changed
    assert all(name.startswith(("encoder", "family")) for name in changed)
    assert refitted.history == model.history
    assert refitted.n_iter == model.n_iter
    if model.completed_vae is not None:
        assert refitted.completed_vae.decoder is refitted.vae.decoder
        assert not any(
            not torch.equal(value, refitted.completed_vae.state_dict()[name])
            for name, value in model.completed_vae.state_dict().items()
        )


def test_epochs_of_partial_fit_have_other_seeds():
    X, imputer, seeds = incomplete(), tiny(MVAEImputer), set()
    for _ in range(3):
        seeds.add(prepare_partial_fit(imputer, X, getattr(imputer, "model_", None)).seed)
        imputer.partial_fit(X)
    assert len(seeds) == 3


def test_an_encoder_alone_is_trained_for_half_of_the_epochs_but_at_least_one():
    assert [encoder_epochs(n) for n in (1, 2, 5, 100)] == [1, 1, 3, 50]


@every_estimator
def test_interrupt_is_raised_unless_a_partial_model_is_requested(cls):
    task = task_of(cls, max_iter=10)
    with pytest.raises(KeyboardInterrupt):
        fit_model(task, progress=Interrupt(2))
    model = fit_model(task, progress=Interrupt(2), interruptible=True)
    assert model.stopped_by == "interrupt"
    assert model.n_iter == len(model.history["bound"]) == 2
    assert fit_model(task, previous=model).stopped_by is None


def test_interrupt_does_not_change_the_previous_model():
    task = task_of(MVAEImputer)
    first = fit_model(task)
    before = copy.deepcopy(contents(first))
    with pytest.raises(KeyboardInterrupt):
        fit_model(task, previous=first, progress=Interrupt(1))
    assert contents(first) == before


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [False, True])
@every_estimator
def test_fitted_model_is_equal_after_pickling(cls, early_stopping):
    task = task_of(cls, early_stopping=early_stopping)
    model = fit_model(task)
    restored = pickle.loads(pickle.dumps(model))
    assert contents(restored) == contents(model)
    assert math.isfinite(restored.validation_score) == early_stopping
    if restored.completed_vae is not None:
        assert restored.completed_vae.decoder is restored.vae.decoder
    continued = [contents(fit_model(task, previous=m)) for m in (model, restored)]
    assert continued[0] == continued[1]


def test_model_without_training_state_keeps_imputations_on_request():
    model = fit_model(task_of(DeMissVAEImputer))
    assert model.without_training_state().imputations is None
    reduced = model.without_training_state(keep_imputations=True)
    assert reduced.imputations is model.imputations
    assert reduced.optimizers == {}


def test_seed_of_training_does_not_change_the_initialization():
    task = task_of(MissSIWAEImputer)
    models = [untrained_model(task._replace(seed=seed)) for seed in (1, 2)]
    assert contents(models[0]) == contents(models[1])
    other_weights = untrained_model(task._replace(init_seed=task.init_seed + 1))
    assert contents(other_weights)["vae"] != contents(models[0])["vae"]


def test_required_factor_analysis_of_few_rows_is_an_error():
    task = task_of(MVAEImputer, incomplete(9), init="factor_analysis")
    with pytest.raises(ValueError, match="requires 10 training rows") as raised:
        fit_model(task)
    assert str(raised.value) == str(factor_analysis_error())


@pytest.mark.parametrize("bound", [(1.0, 2.0), [1.0], [1.0, "x"]])
def test_histories_of_other_forms_are_refused(bound):
    check_history({"bound": [1.0, 2.0], "seconds": [0.1, 0.2]})
    with pytest.raises(ValueError, match="a history of"):
        check_history({"bound": bound, "seconds": [0.1, 0.2]})
