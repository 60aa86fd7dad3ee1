"""Warnings and errors of the estimators."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._utils.quoting import listed, quoted
from .._utils.runtime import user_stacklevel
from ..inference.weights import low_ess
from ..tables.column_report import numeric_string_share
from ..tables.columns import Mask
from ..tables.input_table import NumericTable
from ..tables.schema import TableSchema
from ..training.fit import FitTask, FittedModel
from ..training.optim import DivergenceError

if TYPE_CHECKING:
    from .base import BaseVAE

_WIDTH_OF_NAMES = 300  # characters of the names of columns in a warning
_LOW_ESS_SHARE = 0.01  # share of rows with a low effective sample size that leads to a warning


@contextmanager
def explain_divergence(estimator: BaseVAE, task: FitTask) -> Iterator[None]:
    """Raise a ValueError with the probable reason if training diverges within the block."""
    try:
        yield
    except DivergenceError as error:
        raise ValueError(_divergence_message(estimator, task)) from error


def _divergence_message(estimator: BaseVAE, task: FitTask) -> str:
    return (
        "Training diverged: the loss was not finite in several epochs, although the learning rate "
        f"was halved after each. {_remedy_of_divergence(estimator, task)}"
    )


def _remedy_of_divergence(estimator: BaseVAE, task: FitTask) -> str:
    lower = f"a learning_rate below {task.settings.learning_rate}."
    schema = estimator.schema_
    size = np.abs(task.rows.rows.x).max(0, initial=0.0, where=schema.numeric())
    if not size.any():
        return f"Use {lower}"
    name = schema.modelled_names[int(size.argmax())]
    return (
        f"The most probable reason is column {quoted(name)}, with an observed value "
        f"{size.max():.3g} standard deviations from the mean: correct an error, "
        "transform the column (a logarithm, QuantileTransformer), or use learn_shapes=True, "
        f"likelihood='student_t' or {lower}"
    )


def warn(message: str) -> None:
    """Warn, with the line of the user's code."""
    warnings.warn(message, UserWarning, stacklevel=user_stacklevel())


def warn_of_columns(schema: TableSchema, which: Mask, message: str) -> None:
    """Warn about columns, if there are any; the message has braces for their names."""
    if which.any():
        names = listed((schema.names[j] for j in np.flatnonzero(which)), _WIDTH_OF_NAMES)
        warn(message.format(names))


def warn_of_schema(estimator: BaseVAE) -> None:
    """Warn about columns that are left out, left unchanged or read as strings."""
    schema = estimator.schema_
    roles = np.array(schema.roles)
    if not estimator.keep_empty_features:
        warn_of_columns(
            schema,
            roles == "empty",
            "Columns without an observed cell are left out: {}. Drop them, or use "
            "keep_empty_features=True.",
        )
    warn_of_columns(
        schema,
        (roles == "other") & (schema.n_missing > 0),
        "Columns of a data type that cannot be modelled keep their missing values: {}. Convert "
        "them to numbers, strings, categories or dates (pandas.to_datetime), or drop them.",
    )
    warn_of_columns(
        schema,
        np.array([numeric_string_share(schema, j) > 0 for j in range(len(roles))], dtype=bool),
        "Columns of strings that are mostly numbers are treated as categories: {}. Convert them "
        "(pandas.to_numeric(errors='coerce')), or declare them 'categorical' in feature_kinds.",
    )


def warn_of_identifiers(schema: TableSchema) -> None:
    """Warn about columns without equal values that have missing cells."""
    warn_of_columns(
        schema,
        (np.array(schema.roles) == "identifier") & (schema.n_missing > 0),
        "Columns in which no value occurs twice have missing cells, in which one of these "
        "values is imputed: {}. Drop these columns, or convert them to numbers or dates.",
    )


def warn_of_changed_constants(estimator: BaseVAE, numbers: NumericTable) -> None:
    """Warn about columns that had one value in the first chunk and have others now."""
    warn_of_columns(
        estimator.schema_,
        estimator.schema_.columns_with_new_values(numbers.values, numbers.observed),
        "Columns that had at most one value in the first chunk have others now: {}. They are not "
        "used as evidence, and the first value is imputed. Use a larger first chunk and a new "
        "estimator.",
    )


def warn_of_few_models(n_models: int, n_imputations: int) -> None:
    """Warn if several imputations come from each of several models."""
    if 1 < n_models < n_imputations:
        warn(
            f"{n_imputations} imputations are drawn from {n_models} models in turn: those of one "
            "model are too similar for Rubin's rules. Use one imputation per model."
        )


def warn_if_interrupted(model: FittedModel) -> None:
    """Warn if Ctrl-C has ended training."""
    if model.stopped_by == "interrupt":
        warn(
            "Training was interrupted. The model is that of the last finished epoch, or the best "
            "one by held-out rows. The program continues; interrupt it again to end it."
        )


def warn_of_skipped_steps(estimator: BaseVAE, task: FitTask, models: Sequence[FittedModel]) -> None:
    """Warn if steps of the last training of the models were skipped."""
    n_skipped, n_steps = map(sum, zip(*(model.skipped_steps for model in models), strict=True))
    if n_skipped:
        warn(
            f"{n_skipped} of {n_steps} training steps were skipped: their loss or gradient was not "
            "finite. The learning rate was halved after each such epoch. "
            f"{_remedy_of_divergence(estimator, task)}"
        )


def warn_of_low_ess(estimator: BaseVAE, ess: np.ndarray, *, chains: bool = True) -> None:
    """Warn if more than 1% of the rows have a low effective sample size.

    Parameters
    ----------
    estimator : BaseVAE
        The fitted estimator.
    ess : ndarray of shape (N,)
        Effective sample sizes.
    chains : bool
        Whether they are those of chains if the estimator has a sampler.
    """
    n_draws, model = estimator.n_importance_draws, estimator.model_
    limit = low_ess(n_draws)
    n_low = int((ess < limit).sum())
    if n_low <= _LOW_ESS_SHARE * len(ess):
        return
    of = f"of {n_draws} importance draws"
    remedy = f"{more_draws(model)}; effective_sample_size(X) returns it for each row."
    if chains and estimator._sampler() is not None:
        of += ", or chains that disagree"
        remedy = (
            "Use more steps, such as sampler=LAIR(n_steps=200); "
            "skmissvae.inspection.chain_diagnostics reports each row."
        )
        if model.completed_vae is None:
            remedy += (
                " The encoder was not trained on completed rows: use the copy that "
                "refit_encoder(X_completed) returns."
            )
    warn(
        f"{n_low} of {len(ess)} rows have an effective sample size below {limit:g} {of}: their "
        f"imputations and scores are uncertain. {remedy}"
    )


def more_draws(model: FittedModel) -> str:
    """Return the remedy for a low effective sample size."""
    k = ", K" if model.spec.K > 1 else ""
    return f"Increase n_importance_draws{k} or max_iter"


def resolve_device(device: Any, owner: str) -> torch.device:
    """Return the device of the parameter ``device`` of an estimator."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved, dtype=torch.float64)  # sums over draws need float64
    except (RuntimeError, TypeError, AssertionError) as error:
        reason = str(error).split("\n")[0].split(". ")[0][:200]
        raise ValueError(
            f"Parameter 'device' of {owner} must name a device of this machine, such as 'cpu', or "
            f"be 'auto'; got {quoted(device)} ({reason})."
        ) from error
    return resolved
