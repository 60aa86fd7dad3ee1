"""Upper bound on the likelihood of any decoder: that of the best mixture of the same columns."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skmissvae._utils.validation import check_minimum
from skmissvae.estimators.base import BaseVAE
from skmissvae.vae.likelihoods.base import Likelihood
from skmissvae.vae.likelihoods.bernoulli import BernoulliLikelihood
from skmissvae.vae.likelihoods.normal import NormalLikelihood
from skmissvae.vae.likelihoods.product import ProductLikelihood

_N_ITERATIONS = 30  # of expectation maximisation followed by a search for new components
_N_EM_STEPS = 30  # in each iteration
_N_ASCENT_STEPS = 300  # of the search for new components, at most
_ASCENT_TOL = 1e-5  # increase per step, in nats, below which the search ends
_SHRINKAGES = (0.1, 0.3, 0.6)  # towards the mean, of further initializations at each row
_MERGE_DISTANCE = 1e-3  # between components that are merged, as a share of their scale
_MIN_WEIGHT = 1e-10  # of a component that is kept
_MIN_PROBABILITY = 1e-9  # of a binary value


class UpperBound(NamedTuple):
    """An upper bound on the mean log-likelihood of rows, in nats and the units of the table."""

    bound: float  # of all mixtures, provided that the search found the largest gain
    attained: float  # by the fitted mixture
    n_components: int  # of the fitted mixture


class _Kernels(NamedTuple):
    """Components of a mixture: products of independent distributions of D columns."""

    loc: Tensor  # (K, D)   mean, or probability of one
    scale: Tensor  # (K, D)   standard deviation; 1 for binary columns


class _ColumnModel(NamedTuple):
    """Constraints of the observation model on each column."""

    binary: Tensor  # (D,) bool
    min_scale: Tensor  # (D,)
    max_scale: Tensor  # (D,)


def likelihood_upper_bound(
    estimator: BaseVAE, X: Any, *, tol: float = 0.01, max_rows: int = 2000
) -> UpperBound:
    r"""Return an upper bound on the likelihood of all decoders with this observation model.

    Under any prior and decoder the density of a row is a mixture over the observation model,
    :math:`\int p(x_{obs} | \theta)\, dG(\theta)`. The likelihood of N rows has a maximum over all
    mixing distributions G, attained by a mixture of at most N components [1]_ [2]_. It is finite
    because scales have a lower limit. A mixture is fitted by expectation maximisation, and its
    distance from the maximum is bounded by

    .. math:: \frac1N \sum_i \log f_G(x_i) \le \frac1N \sum_i \log \hat f(x_i)
              + \log \max_\theta \frac1N \sum_i \frac{p(x_i | \theta)}{\hat f(x_i)}

    for all G. The maximum over theta is searched by fixed-point ascent from each row, from points
    between each row and the mean of all rows, and from each component; components with a positive
    gain are added to the mixture, until there are none. The search from many initializations is not
    a proof: the bound is valid if it found the global maximum.

    Together with ``integrated_score_samples`` of ``quadrature.py`` or ``log_likelihood`` it shows
    how far a likelihood could be improved by better networks and, on training rows, how closely a
    model fits them.

    Parameters
    ----------
    estimator : BaseVAE
        Fitted estimator with Normal or binary columns only.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing cells.
    tol : float, default=0.01
        Difference between the bound and what the mixture attains, in nats per row, at which to
        stop. After 30 iterations it may be larger; both values are returned.
    max_rows : int, default=2000
        Maximum number of rows. Time and memory grow with its square.

    Returns
    -------
    UpperBound
        Bound, log-likelihood that the mixture attains, and its number of components.

    References
    ----------
    .. [1] Mattei and Frellsen (2018). Leveraging the Exact Likelihood of Deep Latent Variable
       Models. NeurIPS. Section 2.
    .. [2] Lindsay (1983). The Geometry of Mixture Likelihoods: A General Theory. Annals of
       Statistics 11.
    """
    check_minimum(1, max_rows=max_rows)
    if not tol > 0:
        raise ValueError(f"tol must be a number above 0; got {tol!r}.")
    rows = estimator.encode_rows(X)
    if len(rows.x) > max_rows:
        raise ValueError(
            f"X has {len(rows.x)} rows, more than max_rows={max_rows}. Pass fewer rows, or "
            "raise max_rows; time and memory grow with the square of the number of rows."
        )
    columns = _column_model(estimator.vae_.likelihood)
    if not rows.x.shape[1]:
        return UpperBound(0.0, 0.0, 1)
    observed = torch.from_numpy(rows.observed)
    result = _fit_mixture(torch.from_numpy(rows.x), observed, columns, tol)
    log_units = float(np.mean(estimator.schema_.log_units(rows)))
    return UpperBound(result.bound - log_units, result.attained - log_units, result.n_components)


def _column_model(likelihood: Likelihood) -> _ColumnModel:
    """Return the constraints of the observation model, or raise a ValueError."""
    parts: list[Any] = [likelihood]
    indices = [torch.arange(likelihood.n_columns)]
    if isinstance(likelihood, ProductLikelihood):
        parts, indices = list(likelihood.parts), likelihood.columns
    D = likelihood.n_columns
    columns = _ColumnModel(torch.zeros(D).bool(), torch.zeros(D).double(), torch.zeros(D).double())
    for part, index in zip(parts, indices, strict=True):
        if type(part) is BernoulliLikelihood:
            columns.binary[index] = True
        elif isinstance(part, NormalLikelihood):
            scale = part.scale
            columns.min_scale[index] = part.min_scale if scale is None else scale
            columns.max_scale[index] = torch.inf if scale is None else scale
        else:
            raise ValueError(
                "The upper bound is implemented for Normal and Bernoulli columns; got "
                f"{type(part).__name__}. Fit with likelihood='normal' or 'bernoulli' and "
                "learn_shapes=False, and declare columns of numbers 'continuous' in feature_kinds."
            )
    return columns


def _fit_mixture(x: Tensor, observed: Tensor, columns: _ColumnModel, tol: float) -> UpperBound:
    """Fit a mixture to N rows, in float64, until it is within ``tol`` of the bound."""
    cells, n = _sufficient_statistics(x, observed), len(x)
    kernels, log_weight = _initial_kernels(cells, columns)[0], x.new_full((n,), -np.log(n))
    for _ in range(_N_ITERATIONS):
        for _ in range(_N_EM_STEPS):
            responsibility = (_log_prob(cells, kernels, columns) + log_weight).softmax(-1)  # (N, K)
            log_weight = (responsibility.sum(0) / n).log()
            kernels = _fit_kernels(cells, responsibility, columns, kernels)
            alive = log_weight > np.log(_MIN_WEIGHT)
            kernels = _Kernels(*(part[alive] for part in kernels))
            log_weight = log_weight[alive].log_softmax(-1)
        kernels, log_weight = _merge(kernels, log_weight)
        log_f = torch.logsumexp(_log_prob(cells, kernels, columns) + log_weight, -1)  # (N,)
        candidates, gain = _search(cells, log_f, kernels, columns)
        attained, max_gain = float(log_f.mean()), max(float(gain.max()), 0.0)
        n_components = len(log_weight)
        if max_gain <= tol:
            break
        added = gain > 0.5 * max_gain
        new = _Kernels(*(part[added] for part in candidates))
        new, log_new_weight = _merge(new, log_weight.new_zeros(len(new.loc)))
        kernels = _Kernels(*map(torch.cat, zip(kernels, new, strict=True)))
        log_new_weight = log_new_weight.log_softmax(-1) - np.log(2 * n)
        log_weight = torch.cat([log_weight, log_new_weight]).log_softmax(-1)
    return UpperBound(attained + max_gain, attained, n_components)


def _merge(kernels: _Kernels, log_weight: Tensor) -> tuple[_Kernels, Tensor]:
    """Merge kernels with nearly equal parameters, and add up their weights."""
    unit = _MERGE_DISTANCE * kernels.scale.amin(0)  # of the narrowest kernel
    rounded = torch.cat([part / unit for part in kernels], -1).round()
    _, group = torch.unique(rounded, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(group), dtype=torch.long)
    first.scatter_reduce_(0, group, torch.arange(len(group)), "amin")
    weight = torch.zeros(len(first), dtype=log_weight.dtype).index_add_(0, group, log_weight.exp())
    return _Kernels(*(part[first] for part in kernels)), weight.log()


def _initial_kernels(cells: Tensor, columns: _ColumnModel) -> list[_Kernels]:
    """Return kernels at each row, at points from each row towards the mean, and at the mean.

    Missing cells are set to the mean. Probabilities of 0 and 1 are fixed points of the ascent,
    which is the reason for the points between rows and mean.
    """
    n = len(cells)
    at_mean = _fit_kernels(cells, cells.new_ones(n, 1), columns, None)
    repeated = _Kernels(*(part.expand(n, -1) for part in at_mean))
    at_rows = _fit_kernels(cells, torch.eye(n, dtype=cells.dtype), columns, repeated)
    kernels = [at_rows]
    for shrinkage in _SHRINKAGES:
        loc = torch.lerp(at_rows.loc, repeated.loc, shrinkage)
        scale = torch.lerp(at_rows.scale, repeated.scale, shrinkage)
        kernels.append(_Kernels(loc, scale))
    return [*kernels, at_mean]


def _search(
    cells: Tensor, log_f: Tensor, kernels: _Kernels, columns: _ColumnModel
) -> tuple[_Kernels, Tensor]:
    """Return local maxima theta of the gain log mean_i p(x_i | theta) / f(x_i), and their gains.

    Ascent from all initial kernels and from each component, until no gain increases.
    """
    theta = _Kernels(*map(torch.cat, zip(*_initial_kernels(cells, columns), kernels, strict=True)))
    gain = cells.new_full((len(theta.loc),), -np.inf)
    for step in range(_N_ASCENT_STEPS):
        log_ratio = _log_prob(cells, theta, columns) - log_f.unsqueeze(-1)
        previous, gain = gain, torch.logsumexp(log_ratio, 0) - np.log(len(cells))
        if step == _N_ASCENT_STEPS - 1 or (gain - previous).max() < _ASCENT_TOL:
            break
        theta = _fit_kernels(cells, log_ratio.softmax(0), columns, theta)
    return theta, gain


def _sufficient_statistics(x: Tensor, observed: Tensor) -> Tensor:
    """Return x^2, x and 1 for observed cells, 0 for missing ones: (N, 3 D)."""
    value = torch.where(observed, x, 0.0)
    return torch.cat([value.square(), value, observed.to(x)], -1)


def _log_prob(cells: Tensor, kernels: _Kernels, columns: _ColumnModel) -> Tensor:
    """Return log p(x_obs | theta_k), (N, K), as one matrix product."""
    loc, scale = kernels
    p = loc.clamp(_MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    precision = torch.where(columns.binary, 0.0, scale**-2)
    slope = torch.where(columns.binary, p.logit(), precision * loc)
    constant = -0.5 * precision * loc.square() - scale.log() - 0.5 * np.log(2 * np.pi)
    constant = torch.where(columns.binary, torch.log1p(-p), constant)
    return cells @ torch.cat([-0.5 * precision, slope, constant], -1).T


def _fit_kernels(
    cells: Tensor, responsibility: Tensor, columns: _ColumnModel, previous: _Kernels | None
) -> _Kernels:
    """Return the maximum-likelihood kernels of rows with responsibilities (N, K).

    A column that no row of a kernel has observed keeps its previous parameters.
    """
    squares, values, n = (responsibility.T @ cells).chunk(3, -1)  # (K, D)
    has_rows = n > 0
    mean = torch.where(has_rows, values / n.clamp_min(1e-300), 0.0)
    variance = (squares / n.clamp_min(1e-300) - mean.square()).clamp_min(0)
    scale = torch.where(has_rows, variance.sqrt(), 1.0)
    scale = scale.clamp(columns.min_scale, columns.max_scale)
    scale = torch.where(columns.binary, 1.0, scale)
    if previous is not None:
        mean = torch.where(has_rows, mean, previous.loc)
        scale = torch.where(has_rows, scale, previous.scale)
    return _Kernels(mean, scale)
