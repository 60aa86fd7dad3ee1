"""Displays of latents, of their posteriors, and of the weights of posterior mixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .._utils.runtime import inference
from .._utils.validation import check_minimum, integer
from ..estimators.base import BaseVAE
from ..inference.weights import finite_log_weights
from ..vae.distributions import LatentDistribution
from ..vae.vae import VAE
from .plotting import BLUE, GREY, ROW_COLORS, check_fitted, despine, get_axes, import_pyplot
from .row_diagnostics import mixture_weights

_REACH = 8.0  # standard deviations of a prior or posterior that the first grid covers
_LOG_DENSITY_RANGE = 12.0  # nats below the maximum that a refined grid covers
_MAX_ZOOMS = 8
_ZOOM_TOL = 0.8  # share of its sides that a refined grid keeps, above which refinement ends
_MAX_POINTS = 2**13  # grid points per call of the decoder
_MASSES = (0.9, 0.5)  # probabilities of the highest-density regions that contours enclose


class GridDensity(NamedTuple):
    """Density of two latents on a grid that covers nearly all of its mass.

    Parameters
    ----------
    z1, z2 : ndarray of shape (n_grid,)
        Coordinates of the grid points on each axis.
    density : ndarray of shape (n_grid, n_grid)
        The density; z2 is the first axis.
    """

    z1: NDArray[np.float64]
    z2: NDArray[np.float64]
    density: NDArray[np.float64]


class RowPosterior(NamedTuple):
    """Approximate and exact posterior of the two latents of a row.

    Parameters
    ----------
    row : int
        Position of the row.
    n_missing : int
        Number of modelled cells that are missing.
    approximate, exact : GridDensity
        The encoder's posterior q(z | x_obs), and the model's posterior p(z | x_obs).
    log_evidence : float
        Log-density of the observed cells, log p(x_obs), in the units of the table.
    """

    row: int
    n_missing: int
    approximate: GridDensity
    exact: GridDensity
    log_evidence: float


class LatentDisplay:
    r"""Plot of a two-dimensional latent space, with approximate and exact posteriors of rows.

    Points are the latents of rows, :math:`E[z | x_{obs}]`. For selected rows filled contours show
    the exact posterior :math:`p(z | x_{obs}) \propto p(x_{obs}, z)`, and lines the encoder's
    :math:`q(z | x_{obs})`: highest-density regions of 90% and 50%. Rows with more missing cells
    have wider posteriors, often with several modes, which mixtures can approximate [1]_.

    Parameters
    ----------
    latents : array-like of shape (n_samples, 2)
        Latents of rows.
    posteriors : sequence of RowPosterior
        Posteriors of selected rows.

    Attributes
    ----------
    latents : ndarray of shape (n_samples, 2)
        As passed.
    posteriors : list of RowPosterior
        As passed.
    scatter_ : matplotlib PathCollection
        Points of the latents.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of ``ax_``.

    See Also
    --------
    MixtureUseDisplay : Weights of the components of the posterior.

    References
    ----------
    .. [1] Simkus and Gutmann (2024). Improving Variational Autoencoder Estimation from Incomplete
       Data with Mixture Variational Families. TMLR. Figures 1 and 9 to 11.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import MissSVAEImputer
    >>> from skmissvae.inspection import LatentDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> X[::3, 1] = np.nan
    >>> imputer = MissSVAEImputer(n_latents=2, max_iter=20, random_state=0).fit(X)
    >>> display = LatentDisplay.from_estimator(imputer, X, rows=[0, 1])
    >>> [posterior.n_missing for posterior in display.posteriors]
    [1, 0]
    """

    def __init__(self, latents: ArrayLike, posteriors: Iterable[RowPosterior] = ()) -> None:
        self.latents, self.posteriors = np.asarray(latents), list(posteriors)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        rows: Iterable[int] = (0,),
        n_grid: int = 200,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the latents of rows, and the posteriors of selected rows.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted estimator with ``n_latents=2``.
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with missing cells.
        rows : iterable of int, default=(0,)
            Positions of the rows whose posteriors are plotted.
        n_grid : int, default=200
            Grid points per axis for each posterior.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``scatter`` for the points, such as ``c=y``.

        Returns
        -------
        LatentDisplay
            The display, after it is drawn.
        """
        import_pyplot(cls)
        check_minimum(10, n_grid=n_grid)
        n_latents = check_fitted(estimator, BaseVAE).vae_.prior.n_latents
        if n_latents != 2:
            raise ValueError(
                f"LatentDisplay needs two latents; the model has {n_latents}. Fit it with "
                "n_latents=2."
            )
        encoded = estimator.encode_rows(X)
        n_rows = len(encoded.x)
        positions = list(rows)
        for row in positions:
            if integer(0)(row) is not None or row >= n_rows:
                raise ValueError(
                    f"rows must be positions of rows of X, from 0 to {n_rows - 1}; got {row!r}."
                )
        log_units = estimator.schema_.log_units(encoded)
        posteriors = []
        with inference(torch.device("cpu")):
            for row in positions:
                x, observed = encoded.part(slice(row, row + 1)).tensors()
                posterior = _row_posterior(estimator.vae_, x, observed, n_grid, int(row))
                log_evidence = posterior.log_evidence - float(log_units[row])
                posteriors.append(posterior._replace(log_evidence=log_evidence))
        return cls(estimator.encode(X), posteriors).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the points and the posteriors.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None creates a figure.
        **kwargs : dict
            Keyword arguments of matplotlib's ``scatter`` for the points.

        Returns
        -------
        LatentDisplay
            The display.
        """
        is_new_figure = ax is None
        self.ax_, self.figure_ = ax, figure = get_axes(type(self), ax, figsize=(8, 5.5))

        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch
        from matplotlib.transforms import Bbox

        style = {"s": 12, "linewidths": 0, "alpha": 0.6, **kwargs}
        if not {"c", "color"} & set(style):
            style["color"] = GREY
        self.scatter_ = ax.scatter(*self.latents.T, **style)
        limits: list[Bbox] = [ax.dataLim.frozen()]
        handles: list[Any] = []
        for i, posterior in enumerate(self.posteriors):
            color = ROW_COLORS[i % len(ROW_COLORS)]
            contours = _draw_posterior(posterior, ax, color)
            limits += [contour.get_datalim(ax.transData) for contour in contours]
            label = f"row {posterior.row}: {posterior.n_missing} missing"
            handles.append(Patch(color=color, label=label))
        ax.dataLim.set(Bbox.union(limits))  # of the contours, not of the whole grids
        ax.autoscale_view()
        if handles:
            handles += [
                Line2D([], [], color=GREY, marker=".", ls="none", label="posterior means of rows"),
                Patch(color=GREY, alpha=0.5, label="exact p(z | observed), 90% and 50%"),
                Line2D([], [], color=GREY, label="approximate q(z | observed)"),
            ]
            if is_new_figure:  # outside, where it covers no points
                figure.legend(handles=handles, loc="outside right upper", frameon=False)
            else:
                ax.legend(handles=handles, edgecolor="none")
        ax.set(xlabel="latent 1", ylabel="latent 2", aspect="equal")
        despine(ax)
        return self


class MixtureUseDisplay:
    """Plot of the weights of the components of the posterior mixture.

    Bars are mean weights over rows; lines extend from the 5th to the 95th percentile over rows.
    Components with a mean weight near zero are unused. Short lines mean that all rows have nearly
    the same weights.

    Parameters
    ----------
    weights : array-like of shape (n_samples, K)
        Weights of the components for each row; they sum to 1.

    Attributes
    ----------
    weights : ndarray of shape (n_samples, K)
        As passed.
    mean, low, high : ndarray of shape (K,)
        Mean weights, and their 5th and 95th percentiles over rows.
    bars_ : matplotlib BarContainer
        The bars.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of ``ax_``.

    See Also
    --------
    LatentDisplay : Posterior mixtures of selected rows, in two dimensions.

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

    def __init__(self, weights: ArrayLike) -> None:
        self.weights = np.asarray(weights, dtype=float)
        self.mean = self.weights.mean(0)
        self.low, self.high = np.quantile(self.weights, (0.05, 0.95), axis=0)

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
        return cls(mixture_weights(check_fitted(estimator, BaseVAE), X)).plot(ax, **kwargs)

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
        despine(ax)
        return self


def _row_posterior(vae: VAE, x: Tensor, observed: Tensor, n: int, row: int) -> RowPosterior:
    """Return both posteriors of a row, (1, D), on grids of n points per axis."""
    q = vae.posterior(x, observed)
    low, high = _corners(q)
    z1, z2, log_q, _ = _evaluate_on_grid(lambda z: q.log_prob(z.to(x)), low, high, n)
    approximate = GridDensity(z1, z2, np.exp(log_q))
    prior_low, prior_high = _corners(vae.prior())
    low, high = torch.minimum(low, prior_low), torch.maximum(high, prior_high)
    z1, z2, log_p, log_evidence = _evaluate_on_grid(
        lambda z: vae.log_joint(x, observed, z.to(x)), low, high, n
    )
    exact = GridDensity(z1, z2, np.exp(log_p - log_evidence))
    n_missing = int((~observed).sum())
    return RowPosterior(row, n_missing, approximate, exact, log_evidence)


def _corners(mixture: LatentDistribution) -> tuple[Tensor, Tensor]:
    """Return the corners (2,) of a box that contains nearly all mass of a mixture."""
    loc, scale = (part.double() for part in mixture.centres())
    ends = loc - _REACH * scale, loc + _REACH * scale
    return ends[0].reshape(-1, 2).amin(0), ends[1].reshape(-1, 2).amax(0)


def _evaluate_on_grid(
    log_density: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Return axes (n,), an unnormalised log-density (n, n), and the logarithm of its mass.

    The grid shrinks from the corners (2,) to the region of high density.
    """
    for _ in range(_MAX_ZOOMS):
        z1, z2 = (
            torch.linspace(a, b, n, dtype=torch.float64)
            for a, b in zip(low.tolist(), high.tolist(), strict=True)
        )
        z = torch.cartesian_prod(z1, z2)  # (n * n, 2)
        blocks = z.unsqueeze(1).split(_MAX_POINTS)
        log_p = torch.cat([log_density(block) for block in blocks]).double()
        log_p = finite_log_weights(log_p).squeeze(1)
        high_density = z[log_p > log_p.max() - _LOG_DENSITY_RANGE]
        side, step = high - low, (high - low) / (n - 1)
        low, high = high_density.amin(0) - step, high_density.amax(0) + step
        if (high - low > _ZOOM_TOL * side).all():
            break
    log_mass = log_p.logsumexp(0) + step.log().sum()
    return z1.numpy(), z2.numpy(), log_p.view(n, n).T.numpy(), float(log_mass)


def _draw_posterior(posterior: RowPosterior, ax: Any, color: str) -> list[Any]:
    """Draw both posteriors of a row, and return their contours."""
    exact, approximate = posterior.exact, posterior.approximate
    top = 1.01 * exact.density.max()
    filled = [
        ax.contourf(*exact, [level, top], colors=[color], alpha=alpha)
        for level, alpha in zip(_contour_levels(exact), (0.25, 0.35), strict=True)
    ]
    return [*filled, ax.contour(*approximate, _contour_levels(approximate), colors=[color])]


def _contour_levels(grid: GridDensity) -> list[float]:
    """Return the densities on the boundaries of the highest-density regions of ``_MASSES``."""
    descending = np.sort(grid.density, axis=None)[::-1]
    mass = descending.cumsum() / descending.sum()
    return descending[np.searchsorted(mass, _MASSES)].tolist()
