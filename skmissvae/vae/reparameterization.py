"""Gradients of ancestral draws from a mixture by implicit reparameterization."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .functional import standard_normal_log_prob


def reparameterize_mixture(z: Tensor, log_pi: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """Attach gradients to the parameters of a mixture of Normals to draws from it.

    With F_d(z_d | z_<d) the conditional distribution functions, F(z; phi) is uniform noise that
    does not depend on phi, so dz/dphi = -(dF/dz)^-1 dF/dphi. The Jacobian dF/dz is lower
    triangular, and in closed form: its diagonal holds the conditional densities and its entry
    (d, e) the covariance over components, under the weights w^d, of the component's distribution
    function at z_d and its score at z_e.

    Parameters
    ----------
    z : Tensor of shape (n, *batch, L)
        Draws, without gradients.
    log_pi : Tensor of shape (*batch, K)
        Logarithms of the weights.
    loc, scale : Tensor of shape (*batch, K, L) or (n, *batch, K, L)
        Locations and scales of the components.

    Returns
    -------
    Tensor of shape (n, *batch, L)
        The same values, with gradients.
    """
    return _ReparameterizedMixture.apply(z, log_pi, loc, scale)


class _ReparameterizedMixture(torch.autograd.Function):
    """Draws whose gradients by implicit reparameterization are computed in the backward pass."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, log_pi: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(z, log_pi, loc, scale)
        return z.view_as(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        z, log_pi, loc, scale = ctx.saved_tensors
        standard = (z.unsqueeze(-2) - loc) / scale  # (n, *batch, K, L)
        log_n = standard_normal_log_prob(standard, scale)
        # weights of the components given z_<d
        w = (log_pi.unsqueeze(-1) + log_n.cumsum(-1)).sub_(log_n).softmax(-2)
        weighted = w * log_n.exp()
        density = weighted.sum(-2).clamp_min_(torch.finfo(z.dtype).tiny)  # (n, *batch, L)
        cdf = torch.special.ndtr(standard)
        # F_d(z_d | z_<d) is the sum of w times cdf; its derivative by the logits of w:
        deviation = w * cdf.sub_((w * cdf).sum(-2, keepdim=True))
        jacobian = deviation.transpose(-1, -2) @ (standard / scale)  # (n, *batch, L, L)
        jacobian = jacobian.div_(density.unsqueeze(-1)).neg_().tril(-1)  # unit diagonal
        through = torch.linalg.solve_triangular(
            jacobian.mT, grad.unsqueeze(-1), upper=True, unitriangular=True
        ).squeeze(-1)
        # gradients of the loss with respect to F_d, and to the logits of w
        by_cdf = through.div_(density).neg_().unsqueeze(-2)
        by_log_w = deviation.mul_(by_cdf)
        # the weights of z_d depend on the densities of all z_e with e < d
        slope = (by_log_w.sum(-1, keepdim=True) - by_log_w.cumsum(-1)).div_(scale)
        by_loc = (slope * standard).sub_(weighted.mul_(by_cdf))
        by_scale = (by_loc * standard).sub_(slope)
        return (
            None,
            by_log_w.sum(-1).sum_to_size(log_pi.shape),
            by_loc.sum_to_size(loc.shape),
            by_scale.sum_to_size(scale.shape),
        )
