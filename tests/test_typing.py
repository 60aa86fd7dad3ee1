"""The public methods have types that type checkers read, without Any."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from estimator_cases import every_estimator

TESTS = Path(__file__).parent


def test_pyright_knows_the_results_of_public_methods(tmp_path):
    """As mypy does, which ``make test`` calls."""
    pytest.importorskip("pyright")
    # in an empty folder, so that the package is found as installed
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    result = subprocess.run(
        [*command, TESTS / "typed_usage.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


@every_estimator
def test_public_methods_have_annotated_results(cls):
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("skmissvae"):
            assert "return" in inspect.unwrap(method).__annotations__, name
