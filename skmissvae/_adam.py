"""The optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_BETAS, _EPS = (0.9, 0.999), 1e-8


class AdamW:
    """Adam with decoupled weight decay (Kingma and Ba 2015, Loshchilov and Hutter 2019).

    It is torch's, without its class, whose first use in a process imports torch's compiler: that
    takes seconds, when a small table takes few.

    Parameters
    ----------
    weights : sequence of Tensor
        What is learned, in place.
    weight_decay : float
        Rate at which weights fall, in units of the learning rate.
    state : dict, optional
        ``state`` of an optimizer of such weights, to go on from.
    """

    def __init__(
        self, weights: Sequence[Tensor], weight_decay: float, state: dict[str, Any] | None = None
    ) -> None:
        self.weights, self.weight_decay = list(weights), weight_decay
        #: A list per quantity, an entry per weight: steps taken, and moments of the gradients.
        self.state: dict[str, list[Tensor]] = {
            # of single precision, whatever the weights are: kernels of GPUs expect it
            "n_steps": [torch.zeros((), dtype=torch.float32, device=w.device) for w in weights],
            "means": [torch.zeros_like(weight) for weight in weights],
            "squares": [torch.zeros_like(weight) for weight in weights],
        }
        if state is not None:
            for name, moments in self.state.items():
                for moment, known in zip(moments, state[name], strict=True):
                    moment.copy_(known)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float, lost: Tensor) -> None:
        """Take a step, unless it is lost.

        Parameters
        ----------
        gradients : sequence of Tensor
            Those of the weights.
        rate : float
            Learning rate.
        lost : Tensor of shape () or (n_models,)
            True where gradients are not to be trusted: all stays as it is, without anybody waiting
            for the device to tell. Where weights are those of several models, along their first
            axis, one that has lost its step goes on by its moments.
        """
        if lost.dim():
            for gradient in gradients:
                gradient.masked_fill_(lost.unsqueeze(-1), 0.0)
            lost = lost.all()
        adamw(
            self.weights,
            list(gradients),
            self.state["means"],
            self.state["squares"],
            [],
            self.state["n_steps"],
            fused=True,
            found_inf=lost.float(),
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=rate,
            weight_decay=self.weight_decay,
            eps=_EPS,
            maximize=False,
        )


def clip(gradients: Sequence[Tensor], max_norm: float) -> Tensor:
    """Scale gradients to a norm of ``max_norm`` at most, in place; return the norm they had.

    (n_weights,) -> (), or of several models (n_models, n_weights) -> (n_models,).
    """
    norms = torch.stack([torch.linalg.vector_norm(gradient, dim=-1) for gradient in gradients])
    norm = torch.linalg.vector_norm(norms, dim=0)
    factor = (max_norm / norm).clamp_max(1).unsqueeze(-1)
    for gradient in gradients:
        gradient.mul_(factor)
    return norm
