"""Training by several processes, each with a share of the rows."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shares
import torch.distributed as dist

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch has no process groups")
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return the results of two processes."""
    folder = tmp_path_factory.mktemp("shares")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*command, TESTS / "shares.py", folder],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    by_process = []
    for rank in range(2):
        with np.load(folder / f"{rank}.npz") as file:
            by_process.append(dict(file))
    return by_process


@pytest.fixture(scope="module")
def single_process():
    """Return an imputer that one process fits to all rows."""
    return shares.imputer().fit(shares.table()[0])


def test_all_processes_have_the_same_model_bit_for_bit(results):
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name], err_msg=name)


@pytest.mark.parametrize("name", ["array", "stopping", "chunks", "early chunks"])
def test_errors_are_similar_to_those_of_one_process(results, single_process, name):
    X, complete = (values[:100] for values in shares.table())
    missing = np.isnan(X)
    error, expected_error = (
        np.sqrt(np.mean((completed - complete)[missing] ** 2))
        for completed in (results[0][f"{name}_completed"], single_process.transform(X))
    )
    # random_state=None draws another sample, and so other units, in every run
    factor, difference = (1.5, 0.6) if name == "chunks" else (1.25, 0.2)
    assert error < factor * expected_error
    bound = results[0][f"{name}_bound"][-1]
    assert bound > single_process.history_["bound"][-1] - difference


def test_gradients_are_averaged_by_rows_and_invalid_in_all_processes(results):
    for result in results:  # of 600 and of 300 rows
        np.testing.assert_allclose(result["average"], [5.0, -1 / 3], rtol=1e-6)
        assert result["mean"] == pytest.approx(5.0)
        assert np.isnan(result["invalid"]).all()


@pytest.mark.parametrize("name", ["continued", "continued dropout"])
def test_fits_that_are_stopped_continue_with_the_same_bits(results, name):
    for result in results:
        for suffix in ("", " bound"):
            expected = result[f"{name} expected{suffix}"]
            np.testing.assert_array_equal(result[f"{name}{suffix}"], expected)
        assert len(result[f"{name} bound"]) > 4
        assert not result[f"{name} files"]


def test_every_process_refuses_a_damaged_checkpoint(results):
    for result in results:
        assert "not a checkpoint, or it is damaged" in str(result["refused"])


def test_every_process_raises_the_errors_of_shares(results):
    for result in results:
        assert "Process 1 cannot read its share: ValueError: Chunks have no rows" in str(
            result["no rows"]
        )
        assert "cannot be fitted by processes: DeMissVAE stores" in str(result["DeMissVAE"])
        assert "n_bootstrap=2 cannot be fitted by processes" in str(result["bootstrap"])
