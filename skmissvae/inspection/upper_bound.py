"""What no decoder can pass: the likelihood of the best mixture of the observation model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._utils.validation import check_minimum
from ..estimators.base import BaseVAE
from ..vae.likelihoods.base import Likelihood
from ..vae.likelihoods.bernoulli import BernoulliLikelihood
from ..vae.likelihoods.normal import NormalLikelihood
from ..vae.likelihoods.product import ProductLikelihood

_ROUNDS = 30  # of fitting and looking for components that are wanting


_STEPS = 30  # of expectation maximisation in each


_ASCENT = 300  # steps, at most, of the search for components that are wanting


_SETTLED = 1e-5  # rise of a step, in nats, that ends it


_TOWARDS_MEAN = (0.1, 0.3, 0.6)  # how far from their rows components also start


_ALIKE = 1e-3  # distance of components that are taken for one, as a share of their scale


_LEAST_WEIGHT = 1e-10  # components below it are gone


_NEVER = 1e-9  # least probability of a binary value


class UpperBound(NamedTuple):
    """A bound on the mean log-likelihood of rows, in nats and the units of the table."""

    bound: float  # no mixture has more, as far as the search has found all that is wanting
    attained: float  # by the mixture that was found
    n_components: int  # of that mixture


class _Kernels(NamedTuple):
    """Distributions of D columns that are independent of one another, one per component."""

    loc: Tensor  # (K, D)   mean, or probability of one
    scale: Tensor  # (K, D)   standard deviation; nothing for binary columns


class _Columns(NamedTuple):
    """What the observation model allows."""

    binary: Tensor  # (D,) bool
    least: Tensor  # (D,)   of the scale
    most: Tensor  # (D,)


def likelihood_upper_bound(
    estimator: BaseVAE, X: Any, *, tol: float = 0.01, max_rows: int = 2000
) -> UpperBound:
    r"""Return a bound that no decoder with the estimator's observation model can pass on ``X``.

    Whatever prior and decoder are, the density of a row is a mixture of the observation model,
    :math:`\int p(x_{obs} | \theta)\, dG(\theta)`. Over all mixing distributions G the likelihood of
    N rows has a maximum, which a mixture of N components at most attains [1]_ [2]_. It is finite
    by the floor of the scales alone. Here a mixture is fitted by expectation maximisation; what is
    wanting follows from

    .. math:: \frac1N \sum_i \log f_G(x_i) \le \frac1N \sum_i \log \hat f(x_i)
              + \log \max_\theta \frac1N \sum_i \frac{p(x_i | \theta)}{\hat f(x_i)},

    for all G. The maximum is sought by ascent from each row, from places between it and the mean of
    all, and from each component; those that are wanting join the mixture, until none is. A search
    from many starts is no proof: the bound holds as far as it has found the highest place.

    Together with ``integrated_score_samples`` or ``log_likelihood`` it tells how much of a
    likelihood is to be had by better networks at all, and with rows that were trained on, how
    near a model is to learning them by heart.

    Parameters
    ----------
    estimator : BaseVAE
        A fitted estimator whose columns are Normal or binary.
    X : array-like of shape (n_samples, n_features)
        Rows, with holes.
    tol : float, default=0.01
        Distance of the bound from what the mixture attains, in nats a row, at which to stop. After
        30 rounds it may be larger: both are told.
    max_rows : int, default=2000
        Rows at most: time and memory grow with their square.

    Returns
    -------
    UpperBound
        Bound, what the mixture attains, and its number of components.

    Raises
    ------
    ValueError
        If columns have another observation model, or there are too many rows.

    References
    ----------
    .. [1] Mattei and Frellsen (2018). Leveraging the Exact Likelihood of Deep Latent Variable
       Models. NeurIPS. Section 2.
    .. [2] Lindsay (1983). The Geometry of Mixture Likelihoods: A General Theory. Annals of
       Statistics 11.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import likelihood_upper_bound
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> imputer = MIWAEImputer(n_latents=1, max_iter=20, min_scale=0.3, random_state=0).fit(X)
    >>> bool(imputer.score(X) < likelihood_upper_bound(imputer, X).bound)
    True
    """
    check_minimum(1, max_rows=max_rows)
    if not tol > 0:
        raise ValueError(f"tol must be a number above 0; got {tol!r}.")
    rows = estimator._rows(X)[2]
    if len(rows.x) > max_rows:
        raise ValueError(
            f"X has {len(rows.x)} rows, above max_rows={max_rows}: time and memory grow with their "
            "square; give fewer rows, or raise max_rows."
        )
    columns = _columns(estimator.vae_.likelihood)
    if not rows.x.shape[1]:  # nothing varies: no density has anything to say
        return UpperBound(0.0, 0.0, 1)
    observed = torch.from_numpy(rows.observed)
    found = _best(torch.from_numpy(rows.x), observed, columns, tol)
    units = float(np.mean(estimator._table.log_units(rows)))
    return UpperBound(found.bound - units, found.attained - units, found.n_components)


def _columns(likelihood: Likelihood) -> _Columns:
    """Return what the observation model allows, or raise."""
    parts: list[Any] = [likelihood]
    places = [torch.arange(likelihood.n_columns)]
    if isinstance(likelihood, ProductLikelihood):
        parts, places = list(likelihood.parts), likelihood.columns
    D = likelihood.n_columns
    columns = _Columns(torch.zeros(D).bool(), torch.zeros(D).double(), torch.zeros(D).double())
    for part, place in zip(parts, places, strict=True):
        if type(part) is BernoulliLikelihood:
            columns.binary[place] = True
        elif isinstance(part, NormalLikelihood):
            known = not isinstance(part.scale, str)
            columns.least[place] = float(part.scale) if known else part.min_scale
            columns.most[place] = float(part.scale) if known else torch.inf
        else:
            raise ValueError(
                f"The bound is for Normal and Bernoulli columns, but some are of "
                f"{type(part).__name__}; fit with likelihood='normal' or 'bernoulli' and "
                "learn_shapes=False, and call columns of numbers 'continuous' in feature_kinds."
            )
    return columns


def _best(x: Tensor, observed: Tensor, columns: _Columns, tol: float) -> UpperBound:
    """Fit a mixture to N rows until its bound is near: all in float64."""
    cells, n = _cells(x, observed), len(x)
    rows = _starts(cells, columns)[0]
    kernels, log_weight = rows, x.new_full((n,), -np.log(n))
    for _ in range(_ROUNDS):
        for _ in range(_STEPS):
            share = (_log_prob(cells, kernels, columns) + log_weight).softmax(-1)  # (N, K)
            log_weight = (share.sum(0) / n).log()
            kernels = _fit(cells, share, columns, kernels)
            alive = log_weight > np.log(_LEAST_WEIGHT)
            kernels = _Kernels(*(part[alive] for part in kernels))
            log_weight = log_weight[alive].log_softmax(-1)
        kernels, log_weight = _merged(kernels, log_weight)
        log_f = torch.logsumexp(_log_prob(cells, kernels, columns) + log_weight, -1)  # (N,)
        candidates, gain = _wanting(cells, log_f, kernels, columns)
        attained, most = float(log_f.mean()), max(float(gain.max()), 0.0)
        n_components = len(log_weight)
        if most <= tol:
            break
        better = gain > 0.5 * most
        fresh = _Kernels(*(part[better] for part in candidates))
        fresh, weight = _merged(fresh, log_weight.new_zeros(len(fresh.loc)))
        kernels = _Kernels(*map(torch.cat, zip(kernels, fresh, strict=True)))
        weight = weight.log_softmax(-1) - np.log(2 * n)
        log_weight = torch.cat([log_weight, weight]).log_softmax(-1)
    return UpperBound(attained + most, attained, n_components)


def _merged(kernels: _Kernels, log_weight: Tensor) -> tuple[_Kernels, Tensor]:
    """Return kernels without those that are another's double, whose weight that one gets."""
    unit = _ALIKE * kernels.scale.amin(0)  # of the narrowest
    both = torch.cat([part / unit for part in kernels], -1).round()
    _, which = torch.unique(both, dim=0, return_inverse=True)
    first = torch.full((int(which.max()) + 1,), len(which), dtype=torch.long)
    first.scatter_reduce_(0, which, torch.arange(len(which)), "amin")
    weight = torch.zeros(len(first), dtype=log_weight.dtype).index_add_(0, which, log_weight.exp())
    return _Kernels(*(part[first] for part in kernels)), weight.log()


def _starts(cells: Tensor, columns: _Columns) -> list[_Kernels]:
    """Return kernels to begin with: at each row, and ever nearer to the mean of all.

    Cells that a row lacks are those of the mean. Binary ones that are certain never change, hence
    the ones on the way to the mean.
    """
    n = len(cells)
    middle = _fit(cells, cells.new_ones(n, 1), columns, None)
    around = _Kernels(*(part.expand(n, -1) for part in middle))
    at_rows = _fit(cells, torch.eye(n, dtype=cells.dtype), columns, around)
    starts = [at_rows]
    for near in _TOWARDS_MEAN:
        loc = torch.lerp(at_rows.loc, around.loc, near)
        scale = torch.lerp(at_rows.scale, around.scale, near)
        starts.append(_Kernels(loc, scale))
    return [*starts, middle]


def _wanting(
    cells: Tensor, log_f: Tensor, kernels: _Kernels, columns: _Columns
) -> tuple[_Kernels, Tensor]:
    """Return kernels that raise the likelihood most, and log mean_i p(x_i | theta) / f(x_i).

    Ascent from all starts and from each component, until none rises.
    """
    theta = _Kernels(*map(torch.cat, zip(*_starts(cells, columns), kernels, strict=True)))
    gain = cells.new_full((len(theta.loc),), -np.inf)
    for step in range(_ASCENT):
        log_ratio = _log_prob(cells, theta, columns) - log_f.unsqueeze(-1)
        before, gain = gain, torch.logsumexp(log_ratio, 0) - np.log(len(cells))
        if step == _ASCENT - 1 or (gain - before).max() < _SETTLED:
            break
        theta = _fit(cells, log_ratio.softmax(0), columns, theta)
    return theta, gain


def _cells(x: Tensor, observed: Tensor) -> Tensor:
    """Return what the log-density of a cell is linear in, (N, 3 D)."""
    seen = observed.to(x)
    value = torch.where(observed, x, 0.0)
    return torch.cat([value.square(), value, seen], -1)


def _log_prob(cells: Tensor, kernels: _Kernels, columns: _Columns) -> Tensor:
    """Return log p(x_obs | theta_k), (N, K), as one product of matrices."""
    loc, scale = kernels
    p = loc.clamp(_NEVER, 1 - _NEVER)
    precision = torch.where(columns.binary, 0.0, scale**-2)
    slope = torch.where(columns.binary, p.logit(), precision * loc)
    constant = -0.5 * precision * loc.square() - scale.log() - 0.5 * np.log(2 * np.pi)
    constant = torch.where(columns.binary, torch.log1p(-p), constant)
    return cells @ torch.cat([-0.5 * precision, slope, constant], -1).T


def _fit(cells: Tensor, share: Tensor, columns: _Columns, before: _Kernels | None) -> _Kernels:
    """Return the kernels that are likeliest for rows with shares (N, K).

    Columns that none of a kernel's rows has keep what they were before.
    """
    squares, values, n = (share.T @ cells).chunk(3, -1)  # (K, D)
    some = n > 0
    mean = torch.where(some, values / n.clamp_min(1e-300), 0.0)
    variance = (squares / n.clamp_min(1e-300) - mean.square()).clamp_min(0)
    scale = torch.where(some, variance.sqrt(), 1.0).clamp(columns.least, columns.most)
    scale = torch.where(columns.binary, 1.0, scale)
    if before is not None:
        mean = torch.where(some, mean, before.loc)
        scale = torch.where(some, scale, before.scale)
    return _Kernels(mean, scale)
