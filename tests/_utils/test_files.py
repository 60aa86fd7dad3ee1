"""Files that are replaced when the new one is complete."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from skmissvae._utils.files import replaced_file

WRITE = """
import os, sys
from skmissvae._utils.files import replaced_file
with replaced_file(sys.argv[1]) as file:
    file.write(b"new " * 1000)
    file.flush()
    {end}
"""


def write_in_a_process(path, end):
    command = [sys.executable, "-c", WRITE.format(end=end), path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model [1].bin"
    path.write_bytes(b"old")
    return path


def test_a_complete_file_replaces_the_old_one(path):
    with replaced_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_after_an_error_the_file_is_the_old_one(path, error):
    def write():
        with replaced_file(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
def test_after_a_kill_the_file_is_the_old_one_and_the_rest_is_removed_later(path):
    assert write_in_a_process(path, "os.kill(os.getpid(), 9)").returncode == -9
    assert path.read_bytes() == b"old"
    assert len(os.listdir(path.parent)) == 2
    with replaced_file(path) as file:
        file.write(b"newer")
    assert path.read_bytes() == b"newer"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
def test_on_a_full_disk_the_file_is_the_old_one(path):
    import resource  # of POSIX

    end = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4100, 4100))"
    assert resource.RLIMIT_FSIZE is not None
    end += "\n    file.write(b'x' * 100_000)"
    result = write_in_a_process(path, end)
    assert result.returncode != 0
    assert "File too large" in result.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_writers_of_other_files_do_not_disturb_each_other(tmp_path):
    def write(i):
        for _ in range(20):
            with replaced_file(tmp_path / f"file{i}") as file:
                file.write(bytes([i]) * 1000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert [(tmp_path / f"file{i}").read_bytes() for i in range(4)] == [
        bytes([i]) * 1000 for i in range(4)
    ]
    assert len(os.listdir(tmp_path)) == 4
