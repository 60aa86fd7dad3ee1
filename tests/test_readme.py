"""What the README shows runs, block after block."""

import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from estimators import quiet, table

import skmissvae

README = Path(__file__).parents[1] / "README.md"
SMALL = {"max_iter": 2, "n_hidden": 16, "n_blocks": 1, "n_importance_draws": 30}


def small(cls):
    """Return a class that trains in a blink."""

    def make(**options):
        options = {**SMALL, **options}
        if "n_models" in options:
            options |= {"n_models": 2, "n_jobs": None}
        return cls(**options)

    return make


@quiet
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*imputations are drawn:UserWarning")
def test_every_block_of_the_readme_runs(monkeypatch):
    for name in ("MissSIWAEImputer", "MissSVAEImputer", "VAEDensityEstimator"):
        monkeypatch.setattr(skmissvae, name, small(getattr(skmissvae, name)))
    monkeypatch.setattr("skmissvae.prediction.MissSIWAEImputer", skmissvae.MissSIWAEImputer)
    mpl.use("Agg")
    y = np.arange(40) % 2
    names = {"X_train": table(), "X_test": table(seed=1), "y_train": y}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    plt.close("all")
