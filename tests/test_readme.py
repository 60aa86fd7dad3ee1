"""What the README shows runs, block after block."""

import re
from functools import partial
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from estimator_cases import quiet, table

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
def test_every_block_of_the_readme_runs(monkeypatch, tmp_path):
    for name in ("MissSIWAEImputer", "MissSVAEImputer", "VAEDensityEstimator"):
        monkeypatch.setattr(skmissvae, name, small(getattr(skmissvae, name)))
    monkeypatch.setattr(
        "skmissvae.estimators.imputers.MissSIWAEImputer", skmissvae.MissSIWAEImputer
    )
    mpl.use("Agg")
    y = np.arange(40) % 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "measurements").mkdir()
    files = [tmp_path / "measurements" / f"{i}.parquet" for i in range(2)]
    for i, file in enumerate(files):
        pd.DataFrame(table(seed=i)).rename(columns=str).to_parquet(file)
    names = {"X_train": table(), "X_test": table(seed=1), "y_train": y, "files": files}
    names["torch"] = torch
    place = f"file://{tmp_path}/group"  # a group of one process
    begin = partial(torch.distributed.init_process_group, init_method=place, rank=0, world_size=1)
    monkeypatch.setattr(torch.distributed, "init_process_group", begin)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    torch.distributed.destroy_process_group()
    plt.close("all")
    assert len(pd.read_parquet("completed.parquet")) == 2 * len(table())
