"""Laws of fitted estimators on disk and in other processes."""

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
from estimator_cases import table as holed

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


every_way = pytest.mark.parametrize(
    "there_and_back", [by_pickle, copy.deepcopy, by_joblib, by_skops]
)


@every_way
@every_estimator
def test_round_trips_keep_every_bit(cls, there_and_back):
    X = holed()
    options = {"add_indicator": True} if cls in IMPUTERS else {}
    estimator = tiny(cls, likelihood={0: "student_t"}, **options).fit(X)
    back = there_and_back(estimator)
    assert_same(outputs(back, X), outputs(estimator, X))
    np.testing.assert_array_equal(back.sample(5), estimator.sample(5))
    assert repr(back) == repr(estimator)
    assert back.history_ == estimator.history_
    if cls in IMPUTERS:
        np.testing.assert_array_equal(back.impute(X, 2)[1], estimator.impute(X, 2)[1])


@every_way
@every_estimator
def test_unfitted_estimators_travel_too(cls, there_and_back):
    X = holed()
    assert_same(outputs(there_and_back(tiny(cls)).fit(X), X), outputs(tiny(cls).fit(X), X))


@every_way
@pytest.mark.parametrize("prior", ["student_t", "mixture", StudentTPrior])
def test_round_trips_keep_the_prior(prior, there_and_back):
    X = holed()
    estimator = tiny(MissSVAEImputer, prior=prior).fit(X)
    assert_same(outputs(there_and_back(estimator), X), outputs(estimator, X))


@pytest.mark.parametrize("there_and_back", [by_pickle, copy.deepcopy, by_joblib])
def test_round_trips_keep_partial_objects(there_and_back):
    X = holed()
    estimator = tiny(MVAEImputer, prior=partial(StudentTPrior, df=3)).fit(X)
    assert_same(outputs(there_and_back(estimator), X), outputs(estimator, X))


def leaves(value):
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple, set)):
        for item in value:
            yield from leaves(item)
    elif hasattr(value, "__dict__") and not callable(value):
        yield value
        yield from leaves(vars(value))
    else:
        yield value


@every_estimator
def test_no_torch_in_the_state(cls):
    estimator = tiny(cls).fit(holed())
    for fitted in [estimator, tiny(cls).partial_fit(holed())]:
        for leaf in leaves(fitted.__getstate__()):
            assert not type(leaf).__module__.startswith("torch"), leaf
    assert b"torch" not in pickle.dumps(estimator)


def test_what_is_pickled_is_a_copy():
    X = holed()
    estimator = tiny(MVAEImputer).fit(X)
    state = estimator.__getstate__()
    back = copy.deepcopy(estimator)
    before = outputs(estimator, X)
    frozen = pickle.dumps(state)
    estimator.partial_fit(X)
    assert_same(outputs(back, X), before)
    assert pickle.dumps(state) == frozen


@every_estimator
def test_parameters_set_after_fit_change_no_fitted_model(cls):
    X = holed()
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
def test_partial_fit_goes_on_as_if_nothing_had_been(cls, there_and_back):
    X = holed(80)
    straight = tiny(cls).partial_fit(X[:40])
    broken = there_and_back(straight)
    straight.partial_fit(X[40:])
    broken.partial_fit(X[40:])
    assert_same(outputs(broken, X), outputs(straight, X))
    assert broken.history_["bound"] == straight.history_["bound"]


@every_estimator
def test_a_warm_start_goes_on_as_if_nothing_had_been(cls):
    X = holed()
    straight = tiny(cls, warm_start=True).fit(X)
    broken = by_pickle(straight).fit(X)
    assert_same(outputs(broken, X), outputs(straight.fit(X), X))


def test_loading_leaves_the_global_random_state_alone():
    data = pickle.dumps(tiny(MVAEImputer).fit(holed()))
    before = torch.get_rng_state()
    pickle.loads(data)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_process_says_the_same(tmp_path):
    X = holed()
    estimator = tiny(MissSVAEImputer).fit(X)
    joblib.dump((estimator, X), tmp_path / "in")
    code = (
        "import joblib, warnings; warnings.simplefilter('ignore')\n"
        "estimator, X = joblib.load('in'); joblib.dump(estimator.transform(X), 'out')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(joblib.load(tmp_path / "out"), estimator.transform(X))
