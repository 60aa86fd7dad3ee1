"""Checkpoints of fits, from which a fit that was stopped continues with the same bits.

A fit is a sequence of training runs: of a comparison of initializations, the model, bootstrap
models and calibration models. A checkpoint holds the models of finished runs, by name, and the
state of the run in progress.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from .. import vae
from .._utils.runtime import SeededGenerators, user_stacklevel
from .._utils.validation import any_of, check_fields, integer, none, real
from .._utils.version import __version__
from ..inference.samplers import SAMPLERS
from ..tables.plain_files import INVALID, digest, read_plain_file, write_plain_file
from ..tables.plain_values import PlainReader, PlainWriter
from ..tables.schema import ColumnSchema
from ..vae.networks.options import ConvNetwork, CustomNetwork, ResidualNetwork
from .loaders import BatchLoader, from_first_process, is_distributed
from .methods import BoundMethod, DecomposedMethod
from .optim import AdamW, EarlyStopping, TrainingSettings
from .spec import ModelSpec
from .state import TrainingState, to_arrays, to_tensors

if TYPE_CHECKING:
    from .fit import FitTask, FittedModel

_KIND = "skmissvae checkpoint"  # of plain files
_FORMAT = 1

# Objects that determine a fit; a checkpoint holds a digest of them.
_CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        *(ModelSpec, ColumnSchema, TrainingSettings, AdamW, EarlyStopping),
        *(BoundMethod, DecomposedMethod, *map(type, SAMPLERS.values())),
        *(ResidualNetwork, ConvNetwork, CustomNetwork),
    )
}
_FUNCTIONS = {name: part for name, part in vars(vae).items() if isinstance(part, type)}


@dataclass(frozen=True)
class Checkpoint:
    """A file from which a fit that was stopped continues: a callback of ``fit``.

    ``fit`` writes its state to the file. If its process ends before it, the next ``fit`` with the
    same parameters and the same table continues from the file, and gives the same model, bit for
    bit, as one that was not stopped (same machine, versions and number of threads). When the fit is
    complete the file is removed.

    Parameters
    ----------
    path : str or path-like
        The file. It belongs to one fit: fits that run at the same time need different files.
    every_n_epochs : int or None, default=10
        Number of epochs between two writes; None writes by time only.
    every_minutes : float or None, default=None
        Minutes after which the end of an epoch writes the file; None writes by epochs only.

    Notes
    -----
    Set it on the estimator itself, not on a ``Pipeline`` or a search. ``random_state`` must not be
    None, which gives other seeds in every fit. ``partial_fit`` and ``refit_encoder`` write no
    checkpoint.

    The file holds weights, the state of the optimizer, of the generators and of early stopping, the
    stored imputations of DeMissVAE, and all finished bootstrap and calibration models. Of models
    that are fitted in other processes (``n_jobs``) it holds finished ones only; others are fitted
    again. It holds data only, in the format of model files, and no rows of the table except the
    imputations of DeMissVAE. It is replaced when the new one is complete; a later write that fails,
    as on a full disk, gives a warning, and the file stays as it is.

    Of a table in ``Chunks`` only the sample in memory is compared with that of the checkpoint. In a
    process group of ``torch.distributed`` all processes use the same path; the first one reads and
    writes the file.

    Ctrl-C ends training and completes the fit, but keeps the file: the next ``fit`` trains the
    other epochs. Callbacks are called for the epochs that remain.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skmissvae import Checkpoint, MVAEImputer
    >>> X = [[1.0, 2.0], [np.nan, 3.0], [2.0, np.nan], [4.0, 5.0]]
    >>> imputer = MVAEImputer(max_iter=2, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "fit.checkpoint")
    ...     imputer = imputer.set_callbacks(Checkpoint(path, every_n_epochs=1)).fit(X)
    ...     os.path.exists(path)  # the fit is complete
    False
    """

    path: str | os.PathLike[str]
    every_n_epochs: int | None = 10
    every_minutes: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        check_fields(
            self,
            path=lambda path: None if isinstance(path, str | os.PathLike) else "a path",
            every_n_epochs=any_of(integer(1), none),
            every_minutes=any_of(real(0), none),
        )
        if self.every_n_epochs is None and self.every_minutes is None:
            raise ValueError(
                "Parameters 'every_n_epochs' and 'every_minutes' of Checkpoint cannot both be None."
            )

    def setup(self, estimator: Any, context: Any) -> None:
        """Refuse estimators that write no checkpoint.

        Parameters
        ----------
        estimator : estimator
            The estimator whose fit begins.
        context : CallbackContext
            Its task.
        """
        if not hasattr(estimator, "conditional_model"):
            raise TypeError(
                f"A Checkpoint cannot be set on {type(estimator).__name__}; set it on the "
                "estimator of skmissvae in it."
            )

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing; ``fit`` removes the file.

        Parameters
        ----------
        estimator : estimator
            The estimator whose fit ends.
        context : CallbackContext
            Its task.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any, **arguments: Any) -> None:
        """Do nothing; ``fit`` reads the file.

        Parameters
        ----------
        estimator : estimator
            The estimator.
        context : CallbackContext
            The fit, or an epoch.
        **arguments : object
            Not used.
        """

    def on_fit_task_end(self, estimator: Any, context: Any, **arguments: Any) -> None:
        """Do nothing; ``fit`` writes the file.

        Parameters
        ----------
        estimator : estimator
            The estimator.
        context : CallbackContext
            The fit, or an epoch.
        **arguments : object
            Not used.
        """


class _CheckpointFile:
    """The checkpoint of a fit in progress.

    Parameters
    ----------
    options : Checkpoint
        Path and times of writes.
    fit : dict
        Identifies the fit.
    runs : dict
        Values of each run by its name.
    """

    def __init__(
        self, options: Checkpoint, fit: dict[str, str], runs: dict[str, dict[str, Any]]
    ) -> None:
        self._options, self._fit, self.runs = options, fit, runs
        self._n_epochs, self._time = 0, time.monotonic()  # since the last write
        self.is_frozen = False  # after Ctrl-C, which makes the fit another one

    def is_due(self, n_epochs: int) -> bool:
        """Count epochs; return whether to write."""
        self._n_epochs += n_epochs
        by_epochs, minutes = self._options.every_n_epochs, self._options.every_minutes
        if by_epochs is not None and self._n_epochs >= by_epochs:
            return True
        return minutes is not None and time.monotonic() - self._time >= 60 * minutes

    def write(self) -> None:
        """Write the file, in the first process of a group."""
        self._n_epochs, self._time = 0, time.monotonic()
        if self.is_frozen or not _is_first_process():
            return
        writer = PlainWriter({}, {})
        runs = writer.write(self.runs, "runs")
        content = {"format": _FORMAT, "fit": self._fit, "runs": runs}
        write_plain_file(self._options.path, _KIND, content, writer.arrays)

    def try_write(self) -> None:
        """Write the file, with a warning if that fails."""
        self._warn_of_errors(self.write, "cannot be written")

    def close(self) -> None:
        """Remove the file at the end of a complete fit."""
        if not self.is_frozen and _is_first_process():
            self._warn_of_errors(Path(self._options.path).unlink, "cannot be removed")

    def _warn_of_errors(self, function: Callable[[], None], what: str) -> None:
        try:
            function()
        except OSError as error:
            warnings.warn(
                f"The checkpoint {str(self._options.path)!r} {what} ({error}). The fit goes "
                "on, and an earlier checkpoint is kept.",
                UserWarning,
                stacklevel=user_stacklevel(),
            )


class RunRecord:
    """What a checkpoint holds of one call of ``fit_model``; without a checkpoint, nothing.

    Parameters
    ----------
    file : _CheckpointFile or None
        The checkpoint.
    name : str
        Name of the run, unique in the fit.
    """

    def __init__(self, file: _CheckpointFile | None = None, name: str = "model") -> None:
        self._file, self._name = file, name

    @property
    def is_active(self) -> bool:
        """Whether there is a checkpoint."""
        return self._file is not None

    def part(self, name: str) -> RunRecord:
        """Return the record of a run that belongs to this one."""
        return RunRecord(self._file, f"{self._name}, {name}")

    @property
    def _values(self) -> dict[str, Any]:
        return {} if self._file is None else self._file.runs.get(self._name, {})

    @property
    def model_state(self) -> dict[str, Any] | None:
        """State of the model after the last finished stage."""
        return self._values.get("model")

    @property
    def n_stages(self) -> int:
        """Number of finished stages."""
        return int(self._values.get("n_stages", 0))

    @property
    def n_epochs(self) -> int:
        """Epochs of finished stages."""
        return int(self._values.get("n_epochs", 0))

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished."""
        return bool(self._values.get("is_finished", False))

    def finish_stage(self, model: FittedModel, n_epochs: int, *, is_last: bool) -> None:
        """Record the model after a stage of so many epochs."""
        if self._file is None:
            return
        if is_last:
            model = model.without_training_state(keep_imputations=True)
        state = model.__getstate__()
        del state["spec"], state["settings"]  # known when the fit continues
        self._file.runs[self._name] = {
            "model": state,
            "n_stages": self.n_stages + 1,
            "n_epochs": self.n_epochs + n_epochs,
            "is_finished": is_last,
        }
        if self._file.is_due(0):
            self._file.try_write()

    def finish_elsewhere(self, model: FittedModel) -> None:
        """Record the model of a run of another process."""
        if self._file is not None:
            self._file.is_due(model.n_iter)
            self.finish_stage(model, model.n_iter, is_last=True)

    def restore(
        self, state: TrainingState, generators: Generators, skip: Callable[[int], None]
    ) -> None:
        """Restore the state of the stage in progress, if there is one; skip its epochs."""
        values = self._values.pop("state", None)
        if values is not None:
            state.restore(values["training"])
            generators.restore(state, values["processes"])
            skip(state.n_epochs)

    def save(self, state: TrainingState, generators: Generators) -> None:
        """Write the state of the stage in progress, if it is time."""
        if self._file is None or not generators.loader.agree(self._file.is_due(1)):
            return
        run = self._file.runs.setdefault(self._name, {})
        run["state"] = {"training": state.values(), "processes": generators.values(state)}
        self._file.try_write()
        del run["state"]  # whose arrays change in training

    def freeze(self) -> None:
        """Write no more, because Ctrl-C ended the training of the model."""
        if self._file is not None:
            self._file.is_frozen = True

    def close(self) -> None:
        """Remove the checkpoint of a fit that is complete."""
        if self._file is not None:
            self._file.close()


class Generators:
    """The sources of noise of a training run, of which each process has its own.

    Parameters
    ----------
    loader : BatchLoader
        The training rows.
    generator : torch.Generator
        Source of batches and draws.
    dropout : SeededGenerators
        torch's global generators.
    """

    def __init__(
        self, loader: BatchLoader, generator: torch.Generator, dropout: SeededGenerators
    ) -> None:
        self.loader, self._generator, self._dropout = loader, generator, dropout

    def values(self, state: TrainingState) -> list[Any]:
        """Return the states of all processes, with the buffers of their models."""
        own = {
            "generator": self._generator.get_state(),
            "dropout": self._dropout.states,
            "buffers": state.buffers() if self.loader.is_distributed else {},
        }
        return self.loader.gather(to_arrays(own))

    def restore(self, state: TrainingState, values: list[Any]) -> None:
        """Restore the state of this process."""
        own = values[dist.get_rank() if self.loader.is_distributed else 0]
        self._generator.set_state(to_tensors(own["generator"]))
        self._dropout.states = to_tensors(own["dropout"])
        if self.loader.is_distributed:
            state.restore_buffers(own["buffers"])


def open_checkpoint(
    options: Checkpoint, owner: str, task: FitTask, previous: FittedModel | None
) -> RunRecord:
    """Return the record of a fit, from its checkpoint if there is one.

    Parameters
    ----------
    options : Checkpoint
        The path.
    owner : str
        Name of the estimator's class.
    task : FitTask
        The fit.
    previous : FittedModel or None
        A model that the fit continues.

    Raises
    ------
    ValueError
        If the file is damaged, or belongs to another fit.
    OSError
        If the file cannot be read or written.
    """
    fit = _identity(owner, task, previous)
    outcome: _CheckpointFile | Exception | None = None
    if _is_first_process():
        try:
            if Path(options.path).exists():
                outcome = _CheckpointFile(options, fit, _read(options.path, fit))
            else:
                outcome = _CheckpointFile(options, fit, {})
                outcome.write()  # an error of the path is raised before training
        except (ValueError, OSError) as error:
            outcome = error
    outcome = from_first_process(outcome)
    if isinstance(outcome, Exception):
        raise outcome
    return RunRecord(outcome)


def _read(path: str | os.PathLike[str], fit: dict[str, str]) -> dict[str, Any]:
    """Return the runs of a checkpoint of a fit."""
    name = repr(str(path))
    remedy = "Delete the file to begin this fit, or use another path."
    try:
        content, arrays = read_plain_file(path, _KIND)
        runs = PlainReader({}, {}, arrays, {}).read(content["runs"])
        stored = content["fit"]
        differences = [key for key, value in fit.items() if stored[key] != value]
    except INVALID as error:
        raise ValueError(
            f"{name} is not a checkpoint, or it is damaged ({str(error)[:100]}). {remedy}"
        ) from error
    if "digest" in differences:
        raise ValueError(
            f"{name} is the checkpoint of another fit: its estimator, parameters, rows or seed "
            f"differ from those of this fit. {remedy}"
        )
    for key in differences:
        raise ValueError(
            f"{name} was written with {key} {stored[key]}, and this is {fit[key]}: the bits of the "
            f"continued fit can differ. {remedy}"
        )
    return runs


def _identity(owner: str, task: FitTask, previous: FittedModel | None) -> dict[str, str]:
    """Return the versions and a digest of all that determines the fit."""
    sampler = type(task.method.sampler)
    writer = PlainWriter({**_CLASSES, sampler.__qualname__: sampler}, _FUNCTIONS)
    rows, held_out = task.rows.rows, task.rows.held_out
    values = {
        "owner": owner,
        "spec": task.spec,
        "settings": task.settings,
        "method": task.method,
        "device": str(task.device),
        "seeds": [task.seed, task.init_seed],
        "x": rows.x,
        "observed": rows.observed,
        "held_out": None if held_out is None else held_out.numpy(),
        "n_rows": task.rows.n_rows,
        "n_processes": dist.get_world_size() if is_distributed() else 1,
        "previous": None if previous is None else previous.__getstate__()["weights"],
    }
    text = json.dumps(writer.write(values, "fit"))
    versions = {"skmissvae": __version__, "torch": str(torch.__version__)}
    return {"digest": digest(text, writer.arrays), **versions}


def _is_first_process() -> bool:
    return not is_distributed() or dist.get_rank() == 0
