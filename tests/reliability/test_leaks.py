"""Calls leave no objects, memory, open files or threads in the process."""

import leaks
import pytest

# Python's lists of free objects grow by up to 50 kB; six tables have 115 kB
MAX_BYTES = 75_000


@pytest.mark.parametrize("name", leaks.CALLS)
def test_calls_leave_nothing_in_the_process(name, tmp_path):
    growth = leaks.growth(name, tmp_path, 3, 6)
    assert growth.pop("bytes") < MAX_BYTES
    assert growth.pop("objects") <= 5  # a tenth of those of a model
    assert growth == {"files": 0, "threads": 0}
