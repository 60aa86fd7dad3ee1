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
        Share of effective latents.
    decoder : nn.Module
        The decoder, (*, L) -> (*, P).
    log_prior : callable
        Returns the log-density of the prior: (*, L) -> (*,).
    log_p : callable
        Returns the log-density of the observed cells of rows given outputs of a decoder, and the
        indices of the rows, (R,): (m, n, R, P) -> (m, n, R).
    n_decoded : int
        Latents that are decoded at a time.
    """

    z: Tensor
    share: Tensor
    decoder: nn.Module
    log_prior: Callable[[Tensor], Tensor]
    log_p: Callable[[Tensor, Tensor], Tensor]
    n_decoded: int

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
        log_w, log_joint = self._log_weights(shifts)
        chosen = self.z.new_full((*u.shape, self.z.shape[-1]), torch.nan)
        for i, log_w_of_all in enumerate(log_w):
            rows = (~self.z.isnan().flatten(1).any(-1)).nonzero().squeeze(-1)
            z, w = self.z[rows], log_w_of_all[rows]  # (R, M, L), (R, M)
            best = w.new_full((len(u),), required_ess)
            for n_moves in range(_N_MOVES + 1):
                p = finite_log_weights(w).softmax(-1)
                ess = self.share[rows] * effective_sample_size_of(p)
                is_better = ess >= best[rows]
                latents = _at(z, choose_by_weight(p, u[rows, i, None].contiguous()))
                chosen[rows, i] = torch.where(is_better.unsqueeze(-1), latents, chosen[rows, i])
                best[rows] = torch.maximum(best[rows], ess)
                waits = ess < _ENOUGH_ESS
                rows, z, w = rows[waits], z[waits], w[waits]
                if not len(rows) or n_moves == _N_MOVES:
                    break
                z = z + _translation(z, w)
                log_p = [
                    self.log_p((self.decoder(part) + shifts.each[i](part)).unsqueeze(1), rows)
                    + self.log_prior(part).unsqueeze(1)
                    for part in self._split(z, 1)
                ]
                w = torch.cat(log_p).squeeze(1).double().T.contiguous() - log_joint[rows]
        return chosen

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


def _at(z: Tensor, index: Tensor) -> Tensor:
    """Return the latent at the index of each row: (R, M, L), (R, 1) -> (R, L)."""
    return take_along_dim(z, index.unsqueeze(-1), 1).squeeze(1)


def _translation(z: Tensor, log_w: Tensor) -> Tensor:
    """Return the covariances of latents and log-weights, within limits: (R, 1, L)."""
    log_w = log_w.clamp_min(log_w.amax(-1, keepdim=True) - _MAX_DIFFERENCE)
    deviation = log_w - log_w.mean(-1, keepdim=True)
    length = deviation.square().mean(-1, keepdim=True).sqrt()  # of a move by linear log-weights
    w = deviation / log_w.shape[-1] * (_MAX_MOVE / length.clamp_min(_MAX_MOVE))
    return weighted_sum(w, z.transpose(0, 1)).to(z).unsqueeze(1)
