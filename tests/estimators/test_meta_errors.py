"""Errors and documentation of the estimators for prediction from incomplete rows."""

import inspect

import numpy as np
import pandas as pd
import pytest
from estimator_cases import quiet
from estimator_cases import table as incomplete
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate
from prediction_cases import LINEAR, both, fast, outcome
from sklearn.base import clone
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmissvae import MultipleImputationClassifier, MultipleImputationRegressor, MVAEImputer

pytestmark = quiet


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"estimator": Ridge()}, TypeError, r"'estimator' of .* a classifier; got Ridge\(\)"),
        (
            {"estimator": LogisticRegression},
            TypeError,
            "'estimator' of .* a classifier; got <class",
        ),
        ({"estimator": None}, TypeError, "'estimator' of .* a classifier; got None"),
        ({"n_imputations": 0}, ValueError, "'n_imputations' of .* 1 or more; got 0"),
        ({"n_imputations": 2.0}, ValueError, r"'n_imputations' of .* got 2\.0"),
        (
            {"imputer": KNNImputer()},
            TypeError,
            r"'imputer' of .* support multiple imputation.*KNNImputer\(\)",
        ),
        ({"imputer": MVAEImputer}, TypeError, "'imputer' of .* support multiple imputation"),
        ({"imputer": "mean"}, TypeError, "'imputer' of .* support multiple imputation.*got 'mean'"),
        (
            {"imputer": make_pipeline(StandardScaler(), MVAEImputer())},
            TypeError,
            "(?s)'imputer' of .*Steps of a Pipeline before imputation belong before .*Classifier",
        ),
    ],
    ids=str,
)
def test_invalid_parameters(change, error, match):
    X = incomplete()
    model = fast(MultipleImputationClassifier).set_params(**change)
    with pytest.raises(error, match=match):
        model.fit(X, np.arange(40) % 2)
    assert not hasattr(model, "n_features_in_")


@both
def test_failed_fit_does_not_change_the_estimator(cls):
    X = incomplete()
    y = outcome(cls, X)
    model = fast(cls).fit(X, y)
    before, expected = dict(vars(model)), model.predict_all(X)
    failures = [
        (X, y[:-1], "inconsistent numbers of samples"),
        (X, None, "requires y"),
        (X[:, :2] * np.nan, y, "no observed cell"),
        (X[:5], np.full(5, np.nan), "Input y contains NaN"),
    ]
    for table, targets, match in failures:
        with pytest.raises(ValueError, match=match):
            model.fit(table, targets)
        assert vars(model) == before
    model.set_params(estimator=clone(LINEAR[cls]).set_params(max_iter=-1))
    with pytest.raises(ValueError, match="max_iter"):
        model.fit(X[:, :2], y)
    np.testing.assert_array_equal(model.predict_all(X), expected)


def test_standard_deviation_requires_two_imputations():
    X = incomplete()
    model = fast(MultipleImputationRegressor, n_imputations=1).fit(X, np.arange(40))
    assert model.predict(X).shape == (40,)
    with pytest.raises(ValueError, match="return_std needs two or more imputations"):
        model.predict(X, return_std=True)


# -- documentation --------------------------------------------------------------------------------


@both
def test_documentation(cls):
    members = [name for name, _ in inspect.getmembers(cls, callable) if name in vars(cls)]
    members += ["fit", "predict_all", "get_metadata_routing"]
    for name in ["", *(f".{member}" for member in members if not member.startswith("_"))]:
        errors = validate(f"skmissvae.estimators.meta.{cls.__name__}{name}")["errors"]
        ignored = {"GL01", "GL02", "ES01", "EX01", "SA01", "RT02"}
        assert [error for error in errors if error[0] not in ignored] == []
    doc = ClassDoc(cls)
    assert [parameter.name for parameter in doc["Parameters"]] == list(
        inspect.signature(cls).parameters
    )
    frame = pd.DataFrame(incomplete(), columns=list("abcd"))
    fitted = dir(fast(cls).fit(frame, outcome(cls, frame)))
    assert {attribute.name for attribute in doc["Attributes"]} == {
        name for name in fitted if name.endswith("_") and not name.startswith("_")
    }


def test_deterministic_imputer_is_refused():
    X = incomplete()
    with pytest.raises(TypeError, match="must support multiple imputation"):
        MultipleImputationRegressor(Ridge(), imputer=IterativeImputer()).fit(X, np.arange(len(X)))
