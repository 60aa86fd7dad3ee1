"""Diagnostics of single rows: weights, mixtures, chains, and the information in missing cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..estimators.base import BaseVAE
from ..inference import weights
from ..inference.conditional import ConditionalModel
from ..inference.mcmc_diagnostics import worst_cell_diagnostics
from ..inference.row_batch import RowBatch

# Completions of a row, or draws of each component, by which its divergences are estimated.
_N_COMPLETIONS = 64


class _Value(NamedTuple):
    value: Tensor  # (B, ...)


class _ChainDiagnostics(NamedTuple):
    acceptance: Tensor  # (B,)
    ess: Tensor  # (B,)
    r_hat: Tensor  # (B,)


def pareto_k(estimator: BaseVAE, X: Any) -> np.ndarray:
    """Return the shape of the tail of each row's importance weights.

    It is the shape of the generalized Pareto distribution of the largest weights [1]_. Up to 0.5
    their variance is finite; above 0.7 the scores and means of the row are unreliable, even if the
    effective sample size seems sufficient.

    Parameters
    ----------
    estimator : estimator
        A fitted imputer or density estimator.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing values.

    Returns
    -------
    ndarray of shape (n_samples,)
        Shapes; minus infinity if the weights are equal, NaN below about 25 draws.

    References
    ----------
    .. [1] Vehtari, Simpson, Gelman, Yao and Gabry (2024). Pareto Smoothed Importance Sampling.
       Journal of Machine Learning Research 25.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inspection import pareto_k
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> imputer = MIWAEImputer(max_iter=5, random_state=0).fit(X)
    >>> pareto_k(imputer, X).shape
    (50,)
    """

    def tail(model: ConditionalModel, batch: RowBatch) -> _Value:
        return _Value(torch.tensor([weights.pareto_k(model.log_weights(batch))]))

    return np.asarray(estimator.map_rows(X, tail).value)


def mixture_weights(estimator: BaseVAE, X: Any) -> np.ndarray:
    r"""Return the weights of the components of each row's posterior approximation.

    Parameters
    ----------
    estimator : estimator
        A fitted imputer or density estimator.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing values.

    Returns
    -------
    ndarray of shape (n_samples, K)
        :math:`\pi_k(x_{obs})`; ones if the posterior has a single component. A component with a
        weight near zero in all rows is unused.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSIWAEImputer
    >>> from skmissvae.inspection import mixture_weights
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> imputer = MissSIWAEImputer(K=3, max_iter=5, random_state=0).fit(X)
    >>> mixture_weights(imputer, X).shape
    (50, 3)
    """

    def component_weights(model: ConditionalModel, batch: RowBatch) -> _Value:
        # of the encoder, also without an observed cell
        return _Value(model.vae.posterior(batch.x, batch.observed).log_pi.exp())

    return np.asarray(estimator.map_rows(X, component_weights).value)


def component_divergence(estimator: BaseVAE, X: Any) -> np.ndarray:
    r"""Return how far apart the components of each row's posterior approximation are, in nats.

    It is the generalized Jensen-Shannon divergence

    .. math:: \sum_k \pi_k\, \mathrm{KL}(q_k \| q), \qquad q = \sum_k \pi_k q_k,

    from 0, if all components are equal, to :math:`\log K`. Its exponential is the effective number
    of components. If it is near 1 the mixture has collapsed, although all components may have
    positive weights.

    Parameters
    ----------
    estimator : estimator
        A fitted imputer or density estimator.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing values.

    Returns
    -------
    ndarray of shape (n_samples,)
        Divergences, by 64 draws of each component; zeros if there is a single one.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSIWAEImputer
    >>> from skmissvae.inspection import component_divergence
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> imputer = MissSIWAEImputer(K=3, max_iter=5, random_state=0).fit(X)
    >>> component_divergence(imputer, X).shape
    (50,)
    """

    def divergence(model: ConditionalModel, batch: RowBatch) -> _Value:
        # of the encoder, also without an observed cell
        q = model.vae.posterior(batch.x, batch.observed)
        return _Value(q.component_divergence(_N_COMPLETIONS, batch.new_noise()).double())

    return np.asarray(estimator.map_rows(X, divergence).value).clip(0)


def latent_information(estimator: BaseVAE, X: Any) -> np.ndarray:
    r"""Return the information of the missing cells of each row about its latents, in nats.

    It is the mutual information [1]_

    .. math:: I(z; x_{mis} | x_{obs}) = E \log \frac{p(x_{mis} | z)}{p(x_{mis} | x_{obs})},

    estimated by draws of the latents and of the missing cells given the observed ones. If it is
    large, the posterior given the observed cells is a mixture of the different posteriors of its
    completions, and a mixture posterior (K above 1) can improve the fit. If it is near zero, as in
    complete rows, a single Gaussian is sufficient.

    Parameters
    ----------
    estimator : estimator
        A fitted imputer or density estimator.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing values.

    Returns
    -------
    ndarray of shape (n_samples,)
        Information in nats; 0 for complete rows. The estimate is at most the logarithm of the
        effective sample size.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR. Appendix A.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSIWAEImputer
    >>> from skmissvae.inspection import latent_information
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> imputer = MissSIWAEImputer(K=3, max_iter=5, random_state=0).fit(X)
    >>> bool((latent_information(imputer, X) == 0).all())
    True
    """

    def information(model: ConditionalModel, batch: RowBatch) -> _Value:
        if batch.observed.all():
            return _Value(torch.zeros(1, dtype=torch.float64, device=batch.x.device))
        return _Value(model.latent_information(batch, _N_COMPLETIONS))

    return np.asarray(estimator.map_rows(X, information).value)


def chain_diagnostics(estimator: BaseVAE, X: Any) -> pd.DataFrame:
    """Return convergence diagnostics of the chains of ``sampler`` for each row.

    Parameters
    ----------
    estimator : estimator
        A fitted imputer or density estimator whose ``sampler`` runs chains.
    X : array-like of shape (n_samples, n_features)
        Rows, with missing values.

    Returns
    -------
    DataFrame
        A row per row of ``X`` with the share of accepted proposals (``"acceptance"``), and the bulk
        effective sample size (``"ess"``) and rank-normalized split R-hat (``"r_hat"``) [1]_ of the
        conditional mean of the missing cell for which they are worst; NaN for complete rows and
        rows without an observed cell. If R-hat is above about 1.05, use more steps. Fewer than 8
        steps give no diagnostics. The chains of LAIR exchange latents, so that their R-hat is near
        one even if they have not found all modes.

    Raises
    ------
    ValueError
        If ``sampler`` is "importance".

    References
    ----------
    .. [1] Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021). Rank-Normalization, Folding, and
       Localization: An Improved R-hat for Assessing Convergence of MCMC. Bayesian Analysis 16.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MIWAEImputer
    >>> from skmissvae.inference import LAIR
    >>> from skmissvae.inspection import chain_diagnostics
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MIWAEImputer(sampler=LAIR(n_steps=20), max_iter=5, random_state=0).fit(X)
    >>> list(chain_diagnostics(imputer, X).columns)
    ['acceptance', 'ess', 'r_hat']
    """
    if estimator.conditional_model().sampler is None:
        raise ValueError(
            f"Parameter 'sampler' of {type(estimator).__name__} is 'importance', which runs no "
            "chains. Use effective_sample_size(X), or choose 'pseudo_gibbs', 'metropolis' or "
            "'lair'."
        )

    def diagnose(model: ConditionalModel, batch: RowBatch) -> _ChainDiagnostics:
        observed = batch.observed
        if observed.all() or not observed.any():
            nan = torch.full((1,), torch.nan, dtype=torch.float64, device=batch.x.device)
            return _ChainDiagnostics(nan, nan, nan)
        chains = model.run_chains(batch, batch.new_noise())
        ess, r_hat = worst_cell_diagnostics(chains.means(model.vae), observed)
        return _ChainDiagnostics(chains.acceptance.double(), ess, r_hat)

    result = estimator.map_rows(X, diagnose)
    index = X.index if isinstance(X, pd.DataFrame) else None
    return pd.DataFrame(result._asdict(), index=index)
