"""Pictures of latents and of posteriors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Self

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
from .plotting import BLUE, GREY, ROW_COLORS, axes_of, despine, fitted, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_REACH = 8.0  # standard deviations beyond which a prior or a posterior is nothing


_DEPTH = 12.0  # nats below the top under which a density is nothing


_ZOOMS, _CLOSE = 8, 0.8  # steps, unless the grid keeps this share of its sides


_POINTS = 2**13  # grid points that the decoder sees at once


_MASSES = (0.9, 0.5)  # of the regions that contours enclose


class GridDensity(NamedTuple):
    """A density of two latents on a grid that holds all but a trace of it.

    Parameters
    ----------
    z1, z2 : ndarray of shape (n_grid,)
        Axes of the grid.
    density : ndarray of shape (n_grid, n_grid)
        The density, z2 first.
    """

    z1: NDArray[np.float64]
    z2: NDArray[np.float64]
    density: NDArray[np.float64]


class RowPosterior(NamedTuple):
    """Posteriors of the two latents of a row.

    Parameters
    ----------
    row : int
        Position of the row.
    n_missing : int
        How many of its modelled cells are missing.
    approximate, exact : GridDensity
        What the encoder says, q(z | x_obs), and what the model says, p(z | x_obs).
    log_evidence : float
        Log-density of the observed cells, log p(x_obs), in the units of the table.
    """

    row: int
    n_missing: int
    approximate: GridDensity
    exact: GridDensity
    log_evidence: float


class LatentDisplay:
    r"""Picture of a latent space of two dimensions, and of how well the encoder knows it.

    Points are the latents of rows, :math:`E[z | x_{obs}]`. For some rows the exact posterior
    :math:`p(z | x_{obs}) \propto p(x_{obs}, z)`, filled, stands under the encoder's
    :math:`q(z | x_{obs})`, in lines: regions that hold 90% and 50% of each, where they are
    densest. Rows with more holes have wider posteriors, often of several modes, for which mixtures
    are there [1]_.

    Parameters
    ----------
    latents : array-like of shape (n_samples, 2)
        Latents of rows.
    posteriors : sequence of RowPosterior
        Posteriors of some of them.

    Attributes
    ----------
    latents : ndarray of shape (n_samples, 2)
        As given.
    posteriors : list of RowPosterior
        As given.
    scatter_ : matplotlib PathCollection
        The points.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    MixtureUseDisplay : How much each component of the posterior is used.

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
    >>> [one.n_missing for one in display.posteriors]
    [1, 0]
    """

    scatter_: Any
    ax_: Axes
    figure_: Figure

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
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the latents of rows, and the posteriors of some.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted, with ``n_latents=2``.
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.
        rows : iterable of int, default=(0,)
            Positions of the rows whose posteriors are drawn.
        n_grid : int, default=200
            Points per axis of the grid, which reaches as far as the posterior does.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Style of the points, as matplotlib's ``scatter`` takes it: ``c=y`` colours them.

        Returns
        -------
        LatentDisplay
            The display, drawn.
        """
        pyplot(cls)
        check_minimum(10, n_grid=n_grid)
        n_latents = fitted(estimator, BaseVAE).vae_.prior.n_latents
        if n_latents != 2:
            raise ValueError(
                f"LatentDisplay draws two latents; the model has {n_latents}. Fit it with "
                "n_latents=2."
            )
        table = estimator._rows(X)[2]
        n_rows = len(table.x)
        chosen = list(rows)
        for row in chosen:
            if integer(0)(row) or row >= n_rows:
                raise ValueError(
                    f"rows must be positions of rows of X, from 0 to {n_rows - 1}; got {row!r}."
                )
        units = estimator._table.log_units(table)
        posteriors = []
        with inference(torch.device("cpu")):
            for i in chosen:
                x, observed = table.part(slice(i, i + 1)).tensors()
                found = _row_posterior(estimator.vae_, x, observed, n_grid, int(i))
                in_units = found.log_evidence - float(units[i])
                posteriors.append(found._replace(log_evidence=in_units))
        return cls(estimator.encode(X), posteriors).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw points and posteriors.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Style of the points, as matplotlib's ``scatter`` takes it.

        Returns
        -------
        LatentDisplay
            The display.
        """
        own = ax is None
        self.ax_, self.figure_ = ax, figure = axes_of(type(self), ax, figsize=(8, 5.5))

        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch
        from matplotlib.transforms import Bbox

        style = {"s": 12, "linewidths": 0, "alpha": 0.6, **kwargs}
        if not {"c", "color"} & set(style):
            style["color"] = GREY
        self.scatter_ = ax.scatter(*self.latents.T, **style)
        drawn: list[Bbox] = [ax.dataLim.frozen()]
        handles: list[Any] = []
        for i, one in enumerate(self.posteriors):
            color = ROW_COLORS[i % len(ROW_COLORS)]
            drawn += [contour.get_datalim(ax.transData) for contour in _draw(one, ax, color)]
            handles.append(Patch(color=color, label=f"row {one.row}: {one.n_missing} missing"))
        ax.dataLim.set(Bbox.union(drawn))  # not the whole of the grids
        ax.autoscale_view()
        if handles:
            handles += [
                Line2D([], [], color=GREY, marker=".", ls="none", label="means of all rows"),
                Patch(color=GREY, alpha=0.5, label="exact p(z | observed), 90% and 50%"),
                Line2D([], [], color=GREY, label="encoder's q(z | observed)"),
            ]
            if own:  # points are everywhere: beside them there is room
                figure.legend(handles=handles, loc="outside right upper", frameon=False)
            else:
                ax.legend(handles=handles, edgecolor="none")
        ax.set(xlabel="latent 1", ylabel="latent 2", aspect="equal")
        despine(ax)
        return self


class MixtureUseDisplay:
    """Picture of how much each component of the posterior mixture is used.

    Bars are average weights over rows; lines reach from the 5th to the 95th percentile of the
    rows' weights. Components near zero are dead; where lines are short all rows use the mixture
    alike, and its weights tell nothing of them.

    Parameters
    ----------
    weights : array-like of shape (n_samples, K)
        Weights of the components for each row, of sum 1.

    Attributes
    ----------
    weights : ndarray of shape (n_samples, K)
        As given.
    mean, low, high : ndarray of shape (K,)
        Average weights, and their 5th and 95th percentiles over rows.
    bars_ : matplotlib BarContainer
        The bars.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Its figure.

    See Also
    --------
    LatentDisplay : The mixtures of some rows, in two dimensions.

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

    bars_: Any
    ax_: Axes
    figure_: Figure

    def __init__(self, weights: ArrayLike) -> None:
        self.weights = np.asarray(weights, dtype=float)
        self.mean = self.weights.mean(0)
        self.low, self.high = np.quantile(self.weights, (0.05, 0.95), axis=0)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Draw the use of a fitted estimator's mixture by rows.

        Parameters
        ----------
        estimator : estimator of this package
            Fitted.
        X : data frame or array-like of shape (n_samples, n_features)
            Rows, with holes.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Style of the bars, as matplotlib's ``bar`` takes it.

        Returns
        -------
        MixtureUseDisplay
            The display, drawn.
        """
        pyplot(cls)
        return cls(fitted(estimator, BaseVAE).mixture_weights(X)).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a figure.
        **kwargs : dict
            Style of the bars, as matplotlib's ``bar`` takes it.

        Returns
        -------
        MixtureUseDisplay
            The display.
        """
        self.ax_, self.figure_ = ax, _ = axes_of(type(self), ax, figsize=(6.4, 4))
        K = len(self.mean)
        components = np.arange(1, K + 1)
        style = {"color": BLUE, "alpha": 0.6, **kwargs}
        self.bars_ = ax.bar(components, self.mean, 0.7, **style)
        ax.vlines(components, self.low, self.high, colors="0.2")
        ax.axhline(1 / K, color=GREY, linewidth=1, linestyle=":")
        ax.text(1.01, 1 / K, f"1/{K}", transform=ax.get_yaxis_transform(), va="center")
        ax.set(xticks=components, ylim=(0, None), xlabel="component of the posterior")
        ax.set_ylabel("weight: mean, 5% to 95% of the rows")
        despine(ax)
        return self


def _row_posterior(vae: VAE, x: Tensor, observed: Tensor, n: int, row: int) -> RowPosterior:
    """Return both posteriors of a row, (1, D), on grids of n points per axis."""
    q = vae.posterior(x, observed)
    low, high = _box(q)
    z1, z2, log_q, _ = _on_grid(lambda z: q.log_prob(z.to(x)), low, high, n)
    approximate = GridDensity(z1, z2, np.exp(log_q))
    also = _box(vae.prior())
    low, high = torch.minimum(low, also[0]), torch.maximum(high, also[1])
    z1, z2, log_p, log_evidence = _on_grid(
        lambda z: vae.log_joint(x, observed, z.to(x)), low, high, n
    )
    exact = GridDensity(z1, z2, np.exp(log_p - log_evidence))
    n_missing = int((~observed).sum())
    return RowPosterior(row, n_missing, approximate, exact, log_evidence)


def _box(mixture: LatentDistribution) -> tuple[Tensor, Tensor]:
    """Return corners (2,) of what a mixture reaches."""
    loc, scale = (part.double() for part in mixture.centres())
    ends = loc - _REACH * scale, loc + _REACH * scale
    return ends[0].reshape(-1, 2).amin(0), ends[1].reshape(-1, 2).amax(0)


def _on_grid(
    log_p: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Return axes (n,), a log-density (n, n), and the logarithm of its mass.

    The grid closes in from the corners (2,) on where there is anything.
    """
    for _ in range(_ZOOMS):
        z1, z2 = (
            torch.linspace(a, b, n, dtype=torch.float64)
            for a, b in zip(low.tolist(), high.tolist(), strict=True)
        )
        z = torch.cartesian_prod(z1, z2)  # (n * n, 2)
        pieces = z.unsqueeze(1).split(_POINTS)
        found = finite_log_weights(torch.cat([log_p(piece) for piece in pieces]).double()).squeeze(
            1
        )
        near = z[found > found.max() - _DEPTH]
        before, step = high - low, (high - low) / (n - 1)
        low, high = near.amin(0) - step, near.amax(0) + step
        if (high - low > _CLOSE * before).all():
            break
    log_mass = found.logsumexp(0) + step.log().sum()
    return z1.numpy(), z2.numpy(), found.view(n, n).T.numpy(), float(log_mass)


def _draw(one: RowPosterior, ax: Axes, color: str) -> list[Any]:
    """Draw both posteriors of a row, and return their contours."""
    top = 1.01 * one.exact.density.max()
    return [
        ax.contourf(*one.exact, [level, top], colors=[color], alpha=alpha)
        for level, alpha in zip(_levels(one.exact), (0.25, 0.35), strict=True)
    ] + [ax.contour(*one.approximate, _levels(one.approximate), colors=[color])]


def _levels(on_grid: GridDensity) -> list[float]:
    """Return the densities at the borders of the densest regions that hold ``_MASSES``."""
    falling = np.sort(on_grid.density, axis=None)[::-1]
    mass = falling.cumsum() / falling.sum()
    return falling[np.searchsorted(mass, _MASSES)].tolist()
