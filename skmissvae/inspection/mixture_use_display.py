"""Display of the weights of posterior mixtures."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.base import BaseVAE
from .plotting import BLUE, GREY, check_fitted, despine, get_axes, import_pyplot
from .row_diagnostics import component_divergence, mixture_weights


class MixtureUseDisplay:
    """Plot of the weights of the components of the posterior mixture.

    Bars are mean weights over rows; lines extend from the 5th to the 95th percentile over rows.
    Components with a mean weight near zero are unused. Short lines mean that all rows have nearly
    the same weights.

    Parameters
    ----------
    weights : array-like of shape (n_samples, K)
        Weights of the components for each row; they sum to 1.
    divergence : array-like of shape (n_samples,) or None, default=None
        How far apart the components are for each row, in nats.

    Attributes
    ----------
    weights : ndarray of shape (n_samples, K)
        As passed.
    mean, low, high : ndarray of shape (K,)
        Mean weights, and their 5th and 95th percentiles over rows.
    n_effective : float or None
        Effective number of components, the exponential of the mean divergence.
    bars_ : matplotlib BarContainer
        The bars.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of ``ax_``.

    See Also
    --------
    mixture_weights : The weights as an array.
    component_divergence : How far apart the components are.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSVAEImputer
    >>> from skmissvae.inspection import MixtureUseDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MissSVAEImputer(K=4, max_iter=20, random_state=0).fit(X)
    >>> display = MixtureUseDisplay.from_estimator(imputer, X)
    >>> display.weights.shape
    (50, 4)
    """

    def __init__(self, weights: ArrayLike, divergence: ArrayLike | None = None) -> None:
        self.weights = np.asarray(weights, dtype=float)
        self.mean = self.weights.mean(0)
        self.low, self.high = np.quantile(self.weights, (0.05, 0.95), axis=0)
        self.n_effective = (
            None
            if divergence is None
            else float(np.exp(np.asarray(divergence, dtype=float).mean()))
        )

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the mixture weights of a fitted estimator over rows.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted estimator.
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing cells.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``bar`` for the bars.

        Returns
        -------
        MixtureUseDisplay
            The display, after it is drawn.
        """
        import_pyplot(cls)
        check_fitted(estimator, BaseVAE)
        values = mixture_weights(estimator, X), component_divergence(estimator, X)
        return cls(*values).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``bar`` for the bars.

        Returns
        -------
        MixtureUseDisplay
            The display.
        """
        self.ax_, self.figure_ = ax, _ = get_axes(type(self), ax, figsize=(6.4, 4))
        K = len(self.mean)
        components = np.arange(1, K + 1)
        style = {"color": BLUE, "alpha": 0.6, **kwargs}
        self.bars_ = ax.bar(components, self.mean, 0.7, **style)
        ax.vlines(components, self.low, self.high, colors="0.2")
        ax.axhline(1 / K, color=GREY, linewidth=1, linestyle=":")
        ax.text(1.01, 1 / K, f"1/{K}", transform=ax.get_yaxis_transform(), va="center")
        ax.set(xticks=components, ylim=(0, None), xlabel="component of the posterior")
        ax.set_ylabel("weight: mean, 5th to 95th percentile")
        if self.n_effective is not None:
            ax.set_title(
                f"as far apart as {self.n_effective:.2g} separate components", size="medium"
            )
        despine(ax)
        return self
