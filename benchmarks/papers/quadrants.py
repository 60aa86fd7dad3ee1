"""Log-likelihoods of all methods on binary images with two of four quadrants missing.

``python benchmarks/papers/quadrants.py`` fits the seven methods of Simkus and Gutmann (2024) to
binarized MNIST and Omniglot, two random quadrants of each image missing, and measures the
log-likelihood of complete test images by the importance-weighted bound (figure 4; with
``--latents``, figure 13). Encoder and decoder are convolutional residual networks. By default they
are narrow and fitted to a subset of the images; ``--full`` has the sizes of the paper, for a GPU,
and writes a checkpoint every five minutes. Each run appends a line to ``quadrants.csv``; existing
runs are not repeated.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
import mog
from common import (
    argument_parser,
    fit_by_passes,
    markdown,
    mean_and_spread,
    pyplot,
    run_grid,
    versions,
    write_page,
)
from images import SHAPE, mnist, omniglot
from masks import hide_parts

from skmissvae import AdamW, ConvNetwork, VAEDensityEstimator
from skmissvae.inspection import log_likelihood

#: Figure 4: medians over five seeds, 1,000 importance draws, read off the plot.
PUBLISHED = {
    "mnist": {
        "MVAE": -95.8,
        "MissVAE": -95.9,
        "MissSVAE": -93.8,
        "MIWAE": -92.3,
        "MissIWAE": -89.7,
        "MissSIWAE": -91.1,
        "DeMissVAE": -94.0,
    },
    "omniglot": {
        "MVAE": -124.7,
        "MissVAE": -127.3,
        "MissSVAE": -125.6,
        "MIWAE": -113.2,
        "MissIWAE": -113.0,
        "MissSIWAE": -121.4,
        "DeMissVAE": -122.5,
    },
}
#: Figure 13: the same by the number of latents.
LATENTS = (25, 50, 100, 200)
PUBLISHED_BY_LATENTS = {
    "mnist": {
        "MVAE": (-96.5, -95.8, -95.0, -95.8),
        "MissVAE": (-96.8, -95.9, -97.8, -98.8),
        "MissSVAE": (-94.6, -93.8, -93.4, -95.6),
        "MIWAE": (-91.4, -92.4, -91.9, -93.2),
        "MissIWAE": (-90.0, -89.7, -90.1, -90.0),
        "MissSIWAE": (-92.7, -91.1, -91.9, -92.9),
        "DeMissVAE": (-96.5, -94.0, -91.5, -89.8),
    },
    "omniglot": {
        "MVAE": (-124.7, -124.7, -123.2, -123.3),
        "MissVAE": (-127.9, -127.2, -126.5, -128.7),
        "MissSVAE": (-127.0, -125.5, -124.9, -130.3),
        "MIWAE": (-115.0, -113.1, -113.1, -112.6),
        "MissIWAE": (-116.4, -113.0, -113.7, -115.2),
        "MissSIWAE": (-121.9, -121.4, -120.6, -118.7),
        "DeMissVAE": (-123.4, -122.4, -124.0, -122.2),
    },
}
METHODS = tuple(PUBLISHED["mnist"])
K, BUDGET = 5, 5


def binarized(images: str, rows: int, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test images, each pixel drawn once with its grey value as probability."""
    train, test = mnist()[::2] if images == "mnist" else omniglot()
    rng = np.random.default_rng(seed)
    parts = (train[rng.permutation(len(train))[:rows]], test[rng.permutation(len(test))[:n_test]])
    train, test = ((rng.random(part.shape) < part).astype(np.float32) for part in parts)
    return train, test


def estimator(method: str, latents: int, epochs: int, seed: int, *, full: bool) -> Any:
    """Return a method with the settings of the paper; without ``full`` networks are smaller."""
    return VAEDensityEstimator(
        objective=method,
        K=K,
        n_draws=mog.n_draws(method, BUDGET, K),
        sampler="pseudo_gibbs" if method == "DeMissVAE" else "auto",
        network=ConvNetwork(SHAPE, linear_path=False),
        likelihood="bernoulli",
        n_latents=latents,
        n_hidden=256 if full else 32,
        n_blocks=2 if full else 1,
        dropout=0.3 if full else 0.1,
        min_scale=1e-5,
        batch_size=200 if full else 64,
        learning_rate=1e-4 if full else 1e-3,
        optimizer=AdamW(max_grad_norm=1.0 if method in mog.ANCESTRAL else 5.0),
        max_iter=epochs,
        early_stopping=False,
        keep_empty_features=True,
        device="auto" if full else "cpu",
        random_state=seed,
    )


def run(
    images: str, method: str, latents: int, rows: int, epochs: int, n_test: int, seed: int
) -> dict[str, Any]:
    """Fit a model, and measure its log-likelihood."""
    train, test = binarized(images, rows, n_test, seed)
    incomplete = hide_parts(train, "quadrants", 0.5, SHAPE, seed)
    full = epochs > 100
    density = estimator(method, latents, epochs, seed, full=full)
    checkpoint = Path(__file__).with_name(f"quadrants_{images}_{method}_{latents}_{seed}.ckpt")
    if full:
        density, seconds = fit_by_passes(density, incomplete, epochs, checkpoint)
    else:
        start = time.perf_counter()
        density.fit(incomplete)
        seconds = time.perf_counter() - start
    # as in the paper, the encoder is trained further for complete images, with the decoder fixed
    # half as many epochs of the test images
    density.set_params(max_iter=max(200, epochs) if epochs > 2 else 10)
    likelihood = log_likelihood(density.refit_encoder(test), test, n_draws=1000 if full else 300)
    checkpoint.unlink(missing_ok=True)
    return {
        "log_likelihood": likelihood.mean,
        "standard_error": likelihood.standard_error,
        "mc_error": float(np.median(likelihood.errors)),
        "fit_seconds": seconds,
    }


def by_latents(results: pd.DataFrame) -> str:
    """Return the tables of figure 13, with published values in brackets."""
    text = ""
    for images, part in results.groupby("images", sort=False):
        ours = part.groupby(["method", "latents"])["log_likelihood"].mean().unstack()
        if len(ours.columns) < 2:
            continue
        published = pd.DataFrame(PUBLISHED_BY_LATENTS[str(images)], index=list(LATENTS)).T
        ours = ours.reindex(index=list(METHODS), columns=list(LATENTS))
        frame = ours.map("{:.1f}".format).replace("nan", "") + published.map(" ({:.1f})".format)
        frame.columns = [f"{n} latents" for n in LATENTS]
        text += f"\n\nBy the number of latents, {images}, ours (published):\n\n"
        text += markdown(frame, "method")
    return text


def draw(results: pd.DataFrame, images: str, path: Path) -> None:
    """Draw the log-likelihoods of the methods, and the published ones."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True, layout="constrained")
    ours = results.groupby("method")[["log_likelihood", "standard_error"]].mean()
    ours = ours.reindex(list(PUBLISHED[images]))
    style = {"fmt": "o", "capsize": 3}
    axes[0].errorbar(ours["log_likelihood"], ours.index, xerr=ours["standard_error"], **style)
    axes[0].set(title="ours, with standard errors over images", xlabel="log-likelihood, nats")
    axes[1].plot(list(PUBLISHED[images].values()), list(PUBLISHED[images]), "o", color="C1")
    axes[1].set(title="published: more images and epochs", xlabel="log-likelihood, nats")
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is not in the CSV file yet, and write the table and the figures."""
    parser = argument_parser(__doc__, quick="200 images, 2 epochs, MNIST")
    parser.add_argument("--full", action="store_true", help="sizes and epochs of the paper")
    parser.add_argument("--images", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument(
        "--latents", type=int, nargs="+", default=[50], help="25 to 200 in figure 13"
    )
    parser.add_argument("--seeds", type=int, default=1, help="seeds of mask and model")
    options = parser.parse_args()
    quick = options.quick
    rows, epochs, n_test = (200, 2, 20) if quick else (3000, 20, 200)
    sets = ["mnist"] if quick else options.images
    full = {"mnist": (54_000, 500, 10_000), "omniglot": (27_396, 200, 4870)}
    path = Path(__file__).with_name("quadrants_quick.csv" if quick else "quadrants.csv")
    cells = [
        (images, method, latents, *(full[images] if options.full else (rows, epochs, n_test)), seed)
        for seed in range(options.seeds)
        for latents in options.latents
        for images in sets
        for method in options.methods
    ]
    keys = ["images", "method", "latents", "rows", "epochs", "n_test", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    default = results[results["latents"] == 50].copy()
    default["cell"] = [
        f"{images}, {rows:,} images, {epochs} epochs"
        for images, rows, epochs in default[["images", "rows", "epochs"]].itertuples(index=False)
    ]
    frame = mean_and_spread(default, "method", "cell", "log_likelihood")
    frame = frame.reindex([method for method in METHODS if method in frame.index])
    error = results["mc_error"].max()
    image_sets = list(results["images"].drop_duplicates())
    for images in image_sets:
        frame[f"{images}, published"] = [f"{PUBLISHED[images][m]:.1f}" for m in frame.index]
    text = markdown(frame.astype(str), "method") + (
        "\nLog-likelihood of complete binarized test images in nats, by the importance-weighted "
        "bound after the encoder is trained further on them, means (standard deviations over "
        f"seeds). Two of four quadrants of training images are missing; {BUDGET} draws per row "
        "and step. Published: medians with 54,000 images and 500 epochs (Omniglot 27,396 and 200) "
        "and networks eight times as wide; only their order is comparable. Median Monte Carlo "
        f"error of a score: at most {error:.2f}. {versions()}"
    )
    text += by_latents(results[results["epochs"] == epochs])
    write_page(path, text)
    plotted = default[default["epochs"] == epochs]
    for images in [] if quick else image_sets:
        part = plotted[plotted["images"] == images]
        draw(part, images, path.with_name(f"quadrants_{images}.png"))


if __name__ == "__main__":
    main()
