"""What a fitted model tells of a row's latents and missing cells given its observed cells."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from . import importance, samplers
from .column_distributions import ColumnDistribution, JoinedColumns, quantile
from .composite import bounded
from .discrete import CategoricalColumns, RankedColumns
from .model import VAE, Draws
from .noise import Noise

_POINTS = 4096  # values that stand for a cell's distribution, if there are not more latents
# Pools are added until so many draws are effective that all imputations can choose from them; at
# the last fewer will do, as a pool for each imputation would take long.
_SHARED_ESS, _SHARED_POOLS, _LEAST_SHARED_ESS = 100.0, 3, 20.0
_N_CANDIDATES = 64  # latents whose values are tried as modes
_DISAGREE = 1.5  # R-hat from which on chains are told to disagree


W = TypeVar("W", importance.Moments, importance.Resampled, importance.Weighted)


def _effective(trace: Tensor, observed: Tensor) -> Tensor:
    """Return the effective number of draws of chains; those that disagree count as one."""
    ess, r_hat = samplers.worst(trace, observed)
    return torch.where(r_hat < _DISAGREE, ess, 1.0)


def _chosen(w: Tensor, u: Tensor) -> Tensor:
    """Return which draws uniform numbers choose by their weights: (*, M), (*, n) -> (*, n)."""
    total = w.cumsum(-1)
    # rounding must not choose one behind the last
    return torch.searchsorted(total, u.to(total) * total[..., -1:]).clamp_max(w.shape[-1] - 1)


class Conditional(NamedTuple):
    """Ways to condition a model on the observed cells of rows.

    Parameters
    ----------
    vae : VAE
        The model, with an encoder for incomplete rows.
    n_draws : int
        Importance draws.
    sampler : Sampler or None
        What runs chains; None leaves it to the importance weights.
    completed : VAE or None
        The same model with an encoder for completed rows, for the chains; None takes ``vae``.
    n_steps : int
        Steps of the chains.
    where_poor : bool
        Whether chains run for those rows alone whose importance weights are poor.
    held : int
        Importance draws of which there are columns at a time, as far as they are summed over.
    bounds : tuple of Tensor of shape (D,), optional
        Where the columns of what is imputed are cut off.
    adapt : {"never", "where poor", "always"}
        Whose proposals are adapted.
    """

    vae: VAE
    n_draws: int
    sampler: samplers.Sampler | None
    completed: VAE | None
    n_steps: int
    where_poor: bool
    held: int = importance.BLOCK
    bounds: tuple[Tensor, Tensor] | None = None
    adapt: importance.Adapt = "where poor"

    def decode(self, z: Tensor) -> ColumnDistribution:
        """Return what is imputed given latents: (*, L) -> batch (*, D)."""
        return self.vae.decode(z) if self.bounds is None else self._cut(z)[0]

    def _cut(self, z: Tensor) -> tuple[ColumnDistribution, Tensor]:
        """Return columns cut off at the bounds, and the log-shares that are left, (*, D)."""
        assert self.bounds is not None, "asked by those who have them"
        # tails want double precision
        columns = self.vae.likelihood(self.vae.decoder(z).double())
        return bounded(columns, *self.bounds)

    def _blocks(self, x: Tensor, observed: Tensor, noise: Noise) -> importance.Blocks:
        """Return the importance draws of rows."""

        def imputed(draws: Draws) -> tuple[ColumnDistribution, Tensor]:
            columns, log_share = self._cut(draws.z)
            return columns, torch.where(observed, 0.0, log_share).sum(-1)

        return importance.Blocks(
            self.vae,
            x,
            observed,
            self.n_draws,
            noise,
            imputed=None if self.bounds is None else imputed,
            adapt=self.adapt,
            held=self.held,
        )

    def _log_share(self, z: Tensor, observed: Tensor) -> Tensor:
        """Return what the bounds add to the log-weights of latents: (M, 1, L) -> (M,)."""
        if self.bounds is None:
            return z.new_zeros(len(z))
        return torch.where(observed, 0.0, self._cut(z)[1]).sum(-1).squeeze(-1)

    def to(self, device: torch.device) -> Conditional:
        """Return a copy on a device."""
        if device.type == "cpu":
            return self
        vae, completed = copy.deepcopy((self.vae, self.completed))
        return self._replace(
            vae=vae.to(device),
            completed=None if completed is None else completed.to(device),
            bounds=self.bounds and (self.bounds[0].to(device), self.bounds[1].to(device)),
        )

    def by_rows(self) -> Conditional | None:
        """Return what takes many rows at a time, (B, D), where this takes one, by weights alone.

        Their draws are the encoder's: no proposal is adapted. None where networks have no such
        form.
        """
        vae = self.vae.by_rows()
        return None if vae is None else self._replace(vae=vae, sampler=None, adapt="never")

    def evidence(self, x: Tensor, observed: Tensor, noise: Noise) -> importance.Evidence:
        """Return evidence and effective sample size by importance weights: of rows, (B, D).

        They come one at a time but where ``by_rows`` has made this.
        """
        return importance.evidence(self._blocks(x, observed, noise))

    def means(self, x: Tensor, observed: Tensor, noise: Noise) -> tuple[Tensor, ...]:
        """Return what is expected of x, E[z | x_obs] and the effective number of draws behind them.

        And that number without what bounds do to the weights. Rows come one at a time, but where
        ``by_rows`` has made this: (B, D) -> (B, n_expected), (B, L), (B,), (B,).
        """
        blocks = self._blocks(x, observed, noise)
        if found := self._unless_chains_run(observed, lambda: importance.moments(blocks)):
            return found.expected, found.z, found.ess, found.proposal_ess
        run = self.run(x, observed, noise)
        ess = _effective(run.means(self.vae), observed)
        z = run.z.flatten(0, 1)  # (M, 1, L)
        w = self._log_share(z, observed).softmax(0)[:, None, None].double()
        return (w * self.decode(z).expected()).sum(0), (w * z).sum(0), ess, ess

    def latents(
        self, x: Tensor, observed: Tensor, noise: Noise, size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents that stand for p(z | x_obs), and the effective number they come from.

        And that number without what bounds do to the weights. Rows come one at a time, but where
        ``by_rows`` has made this: (B, D) -> (size, B, L), (B,), (B,).
        """
        blocks = self._blocks(x, observed, noise)
        if found := self._unless_chains_run(observed, lambda: importance.resample(blocks, size)):
            return found.z, found.ess, found.proposal_ess
        run = self.run(x, observed, noise)
        ess = _effective(run.means(self.vae), observed)
        z = run.z.flatten(0, 1)  # later steps last
        if self.bounds is not None:
            w = self._log_share(z, observed).softmax(0)
            return z[_chosen(w, noise.uniform(size, 1, 1).flatten())], ess, ess
        # the last ones, each from another chain as far as there are chains
        return z[-size:] if size <= len(z) else z[torch.arange(size) % len(z)], ess, ess

    def drawn(self, x: Tensor, observed: Tensor, noise: Noise) -> tuple[Tensor, ...]:
        """Return a draw of all cells from p(x | x_obs), (B, D), and what ``latents`` tells of it.

        Rows come one at a time, but where ``by_rows`` has made this.
        """
        z, *ess = self.latents(x, observed, noise, 1)
        return self.decode(z).sample(noise)[0].double(), *ess

    def log_weights(self, x: Tensor, observed: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return importance draws of one row and the logarithms of their weights.

        (1, D) -> (M, 1, L), (M,).
        """
        found = self._pool(x, observed, noise)
        return found.z, found.log_w.squeeze(0)

    def _pool(self, x: Tensor, observed: Tensor, noise: Noise) -> importance.Weighted:
        """Return importance draws of rows and their weights."""
        return importance.weighted(self._blocks(x, observed, noise))

    def weighted(self, x: Tensor, observed: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents and weights that stand for p(z | x_obs), and their effective number.

        Rows come one at a time: (1, D) -> (M, 1, L), (M,), (1,).
        """
        if found := self._unless_chains_run(observed, lambda: self._pool(x, observed, noise)):
            return found.z, found.log_w.squeeze(0).softmax(0), found.ess
        run = self.run(x, observed, noise)
        z = run.z.flatten(0, 1)
        w = self._log_share(z, observed).double().softmax(0)
        return z, w, _effective(run.means(self.vae), observed)

    def information(self, x: Tensor, observed: Tensor, noise: Noise, n: int) -> Tensor:
        """Return what the missing cells would tell of the latents, in nats: (1, D) -> (1,)."""
        z, w, _ = self.weighted(x, observed, noise)
        columns = self.decode(z)
        chosen = _chosen(w, noise.uniform(n, 1, 1).flatten())  # (n,)
        filled = self.decode(z[chosen]).completion(noise)  # (n, 1, D)
        cells = [columns.log_prob(one.expand(columns.shape)) for one in filled]  # (M, 1, D) each
        log_p = torch.where(observed, 0.0, torch.stack(cells)).sum((-1, -2)).double()  # (n, M)
        given_z = log_p.gather(1, chosen.unsqueeze(1)).squeeze(1)
        return (given_z - (log_p + w.log()).logsumexp(1)).mean().clamp_min(0).reshape(1)

    def several(
        self, x: Tensor, observed: Tensor, noise: Noise, u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents that pools of importance draws give for uniform numbers.

        Draws from pools that they share vary less than independent ones by the share 1 / ess:
        where this matters, and where chains run, they are NaN. Beside them the effective number of
        a pool's draws, with and without what bounds do to the weights. Rows come one at a time, but
        where ``by_rows`` has made this: (B, D), (B, n) -> (B, n, L), (B,), (B,).
        """
        z = x.new_full((*u.shape, self.vae.prior.n_latents), torch.nan)
        if self._may_run(observed) and not self.where_poor:
            nothing = z[:, 0, 0].double()
            return z, nothing, nothing
        pools = [self._pool(x, observed, noise)]
        # a row's pools are all of one kind
        later = self._replace(adapt="always" if pools[0].adapted else "never")
        ess, proposal_ess = pools[0].ess, pools[0].proposal_ess
        waiting = torch.ones_like(ess, dtype=torch.bool)
        if self._may_run(observed) and self.is_poor(ess):
            return z, ess, proposal_ess
        while True:
            w = torch.cat([pool.log_w for pool in pools], 1).softmax(-1)  # (B, M)
            last = len(pools) == _SHARED_POOLS
            enough = importance.effective(w) >= (_LEAST_SHARED_ESS if last else _SHARED_ESS)
            draws = torch.cat([pool.z for pool in pools]).transpose(0, 1)  # (B, M, L)
            found = draws.take_along_dim(_chosen(w, u).unsqueeze(-1), 1)
            z = torch.where((waiting & enough)[:, None, None], found, z)
            waiting &= ~enough
            if last or not waiting.any():
                return z, ess, proposal_ess
            pools.append(later._pool(x, observed, noise))

    def spread(
        self, x: Tensor, observed: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor, ColumnDistribution, Tensor]:
        """Return weighted values that stand for p(x | x_obs).

        Rows come one at a time: (1, D) -> (P, D), (P,), and what they come from: columns of batch
        (M, 1, D), each with the weight of P / M values, and the effective number of latents.
        """
        z, w, ess = self.weighted(x, observed, noise)
        columns = self.decode(z)
        n = max(1, _POINTS // len(z))
        u = noise.uniform(*columns.shape)
        values = torch.stack([columns.icdf((u + part) / n) for part in range(n)], 1)
        return values.flatten(0, 2).double(), (w / n).repeat_interleave(n), columns, ess

    def run(self, x: Tensor, observed: Tensor, noise: Noise) -> samplers.Run:
        """Run the chains of one row from importance draws."""
        assert self.sampler is not None
        free = self._replace(bounds=None)._blocks(x, observed, noise)
        start = importance.resample(free, self.sampler.n_chains).z
        vae = self.vae
        if self.completed is not None and self.sampler.sees_completed:
            vae = self.completed
        return samplers.run(self.sampler, vae, x, observed, start, self.n_steps, noise)

    def _unless_chains_run(self, observed: Tensor, weigh: Callable[[], W]) -> W | None:
        """Return what importance draws give, or None where chains have to run in their place."""
        may_run = self._may_run(observed)
        if may_run and not self.where_poor:
            return None
        found = weigh()
        return None if may_run and self.is_poor(found.ess) else found

    def _may_run(self, observed: Tensor) -> bool:
        # nothing seen: the prior's draws are exact; all seen: nothing to draw
        return self.sampler is not None and bool(observed.any()) and not bool(observed.all())

    def is_poor(self, ess: Tensor) -> Tensor:
        """Tell where weights are poor, by the effective number of draws: (B,), (B,)."""
        return ess < importance.poor_ess(self.n_draws)


def cells_of(
    given: Sequence[Conditional], x: Tensor, observed: Tensor, noise: Callable[[Tensor], Noise]
) -> tuple[Tensor, Tensor, Tensor, list[tuple[ColumnDistribution, Tensor]], Tensor]:
    """Return what several models in equal parts tell of the cells of a row.

    Weighted values (P, D) and (P,), means (D,), the weighted columns behind them, and the
    effective number of latents of a model (1,).
    """
    found = [one.spread(x, observed, noise(x)) for one in given]
    values = torch.cat([values for values, *_ in found])
    w = torch.cat([w / len(given) for _, w, *_ in found])
    columns = [(part, w.view(part.shape[0], -1).sum(1) / len(given)) for _, w, part, _ in found]
    mean = torch.stack([share @ part.mean().squeeze(1).double() for part, share in columns]).sum(0)
    return values, w, mean, columns, torch.stack([ess for *_, ess in found]).mean(0)


def level_chances(columns: ColumnDistribution, share: Tensor, n_codes: int) -> Tensor:
    """Return probabilities of the codes 0, 1, ... under a mixture of columns.

    Columns of batch (M, 1, D), weights (M,) -> (D, n_codes); of numbers they have no meaning.
    """
    if isinstance(columns, JoinedColumns):
        parts = [level_chances(part, share, n_codes) for part in columns.parts]
        return torch.cat(parts).index_select(0, columns.order)
    found = share.new_zeros(columns.shape[-1], n_codes)
    if isinstance(columns, (CategoricalColumns, RankedColumns)):
        p = columns.probabilities().squeeze(1).double()  # (M, D, n_levels)
        found[:, : p.shape[-1]] = (share @ p.flatten(1)).view(p.shape[1:])
        return found
    codes = torch.arange(min(2, n_codes), dtype=torch.float32, device=share.device)
    for k, code in enumerate(codes):  # two values, whatever their model
        found[:, k] = share @ columns.log_prob(code.expand(columns.shape)).exp().squeeze(1).double()
    return found


def median(columns: ColumnDistribution, half: Tensor) -> Tensor:
    """Return the median of an equal mixture over the first axis: (R, B, D) -> (B, D)."""
    # it lies among those of the components
    medians = columns.icdf(half)
    return quantile(columns, 0.5, medians.amin(0), medians.amax(0))


def mode(columns: ColumnDistribution, half: Tensor) -> Tensor:
    """Return the centre of highest density under an equal mixture: (R, B, D) -> (B, D)."""
    centre = columns.icdf(half)
    # 0 and 1 are where a continuous Bernoulli has its mode, and candidates like any other elsewhere
    ends = torch.zeros_like(centre[:2])
    ends[1] = 1.0
    candidates = torch.cat([centre[:_N_CANDIDATES], ends])
    density = torch.stack(
        [columns.log_prob(value.expand_as(centre)).logsumexp(0) for value in candidates]
    )
    return candidates.gather(0, density.argmax(0, keepdim=True)).squeeze(0)
