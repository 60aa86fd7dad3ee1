"""Cost of a training step of DeMissVAE beside those of plain VAEs.

``python benchmarks/step_cost.py`` times training on a table of 5 columns with networks of 3 x 200,
in batches of 64 rows, in rounds in which every method has its turn, and writes medians over the
rounds of milliseconds per step and of the ratios within a round to ``step_cost.csv``.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from common import markdown, versions
from torch import Tensor

from skmissvae._columns import Facts
from skmissvae._spec import Spec
from skmissvae.model import VAE
from skmissvae.noise import Noise
from skmissvae.objectives import (
    METHODS,
    Batch,
    BoundObjective,
    DeMissObjective,
    ImputationStore,
    Objective,
)
from skmissvae.samplers import LAIR, Chain, Sampler
from skmissvae.training import Settings, train

B, K, D = 64, 5, 5


class Apart(Sampler):
    """LAIR in a forward pass of its own, as where networks have dropout."""

    def step(self, vae: VAE, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return the chains one step on."""
        return LAIR(n_replenish=0).step(vae, chain, observed, noise)


def spec(n_components: int, dropout: float = 0.0) -> Spec:
    """Return the architecture of the paper's toy."""
    return Spec(
        facts=(Facts("continuous"),) * D,
        n_latents=2,
        K=n_components,
        likelihood=[("normal", list(range(D)))],
        min_scale=1e-3,
        n_hidden=200,
        n_blocks=3,
        dropout=dropout,
        linear_path=False,
        guided=False,
        prior="normal",
        posterior="auto",
        encoder=None,
        decoder=None,
    )


def table(n: int, observed_share: float) -> Batch:
    """Return random rows with holes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, D, generator=generator)
    observed = torch.rand(n, D, generator=generator) < observed_share
    return Batch(torch.where(observed, x, 0.0), observed, torch.arange(n))


def bound(name: str, n_draws: int) -> BoundObjective:
    """Return a method of a single bound."""
    method = METHODS[name]
    return BoundObjective(
        method.bound, n_draws, stratified=method.stratified, gradient=method.gradient
    )


def cases(n_steps: int) -> dict[str, Callable[[], None]]:
    """Return what is timed: each call takes ``n_steps`` steps."""
    holed, complete = table(B * n_steps, 0.5), table(B * K * n_steps, 1.0)
    mixture, single = spec(K).build(), spec(1).build()
    completed = spec(K).build_completed(mixture)
    generator = torch.Generator().manual_seed(0)
    imputations = ImputationStore(holed, K, 0, generator)
    demiss = DeMissObjective(imputations, LAIR(n_replenish=0))
    apart = DeMissObjective(ImputationStore(holed, K, 0, generator), Apart())

    def steps(vae: VAE, objective: Objective, rows: Batch, batch_size: int) -> Callable:
        settings = Settings(1, batch_size, 1e-3, max_grad_norm=10.0)
        return lambda: train(vae, objective, rows, settings, generator)

    default = spec(K, 0.3).build_completed(spec(K, 0.3).build())
    as_shipped = DeMissObjective(ImputationStore(holed, K, 0, generator), LAIR())

    return {
        "DeMissVAE, LAIR": steps(completed, demiss, holed, B),
        "DeMissVAE, LAIR with a draw of the prior, dropout 0.3": steps(
            default, as_shipped, holed, B
        ),
        "DeMissVAE, LAIR, a forward pass of its own": steps(completed, apart, holed, B),
        "VAE, B x K complete rows": steps(single, bound("MVAE", 1), complete, B * K),
        "MVAE, K draws": steps(single, bound("MVAE", K), holed, B),
        "MissVAE, K draws": steps(mixture, bound("MissVAE", K), holed, B),
        "MissSVAE, a draw per component": steps(mixture, bound("MissSVAE", 1), holed, B),
        "MIWAE, K draws": steps(single, bound("MIWAE", K), holed, B),
        "MissIWAE, K draws": steps(mixture, bound("MissIWAE", K), holed, B),
        "MissSIWAE, a draw per component": steps(mixture, bound("MissSIWAE", 1), holed, B),
    }


def main() -> None:
    """Time every case and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    n_steps, n_rounds = (20, 3) if options.quick else (60, 15)
    timed = cases(n_steps)
    milliseconds = {name: [] for name in timed}
    for _ in range(n_rounds + 1):  # the first warms up
        for name, call in timed.items():
            start = time.perf_counter()
            call()
            milliseconds[name].append(1000 * (time.perf_counter() - start) / n_steps)
    rounds = pd.DataFrame(milliseconds).iloc[1:]
    results = pd.DataFrame({"ms_per_step": rounds.median()})
    for column, reference in (
        ("to_complete", "VAE, B x K complete rows"),
        ("to_mvae", "MVAE, K draws"),
    ):
        results[column] = rounds.div(rounds[reference], axis=0).median()
    path = Path(__file__).with_name("step_cost_quick.csv" if options.quick else "step_cost.csv")
    results.to_csv(path, index_label="method", float_format="%.3f")
    results.columns = ["ms per step", "relative to B x K complete rows", "relative to MVAE"]
    text = (
        markdown(results.map("{:.2f}".format), "method")
        + f"\nA training step in batches of {B} rows, K = {K}, {D} columns, networks of 3 x 200: "
        f"medians over {n_rounds} interleaved rounds of {n_steps} steps. {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
