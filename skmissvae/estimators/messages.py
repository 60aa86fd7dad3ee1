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
from ..tables.columns import Mask
from ..tables.input_table import NumericTable
from ..tables.schema import TableSchema
from ..training.decoder_uncertainty import columns_without_uncertainty
from ..training.fit import FitTask, FittedModel
from ..training.optim import DivergenceError

if TYPE_CHECKING:
    from .base import BaseVAE
    from .imputer_base import BaseImputer

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


def warn_of_columns(
    schema: TableSchema, which: Mask, message: str, *, with_shares: bool = False
) -> None:
    """Warn about columns, if there are any.

    Parameters
    ----------
    schema : TableSchema
        The schema.
    which : ndarray of shape (n_features,)
        Mask of the columns.
    message : str
        The message, with braces for the names of the columns.
    with_shares : bool
        Whether the share of missing cells follows each name.
    """
    if which.any():
        columns = np.flatnonzero(which).tolist()
        shares = [f" ({schema.n_missing[j] / schema.n_rows:.0%} missing)" for j in columns]
        notes = shares if with_shares else [""] * len(columns)
        warn(message.format(listed([schema.names[j] for j in columns], _WIDTH_OF_NAMES, notes)))


def warn_of_schema(estimator: BaseVAE) -> None:
    """Warn about columns that are left out, left unchanged or read as strings."""
    schema = estimator.schema_
    roles = np.array(schema.roles)
    are_numbers = np.zeros(len(roles), dtype=bool)
    for j, suspicions in schema.suspicions.items():
        are_numbers[j] = any(s.reason == "numbers" and s.level == "problem" for s in suspicions)
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
        are_numbers,
        "Columns of strings that are mostly numbers are not read as numbers: {}. Convert them (the "
        "remarks in fit_report_ have the calls of pandas.to_numeric), or declare them "
        "'categorical' in feature_kinds.",
    )


def warn_of_identifiers(schema: TableSchema) -> None:
    """Warn about columns of near-unique values that have missing cells."""
    warn_of_columns(
        schema,
        (np.array(schema.roles) == "identifier") & (schema.n_missing > 0),
        "Columns in which most values occur once are not modelled, and the most frequent value is "
        "imputed in their missing cells: {}. Drop these columns, convert them to numbers or dates, "
        "or declare them 'categorical' in feature_kinds.",
    )


def warn_of_constants(schema: TableSchema) -> None:
    """Warn about columns with a single value that have missing cells."""
    warn_of_columns(
        schema,
        (np.array(schema.roles) == "constant") & (schema.n_missing > 0),
        "Columns with a single value have missing cells, in which this value is imputed: {}. If "
        "an empty cell means 'no' or 0, fill it before fit, as in X[column].fillna('no'); "
        "otherwise drop these columns.",
        with_shares=True,
    )


def warn_of_changed_constants(estimator: BaseVAE, numbers: NumericTable) -> None:
    """Warn about columns that had one value in the first table or chunk and have others now."""
    warn_of_columns(
        estimator.schema_,
        estimator.schema_.columns_with_new_values(numbers),
        "Columns that had at most one value in the first table or chunk have others now: {}. They "
        "are not used as evidence, and the first value is imputed. Fit a new estimator, to a table "
        "or first chunk that has these values.",
    )


def warn_of_similar_imputations(imputer: BaseImputer, to_impute: Mask, n: int) -> None:
    """Warn if n imputations of the cells of a table do not reflect the model's uncertainty."""
    n_models = len(imputer.models_)
    if 1 < n_models < n:
        warn(
            f"{n} imputations are drawn from {n_models} models in turn: those of one model are too "
            "similar for Rubin's rules. Use one imputation per model."
        )
    if n_models or n == 1:
        return
    schema = imputer.schema_
    columns = schema.modelled
    if imputer._decoder_uncertainty is not None:
        columns = columns[columns_without_uncertainty(imputer.vae_.likelihood)]
    if to_impute[:, columns].any():
        names = [schema.names[j] for j in columns if to_impute[:, j].any()]
        warn(
            f"The uncertainty of the model is not known for {listed(names, _WIDTH_OF_NAMES)}: "
            "imputations are too similar, and intervals by Rubin's rules are too narrow. Use fit "
            "with n_bootstrap=n_imputations."
        )


def warn_of_training(estimator: BaseVAE, task: FitTask, models: Sequence[FittedModel]) -> None:
    """Warn if training skipped steps, or if Ctrl-C ended it."""
    n_skipped, n_steps = map(sum, zip(*(model.skipped_steps for model in models), strict=True))
    if n_skipped:
        warn(
            f"{n_skipped} of {n_steps} training steps were skipped: their loss or gradient was not "
            "finite. The learning rate was halved after each such epoch. "
            f"{_remedy_of_divergence(estimator, task)}"
        )
    if models[0].stopped_by == "interrupt":
        warn(
            "Training was interrupted. The model is that of the last finished epoch, or the best "
            "one by held-out rows. The program continues; interrupt it again to end it."
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
    remedy = (
        "Increase n_importance_draws, or use the copy that refit_encoder(X) returns; "
        "effective_sample_size(X) returns it for each row."
    )
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


def check_importance_weights(estimator: Any) -> None:
    """Raise if a model of missingness would meet chains, which do not use it."""
    owner, method = type(estimator).__name__, estimator._method()
    if method.stores_imputations or estimator._sampler() is not None:
        what = method.name if method.stores_imputations else f"sampler={estimator.sampler!r}"
        raise ValueError(
            f"Parameter 'missingness' of {owner} must be 'ignorable' for {what}, whose chains "
            "ignore why cells are missing. Use another method, or sampler='importance'."
        )


def check_missingness_options(
    estimator: Any,
    schema: TableSchema,
    directions: Sequence[str],
    likelihoods: Sequence[tuple[Any, list[int]]],
) -> None:
    """Raise if a model of missingness meets options that it does not work with."""
    if getattr(estimator, "calibrate", False):
        raise ValueError(
            f"Parameter 'calibrate' of {type(estimator).__name__} must be False with a model of "
            "missingness: calibration hides observed cells, which are not missing because of their "
            "values. Use n_bootstrap for the uncertainty of the model."
        )
    for option, columns in likelihoods:
        for d in columns if option == "cross_entropy" else []:
            if directions[d] != "ignorable":
                name = quoted(schema.modelled_names[d])
                raise ValueError(
                    f"Parameter 'missingness' cannot model column {name}, whose likelihood "
                    "'cross_entropy' is no density. Use 'continuous_bernoulli', or leave the "
                    "column out."
                )
