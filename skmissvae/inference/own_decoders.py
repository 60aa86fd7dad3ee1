"""Latents for decoders with shifted outputs, from draws for the decoder without shift."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._utils.compat import take_along_dim
from .._utils.matmul import VECTOR_WIDTH
from ..vae.networks.shifted import DecoderShifts
from .weights import choose_by_weight, effective_sample_size_of, finite_log_weights, weighted_sum

_ENOUGH_ESS = 32.0  # below it latents are moved
_N_MOVES = 2
_MAX_MOVE = 3.0  # standard deviations
_MAX_DIFFERENCE = 30.0  # nats between the log-weights by which latents are moved


@dataclass(frozen=True)
class CommonLatents:
    """Latents of rows given their observed cells, for the decoder that all imputations share.

    Parameters
    ----------
    z : Tensor of shape (B, M, L)
        Latents of each row with equal weights.
    share : Tensor of shape (B,)
        Share of the latents that are distinct.
    decoder : nn.Module
        The decoder, (*, L) -> (*, P).
    log_prior : callable
        Returns the log-density of the prior: (*, L) -> (*,).
    log_p : callable
        Returns the log-probability of what is known of the cells of rows (values, limits, bounds,
        the mask under a model of missingness), given outputs of a decoder and the indices of the
        rows, (R,): (m, n, R, P) -> (m, n, R).
    n_decoded : int
        Latents that are decoded at a time.
    is_separable : bool
        Whether ``log_p`` may take any number of rows; otherwise it takes as many as there are.
    """

    z: Tensor
    share: Tensor
    decoder: nn.Module
    log_prior: Callable[[Tensor], Tensor]
    log_p: Callable[[Tensor, Tensor], Tensor]
    n_decoded: int
    is_separable: bool

    def choose(self, u: Tensor, shifts: DecoderShifts, required_ess: float) -> Tensor:
        r"""Return a latent for each decoder with shifted outputs: (B, n) -> (B, n, L).

        They are chosen by uniform numbers u with the weights :math:`p_i(x_{obs}, z) / p(x_{obs},
        z)`. Where their effective sample size is below 32, latents are moved towards the posterior
        of the decoder i by up to two translations z + t, with the weights :math:`p_i(x_{obs}, z +
        t) / p(x_{obs}, z)`; the best of the three sets counts. Latents are NaN if its effective
        sample size is below ``required_ess``. A translation is the covariance of latents and
        log-weights, which is exact for Normal posteriors with equal covariances. With few effective
        latents imputations would be too similar.
        """
        all_log_w, log_joint = self._log_weights(shifts)
        chosen = self.z.new_full((*u.shape, self.z.shape[-1]), torch.nan)
        has_latents = (~self.z.isnan().flatten(1).any(-1)).nonzero().squeeze(-1)
        for i, log_w in enumerate(all_log_w):
            rows, z = has_latents, self.z[has_latents]  # (R,), (R, M, L)
            log_w, best = log_w[rows], log_w.new_full((len(u),), required_ess)
            for n_moves in range(_N_MOVES + 1):
                is_finite = log_w.isfinite().any(-1)
                log_w = finite_log_weights(log_w)
                w = log_w.softmax(-1)
                ess = torch.where(is_finite, effective_sample_size_of(w), 0.0)
                n_distinct = self.share[rows] * ess
                is_better = (n_distinct >= best[rows]).unsqueeze(-1)
                index = choose_by_weight(w, u[rows, i, None].contiguous())  # (R, 1)
                latents = take_along_dim(z, index.unsqueeze(-1), 1).squeeze(1)
                chosen[rows, i] = torch.where(is_better, latents, chosen[rows, i])
                best[rows] = torch.maximum(best[rows], n_distinct)
                waits = ess < _ENOUGH_ESS
                rows, z, log_w = rows[waits], z[waits], log_w[waits]
                if not len(rows) or n_moves == _N_MOVES:
                    break
                z = z + _translation(z, log_w)
                log_w = self._log_joint(z, rows, shifts.each[i]) - log_joint[rows]
        return chosen

    def _log_joint(self, z: Tensor, rows: Tensor, shift: nn.Module) -> Tensor:
        """Return log p_i(x_obs, z) of latents of some rows, (R, M, L) -> (R, M)."""
        n_rows = len(rows)
        if not self.is_separable:  # equal rows fill the batch
            n_more = len(self.z) - n_rows
            z, rows = (torch.cat([t, t[:1].expand(n_more, *t.shape[1:])]) for t in (z, rows))
        parts = []
        for draws in self._split(z, 1):
            outputs = self.decoder(draws) + shift(draws)
            log_p = self.log_p(outputs.unsqueeze(1), rows).squeeze(1)
            parts.append(log_p + self.log_prior(draws))
        return torch.cat(parts).double().T.contiguous()[:n_rows]

    def _log_weights(self, shifts: DecoderShifts) -> tuple[Tensor, Tensor]:
        """Return log-weights of the latents for each decoder, (n, B, M), and log p(x_obs, z)."""
        rows = torch.arange(len(self.z), device=self.z.device)
        log_w, log_joint = [], []
        for draws in self._split(self.z, shifts.n_together):
            outputs = self.decoder(draws).unsqueeze(1)  # (m, 1, B, P)
            log_p = self.log_p(outputs, rows)
            of_shifts = [self.log_p(outputs + part, rows) for part in shifts.parts(draws)]
            log_w.append(torch.cat(of_shifts, 1) - log_p)
            log_joint.append(log_p.squeeze(1) + self.log_prior(draws))
        # contiguous rows, as in ``log_weights``
        all_log_w = torch.cat(log_w).permute(1, 2, 0).contiguous()
        return all_log_w, torch.cat(log_joint).double().T.contiguous()

    def _split(self, z: Tensor, n_decoders: int) -> Sequence[Tensor]:
        """Return latents, (R, M, L), in parts for which there is memory: (m, R, L)."""
        # multiples of the width of vectors, so that bits do not depend on the number of rows
        n = max(1, self.n_decoded // (VECTOR_WIDTH * n_decoders * len(z))) * VECTOR_WIDTH
        return z.transpose(0, 1).split(n)


def _translation(z: Tensor, log_w: Tensor) -> Tensor:
    """Return the covariances of latents and log-weights, within limits: (R, 1, L)."""
    log_w = log_w.clamp_min(log_w.amax(-1, keepdim=True) - _MAX_DIFFERENCE)
    deviation = log_w - log_w.mean(-1, keepdim=True)
    length = deviation.square().mean(-1, keepdim=True).sqrt()  # of a move by linear log-weights
    w = deviation / log_w.shape[-1] * (_MAX_MOVE / length.clamp_min(_MAX_MOVE))
    return weighted_sum(w, z.transpose(0, 1)).to(z).unsqueeze(1)
