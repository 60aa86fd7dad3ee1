"""Log-likelihoods of all methods on data from a known mixture of 15 Gaussians.

``python benchmarks/mog.py`` fits each method, and the two controls of DeMissVAE, to the data of
Simkus and Gutmann (2024), five columns with half of the cells missing, for several numbers of draws
per row, and measures the log-likelihood of complete test rows by numerical integration over the two
latents. Each run appends a line to ``mog.csv``; existing runs are not repeated. With ``--epochs
500``, as in the paper, runs have checkpoints and a constant learning rate.
"""

import os
import time
from pathlib import Path
from typing import Any, Self
from unittest import mock

import numpy as np
from common import (
    argument_parser,
    fit_by_passes,
    markdown,
    mean_and_spread,
    run_grid,
    versions,
    write_page,
)
from quadrature import integrated_score_samples
from typing_extensions import override

from skmissvae import AdamW, ResidualNetwork, VAEDensityEstimator
from skmissvae.inference import LAIR
from skmissvae.training import methods

#: Log-likelihoods by the code of the authors, 30 epochs, 5 draws, one seed.
AUTHORS = {
    "MVAE": -4.22,
    "MissVAE": -4.2,
    "MissSVAE": -4.01,
    "MIWAE": -3.76,
    "MissIWAE": -3.42,
    "MissSIWAE": -3.47,
    "DeMissVAE": -3.53,
}
ANCESTRAL = ("MissVAE", "MissIWAE")
STRATIFIED = ("MissSVAE", "MissSIWAE")
DECOMPOSED = ("DeMissVAE", "CVI-VAE", "MVB-VAE")


class DecoderOnly(VAEDensityEstimator):
    """Density estimator that trains the encoder of incomplete rows of DeMissVAE for one epoch.

    The integral over the latents does not depend on this encoder.
    """

    @override
    def fit(self, X: Any, y: object = None) -> Self:
        with mock.patch.object(methods, "_ENCODER_SHARE", 1e-9):
            return super().fit(X)


def load() -> dict[str, np.ndarray]:
    """Return training and test rows."""
    arrays = _arrays()
    return {name: arrays[name] for name in ("train", "test")}


def half_hidden(train: np.ndarray, seed: int) -> np.ndarray:
    """Return rows with half of the cells missing, without rows that have no observed cell."""
    hidden = np.random.default_rng(seed).random(train.shape) < 0.5
    return np.where(hidden, np.nan, train)[~hidden.all(1)]


def n_draws(method: str, budget: int, K: int = 5) -> int:
    """Return ``n_draws`` of a method for a total number of draws per row."""
    return budget // K if method in (*STRATIFIED, *DECOMPOSED) else budget


def truth() -> dict[str, np.ndarray]:
    """Return weights, means and covariances of the mixture."""
    arrays = _arrays()
    names = {"weights": "weights", "means": "means", "covariances": "covs"}
    return {name: arrays[key] for name, key in names.items()}


def _arrays() -> dict[str, np.ndarray]:
    folder = os.environ.get("SKMISSVAE_DATA")
    if not folder:
        raise SystemExit(
            "The data are those of the public code of the paper (data_mog2_large). Set "
            "$SKMISSVAE_DATA to a folder that contains C_density/mog2_large.npz."
        )
    with np.load(Path(folder) / "C_density" / "mog2_large.npz") as file:
        return {name: file[name].astype(float) for name in file.files}


def estimator(method: str, budget: int, epochs: int, seed: int) -> DecoderOnly:
    """Return an estimator with the sizes of the paper and ``budget`` draws per row."""
    K = budget if method in DECOMPOSED else 5
    return DecoderOnly(
        objective=method,
        K=K,
        n_draws=n_draws(method, budget, K),
        sampler=LAIR(n_replenish=0),
        n_latents=2,
        n_hidden=200,
        n_blocks=3,
        dropout=0.0,
        network=ResidualNetwork(linear_path=False),
        min_scale=1e-3,
        learn_shapes=False,
        # implicit gradients of draws from a mixture have heavy tails: with less clipping, fits
        # collapsed into a component of the posterior
        optimizer=AdamW(max_grad_norm=1.0 if method in ANCESTRAL else 10.0),
        max_iter=epochs,
        learning_rate=1e-3,
        early_stopping=False,
        random_state=seed,
    )


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="2,000 rows, 5 epochs, one seed")
    parser.add_argument("--seeds", type=int, nargs="*", help="seeds to run")
    parser.add_argument(
        "--epochs", type=int, default=60, help="500 in the paper; above 60 with checkpoints"
    )
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("mog_quick.csv" if quick else "mog.csv")
    data = load()
    train, test = (data["train"][:2000], data["test"][:200]) if quick else data.values()
    seeds = options.seeds or ([0] if quick else [0, 1, 2])
    epochs, names = 5 if quick else options.epochs, (*AUTHORS, *DECOMPOSED[1:])
    cells = [(epochs, 5, method, seed) for seed in seeds for method in names]
    if not quick and 0 in seeds:
        cells = [(30, 5, method, 0) for method in AUTHORS] + cells
        cells += [(epochs, budget, method, 0) for budget in (15, 25) for method in AUTHORS]

    if options.report:
        cells = []

    def run(epochs: int, budget: int, method: str, seed: int) -> dict[str, float]:
        incomplete = half_hidden(train, seed)
        density = estimator(method, budget, epochs, seed)
        checkpoint = path.with_name(f"mog_{method}_{budget}_{epochs}_{seed}.ckpt")
        if epochs > 60:
            density, seconds = fit_by_passes(density, incomplete, epochs, checkpoint)
        else:
            start = time.perf_counter()
            density.fit(incomplete)
            seconds = time.perf_counter() - start
        exact = integrated_score_samples(density, test).mean()
        checkpoint.unlink(missing_ok=True)
        return {"log_likelihood": float(exact), "fit_seconds": seconds}

    results = run_grid(path, ["epochs", "budget", "method", "seed"], cells, run, options.jobs)
    results["cell"] = [
        f"{budget} draws, {epochs} epochs"
        for epochs, budget in results[["epochs", "budget"]].itertuples(index=False)
    ]
    frame = mean_and_spread(results, "method", "cell", "log_likelihood").reindex(
        [method for method in names if method in set(results["method"])]
    )
    frame["code of the authors, 5 draws, 30 epochs"] = [AUTHORS.get(m, "") for m in frame.index]
    text = (
        markdown(frame.astype(str), "method")
        + "\nLog-likelihood of complete test rows by integration over the latents, in nats; that "
        "of the true mixture is -2.09. Half of the training cells are missing completely at "
        f"random. Mean (standard deviation) over seeds, or one seed. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
