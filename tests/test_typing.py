"""The public methods have types that mypy reads, without Any."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from estimator_cases import every_estimator

TESTS = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_know_the_results_of_public_methods(checker, tmp_path):
    pytest.importorskip(checker)
    # in an empty folder, so that the package is found as installed
    options = {
        "mypy": ["--strict", "--config-file=", "--cache-dir", os.fspath(tmp_path)],
        "pyright": ["--pythonpath", sys.executable],
    }[checker]
    command = [sys.executable, "-m", checker, *options, TESTS / "typed_usage.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@every_estimator
def test_public_methods_have_annotated_results(cls):
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("skmissvae"):
            assert "return" in inspect.unwrap(method).__annotations__, name
