"""A Student-t prior against a Normal one, on MNIST's grey values with holes.

``python benchmarks/papers/t_prior.py`` fits both to images of which pixels, or a square, are
missing (784-400-128-10, 21 degrees of freedom for prior and encoder, batches of 500, a rate of
0.005), and beside them importance-weighted models of ours, and measures two things on test images:
the whole reconstruction ("prediction"), and the image with its seen pixels kept ("imputation"),
both by the mean squared error over all pixels, by the structural similarity and by the peak signal
to noise ratio. Each run adds a line to ``t_prior.csv``; runs that are there are not done again. The
share of missing pixels of the study is not known: there are three. Squares of a quarter of the
image or more always cover its centre, of which nothing can then be learned: it is filled with
zeros. The study's 300 epochs of 60,000 images are ``--full``.

scikit-image has the structural similarity: ``pip install "skmissvae[benchmarks]"``.
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

from skmissvae import AdamW, CustomNetwork, MIWAEImputer, MVAEImputer, make_missing
from skmissvae.vae import StudentTFamily, StudentTPrior

#: Random and square masks, Normal and t: MSE and SSIM of prediction, then of imputation.
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
OURS_RANDOM = "ours, random weights"  # of squares linear dependencies tell little
N_TEST = 2000


def perceptron(widths: tuple[int, ...], in_features: int, out_features: int) -> nn.Module:
    """Return a perceptron with rectified layers."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise([in_features, *widths]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([in_features, *widths][-1], out_features))


def imputer(model: str, epochs: int, seed: int) -> MVAEImputer | MIWAEImputer:
    """Return a model of the study, or ours."""
    common: dict[str, Any] = {
        "likelihood": "cross_entropy",
        "batch_size": 500,
        "max_iter": epochs,
        "early_stopping": False,
        "keep_empty_features": True,
        "random_state": seed,
    }
    if model.startswith("ours"):
        # a bound of five draws, more latents, a linear path with its start, and a falling rate
        return MIWAEImputer(
            n_draws=5,
            n_latents=40,
            n_hidden=256,
            dropout=0.1,
            n_importance_draws=200,
            init="random" if model == OURS_RANDOM else "auto",
            **common,
        )
    study = MVAEImputer(
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
        return study
    df = DF if model == "Student-t prior" else float(model.split()[0])
    return study.set_params(
        prior=functools.partial(StudentTPrior, df=df),
        posterior=functools.partial(StudentTFamily, df=df),
    )


def reconstruct(fitted: MVAEImputer | MIWAEImputer, X: np.ndarray) -> np.ndarray:
    """Return the decoder's images of the encoder's mean latents: (N, 784) -> (N, 784)."""
    with torch.no_grad():
        q = fitted.vae_.posterior(*fitted.encode_rows(X).tensors())
        images = fitted.vae_.decode(q.mean()).mean().double().numpy()
    return fitted.schema_.decode(images, X, np.zeros(X.shape, dtype=bool))


def similarity(made: np.ndarray, true: np.ndarray) -> float:
    """Return the mean structural similarity of images."""
    from skimage.metrics import structural_similarity

    pairs = zip(made.reshape(-1, *SHAPE), true.reshape(-1, *SHAPE), strict=True)
    return float(np.mean([structural_similarity(a, b, data_range=1.0) for a, b in pairs]))


def signal_to_noise(made: np.ndarray, true: np.ndarray) -> float:
    """Return the median peak signal-to-noise ratio of images, in decibels."""
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):  # images without an error
        ratios = [
            peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in zip(made, true, strict=True)
        ]
    return float(np.median(ratios))


def run(mask: str, share: float, model: str, rows: int, epochs: int, seed: int) -> dict[str, float]:
    """Fit a model and measure it."""
    X, _, X_test, _ = mnist()
    X, X_test = X[:rows], X_test[:N_TEST]
    holed, test = (
        make_missing(part, mask, share, image_shape=SHAPE, random_state=seed + 1000 * i)
        for i, part in enumerate((X, X_test))
    )
    fitted = imputer(model, epochs, seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(holed)
        seconds = time.perf_counter() - start
        predicted = reconstruct(fitted, test)
        # the study keeps seen pixels of the reconstruction; ours averages over latents
        whole = fitted.transform(test) if model.startswith("ours") else predicted
    completed = np.where(np.isnan(test), whole, test)
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
    """Return the tables."""
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
            f"{value:.1f}" if name.endswith("psnr") else f"{value:.4f}"
            for name, value in values.items()
        ]
    for (mask, model), values in PUBLISHED.items():
        a, b, c, d = (f"{value:.4f}" for value in values)
        lines[f"{mask}, share unknown, {model}, published"] = [a, b, "", c, d, ""]
    text = markdown(pd.DataFrame(lines, titles).T, "mask, share, model")
    wide = means["imputation_mse"].unstack()
    if {"Normal prior", "Student-t prior"} <= set(wide):
        ratio = (wide["Student-t prior"] / wide["Normal prior"]).dropna()
        told = ", ".join(f"{mask} {share:.0%} {r:.3f}" for (mask, share), r in ratio.items())
        text += f"\nImputation MSE of the t prior relative to the Normal one's: {told}; published: "
        text += "pixels 0.890, squares 0.910.\n"
    several = [
        f"{mask} {share:.0%}, {model} {', '.join(map('{:.4f}'.format, values))}"
        for (mask, share, model), values in groups["imputation_mse"]
        if len(values) > 1
    ]
    if several:
        text += f"\nImputation MSE of each seed: {'; '.join(several)}.\n"
    return text


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argument_parser(__doc__, quick="2,000 images, 10 epochs, one share")
    parser.add_argument("--full", action="store_true", help="60,000 images, 300 epochs")
    parser.add_argument("--seeds", type=int, default=3, help="of both priors at 30%%")
    options = parser.parse_args()
    if importlib.util.find_spec("skimage") is None:  # not after ten minutes of training
        parser.error('scikit-image is needed: pip install "skmissvae[benchmarks]"')
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
