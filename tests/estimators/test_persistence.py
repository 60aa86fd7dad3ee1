"""Fitted estimators after pickling, copying and skops, and in other processes."""

import collections
import copy
import dataclasses
import functools
import importlib
import itertools
import pickle
import subprocess
import sys
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from estimator_cases import (
    ESTIMATORS,
    IMPUTERS,
    TINY,
    assert_same,
    every_estimator,
    outputs,
    quiet,
    tiny,
)
from estimator_cases import table as incomplete
from round_trips import by_joblib, by_model_file, by_pickle, by_skops

from skmissvae import (
    SKOPS_TYPES,
    AdamW,
    Checkpoint,
    ConvNetwork,
    CustomNetwork,
    EarlyStopping,
    InconsistentVersionWarning,
    MissSVAEImputer,
    MVAEImputer,
    ResidualNetwork,
    VAEOutlierDetector,
)
from skmissvae.inference import SAMPLERS
from skmissvae.vae import (
    MixturePrior,
    NormalFamily,
    NormalLikelihood,
    StudentTLikelihood,
    StudentTPrior,
)

pytestmark = quiet


WAYS = [by_pickle, copy.deepcopy, by_joblib, by_skops, by_model_file]
every_way = pytest.mark.parametrize("round_trip", WAYS)
# every way for one class, and one way for each of the others
_PAIRS = [
    *((MVAEImputer, way) for way in WAYS),
    *zip(ESTIMATORS, itertools.cycle(WAYS), strict=False),
]
class_and_way = pytest.mark.parametrize(("cls", "round_trip"), dict.fromkeys(_PAIRS))


@functools.cache
def fitted(cls):
    """Return a fitted estimator, which tests must not change."""
    options = {"add_indicator": True} if cls in IMPUTERS else {}
    return tiny(cls, likelihood={0: "student_t"}, **options).fit(incomplete())


@functools.cache
def results(cls):
    """Return the results of the fitted estimator."""
    return outputs(fitted(cls), incomplete())


@functools.cache
def drawn(cls):
    """Return draws of the fitted estimator."""
    return draws(fitted(cls))


def draws(estimator):
    """Return a sample and, of an imputer, a completed table."""
    can_impute = hasattr(estimator, "impute")
    return estimator.sample(5), estimator.impute(incomplete(10), 2)[1] if can_impute else None


@functools.cache
def fitted_with(prior):
    """Return an estimator with a prior, which tests must not change, and its results."""
    estimator = tiny(MissSVAEImputer, prior=prior).fit(incomplete())
    return estimator, outputs(estimator, incomplete())


@functools.cache
def fitted_to_a_chunk(cls):
    """Return an estimator after partial_fit, which tests must not change."""
    return tiny(cls).partial_fit(incomplete(80)[:40])


@functools.cache
def fitted_to_both_chunks(cls):
    """Return the same estimator after another partial_fit."""
    return copy.copy(fitted_to_a_chunk(cls)).partial_fit(incomplete(80)[40:])


@class_and_way
def test_round_trips_keep_every_bit(cls, round_trip):
    estimator = fitted(cls)
    restored = round_trip(estimator)
    assert_same(outputs(restored, incomplete()), results(cls))
    for actual, expected in zip(draws(restored), drawn(cls), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert repr(restored) == repr(estimator)
    assert restored.history_ == estimator.history_


@class_and_way
def test_round_trips_of_unfitted_estimators(cls, round_trip):
    restored = round_trip(tiny(cls))
    assert type(restored) is cls
    assert repr(restored.get_params()) == repr(tiny(cls).get_params())
    assert vars(restored).keys() == vars(tiny(cls)).keys()


@every_way
@pytest.mark.parametrize("prior", ["student_t", "mixture", StudentTPrior])
def test_round_trips_keep_the_prior(prior, round_trip):
    estimator, expected = fitted_with(prior)
    assert_same(outputs(round_trip(estimator), incomplete()), expected)


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
    for estimator in [fitted(cls), fitted_to_a_chunk(cls)]:
        for leaf in leaves(estimator.__getstate__()):
            assert not type(leaf).__module__.startswith("torch"), leaf
    assert b"torch" not in pickle.dumps(fitted(cls))


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
    X, estimator = incomplete(), copy.copy(fitted(cls))
    changes = {"n_latents": 2, "n_hidden": 8, "prior": "student_t", "likelihood": "bernoulli"}
    if "K" in estimator.get_params():
        changes["K"] = 7
    estimator.set_params(**changes)
    assert_same(outputs(estimator, X), results(cls))
    assert_same(outputs(by_pickle(estimator), X), results(cls))


@class_and_way
def test_partial_fit_continues_after_a_round_trip(cls, round_trip):
    X = incomplete(80)
    restored = round_trip(fitted_to_a_chunk(cls)).partial_fit(X[40:])
    uninterrupted = fitted_to_both_chunks(cls)
    np.testing.assert_array_equal(restored.score_samples(X), uninterrupted.score_samples(X))
    assert restored.history_["bound"] == uninterrupted.history_["bound"]


@every_estimator
def test_warm_start_continues_after_a_round_trip(cls):
    X = incomplete()
    uninterrupted = tiny(cls, n_latents=2, warm_start=True).fit(X)
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


def frame():
    """Return a data frame with columns of several kinds."""
    X = pd.DataFrame(incomplete(), columns=list("abcd"))
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(X)) % 7, unit="D")
    return X.assign(kind=pd.Categorical(["u", "v"] * 20), day=day, count=np.arange(len(X)) % 5)


OPTIONS = {
    "networks": {"network": ResidualNetwork(linear_path=False)},
    "images": {"network": ConvNetwork((2, 2)), "init": "random"},
    "training": {"optimizer": AdamW(), "early_stopping": EarlyStopping(), "warm_start": True},
    "bootstrap": {"n_bootstrap": 2},
    "calibration": {"calibrate": True},
    "indicator": {"add_indicator": True, "min_value": 0.0, "max_value": [9.0, np.inf, 9.0, 9.0]},
    "random state": {"random_state": np.random.RandomState(0)},
    "classes": {"prior": MixturePrior, "posterior": NormalFamily, "likelihood": NormalLikelihood},
    "mapping": {"likelihood": {0: StudentTLikelihood, 1: "student_t"}, "learn_shapes": True},
    **{
        f"sampler {name}": {"sampler": dataclasses.replace(sampler, n_steps=2)}
        for name, sampler in SAMPLERS.items()
    },
    "frame": {"feature_kinds": {"count": "categorical"}},
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # about the options
@pytest.mark.parametrize("name", OPTIONS)
def test_files_of_all_options_need_the_listed_types_only(name):
    X = frame() if name == "frame" else incomplete()
    estimator = tiny(MissSVAEImputer, n_latents=2, max_iter=1, **OPTIONS[name])
    expected = estimator.fit(X).transform(X[:10])
    for round_trip in (by_pickle, by_skops):
        np.testing.assert_array_equal(round_trip(estimator).transform(X[:10]), expected)


def test_callbacks_are_no_listed_types(tmp_path):
    """A file must not choose a path that the next fit writes to."""
    estimator = tiny(MVAEImputer).set_callbacks(Checkpoint(tmp_path / "checkpoint"))
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException, match="Checkpoint"):
        by_skops(estimator)
    assert len(by_pickle(estimator)._skl_callbacks) == 1


def test_names_of_the_listed_types_are_public():
    for name in SKOPS_TYPES:
        module, _, name_in_module = name.rpartition(".")
        cls = getattr(importlib.import_module(module), name_in_module)
        assert f"{cls.__module__}.{cls.__qualname__}" == name
        assert name_in_module in importlib.import_module(module).__all__


@every_way
def test_round_trips_of_outlier_detectors(round_trip):
    X = incomplete()
    detector = VAEOutlierDetector(fitted(MVAEImputer), contamination=0.1).fit(X)
    restored = round_trip(detector)
    np.testing.assert_array_equal(restored.decision_function(X), detector.decision_function(X))


@every_estimator
def test_fitted_attributes_are_stored_as_data(cls):
    state = fitted(cls).__getstate__()["_attributes"]
    assert type(state["text"]) is str
    assert {type(array) for array in state["arrays"].values()} == {np.ndarray}
    assert state["custom"] == {}


def test_attributes_without_plain_form_are_pickled():
    estimator = copy.copy(fitted(MVAEImputer))
    estimator.note_ = {"spectrum": np.array([1j, 2j]), "range": range(3)}
    restored = by_pickle(estimator)
    assert_same(outputs(restored, incomplete()), results(MVAEImputer))
    np.testing.assert_array_equal(restored.note_.pop("spectrum"), [1j, 2j])
    assert restored.note_ == {"range": range(3)}


def test_estimators_that_share_a_random_state_still_share_it():
    random_state = np.random.RandomState(0)
    pair = by_pickle([tiny(MVAEImputer, random_state=random_state).fit(incomplete())] * 2)
    first, second = (copy.copy(estimator) for estimator in pair)
    assert first.random_state is second.random_state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.update(format=99), "has the format 99 .* Install a newer version"),
        (lambda state: state.update(text=state["text"][:-9]), "MissSVAEImputer is damaged"),
        (lambda state: state.pop("arrays"), "MissSVAEImputer is damaged"),
        (
            lambda state: state.update(
                text=state["text"].replace('"n_hidden": 16', '"n_hidden": 30000')
            ),
            "MissSVAEImputer is damaged .*shapes of the weights differ",
        ),
    ],
)
def test_damaged_states_are_refused_before_networks_are_built(change, message):
    state = by_pickle(fitted(MissSVAEImputer).__getstate__())
    change(state["_attributes"])
    with pytest.raises(ValueError, match=message):
        MissSVAEImputer().__setstate__(state)


@every_estimator
def test_states_of_another_version_warn(cls):
    state = tiny(cls).__getstate__()
    with pytest.warns(InconsistentVersionWarning, match=cls.__name__) as warned:
        cls().__setstate__(state | {"_skmissvae_version": "0.0.1"})
    assert warned[0].filename == __file__
    assert "_skmissvae_version" not in vars(tiny(cls))


def test_estimators_in_a_memory_map_are_saved_again(tmp_path):
    joblib.dump(fitted(MVAEImputer), tmp_path / "joblib")
    restored = joblib.load(tmp_path / "joblib", mmap_mode="r")
    assert_same(outputs(by_model_file(restored), incomplete()), results(MVAEImputer))


class Counting(MVAEImputer):
    """An imputer with attributes of its own, and a parameter that instances may lack."""

    def fit(self, X, y=None):
        super().fit(X, y)
        self.counts_ = collections.Counter("aab")
        self.same_ = self.counts_
        del self.verbose  # as in files of a version without the parameter
        return self


@pytest.mark.parametrize("round_trip", [by_pickle, copy.deepcopy, by_joblib])
def test_attributes_of_subclasses_stay_as_they_are(round_trip):
    X = incomplete()
    restored = round_trip(Counting(**TINY).fit(X))
    assert type(restored.counts_) is collections.Counter
    assert restored.same_ is restored.counts_
    assert restored.verbose == 0


class Stateful(torch.nn.Linear):
    """A network with a state that is no tensor."""

    def get_extra_state(self):
        return {"version": "x"}

    def set_extra_state(self, state):
        assert state == {"version": "x"}


@pytest.mark.parametrize("round_trip", [by_pickle, copy.deepcopy, by_joblib])
def test_round_trips_keep_custom_networks(round_trip):
    X, network = incomplete(), CustomNetwork(encoder=Stateful, decoder=Stateful)
    estimator = tiny(MVAEImputer, network=network, n_blocks=10).fit(X)
    assert_same(outputs(round_trip(estimator), X), outputs(estimator, X))


@pytest.mark.parametrize("round_trip", [by_pickle, copy.deepcopy, by_joblib, by_model_file])
def test_estimators_with_partial_objects_continue_after_a_round_trip(round_trip):
    X, options = incomplete(), {"prior": partial(StudentTPrior, df=3), "warm_start": True}
    estimator = tiny(MVAEImputer, **options).fit(X)
    assert_same(outputs(round_trip(estimator).fit(X), X), outputs(estimator.fit(X), X))
    round_trip(estimator).partial_fit(X)
