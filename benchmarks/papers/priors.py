"""Mixture prior against mixture posterior on data with one latent and a known model.

The true model is z ~ U(0, 1), y | z ~ N(f(z), 0.1^2), with f(z) = (2z - 0.5)^2 below 0.5 and
(2z - 1.5)^2 above. f has four monotone branches, so that the true posterior of z has up to four
modes. ``python benchmarks/papers/priors.py`` fits three models with the true scale of y: Normal
prior and posterior, a prior of ten equal components, and a posterior of ten. Each run appends a
line to ``priors.csv``; existing runs are not repeated.

A latent is identified up to maps that preserve its prior. The latents of all models are mapped to
(0, 1) by the CDF of the prior, and two errors of f are measured: for the better of z and 1 - z, and
after sorting the values of f, which such maps do not change.
"""

import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import (
    argument_parser,
    markdown,
    mean_and_spread,
    pyplot,
    run_grid,
    versions,
    write_page,
)
from quadrature import integrated_score_samples

from skmissvae import ResidualNetwork, VAEDensityEstimator
from skmissvae.vae import Mixture, MixturePrior, NormalFamily, NormalLikelihood

SCALE = 0.1  # of y given z
PLOTTED_Y = (1.0, 0.2, -3.0)  # values whose posteriors are in the figure


class EqualMixturePrior(MixturePrior):
    """Mixture of ten components with equal weights."""

    def __init__(self, n_latents: int) -> None:
        super().__init__(n_latents, n_components=10)
        self.logits.requires_grad_(False)


class EqualNormalFamily(NormalFamily):
    """Mixture of Normals with equal weights."""

    def forward(self, params: torch.Tensor) -> Mixture:
        """Return the mixture; the outputs for weights are ignored."""
        q = super().forward(params)
        return Mixture(torch.zeros_like(q.log_pi).log_softmax(-1), q.component)


MODELS: dict[str, dict[str, Any]] = {
    "Normal prior, Normal posterior": {"objective": "MVAE"},
    "mixture prior, Normal posterior": {
        "objective": "MVAE",
        "prior": EqualMixturePrior,
    },
    "Normal prior, mixture posterior": {
        "objective": "MissSVAE",
        "K": 10,
        "n_draws": 1,
        "posterior": EqualNormalFamily,
    },
}
MEASURES = {
    "log_likelihood": "test log-likelihood minus that of the true model",
    "kl_generated": "KL(true y, model y)",
    "kl_posterior": "KL(q, exact posterior of the model)",
    "tv_posterior": "total variation of q and true posterior",
    "f_error": "RMSE of f",
    "f_sorted": "RMSE of sorted f",
    "components": "components of the prior with weight above 2%",
}


def f(z: np.ndarray) -> np.ndarray:
    """Return the mean of y."""
    return np.where(z < 0.5, (2 * z - 0.5) ** 2, (2 * z - 1.5) ** 2)


def draw(n: int, seed: int) -> np.ndarray:
    """Return rows of y, (n, 1)."""
    rng = np.random.default_rng(seed)
    return (f(rng.random(n)) + SCALE * rng.normal(size=n))[:, None]


def true_density(y: np.ndarray) -> np.ndarray:
    """Return the density of y."""
    u = (np.arange(4000) + 0.5) / 4000
    return norm.pdf(y[:, None], f(u), SCALE).mean(1)


class ModelOnGrid(NamedTuple):
    """A fitted model evaluated on a grid of latents."""

    z: np.ndarray  # (G,)
    prior: np.ndarray  # (G,)   density
    u: np.ndarray  # (G,)   CDF of the prior
    f: np.ndarray  # (G,)   mean of y
    density: VAEDensityEstimator


def fit(model: str, n: int, epochs: int, seed: int) -> ModelOnGrid:
    """Fit a model, and evaluate it on a grid of latents."""
    y = draw(n, seed)
    density = VAEDensityEstimator(
        n_latents=1,
        likelihood=functools.partial(NormalLikelihood, scale=SCALE / y.std()),
        n_hidden=64,
        network=ResidualNetwork(linear_path=False),
        learn_shapes=False,
        dropout=0.0,
        max_iter=epochs,
        batch_size=256,
        learning_rate=3e-3,
        early_stopping=False,
        random_state=seed,
    )
    density.set_params(**{"n_draws": 4, **MODELS[model]}).fit(y)
    z = np.linspace(-8, 8, 8001)
    with torch.no_grad():
        nodes = torch.from_numpy(z).float()[:, None]
        log_prior = density.vae_.prior().log_prob(nodes).double().numpy()
        mean = density.vae_.decode(nodes).mean()[:, 0].double().numpy()
    prior = np.exp(log_prior)
    u = np.cumsum(prior) * (z[1] - z[0])
    return ModelOnGrid(z, prior, u / u[-1], y.mean() + y.std() * mean, density)


def posteriors(learned: ModelOnGrid, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return q(z | y) and p(z | y) of the model on the grid, (len(y), G) each."""
    x, observed = learned.density.encode_rows(y[:, None]).tensors()
    nodes = torch.from_numpy(learned.z).float()[:, None, None]
    with torch.no_grad():
        log_q = learned.density.vae_.posterior(x, observed).log_prob(nodes.expand(-1, len(y), 1))
    log_exact = np.log(learned.prior + 1e-300) + norm.logpdf(y[:, None], learned.f, SCALE)
    step = learned.z[1] - learned.z[0]
    log_exact -= np.logaddexp.reduce(log_exact, 1, keepdims=True) + np.log(step)
    return np.exp(log_q.T.double().numpy()), np.exp(log_exact)


def bin_probabilities(learned: ModelOnGrid, density: np.ndarray, n: int = 50) -> np.ndarray:
    """Return the probabilities of n bins that are equally likely under the prior, (*, n)."""
    index = np.minimum((learned.u * n).astype(int), n - 1)
    p = np.zeros((len(density), n))
    np.add.at(p.T, index, density.T * (learned.z[1] - learned.z[0]))
    return p / p.sum(1, keepdims=True)


def run(model: str, n: int, epochs: int, seed: int) -> dict[str, float]:
    """Fit a model, and measure it."""
    learned = fit(model, n, epochs, seed)
    density, test = learned.density, draw(5000, 1000 + seed)
    y = np.linspace(-0.6, 1.0, 3201)
    true = true_density(y)
    step = learned.z[1] - learned.z[0]
    weight = learned.prior * step / (learned.prior.sum() * step)
    generated = norm.pdf(y[:, None], learned.f, SCALE) @ weight
    kl_generated = float(np.sum(true * np.log(true / generated)) * (y[1] - y[0]))
    test_y = test[:200, 0]
    q, exact = posteriors(learned, test_y)
    ratio = np.log((q + 1e-300) / (exact + 1e-300))
    bins = (np.arange(5000) + 0.5) / 5000
    truth = norm.pdf(test_y[:, None], f(bins), SCALE).reshape(200, 50, 100).sum(-1)
    truth /= truth.sum(1, keepdims=True)
    q_bins = bin_probabilities(learned, q)
    f_of_u = np.interp(bins, learned.u, learned.f)
    prior = learned.density.vae_.prior()
    with torch.no_grad():
        nodes = torch.from_numpy(learned.z).float()[:, None, None]
        log_share = prior.log_pi + prior.component.log_prob(nodes)
    share = np.bincount(log_share.argmax(-1).numpy(), weight, len(prior.log_pi))
    return {
        "log_likelihood": float(
            integrated_score_samples(density, test).mean() - np.log(true_density(test[:, 0])).mean()
        ),
        "kl_generated": kl_generated,
        "kl_posterior": float((q * ratio).sum(1).mean() * step),
        "tv_posterior": min(
            float(0.5 * np.abs(q_bins[:, ::step] - truth).sum(1).mean()) for step in (1, -1)
        ),
        "f_error": min(
            float(np.sqrt(np.mean((f_of_u[::step] - f(bins)) ** 2))) for step in (1, -1)
        ),
        "f_sorted": float(np.sqrt(np.mean((np.sort(f_of_u) - np.sort(f(bins))) ** 2))),
        "components": int((share > 0.02).sum()),
    }


def draw_models(path: Path, n: int, epochs: int) -> None:
    """Draw the density of y, f, and posteriors, a row per model."""
    plt = pyplot()
    figure, axes = plt.subplots(3, 5, figsize=(13, 7), layout="constrained")
    y, bins = np.linspace(-0.5, 0.8, 400), np.linspace(0.001, 0.999, 400)
    for i, (row, model) in enumerate(zip(axes, MODELS, strict=True)):
        learned = fit(model, n, epochs, 0)
        weight = learned.prior / learned.prior.sum()
        row[0].plot(y, true_density(y), color="0.7", lw=3)
        row[0].plot(y, norm.pdf(y[:, None], learned.f, SCALE) @ weight, color="C3")
        row[1].plot(bins, f(bins), color="0.7", lw=3)
        row[1].plot(bins, np.interp(bins, learned.u, learned.f), color="C3")
        row[0].set_ylabel(model.replace(", ", ",\n"))
        q, exact = posteriors(learned, np.array(PLOTTED_Y))
        for ax, value, q_z, p_z in zip(row[2:], PLOTTED_Y, q, exact, strict=True):
            support = np.flatnonzero((q_z > 0.01 * q_z.max()) | (p_z > 0.01 * p_z.max()))
            part = slice(support[0], support[-1] + 1)
            ax.plot(learned.z[part], p_z[part], color="0.7", lw=3)
            ax.plot(learned.z[part], q_z[part], color="C3")
            ax.set_title("" if i else f"q(z | y = {value:g}) (grey: exact)", fontsize=10)
    axes[0, 0].set_title("density of y (grey: true)", fontsize=10)
    axes[0, 1].set_title("f by the CDF of the prior (grey: true)", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is not in the CSV file yet, and write the table and the figure."""
    parser = argument_parser(__doc__, quick="500 rows, 20 epochs, one seed")
    options = parser.parse_args()
    n, epochs, seeds = (500, 20, 1) if options.quick else (10_000, 100, 3)
    path = Path(__file__).with_name("priors_quick.csv" if options.quick else "priors.csv")
    cells = [(model, n, epochs, seed) for seed in range(seeds) for model in MODELS]
    keys = ["model", "rows", "epochs", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    long = results.melt("model", list(MEASURES), "measure")
    long["measure"] = long["measure"].map(MEASURES)
    frame = mean_and_spread(long, "model", "measure", "value")
    text = markdown(frame.astype(str), "model") + (
        f"\nMean (standard deviation) over {seeds} seeds of data and model, {n} rows. "
        f"Log-likelihoods and divergences in nats. {versions()}"
    )
    write_page(path, text)
    if not (options.quick or options.report):
        draw_models(path.with_suffix(".png"), n, epochs)


if __name__ == "__main__":
    main()
