"""What ``transform`` imputes: means, medians, modes or draws."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..inference.conditional import ConditionalModel
from ..inference.importance import RowMeans
from ..inference.row_batch import RowBatch
from ..inference.summaries import median, mode
from ..vae.likelihoods.base import ColumnDistribution
from ..vae.vae import VAE

_N_LATENTS = 256  # that represent p(z | x_obs) for medians and modes


class RowPoints(NamedTuple):
    """Point estimates of rows."""

    x: Tensor  # (B, D)
    ess: Tensor  # (B,)   effective sample size


class Strategy(NamedTuple):
    """A strategy of imputation."""

    function: Callable[[ConditionalModel, RowBatch], Any]
    point: Callable[[Any, VAE], np.ndarray]  # values, (N, D), of the results of the function
    batched: bool = False  # whether the function takes many rows at a time
    draws: bool = False  # whether rows have different noise


def _means(result: RowMeans, vae: VAE, *, decide: bool) -> np.ndarray:
    """Return means and most probable categories; of binary columns either, by ``decide``."""
    expected = torch.from_numpy(np.asarray(result.expected))
    return vae.likelihood.point(expected, decide=decide).numpy()


def _values(result: Any, vae: VAE) -> np.ndarray:
    return np.asarray(result.x)


def _of_latents(
    statistic: Callable[[ColumnDistribution, Tensor], Tensor],
) -> Callable[[ConditionalModel, RowBatch], RowPoints]:
    """Return a function of a single row by latents that represent its posterior."""

    def point(model: ConditionalModel, batch: RowBatch) -> RowPoints:
        latents = model.latents(batch, _N_LATENTS)
        z = latents.z.transpose(0, 1)  # (n, 1, L)
        columns, likelihood = model.decode(z, batch), model.vae.likelihood
        value = statistic(columns, z)
        is_category = [support in ("binary", "coded") for support in likelihood.supports]
        if any(is_category):  # the most probable one
            category = likelihood.point(columns.expected().mean(0)).to(value)
            value = torch.where(torch.tensor(is_category, device=z.device), category, value)
        return RowPoints(value.double(), latents.ess)

    return point


def point_of_draws(
    draws: NDArray[np.float64], supports: Sequence[str], strategy: str
) -> NDArray[np.float64]:
    """Return point estimates of rows, (N, D), from draws of all columns, (N, n, D).

    Draws that are NaN do not count. Columns of categories get the most frequent one.
    """
    medians = np.nanmedian(draws, 1)
    points: NDArray[np.float64] = medians if strategy == "median" else np.nanmean(draws, 1)
    for d, support in enumerate(supports):
        if support == "binary" and strategy != "mean":
            points[:, d] = np.nanmean(draws[:, :, d], 1) > 0.5
        elif support == "coded":
            codes = np.arange(np.nanmax(draws[:, :, d]) + 1)
            counts = (draws[:, :, d, None] == codes).sum(1)
            points[:, d] = counts.argmax(1)
    return points


#: By the value of the parameter ``strategy``.
STRATEGIES = {
    "auto": Strategy(ConditionalModel.means, partial(_means, decide=True), batched=True),
    "mean": Strategy(ConditionalModel.means, partial(_means, decide=False), batched=True),
    "median": Strategy(_of_latents(median), _values),
    "mode": Strategy(_of_latents(mode), _values),
    "draw": Strategy(ConditionalModel.draw, _values, batched=True, draws=True),
}
