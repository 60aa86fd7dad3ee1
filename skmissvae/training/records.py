"""The file of a checkpoint while a fit runs, and what it holds of each training run."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from .._utils.runtime import SeededGenerators, user_stacklevel
from ..tables.plain_files import INVALID, read_plain_file, write_plain_file
from ..tables.plain_values import PlainReader, PlainWriter
from .loaders import BatchLoader
from .processes import is_first_process
from .state import TrainingState, to_arrays, to_tensors

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .fit import FittedModel

_KIND = "skmissvae checkpoint"  # of plain files
_FORMAT = 1
_REMEDY = "Delete the file to begin this fit, or use another path."


class CheckpointFile:
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
        if self.is_frozen or not is_first_process():
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
        if not self.is_frozen and is_first_process():
            remove = partial(Path(self._options.path).unlink, missing_ok=True)
            self._warn_of_errors(remove, "cannot be removed")

    def damage(self, error: Exception) -> ValueError:
        """Return the error of a file whose values are not those of this fit."""
        return _damage(self._options.path, error)

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
    """What a checkpoint holds of one call of ``fit_model``, if there is a checkpoint.

    Parameters
    ----------
    file : CheckpointFile or None
        The checkpoint.
    name : str
        Name of the run, unique in the fit.
    """

    def __init__(self, file: CheckpointFile | None = None, name: str = "model") -> None:
        self._file, self._name = file, name

    @property
    def is_active(self) -> bool:
        """Whether there is a checkpoint."""
        return self._file is not None

    def part(self, name: str) -> RunRecord:
        """Return the record of a run that belongs to this one."""
        return RunRecord(self._file, f"{self._name}, {name}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raise ValueError with the path if values of the file are not those of this fit."""
        try:
            yield
        except INVALID as error:
            if self._file is None or isinstance(error, torch.OutOfMemoryError):
                raise
            raise self._file.damage(error) from error

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
            with self.reading():
                state.check(values["training"])
            state.restore(values["training"])
            with self.reading():
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
        self._dropout.restore(to_tensors(own["dropout"]))
        if self.loader.is_distributed:
            state.restore_buffers(own["buffers"])


def read_runs(path: str | os.PathLike[str], fit: dict[str, str]) -> dict[str, Any]:
    """Return the runs of a checkpoint of a fit."""
    name = repr(str(path))
    try:
        content, arrays = read_plain_file(path, _KIND)
        runs = PlainReader({}, {}, arrays, {}).read(content["runs"])
        stored = content["fit"]
        _check_runs(runs)
        differences = [key for key, value in fit.items() if stored[key] != value]
    except INVALID as error:
        raise _damage(path, error) from error
    if "digest" in differences:
        raise ValueError(
            f"{name} is the checkpoint of another fit: its estimator, parameters, rows or seed "
            f"differ from those of this fit. {_REMEDY}"
        )
    for key in differences:
        raise ValueError(
            f"{name} was written with {key} {stored[key]}, and this is {fit[key]}: the bits of the "
            f"continued fit can differ. {_REMEDY}"
        )
    return runs


def _check_runs(runs: dict[str, dict[str, Any]]) -> None:
    """Raise if runs are not those that ``RunRecord`` stores."""
    for run in runs.values():
        counts = run.get("n_stages", 0), run.get("n_epochs", 0)
        is_valid = all(type(count) is int and count >= 0 for count in counts)
        is_valid &= isinstance(run.get("model", {}), dict)
        if not is_valid or (counts[0] > 0) != ("model" in run):
            raise ValueError("the record of a training run is incomplete")


def _damage(path: str | os.PathLike[str], error: Exception) -> ValueError:
    return ValueError(
        f"{str(path)!r} is not a checkpoint, or it is damaged ({str(error)[:100]}). {_REMEDY}"
    )
