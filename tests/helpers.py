"""Noise, quadrature, models with exact answers and small VAEs for several test modules."""

import math

import numpy as np
import torch
from scipy.stats import multivariate_normal
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skmissvae._utils.random import Noise, StreamNoise
from skmissvae.training.methods import METHODS, BoundMethod
from skmissvae.training.objectives import Batch
from skmissvae.vae import (
    VAE,
    DiagonalNormal,
    DiagonalStudentT,
    FactorAnalysisPosterior,
    Mixture,
    NormalFamily,
    NormalLikelihood,
    NormalPrior,
    ResidualMLP,
)
from skmissvae.vae.likelihoods.base import LinearModel
from skmissvae.vae.posteriors import POSTERIORS
from skmissvae.vae.priors import PRIORS

#: The methods that maximize a bound over a way of drawing.
BOUND_METHODS = {name: m for name, m in METHODS.items() if isinstance(m, BoundMethod)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def stream(seed=0, dtype=torch.float64):
    return StreamNoise(generator(seed), dtype=dtype)


def uniform(*shape, seed=0, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(*shape, generator=generator(seed), dtype=torch.float64)


def lattice(n_latents, n):
    """Return nodes (M, L) and log-weights (M,) of a quadrature for densities with heavy tails."""
    t = torch.linspace(-16, 16, n, dtype=torch.float64)
    node, log_weight = t.sinh(), t.cosh().log() + math.log(t[1] - t[0])
    if n_latents == 1:
        return node.unsqueeze(-1), log_weight
    log_weights = torch.cartesian_prod(*[log_weight] * n_latents)
    return torch.cartesian_prod(*[node] * n_latents), log_weights.sum(-1)


def mixture(kind, n_components, n_latents, *batch, seed=0, df=4.0):
    """Return a mixture and its parameters, which are leaves, by name."""
    shape = (*batch, n_components, n_latents)
    leaves = {
        "loc": uniform(*shape, seed=seed, low=-2, high=2),
        "scale": uniform(*shape, seed=seed + 1, low=0.5, high=1.2),
    }
    if n_components > 1:
        leaves["logits"] = uniform(*batch, n_components, seed=seed + 2, low=-1, high=1)
    if kind == "student_t":
        leaves["df"] = torch.full((n_latents,), df, dtype=torch.float64)
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    return build(leaves), leaves


def build(leaves):
    loc, scale = leaves["loc"], leaves["scale"]
    log_pi = leaves.get("logits", loc.new_zeros(loc.shape[:-1])).log_softmax(-1)
    if "df" in leaves:
        return Mixture(log_pi, DiagonalStudentT(leaves["df"], loc, scale))
    return Mixture(log_pi, DiagonalNormal(loc, scale))


def deviates(draws, exact):
    """Return the largest error of the mean over the first axis, in standard errors."""
    standard_error = draws.std(0) / math.sqrt(len(draws)) + 1e-10
    return ((draws.mean(0) - exact).abs() / standard_error).max().item()


class LinearGaussian:
    """Probabilistic PCA with exact answers: z ~ N(0, I), x | z ~ N(W z + b, sigma^2 I)."""

    def __init__(self, n_columns=5, n_latents=2, sigma=0.5, *, one_latent_each=False):
        self.weight = uniform(n_columns, n_latents, seed=7, low=-1, high=1).numpy()
        if one_latent_each:  # all posteriors are diagonal
            keep = np.arange(n_columns)[:, None] % n_latents == np.arange(n_latents)
            self.weight = self.weight * keep
        self.bias = uniform(n_columns, seed=8, low=-1, high=1).numpy()
        self.sigma, self.n_columns, self.n_latents = sigma, n_columns, n_latents
        W = self.weight
        self.cov = np.block([[W @ W.T + sigma**2 * np.eye(n_columns), W], [W.T, np.eye(n_latents)]])
        self.loc = np.append(self.bias, np.zeros(n_latents))

    def rows(self, n, seed=0, share=0.5):
        """Return rows and their mask; the first row is complete, the second empty."""
        rng = np.random.default_rng(seed)
        x = rng.multivariate_normal(self.loc, self.cov, n)[:, : self.n_columns]
        observed = rng.random(x.shape) > share
        observed[0], observed[1] = True, False
        return torch.tensor(x), torch.tensor(observed)

    def log_evidence(self, x, observed):
        rows = zip(x.numpy(), observed.numpy(), strict=True)
        return torch.tensor(
            [
                multivariate_normal(
                    self.bias[o], self.cov[: self.n_columns, : self.n_columns][np.ix_(o, o)]
                ).logpdf(row[o])
                if o.any()
                else 0.0
                for row, o in rows
            ],
            dtype=torch.float64,
        )

    def condition(self, row, observed):
        """Return mean and covariance of (x, z) given the observed cells of a row."""
        o = np.append(observed.numpy(), np.zeros(self.n_latents, bool))
        gain = self.cov[:, o] @ np.linalg.inv(self.cov[np.ix_(o, o)])
        residual = row.numpy()[observed.numpy()] - self.loc[o]
        return self.loc + gain @ residual, self.cov - gain @ self.cov[o]

    def vae(self, n_components=1, *, spread=0.0, widen=1.0, family="normal"):
        """Return the VAE with the exact posterior, or one with spread or widened components."""
        encoder = _GaussianEncoder(self, n_components, spread, widen)
        decoder = nn.Linear(self.n_latents, self.n_columns)
        vae = VAE(
            encoder,
            decoder,
            NormalPrior(self.n_latents),
            POSTERIORS[family](self.n_latents, n_components),
            NormalLikelihood(self.n_columns, scale=self.sigma),
        ).double()
        with torch.no_grad():
            decoder.weight.copy_(torch.tensor(self.weight))
            decoder.bias.copy_(torch.tensor(self.bias))
        return vae.requires_grad_(False)


class _GaussianEncoder(nn.Module):
    def __init__(self, model, n_components, spread, widen):
        super().__init__()
        self.model, self.n_components, self.spread, self.widen = model, n_components, spread, widen

    def forward(self, inputs):
        cells, mask = inputs.chunk(2, -1)
        W, b = torch.tensor(self.model.weight), torch.tensor(self.model.bias)
        precision = torch.einsum("...d,di,dj->...ij", mask, W, W) / self.model.sigma**2
        cov = torch.linalg.inv(precision + torch.eye(W.shape[1], dtype=W.dtype))
        mean = torch.einsum("...ij,...j->...i", cov, (mask * (cells - b)) @ W) / self.model.sigma**2
        K = self.n_components
        scale = cov.diagonal(dim1=-2, dim2=-1).sqrt() * self.widen
        offset = self.spread * torch.linspace(-1, 1, K, dtype=W.dtype).view(K, 1)
        loc = mean.unsqueeze(-2) + offset * scale.unsqueeze(-2)
        raw = (scale - NormalFamily(1).min_scale).expm1().log()  # inverse of softplus
        raw = raw.unsqueeze(-2).expand_as(loc)
        logits = torch.linspace(0, 1, K, dtype=W.dtype).expand(*cells.shape[:-1], K)
        return torch.cat([loc.flatten(-2), raw.flatten(-2), logits], -1)


class BreakingDecoder(nn.Module):
    """A decoder whose outputs are not finite for positive first latents, or everywhere."""

    def __init__(self, decoder, value, everywhere):
        super().__init__()
        self.decoder, self.value, self.everywhere = decoder, value, everywhere

    def forward(self, z):
        broken = (z[..., :1] > 0) | self.everywhere
        return torch.where(broken, self.value, self.decoder(z))


class FixedEncoder(nn.Module):
    """Encoder that returns the same parameters of the family for all inputs."""

    def __init__(self, params):
        super().__init__()
        self.params = params

    def forward(self, inputs):
        return self.params


def tiny_vae(
    n_columns=4,
    n_latents=2,
    n_components=3,
    prior="normal",
    family="normal",
    likelihood=None,
    n_hidden=16,
    dropout=0.0,
    seed=0,
    guided=False,
):
    """Return a small VAE like those of the estimators, in float32."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        likelihood = NormalLikelihood(n_columns) if likelihood is None else likelihood
        family = POSTERIORS[family](n_latents, n_components)
        n_inputs = likelihood.n_inputs + n_columns
        return VAE(
            ResidualMLP(n_inputs, family.n_params, n_hidden, 1, dropout),
            ResidualMLP(n_latents, likelihood.n_params, n_hidden, 1, dropout),
            PRIORS[prior](n_latents),
            family,
            likelihood,
            FactorAnalysisPosterior(likelihood.n_linear, n_latents) if guided else None,
        )


def tiny_rows(n=96, seed=0, dtype=torch.float32):
    """Return correlated incomplete rows of four columns, as a Batch."""
    x, observed = LinearGaussian(4).rows(n, seed, share=0.3)
    return Batch(torch.where(observed, x, 0.0).to(dtype), observed, torch.arange(n))


class SplitNoise(Noise):
    """Normal and uniform noise from independent streams."""

    def __init__(self, seed):
        self._normal, self._uniform = stream(seed), stream(seed + 1)

    def normal(self, *shape):
        return self._normal.normal(*shape)

    def uniform(self, *shape):
        return self._uniform.uniform(*shape)

    def gamma(self, concentration):
        return self._normal.gamma(concentration)


class MetaNoise(Noise):
    """Noise on the meta device."""

    def normal(self, *shape):
        return torch.empty(*shape, device="meta")

    def uniform(self, *shape):
        return torch.empty(*shape, device="meta")

    def gamma(self, concentration):
        return torch.empty_like(concentration)


class NoTensorElsewhere(TorchDispatchMode):
    """Fails if an operation creates a tensor on another device than "meta"."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        assert all(leaf.device.type == "meta" for leaf in tensors), func
        return out


def check_linear_initialization(likelihood):
    """Check shapes and finite values of linearized columns and their initialization."""
    S, P, D = likelihood.n_linear, likelihood.n_params, likelihood.n_columns
    x, observed = torch.zeros(5, D), uniform(5, D) > 0.5
    values, observed = likelihood.linearize(x, observed)
    assert values.shape == observed.shape == (5, S)
    initialization = likelihood.linear_initialization(
        LinearModel(torch.full((S, 2), 0.1), torch.full((S,), 0.5), torch.ones(S))
    )
    weight, bias, precision = initialization.weight, initialization.bias, initialization.precision
    assert weight.shape == (P, 2)
    assert bias.shape == initialization.initialized.shape == (P,)
    assert precision.shape == (S,)
    assert initialization.initialized.any() == (S > 0)
    assert all(values.isfinite().all() for values in (weight, bias, precision))
    if likelihood.covers_all_columns:
        assert S > 0
