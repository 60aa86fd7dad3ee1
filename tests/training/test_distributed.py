"""Training by several processes, each with a share of the rows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shares
import torch.distributed as dist

from skmissvae.training import processes

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch has no process groups")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder with the results of two processes."""
    folder = tmp_path_factory.mktemp("two_processes")
    command = [sys.executable, HERE / "two_processes.py", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """Return the results of two processes."""
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
    for name in results[0].keys() - {"no rows", "refused"}:
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
    for result in results:  # of 320 and of 160 rows
        np.testing.assert_allclose(result["average"], [5.0, -1 / 3], rtol=1e-6)
        assert result["mean"] == pytest.approx(5.0)
        assert np.isnan(result["invalid"]).all()


def test_fits_that_are_stopped_continue_with_the_same_bits(results):
    for result in results:
        for suffix in ("", "_bound"):
            expected = result[f"expected{suffix}"]
            np.testing.assert_array_equal(result[f"continued{suffix}"], expected)
        assert len(result["continued_bound"]) > 4
        assert not result["continued_files"]


def test_every_process_refuses_a_damaged_checkpoint(results):
    for result in results:
        assert "not a checkpoint, or it is damaged" in str(result["refused"])


def test_every_process_raises_the_errors_of_shares(results):
    for result in results:
        assert "Chunks have no rows" in str(result["no rows"])
        assert "cannot be fitted by processes: DeMissVAE stores" in str(result["DeMissVAE"])
        assert "n_bootstrap=2 cannot be fitted by processes" in str(result["bootstrap"])


def test_an_error_in_one_process_is_raised_in_all(folder):
    """The processes would wait for 30 minutes, the timeout of their group."""
    by_process = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    assert len(by_process[0]) >= 28
    for name in by_process[0]:
        rank = int(name[-1])
        own, other = (by_process[r][name] for r in (rank, 1 - rank))
        message = f"Process {rank} of the group raised an error, so the others stop: "
        assert not own["error"].startswith("ProcessError"), name
        assert other["error"] == f"ProcessError: {message}{own['error'].removesuffix(': ')}", name
        for outcome in (own, other):
            assert outcome["is_unchanged"], name
            assert outcome["next_fit_is_the_same"], name


def test_ctrl_c_after_an_error_of_another_process_is_not_handed_over(monkeypatch):
    handed_over = []
    monkeypatch.setattr(processes, "is_distributed", lambda: True)
    monkeypatch.setattr(processes, "_all_gather", handed_over.append)

    @processes.joint_errors()
    def fit():
        try:
            raise processes.ProcessError
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit()
    assert not handed_over


def test_a_step_has_one_exchange(results):
    """10 steps of 64 rows, or of 32 rows of the larger share, in each of 8 epochs."""
    for result in results:
        assert result["array_exchanges"] == 10 * 8
