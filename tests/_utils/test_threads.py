"""Results are independent of the number of threads, which is restored afterwards."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from estimator_cases import MissSIWAEImputer, every_estimator, quiet, table, tiny
from helpers import tiny_vae

from skmissvae._utils.threads import map_in_threads, threads
from skmissvae.training.loop import n_useful_threads
from skmissvae.training.objectives import METHODS, BoundObjective


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@quiet
@pytest.mark.parametrize("n_importance_draws", [100, 200])
@every_estimator
def test_results_are_independent_of_the_number_of_threads(cls, n_importance_draws, two_threads):
    X = np.vstack([table(), table(seed=1), table(seed=2)])
    estimator = tiny(cls, n_importance_draws=n_importance_draws).fit(X)
    assert torch.get_num_threads() == 2
    with_two = estimator.score_samples(X)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    np.testing.assert_array_equal(estimator.score_samples(X), with_two)
    np.testing.assert_array_equal(estimator.score_samples(X[5:6]), with_two[5:6])


@quiet
def test_concurrent_fits_give_the_results_of_sequential_fits():
    X, state = table(), torch.get_rng_state()
    alone = tiny(MissSIWAEImputer, dropout=0.3).fit(X).transform(X)
    with ThreadPoolExecutor(4) as pool:
        for fit in [pool.submit(tiny(MissSIWAEImputer, dropout=0.3).fit, X) for _ in range(6)]:
            np.testing.assert_array_equal(fit.result().transform(X), alone)
    assert torch.equal(torch.get_rng_state(), state)


@quiet
def test_a_callback_may_wait_for_a_fit_in_another_thread():
    pytest.importorskip("sklearn", minversion="1.9")

    X, models = table(), []

    class FitElsewhere:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **_):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **_):
            if fitted_estimator is None:
                return
            with ThreadPoolExecutor(1) as pool:
                models.append(pool.submit(tiny(MissSIWAEImputer, max_iter=1).fit, X).result(60))
                models.append(pool.submit(pickle.loads, pickle.dumps(models[0])).result(60))

    tiny(MissSIWAEImputer).set_callbacks(FitElsewhere()).fit(X)
    assert len(models) == 6


def test_map_in_threads_keeps_the_order_and_raises_errors(two_threads):
    assert map_in_threads(lambda part: (part, torch.get_num_threads()), range(50)) == [
        (i, 1) for i in range(50)
    ]
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda part: 1 // part, [1, 1, 0, 1])
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), threads(1):
        _ = 1 // 0
    assert torch.get_num_threads() == 2
    with threads(5):  # the number is never raised
        assert torch.get_num_threads() == 2


def test_useful_threads_grow_with_the_batch_size():
    method = METHODS["MissSIWAE"]
    objective = BoundObjective(method.bound, 1, stratified=True, gradient="stl")
    n_threads = [
        n_useful_threads(tiny_vae(n_components=3), objective, n) for n in (1, 10**5, 10**6)
    ]
    assert n_threads[0] == 1
    assert 1 < n_threads[1] < n_threads[2]
    imputer = tiny(MissSIWAEImputer, n_hidden=128).fit(table())
    assert n_useful_threads(imputer.vae_, objective, 128) == 1
