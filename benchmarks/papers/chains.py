"""Pseudo-Gibbs against Metropolis-within-Gibbs, where the exact answer is known.

``python benchmarks/papers/chains.py`` fits a model of two latents to the toy of ``mog.py`` and runs
chains over the missing cells of test rows, half of them hidden, by its encoder of incomplete rows,
and by one that was trained further on complete ones, which is all that chains show it. What they
say of a cell's mean is compared with the model's own E[x_mis | x_obs], by a grid of latents:
pseudo-Gibbs (Rezende et al. 2014) stays where the encoder is wrong, Metropolis-within-Gibbs (Mattei
and Frellsen 2018) goes on to the truth. Each run adds a line to ``chains.csv``; runs that are there
are not done again.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
import mog
from common import markdown, pyplot, run_grid, versions
from posteriors import masked

from skmissvae import VAEDensityEstimator
from skmissvae._utils.random import StreamNoise
from skmissvae.inference import samplers
from skmissvae.vae import VAE

ENCODERS = ("of incomplete rows", "refitted to complete rows")
WAYS = {
    "pseudo-Gibbs": samplers.PseudoGibbs(),
    "Metropolis-within-Gibbs": samplers.MetropolisWithinGibbs(),
    "LAIR": samplers.LAIR(),
    "importance resampling, 1,000 draws": samplers.ImportanceResampling(),
}
STEPS = (10, 100, 1000)
N_CHAINS = 20


def exact(vae: VAE, x: Tensor, observed: Tensor, n: int = 600) -> Tensor:
    """Return E[x | x_obs] by a grid over two latents, (B, D)."""
    axis = torch.linspace(-5.5, 5.5, n)
    z = torch.cartesian_prod(axis, axis).unsqueeze(1)  # (n * n, 1, 2)
    total = torch.full((len(x),), -torch.inf, dtype=torch.float64)
    mean = torch.zeros(x.shape, dtype=torch.float64)
    for piece in z.split(20_000):
        columns = vae.decode(piece)
        log_joint = vae.log_joint(x, observed, piece, columns).double()  # (M, B)
        level = torch.logaddexp(total, log_joint.logsumexp(0))
        here = (log_joint - level).exp().T @ columns.mean().squeeze(1).double()
        mean = mean * (total - level).exp().unsqueeze(-1) + here
        total = level
    return mean


def run(encoder: str, way: str, rows: int, n_test: int, seed: int) -> dict[str, Any]:
    """Fit a model, run chains, and return how far their means are from the exact ones."""
    data = mog.load()
    options = mog.estimator("MVAE", 5, 30 if rows > 2000 else 3, seed).get_params()
    density = VAEDensityEstimator(**options).fit(masked(data["train"][:rows], 0.5, seed))
    if encoder == ENCODERS[1]:
        density = density.refit_encoder(data["train"][:rows])
    test = masked(data["test"][:n_test], 0.5, seed + 1)
    x, observed = density.encode_rows(test).tensors()
    vae, noise = density.vae_, StreamNoise(torch.Generator().manual_seed(seed))
    found: dict[str, float] = {}
    with torch.inference_mode():
        truth = exact(vae, x, observed)
        start = vae.posterior(x, observed).ancestral(N_CHAINS, noise)[0]
        for n_steps in STEPS:
            if "resampling" in way and n_steps > STEPS[0]:
                break  # its steps are independent of one another
            sampler = dataclasses.replace(WAYS[way], n_steps=n_steps)
            done = samplers.run(sampler, vae, x, observed, start, noise)
            off = (done.means(vae).mean((0, 1)) - truth)[~observed]
            found[f"{n_steps} steps"] = float(off.square().mean().sqrt())
            found["acceptance"] = float(done.acceptance.mean())
    return found


def picture(results: pd.DataFrame, path: Path) -> None:
    """Draw the errors by the number of steps: a panel per encoder."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
    for ax, encoder in zip(axes, ENCODERS, strict=True):
        part = results[results["encoder"] == encoder].set_index("way")
        for way in part.index:
            errors = part.loc[way, [f"{n} steps" for n in STEPS]].astype(float)
            if "resampling" in way:
                ax.axhline(errors.iloc[0], color="0.6", ls="--", label=way)
            else:
                ax.plot(STEPS, errors, marker="o", label=way)
        ax.set(xscale="log", xlabel="steps", title=f"encoder {encoder}", ylim=(0, None))
    axes[0].set_ylabel("off the exact mean, sd")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is not done yet and write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 rows, 20 test rows")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--report", action="store_true", help="write what is done, run nothing")
    options = parser.parse_args()
    quick = options.quick
    rows, n_test = (2000, 20) if quick else (20_000, 100)
    path = Path(__file__).with_name("chains_quick.csv" if quick else "chains.csv")
    cells = [(encoder, way, rows, n_test, 0) for encoder in ENCODERS for way in WAYS]
    keys = ["encoder", "way", "rows", "n_test", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    frame = results.set_index(results["encoder"] + ", " + results["way"])
    columns = [*(f"{n} steps" for n in STEPS), "acceptance"]
    frame = frame[columns].map("{:.3f}".format).replace("nan", "")
    text = markdown(frame, "encoder, way") + (
        f"\nRoot mean squared difference between means of {N_CHAINS} chains, the first half of the "
        "steps left out, and the exact E[x | observed], in standard deviations of the columns, "
        f"over the missing cells of {n_test} rows. {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)
    if not quick:
        picture(results, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
