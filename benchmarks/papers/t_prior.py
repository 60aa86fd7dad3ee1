"""Student-t prior against Normal prior on MNIST with missing pixels.

``python benchmarks/papers/t_prior.py`` fits both to images with missing pixels or a missing square
(784-400-128-10 units, 21 degrees of freedom of prior and encoder, batches of 500, learning rate
0.005), and also MIWAE with settings of this package. On test images it measures the reconstruction
of the decoder ("prediction"), and the same with observed pixels kept ("imputation"), by mean
squared error over all pixels, structural similarity (SSIM) and peak signal-to-noise ratio (PSNR).
Each run appends a line to ``t_prior.csv``; existing runs are not repeated. The share of missing
pixels is not published; three shares are used. Squares of a quarter of the image or more always
cover its center, which then is never observed and filled with zeros. ``--full`` has the published
300 epochs of 60,000 images.

SSIM requires scikit-image (``pip install "skmissvae[benchmarks]"``) and is skipped without it.
"""

import functools
import importlib.util
import itertools
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import argument_parser, markdown, run_grid, versions, write_page
from images import SHAPE, mnist
from masks import hide_parts

from skmissvae import AdamW, CustomNetwork, MIWAEImputer, MVAEImputer
from skmissvae.vae import StudentTFamily, StudentTPrior

#: Published MSE and SSIM of the prediction, then of the imputation.
PUBLISHED = {
    ("pixels", "Normal prior"): (0.0280, 0.7676, 0.0091, 0.9443),
    ("pixels", "Student-t prior"): (0.0247, 0.8150, 0.0081, 0.9523),
    ("squares", "Normal prior"): (0.0452, 0.5746, 0.0244, 0.8247),
    ("squares", "Student-t prior"): (0.0405, 0.6506, 0.0222, 0.8469),
}
SHARES = (0.3, 0.5, 0.2)
DF = 21
SENSITIVITY = (3, 5, 10, 50)  # other degrees of freedom
MODELS = ("Normal prior", "Student-t prior", "ours")
OURS_RANDOM = "ours, random weights"  # factor analysis fits missing squares badly
N_TEST = 2000


def perceptron(widths: tuple[int, ...], in_features: int, out_features: int) -> nn.Module:
    """Return a perceptron with ReLU layers."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise([in_features, *widths]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([in_features, *widths][-1], out_features))


def imputer(model: str, epochs: int, seed: int) -> MVAEImputer | MIWAEImputer:
    """Return a model with published settings, or with those of this package."""
    common: dict[str, Any] = {
        "likelihood": "cross_entropy",
        "batch_size": 500,
        "max_iter": epochs,
        "early_stopping": False,
        "keep_empty_features": True,
        "random_state": seed,
    }
    if model.startswith("ours"):
        # five draws, more latents, factor analysis as initialization, cosine schedule
        return MIWAEImputer(
            n_draws=5,
            n_latents=40,
            n_hidden=256,
            dropout=0.1,
            n_importance_draws=200,
            init="random" if model == OURS_RANDOM else "auto",
            **common,
        )
    published = MVAEImputer(
        n_draws=1,
        n_latents=10,
        network=CustomNetwork(
            encoder=functools.partial(perceptron, (400, 128)),
            decoder=functools.partial(perceptron, (128, 400)),
        ),
        learning_rate=0.005,
        optimizer=AdamW(schedule="constant"),
        **common,
    )
    if model == "Normal prior":
        return published
    df = DF if model == "Student-t prior" else float(model.split()[0])
    return published.set_params(
        prior=functools.partial(StudentTPrior, df=df),
        posterior=functools.partial(StudentTFamily, df=df),
    )


def reconstruct(fitted: MVAEImputer | MIWAEImputer, X: np.ndarray) -> np.ndarray:
    """Return the decoder's images of the posterior means of the latents: (N, 784) -> (N, 784)."""
    with torch.no_grad():
        q = fitted.vae_.posterior(*fitted.encode_rows(X).tensors())
        images = fitted.vae_.decode(q.mean()).mean().double().numpy()
    return fitted.schema_.decode(images, X, np.zeros(X.shape, dtype=bool))


def similarity(images: np.ndarray, true: np.ndarray) -> float:
    """Return the mean structural similarity of images, NaN without scikit-image."""
    if importlib.util.find_spec("skimage") is None:
        return np.nan
    from skimage.metrics import structural_similarity

    pairs = zip(images.reshape(-1, *SHAPE), true.reshape(-1, *SHAPE), strict=True)
    return float(np.mean([structural_similarity(a, b, data_range=1.0) for a, b in pairs]))


def signal_to_noise(images: np.ndarray, true: np.ndarray) -> float:
    """Return the median peak signal-to-noise ratio of images, in decibels."""
    with np.errstate(divide="ignore"):  # images without an error
        return float(np.median(-10 * np.log10(np.mean((images - true) ** 2, axis=1))))


def run(mask: str, share: float, model: str, rows: int, epochs: int, seed: int) -> dict[str, float]:
    """Fit a model, and measure reconstructions of test images."""
    X, _, X_test, _ = mnist()
    X, X_test = X[:rows], X_test[:N_TEST]
    incomplete, test = (
        hide_parts(part, mask, share, SHAPE, seed + 1000 * i) for i, part in enumerate((X, X_test))
    )
    fitted = imputer(model, epochs, seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(incomplete)
        seconds = time.perf_counter() - start
        predicted = reconstruct(fitted, test)
        # published: the reconstruction with observed pixels kept; ours: conditional means
        imputed = fitted.transform(test) if model.startswith("ours") else predicted
    completed = np.where(np.isnan(test), imputed, test)
    true = X_test.astype(np.float64)
    return {
        "prediction_mse": float(np.mean((predicted - true) ** 2)),
        "prediction_ssim": similarity(predicted, true),
        "prediction_psnr": signal_to_noise(predicted, true),
        "imputation_mse": float(np.mean((completed - true) ** 2)),
        "imputation_ssim": similarity(completed, true),
        "imputation_psnr": signal_to_noise(completed, true),
        "fit_seconds": seconds,
    }


def report(results: pd.DataFrame) -> str:
    """Return the table, ratios and results by seed as Markdown."""
    kinds, names = ("prediction", "imputation"), {"mse": "MSE", "ssim": "SSIM", "psnr": "PSNR, dB"}
    measures = [f"{kind}_{name}" for kind in kinds for name in names]
    titles = [f"{kind} {name}" for kind in kinds for name in names.values()]
    results = results.sort_values(["mask", "share"], kind="stable")
    groups = results.groupby(["mask", "share", "model"], sort=False)
    means, n_runs = groups[measures].mean(), groups.size()
    lines = {}
    for (mask, share, model), values in means.iterrows():
        n = n_runs[mask, share, model]
        runs = f", mean of {n} seeds" if n > 1 else ""
        lines[f"{mask}, {share:.0%}, {model}{runs}"] = [
            "" if np.isnan(value) else f"{value:.{1 if 'psnr' in name else 4}f}"
            for name, value in values.items()
        ]
    for (mask, model), values in PUBLISHED.items():
        a, b, c, d = (f"{value:.4f}" for value in values)
        lines[f"{mask}, unknown share, {model}, published"] = [a, b, "", c, d, ""]
    text = markdown(pd.DataFrame(lines, titles).T, "mask, share, model")
    wide = means["imputation_mse"].unstack()
    if {"Normal prior", "Student-t prior"} <= set(wide):
        ratio = (wide["Student-t prior"] / wide["Normal prior"]).dropna()
        ratios = ", ".join(f"{mask} {share:.0%} {r:.3f}" for (mask, share), r in ratio.items())
        text += (
            f"\nImputation MSE of the t prior relative to the Normal prior: {ratios}; published: "
        )
        text += "pixels 0.890, squares 0.910.\n"
    several = [
        f"{mask} {share:.0%}, {model} {', '.join(map('{:.4f}'.format, values))}"
        for (mask, share, model), values in groups["imputation_mse"]
        if len(values) > 1
    ]
    if several:
        text += f"\nImputation MSE by seed: {'; '.join(several)}.\n"
    return text


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="2,000 images, 10 epochs, one share")
    parser.add_argument("--full", action="store_true", help="60,000 images, 300 epochs")
    parser.add_argument(
        "--seeds", type=int, default=3, help="seeds of both priors with 30%% missing"
    )
    options = parser.parse_args()
    if importlib.util.find_spec("skimage") is None:
        print("Skipped SSIM: scikit-image is not installed.")
    quick = options.quick
    rows, epochs = (2000, 10) if quick else (60_000, 300) if options.full else (20_000, 60)
    path = Path(__file__).with_name("t_prior_quick.csv" if quick else "t_prior.csv")
    cells = [
        (mask, share, model, rows, epochs, 0)
        for share in ((0.3,) if quick else SHARES)
        for mask in ("pixels", "squares")
        for model in MODELS
    ]
    if not quick:
        others = [f"{df} degrees of freedom" for df in SENSITIVITY]
        cells += [("pixels", 0.3, model, rows, epochs, 0) for model in others]
        cells += [("squares", share, OURS_RANDOM, rows, epochs, 0) for share in (0.3, 0.2, 0.5)]
        cells += [
            (mask, 0.3, model, rows, epochs, seed)
            for seed in range(1, options.seeds)
            for mask in ("pixels", "squares")
            for model in MODELS[:2]
        ]
    keys = ["mask", "share", "model", "rows", "epochs", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    results = results[(results["rows"] == rows) & (results["epochs"] == epochs)]
    text = report(results) + (
        f"\n{rows:,} images, {epochs} epochs, {N_TEST:,} test images. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
