"""From an estimator and a table to the task of ``fit_model``: checks, schema, settings, rows."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from .._utils.quoting import quoted, shortened
from .._utils.random import SeedStream, derive_seed
from .._utils.validation import checked_weights
from ..tables.cell_limits import GivenLimits
from ..tables.chunks import Chunks
from ..tables.column_kinds import choose_codecs, declared_kinds
from ..tables.column_selection import missing_markers
from ..tables.encoded_rows import EncodedRows
from ..tables.input_table import InputTable, NumericTable, open_table
from ..tables.reader import read_numbers
from ..tables.schema import MODELLED_ROLES, TableSchema
from ..training.checkpoint import Checkpoint, open_checkpoint
from ..training.data import OutOfCoreTable, TrainingRows, held_out_mask
from ..training.defaults import TableSize, epochs_from_random
from ..training.fit import MIN_ROWS, FitTask, FittedModel, factor_analysis_error
from ..training.methods import Method
from ..training.missingness import missingness_directions
from ..training.optim import TrainingSettings
from ..training.processes import from_first_process, is_distributed
from ..training.records import RunRecord
from ..training.spec import ModelSpec, group_likelihoods
from ..vae.networks.options import ConvNetwork
from .messages import (
    check_importance_weights,
    check_missingness_options,
    warn_of_changed_constants,
    warn_of_schema,
)
from .parameters import validate

if TYPE_CHECKING:
    from .base import BaseVAE

_MAX_LATENTS = 20  # of the default of n_latents
_MAX_WEIGHT_RATIO = 1e6  # of the rows that are used


def prepare_fit(
    estimator: BaseVAE,
    X: Any,
    previous: FittedModel | None,
    sample_weight: Any = None,
    limits: tuple[Any, Any] = (None, None),
) -> FitTask:
    """Check parameters and table; learn the schema unless a previous model is continued."""
    validate(estimator)
    method, seeds, parts = estimator._method(), _seeds(estimator), None
    method.check_training()
    if isinstance(X, Chunks) or is_distributed():
        how = "to Chunks" if isinstance(X, Chunks) else "by processes"
        _check_out_of_core(estimator, method, how, sample_weight, limits)
        seeds = from_first_process(seeds)
        parts = OutOfCoreTable(X, seeds[1])
        X = parts.sample.table
    table = open_table(estimator, X, None if previous is None else estimator._template)
    user_limits, weight = GivenLimits(*limits, table), None
    if sample_weight is not None:
        positions, weight = _positive_weights(sample_weight, table.n_rows)
        table, user_limits = table.part(positions), user_limits._replace(rows=positions)
    if previous is None:
        numbers, spec = learn_schema(estimator, table, method, seeds[0], weight, user_limits)
    else:
        # another sample may have categories that the first one did not have
        unknown = None if parts is None else "missing"
        numbers = _next_table(estimator, table, method, "set warm_start=False", unknown)
        spec = previous.spec
    cell_limits = user_limits.read(estimator.schema_.names, estimator.schema_.codecs)
    if cell_limits is not None:
        cell_limits = cell_limits.within(estimator.schema_, estimator._bounds())
        cell_limits = cell_limits.of_missing(numbers.missing, estimator.schema_)
    rows = estimator._reader().rows(numbers, limits=cell_limits)._replace(weight=weight)
    del table, user_limits, numbers, cell_limits  # copies of the table
    n_rows = len(rows.x) if parts is None else parts.sample.n_rows
    early_stopping = training_settings(estimator, spec, n_rows).early_stopping
    held_out = held_out_mask(len(rows.x), seeds[1], early_stopping)
    training_rows = TrainingRows(rows, held_out)
    if parts is not None:

        def encode(chunk: Any) -> EncodedRows:
            reader = estimator._reader("missing")
            return reader.rows(reader.cells(open_table(estimator, chunk, estimator._template)))

        loader = parts.loader(encode, held_out, estimator._device())
        training_rows = training_rows._replace(loader=loader)
    spec = _with_possible_initialization(spec, training_rows)
    settings = training_settings(estimator, spec, training_rows.n_rows, n_all_rows=n_rows)
    seed = seeds[1]
    if previous is not None:
        # a continued fit must not repeat the noise of the last one, even with an integer seed
        seed = derive_seed(seed, SeedStream.CONTINUATION, previous.n_iter)
    task = FitTask(spec, training_rows, settings, method, estimator._device(), seed, seeds[0])
    task = task._replace(record=_open_checkpoint(estimator, task, previous))
    is_choice = previous is None and parts is None
    return estimator._choose_initialization(task) if is_choice else task


def _positive_weights(
    sample_weight: Any, n_rows: int
) -> tuple[slice | NDArray[np.intp], NDArray[np.float64] | None]:
    """Return the positions of rows of a positive weight, and their weights, None if equal.

    Weights have mean one.
    """
    weight = checked_weights(sample_weight, n_rows)
    positions: slice | NDArray[np.intp] = np.flatnonzero(weight)
    weight = weight[positions]
    if len(weight) == n_rows:
        positions = slice(0, n_rows)
    if weight.max() > _MAX_WEIGHT_RATIO * weight.min():
        raise ValueError(
            f"The largest sample_weight is {weight.max() / weight.min():.3g} times the smallest "
            f"positive one; at most {_MAX_WEIGHT_RATIO:g} are allowed. Trim the weights, or set "
            "small ones to zero."
        )
    return positions, None if (weight == weight[0]).all() else weight / weight.mean()


def _open_checkpoint(estimator: BaseVAE, task: FitTask, previous: FittedModel | None) -> RunRecord:
    """Return the record of a fit in the checkpoint of its estimator, if there is one."""
    callbacks = getattr(estimator, "_skl_callbacks", [])
    checkpoints = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    owner = type(estimator).__name__
    if len(checkpoints) < len(callbacks) and not hasattr(estimator, "_init_callback_context"):
        raise TypeError(
            f"{owner} has callbacks other than Checkpoint, which require scikit-learn 1.9."
        )
    if not checkpoints:
        return RunRecord()
    if len(checkpoints) > 1:
        raise ValueError(f"{owner} has {len(checkpoints)} callbacks of class Checkpoint; set one.")
    if estimator.random_state is None:
        raise ValueError(
            f"Parameter 'random_state' of {owner} must not be None for a fit with a Checkpoint: "
            "the next fit has to use the same seed. Use an integer."
        )
    return open_checkpoint(checkpoints[0], owner, task, previous)


def prepare_partial_fit(estimator: BaseVAE, X: Any, previous: FittedModel | None) -> FitTask:
    """Check parameters and a chunk of a table; the first chunk determines the schema."""
    validate(estimator)
    method, seeds = estimator._method(), _seeds(estimator)
    method.check_training()
    if previous is None:
        numbers, spec = learn_schema(estimator, open_table(estimator, X), method, seeds[0])
    else:
        table = open_table(estimator, X, estimator._template)
        numbers, spec = _next_table(estimator, table, method, "call fit"), previous.spec
    rows = TrainingRows(estimator._reader().rows(numbers))
    spec = _with_possible_initialization(spec, rows)
    settings = training_settings(estimator, spec, rows.n_rows)
    optimizer = dataclasses.replace(settings.optimizer, schedule="constant")
    settings = settings._replace(max_iter=1, optimizer=optimizer, early_stopping=None)
    # an epoch must not repeat the noise of an earlier one, even with an integer seed
    n_iter = 0 if previous is None else previous.n_iter
    seed = derive_seed(seeds[1], SeedStream.CONTINUATION, n_iter)
    return FitTask(spec, rows, settings, method, estimator._device(), seed, seeds[0])


def prepare_refit(estimator: BaseVAE, X: Any) -> FitTask:
    """Check the rows for which the encoder is trained further."""
    rows = TrainingRows(estimator.encode_rows(X))
    method, seeds, spec = estimator._method(), _seeds(estimator), estimator.model_.spec
    check_continuation(estimator, method, remedy="call fit")
    settings = training_settings(estimator, spec, rows.n_rows)._replace(early_stopping=None)
    if estimator.max_iter is None:
        n_epochs = epochs_from_random(rows.n_rows, settings.batch_size)
        settings = settings._replace(max_iter=n_epochs)
    return FitTask(spec, rows, settings, method, estimator._device(), seeds[2], seeds[0])


def training_settings(
    estimator: BaseVAE, spec: ModelSpec, n_rows: int, *, n_all_rows: int | None = None
) -> TrainingSettings:
    """Return how to train on a number of rows, with every default resolved.

    ``n_all_rows`` includes rows that are held out.
    """
    return estimator._defaults.settings(
        table_size(estimator, spec, n_rows),
        n_all_rows=n_all_rows or n_rows,
        max_iter=estimator.max_iter,
        batch_size=estimator.batch_size,
        learning_rate=estimator.learning_rate,
        optimizer=estimator.optimizer,
        early_stopping=estimator.early_stopping,
    )


def table_size(estimator: BaseVAE, spec: ModelSpec, n_rows: int) -> TableSize:
    """Return the properties of a table on which the default training depends."""
    from_factor_analysis = spec.factor_analysis != "never" and spec.all_columns_linear
    is_numeric = bool(estimator.schema_.numeric().all())
    return TableSize(n_rows, len(spec.columns), is_numeric, from_factor_analysis)


def learn_schema(
    estimator: BaseVAE,
    table: InputTable,
    method: Method,
    seed: int,
    weight: NDArray[np.float64] | None = None,
    limits: GivenLimits | None = None,
) -> tuple[NumericTable, ModelSpec]:
    """Learn the schema of a table; return its numbers and the specification of the model."""
    names = table.names
    markers = missing_markers(estimator.missing_values, names)
    kinds = declared_kinds(table, estimator.feature_kinds, estimator.likelihood)
    codecs = choose_codecs(table, markers, kinds)
    numbers = read_numbers(table, codecs, names, markers)
    cell_limits = None if limits is None else limits.read(names, codecs)
    cells = numbers if cell_limits is None else cell_limits.with_middles(numbers, codecs)
    if not cells.observed.any():
        raise ValueError(
            f"X has no observed cell: all {numbers.observed.size} cells are missing. A model needs "
            "observed cells."
        )
    is_image = isinstance(estimator.network, ConvNetwork)
    if is_image:
        _check_image_shape(estimator, len(names))
    # all pixels have the same observation model
    shapes = False if is_image else estimator.learn_shapes
    has_transforms = shapes not in (False, "point_masses")
    schema = TableSchema(estimator.keep_empty_features, has_transforms, bool(shapes))
    is_grouped = np.asarray(cells.observed.any(0) & ~numbers.observed.any(0))
    schema.fit(cells, codecs, names, table.columns, weight, is_grouped)
    spec = make_spec(estimator, schema, method)
    vae = spec.build(seed)
    spec.check_networks(vae, estimator._device())
    schema.set_supports(vae.likelihood.supports)
    estimator.schema_, estimator._seed = schema, seed
    estimator.feature_kinds_ = dict(zip(names, (codec.kind for codec in codecs), strict=True))
    estimator._template, estimator._kind_options = table.template(), kind_options(estimator)
    warn_of_schema(estimator)
    estimator._begin_schema()
    return numbers, spec


def _next_table(
    estimator: BaseVAE,
    table: InputTable,
    method: Method,
    remedy: str,
    handle_unknown: str | None = None,
) -> NumericTable:
    """Return the numbers of a table with which the training of the fitted model continues."""
    check_continuation(estimator, method, remedy)
    # columns that are not modelled need no further value: a warning replaces the error
    numbers = estimator._reader(handle_unknown).cells(table, closed_roles=MODELLED_ROLES)
    warn_of_changed_constants(estimator, numbers)
    return numbers


def make_spec(estimator: BaseVAE, schema: TableSchema, method: Method) -> ModelSpec:
    """Return the specification of the model for a schema."""
    directions = missingness_directions(estimator.missingness, schema)
    likelihood = group_likelihoods(
        estimator.likelihood, schema.columns, schema.modelled.tolist(), schema.names
    )
    if directions:
        check_importance_weights(estimator)
        check_missingness_options(estimator, schema, directions, likelihood)
        shares = schema.n_missing[schema.modelled] / schema.n_rows
    spec = ModelSpec(
        columns=tuple(schema.columns),
        positions=tuple(schema.modelled.tolist()),
        n_latents=estimator.n_latents or max(1, min(len(schema.modelled), _MAX_LATENTS)),
        K=getattr(estimator, "K", 1) if method.mixture else 1,
        likelihood=likelihood,
        min_scale=estimator.min_scale,
        n_hidden=estimator.n_hidden,
        n_blocks=estimator.n_blocks,
        dropout=estimator.dropout,
        network=estimator.network,
        prior=estimator.prior,
        posterior=estimator.posterior,
        factor_analysis="never" if estimator.init == "random" else "if possible",
        missingness=directions,
        missing_shares=tuple(shares.clip(0.01, 0.99).tolist()) if directions else (),
    )
    is_possible = method.factor_analysis and spec.linear_path and spec.custom_decoder is None
    if estimator.init == "factor_analysis":
        if not is_possible:
            raise factor_analysis_error()
        return dataclasses.replace(spec, factor_analysis="required")
    return spec if is_possible else dataclasses.replace(spec, factor_analysis="never")


def _with_possible_initialization(spec: ModelSpec, rows: TrainingRows) -> ModelSpec:
    """Return the specification without factor analysis if it is not possible for these rows."""
    is_possible = spec.any_column_linear and len(rows.training_positions()) >= MIN_ROWS
    if spec.factor_analysis != "if possible" or is_possible:
        return spec
    return dataclasses.replace(spec, factor_analysis="never")


def kind_options(estimator: BaseVAE) -> dict[str, str]:
    """Return the parameters that determine the kinds of columns, in a form that can be stored."""
    names = ("feature_kinds", "learn_shapes", "keep_empty_features")
    return {name: repr(getattr(estimator, name)) for name in names}


def check_continuation(estimator: BaseVAE, method: Method, remedy: str) -> None:
    """Raise if a parameter requires another model than the fitted one."""
    owner, model = type(estimator).__name__, estimator.model_
    if method.stores_imputations != (model.completed_vae is not None):
        raise ValueError(
            f"{owner} cannot continue with the method {method.name}: only one of this method and "
            "that of the fitted model has an encoder of completed rows. Set 'objective' back, or "
            f"{remedy} to fit a new model."
        )
    for name, value in kind_options(estimator).items():
        if value != estimator._kind_options[name]:
            raise ValueError(
                f"Parameter {name!r} of {owner} is {shortened(value, 80)}, but the schema was "
                "learned with "
                f"{shortened(estimator._kind_options[name], 80)}. Set it back, or {remedy} to fit "
                "a new model."
            )
    if estimator.init not in ("auto", model.init):
        raise ValueError(
            f"Parameter 'init' of {owner} is {estimator.init!r}, but the initialization of the "
            f"fitted model was {model.init!r}. Set it back, or {remedy} to fit a new model."
        )
    spec = make_spec(estimator, estimator.schema_, method)
    for name in spec.changes(model.spec):
        raise ValueError(
            f"Parameter {name!r} of {owner} is {quoted(getattr(spec, name))}, but the fitted model "
            f"has {quoted(getattr(model.spec, name))}. Set it back, or {remedy} to fit a new model."
        )


def _check_out_of_core(
    estimator: BaseVAE,
    method: Method,
    how: str,
    sample_weight: Any,
    limits: tuple[Any, Any],
) -> None:
    """Raise if the parameters require all rows in memory."""
    owner, n_bootstrap = type(estimator).__name__, getattr(estimator, "n_bootstrap", 0)
    if sample_weight is not None:
        raise ValueError(
            f"{owner} cannot be fitted {how} with sample_weight. Draw a sample that fits into "
            "memory with probabilities proportional to the weights."
        )
    if any(limit is not None for limit in limits):
        raise ValueError(
            f"{owner} cannot be fitted {how} with lower or upper. Use a sample that fits into "
            "memory."
        )
    if method.stores_imputations:
        raise ValueError(
            f"{owner} cannot be fitted {how}: {method.name} stores imputations of every row. Use a "
            "sample that fits into memory, or another method."
        )
    if n_bootstrap:
        raise ValueError(
            f"{owner} with n_bootstrap={n_bootstrap} cannot be fitted {how}: bootstrap models "
            "require all rows in memory. Use n_bootstrap=0; for very many rows such models hardly "
            "differ."
        )


def _check_image_shape(estimator: BaseVAE, n_columns: int) -> None:
    shape = estimator.network.image_shape
    if math.prod(shape) != n_columns:
        raise ValueError(
            f"Parameter 'network' of {type(estimator).__name__} is a ConvNetwork of shape "
            f"{quoted(shape)}, with {math.prod(shape)} pixels, but X has {n_columns} columns; a "
            "row is an image, with its pixels in C order."
        )


def _seeds(estimator: BaseVAE) -> list[int]:
    """Return seeds of the initialization, of training, and of an encoder that is refitted."""
    random_state = check_random_state(estimator.random_state)
    return [int(seed) for seed in random_state.randint(2**31 - 1, size=3)]
