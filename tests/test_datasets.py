"""The tables of the package."""

import pandas as pd

from skmissvae.datasets import load_penguins


def test_penguins_have_the_published_shape_missing_cells_and_means():
    penguins = load_penguins()
    assert penguins.shape == (344, 8)
    assert penguins.isna().sum()[lambda counts: counts > 0].to_dict() == {
        "bill_length_mm": 2,
        "bill_depth_mm": 2,
        "flipper_length_mm": 2,
        "body_mass_g": 2,
        "sex": 11,
    }
    assert penguins["species"].value_counts().to_dict() == {
        "Adelie": 152,
        "Gentoo": 124,
        "Chinstrap": 68,
    }
    assert penguins.groupby("species", observed=True)["body_mass_g"].mean().round().tolist() == [
        3701,
        3733,
        5076,
    ]
    assert isinstance(penguins["sex"].dtype, pd.CategoricalDtype)
    assert load_penguins() is not penguins
