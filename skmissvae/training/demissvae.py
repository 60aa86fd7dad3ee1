"""DeMissVAE: its objectives and the imputations that it stores while training."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from .._utils.random import Noise
from ..inference.samplers import LAIR, Chain, Sampler, encodings
from ..vae.distributions import LatentDistribution
from ..vae.vae import VAE
from .objectives import Batch, Objective

Term = Literal["cvi", "mvb"]


class ImputationStore:
    """K imputations of every row of a training table, and the latents that the sampler needs.

    Imputations are initialized by draws from the observed cells of each column. They are in the
    memory of the device if half of its free memory suffices, else in host memory.

    Parameters
    ----------
    rows : Batch
        The table, on its device.
    n : int
        Imputations K per row.
    n_latents : int
        Latents stored with each imputation; 0 if the sampler needs none.
    generator : torch.Generator
        Source of the initial imputations, on the rows' device.
    source : Batch
        Rows whose observed cells initialize the imputations.

    Raises
    ------
    MemoryError
        If the imputations do not fit into memory.
    """

    def __init__(
        self, rows: Batch, n: int, n_latents: int, generator: torch.Generator, source: Batch
    ) -> None:
        (n_rows, n_columns), device = rows.x.shape, rows.x.device
        home = _device_of_store(4 * n_rows * n * (n_columns + n_latents), device)
        try:
            self.x = torch.empty(n_rows, n, n_columns, device=home)
            self.z = torch.zeros(n_rows, n, n_latents, device=home)  # the center of the prior
        except RuntimeError as error:  # torch's allocator of the host raises no MemoryError
            raise MemoryError(
                f"The {n} imputations of {n_rows} rows with {n_columns} columns that DeMissVAE "
                "stores do not fit into memory. Use fewer rows or a smaller K, or another imputer."
            ) from error
        self.observed = rows.observed.to(home)
        self.visited = torch.zeros(n_rows, dtype=torch.bool, device=home)
        for d in range(n_columns):
            values = source.x[source.observed[:, d], d]
            if not len(values):  # a column without an observed cell in this chunk
                values = rows.x.new_zeros(1)
            index = torch.randint(len(values), (n_rows, n), generator=generator, device=device)
            self.x[:, :, d] = torch.where(
                rows.observed[:, d : d + 1], rows.x[:, d : d + 1], values[index]
            )
        self.limits = rows.limits
        if rows.limits is not None:
            low, high = (limit.unsqueeze(1).to(self.x) for limit in rows.limits)
            self.x = torch.minimum(torch.maximum(self.x, low), high)

    def read(self, position: Tensor) -> Chain:
        """Return the chains of some rows: (B,) -> (K, B, ...)."""
        index = position.to(self.x.device)
        x, z = (values[index].transpose(0, 1).to(position.device) for values in (self.x, self.z))
        limits = None if self.limits is None else self.limits.part(position)
        return Chain(x, z, x.new_ones(x.shape[:2]), limits)

    def write(self, position: Tensor, chain: Chain) -> None:
        """Store the chains of some rows; the initial imputations are kept in the first visit."""
        index = position.to(self.x.device)
        x = chain.x.transpose(0, 1).to(self.x)
        is_first = ~self.visited[index, None, None]
        self.x[index] = torch.where(is_first, self.x[index], x)
        if self.z.shape[-1]:
            self.z[index] = chain.z.transpose(0, 1).to(self.z)
        self.visited[index] = True

    def state(self) -> dict[str, np.ndarray]:
        """Return arrays for ``restore``, which share memory with those in host memory."""
        names = "x", "z", "observed", "visited"
        return {name: getattr(self, name).cpu().numpy() for name in names}

    def matches(self, state: dict[str, np.ndarray]) -> bool:
        """Return whether a state belongs to the same rows, cells and numbers."""
        if any(values.shape != getattr(self, name).shape for name, values in state.items()):
            return False
        observed = self.observed.cpu().numpy()
        x, stored = self.x[:, 0].cpu().numpy(), state["x"][:, 0]
        return np.array_equal(observed, state["observed"]) and np.array_equal(
            x[observed], stored[observed]
        )

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from what ``state`` returned for the same rows."""
        for name, values in state.items():
            getattr(self, name).copy_(torch.tensor(values))


def _device_of_store(n_bytes: int, device: torch.device) -> torch.device:
    """Return the device that stores the imputations."""
    if device.type == "cuda" and 2 * n_bytes < torch.cuda.mem_get_info(device)[0]:
        return device
    return torch.device("cpu")


class _ForwardPass(NamedTuple):
    """One forward pass over K completions of B rows."""

    q: LatentDistribution  # batch (K, B): the encodings
    z: Tensor  # (S, K, B, L)
    params: Tensor  # (S, K, B, P)   outputs of the decoder
    log_p: Tensor  # (S, K, B, D)   of every cell, imputed or observed
    log_interval: Tensor | None  # (S, K, B, D)   of cells with limits, if there are any
    log_prior: Tensor  # (S, K, B)


@dataclass(frozen=True)
class DeMissObjective(Objective):
    r"""The objectives of DeMissVAE, over K stored imputations of every row.

    With encodings :math:`q_k = q(z | x_{obs}, x_{mis}^k)` of the current imputations and
    :math:`z_k \sim q_k`, the decoder and the prior maximize

    .. math:: L_{CVI} = \frac1K \sum_k \log p(x_{obs}, z_k) - \log \frac1K \sum_j q_j(z_k)

    and the encoder maximizes

    .. math:: L_{LMVB} = \frac1K \sum_k \log p(x_{obs}, x_{mis}^k, z_k) - \log q_k(z_k)

    (Simkus and Gutmann 2024, section 4.2). Every visit of a row except the first updates its
    imputations by one step of a sampler. The update comes after the gradient, shares its forward
    pass if possible, and is first used by the next visit.

    Parameters
    ----------
    imputations : ImputationStore
        Of all rows, including those held out.
    sampler : Sampler
        Updates the imputations.
    n_draws : int
        Draws from each encoding.
    term : {"cvi", "mvb"}, optional
        The one objective that encoder and decoder both maximize, for the control methods of the
        paper; None is DeMissVAE.
    """

    imputations: ImputationStore
    sampler: Sampler
    n_draws: int = 1
    term: Term | None = None

    @override
    def bound(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Return the decoder's objective of each row."""
        completed = self.imputations.read(batch.position).x
        return self._decoder_objective(self._forward(vae, completed, batch, noise), batch)

    @override
    def backward(self, vae: VAE, batch: Batch, noise: Noise) -> Tensor:
        """Take the gradients of both objectives over one forward pass; update the imputations."""
        chain = self.imputations.read(batch.position)
        forward = self._forward(vae, chain.x, batch, noise)
        with torch.set_grad_enabled(self.term is not None):
            loss = -self.weighted(self._decoder_objective(forward, batch), batch).mean()
        if self.term is not None:
            loss.backward()
        else:
            # the mixture of encodings does not depend on the decoder
            log_p = self.weighted(self._log_joint_observed(forward, batch), batch)
            _backward(-log_p.mean(), vae, vae.decoder, vae.prior, vae.likelihood)
            mvb = self.weighted(self._mvb(forward), batch)
            _backward(-mvb.mean(), vae, vae.encoder, vae.family)
        self._update(vae, batch, chain, noise, forward)
        return loss.detach()

    @override
    def draws_per_row(self, vae: VAE) -> int:
        return self.n_draws * self.imputations.x.shape[1]

    @override
    def update_unused(self, vae: VAE, batch: Batch, noise: Noise) -> None:
        """Update the imputations of rows that are not trained on."""
        self._update(vae, batch, self.imputations.read(batch.position), noise, None)

    @override
    def state(self) -> dict[str, np.ndarray]:
        return self.imputations.state()

    @override
    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.imputations.restore(state)

    def _forward(self, vae: VAE, completed: Tensor, batch: Batch, noise: Noise) -> _ForwardPass:
        q = encodings(vae, completed)
        z, _ = q.ancestral(self.n_draws, noise)
        params = vae.decoder(z)
        columns, log_interval = vae.likelihood(params), None
        log_p = columns.log_prob(completed)  # (S, K, B, D)
        if batch.limits is not None:
            log_interval = columns.log_interval(*batch.limits).to(log_p)
            # the middle of a narrow interval is no observed value
            log_p = torch.where(batch.observed & batch.limits.exist, log_interval, log_p)
        return _ForwardPass(q, z, params, log_p, log_interval, vae.prior().log_prob(z))

    def _log_joint_observed(self, forward: _ForwardPass, batch: Batch) -> Tensor:
        """Return log p(x_obs, z), (S, K, B)."""
        log_p = torch.where(batch.observed, forward.log_p, 0.0)
        if batch.limits is not None and forward.log_interval is not None:
            log_p = torch.where(batch.limits.exist, forward.log_interval, log_p)
        return log_p.sum(-1) + forward.log_prior

    def _decoder_objective(self, forward: _ForwardPass, batch: Batch) -> Tensor:
        if self.term == "mvb":
            return self._mvb(forward)
        log_q = forward.q.log_prob_pooled(forward.z.flatten(0, 1))  # (S * K, B)
        return (self._log_joint_observed(forward, batch).flatten(0, 1) - log_q).mean(0)

    def _mvb(self, forward: _ForwardPass) -> Tensor:
        # sticking the landing, which is unbiased for an evidence lower bound
        log_joint = forward.log_p.sum(-1) + forward.log_prior  # log p(x_obs, x_mis, z)
        return (log_joint - forward.q.detach().log_prob(forward.z)).mean((0, 1))

    @torch.no_grad()
    def _update(
        self, vae: VAE, batch: Batch, chain: Chain, noise: Noise, forward: _ForwardPass | None
    ) -> None:
        """Update the imputations of some rows by one step, with the forward pass if it serves."""
        sampler, observed = self.sampler, batch.observed
        if (
            forward is not None
            and isinstance(sampler, LAIR)
            and sampler.n_iterations == 1
            and not _is_stochastic(vae)
        ):
            z, params = forward.z.flatten(0, 1), forward.params.flatten(0, 1)
            pool = sampler.weigh(vae, batch.x, observed, forward.q, z, params, noise, batch.limits)
            chain = sampler.resample(vae, pool, chain, observed, noise)
        else:
            in_training = [module for module in vae.modules() if module.training]
            chain = sampler.step(vae.eval(), chain, observed, noise)
            for module in in_training:  # frozen parts stay in evaluation mode
                module.training = True
        self.imputations.write(batch.position, chain)


def _backward(loss: Tensor, vae: VAE, *modules: nn.Module) -> None:
    """Add the gradients of some parts of a model, and keep the graph for the others."""
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    if weights:
        loss.backward(inputs=weights, retain_graph=True)


def _is_stochastic(vae: VAE) -> bool:
    """Return whether networks give other outputs in training than in evaluation."""
    dropout, norm = nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase
    return vae.training and any(
        isinstance(module, norm) or (isinstance(module, dropout) and module.p > 0)
        for module in vae.modules()
    )
