"""Divergence of the encoder from the exact posterior, with and without missing cells.

``python benchmarks/papers/posteriors.py`` fits models to complete rows of the data of ``mog.py``,
trains their encoders further with the decoder fixed, on complete rows and on rows with half of the
cells hidden, and measures KL(q, p) between q(z | x_obs) and the exact posterior p(z | x_obs) of the
model on test rows (figures 1 and 9 to 11 of Simkus and Gutmann 2024). The divergence is the
log-density by integration over the two latents minus the evidence lower bound, and has only Monte
Carlo error. Each run appends a line to ``posteriors.csv``; existing runs are not repeated.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import mog
from common import (
    argument_parser,
    markdown,
    mean_and_spread,
    pyplot,
    run_grid,
    versions,
    write_page,
)
from latent_figure import plot_latents
from quadrature import integrated_score_samples

from skmissvae import VAEDensityEstimator
from skmissvae._utils.random import StreamNoise

FAMILIES = {
    "Normal": ("MVAE", 1),
    "mixture of 5": ("MissSVAE", 5),
    "mixture of 15": ("MissSVAE", 15),
}
HIDDEN = {"complete": 0.0, "half hidden": 0.5}
PLOTTED_ROWS = (3, 8, 11)  # test rows in the figure
MAX_ROWS_OF_FIGURE = 5000  # training rows of the models in the figure


def model(family: str, epochs: int, rows: int, seed: int) -> VAEDensityEstimator:
    """Return a model of complete rows."""
    method, K = FAMILIES[family]
    options = mog.estimator(method, 15, epochs, seed).get_params()
    density = VAEDensityEstimator(**{**options, "K": K, "n_draws": 15 // K})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no cell is missing
        return density.fit(mog.load()["train"][:rows])


def masked(X: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Hide cells; each row keeps an observed cell."""
    hidden = np.random.default_rng(seed).random(X.shape) < share
    hidden[hidden.all(1), 0] = False
    return np.where(hidden, np.nan, X)


def divergences(density: VAEDensityEstimator, X: np.ndarray, n_draws: int = 500) -> np.ndarray:
    """Return KL(q(z | x_obs), p(z | x_obs)) of each row, in nats."""
    rows = density.encode_rows(X)
    x, observed = rows.tensors()
    noise = StreamNoise(torch.Generator().manual_seed(0))
    with torch.inference_mode():
        draws = density.vae_.draw(x, observed, n_draws, noise, stratified=False, gradient="plain")
        bound = draws.log_ratio.double().mean(0).numpy()
    return integrated_score_samples(density, X) + density.schema_.log_units(rows) - bound


def run(family: str, cells: str, epochs: int, rows: int, seed: int) -> dict[str, Any]:
    """Fit a model, train its encoder for incomplete rows, and measure the divergence."""
    data, share = mog.load(), HIDDEN[cells]
    density = model(family, epochs, rows, seed)
    density = density.refit_encoder(masked(data["train"][:rows], share, seed))
    test = data["test"] if rows > 2000 else data["test"][:200]
    divergence = divergences(density, masked(test, share, seed + 1))
    return {"kl": float(divergence.mean()), "median": float(np.median(divergence))}


def draw(path: Path, epochs: int, rows: int) -> None:
    """Draw exact and learned posteriors of some rows, complete and incomplete."""
    plt = pyplot()
    data = mog.load()
    families = list(FAMILIES)[:2]
    figure, axes = plt.subplots(len(families), 2, figsize=(10, 9), layout="constrained")
    for line, family in zip(axes, families, strict=True):
        density = model(family, epochs, rows, 0)
        for ax, (cells, share) in zip(line, HIDDEN.items(), strict=True):
            test = masked(data["test"][:200], share, 1)
            fitted = density.refit_encoder(masked(data["train"][:rows], share, 0))
            handles = plot_latents(ax, fitted, test, PLOTTED_ROWS)
            ax.set_title(f"{family}, {cells}")
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is not in the CSV file yet, and write the table and the figure."""
    parser = argument_parser(__doc__, quick="2,000 rows, 5 epochs")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of models")
    options = parser.parse_args()
    quick = options.quick
    epochs, rows = (5, 2000) if quick else (30, 20_000)
    path = Path(__file__).with_name("posteriors_quick.csv" if quick else "posteriors.csv")
    todo = [
        (family, cells, epochs, rows, seed)
        for seed in range(options.seeds)
        for family in FAMILIES
        for cells in HIDDEN
    ]
    keys = ["family", "cells", "epochs", "rows", "seed"]
    results = run_grid(path, keys, [] if options.report else todo, run, options.jobs)
    frame = mean_and_spread(results, "family", "cells", "kl")
    medians = mean_and_spread(results, "family", "cells", "median")
    for cells in HIDDEN:
        frame[f"{cells}, median row"] = medians[cells]
    columns = [name for cells in HIDDEN for name in (cells, f"{cells}, median row")]
    frame = frame.reindex(index=[f for f in FAMILIES if f in frame.index], columns=columns)
    text = markdown(frame.astype(str), "posterior family") + (
        "\nKL(q, p) in nats between the encoder and the exact posterior of two latents, mean and "
        "median over test rows. Models are fitted to complete rows, their encoders then to rows "
        f"with cells hidden like those of the test rows. {rows:,} rows, {epochs} epochs; figure: "
        f"{min(rows, MAX_ROWS_OF_FIGURE):,} rows. {versions()}"
    )
    write_page(path, text)
    if not options.report:
        draw(path.with_suffix(".png"), epochs, min(rows, MAX_ROWS_OF_FIGURE))


if __name__ == "__main__":
    main()
