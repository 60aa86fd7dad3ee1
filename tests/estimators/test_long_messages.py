"""Messages that quote long values: at most a few examples and a count."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from estimator_cases import quiet, tiny

from skmissvae import Chunks, MissSIWAEImputer, MultipleImputationClassifier, make_missing
from skmissvae.tables import missing_patterns

pytestmark = quiet

LONG = "word " * 4000
N = 40


def frame(container="pandas"):
    """Return a table with long names, cells and categories, and missing cells."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({f"question {j} {'?' * 300}": rng.normal(size=N) for j in range(30)})
    X["text"] = rng.choice([f"{LONG}{i}" for i in range(12)], N)
    X["number"] = rng.normal(size=N)
    X = X.mask(rng.random(X.shape) < 0.1)
    return pl.from_pandas(X) if container == "polars" else X


def changed(container="pandas", **columns):
    X = frame().assign(**columns)
    return pl.from_pandas(X) if container == "polars" else X


NAME = frame().columns[0]
OBJECTS = [LONG, 1.5] * (N // 2)


def new(**options):
    return tiny(MissSIWAEImputer, max_iter=1, **options)


@pytest.fixture(scope="module", params=["pandas", "polars"])
def fitted(request):
    container = request.param
    return container, new().fit(frame(container))


def text_of(error, call):
    """Return the text of the error that a call raises."""
    with pytest.raises(error) as raised:
        call()
    return str(raised.value)


FITS = {
    "feature_kinds names": {"feature_kinds": {LONG: "count"}},
    "feature_kinds values": {"feature_kinds": {NAME: LONG}},
    "feature_kinds binary": {"feature_kinds": {"text": "binary"}},
    "feature_kinds count": {"feature_kinds": {NAME: "count"}},
    "feature_kinds continuous": {"feature_kinds": {"text": "continuous"}},
    "strategy": {"strategy": LONG},
    "n_latents": {"n_latents": [LONG] * 50},
    "missing_values": {"missing_values": dict.fromkeys(range(90), LONG)},
    "likelihood": {"likelihood": LONG},
    "likelihood of a column": {"likelihood": {"text": "normal"}},
    "likelihood of a name": {"likelihood": {LONG: "normal"}},
    "device": {"device": LONG},
    "bound of a name": {"min_value": {LONG: 0.0}},
    "bound of text": {"min_value": {"text": 0.0}},
    "bound by text": {"min_value": {NAME: LONG}},
    "bounds in the wrong order": {"min_value": {NAME: 1.0}, "max_value": {NAME: 0.0}},
    "prior": {"prior": lambda n: [LONG]},
}


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("options", FITS.values(), ids=FITS)
def test_errors_of_parameters_are_short(options, container):
    X = frame(container)
    text = text_of((ValueError, TypeError), lambda: new(**options).fit(X))
    assert len(text) <= 400
    (name,) = list(options)[:1]
    assert name in text


def test_errors_of_cells_are_short():
    text = text_of(ValueError, lambda: new().fit(frame().assign(mixed=OBJECTS)))
    assert len(text) <= 400
    assert "'mixed'" in text
    infinite = frame()
    infinite.iloc[3, 0] = np.inf
    text = text_of(ValueError, lambda: new().fit(infinite))
    assert len(text) <= 400
    assert "question 0" in text


CALLS = {
    "unknown category": lambda im, c: im.transform(changed(c, text=[f"new {LONG}"] * N)),
    "text for numbers": lambda im, c: im.transform(changed(c, number=[LONG] * N)),
    "infinity": lambda im, c: im.transform(changed(c, **{NAME: [np.inf] * N})),
    "where": lambda im, c: im.transform(frame(c), where=LONG),
    "columns of where": lambda im, c: im.transform(frame(c), where=[LONG]),
    "names of where": lambda im, c: im.transform(
        frame(c), where=frame().isna().rename(columns=lambda name: f"other {name}")
    ),
    "quantiles": lambda im, c: im.cell_distribution(frame(c), [LONG]),
    "row_ids": lambda im, c: im.impute(frame(c), row_ids=[LONG] * N),
    "n_imputations": lambda im, c: im.impute(frame(c), [LONG] * 50),
}


@pytest.mark.parametrize("name", CALLS)
def test_errors_of_calls_are_short(name, fitted):
    container, imputer = fitted
    assert len(text_of((ValueError, TypeError), lambda: CALLS[name](imputer, container))) <= 400


def test_errors_of_changed_parameters_are_short():
    kinds = dict.fromkeys(frame().columns[:30], "continuous")
    imputer = new(warm_start=True, feature_kinds=kinds).fit(frame())
    for change in ({"feature_kinds": None}, {"likelihood": "student_t"}):
        params = imputer.get_params()
        text = text_of(ValueError, lambda change=change: imputer.set_params(**change).fit(frame()))
        assert len(text) <= 400
        assert f"'{next(iter(change))}'" in text
        imputer.set_params(**params)


def test_errors_without_an_estimator_are_short():
    calls = [
        lambda: make_missing(frame(), LONG, 0.3),
        lambda: make_missing(frame(), "mcar", LONG),
        lambda: new().fit(Chunks([frame(), frame().rename(columns=lambda name: f"other {name}")])),
        lambda: missing_patterns(frame().rename(columns={"text": "n_rows"})),
        lambda: MultipleImputationClassifier(LONG, new()).fit(frame(), [0, 1] * (N // 2)),
    ]
    for call in calls:
        assert len(text_of((ValueError, TypeError), call)) <= 400


def test_warnings_name_at_most_ten_columns():
    X = frame().assign(**{f"empty {j} {'?' * 300}": np.nan for j in range(30)})
    with pytest.warns(UserWarning, match="are left out") as caught:
        new().fit(X)
    (text,) = [str(w.message) for w in caught if "left out" in str(w.message)]
    assert len(text) <= 500
    assert "... and 2" in text
