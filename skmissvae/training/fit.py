"""``fit_model``: one function that fits one model to rows.

``fit``, the choice of an initialization, bootstrap models, calibration and continued training all
call it. ``fit_bootstrap_models`` fits models of bootstrap samples of the rows, for imputations that
reflect parameter uncertainty.
"""

import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from joblib.parallel import effective_n_jobs, get_active_backend
from sklearn.utils.parallel import Parallel, delayed
from torch import Tensor

from .._utils.progress import SILENT, Progress
from .._utils.random import SeedStream, derive_seed
from .._utils.runtime import (
    SeededGenerators,
    convert,
    full_precision,
    torch_defaults,
    user_stacklevel,
)
from .._utils.threads import thread_limit
from ..vae.factor_analysis import ENOUGH_ROWS, factor_analysis, initialize_from, needs_shrinkage
from ..vae.likelihoods.categorical import MAX_CONTRASTED
from ..vae.vae import VAE
from .callbacks import FitProgress
from .data import TrainingRows, held_out_mask
from .loaders import InMemoryLoader
from .loop import n_useful_threads, train
from .methods import Method, Stage
from .objectives import Batch
from .optim import TrainingSettings
from .records import Generators, RunRecord
from .spec import ModelSpec
from .state import History, check_history

MIN_ROWS = 10  # of factor analysis
_MAX_FACTORS = 20


class FitTask(NamedTuple):
    """What is fitted, and how."""

    spec: ModelSpec
    rows: TrainingRows
    settings: TrainingSettings
    method: Method
    device: torch.device
    seed: int  # of batches, draws and dropout
    init_seed: int  # of the initial weights and of factor analysis
    record: RunRecord = RunRecord()  # in a checkpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedModel:
    """A fitted model, on the CPU.

    Attributes
    ----------
    spec : ModelSpec
        Specification from which it was built.
    settings : TrainingSettings
        How it was trained last.
    vae : VAE
        The model, with the encoder of incomplete rows.
    completed_vae : VAE or None
        The same with the encoder of completed rows, for methods that have one.
    init : {"factor_analysis", "random"}
        Initialization of the weights.
    shrinks : bool or None
        Whether all loadings of the factor analysis had learned priors; None without factor
        analysis.
    n_iter : int
        Epochs since the initialization.
    history : dict of str to list of float
        Of the last training; a list per quantity with an entry per epoch.
    validation_score : float
        Bound of the held-out rows for the weights that were kept; NaN without held-out rows.
    stopped_by : {"callback", "interrupt"} or None
        What ended the last training before ``max_iter`` epochs.
    skipped_steps : tuple of int
        Steps of the last training that were skipped, and all of its steps.
    optimizers : dict
        State of the optimizer of each stage, to continue from.
    imputations : dict or None
        Stored imputations of DeMissVAE, to continue from.
    """

    spec: ModelSpec
    settings: TrainingSettings
    vae: VAE
    completed_vae: VAE | None = None
    init: Literal["factor_analysis", "random"] = "random"
    shrinks: bool | None = None
    n_iter: int = 0
    history: History = dataclasses.field(default_factory=dict)
    validation_score: float = math.nan
    stopped_by: Literal["callback", "interrupt"] | None = None
    skipped_steps: tuple[int, int] = (0, 0)
    optimizers: dict[str, Any] = dataclasses.field(default_factory=dict)
    imputations: dict[str, np.ndarray] | None = None

    def replace(self, **updates: Any) -> Self:
        """Return a copy with other values of some fields."""
        return dataclasses.replace(self, **updates)

    def without_training_state(self, *, keep_imputations: bool = False) -> Self:
        """Return a copy without what only continued training needs."""
        return self.replace(
            optimizers={}, imputations=self.imputations if keep_imputations else None
        )

    def __getstate__(self) -> dict[str, Any]:
        # weights as numpy arrays: files hold no device and no class of torch
        state = dict(vars(self))
        weights = {"vae": dict(state.pop("vae").state_dict())}
        completed = state.pop("completed_vae")
        if completed is not None:  # everything but the encoder is shared
            for part in ("encoder", "family"):
                weights[part] = dict(getattr(completed, part).state_dict())
        state["weights"] = convert(weights, Tensor, lambda t: t.cpu().numpy())
        state["optimizers"] = convert(self.optimizers, Tensor, lambda t: t.cpu().numpy())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.restore(state, nullcontext)

    @torch_defaults()
    def restore(
        self, state: dict[str, Any], checking: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Set the state; values are compared with the model in a context."""
        state = dict(state)
        with checking():
            weights = state.pop("weights")
            _check_training(state)
            # a damaged file must not allocate memory for networks that its weights do not fill
            state["spec"].check_shapes(
                {
                    part: {name: a.shape for name, a in arrays.items() if isinstance(a, np.ndarray)}
                    for part, arrays in weights.items()
                }
            )
        # copies, as the arrays may be read-only views of a file
        weights = convert(weights, np.ndarray, torch.tensor)
        vae, completed = state["spec"].build_pair(0, has_second="encoder" in weights)
        with checking():
            if completed is not None:
                for part in ("encoder", "family"):
                    getattr(completed, part).load_state_dict(weights[part])
            vae.load_state_dict(weights["vae"])
        state["optimizers"] = convert(state["optimizers"], np.ndarray, torch.tensor)
        vars(self).update(state, vae=vae, completed_vae=completed)


def _check_training(state: dict[str, Any]) -> None:
    """Raise ValueError if a field of the training record has an invalid type or value."""
    check_history(state["history"])
    optimizers, imputations = state["optimizers"], state["imputations"]
    arrays = list((imputations or {}).values())
    arrays += [a for o in optimizers.values() for moments in o.values() for a in moments]
    is_valid = (
        state["init"] in ("factor_analysis", "random")
        and isinstance(state.get("shrinks"), (bool, type(None)))
        and state["stopped_by"] in (None, "callback", "interrupt")
        and [type(n) for n in (state["n_iter"], *state["skipped_steps"])] == [int] * 3
        and isinstance(state["validation_score"], float)
        and all(isinstance(array, np.ndarray) for array in arrays)
    )
    if not is_valid:
        raise ValueError("the record of the training is incomplete")


@torch_defaults()
def fit_model(
    task: FitTask,
    *,
    previous: FittedModel | None = None,
    stages: Sequence[Stage] | None = None,
    progress: FitProgress | None = None,
    interruptible: bool = False,
) -> FittedModel:
    """Fit one model to rows.

    Parameters
    ----------
    task : FitTask
        What is fitted, and how.
    previous : FittedModel, optional
        A model to continue from; None begins with new weights.
    stages : sequence of Stage, optional
        Training runs; None takes all of the method.
    progress : FitProgress, optional
        Reports epochs to callbacks and to the user.
    interruptible : bool
        Whether a model whose training was interrupted is returned; otherwise KeyboardInterrupt is
        raised.

    Returns
    -------
    FittedModel
        The fitted model; ``previous`` is not changed.

    Raises
    ------
    DivergenceError
        If the loss is not finite in several epochs.
    ValueError
        If factor analysis is required and not possible.
    """
    model, record = _initial_model(task, previous), task.record
    progress = progress or FitProgress()
    progress.skip(record.n_epochs)
    stages = task.method.stages if stages is None else stages
    for stage in stages[record.n_stages :]:
        part = stage.task(task, model)
        vae = copy.deepcopy(stage.network(model)).to(task.device)
        _warn_of_light_tails(vae)
        rows, held_out = Batch.of(part.rows.rows, task.device), None
        with full_precision(task.device):
            objective = stage.objective(vae, rows, model, part)
        if part.rows.held_out is not None:
            is_held_out = part.rows.held_out.to(task.device)
            rows, held_out = rows.part(~is_held_out), rows.part(is_held_out)
        loader = part.rows.loader or InMemoryLoader(rows)
        seed = loader.process_seed(part.seed)
        dropout = SeededGenerators(derive_seed(seed, SeedStream.GLOBAL_GENERATORS), task.device)
        generator = torch.Generator(task.device).manual_seed(seed)
        generators = Generators(loader, generator, dropout)
        n_threads = n_useful_threads(vae, objective, part.settings.batch_size)
        progress.begin_stage(stage, model, vae, objective)
        with full_precision(task.device), thread_limit(n_threads):
            result = train(
                vae,
                objective,
                loader,
                part.settings,
                generator,
                held_out=held_out,
                frozen=[part for name in stage.frozen if (part := getattr(vae, name)) is not None],
                optimizer_state=model.optimizers.get(stage.name),
                epoch_context=dropout.block,
                begin_epoch=progress.begin_epoch,
                end_epoch=progress.end_epoch,
                restore=partial(record.restore, generators=generators, skip=progress.skip),
                save=partial(record.save, generators=generators),
            )
        if result.interrupted:
            record.freeze()
        if result.stopped and not interruptible:
            raise KeyboardInterrupt
        optimizer = convert(result.optimizer, Tensor, lambda moment: moment.cpu())
        updates = stage.updates(vae.cpu().eval(), objective, model)
        n_skipped, n_steps = model.skipped_steps
        updates["skipped_steps"] = n_skipped + result.n_skipped, n_steps + result.n_steps
        updates["optimizers"] = {**model.optimizers, stage.name: optimizer}
        if stage.is_main:
            updates["settings"] = part.settings
            updates["history"] = result.history
            updates["n_iter"] = model.n_iter + max(1, len(result.history["bound"]))
            updates["validation_score"] = result.validation_score
        if result.stopped:
            updates["stopped_by"] = "interrupt" if result.interrupted else "callback"
        model = model.replace(**updates)
        n_epochs = len(result.history["bound"])
        record.finish_stage(model, n_epochs, is_last=record.n_stages + 1 == len(stages))
    return model


def _initial_model(task: FitTask, previous: FittedModel | None) -> FittedModel:
    """Return the model with which training begins, or that of the finished stages."""
    state = task.record.model_state
    if state is not None:
        spec = task.spec if previous is None else previous.spec
        model = FittedModel.__new__(FittedModel)
        state = {**state, "spec": spec, "settings": task.settings}
        model.restore(state, task.record.reading)
        return model
    model = untrained_model(task) if previous is None else previous
    return model.replace(stopped_by=None, skipped_steps=(0, 0))


def fit_bootstrap_models(
    task: FitTask,
    seeds: Sequence[int],
    n_jobs: int | None,
    progress: Progress = SILENT,
    unit: str = "bootstrap model",
) -> list[FittedModel]:
    """Return models that are fitted to bootstrap samples of the rows, one per seed.

    Parameters
    ----------
    task : FitTask
        The fit of the model of all rows.
    seeds : sequence of int
        Seeds of the samples and of the models.
    n_jobs : int or None
        Number of processes, as in joblib. Results do not depend on it.
    progress : Progress
        Shows how many models are fitted.
    unit : str
        Name of a model there.
    """
    is_shown = progress.verbose > 0 or task.record.is_active
    is_lazy = is_shown and get_active_backend()[0].supports_return_generator
    parallel = Parallel(n_jobs=n_jobs, return_as="generator" if is_lazy else "list")
    records = [task.record.part(f"bootstrap {i}") for i in range(len(seeds))]
    runs = [(record, seed, record.is_finished) for record, seed in zip(records, seeds, strict=True)]
    is_here = effective_n_jobs(n_jobs) == 1  # other processes cannot write to a checkpoint
    task, models = task._replace(record=RunRecord()), []
    with progress.task(unit, len(seeds)) as fits:
        fitted = parallel(
            delayed(_fit)(task, seed, record if is_here else RunRecord())
            for record, seed, is_finished in runs
            if not is_finished
        )
        rest = iter(fitted)
        for record, seed, is_finished in runs:
            model = _fit(task, seed, record) if is_finished else next(rest)
            if not (is_here or is_finished):
                record.finish_elsewhere(model)
            # other processes return copies of the specification
            models.append(model.replace(spec=task.spec))
            fits.advance()
    return models


def _fit(task: FitTask, seed: int, record: RunRecord) -> FittedModel:
    """Return the model of a bootstrap sample, or that of a finished run."""
    return fit_model(bootstrap_task(task, seed)._replace(record=record)).without_training_state()


def bootstrap_task(task: FitTask, seed: int) -> FitTask:
    """Return the fit to a bootstrap sample of the rows that are not held out."""
    rows = task.rows.rows
    held_out = held_out_mask(len(rows.x), seed, task.settings.early_stopping)
    in_training = TrainingRows(rows, held_out).training_positions()
    positions = np.random.default_rng(seed).choice(in_training, len(in_training))
    if held_out is not None:
        positions = np.append(positions, np.flatnonzero(held_out.numpy()))
        held_out = torch.arange(len(positions)) >= len(in_training)
    sample = TrainingRows(rows.part(positions), held_out)
    return task._replace(rows=sample, seed=seed, init_seed=seed)


def untrained_model(task: FitTask) -> FittedModel:
    """Return an initialized model, from factor analysis if possible."""
    has_second = task.method.stores_imputations
    vae, completed = task.spec.build_pair(task.init_seed, has_second=has_second)
    shrinks = _initialize(vae, task.spec, task.rows, task.init_seed)
    if task.spec.factor_analysis == "required" and shrinks is None:
        raise factor_analysis_error()
    return FittedModel(
        spec=task.spec,
        settings=task.settings,
        vae=vae,
        completed_vae=completed,
        init="random" if shrinks is None else "factor_analysis",
        shrinks=shrinks,
    )


def factor_analysis_error() -> ValueError:
    """Return the error for ``init="factor_analysis"`` if it is not possible."""
    return ValueError(
        f"Parameter 'init' cannot be 'factor_analysis' here: it requires {MIN_ROWS} training rows, "
        "networks with a linear path, no custom decoder, another method than DeMissVAE, and a "
        f"column that is neither ordinal nor of more than {MAX_CONTRASTED} categories nor "
        "continuous Bernoulli nor of a custom likelihood. Use init='auto'."
    )


def _initialize(vae: VAE, spec: ModelSpec, rows: TrainingRows, seed: int) -> bool | None:
    """Set a model to factor analysis of the training rows.

    Return whether all loadings had learned priors, or None if factor analysis is not possible.

    Parameters
    ----------
    vae : VAE
        An untrained model, changed in place.
    spec : ModelSpec
        Its specification.
    rows : TrainingRows
        The table.
    seed : int
        Seed of the model.
    """
    positions = rows.training_positions()
    if vae.coordinates is None or len(positions) < MIN_ROWS:
        return None
    random_state = np.random.default_rng(derive_seed(seed, SeedStream.FACTOR_ANALYSIS))
    if len(positions) > ENOUGH_ROWS:
        positions = random_state.choice(positions, ENOUGH_ROWS, replace=False)
    part = rows.rows.part(positions).reweighted()
    x, observed = vae.likelihood.linearize(*part.with_middles().tensors())
    x = torch.where(observed, x, 0.0)
    n_factors = number_of_factors(spec.n_latents, observed)
    if not n_factors:
        return None
    cells = x.double().numpy(), observed.numpy(), n_factors, random_state
    shrinks = needs_shrinkage(*cells, part.weight)
    model = factor_analysis(*cells, shrinks=shrinks, weight=part.weight)
    initialize_from(vae, model, with_encoder=spec.custom_encoder is None)
    return shrinks


def number_of_factors(n_latents: int, observed: Tensor) -> int:
    """Return the factors of a model, given the mask of linearized columns; 0 if there are none."""
    return min(n_latents, int(observed.any(0).sum()), _MAX_FACTORS)


def _warn_of_light_tails(vae: VAE) -> None:
    if vae.family.tail > vae.prior.tail:
        warnings.warn(
            "The prior has heavier tails than the posterior: importance weights are unbounded. "
            "Use posterior='auto' or 'student_t'.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
