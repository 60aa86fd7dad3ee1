"""The code of docs/guide/scale.md for Dask and Ray, if they are installed."""

import re
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shares
import torch.distributed as dist
from sklearn.model_selection import GridSearchCV

from skmissvae import HiddenCellScorer

SCALE = Path(__file__).parents[2] / "docs" / "guide" / "scale.md"


def run_recipe(heading, **names):
    """Run the code below a heading of docs/guide/scale.md, and return its names."""
    section = SCALE.read_text().split(f"### {heading}\n")[1].split("\n##")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    assert blocks
    for block in blocks:
        exec(block, names)
    return names


@pytest.fixture(scope="module")
def X():
    return pd.DataFrame(shares.table()[0][:200], columns=list("abc"))


@pytest.fixture(scope="module")
def imputer(X):
    return shares.imputer(max_iter=5).fit(X)


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def test_dask_partitions_are_completed_like_the_whole_table(client, X, imputer):
    dd = pytest.importorskip("dask.dataframe")
    names = run_recipe("Dask: completing", imputer=imputer, table=dd.from_pandas(X, npartitions=4))
    completed, several = names["completed"].compute(), names["several"].compute()
    pd.testing.assert_frame_equal(completed, imputer.transform(X), check_exact=True)
    expected = imputer.impute(X, 5, row_ids=X.index).to_frame()
    order = ["imputation", "row"]
    pd.testing.assert_frame_equal(
        several.sort_values(order, ignore_index=True),
        expected.sort_values(order, ignore_index=True),
        check_exact=True,
    )


def test_dask_search_has_the_scores_of_a_search_in_one_process(client, X):
    scoring = HiddenCellScorer(random_state=0)
    grid = {"n_latents": [1, 2]}
    search = GridSearchCV(shares.imputer(max_iter=2), grid, cv=2, scoring=scoring)
    run_recipe("Dask: a search", client=client, search=search, X=X)
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores, search.fit(X).cv_results_["mean_test_score"])


@pytest.mark.skipif(not dist.is_available(), reason="torch has no process groups")
def test_dask_workers_fit_one_model_to_their_shares(client, X):
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        address = f"tcp://localhost:{unused.getsockname()[1]}"
    imputer = shares.imputer(max_iter=15)
    names = run_recipe(
        "Dask: fitting", client=client, imputer=imputer, shares=[X[:120], X[120:]], address=address
    )
    first, second = names["fitted"]
    np.testing.assert_array_equal(first.transform(X), second.transform(X))
    expected = shares.imputer(max_iter=15).fit(X)
    assert first.history_["bound"][-1] > expected.history_["bound"][-1] - 0.2


def test_ray_batches_are_completed_like_the_whole_table(X, imputer):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
    try:
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        dataset = ray.data.from_pandas(X).repartition(4)
        completed = run_recipe("Ray", imputer=imputer, dataset=dataset)["completed"].to_pandas()
    finally:
        ray.shutdown()
    np.testing.assert_array_equal(completed.to_numpy(float), imputer.transform(X).to_numpy())
