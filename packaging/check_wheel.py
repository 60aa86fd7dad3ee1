"""A short check of an installed skmissvae, outside of the repository: ``python check_wheel.py``."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

import skmissvae
from skmissvae.datasets import load_penguins

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Fit an imputer to the penguins, and complete them."""
    location = Path(skmissvae.__file__).resolve().parent
    assert location != REPOSITORY / "skmissvae", "the checkout is imported, not the wheel"
    assert version("skmissvae") == skmissvae.__version__
    assert (location / "py.typed").exists()
    penguins = load_penguins()
    assert penguins.isna().to_numpy().any()
    imputer = skmissvae.MissSIWAEImputer(max_iter=5, init="factor_analysis", random_state=0)
    completed = imputer.fit_transform(penguins)
    assert not completed.isna().to_numpy().any()
    pd.testing.assert_series_equal(completed.dtypes, penguins.dtypes)
    array = penguins.select_dtypes("number").to_numpy(dtype=float)
    assert np.isfinite(skmissvae.MIWAEImputer(max_iter=2).fit_transform(array)).all()
    print(f"skmissvae {skmissvae.__version__} at {location}: passed")


if __name__ == "__main__":
    main()
