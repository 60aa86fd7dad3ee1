"""The likelihood of a VAE with Normal columns has no bound, and a floor on their scale cures it.

``python benchmarks/papers/unbounded.py`` fits a model to half of the Wisconsin breast cancer table,
a fifth of its cells hidden, with ever lower floors on the scale of the observation model, and
measures log-likelihoods of training and test rows, beside the bound that no decoder can pass by the
same floor: the likelihood of the best mixture (Mattei and Frellsen 2018). Each run adds a line to
``unbounded.csv``; runs that are there are not done again.
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

FLOORS = (1e-6, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3)
EPOCHS = (50, 200, 800)


def run(floor: float, epochs: int, seed: int) -> dict[str, Any]:
    """Fit a model and measure it."""
    X = load_breast_cancer().data[:, :10]
    rng = np.random.default_rng(seed)
    X = (X - X.mean(0)) / X.std(0)
    X = np.where(rng.random(X.shape) < 0.2, np.nan, X)[rng.permutation(len(X))]
    train, test = X[:284], X[284:]
    density = VAEDensityEstimator(
        objective="MIWAE",
        n_draws=10,
        min_scale=floor,
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
    found = {
        "train": log_likelihood(density, train).mean,
        "test": log_likelihood(density, test).mean,
    }
    if floor >= 0.01 and epochs == EPOCHS[0]:  # the bound depends on the floor and the table only
        found["upper_bound"] = likelihood_upper_bound(density, train).bound
        assert found["train"] < found["upper_bound"]
    return found


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argument_parser(__doc__, quick="50 epochs, three floors")
    options = parser.parse_args()
    quick = options.quick
    floors, lengths = (FLOORS[2::2], EPOCHS[:1]) if quick else (FLOORS, EPOCHS)
    path = Path(__file__).with_name("unbounded_quick.csv" if quick else "unbounded.csv")
    cells = [(floor, epochs, 0) for floor in floors for epochs in lengths]
    results = run_grid(
        path, ["floor", "epochs", "seed"], [] if options.report else cells, run, options.jobs
    )
    wide = results.pivot_table(index="floor", columns="epochs", values=["train", "test"])
    frame = pd.DataFrame(
        {
            f"{part}, {epochs} epochs": wide[part, epochs].map("{:.2f}".format)
            for part in ("train", "test")
            for epochs in lengths
            if (part, epochs) in wide
        }
    )
    bounds = results.groupby("floor")["upper_bound"].max()
    frame["train, no decoder exceeds"] = bounds.map("{:.2f}".format).replace("nan", "")
    text = markdown(frame, "floor of the scale, sd") + (
        "\nMean log-likelihood of rows with a fifth of ten standardised columns hidden, nats, by "
        "5,000 importance draws; two latents; 284 training rows. The last column is the likelihood "
        f"of the best mixture under the floor; without one it has no bound. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
