"""Initialization of a model from factor analysis of the training rows."""

from __future__ import annotations

import numpy as np
import torch

from .._utils.random import SeedStream, derive_seed
from ..vae.factor_analysis import ENOUGH_ROWS, factor_analysis, initialize_from
from ..vae.vae import VAE
from .data import TrainingRows
from .spec import ModelSpec

MIN_ROWS = 10  # of factor analysis
_MAX_FACTORS = 20


def initialize(vae: VAE, spec: ModelSpec, rows: TrainingRows, seed: int) -> bool:
    """Set a model to factor analysis of the training rows; return whether that was possible.

    Parameters
    ----------
    vae : VAE
        An untrained model, changed in place.
    spec : ModelSpec
        Its specification.
    rows : TrainingRows
        The table.
    seed : int
        Seed of the model.
    """
    positions = rows.training_positions()
    if vae.coordinates is None or len(positions) < MIN_ROWS:
        return False
    random_state = np.random.default_rng(derive_seed(seed, SeedStream.FACTOR_ANALYSIS))
    if len(positions) > ENOUGH_ROWS:
        positions = random_state.choice(positions, ENOUGH_ROWS, replace=False)
    x, observed = vae.likelihood.linearize(*rows.rows.part(positions).tensors())
    x = torch.where(observed, x, 0.0)
    n_factors = min(spec.n_latents, int(observed.any(0).sum()), _MAX_FACTORS)
    if not n_factors:
        return False
    model = factor_analysis(x.double().numpy(), observed.numpy(), n_factors, random_state)
    initialize_from(vae, model, with_encoder=spec.custom_encoder is None)
    return True
