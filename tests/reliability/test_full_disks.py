"""Full disks leave old files as they are, with a clear error or warning."""

import os
import random

import full_disks
import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
N_TRIALS = int(os.environ.get("SKMISSVAE_FAULTS", "8"))


def test_a_full_disk_leaves_the_old_file(tmp_path):
    rng = random.Random(0)
    assert [full_disks.write(rng, tmp_path) for _ in range(N_TRIALS)] == [[]] * N_TRIALS
