"""A file imports only from the layers above it."""

import ast
from pathlib import Path

import pytest

import skmissvae

LAYERS = [
    ["_batching", "_products"],
    ["noise", "distributions", "warps", "_adam", "_schedules", "_state"],
    ["priors", "families", "column_distributions", "networks"],
    ["likelihoods"],
    ["discrete", "composite"],
    ["model"],
    ["bounds", "importance"],
    ["samplers"],
    ["objectives"],
    ["training"],
    ["ensembles"],
    ["_frames", "_params", "_callbacks", "_conditional", "_linear", "_threads"],
    ["_columns", "chunks"],
    ["_spec", "_streams", "_distributed"],
    ["_input", "_settable", "_pieces", "_rowwise", "_limits"],
    ["_reading"],
    ["_task", "_intervals", "missingness", "pooling"],
    ["_fitted"],
    ["_completion"],
    ["_estimator"],
    ["_starts", "_bootstrap"],
    ["_imputer"],
    ["imputers", "density"],
    ["metrics", "evaluation", "nonparametric", "prediction", "diagnostics"],
    ["_plots"],
    ["_latent_displays", "_judging"],
    ["checks", "overimputation"],
    ["displays"],
    ["__init__"],
]
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}
SAME_LAYER = {("distributions", "noise")}
FOLDER = Path(skmissvae.__file__).parent


def imports(path):
    """Return the modules of the package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            root = "skmissvae" if node.level else ""
            module = ".".join(filter(None, [root, node.module]))
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {
            part[1] if len(part) > 1 else "__init__" for part in parts if part[0] == "skmissvae"
        }
    return found


def test_every_module_has_a_layer():
    assert {path.stem for path in FOLDER.rglob("*.py")} == set(LAYER)


@pytest.mark.parametrize("name", LAYER)
def test_a_module_imports_only_from_lower_layers(name):
    for other in imports(FOLDER / f"{name}.py"):
        assert LAYER[other] < LAYER[name] or (name, other) in SAME_LAYER, other


def test_the_parser_sees_imports():
    assert imports(FOLDER / "_estimator.py") >= {"objectives", "model", "training"}
