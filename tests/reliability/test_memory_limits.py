"""Calls in little memory give the same bits, or an error and an unchanged estimator."""

import os
import sys

import memory_limits
import pytest

N_TRIALS = int(os.environ.get("SKMISSVAE_FAULTS", "8"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of the process from /proc")
def test_little_memory_gives_the_same_bits_or_an_error():
    counts, violations = memory_limits.run(N_TRIALS, 0)
    assert violations == []
    assert len(counts) >= 2, "no limit was reached, or all"
