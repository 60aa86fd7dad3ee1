"""Log-likelihoods of all methods on MINIBOONE and POWER with 20, 50 and 80% of the cells missing.

``python benchmarks/papers/densities.py`` fits the seven methods of Simkus and Gutmann (2024), with
narrower networks and fewer steps, and ``VAEDensityEstimator()`` with its defaults. It measures the
log-likelihood of complete test rows (figure 3), and the Fréchet distance between sampled rows and
test rows in the latents of a reference VAE that is fitted to complete rows (figure 12). Each run
appends a line to ``densities.csv``; existing runs are not repeated.

MINIBOONE consists of the validation and test rows of the usual split, which are split again. POWER
consists of its first 13 days with the usual columns: time of day, and five columns with uniform
jitter of the width of their last digit. The published results have the same columns and many more
rows.
"""

import functools
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import mog
from common import argument_parser, markdown, pyplot, run_grid, versions, write_page
from frechet import frechet_distance

from skmissvae import AdamW, ResidualNetwork, VAEDensityEstimator
from skmissvae.inference import LAIR
from skmissvae.inspection import log_likelihood

#: Figure 3: log-likelihoods with 20, 50 and 80% missing, means over five seeds, read off the plot.
PUBLISHED = {
    "miniboone": {
        "MVAE": (-17.0, -19.7, -28.5),
        "MissVAE": (-17.0, -19.7, -31.6),
        "MissSVAE": (-17.0, -19.7, -29.4),
        "MIWAE": (-14.2, -17.4, -23.0),
        "MissIWAE": (-14.0, -17.4, -22.8),
        "MissSIWAE": (-14.15, -17.4, -22.9),
        "DeMissVAE": (-14.95, -18.7, -27.4),
    },
    "power": {
        "MVAE": (0.06, -0.61, -1.9),
        "MissVAE": (-0.30, -0.49, -1.88),
        "MissSVAE": (0.10, -0.17, -1.10),
        "MIWAE": (0.46, 0.27, -0.52),
        "MissIWAE": (0.47, 0.27, -0.48),
        "MissSIWAE": (0.46, 0.36, -0.46),
        "DeMissVAE": (0.18, -0.08, -1.03),
    },
}
OURS = "VAEDensityEstimator()"
METHODS = (*PUBLISHED["power"], OURS)
SHARES = (0.5, 0.2, 0.8)
BUDGET, K = 5, 5
SETTINGS: dict[str, dict[str, Any]] = {
    "miniboone": {"n_latents": 32, "dropout": 0.5, "batch_size": 128},
    "power": {"n_latents": 16, "dropout": 0.0, "batch_size": 256},
}
N_TEST = 500


@functools.cache
def load(table: str) -> tuple[np.ndarray, np.ndarray]:
    """Return standardized training and test rows."""
    folder = os.environ.get("SKMISSVAE_DATA")
    if not folder:
        raise SystemExit(
            "The tables are parts of the usual files of MINIBOONE and POWER. Set $SKMISSVAE_DATA "
            "to a folder that contains C_density/miniboone_val_test.npz and power_head.csv.gz."
        )
    rng = np.random.default_rng(0)
    if table == "miniboone":
        with np.load(Path(folder) / "C_density" / "miniboone_val_test.npz") as file:
            rows = np.concatenate([file["val"], file["test"]]).astype(float)
    else:
        frame = pd.read_csv(Path(folder) / "C_density" / "power_head.csv.gz")
        time_of_day = pd.to_datetime(frame["Datetime"]).dt
        widths = {
            "Global_active_power": 0.001,
            "Voltage": 0.01,
            "Sub_metering_1": 1.0,
            "Sub_metering_2": 1.0,
            "Sub_metering_3": 1.0,
        }
        jittered = [frame[name] + width * rng.random(len(frame)) for name, width in widths.items()]
        minutes = time_of_day.hour * 60 + time_of_day.minute
        rows = np.column_stack([minutes, *jittered]).astype(float)
    rows = rows[rng.permutation(len(rows))]
    n = round(0.8 * len(rows))
    train, test = rows[:n], rows[n:]
    return (train - train.mean(0)) / train.std(0), (test - train.mean(0)) / train.std(0)


def estimator(table: str, method: str, epochs: int, seed: int) -> VAEDensityEstimator:
    """Return a method with networks like those of the paper, or the default estimator."""
    if method == OURS:
        return VAEDensityEstimator(random_state=seed)
    return VAEDensityEstimator(
        objective=method,
        K=K,
        n_draws=mog.n_draws(method, BUDGET, K),
        sampler=LAIR(n_replenish=1),
        n_hidden=128,
        n_blocks=2,
        network=ResidualNetwork(linear_path=False),
        learn_shapes=False,
        min_scale=1e-5,
        learning_rate=1e-3,
        optimizer=AdamW(max_grad_norm=1.0 if method in mog.ANCESTRAL else 5.0),
        max_iter=epochs,
        early_stopping=False,
        random_state=seed,
        **SETTINGS[table],
    )


@functools.cache
def reference_model(table: str) -> VAEDensityEstimator:
    """Return a model of complete rows, whose latents are the features of the Fréchet distance."""
    density = VAEDensityEstimator(objective="MVAE", n_latents=16, max_iter=50, random_state=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no cell is missing
        return density.fit(load(table)[0])


def features(table: str, X: np.ndarray) -> np.ndarray:
    """Return the means of the encoder of the reference model: (N, D) -> (N, L)."""
    density = reference_model(table)
    with torch.inference_mode():
        return density.vae_.posterior(*density.encode_rows(X).tensors()).mean().numpy()


def run(table: str, share: float, method: str, epochs: int, rows: int, seed: int) -> dict[str, Any]:
    """Fit a model and measure it."""
    train, test = load(table)
    train, test = train[:rows], test[:N_TEST]
    hidden = np.random.default_rng(seed).random(train.shape) < share
    incomplete = np.where(hidden, np.nan, train)[~hidden.all(1)]
    start = time.perf_counter()
    density = estimator(table, method, epochs, seed).fit(incomplete)
    seconds = time.perf_counter() - start
    # as in the paper, the encoder is trained further for complete rows, with the decoder fixed
    density.set_params(max_iter=400, batch_size=128)  # 200 epochs of the test rows
    likelihood = log_likelihood(density.refit_encoder(test), test, n_draws=1000)
    new = density.sample(5000, random_state=seed)
    return {
        "log_likelihood": likelihood.mean,
        "standard_error": likelihood.standard_error,
        "mc_error": float(np.median(likelihood.errors)),
        "frechet": frechet_distance(
            features(table, np.asarray(new)), features(table, load(table)[1])
        ),
        "fit_seconds": seconds,
    }


def report(results: pd.DataFrame, table: str) -> str:
    """Return log-likelihoods and Fréchet distances of a table as Markdown."""
    part = results[results["table"] == table]
    methods = [method for method in METHODS if method in set(part["method"])]
    lines: dict[str, dict[str, str]] = {method: {} for method in methods}
    for share in sorted(SHARES):
        groups = part[part["share"] == share].groupby("method")[["log_likelihood", "frechet"]]
        for method, means in groups.mean().iterrows():
            lines[str(method)][f"{share:.0%}"] = f"{means['log_likelihood']:.2f}"
            lines[str(method)][f"{share:.0%}, Fréchet"] = f"{means['frechet']:.3f}"
    frame = pd.DataFrame(lines).T.fillna("")
    order = [f"{share:.0%}{end}" for end in ("", ", Fréchet") for share in sorted(SHARES)]
    frame = frame[[name for name in order if name in frame]]
    for i, share in enumerate(sorted(SHARES)):
        figures = PUBLISHED[table]
        frame[f"{share:.0%}, published"] = [
            f"{figures[method][i]:.2f}" if method in figures else "" for method in frame.index
        ]
    error, mc_error = part["standard_error"].mean(), part["mc_error"].max()
    return (
        f"**{table}**\n\n{markdown(frame, 'method')}\nStandard error over test rows: {error:.2f}; "
        f"median Monte Carlo error of a score: at most {mc_error:.2f}.\n"
    )


def draw(results: pd.DataFrame, path: Path) -> None:
    """Draw log-likelihoods by the share of missing cells, published ones as dotted lines."""
    plt = pyplot()
    shares = sorted(SHARES)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for ax, (table, figures) in zip(axes, PUBLISHED.items(), strict=True):
        means = results[results["table"] == table].groupby(["method", "share"])["log_likelihood"]
        wide = means.mean().unstack().reindex(index=METHODS, columns=shares)
        for i, method in enumerate(METHODS):
            color = "black" if method == OURS else f"C{i}"
            ax.plot(shares, wide.loc[method], marker="o", color=color, label=method)
            if method in figures:
                ax.plot(shares, figures[method], ls=":", color=color)
        ax.set(title=table, xlabel="share of cells missing", xticks=shares)
    axes[0].set_ylabel("log-likelihood of test rows, nats")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", fontsize=8)
    figure.suptitle("Fewer rows and steps than published (dotted)", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is not in the CSV file yet, and write the tables and the figure."""
    parser = argument_parser(__doc__, quick="2,000 rows, 5 epochs, half missing")
    parser.add_argument("--epochs", type=int, default=60, help="770 in the paper for MINIBOONE")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of mask and model")
    options = parser.parse_args()
    quick = options.quick
    epochs, rows = (5, 2000) if quick else (options.epochs, 20_000)
    path = Path(__file__).with_name("densities_quick.csv" if quick else "densities.csv")
    cells = [
        (table, share, method, epochs, rows, seed)
        for seed in range(options.seeds)
        for share in (SHARES[:1] if quick else SHARES)
        for table in PUBLISHED
        for method in METHODS
        if not (quick and method == OURS)
    ]
    keys = ["table", "share", "method", "epochs", "rows", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    results = results[(results["epochs"] == epochs) & (results["rows"] == rows)]
    text = "\n".join(report(results, table) for table in PUBLISHED) + (
        "\nBy the share of missing training cells: log-likelihood of complete standardized test "
        f"rows in nats, by the importance-weighted bound with 1,000 draws on {N_TEST} rows, with "
        "the encoder trained further on these rows; and Fréchet distance between 5,000 sampled "
        f"rows and the test rows. {epochs} epochs, {BUDGET} draws per row and step. The published "
        f"results are from many more rows and steps: only their order is comparable. {versions()}"
    )
    write_page(path, text)
    if not quick:
        draw(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
