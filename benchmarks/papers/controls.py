"""Likelihood of DeMissVAE by the quality of its imputations in training.

``python benchmarks/papers/controls.py`` fits DeMissVAE to the data of ``mog.py``, half of the cells
missing, with imputations that are updated by samplers of the model, or drawn from the true mixture
("oracles", figure 5 of Simkus and Gutmann 2024). Oracle 1 interpolates between the true conditional
distribution, the product of its marginals, and independent Normals with the same moments; oracle 2
has the true conditional components with weights between the true ones and equal ones. Each run
appends a line to ``controls.csv``; existing runs are not repeated.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
import mog
from common import argument_parser, markdown, mean_and_spread, run_grid, versions, write_page
from quadrature import integrated_score_samples

from skmissvae._utils.random import Noise
from skmissvae.inference.samplers import (
    LAIR,
    Chain,
    MetropolisWithinGibbs,
    Pool,
    PseudoGibbs,
    Sampler,
    encodings,
    impute,
)
from skmissvae.vae import VAE


class ConditionalGaussians(NamedTuple):
    """p(x_mis | x_obs) of a mixture of Gaussians: C components of B rows."""

    weights: Tensor  # (B, C)
    means: Tensor  # (B, C, D)
    covariances: Tensor  # (B, C, D, D)   zero where a cell is observed


class Gaussians(NamedTuple):
    """A mixture of Gaussians, in the units of the model."""

    weights: Tensor  # (C,)
    means: Tensor  # (C, D)
    covariances: Tensor  # (C, D, D)

    def conditional(self, x: Tensor, observed: Tensor) -> ConditionalGaussians:
        """Return p(x_mis | x_obs): (B, D), (B, D) -> B rows."""
        o = observed.double()
        both = o[:, None, :, None] * o[:, None, None, :]
        cov_observed = self.covariances * both + torch.diag_embed(1 - o)[:, None]
        cross = self.covariances * ((1 - o)[:, None, :, None] * o[:, None, None, :])
        deviation = (x.double()[:, None] - self.means) * o[:, None]  # (B, C, D)
        chol = torch.linalg.cholesky(cov_observed)
        solved = torch.cholesky_solve(deviation.unsqueeze(-1), chol)  # (B, C, D, 1)
        square = (deviation * solved.squeeze(-1)).sum(-1)
        log_det = 2 * chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_w = self.weights.log() - 0.5 * (square + log_det)
        hidden = (1 - o)[:, None, :, None] * (1 - o)[:, None, None, :]
        covariances = self.covariances * hidden - cross @ torch.cholesky_solve(cross.mT, chol)
        means = self.means + (cross @ solved).squeeze(-1)
        return ConditionalGaussians(log_w.softmax(-1), means, covariances)


@dataclass(frozen=True, kw_only=True)
class Oracle(Sampler):
    """Imputations from the true mixture.

    Parameters
    ----------
    mixture : Gaussians
        The true mixture.
    independence : float
        0 is the conditional distribution, 1 the product of its marginals, 2 Normals with the same
        moments; fractions are probabilities of the two neighbours.
    equality : float
        0 has the true weights of the components, 1 equal weights.
    """

    mixture: Gaussians
    independence: float = 0.0
    equality: float = 0.0

    def step(self, vae: VAE, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return new imputations."""
        conditional = self.mixture.conditional(chain.x[0], observed)
        n, n_rows, n_columns = chain.x.shape
        equal = torch.full_like(conditional.weights, 1 / conditional.weights.shape[1])
        weights = torch.lerp(conditional.weights, equal, self.equality)
        eye = 1e-9 * torch.eye(n_columns, dtype=torch.float64)
        roots = torch.linalg.cholesky(conditional.covariances + eye)  # (B, C, D, D)
        scales = conditional.covariances.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()  # (B, C, D)

        def pick(values: Tensor, u: Tensor) -> Tensor:
            """Return the values of drawn components: (B, C, D), (n, B, D) -> (n, B, D)."""
            below = weights.cumsum(-1)[:, :-1]  # (B, C - 1)
            c = (u.unsqueeze(-1) > below[:, None]).sum(-1, keepdim=True)  # (n, B, D, 1)
            return values.mT.expand(n, -1, -1, -1).gather(-1, c).squeeze(-1)

        u = noise.uniform(n, n_rows, n_columns).double()
        e = noise.normal(n, n_rows, n_columns).double()
        c = (u[..., :1] > weights.cumsum(-1)[:, :-1]).sum(-1)  # (n, B)
        row = torch.arange(n_rows)
        joint = conditional.means[row, c] + (roots[row, c] @ e.unsqueeze(-1)).squeeze(-1)
        marginal = pick(conditional.means, u) + pick(scales, u) * e
        mean = (weights.unsqueeze(-1) * conditional.means).sum(1)  # (B, D)
        second = (weights.unsqueeze(-1) * (scales**2 + conditional.means**2)).sum(1)
        normal = mean + (second - mean**2).clamp_min(0).sqrt() * e
        share = noise.uniform(n, n_rows, 1).double()
        kind = torch.floor(share + self.independence).clamp_max(2)  # (n, B, 1)
        x = torch.where(kind == 0, joint, torch.where(kind == 1, marginal, normal))
        x = x.to(chain.x.dtype)
        return chain._replace(x=torch.where(observed, chain.x, x))


@dataclass(frozen=True, kw_only=True)
class ManyDraws(Sampler):
    """Sampling-importance-resampling from encodings and prior with many draws, nearly exact.

    Parameters
    ----------
    n_each : int
        Draws from each encoding.
    n_prior : int
        Draws from the prior, shared by all rows.
    """

    n_each: int = 20
    n_prior: int = 1000

    def step(self, vae: VAE, chain: Chain, observed: Tensor, noise: Noise) -> Chain:
        """Return draws of the model's p(x_mis | x_obs)."""
        n_rows = observed.shape[0]
        q = encodings(vae, chain.x)
        near = q.ancestral(self.n_each, noise)[0].flatten(0, 1)  # (S n, B, L)
        far = vae.prior().expand(1).ancestral(self.n_prior, noise)[0]  # (P, 1, L)
        params = torch.cat([vae.decoder(near), vae.decoder(far).expand(-1, n_rows, -1)])
        z = torch.cat([near, far.expand(-1, n_rows, -1)])
        log_joint = vae.log_joint(chain.x[0], observed, z, vae.likelihood(params))
        # density of the draws under the mixture of all proposals
        log_q = q.log_prob_pooled(z) + math.log(len(near) / len(z))
        log_p = vae.prior().log_prob(z) + math.log(len(far) / len(z))
        pool = Pool(z, params, log_joint - torch.logaddexp(log_q, log_p))
        z, params = pool.choose(len(chain.x), noise)
        return impute(vae.likelihood(params), z, chain, observed, noise)


SAMPLERS: dict[str, Sampler] = {
    "model: LAIR, a pool of 5": LAIR(n_replenish=0),
    "model: pseudo-Gibbs": PseudoGibbs(),
    "model: Metropolis-within-Gibbs": MetropolisWithinGibbs(),
    "model: a pool of 1,100": ManyDraws(),
}
ORACLES: dict[str, dict[str, float]] = {
    "oracle: true conditional": {},
    "oracle 1: half of them independent marginals": {"independence": 0.5},
    "oracle 1: independent marginals": {"independence": 1.0},
    "oracle 1: half of them Normals": {"independence": 1.5},
    "oracle 1: independent Normals": {"independence": 2.0},
    "oracle 2: weights half-way to equal": {"equality": 0.5},
    "oracle 2: equal weights": {"equality": 1.0},
}


def mixture(incomplete: np.ndarray) -> Gaussians:
    """Return the true mixture in the units of the model of an incomplete table."""
    location, scale = np.nanmean(incomplete, 0), np.nanstd(incomplete, 0)
    true = mog.truth()
    return Gaussians(
        torch.from_numpy(true["weights"]),
        torch.from_numpy((true["means"] - location) / scale),
        torch.from_numpy(true["covariances"] / np.outer(scale, scale)),
    )


def run(imputations: str, epochs: int, rows: int, seed: int) -> dict[str, Any]:
    """Fit a model and return its exact log-likelihood of complete rows."""
    data = mog.load()
    incomplete = mog.half_hidden(data["train"][:rows], seed)
    sampler = SAMPLERS.get(imputations)
    if sampler is None:
        sampler = Oracle(mixture=mixture(incomplete), **ORACLES[imputations])
    density = mog.estimator("DeMissVAE", 5, epochs, seed).set_params(sampler=sampler, device="cpu")
    density.fit(incomplete)
    exact = integrated_score_samples(density, data["test"]).mean()
    return {"log_likelihood": float(exact), "fit_seconds": density.history_["seconds"][-1]}


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="2,000 rows, 5 epochs")
    parser.add_argument("--epochs", type=int, default=30, help="180 to 500 in the paper")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of mask and model")
    options = parser.parse_args()
    quick = options.quick
    epochs, rows = (5, 2000) if quick else (options.epochs, 20_000)
    path = Path(__file__).with_name("controls_quick.csv" if quick else "controls.csv")
    names = [*SAMPLERS, *ORACLES]
    cells = [(name, epochs, rows, seed) for seed in range(options.seeds) for name in names]
    keys = ["imputations", "epochs", "rows", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    results["cell"] = [f"{epochs} epochs" for epochs in results["epochs"]]
    frame = mean_and_spread(results, "imputations", "cell", "log_likelihood")
    frame = frame.reindex([name for name in names if name in frame.index])
    text = markdown(frame.astype(str), "imputations") + (
        "\nDeMissVAE with five imputations per row. Log-likelihood of complete test rows by "
        "integration over the latents, in nats; that of the true mixture is -2.09. Half of the "
        f"cells of {rows:,} rows are missing completely at random. Mean (standard deviation) over "
        f"seeds, or one seed. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
