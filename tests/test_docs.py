"""Docstrings: numpydoc, and agreement with signatures, checks and fitted attributes."""

import importlib
import inspect
import re

import pandas as pd
import pytest
from estimator_cases import ESTIMATORS, every_estimator, quiet, table, tiny
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

import skmissvae
from skmissvae.estimators.parameters import parameters

# Summaries stand on the first line (GL01, GL02) and suffice (ES01); examples and See Also stand
# in the classes, not in each method (EX01, SA01); "self : object" is scikit-learn's form (RT02).
EXEMPT = {"GL01", "GL02", "ES01", "EX01", "SA01", "RT02"}

# Parts that only authors of custom models use: their methods have one line with the shapes.
INNER_MODULES = ("vae", "tables", "inference")
USER_MODULES = ("inspection", "pooling", "datasets")


def is_named_tuple(member):
    return inspect.isclass(member) and issubclass(member, tuple)


def public_members(module):
    """Yield name and value of the classes and functions that a module lists.

    Named tuples of parts have comments with the shapes of their fields instead of sections.
    """
    is_inner = module.__name__.rpartition(".")[2] in INNER_MODULES
    for name in module.__all__:
        member = getattr(module, name)
        if is_inner and is_named_tuple(member) and "Parameters\n" not in member.__doc__:
            continue
        if inspect.isclass(member) or inspect.isfunction(member):
            yield f"{module.__name__}.{name}", member


def methods(name, cls):
    """Yield the names of public methods with a docstring; others inherit that of a base."""
    for method, value in inspect.getmembers(cls, callable):
        is_public = not method.startswith("_") or method == "__call__"
        if is_public and getattr(value, "__module__", "").startswith("skmissvae"):
            if value.__doc__ is None:
                assert inspect.getdoc(value), f"{name}.{method} has no docstring"
            else:
                yield f"{name}.{method}"


def documented_names():
    names = {}  # by member, as modules list members of others
    for module in (skmissvae, *map(submodule, USER_MODULES)):
        for name, member in public_members(module):
            names.setdefault(member, [name])
            if inspect.isclass(member) and len(names[member]) == 1:
                names[member] += methods(name, member)
    for module in map(submodule, INNER_MODULES):
        for name, member in public_members(module):
            names.setdefault(member, [name])
    return [name for group in names.values() for name in group]


def submodule(name):
    return importlib.import_module(f"skmissvae.{name}")


@pytest.mark.parametrize("name", documented_names())
def test_docstrings_are_numpydoc(name):
    errors = [f"{code}: {text}" for code, text in validate(name)["errors"] if code not in EXEMPT]
    assert errors == []


@every_estimator
def test_classes_have_examples_references_and_links_to_others(cls):
    doc = ClassDoc(cls)
    assert doc["Examples"]
    assert doc["See Also"]
    assert doc["References"]
    for names, _ in doc["See Also"]:
        for name, _ in names:
            assert name in skmissvae.__all__


@every_estimator
def test_every_parameter_is_documented_with_its_default(cls):
    signature = inspect.signature(cls).parameters
    documented = {p.name: p for p in ClassDoc(cls)["Parameters"]}
    assert list(documented) == list(signature) == list(parameters(cls))
    for name, declared in parameters(cls).items():
        kind, default = documented[name].type.rsplit(", default=", 1)
        assert kind == declared.kind
        assert default == repr(signature[name].default)
        words = " ".join(documented[name].desc).split()
        assert words == declared.text.split()
        assert words[-1].endswith(".")


@every_estimator
def test_the_docstring_lists_the_parameters_of_each_group(cls):
    sentence = re.search(r"Parameters are in \d groups: (.*?)\.\n\n", cls.__doc__, re.DOTALL)
    groups = re.findall(r"(\w+)\s\((.*?)\)", sentence[1], re.DOTALL)
    listed = {name: group for group, names in groups for name in re.findall(r"\w+", names)}
    assert listed == {name: declared.group for name, declared in parameters(cls).items()}


@every_estimator
def test_no_placeholder_remains(cls):
    assert not re.search(r"\{(parameters|attributes)\}", cls.__doc__)
    assert "<" not in "".join(p.type for p in ClassDoc(cls)["Parameters"])


def test_parameters_of_one_name_have_one_text():
    method_specific = {"K", "n_draws", "sampler"}
    for name in {name for cls in ESTIMATORS for name in parameters(cls)} - method_specific:
        declared = {parameters(cls)[name] for cls in ESTIMATORS if name in parameters(cls)}
        assert len(declared) == 1, name


@every_estimator
def test_options_in_the_documentation_are_accepted(cls):
    for name, declared in parameters(cls).items():
        options = re.search(r"\{(.*?)\}", declared.kind)
        if options is None or name == "likelihood":
            continue
        for option in re.findall(r'"(\w+)"', options.group(1)):
            assert declared.check(option) is None, (name, option)


@quiet
@every_estimator
def test_fitted_attributes_are_those_documented(cls):
    estimator = tiny(cls).fit(pd.DataFrame(table(), columns=list("abcd")))
    attributes = ClassDoc(cls)["Attributes"]
    documented = {name for attribute in attributes for name in attribute.name.split(", ")}
    names = [*vars(estimator), *(n for n in dir(cls) if isinstance(getattr(cls, n), property))]
    fitted = {name for name in names if name.endswith("_") and not name.startswith("_")}
    assert documented == fitted
