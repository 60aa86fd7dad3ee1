"""The Python blocks of the README and of the pages in docs/ run, with small tables and models."""

import functools
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import sklearn.datasets
from estimator_cases import ESTIMATORS, quiet, table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(<!-- not run[^\n]*-->\n+)?```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
SMALL = {"max_iter": 2, "n_hidden": 16, "n_blocks": 1, "n_importance_draws": 20}


def small_fit(fit):
    """Return a ``fit`` that first sets small values of the parameters that decide on its time."""

    @functools.wraps(fit)
    def fit_small_model(self, *args, **kwargs):
        self.set_params(**SMALL)
        if getattr(self, "n_bootstrap", 0):
            self.set_params(n_bootstrap=2, n_jobs=None)
        return fit(self, *args, **kwargs)

    return fit_small_model


def small_table(load):
    """Return a loader of 64 rows and 6 columns of the breast cancer table."""

    def load_small(**options):
        bunch = load(as_frame=True)
        data, target = bunch.data.iloc[::9, :6], bunch.target[::9]
        return sklearn.utils.Bunch(data=data, target=target)

    return load_small


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Make fits and tables small, and a temporary folder with Parquet files the current one."""
    owners = {next(c for c in cls.__mro__ if "fit" in vars(c)) for cls in ESTIMATORS}
    for owner in owners:
        monkeypatch.setattr(owner, "fit", small_fit(owner.fit))
    # a choice between initializations fits four models with the default training
    monkeypatch.setattr("skmissvae.estimators.imputer_base.ROWS_WITH_CHOICE", range(0))
    load = small_table(sklearn.datasets.load_breast_cancer)
    monkeypatch.setattr(sklearn.datasets, "load_breast_cancer", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "measurements").mkdir()
    for i in range(2):
        frame = pd.DataFrame(table(seed=i), columns=list("abcd"))
        frame.to_parquet(tmp_path / "measurements" / f"{i}.parquet")


def blocks(page):
    """Return the blocks of a page that are run, each at its line of the page."""
    text = page.read_text()
    for match in BLOCK.finditer(text):
        if not match.group(1):
            n_lines = text[: match.start(2)].count("\n")
            yield compile("\n" * n_lines + match.group(2), str(page), "exec")


@quiet
@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore:.*imputations are drawn:UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_a_page_run(page):
    mpl.use("Agg")
    names = {}
    for block in blocks(page):
        exec(block, names)
    plt.close("all")


def test_readme_has_blocks_that_are_run():
    assert len(list(blocks(ROOT / "README.md"))) >= 5
