"""What is wrong with a fitted estimator, in words, and what to try."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._utils.validation import check_minimum
from ..estimators.base import BaseVAE
from ..inference.weights import low_ess
from ..tables.chunks import Chunks, is_table, take_rows
from ..tables.column_statistics import HIGH_TAIL_SHARE
from ..tables.schema import MODELLED_ROLES

_HEAVY = 0.7  # Pareto shape above which sums of weights are not to be trusted


_DISAGREE = 1.1  # R-hat above which chains are


_FEW = 0.01  # share of rows that may be so without a word


_DEAD = 0.01  # average weight below which a component is of no use


_LITTLE = 0.1  # nats of information below which a single component does


_NEARLY_ALL = 0.9  # of a column's variance: rather an error than a heavy tail


_MUCH = 1.0  # and above which a mixture may pay


_FEW_EPOCHS = 8


_SHARE = 0.1  # of the epochs, at the end, by which a trend is told


_RISING = 0.02  # of the bound's whole rise, in them


_NOISE = 4  # standard errors of a mean over the last epochs


_NO_MATTER = 0.05  # nats


_FALLEN = 0.2


_SMALL = 500  # rows below which the model's own uncertainty matters for inference


_OFF = 0.05  # difference of coverage that matters


class Finding(NamedTuple):
    """What a check found."""

    check: str
    level: str  # "ok", "note" or "problem"
    finding: str
    remedy: str = ""


class Diagnosis:
    """Findings on a fitted estimator, which print as sentences.

    Parameters
    ----------
    findings : list of Finding
        One for each check.
    """

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    @property
    def problems(self) -> list[Finding]:
        """Findings that want something to be done."""
        return [finding for finding in self.findings if finding.level == "problem"]

    def to_frame(self) -> pd.DataFrame:
        """Return the findings as a frame: check, level, finding, remedy.

        Returns
        -------
        DataFrame
            A line for each check.
        """
        return pd.DataFrame(self.findings, columns=list(Finding._fields))

    def __repr__(self) -> str:
        """Return the findings as text."""
        sign = {"ok": "ok  ", "note": "note", "problem": "PROBLEM"}
        lines = []
        for level in ("problem", "note", "ok"):
            for one in self.findings:
                if one.level == level:
                    then = f" {one.remedy}" if one.remedy else ""
                    lines.append(f"{sign[level]} {one.check}: {one.finding}{then}")
        return "\n".join(lines)


def diagnose(
    estimator: BaseVAE, X: Any, *, max_rows: int = 200, random_state: Any = 0
) -> Diagnosis:
    """Say in words what is wrong with a fitted estimator, and what to try.

    It looks at the columns, the course of training, the importance weights (effective number of
    draws and Pareto shape), the use of the mixture's components, the information in missing cells,
    the chains, where there are any, and the coverage of intervals, where it was calibrated.

    Parameters
    ----------
    estimator : estimator of this package
        A fitted one.
    X : data frame or array-like of shape (n_samples, n_features)
        Rows to judge it by: those of ``fit``, or those that it is meant for.
    max_rows : int, default=200
        Rows that are looked at, drawn at random where there are more.
    random_state : int, RandomState instance or None, default=0
        Which rows.

    Returns
    -------
    Diagnosis
        ``findings``, ``problems`` and ``to_frame()``; it prints as sentences.

    Raises
    ------
    TypeError
        If the estimator is none of this package, or X is a table in ``Chunks``.
    ValueError
        If ``max_rows`` is out of range.

    See Also
    --------
    overimputation_report : How good imputations are, by cells whose values are known.
    posterior_predictive_check : Whether the model makes tables like the one it was fitted to.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024). Pareto Smoothed Importance Sampling. Journal of
    Machine Learning Research 25.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSIWAEImputer, diagnose
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 1)) + 0.5 * rng.normal(size=(100, 3))
    >>> X[rng.random(X.shape) < 0.3] = np.nan
    >>> found = diagnose(MissSIWAEImputer(max_iter=50, random_state=0).fit(X), X)
    >>> "weights" in found.to_frame()["check"].tolist()
    True
    """
    if not isinstance(estimator, BaseVAE):
        raise TypeError(
            f"estimator must be one of this package's; got {type(estimator).__name__}. Of a "
            "Pipeline give the step."
        )
    check_is_fitted(estimator)
    check_minimum(1, max_rows=max_rows)
    if isinstance(X, Chunks):
        raise TypeError("X is a table in Chunks; give one of them, or some of their rows.")
    rows = X if is_table(X) else np.asarray(X)
    if len(rows) > max_rows:
        chosen = check_random_state(random_state).choice(len(rows), max_rows, replace=False)
        rows = take_rows(rows, np.sort(chosen))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what they warn of is told here
        findings = [
            *_columns(estimator),
            _training(estimator),
            _weights(estimator, rows),
            *_mixture(estimator, rows),
            *_chains(estimator, rows),
            *_uncertainty(estimator),
        ]
    return Diagnosis(findings)


def _columns(estimator: BaseVAE) -> Iterator[Finding]:
    report: pd.DataFrame = estimator.fit_report_
    aside = report[~report["role"].isin(MODELLED_ROLES)]
    n_modelled = int((report["role"] == "modelled").sum())
    if not n_modelled:
        nothing = "There is nothing to learn from this table."
        yield Finding("columns", "problem", "no column varies.", nothing)
        return
    table = estimator._table
    names = report.index[table.modelled]
    for low, high, level in ((_NEARLY_ALL, 1.1, "problem"), (HIGH_TAIL_SHARE, _NEARLY_ALL, "note")):
        far = names[(low < table.tail_share) & (table.tail_share <= high)]
        if len(far):
            yield Finding(
                "columns",
                level,
                f"1% of the cells make {low:.0%} of the variance of {_listed(far)}, or more.",
                "Mend what is an error (fit_report_ tells the farthest value), or set "
                "learn_shapes=True.",
            )
    empty = report[(report["role"] == "modelled") & (report["missing_share"] > 0.95)]
    if len(empty):
        told = f"more than 95% of {_listed(empty.index)} is missing."
        yield Finding("columns", "note", told, "What is put there is little more than a guess.")
    elif len(aside):
        told = f"{_listed(aside.index)} take no part in the model."
        yield Finding("columns", "note", told, "fit_report_ tells why.")
    elif not (table.tail_share > HIGH_TAIL_SHARE).any():
        yield Finding("columns", "ok", f"all {n_modelled} take part.")


def _training(estimator: BaseVAE) -> Finding:
    history: dict[str, list[float]] = estimator.history_
    held_out = history.get("validation_bound")
    name = "held-out bound" if held_out else "bound"
    bound = np.array(held_out or history["bound"])
    bound = bound[np.isfinite(bound)]
    # with epochs that are given no start is tried
    chosen = (estimator.init, estimator.init_, estimator.max_iter) == ("auto", "random", None)
    kept = chosen and hasattr(estimator, "impute")
    longer = "Raise max_iter, with init='random'." if kept else "Raise max_iter."
    if held_out and len(bound) - 1 - int(bound.argmax()) >= estimator.n_iter_no_change:
        return Finding("training", "ok", "it stopped when the held-out bound no longer rose.")
    if len(bound) < _FEW_EPOCHS:
        return Finding(
            "training",
            "note",
            f"{len(bound)} epochs are too few to tell.",
            longer,
        )
    width = max(1, round(_SHARE * len(bound)))
    smooth = np.convolve(bound, np.full(width, 1 / width), "valid")
    rise = max(smooth.max() - smooth[0], 1e-12)
    # from a good start there is little to rise by: less than this is noise, or no matter
    least = max(_NOISE * np.diff(bound).std() / math.sqrt(width), _NO_MATTER)
    if smooth.max() - smooth[-1] > max(_FALLEN * rise, least):
        return Finding(
            "training",
            "problem",
            f"the bound fell by {smooth.max() - smooth[-1]:.3g} nats from its best.",
            "Try max_grad_norm=1 or a lower learning_rate.",
        )
    if smooth[-1] - smooth[-1 - width] > max(_RISING * rise, least):
        told = f"the {name} still rises at the last epoch."
        return Finding("training", "problem", told, longer)
    return Finding(
        "training", "ok", f"the {name} has settled, at {bound[-width:].mean():.3g} nats."
    )


def _weights(estimator: BaseVAE, rows: Any) -> Finding:
    # those that impute, by the settings of now
    models = [estimator._by(model) for model in getattr(estimator, "models_", [])] or [estimator]
    ess = np.concatenate([model.effective_sample_size(rows) for model in models])
    k = np.concatenate([model.pareto_k(rows) for model in models])
    limit = low_ess(estimator.n_importance_draws)
    poor, heavy = float((ess < limit).mean()), float((k > _HEAVY).mean())
    tails = "too few draws to tell of tails" if np.isnan(k).all() else f"{heavy:.0%} heavy tails"
    told = (
        f"{poor:.0%} of the rows have fewer than {limit:g} effective draws of "
        f"{estimator.n_importance_draws}, {tails} (Pareto k above {_HEAVY})."
    )
    if poor > _FEW or heavy > 5 * _FEW:
        remedy = (
            f"Their scores and imputations are uncertain. {estimator._raise_draws()}; "
            "for rows unlike those of fit take the copy that refit_encoder returns; or use "
            "sampler='lair'."
        )
        return Finding("weights", "problem", told, remedy)
    return Finding("weights", "ok", told)


def _mixture(estimator: BaseVAE, rows: Any) -> Iterator[Finding]:
    use = estimator.mixture_weights(rows).mean(0)
    information = float(np.median(estimator.latent_information(rows)))
    dead = np.flatnonzero(use < _DEAD)
    n = len(use)
    if n > 1 and len(dead):
        yield Finding(
            "mixture",
            "note",
            f"component{'s' if len(dead) > 1 else ''} {', '.join(map(str, dead + 1))} of {n} "
            f"{'are' if len(dead) > 1 else 'is'} hardly used (average weight below {_DEAD}).",
            f"K={n - len(dead)} would do, or another random_state uses more of them.",
        )
    elif n > 1:
        share = f"{use.min():.0%} to {use.max():.0%}"
        yield Finding("mixture", "ok", f"all {n} components are used, {share} each.")
    told = f"missing cells would tell {information:.2g} nats of the latents in the median row."
    if n == 1 and information > _MUCH:
        yield Finding(
            "information", "note", told, "A mixture posterior may pay: try MissSIWAEImputer(K=5)."
        )
    elif n > 1 and information < _LITTLE:
        yield Finding(
            "information", "note", told, "A single Gaussian, as of MIWAEImputer, would do."
        )
    else:
        yield Finding("information", "ok", told)


def _chains(estimator: BaseVAE, rows: Any) -> Iterator[Finding]:
    if estimator._sampler() is None:
        return
    r_hat = estimator.chain_diagnostics(rows)["r_hat"].dropna()
    if not len(r_hat):
        return
    poor = float((r_hat > _DISAGREE).mean())
    told = f"those of {poor:.0%} of the incomplete rows disagree (R-hat above {_DISAGREE})."
    if poor > 5 * _FEW:
        yield Finding("chains", "problem", told, "Raise n_sampler_steps.")
    else:
        yield Finding("chains", "ok", told)


def _uncertainty(estimator: BaseVAE) -> Iterator[Finding]:
    models = getattr(estimator, "models_", None)
    if models is None:
        return
    n_rows = estimator._table.n_rows
    if not models and n_rows < _SMALL:
        yield Finding(
            "inference",
            "note",
            f"with {n_rows} rows what is not known of the model matters to standard errors.",
            "For inference fit with n_models=10 or more; for prediction it does not matter.",
        )
    calibration = estimator.calibration_
    if calibration is not None and len(calibration):
        n = calibration["n_cells"]
        covered = float((calibration["90%"] * n).sum() / n.sum())
        off = abs(covered - 0.9) > _OFF + 1 / math.sqrt(n.sum())
        yield Finding(
            "intervals",
            "note" if off else "ok",
            f"90% intervals covered {covered:.0%} of {n.sum()} hidden cells before calibration.",
            "cell_distribution corrects them; imputations are not corrected." if off else "",
        )


def _listed(names: Any) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
