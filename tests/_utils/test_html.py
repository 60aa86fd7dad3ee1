"""HTML in notebooks: links of estimators to their pages, and escaped tables of results."""

import functools
import inspect
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from estimator_cases import quiet, table, tiny
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils import estimator_html_repr

import skmissvae
from skmissvae import (
    Diagnosis,
    Imputations,
    ImputedComparison,
    MissSIWAEImputer,
    MultipleImputationClassifier,
    MVAEImputer,
    OverimputationReport,
    compare_imputed,
    diagnose,
    overimputation_report,
    pool,
)
from skmissvae.inspection.diagnose import Finding

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


# -- tables -------------------------------------------------------------------------------------

NAMES = ["<script>alert(1)</script>", "a & b", "<b>c</b>", "d"]


def columns(names):
    """Return a table of numbers, and of categories in the last column."""
    X = pd.DataFrame(table(), columns=NAMES)
    return X.assign(d=np.where(X["d"].isna(), None, np.where(X["d"] > -7, "<i>", "x & y")))


def lines(n):
    """Return a table of n lines that has all columns of the results."""
    numbers = ["truth", "mean", "low", "high", "covered", "crps", "scale", "brier", "probability"]
    names = [f"x{i}" for i in range(n)]
    texts = {"column": names, "kind": "continuous", "predicted": None, "category": None}
    return pd.DataFrame(texts).assign(**dict.fromkeys(numbers, 1.0))


@functools.cache
def results():
    """Return a result of each class with names and values that HTML must escape."""
    X = columns(NAMES)
    imputer = tiny(MVAEImputer).fit(X)
    long = lines(500)
    pooled = pool(pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=NAMES[:3]), np.ones((2, 3)))
    of_names = {
        "Imputations": imputer.impute(X, 2),
        "Diagnosis": Diagnosis(
            [*diagnose(imputer, X).findings, *(Finding("columns", "note", n) for n in NAMES)]
        ),
        "OverimputationReport": overimputation_report(
            imputer, X, n_repeats=3, baselines=False, random_state=0
        ),
        "ImputedComparison": compare_imputed(imputer, X, n_imputations=1, random_state=0),
        "PooledEstimates": pooled,
        "fit_report_": imputer.fit_report_,
    }
    others = {
        "PooledTest": pooled.test(columns="a & b"),
        "long Imputations": Imputations(None, range(2), long["column"], [1] * 500),
        "long Diagnosis": Diagnosis([Finding("columns", "note", "text")] * 500),
        "long OverimputationReport": OverimputationReport(long, long[:0].assign(method=""), 0.9),
        "long ImputedComparison": ImputedComparison(long, long),
        "long PooledEstimates": pool(np.ones((2, 500)), np.ones((2, 500))),
    }
    return of_names, others


class Page(HTMLParser):
    """The tags of a text, and the texts of the cells of its tables, as a browser reads them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells and data.strip():
            self.cells[-1] += data


CASES = [
    *("Imputations", "Diagnosis", "OverimputationReport", "ImputedComparison", "PooledEstimates"),
    "fit_report_",
]
OTHERS = ["PooledTest", *(f"long {name}" for name in CASES[:5])]


@quiet
@pytest.mark.parametrize("name", CASES)
def test_names_in_tables_are_escaped(name):
    html = results()[0][name]._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "a &amp; b" in html


@quiet
@pytest.mark.parametrize("name", [*CASES, *OTHERS])
def test_results_are_tables_of_limited_length(name):
    of_names, others = results()
    result = (of_names | others)[name]
    tags = Page(result._repr_html_()).tags
    assert set(tags) <= {"table", "thead", "tbody", "tr", "th", "td", "p", "div", "style"}
    assert 2 <= tags.count("tr") <= 2 * (2 + pd.get_option("display.max_rows"))
    assert "<table" not in repr(result)


@quiet
def test_sentences_of_a_diagnosis_are_complete_and_problems_are_first():
    findings = [Finding("a", "ok", "x" * 200), Finding("b", "problem", "y" * 200, "z" * 200)]
    html = Diagnosis(findings)._repr_html_()
    assert html.index("y" * 200) < html.index("z" * 200) < html.index("x" * 200)


@quiet
@pytest.mark.parametrize("add_indicator", [False, True])
def test_imputed_cells_are_counted_without_imputing(add_indicator, monkeypatch):
    X = columns(NAMES)
    imputer = tiny(MVAEImputer, add_indicator=add_indicator).fit(X)
    imputations = imputer.impute(X, 3, where=["a & b", "d"])
    monkeypatch.setattr(imputations, "_make", None)
    cells = Page(imputations[1:]._repr_html_()).cells
    counts = dict(zip(cells[2::2], map(int, cells[3::2]), strict=True))
    expected = {name: X[name].isna().sum() * (name in ("a & b", "d")) for name in NAMES}
    if add_indicator:
        expected |= {f"missingindicator_{name}": 0 for name in NAMES}
    assert counts == expected
    assert "<p>2 imputations</p>" in imputations[1:]._repr_html_()
