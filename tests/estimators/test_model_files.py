"""Model files: damaged and tampered ones are refused, custom parts, versions, formats."""

import dataclasses
import functools
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from estimator_cases import assert_same, every_estimator, outputs, quiet, table, tiny

from skmissvae import (
    InconsistentVersionWarning,
    MissSVAEImputer,
    MultipleImputationClassifier,
    VAEOutlierDetector,
    load,
)
from skmissvae.tables.plain_files import read_plain_file, write_plain_file
from skmissvae.training.fit import FittedModel
from skmissvae.training.spec import ModelSpec
from skmissvae.vae import NormalLikelihood, StudentTPrior

pytestmark = quiet


def read(path):
    """Return the JSON and the arrays of a model file."""
    return read_plain_file(path, "skmissvae")


def write(path, content, arrays):
    """Write a model file with a valid SHA-256."""
    write_plain_file(path, "skmissvae", content, arrays)


@functools.cache
def fitted():
    return tiny(MissSVAEImputer, likelihood={0: "student_t"}, warm_start=True).fit(table())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.skmissvae"
    fitted().save(path)
    return path


@pytest.mark.slow
@every_estimator
def test_a_loaded_estimator_continues_as_the_saved_one(cls, tmp_path):
    X = table()
    estimator = tiny(cls, warm_start=True, max_iter=3).fit(X)
    estimator.save(tmp_path / "model")
    restored = load(tmp_path / "model")
    assert_same(outputs(restored.fit(X), X), outputs(estimator.fit(X), X))


def test_unfitted_estimators_are_saved(tmp_path):
    MissSVAEImputer(K=3).save(tmp_path / "model")
    assert repr(load(tmp_path / "model")) == repr(MissSVAEImputer(K=3))


def test_outlier_detectors_are_saved(tmp_path):
    X = table()
    detector = VAEOutlierDetector(fitted()).fit(X)
    detector.save(tmp_path / "model")
    np.testing.assert_array_equal(
        load(tmp_path / "model").score_samples(X), detector.score_samples(X)
    )


def test_estimators_of_predictors_have_no_model_file():
    assert not hasattr(MultipleImputationClassifier, "save")


def test_every_flipped_bit_and_every_cut_is_refused(path):
    data = path.read_bytes()
    rng = random.Random(0)
    header = 8 + int.from_bytes(data[:8], "little")
    positions = [*range(9), *(rng.randrange(header) for _ in range(100))]
    positions += [rng.randrange(header, len(data)) for _ in range(100)]
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"not a model file|newer version"):
            load(path)
    for length in (0, 1, 8, 100, header, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a model file"):
            load(path)
    path.write_bytes(data + b"\x00")
    with pytest.raises(ValueError, match="not a model file"):
        load(path)


def test_files_that_are_missing_or_folders_raise_an_error_of_the_system(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(OSError, match=path.name):
            load(path)
    with pytest.raises(FileNotFoundError):
        fitted().save(tmp_path / "missing" / "model")


@pytest.mark.parametrize(
    ("option", "size"),
    [("n_hidden", 30_000), ("n_latents", 10**9), ("n_blocks", 10**9), ("K", 10**6)],
)
def test_sizes_that_differ_from_the_weights_are_refused(path, option, size):
    content, arrays = read(path)
    spec = content["estimator"]["@object"][1]["model_"]["@object"][1]["spec"]["@object"][1]
    assert option in spec
    spec[option] = size
    write(path, content, arrays)
    with pytest.raises(ValueError, match="differ"):
        load(path)


@pytest.mark.parametrize("part", ["prior", "encoder", "decoder"])
def test_sizes_beside_custom_parts_are_compared(path, part):
    content, arrays = read(path)
    spec = content["estimator"]["@object"][1]["model_"]["@object"][1]["spec"]["@object"][1]
    if part == "prior":
        spec["prior"] = {"@function": "NormalPrior"}
    else:
        networks = {"encoder": None, "decoder": None, part: {"@custom": "make"}}
        spec["network"] = {"@object": ["CustomNetwork", networks]}
    spec["n_hidden"] = 30_000
    write(path, {**content, "custom": ["make"]}, arrays)
    with pytest.raises(ValueError, match="shapes of the weights differ"):
        load(path, {"make": torch.nn.Linear})


def test_sizes_of_arguments_of_priors_are_compared(path):
    content, arrays = read(path)
    spec = content["estimator"]["@object"][1]["model_"]["@object"][1]["spec"]["@object"][1]
    spec["prior"] = {"@partial": ["MixturePrior", [[], {"n_components": 10**8}]]}
    write(path, content, arrays)
    with pytest.raises(ValueError, match="shapes of the weights differ"):
        load(path)


@pytest.mark.parametrize("option", ["n_hidden", "n_latents"])
def test_states_of_pickles_with_sizes_that_differ_from_the_weights_are_refused(option):
    """They take no memory: a network of so many units would take terabytes."""
    state = fitted().model_.__getstate__()
    spec = dataclasses.replace(state["spec"], **{option: 10**6})
    with pytest.raises(ValueError, match="differ"):
        object.__new__(FittedModel).__setstate__({**state, "spec": spec})


@pytest.mark.parametrize(
    ("name", "value"),
    [("_seed", "x"), ("model_", "x"), ("schema_", {}), ("n_features_in_", 9), ("_template", [])],
)
def test_fitted_attributes_that_do_not_fit_together_are_refused(path, name, value):
    content, arrays = read(path)
    state = content["estimator"]["@object"][1]
    assert name in state
    state[name] = value
    write(path, content, arrays)
    with pytest.raises(ValueError, match=r"not a model file .* damaged"):
        load(path)


@pytest.mark.parametrize("name", ["location", "scale", "log_scale", "fill_values"])
def test_units_that_are_not_finite_are_refused(path, name):
    content, arrays = read(path)
    (key,) = [key for key in arrays if key.endswith(f"schema_.{name}")]
    write(path, content, {**arrays, key: arrays[key] * np.nan})
    with pytest.raises(ValueError, match=f"the {name} of a column is not finite"):
        load(path)


@pytest.mark.parametrize("name", ["output_columns", "modelled"])
def test_columns_follow_from_their_roles(path, name):
    content, arrays = read(path)
    (key,) = [key for key in arrays if key.endswith(f"schema_.{name}")]
    write(path, content, {**arrays, key: arrays[key][:0]})
    X = table()
    assert_same(outputs(load(path), X), outputs(fitted(), X))


def test_files_without_an_estimator_are_refused(path):
    content, arrays = read(path)
    write(path, content | {"estimator": {"vae_": 3}}, arrays)
    with pytest.raises(ValueError, match="it holds no estimator"):
        load(path)


def test_parameters_are_checked_by_the_loaded_estimator(path):
    content, arrays = read(path)
    content["estimator"]["@object"][1]["handle_unknown"] = "x"
    write(path, content, arrays)
    with pytest.raises(ValueError, match="'handle_unknown' of MissSVAEImputer must be"):
        load(path).transform(table())


def make_prior(n_latents):
    return StudentTPrior(n_latents, df=3)


class FixedLikelihood(NormalLikelihood):
    """A likelihood of a user."""


def test_custom_parts_are_passed_by_name(tmp_path):
    X, path = table(), tmp_path / "model"
    estimator = tiny(MissSVAEImputer, prior=make_prior, likelihood=FixedLikelihood).fit(X)
    estimator.save(path)
    with pytest.raises(ValueError, match=r"custom=\{'FixedLikelihood': ..., 'make_prior': ...\}"):
        load(path)
    custom = {"make_prior": make_prior, "FixedLikelihood": FixedLikelihood}
    restored = load(path, custom)
    assert restored.prior is make_prior
    assert_same(outputs(restored, X), outputs(estimator, X))
    with pytest.raises(ValueError, match="not a model file"):
        load(path, {**custom, "FixedLikelihood": print})


def test_parts_of_the_package_need_no_names(tmp_path):
    X = table()
    estimator = tiny(MissSVAEImputer, prior=functools.partial(StudentTPrior, df=3)).fit(X)
    estimator.save(tmp_path / "model")
    assert_same(outputs(load(tmp_path / "model"), X), outputs(estimator, X))


def test_a_parameter_without_plain_form_is_named_and_the_file_kept(path):
    data = path.read_bytes()
    estimator = MissSVAEImputer(min_value=range(3))
    with pytest.raises(TypeError, match=r"MissSVAEImputer\.min_value, which is range\(0, 3\)"):
        estimator.save(path)
    assert path.read_bytes() == data


def test_files_of_another_version_warn_and_of_a_newer_format_are_refused(path):
    content, arrays = read(path)
    content["estimator"]["@object"][1]["_skmissvae_version"] = "0.0.1"
    write(path, content, arrays)
    with pytest.warns(
        InconsistentVersionWarning, match=r"Imputer was saved by .* 0\.0\.1"
    ) as warned:
        load(path)
    assert [warning.filename for warning in warned] == [__file__]
    write(path, content | {"format": 99, "version": "9.9"}, arrays)
    with pytest.raises(ValueError, match=r"format 99 of version 9\.9.*Install a newer"):
        load(path)


def test_model_files_are_hardly_larger_than_their_weights(tmp_path):
    estimator = MissSVAEImputer(max_iter=1, init="random", random_state=0).fit(table())
    estimator.save(tmp_path / "model")
    weights = sum(4 * p.numel() for p in estimator.vae_.parameters())
    assert (tmp_path / "model").stat().st_size < 1.2 * weights


def test_loading_leaves_warnings_to_the_user(path):
    content, arrays = read(path)
    load(path)  # imports of torch add filters
    filters = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, [path] * 8))
    assert warnings.filters == filters
    content["estimator"]["@object"][1]["_skmissvae_version"] = "0.0.1"
    write(path, content, arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InconsistentVersionWarning)
        with pytest.raises(InconsistentVersionWarning):
            load(path)


def test_little_memory_is_not_damage(path, monkeypatch):
    def raise_out_of_memory(*args, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(ModelSpec, "build_pair", raise_out_of_memory)
    with pytest.raises(RuntimeError, match=r"^DefaultCPUAllocator"):
        load(path)


@pytest.mark.parametrize("name", ["n_features_in_", "offset_"])
def test_incomplete_attributes_are_refused(path, name):
    VAEOutlierDetector(fitted()).fit(table()).save(path)
    content, arrays = read(path)
    state = content["estimator"]["@object"][1]
    if name in state:
        del state[name]
    else:
        state["estimator_"]["@object"][1][name] = 10**9
    write(path, content, arrays)
    with pytest.raises(ValueError, match="not a model file"):
        load(path)
