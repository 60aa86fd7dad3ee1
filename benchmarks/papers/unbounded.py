"""Likelihood of a VAE with Normal columns by the lower limit of the scale.

``python benchmarks/papers/unbounded.py`` fits models to half of the Wisconsin breast cancer table,
a fifth of the cells hidden, with several lower limits ``min_scale`` of the scale of the observation
model, and measures log-likelihoods of training and test rows. They are compared with the upper
bound for all decoders with this limit, the likelihood of the best mixture; without a limit the
likelihood is unbounded (Mattei and Frellsen 2018). Each run appends a line to ``unbounded.csv``;
existing runs are not repeated.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import argument_parser, markdown, run_grid, versions, write_page
from upper_bound import likelihood_upper_bound

from skmissvae import AdamW, ResidualNetwork, VAEDensityEstimator
from skmissvae.inspection import log_likelihood

MIN_SCALES = (1e-6, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3)
EPOCHS = (50, 200, 800)


def run(min_scale: float, epochs: int, seed: int) -> dict[str, Any]:
    """Fit a model, and measure log-likelihoods and the upper bound."""
    X = load_breast_cancer().data[:, :10]
    rng = np.random.default_rng(seed)
    X = (X - X.mean(0)) / X.std(0)
    X = np.where(rng.random(X.shape) < 0.2, np.nan, X)[rng.permutation(len(X))]
    train, test = X[:284], X[284:]
    density = VAEDensityEstimator(
        objective="MIWAE",
        n_draws=10,
        min_scale=min_scale,
        max_iter=epochs,
        n_latents=2,
        n_hidden=256,
        dropout=0.0,
        network=ResidualNetwork(linear_path=False),
        learn_shapes=False,
        optimizer=AdamW(schedule="constant"),
        early_stopping=False,
        n_importance_draws=1000,
        random_state=seed,
    ).fit(train)
    outcome = {
        "train": log_likelihood(density, train).mean,
        "test": log_likelihood(density, test).mean,
    }
    if min_scale >= 0.01 and epochs == EPOCHS[0]:  # the bound does not depend on the training
        outcome["upper_bound"] = likelihood_upper_bound(density, train).bound
        assert outcome["train"] < outcome["upper_bound"]
    return outcome


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="50 epochs, three limits")
    options = parser.parse_args()
    quick = options.quick
    min_scales, n_epochs = (MIN_SCALES[2::2], EPOCHS[:1]) if quick else (MIN_SCALES, EPOCHS)
    path = Path(__file__).with_name("unbounded_quick.csv" if quick else "unbounded.csv")
    cells = [(min_scale, epochs, 0) for min_scale in min_scales for epochs in n_epochs]
    keys = ["min_scale", "epochs", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    wide = results.pivot_table(index="min_scale", columns="epochs", values=["train", "test"])
    frame = pd.DataFrame(
        {
            f"{part}, {epochs} epochs": wide[part, epochs].map("{:.2f}".format)
            for part in ("train", "test")
            for epochs in n_epochs
            if (part, epochs) in wide
        }
    )
    bounds = results.groupby("min_scale")["upper_bound"].max()
    frame["train, upper bound"] = bounds.map("{:.2f}".format).replace("nan", "")
    text = markdown(frame, "min_scale") + (
        "\nMean log-likelihood in nats of rows with a fifth of the cells of ten standardized "
        "columns hidden, by 5,000 importance draws; two latents, 284 training rows. The upper "
        "bound for all decoders is the likelihood of the best mixture with this limit of the "
        f"scale. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
