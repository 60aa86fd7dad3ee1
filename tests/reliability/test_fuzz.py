"""Random tables and tampered files, in small numbers; ``make fuzz`` has larger ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_tables import run

HERE = Path(__file__).parent


@pytest.mark.slow
def test_random_tables_and_new_rows_are_completed_or_refused():
    counts, violations = run(500, seed=0)
    assert not violations, "\n".join(violations)
    assert counts["tables", "completed"] > 400
    assert counts["new rows", "completed"] > 300
    assert counts["new rows", "refused"] > 50


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory")
def test_tampered_files_execute_nothing_and_take_no_memory():
    command = [sys.executable, HERE / "fuzz_files.py", "all", "500", "0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    n_refused = re.findall(r"500 \w+ files: (\d+) refused", result.stdout)
    assert [int(n) > 250 for n in n_refused] == [True] * 4, result.stdout
    assert int(n_refused[-1]) == 500, "damaged files"
