"""Packages import only from the packages above them, and say what they offer."""

import ast
import importlib
from pathlib import Path

import pytest

import skmissvae

PACKAGES = [
    "_utils",
    "tables",
    "vae",
    "inference",
    "training",
    "estimators",
    "inspection",
    "pooling",
]
FOLDER = Path(skmissvae.__file__).parent
FILES = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.py") if path.parent != FOLDER)


def imported_packages(path):
    """Return the packages of ours that a file imports, wherever in the file."""
    packages = set()
    for node in ast.walk(ast.parse((FOLDER / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = path.parent.parts[: len(path.parent.parts) - node.level + 1]
            target = [*parents, *(node.module or "").split(".")]
            packages.add(target[0] or node.names[0].name)
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.module.startswith("skmissvae"))
    return packages


def test_every_file_is_in_a_package():
    assert {path.parts[0] for path in FILES} == set(PACKAGES)
    assert [path.name for path in FOLDER.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_package_imports_only_from_packages_above_it(path):
    level = PACKAGES.index(path.parts[0])
    assert imported_packages(path) <= set(PACKAGES[: level + 1])


def test_the_parser_sees_imports():
    assert imported_packages(Path("estimators/base.py")) >= {"tables", "training", "_utils"}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_lists_its_public_names(name):
    package = importlib.import_module(f"skmissvae.{name}")
    assert all(hasattr(package, member) for member in package.__all__)
