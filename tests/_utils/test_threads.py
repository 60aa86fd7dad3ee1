"""Calls in several threads, and the number of threads of torch."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from estimator_cases import MissSIWAEImputer, quiet, table, tiny
from helpers import BOUND_METHODS, tiny_vae

from skmissvae._utils.threads import thread_limit, thread_map
from skmissvae.training.loop import n_useful_threads
from skmissvae.training.objectives import BoundObjective

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(n_threads)


def number_and_threads(i):
    return i, torch.get_num_threads()


@pytest.mark.parametrize("n_calls", [1, 50])
def test_calls_run_in_order_and_in_one_thread_each(n_calls, two_threads):
    with thread_map(CPU, n_calls) as run:
        assert (run is map) == (n_calls == 1)
        assert list(run(number_and_threads, range(n_calls))) == [(i, 1) for i in range(n_calls)]
    assert torch.get_num_threads() == 2


def test_calls_on_a_gpu_run_one_after_the_other(two_threads):
    with thread_map(torch.device("cuda"), 50) as run:
        assert run is map


def test_errors_of_calls_are_raised(two_threads):
    with pytest.raises(ZeroDivisionError), thread_map(CPU, 4) as run:
        list(run(lambda i: 1 // i, [1, 1, 0, 1]))
    assert torch.get_num_threads() == 2


def test_the_number_of_threads_is_restored_and_never_raised(two_threads):
    with thread_limit(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError), thread_limit(1):
        _ = 1 // 0
    assert torch.get_num_threads() == 2
    with thread_limit(5):
        assert torch.get_num_threads() == 2


@quiet
def test_concurrent_fits_give_the_results_of_sequential_fits():
    X, state = table(), torch.get_rng_state()
    expected = tiny(MissSIWAEImputer, dropout=0.3).fit(X).transform(X)
    with ThreadPoolExecutor(4) as pool:
        for fit in [pool.submit(tiny(MissSIWAEImputer, dropout=0.3).fit, X) for _ in range(5)]:
            np.testing.assert_array_equal(fit.result().transform(X), expected)
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


def test_useful_threads_increase_with_the_batch_size():
    method = BOUND_METHODS["MissSIWAE"]
    objective = BoundObjective(method.bound, 1, stratified=True, gradient="stl")
    n_threads = [
        n_useful_threads(tiny_vae(n_components=3), objective, n) for n in (1, 10**5, 10**6)
    ]
    assert n_threads[0] == 1
    assert 1 < n_threads[1] < n_threads[2]
    imputer = tiny(MissSIWAEImputer, n_hidden=128).fit(table())
    assert n_useful_threads(imputer.vae_, objective, 128) == 1
