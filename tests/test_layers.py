"""The structure of the package: imports, public names, private attributes and file sizes."""

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
    "datasets",
]
FOLDER = Path(skmissvae.__file__).parent
FILES = sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.py") if path.parent != FOLDER)
ESTIMATOR_NAMES = {"estimator", "imputer", "density", "fitted", "other"}
#: Documented methods of named tuples, and of the callback protocol of scikit-learn.
PUBLIC = {"_replace", "_asdict", "_make", "_fields", "_init_callback_context"}
MAX_LINES = 460

every_file = pytest.mark.parametrize("path", FILES, ids=str)


def imported_packages(path):
    """Return the packages of skmissvae that a file imports, anywhere in the file."""
    packages = set()
    for node in ast.walk(ast.parse((FOLDER / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = path.parent.parts[: len(path.parent.parts) - node.level + 1]
            target = [*parents, *(node.module or "").split(".")]
            packages.add(target[0] or node.names[0].name)
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.module.startswith("skmissvae"))
    return packages


def private_attributes(source):
    """Return the attributes with one leading underscore of variables that hold estimators."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ESTIMATOR_NAMES
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in PUBLIC
    }


def test_every_file_is_in_a_package():
    assert {path.parts[0] for path in FILES} == set(PACKAGES)
    assert [path.name for path in FOLDER.glob("*.py")] == ["__init__.py"]


@every_file
def test_a_package_imports_only_from_packages_above_it(path):
    level = PACKAGES.index(path.parts[0])
    assert imported_packages(path) <= set(PACKAGES[: level + 1])


def test_the_parser_finds_imports():
    assert imported_packages(Path("estimators/fitted_methods.py")) >= {
        "tables",
        "training",
        "_utils",
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_lists_its_public_names(name):
    package = importlib.import_module(f"skmissvae.{name}")
    assert all(hasattr(package, member) for member in package.__all__)


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] != "estimators"], ids=str)
def test_only_the_estimators_use_private_attributes_of_estimators(path):
    assert private_attributes((FOLDER / path).read_text()) == set()


def test_the_parser_finds_private_attributes():
    source = (
        "def f(imputer, x):\n    return imputer._seed, imputer.__dict__, x._y, other._replace()"
    )
    assert private_attributes(source) == {"imputer._seed"}


@every_file
def test_files_are_short(path):
    assert len((FOLDER / path).read_text().splitlines()) <= MAX_LINES
