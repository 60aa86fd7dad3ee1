"""Several processes learn one model from their shares of a table."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shares
import torch.distributed as dist

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch has no process groups")
HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shares")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, HERE / "shares.py", folder],
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = []
    for rank in range(2):
        with np.load(folder / f"{rank}.npz") as file:
            results.append(dict(file))
    return results


def test_all_processes_have_the_same_model_bit_for_bit(found):
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=name)


@pytest.mark.parametrize("way", ["array", "stopping", "chunks", "stream"])
def test_it_is_as_good_as_that_of_one_process(found, way):
    X, complete = shares.table()
    alone = shares.imputer().fit(X)
    X, complete = X[:100], complete[:100]
    holes = np.isnan(X)
    errors = [
        np.sqrt(np.mean((made - complete)[holes] ** 2))
        for made in (found[0][f"{way}_completed"], alone.transform(X))
    ]
    # the seed of chunks is another one each time, and with it the sample that units come from
    most, least = (1.5, 0.6) if way == "chunks" else (1.25, 0.2)
    assert errors[0] < most * errors[1]
    assert found[0][f"{way}_bound"][-1] > alone.history_["bound"][-1] - least


def test_gradients_are_averaged_by_rows_and_spoiled_together(found):
    for one in found:  # of 600 and of 300 rows
        np.testing.assert_allclose(one["average"], [5.0, -1 / 3], rtol=1e-6)
        assert one["mean"] == pytest.approx(5.0)
        assert np.isnan(one["spoiled"]).all()


def test_what_shares_cannot_do_is_an_error_in_every_process(found):
    for one in found:
        assert "Process 1 cannot read its share: ValueError: Chunks have no rows" in str(
            one["none"]
        )
        assert "cannot be fitted by several processes: DeMissVAE" in str(one["demiss"])
        assert "n_models=2 cannot be fitted by several processes" in str(one["models"])
