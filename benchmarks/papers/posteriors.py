"""What holes do to the posterior of the latents, and which family follows it.

``python benchmarks/papers/posteriors.py`` fits models to complete rows of the toy of ``mog.py``,
then trains their encoders further, for the same decoder, on complete rows and on rows of which half
the cells are hidden, and measures how far q(z | x_obs) stays from the exact posterior
p(z | x_obs) of its model on test rows (figures 1 and 9 to 11 of Simkus and Gutmann 2024). The
divergence is exact but for Monte-Carlo error: the log-density by integration over the two latents,
less the evidence lower bound. Each run adds a line to ``posteriors.csv``; runs that are there are
not done again.
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

from skmissvae import VAEDensityEstimator
from skmissvae._utils.random import StreamNoise
from skmissvae.inspection import LatentDisplay, integrated_score_samples

FAMILIES = {
    "Normal": ("MVAE", 1),
    "mixture of 5": ("MissSVAE", 5),
    "mixture of 15": ("MissSVAE", 15),
}
HIDDEN = {"complete": 0.0, "half hidden": 0.5}
SHOWN = (3, 8, 11)  # test rows that are drawn
SKETCH_ROWS = 5000  # that the picture's models learn from: its shapes are plain from these


def model(family: str, epochs: int, rows: int, seed: int) -> VAEDensityEstimator:
    """Return a model of complete rows."""
    method, K = FAMILIES[family]
    options = mog.estimator(method, 15, epochs, seed).get_params()
    density = VAEDensityEstimator(**{**options, "K": K, "n_draws": 15 // K})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is nothing missing
        return density.fit(mog.load()["train"][:rows])


def masked(X: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Hide cells, but never all of a row."""
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
    """Fit a model, train its encoder for rows with holes, and measure it."""
    data, share = mog.load(), HIDDEN[cells]
    density = model(family, epochs, rows, seed)
    density = density.refit_encoder(masked(data["train"][:rows], share, seed))
    test = data["test"] if rows > 2000 else data["test"][:200]
    found = divergences(density, masked(test, share, seed + 1))
    return {"kl": float(found.mean()), "median": float(np.median(found))}


def picture(path: Path, epochs: int, rows: int) -> None:
    """Draw exact and learned posteriors of some rows, complete and with holes."""
    plt = pyplot()
    data = mog.load()
    families = list(FAMILIES)[:2]
    figure, axes = plt.subplots(len(families), 2, figsize=(10, 9), layout="constrained")
    for line, family in zip(axes, families, strict=True):
        density = model(family, epochs, rows, 0)
        for ax, (cells, share) in zip(line, HIDDEN.items(), strict=True):
            test = masked(data["test"][:200], share, 1)
            fitted = density.refit_encoder(masked(data["train"][:rows], share, 0))
            LatentDisplay.from_estimator(fitted, test, rows=SHOWN, ax=ax, s=5, alpha=0.3)
            ax.set_title(f"{family}, {cells}")
            legend = ax.get_legend()
            legend.remove()
    labels = [text.get_text().split(":")[0] for text in legend.get_texts()]
    figure.legend(legend.legend_handles, labels, loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is not done yet and write the table and the picture."""
    parser = argument_parser(__doc__, quick="2,000 rows, 5 epochs")
    parser.add_argument("--seeds", type=int, default=1, help="models")
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
        "\nKL(q, p) between the encoder's and the model's own posterior of the two latents, nats, "
        "mean over test rows, and median. Models are fitted to complete rows of the toy, their "
        f"encoders then to rows like the test's. {rows:,} rows, {epochs} epochs; the picture is of "
        f"{min(rows, SKETCH_ROWS):,}. {versions()}"
    )
    write_page(path, text)
    if not options.report:
        picture(path.with_suffix(".png"), epochs, min(rows, SKETCH_ROWS))


if __name__ == "__main__":
    main()
