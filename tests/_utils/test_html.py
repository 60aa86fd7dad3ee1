"""HTML in notebooks: links of estimators to their pages."""

import inspect

import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils import estimator_html_repr

import skmissvae
from skmissvae import MissSIWAEImputer, MultipleImputationClassifier

SITE = "https://skmissvae.github.io/skmissvae"
ESTIMATORS = sorted(
    name
    for name in skmissvae.__all__
    if inspect.isclass(cls := getattr(skmissvae, name)) and issubclass(cls, BaseEstimator)
)


# -- links --------------------------------------------------------------------------------------


def new(name):
    """Return an estimator of a public class."""
    cls = getattr(skmissvae, name)
    return cls(LogisticRegression()) if name.startswith("MultipleImputation") else cls()


def package_subclasses(cls):
    return [sub for sub in cls.__subclasses__() if sub.__module__.startswith("skmissvae")]


def final_classes(cls):
    """Yield the names of the classes of the package without subclasses in it."""
    for subclass in package_subclasses(cls):
        if package_subclasses(subclass):
            yield from final_classes(subclass)
        else:
            yield subclass.__name__


def test_every_estimator_of_the_package_is_public():
    assert set(final_classes(BaseEstimator)) == set(ESTIMATORS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_link_to_their_pages(name):
    estimator = new(name)
    url = f"{SITE}/api/skmissvae.{name}.html"
    assert estimator._get_doc_link() == url
    assert url in estimator_html_repr(estimator)


def test_diagrams_of_meta_estimators_link_to_both():
    classifier = MultipleImputationClassifier(LogisticRegression(), imputer=MissSIWAEImputer())
    html = estimator_html_repr(classifier)
    assert f"{SITE}/api/skmissvae.MissSIWAEImputer.html" in html
    assert f"{SITE}/api/skmissvae.MultipleImputationClassifier.html" in html


def test_classes_of_users_have_no_link():
    class Custom(MissSIWAEImputer):
        """An imputer of a user."""

    assert Custom()._get_doc_link() == ""
