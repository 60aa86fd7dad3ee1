"""Fitted estimators after pickling, copying and skops, and in other processes."""

import copy
import io
import pickle
import subprocess
import sys
from functools import partial

import joblib
import numpy as np
import pytest
import skops.io
import torch
from estimator_cases import IMPUTERS, assert_same, every_estimator, outputs, quiet, tiny
from estimator_cases import table as incomplete

from skmissvae import MissSVAEImputer, MVAEImputer
from skmissvae.vae import StudentTPrior

pytestmark = quiet


def by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def by_joblib(estimator):
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    return joblib.load(file)


def by_skops(estimator):
    data = skops.io.dumps(estimator)
    trusted = skops.io.get_untrusted_types(data=data)
    assert all(name.startswith("skmissvae.") for name in trusted), trusted
    return skops.io.loads(data, trusted=trusted)


every_way = pytest.mark.parametrize("round_trip", [by_pickle, copy.deepcopy, by_joblib, by_skops])


@every_way
@every_estimator
def test_round_trips_keep_every_bit(cls, round_trip):
    X = incomplete()
    options = {"add_indicator": True} if cls in IMPUTERS else {}
    estimator = tiny(cls, likelihood={0: "student_t"}, **options).fit(X)
    restored = round_trip(estimator)
    assert_same(outputs(restored, X), outputs(estimator, X))
    np.testing.assert_array_equal(restored.sample(5), estimator.sample(5))
    assert repr(restored) == repr(estimator)
    assert restored.history_ == estimator.history_
    if cls in IMPUTERS:
        np.testing.assert_array_equal(restored.impute(X, 2)[1], estimator.impute(X, 2)[1])


@every_way
@every_estimator
def test_round_trips_of_unfitted_estimators(cls, round_trip):
    X = incomplete()
    assert_same(outputs(round_trip(tiny(cls)).fit(X), X), outputs(tiny(cls).fit(X), X))


@every_way
@pytest.mark.parametrize("prior", ["student_t", "mixture", StudentTPrior])
def test_round_trips_keep_the_prior(prior, round_trip):
    X = incomplete()
    estimator = tiny(MissSVAEImputer, prior=prior).fit(X)
    assert_same(outputs(round_trip(estimator), X), outputs(estimator, X))


@pytest.mark.parametrize("round_trip", [by_pickle, copy.deepcopy, by_joblib])
def test_round_trips_keep_partial_objects(round_trip):
    X = incomplete()
    estimator = tiny(MVAEImputer, prior=partial(StudentTPrior, df=3)).fit(X)
    assert_same(outputs(round_trip(estimator), X), outputs(estimator, X))


def leaves(value):
    """Yield the objects that a pickle of a value holds."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple, set)):
        for item in value:
            yield from leaves(item)
    elif hasattr(value, "__dict__") and not callable(value):
        yield value
        yield from leaves(value.__getstate__())
    else:
        yield value


@every_estimator
def test_state_holds_no_object_of_torch(cls):
    estimator = tiny(cls).fit(incomplete())
    for fitted in [estimator, tiny(cls).partial_fit(incomplete())]:
        for leaf in leaves(fitted.__getstate__()):
            assert not type(leaf).__module__.startswith("torch"), leaf
    assert b"torch" not in pickle.dumps(estimator)


def test_state_and_copies_do_not_change_with_the_estimator():
    X = incomplete()
    estimator = tiny(MVAEImputer).fit(X)
    state = estimator.__getstate__()
    restored = copy.deepcopy(estimator)
    before = outputs(estimator, X)
    pickled = pickle.dumps(state)
    estimator.partial_fit(X)
    assert_same(outputs(restored, X), before)
    assert pickle.dumps(state) == pickled


@every_estimator
def test_set_params_does_not_change_the_fitted_model(cls):
    X = incomplete()
    estimator = tiny(cls).fit(X)
    before = outputs(estimator, X)
    changes = {"n_latents": 2, "n_hidden": 8, "prior": "student_t", "likelihood": "bernoulli"}
    if "K" in estimator.get_params():
        changes["K"] = 7
    estimator.set_params(**changes)
    assert_same(outputs(estimator, X), before)
    assert_same(outputs(by_pickle(estimator), X), before)


@every_way
@every_estimator
def test_partial_fit_continues_after_a_round_trip(cls, round_trip):
    X = incomplete(80)
    uninterrupted = tiny(cls).partial_fit(X[:40])
    restored = round_trip(uninterrupted)
    uninterrupted.partial_fit(X[40:])
    restored.partial_fit(X[40:])
    assert_same(outputs(restored, X), outputs(uninterrupted, X))
    assert restored.history_["bound"] == uninterrupted.history_["bound"]


@every_estimator
def test_warm_start_continues_after_a_round_trip(cls):
    X = incomplete()
    uninterrupted = tiny(cls, warm_start=True).fit(X)
    restored = by_pickle(uninterrupted).fit(X)
    assert_same(outputs(restored, X), outputs(uninterrupted.fit(X), X))


def test_loading_does_not_change_the_global_random_state():
    data = pickle.dumps(tiny(MVAEImputer).fit(incomplete()))
    before = torch.get_rng_state()
    pickle.loads(data)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_process_gets_the_same_bits(tmp_path):
    X = incomplete()
    estimator = tiny(MissSVAEImputer).fit(X)
    joblib.dump((estimator, X), tmp_path / "in")
    code = (
        "import joblib, warnings; warnings.simplefilter('ignore')\n"
        "estimator, X = joblib.load('in'); joblib.dump(estimator.transform(X), 'out')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(joblib.load(tmp_path / "out"), estimator.transform(X))
