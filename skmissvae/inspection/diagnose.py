"""Diagnosis of a fitted estimator: problems as text, each with a remedy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._utils.html import html_table
from .._utils.quoting import listed, quoted
from .._utils.validation import check_minimum
from ..estimators.base import BaseVAE
from ..estimators.imputer_base import BaseImputer
from ..inference.weights import low_ess
from ..tables.chunks import Chunks, is_table, take_rows
from ..tables.column_statistics import HIGH_TAIL_SHARE
from ..tables.schema import MODELLED_ROLES
from ..training.optim import EarlyStopping
from .row_diagnostics import (
    chain_diagnostics,
    component_divergence,
    latent_information,
    mixture_weights,
    pareto_k,
)

# columns
_ERROR_SHARE = 0.9  # of a variance due to 1% of the cells: more likely errors than a heavy tail
_MAX_FINDINGS = 20  # about the reading of single columns
_EMPTY_SHARE = 0.95  # of missing cells, above which imputations of a column are guesses

# training
_MIN_EPOCHS = 8
_TREND_SHARE = 0.1  # of the epochs, at the end, that determine the trend
_TREND_INCREASE = 0.02  # of the total increase of the bound, within the trend
_TREND_DECREASE = 0.2  # of the total increase, from the best epoch
_N_STANDARD_ERRORS = 4  # of the mean over the last epochs
_NEGLIGIBLE_NATS = 0.05

# importance weights and chains
_HEAVY_TAIL = 0.7  # Pareto k above which estimates are unreliable (Vehtari et al. 2024)
_HIGH_R_HAT = 1.1
_FEW_ROWS = 0.01  # share of rows that is tolerated as outliers

# mixture
_UNUSED_WEIGHT = 0.01  # mean weight of a component that is unused
_FEW_COMPONENTS = 1.1  # effective number of components of a mixture that has collapsed
_LITTLE_INFORMATION = 0.1  # nats, below which one component is enough
_MUCH_INFORMATION = 1.0  # nats, above which a mixture may improve the fit

# inference
_SMALL_TABLE = 500  # rows below which the uncertainty of the model matters for inference
_COVERAGE_TOL = 0.05


class Finding(NamedTuple):
    """Result of a check.

    Parameters
    ----------
    check : str
        Name of the check.
    level : {"ok", "note", "problem"}
        Severity of the result.
    finding : str
        The result, as a sentence.
    remedy : str, default=""
        What to do about it.
    """

    check: str
    level: str
    finding: str
    remedy: str = ""


class Diagnosis:
    """Findings about a fitted estimator, returned by :func:`diagnose`; they print as sentences.

    Parameters
    ----------
    findings : list of Finding
        Results of the checks.

    See Also
    --------
    diagnose : Diagnose a fitted estimator.
    """

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    @property
    def problems(self) -> list[Finding]:
        """Findings of the level "problem"."""
        return [finding for finding in self.findings if finding.level == "problem"]

    def to_frame(self) -> pd.DataFrame:
        """Return the findings as a data frame.

        Returns
        -------
        DataFrame
            A line per finding, with the columns check, level, finding and remedy.
        """
        return pd.DataFrame(self.findings, columns=list(Finding._fields))

    def __repr__(self) -> str:
        """Return the findings as text, problems first."""
        prefixes = {"problem": "PROBLEM", "note": "note", "ok": "ok  "}
        return "\n".join(
            f"{prefix} {check}: {finding} {remedy}".rstrip()
            for level, prefix in prefixes.items()
            for check, finding_level, finding, remedy in self.findings
            if finding_level == level
        )

    def _repr_html_(self) -> str:
        """Return the findings as a table, problems first."""
        order = {"problem": 0, "note": 1, "ok": 2}
        frame = self.to_frame()[["level", "check", "finding", "remedy"]]
        return html_table(frame.sort_values("level", key=lambda s: s.map(order), kind="stable"))


def diagnose(
    estimator: BaseVAE, X: Any, *, max_rows: int = 200, random_state: Any = 0
) -> Diagnosis:
    """Diagnose problems of a fitted estimator, and suggest remedies.

    Checks the columns (also for undeclared markers of missing cells, and numbers stored as text),
    the training curve, the importance weights (effective sample size and Pareto k), the weights of
    the mixture's components, the information in missing cells, the convergence of Markov chains if
    the sampler has any, and the coverage of intervals if they were calibrated.

    Parameters
    ----------
    estimator : estimator of this package
        Fitted estimator.
    X : data frame or array-like of shape (n_samples, n_features)
        Rows to evaluate: those passed to ``fit``, or those to be transformed.
    max_rows : int, default=200
        Number of rows to evaluate, drawn at random if X has more.
    random_state : int, RandomState instance or None, default=0
        Seed of the choice of rows.

    Returns
    -------
    Diagnosis
        The findings, as ``findings``, ``problems`` and ``to_frame()``; it prints as sentences.

    Raises
    ------
    TypeError
        If the estimator is not one of this package, or X is a table in ``Chunks``.
    ValueError
        If ``max_rows`` is out of range.

    See Also
    --------
    overimputation_report : Compare predictions of hidden cells with their true values.
    posterior_predictive_check : Compare X with tables sampled from the model.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024). Pareto Smoothed Importance Sampling. Journal of
    Machine Learning Research 25.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSIWAEImputer, diagnose
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(90, 1)) + 0.5 * rng.normal(size=(90, 3))
    >>> X[rng.random(X.shape) < 0.3] = np.nan
    >>> diagnosis = diagnose(MissSIWAEImputer(max_iter=50, random_state=0).fit(X), X)
    >>> "weights" in diagnosis.to_frame()["check"].tolist()
    True
    """
    if not isinstance(estimator, BaseVAE):
        raise TypeError(
            f"estimator must be an estimator of skmissvae; got {type(estimator).__name__}. For a "
            "Pipeline, pass the step that is one."
        )
    check_is_fitted(estimator)
    check_minimum(1, max_rows=max_rows)
    if isinstance(X, Chunks):
        raise TypeError("diagnose does not accept Chunks. Pass a chunk, or a sample of the rows.")
    rows = X if is_table(X) else np.asarray(X)
    if len(rows) > max_rows:
        sample = check_random_state(random_state).choice(len(rows), max_rows, replace=False)
        rows = take_rows(rows, np.sort(sample))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # their contents are among the findings
        findings = [
            *_check_columns(estimator),
            _check_training(estimator),
            _check_weights(estimator, rows),
            *_check_mixture(estimator, rows),
            *_check_chains(estimator, rows),
            *_check_uncertainty(estimator),
        ]
    return Diagnosis(findings)


def _finding(check: str, level: str, finding: str, remedy: str) -> Finding:
    """Return a finding, without the remedy if its level is "ok"."""
    return Finding(check, level, finding, "" if level == "ok" else remedy)


def _check_columns(estimator: BaseVAE) -> Iterator[Finding]:
    yield from _check_reading(estimator)
    report: pd.DataFrame = estimator.fit_report_
    labels = report.index
    excluded = labels[~report["role"].isin(MODELLED_ROLES)].tolist()
    is_modelled = report["role"] == "modelled"
    if not is_modelled.any():
        remedy = "A model needs columns with two or more different values."
        yield Finding("columns", "problem", "no column varies.", remedy)
        return
    schema = estimator.schema_
    names, share = labels[schema.modelled], schema.tail_share
    limits = (_ERROR_SHARE, 1.1, "problem"), (HIGH_TAIL_SHARE, _ERROR_SHARE, "note")
    for low, high, level in limits:
        if heavy_tailed := names[(low < share) & (share <= high)].tolist():
            cells = f"1% of the cells account for {low:.0%} or more"
            finding = f"{cells} of the variance of {listed(heavy_tailed, 300)}."
            remedy = (
                "Correct errors (fit_report_ has the farthest value), or set learn_shapes=True."
            )
            yield Finding("columns", level, finding, remedy)
    if empty := labels[is_modelled & (report["missing_share"] > _EMPTY_SHARE)].tolist():
        finding = f"more than {_EMPTY_SHARE:.0%} of {listed(empty, 300)} is missing."
        yield Finding("columns", "note", finding, "Imputations of these columns are unreliable.")
    elif excluded:
        finding = f"{listed(excluded, 300)} are not modelled."
        yield Finding("columns", "note", finding, "fit_report_ has the reasons.")
    elif not (share > HIGH_TAIL_SHARE).any() and not schema.suspicions:
        yield Finding("columns", "ok", f"all {is_modelled.sum()} are modelled.")


def _check_reading(estimator: BaseVAE) -> Iterator[Finding]:
    """Yield columns with undeclared markers of missing cells, or with numbers stored as text."""
    schema = estimator.schema_
    findings = []
    for j, suspicions in schema.suspicions.items():
        for _, level, finding, remedy in suspicions:
            finding = f"column {quoted(schema.names[j])}: {finding}."
            findings.append(
                Finding("columns", level, finding, f"{remedy[:1].upper()}{remedy[1:]}.")
            )
    yield from findings[:_MAX_FINDINGS]
    if n_more := len(findings) - min(len(findings), _MAX_FINDINGS):
        finding = f"{n_more} more columns may hold markers of missing cells, or numbers as text."
        yield Finding("columns", "problem", finding, "fit_report_ has the remarks.")


def _check_training(estimator: BaseVAE) -> Finding:
    history: dict[str, list[float]] = estimator.history_
    validation_bound = history.get("validation_bound")
    name = "validation bound" if validation_bound else "bound"
    bound = np.array(validation_bound or history["bound"])
    bound = bound[np.isfinite(bound)]
    more_epochs = "Raise max_iter."
    stopping = estimator.early_stopping_
    patience = stopping.n_iter_no_change if isinstance(stopping, EarlyStopping) else math.inf
    if validation_bound and len(bound) - 1 - int(bound.argmax()) >= patience:
        finding = "it stopped when the validation bound stopped increasing."
        return Finding("training", "ok", finding)
    if len(bound) < _MIN_EPOCHS:
        finding = f"{len(bound)} epochs are too few to judge convergence."
        return Finding("training", "note", finding, more_epochs)
    width = max(1, round(_TREND_SHARE * len(bound)))
    smooth = np.convolve(bound, np.full(width, 1 / width), "valid")
    increase = max(smooth.max() - smooth[0], 1e-12)
    # after a good initialization the total increase is small: a minimum for noise is needed
    noise = max(_N_STANDARD_ERRORS * np.diff(bound).std() / math.sqrt(width), _NEGLIGIBLE_NATS)
    decrease = smooth.max() - smooth[-1]
    if decrease > max(_TREND_DECREASE * increase, noise):
        finding = f"the bound is {decrease:.3g} nats below its best value."
        remedy = "Set optimizer=AdamW(max_grad_norm=1), or lower learning_rate."
        return Finding("training", "problem", finding, remedy)
    if smooth[-1] - smooth[-1 - width] > max(_TREND_INCREASE * increase, noise):
        finding = f"the {name} still increases at the last epoch."
        return Finding("training", "problem", finding, more_epochs)
    finding = f"the {name} has converged to {bound[-width:].mean():.3g} nats."
    return Finding("training", "ok", finding)


def _check_weights(estimator: BaseVAE, rows: Any) -> Finding:
    # the models that impute, with the current parameters
    models = [estimator]
    if isinstance(estimator, BaseImputer) and estimator.models_:
        models = [estimator.with_model(model) for model in estimator.models_]
    ess = np.concatenate([model.effective_sample_size(rows) for model in models])
    k = np.concatenate([pareto_k(model, rows) for model in models])
    min_ess = low_ess(estimator.n_importance_draws)
    low_share, heavy_share = float((ess < min_ess).mean()), float((k > _HEAVY_TAIL).mean())
    tails = (
        "and there are too few draws to estimate Pareto k"
        if np.isnan(k).all()
        else f"{heavy_share:.0%} have a Pareto k above {_HEAVY_TAIL}"
    )
    finding = (
        f"{low_share:.0%} of the rows have an effective sample size below {min_ess:g} of "
        f"{estimator.n_importance_draws} draws, {tails}."
    )
    remedy = (
        "Scores and imputations of these rows are uncertain. Increase n_importance_draws, use the "
        "copy returned by refit_encoder, or set sampler='lair'."
    )
    is_problem = low_share > _FEW_ROWS or heavy_share > 5 * _FEW_ROWS
    return _finding("weights", "problem" if is_problem else "ok", finding, remedy)


def _check_mixture(estimator: BaseVAE, rows: Any) -> Iterator[Finding]:
    weights = mixture_weights(estimator, rows).mean(0)
    unused = np.flatnonzero(weights < _UNUSED_WEIGHT)
    K = len(weights)
    if K > 1 and len(unused):
        numbers = ", ".join(map(str, unused + 1))
        components, verb = ("components", "are") if len(unused) > 1 else ("component", "is")
        finding = (
            f"{components} {numbers} of {K} {verb} unused (mean weight below {_UNUSED_WEIGHT})."
        )
        remedy = f"Set K={K - len(unused)}, or try another random_state."
        yield Finding("mixture", "note", finding, remedy)
    elif K > 1:
        divergence = float(component_divergence(estimator, rows).mean())
        n_effective, remedy = math.exp(divergence), ""
        finding = (
            f"all {K} components are used, with mean weights of {weights.min():.0%} to "
            f"{weights.max():.0%}, and as far apart as {n_effective:.2g} separate ones "
            f"({divergence:.2g} nats)."
        )
        has_collapsed = n_effective < _FEW_COMPONENTS
        if has_collapsed:
            remedy = "The components are nearly equal: use K=1, or try another random_state."
        yield Finding("mixture", "note" if has_collapsed else "ok", finding, remedy)
    information = float(np.median(latent_information(estimator, rows)))
    level, remedy = "ok", ""
    if K == 1 and information > _MUCH_INFORMATION:
        level, remedy = "note", "A mixture posterior may fit better: try MissSIWAEImputer(K=5)."
    elif K > 1 and information < _LITTLE_INFORMATION:
        level, remedy = "note", "One Normal component, as in MIWAEImputer, is enough."
    finding = f"missing cells have {information:.2g} nats of information on the latents (median)."
    yield Finding("information", level, finding, remedy)


def _check_chains(estimator: BaseVAE, rows: Any) -> Iterator[Finding]:
    if estimator.conditional_model().sampler is None:
        return
    r_hat = chain_diagnostics(estimator, rows)["r_hat"].dropna()
    if not len(r_hat):
        return
    share = float((r_hat > _HIGH_R_HAT).mean())
    finding = f"{share:.0%} of the incomplete rows have R-hat above {_HIGH_R_HAT}."
    remedy = "Use more steps, such as sampler=LAIR(n_steps=200)."
    yield _finding("chains", "problem" if share > 5 * _FEW_ROWS else "ok", finding, remedy)


def _check_uncertainty(estimator: BaseVAE) -> Iterator[Finding]:
    models = getattr(estimator, "models_", None)
    if models is None:
        return
    n_rows = estimator.schema_.n_rows
    if not models and n_rows < _SMALL_TABLE:
        finding = f"with {n_rows} rows standard errors must include the uncertainty of the model."
        remedy = "Set n_bootstrap=10 or more for inference; prediction does not need it."
        yield Finding("inference", "note", finding, remedy)
    calibration = estimator.calibration_
    if calibration is not None and len(calibration):
        n = calibration["n_cells"]
        coverage = float((calibration["90%"] * n).sum() / n.sum())
        is_off = abs(coverage - 0.9) > _COVERAGE_TOL + 1 / math.sqrt(n.sum())
        cells = f"{coverage:.0%} of {n.sum()} hidden cells"
        finding = f"before calibration 90% intervals covered {cells}."
        remedy = "cell_distribution corrects intervals; imputations are not corrected."
        yield _finding("intervals", "note" if is_off else "ok", finding, remedy)
