"""The objective of DeMissVAE and its stored imputations."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .._utils.random import Noise
from ..inference.samplers import LAIR, Chain, Sampler, encodings
from ..vae.distributions import LatentDistribution
from ..vae.vae import VAE
from .objectives import Batch, Objective


class ImputationStore:
    """K imputations of every row of a training table, and what chains remember of them.

    They start from the observed cells of each column. They live on the device where that leaves
    it room enough, else in host memory, else in a temporary file that is gone with them.

    Parameters
    ----------
    rows : Batch
        The table, on its device.
    n : int
        Imputations K per row.
    n_latents : int
        Latents that are kept with each imputation; 0 where the sampler needs none.
    generator : torch.Generator
        Source of the start, on the rows' device.
    source : Batch, optional
        Rows whose observed cells imputations start from, where it is not all of them.
    """

    def __init__(
        self,
        rows: Batch,
        n: int,
        n_latents: int,
        generator: torch.Generator,
        source: Batch | None = None,
    ) -> None:
        source = rows if source is None else source
        (n_rows, n_columns), device = rows.x.shape, rows.x.device
        empty = _allocator(4 * n_rows * n * (n_columns + n_latents), device)
        self.x = empty(n_rows, n, n_columns)
        self.z = empty(n_rows, n, n_latents).zero_()  # the prior's centre
        self.observed = rows.observed.to(self.x.device)
        self.visited = torch.zeros(n_rows, dtype=torch.bool, device=self.x.device)
        for d in range(n_columns):
            seen = source.x[source.observed[:, d], d]
            if not len(seen):  # in a piece of a table: the column's centre, as networks see it
                seen = rows.x.new_zeros(1)
            size = (n_rows, n)
            chosen = torch.randint(len(seen), size, generator=generator, device=device)
            self.x[:, :, d] = torch.where(
                rows.observed[:, d : d + 1], rows.x[:, d : d + 1], seen[chosen]
            )

    def read(self, position: Tensor) -> Chain:
        """Return the chains of some rows: (B,) -> (K, B, ...)."""
        here = position.to(self.x.device)
        x, z = (values[here].transpose(0, 1).to(position.device) for values in (self.x, self.z))
        return Chain(x, z, x.new_ones(x.shape[:2]))

    def write(self, position: Tensor, chain: Chain) -> None:
        """Keep the chains of some rows; their imputations from the second visit on."""
        here = position.to(self.x.device)
        moved = chain.x.transpose(0, 1).to(self.x)
        first = ~self.visited[here, None, None]
        self.x[here] = torch.where(first, self.x[here], moved)
        if self.z.shape[-1]:
            self.z[here] = chain.z.transpose(0, 1).to(self.z)
        self.visited[here] = True

    def state(self) -> dict[str, np.ndarray]:
        """Return copies as arrays, from which ``restore`` goes on."""
        return {
            name: getattr(self, name).cpu().numpy().copy()
            for name in ("x", "z", "observed", "visited")
        }

    def fits(self, state: dict[str, np.ndarray]) -> bool:
        """Tell whether a state is that of the same rows, cells and numbers."""
        if any(values.shape != getattr(self, name).shape for name, values in state.items()):
            return False
        observed = self.observed.cpu().numpy()
        here, there = self.x[:, 0].cpu().numpy(), state["x"][:, 0]
        return np.array_equal(observed, state["observed"]) and np.array_equal(
            here[observed], there[observed]
        )

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take up what ``state`` returned for the same rows."""
        for name, values in state.items():
            getattr(self, name).copy_(torch.from_numpy(values))


def _allocator(n_bytes: int, device: torch.device) -> Callable[..., Tensor]:
    """Return a function that makes room of a shape, where there is enough of it."""
    if device.type == "cuda" and 2 * n_bytes < torch.cuda.mem_get_info(device)[0]:
        return lambda *shape: torch.empty(shape, device=device)
    if 2 * n_bytes < _free_memory():
        return lambda *shape: torch.empty(shape, device="cpu")

    def in_a_file(*shape: int) -> Tensor:
        if not np.prod(shape):
            return torch.empty(shape, device="cpu")
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not a crash later
                os.posix_fallocate(file.fileno(), 0, 4 * math.prod(shape))
            return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))

    return in_a_file


def _free_memory() -> float:
    """Return the free bytes of host memory; infinitely many where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


Term = Literal["cvi", "mvb"]


class DeMissObjective(Objective):
    r"""The decomposed objectives of DeMissVAE, over K persistent imputations of every row.

    With encodings :math:`q_k = q(z | x_{obs}, x_{mis}^k)` of the current imputations and
    :math:`z_k \sim q_k`, the decoder and the prior maximise

    .. math:: L_{CVI} = \frac1K \sum_k \log p(x_{obs}, z_k) - \log \frac1K \sum_j q_j(z_k)

    and the encoder maximises

    .. math:: L_{LMVB} = \frac1K \sum_k \log p(x_{obs}, x_{mis}^k, z_k) - \log q_k(z_k)

    (Simkus and Gutmann 2024, section 4.2). Every visit of a row but the first moves its
    imputations by one step of a sampler. The move follows the gradient, whose forward pass it
    shares where it can, and the next visit's gradient is the first to see it.

    Parameters
    ----------
    imputations : ImputationStore
        Of all rows, those held out among them.
    sampler : Sampler
        What moves them.
    n_draws : int
        Draws from each encoding.
    alone : {"cvi", "mvb"}, optional
        Which of the two both maximise: the controls of the method.
    """

    def __init__(
        self,
        imputations: ImputationStore,
        sampler: Sampler,
        n_draws: int = 1,
        alone: Term | None = None,
    ) -> None:
        self.imputations, self.sampler = imputations, sampler
        self.n_draws, self.alone = n_draws, alone

    def bound(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return the decoder's objective of each row."""
        completed = self.imputations.read(batch.position).x
        return self._decoders(self._pass(vae, completed, noise), batch)

    def backward(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Take the gradients of both objectives over one forward pass, and move the rows."""
        chain = self.imputations.read(batch.position)
        forward = self._pass(vae, chain.x, noise)
        with torch.set_grad_enabled(self.alone is not None):
            loss = -self._decoders(forward, batch).mean()
        if self.alone is not None:
            loss.backward()
        else:
            # the mixture of encodings has no part in the gradient of the decoder
            seen = self._seen(forward, batch)
            _backward(-seen.mean(), vae, vae.decoder, vae.prior, vae.likelihood)
            _backward(-self._mvb(forward).mean(), vae, vae.encoder, vae.family)
        self._move(vae, batch, chain, noise, forward)
        return loss.detach()

    def draws_per_row(self, vae: VAE) -> int:
        """Return the number of latents that are decoded for a row."""
        return self.n_draws * self.imputations.x.shape[1]

    def advance(self, vae: VAE, batch: Batch, noise: Noise) -> None:
        """Move the imputations of rows that are not trained on."""
        self._move(vae, batch, self.imputations.read(batch.position), noise)

    def _pass(self, vae: VAE, completed: Tensor, noise: Noise) -> _Pass:
        q = encodings(vae, completed)
        z, _ = q.ancestral(self.n_draws, noise)
        params = vae.decoder(z)
        log_p = vae.likelihood(params).log_prob(completed)  # (S, K, B, D)
        return _Pass(q, z, params, log_p, vae.prior().log_prob(z))

    def _seen(self, forward: _Pass, batch: Batch) -> Tensor:
        """Return log p(x_obs, z), (S, K, B)."""
        return torch.where(batch.observed, forward.log_p, 0.0).sum(-1) + forward.log_prior

    def _decoders(self, forward: _Pass, batch: Batch) -> Tensor:
        return self._mvb(forward) if self.alone == "mvb" else self._cvi(forward, batch)

    def _cvi(self, forward: _Pass, batch: Batch) -> Tensor:
        log_q = forward.q.log_prob_pooled(forward.z.flatten(0, 1))  # (S * K, B)
        return (self._seen(forward, batch).flatten(0, 1) - log_q).mean(0)

    def _mvb(self, forward: _Pass) -> Tensor:
        # sticking the landing, which is unbiased for an evidence lower bound
        return (forward.full - forward.q.detach().log_prob(forward.z)).mean((0, 1))

    @torch.no_grad()
    def _move(
        self, vae: VAE, batch: Batch, chain: Chain, noise: Noise, forward: _Pass | None = None
    ) -> None:
        """Move the imputations of some rows by one step, over the forward pass where it serves."""
        sampler, observed = self.sampler, batch.observed
        if (
            forward is not None
            and isinstance(sampler, LAIR)
            and sampler.n_iterations == 1
            and not _is_random(vae)
        ):
            z, params = forward.z.flatten(0, 1), forward.params.flatten(0, 1)
            pool = sampler.weigh(vae, batch.x, observed, forward.q, z, params, noise)
            chain = sampler.resample(vae, pool, chain, observed, noise)
        else:
            training = [module for module in vae.modules() if module.training]
            chain = sampler.step(vae.eval(), chain, observed, noise)
            for module in training:  # one by one: parts that are frozen are not among them
                module.training = True
        self.imputations.write(batch.position, chain)


class _Pass(NamedTuple):
    """One forward pass over K completions of B rows."""

    q: LatentDistribution  # batch (K, B): the encodings
    z: Tensor  # (S, K, B, L)
    params: Tensor  # (S, K, B, P)   the decoder's outputs
    log_p: Tensor  # (S, K, B, D)   of every cell, imputed ones among them
    log_prior: Tensor  # (S, K, B)

    @property
    def full(self) -> Tensor:
        """Return log p(x_obs, x_mis, z), (S, K, B)."""
        return self.log_p.sum(-1) + self.log_prior


def _backward(loss: Tensor, vae: VAE, *modules: nn.Module) -> None:
    """Take the gradient to the weights of some parts of a model, and keep the graph for others."""
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    wanted = set(weights)
    others = [p for p in vae.parameters() if p.requires_grad and p not in wanted]
    if not weights:
        return
    try:
        for weight in others:  # our networks take the trouble of all that can have a gradient
            weight.requires_grad_(False)
        loss.backward(inputs=weights, retain_graph=True)
    finally:
        for weight in others:
            weight.requires_grad_(True)


def _is_random(vae: VAE) -> bool:
    """Tell whether networks behave otherwise in training than in evaluation."""
    dropout, norm = nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase
    return vae.training and any(
        isinstance(module, norm) or (isinstance(module, dropout) and module.p > 0)
        for module in vae.modules()
    )


#: The decomposed methods: DeMissVAE, and the controls of its paper by the term that they have.
DECOMPOSED: dict[str, Term | None] = {"DeMissVAE": None, "CVI-VAE": "cvi", "MVB-VAE": "mvb"}
