"""The toy of Simkus and Gutmann (2024): a mixture of 15 Gaussians in 5 dimensions, half missing.

``python benchmarks/mog.py`` fits every method, and the two controls of DeMissVAE, at a budget of
draws per row, and measures the log-likelihood of complete held-out rows by numerical integration
over the two latents. Each run adds a line to ``mog.csv``; runs that are there are not done again.
With ``--epochs 500``, as in the paper, runs have checkpoints, and a constant rate.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any, Self
from unittest import mock

import numpy as np
from common import fit_by_passes, markdown, mean_and_spread, run_grid, versions
from typing_extensions import override

from skmissvae import AdamW, ResidualNetwork, VAEDensityEstimator
from skmissvae.inference import LAIR
from skmissvae.inspection import integrated_score_samples
from skmissvae.training import methods

#: The authors' code after 30 epochs at a budget of 5, one seed.
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
    """Return rows with half of their cells missing, without those that have no other."""
    hidden = np.random.default_rng(seed).random(train.shape) < 0.5
    return np.where(hidden, np.nan, train)[~hidden.all(1)]


def n_draws(method: str, budget: int, K: int = 5) -> int:
    """Return the parameter that makes up a budget of draws per row."""
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
            "The toy's data are those of the paper's public code (data_mog2_large); set "
            "$SKMISSVAE_DATA to a folder that holds C_density/mog2_large.npz."
        )
    with np.load(Path(folder) / "C_density" / "mog2_large.npz") as file:
        return {name: file[name].astype(float) for name in file.files}


def estimator(method: str, budget: int, epochs: int, seed: int) -> DecoderOnly:
    """Return an estimator of the paper's sizes; every method takes ``budget`` draws per row."""
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
        # implicit gradients through draws from a mixture have heavy tails: a single step of theirs
        # can undo an epoch, and the fit falls into a component from which it does not come back
        optimizer=AdamW(max_grad_norm=1.0 if method in ANCESTRAL else 10.0),
        max_iter=epochs,
        learning_rate=1e-3,
        early_stopping=False,
        random_state=seed,
    )


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 rows, 5 epochs, one seed")
    parser.add_argument("--seeds", type=int, nargs="*", help="only these seeds")
    parser.add_argument(
        "--epochs", type=int, default=60, help="the paper's are 500; above 60 with checkpoints"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--report", action="store_true", help="write what is done, run nothing")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("mog_quick.csv" if quick else "mog.csv")
    data = load()
    train, test = (data["train"][:2000], data["test"][:200]) if quick else data.values()
    seeds = options.seeds or ([0] if quick else [0, 1, 2])
    epochs, every = 5 if quick else options.epochs, (*AUTHORS, *DECOMPOSED[1:])
    cells = [(epochs, 5, method, seed) for seed in seeds for method in every]
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
        [method for method in every if method in set(results["method"])]
    )
    frame["the authors' code, 5 draws, 30 epochs"] = [AUTHORS.get(m, "") for m in frame.index]
    text = (
        markdown(frame.astype(str), "method")
        + "\nLog-likelihood of complete test rows by integration over the latents, nats; the true "
        "mixture has -2.09. Half of the training cells missing completely at random: mean "
        f"(standard deviation) over seeds, or one seed. {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
