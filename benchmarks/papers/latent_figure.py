"""Plot of a two-dimensional latent space, with approximate and exact posteriors of rows."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from torch import Tensor

from skmissvae import VAEDensityEstimator
from skmissvae.inference.weights import finite_log_weights
from skmissvae.vae.distributions import LatentDistribution
from skmissvae.vae.vae import VAE

_REACH = 8.0  # standard deviations of a prior or posterior that the first grid covers
_LOG_DENSITY_RANGE = 12.0  # nats below the maximum that a refined grid covers
_MAX_ZOOMS = 8
_ZOOM_TOL = 0.8  # share of its sides that a refined grid keeps, above which refinement ends
_MAX_POINTS = 2**13  # grid points per call of the decoder
_MASSES = (0.9, 0.5)  # probabilities of the highest-density regions that contours enclose
_N_GRID = 200  # grid points per axis
_GREY = "0.55"
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito 2008


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


def plot_latents(
    ax: Any, density: VAEDensityEstimator, X: NDArray[np.float64], rows: Iterable[int]
) -> dict[str, Any]:
    r"""Plot the latents of X, and the posteriors of selected rows; return legend handles by label.

    Points are the latents of rows, :math:`E[z | x_{obs}]`. For selected rows filled contours show
    the exact posterior :math:`p(z | x_{obs}) \propto p(x_{obs}, z)`, and lines the encoder's
    :math:`q(z | x_{obs})`: highest-density regions of 90% and 50%.
    """
    ax.scatter(*density.encode(X).T, s=5, linewidths=0, alpha=0.3, color=_GREY)
    limits, handles = [ax.dataLim.frozen()], {}
    encoded = density.encode_rows(X)
    for row, color in zip(rows, _COLORS, strict=False):
        x, observed = encoded.part(slice(row, row + 1)).tensors()
        with torch.inference_mode():
            approximate, exact = _posteriors(density.vae_, x, observed, _N_GRID)
        contours = _draw_contours(ax, approximate, exact, color)
        limits += [contour.get_datalim(ax.transData) for contour in contours]
        handles[f"row {row}"] = Patch(color=color)
    ax.dataLim.set(Bbox.union(limits))  # of the contours, not of the whole grids
    ax.autoscale_view()
    ax.set(xlabel="latent 1", ylabel="latent 2", aspect="equal")
    ax.spines[["top", "right"]].set_visible(False)
    return handles | {
        "posterior means of rows": Line2D([], [], color=_GREY, marker=".", ls="none"),
        "exact p(z | observed), 90% and 50%": Patch(color=_GREY, alpha=0.5),
        "approximate q(z | observed)": Line2D([], [], color=_GREY),
    }


def _posteriors(vae: VAE, x: Tensor, observed: Tensor, n: int) -> tuple[GridDensity, GridDensity]:
    """Return q(z | x_obs) and p(z | x_obs) of a row, (1, D), on grids of n points per axis."""
    q = vae.posterior(x, observed)
    low, high = _corners(q)
    approximate = _density_on_grid(lambda z: q.log_prob(z.to(x)), low, high, n)
    prior_low, prior_high = _corners(vae.prior())
    low, high = torch.minimum(low, prior_low), torch.maximum(high, prior_high)
    exact = _density_on_grid(lambda z: vae.log_joint(x, observed, z.to(x)), low, high, n)
    return approximate, exact


def _corners(mixture: LatentDistribution) -> tuple[Tensor, Tensor]:
    """Return the corners (2,) of a box that contains nearly all mass of a mixture."""
    loc, scale = (part.double() for part in mixture.centres())
    ends = loc - _REACH * scale, loc + _REACH * scale
    return ends[0].reshape(-1, 2).amin(0), ends[1].reshape(-1, 2).amax(0)


def _density_on_grid(
    log_density: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, n: int
) -> GridDensity:
    """Return a density, normalised on a grid that covers the region of high density.

    The grid shrinks from the corners (2,) to that region.
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
    log_p = log_p - log_p.logsumexp(0) - step.log().sum()
    return GridDensity(z1.numpy(), z2.numpy(), log_p.exp().view(n, n).T.numpy())


def _draw_contours(ax: Any, approximate: GridDensity, exact: GridDensity, color: str) -> list[Any]:
    """Draw both posteriors of a row, and return their contours."""
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
