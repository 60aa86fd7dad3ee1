"""Checkpoints of fits, from which a fit that was stopped continues with the same bits.

A fit is a sequence of training runs: of a comparison of initializations, the model, bootstrap
models and calibration models. A checkpoint holds the models of finished runs, by name, and the
state of the run in progress.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from .. import vae
from .._utils.validation import any_of, check_fields, integer, none, real
from .._utils.version import __version__
from ..inference.samplers import SAMPLERS
from ..tables.plain_files import digest
from ..tables.plain_values import PlainWriter
from ..tables.schema import ColumnSchema
from ..vae.networks.options import ConvNetwork, CustomNetwork, ResidualNetwork
from .methods import BoundMethod, DecomposedMethod
from .optim import AdamW, EarlyStopping, TrainingSettings
from .processes import from_first_process, is_distributed, is_first_process
from .records import CheckpointFile, RunRecord, read_runs
from .spec import ModelSpec

if TYPE_CHECKING:
    from .fit import FitTask, FittedModel


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

    All finished models are written each time: with many bootstrap models use ``every_minutes``
    instead of ``every_n_epochs``. Custom functions and classes are compared with those of the
    checkpoint by their names, and of a table in ``Chunks`` only the sample in memory is. In a
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
        # stored estimators with the callback load on every system
        object.__setattr__(self, "path", os.fspath(self.path))

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
        """Accept the end of a fit, which removes the file itself.

        Parameters
        ----------
        estimator : estimator
            The estimator whose fit ends.
        context : CallbackContext
            Its task.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any, **arguments: Any) -> None:
        """Accept the begin of a fit, which reads the file itself, or of an epoch.

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
        """Accept the end of an epoch, after which ``fit`` writes the file itself, or of a fit.

        Parameters
        ----------
        estimator : estimator
            The estimator.
        context : CallbackContext
            The fit, or an epoch.
        **arguments : object
            Not used.
        """


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
    file = None
    if is_first_process():
        if Path(options.path).exists():
            file = CheckpointFile(options, fit, read_runs(options.path, fit))
        else:
            file = CheckpointFile(options, fit, {})
            file.write()  # an error of the path is raised before training
    return RunRecord(from_first_process(file))


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
    if rows.weight is not None:
        values["weight"] = rows.weight
    if rows.limits is not None:
        values["limits"] = list(rows.limits)
    try:
        text = json.dumps(writer.write(values, "fit"))
    except TypeError as error:
        raise TypeError(
            f"A checkpoint cannot identify a fit with this parameter: {error} Fit without a "
            "Checkpoint."
        ) from error
    versions = {"skmissvae": __version__, "torch": str(torch.__version__)}
    return {"digest": digest(text, writer.arrays), **versions}
