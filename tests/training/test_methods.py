"""The methods by their names in the literature."""

import pytest
from helpers import BOUND_METHODS, tiny_vae

from skmissvae.vae import elbo, iwelbo


@pytest.mark.parametrize("name", BOUND_METHODS)
def test_names_of_methods_are_those_of_their_bounds_and_draws(name):
    method, K = BOUND_METHODS[name].configured(2, "auto", None), 3
    is_stratified, is_mixture = name.startswith("MissS"), name.startswith("Miss")
    assert method.bound is (iwelbo if name.endswith("IWAE") else elbo)
    assert method.mixture == is_mixture
    n_draws = method.objective().draws_per_row(tiny_vae(n_components=K))
    assert n_draws == (2 * K if is_stratified else 2)
