"""The Python blocks of the README and of the pages in docs/ run, with small tables and models."""

import dataclasses
import functools
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import sklearn.datasets
from estimator_cases import ESTIMATORS, quiet, table

from skmissvae.datasets import load_penguins
from skmissvae.inference import ConditionalModel

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(<!-- not run[^\n]*-->\n+)?```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
SMALL = {"max_iter": 2, "n_hidden": 16, "n_blocks": 1, "n_importance_draws": 20}

#: Numbers of rows that pages make, and those made here.
N_ROWS = {"100_000": "2_000", "20_000": "400", "5_000": "100", "300": "43"}


def small_fit(fit):
    """Return a ``fit`` that first sets small values of the parameters that decide on its time."""

    @functools.wraps(fit)
    def fit_small_model(self, *args, **kwargs):
        self.set_params(**SMALL)
        if getattr(self, "n_bootstrap", 0):
            self.set_params(n_bootstrap=2, n_jobs=None)
        return fit(self, *args, **kwargs)

    return fit_small_model


def few_rows(load, n, n_columns=None):
    """Return a loader of ``n`` rows of a table of scikit-learn, and of its first columns."""

    def load_few_rows(**options):
        bunch = load(**options)
        rows = slice(None, None, len(bunch.target) // n)
        take = getattr(bunch.data, "iloc", bunch.data)
        return sklearn.utils.Bunch(data=take[rows, :n_columns], target=bunch.target[rows])

    return load_few_rows


def short_chains(run_chains):
    """Return a ``run_chains`` of four chains of four steps."""

    def run_short_chains(self, *args):
        sampler = dataclasses.replace(self.sampler, n_chains=4, n_steps=4)
        return run_chains(self._replace(sampler=sampler), *args)

    return run_short_chains


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Make fits and tables small, and a temporary folder with Parquet files the current one."""
    owners = {next(c for c in cls.__mro__ if "fit" in vars(c)) for cls in ESTIMATORS}
    for owner in owners:
        monkeypatch.setattr(owner, "fit", small_fit(owner.fit))
    # a choice between initializations fits four models with the default training
    monkeypatch.setattr("skmissvae.estimators.imputer_base.ROWS_WITH_CHOICE", range(0))
    monkeypatch.setattr(ConditionalModel, "run_chains", short_chains(ConditionalModel.run_chains))
    for name, sizes in {"breast_cancer": (48, 6), "wine": (40,), "digits": (20,)}.items():
        load = getattr(sklearn.datasets, f"load_{name}")
        monkeypatch.setattr(sklearn.datasets, f"load_{name}", few_rows(load, *sizes))
    penguins = load_penguins().iloc[::7]
    monkeypatch.setattr("skmissvae.datasets.load_penguins", penguins.copy)
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
            n_lines, block = text[: match.start(2)].count("\n"), match.group(2)
            for n_rows, n_few in N_ROWS.items():
                block = block.replace(n_rows, n_few)
            yield compile("\n" * n_lines + block, str(page), "exec")


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
