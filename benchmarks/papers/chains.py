"""Errors of the conditional means by Markov chains, with exact means as the reference.

``python benchmarks/papers/chains.py`` fits a model of two latents to the data of ``mog.py`` and
runs chains for test rows with half of the cells hidden: with the encoder of incomplete rows, and
with an encoder that is trained further on complete rows, as chains encode completed rows only. The
means of the chains are compared with E[x_mis | x_obs] of the model, computed on a grid of latents.
Pseudo-Gibbs (Rezende et al. 2014) is biased by the error of the encoder, Metropolis-within-Gibbs
(Mattei and Frellsen 2018) converges. Each run appends a line to ``chains.csv``; existing runs are
not repeated.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
import mog
from common import argument_parser, markdown, pyplot, run_grid, versions, write_page
from posteriors import masked

from skmissvae import VAEDensityEstimator
from skmissvae._utils.random import StreamNoise
from skmissvae.inference import samplers
from skmissvae.vae import VAE

ENCODERS = ("of incomplete rows", "refitted to complete rows")
SAMPLERS = {
    "pseudo-Gibbs": samplers.PseudoGibbs(),
    "Metropolis-within-Gibbs": samplers.MetropolisWithinGibbs(),
    "LAIR": samplers.LAIR(),
    "importance resampling, 1,000 draws": samplers.ImportanceResampling(),
}
STEPS = (10, 100, 1000)
N_CHAINS = 20


def exact(vae: VAE, x: Tensor, observed: Tensor, n: int = 600) -> Tensor:
    """Return E[x | x_obs] by summation over a grid of two latents, (B, D)."""
    axis = torch.linspace(-5.5, 5.5, n)
    z = torch.cartesian_prod(axis, axis).unsqueeze(1)  # (n * n, 1, 2)
    total = torch.full((len(x),), -torch.inf, dtype=torch.float64)
    mean = torch.zeros(x.shape, dtype=torch.float64)
    for block in z.split(20_000):
        columns = vae.decode(block)
        log_joint = vae.log_joint(x, observed, block, columns).double()  # (M, B)
        new_total = torch.logaddexp(total, log_joint.logsumexp(0))
        increment = (log_joint - new_total).exp().T @ columns.mean().squeeze(1).double()
        mean = mean * (total - new_total).exp().unsqueeze(-1) + increment
        total = new_total
    return mean


def run(encoder: str, sampler: str, rows: int, n_test: int, seed: int) -> dict[str, Any]:
    """Fit a model, run chains, and return the errors of their means."""
    data = mog.load()
    options = mog.estimator("MVAE", 5, 30 if rows > 2000 else 3, seed).get_params()
    density = VAEDensityEstimator(**options).fit(masked(data["train"][:rows], 0.5, seed))
    if encoder == ENCODERS[1]:
        density = density.refit_encoder(data["train"][:rows])
    test = masked(data["test"][:n_test], 0.5, seed + 1)
    x, observed = density.encode_rows(test).tensors()
    vae, noise = density.vae_, StreamNoise(torch.Generator().manual_seed(seed))
    outcome: dict[str, float] = {}
    with torch.inference_mode():
        truth = exact(vae, x, observed)
        start = vae.posterior(x, observed).ancestral(N_CHAINS, noise)[0]
        for n_steps in STEPS:
            if "resampling" in sampler and n_steps > STEPS[0]:
                break  # its steps are independent
            updates = dataclasses.replace(SAMPLERS[sampler], n_steps=n_steps)
            chains = samplers.run(updates, vae, x, observed, start, noise)
            error = (chains.means(vae).mean((0, 1)) - truth)[~observed]
            outcome[f"{n_steps} steps"] = float(error.square().mean().sqrt())
            outcome["acceptance"] = float(chains.acceptance.mean())
    return outcome


def draw(results: pd.DataFrame, path: Path) -> None:
    """Draw the errors by the number of steps, a panel per encoder."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
    for ax, encoder in zip(axes, ENCODERS, strict=True):
        part = results[results["encoder"] == encoder].set_index("sampler")
        for sampler in part.index:
            errors = part.loc[sampler, [f"{n} steps" for n in STEPS]].astype(float)
            if "resampling" in sampler:
                ax.axhline(errors.iloc[0], color="0.6", ls="--", label=sampler)
            else:
                ax.plot(STEPS, errors, marker="o", label=sampler)
        ax.set(xscale="log", xlabel="steps", title=f"encoder {encoder}", ylim=(0, None))
    axes[0].set_ylabel("RMSE of the mean, SD")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is not in the CSV file yet, and write the table and the figure."""
    parser = argument_parser(__doc__, quick="2,000 rows, 20 test rows")
    options = parser.parse_args()
    quick = options.quick
    rows, n_test = (2000, 20) if quick else (20_000, 100)
    path = Path(__file__).with_name("chains_quick.csv" if quick else "chains.csv")
    cells = [(encoder, sampler, rows, n_test, 0) for encoder in ENCODERS for sampler in SAMPLERS]
    keys = ["encoder", "sampler", "rows", "n_test", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    frame = results.set_index(results["encoder"] + ", " + results["sampler"])
    columns = [*(f"{n} steps" for n in STEPS), "acceptance"]
    frame = frame[columns].map("{:.3f}".format).replace("nan", "")
    text = markdown(frame, "encoder, sampler") + (
        f"\nRoot mean squared error of the means of {N_CHAINS} chains, without the first half of "
        "the steps, with the exact E[x | observed] as the reference; in standard deviations of the "
        f"columns, over the missing cells of {n_test} rows. {versions()}"
    )
    write_page(path, text)
    if not quick:
        draw(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
