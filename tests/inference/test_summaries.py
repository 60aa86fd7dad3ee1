"""Summaries of columns over latents."""

import torch

from skmissvae.inference.summaries import median, mode
from skmissvae.vae.likelihoods.normal import NormalColumns


def test_the_mode_has_the_highest_density_and_the_median_halves_the_mass():
    loc = torch.tensor([0.0, 5.0, 5.1, -5.0]).view(4, 1, 1)
    scale = torch.tensor([9.0, 0.1, 0.1, 0.1]).view(4, 1, 1)
    columns, z = NormalColumns(loc, scale), torch.zeros(4, 1, 1)
    grid = torch.linspace(-10, 10, 20_001).view(-1, 1, 1, 1)
    density = columns.log_prob(grid).exp().mean(1).flatten()
    assert abs(mode(columns, z).item() - grid[density.argmax()].item()) <= 0.1
    assert abs(columns.cdf(median(columns, z).expand(4, 1, 1)).mean().item() - 0.5) < 1e-5
