"""The documentation says all there is, and nothing that is not."""

import inspect
import re

import pandas as pd
import pytest
from estimator_cases import ESTIMATORS, every_estimator, table, tiny
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

import skmissvae
from skmissvae.estimators.parameters import parameters

# Summaries stand on the first line (GL01, GL02) and say enough (ES01); examples and See Also stand
# in the classes, not in each method (EX01, SA01); "self : object" is scikit-learn's habit (RT02).
LEFT_OUT = {"GL01", "GL02", "ES01", "EX01", "SA01", "RT02"}


def members():
    for name in skmissvae.__all__:
        cls = getattr(skmissvae, name)
        yield f"skmissvae.{name}"
        for member, value in inspect.getmembers(cls, callable):
            if member.startswith("_") and member != "__call__":
                continue
            if getattr(value, "__module__", "").startswith("skmissvae"):
                yield f"skmissvae.{name}.{member}"


@pytest.mark.parametrize("name", list(members()))
def test_docstrings_are_numpydoc(name):
    errors = [f"{c}: {text}" for c, text in validate(name)["errors"] if c not in LEFT_OUT]
    assert errors == []


@every_estimator
def test_every_class_has_an_example_and_says_what_to_see(cls):
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
def test_no_placeholder_stays(cls):
    assert not re.search(r"\{(parameters|attributes)\}", cls.__doc__)
    assert "<" not in "".join(p.type for p in ClassDoc(cls)["Parameters"])


def test_parameters_of_one_name_have_one_text():
    of_a_method = {"K", "n_draws", "sampler"}
    for name in {name for cls in ESTIMATORS for name in parameters(cls)} - of_a_method:
        declared = {parameters(cls)[name] for cls in ESTIMATORS if name in parameters(cls)}
        assert len(declared) == 1, name


@every_estimator
def test_options_named_in_the_documentation_are_those_that_are_checked(cls):
    for name, declared in parameters(cls).items():
        options = re.search(r"\{(.*?)\}", declared.kind)
        if options is None or name == "likelihood":
            continue
        for option in re.findall(r'"(\w+)"', options.group(1)):
            assert declared.check(option) is None, (name, option)


@every_estimator
def test_fitted_attributes_are_those_documented(cls):
    estimator = tiny(cls).fit(pd.DataFrame(table(), columns=list("abcd")))
    documented = {attribute.name for attribute in ClassDoc(cls)["Attributes"]}
    there = [*vars(estimator), *(n for n in dir(cls) if isinstance(getattr(cls, n), property))]
    fitted = {n for n in there if n.endswith("_") and not n.startswith("_")}
    assert documented == fitted
