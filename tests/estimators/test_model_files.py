"""Model files: damaged and tampered ones are refused, custom parts, versions, formats."""

import functools
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from estimator_cases import assert_same, every_estimator, outputs, quiet, table, tiny
from tampered_files import read, write

from skmissvae import (
    InconsistentVersionWarning,
    MissSVAEImputer,
    MultipleImputationClassifier,
    VAEOutlierDetector,
    load,
)
from skmissvae.vae import NormalLikelihood, StudentTPrior

pytestmark = quiet
HERE = Path(__file__).parent


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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory")
def test_tampered_files_execute_nothing_and_take_no_memory(path):
    """500 files with random changes and a valid SHA-256, loaded with limits of memory and time."""
    command = [sys.executable, HERE / "tampered_files.py", path, "500", "0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    n_refused, n_loaded = map(int, result.stdout.split())
    assert n_refused + n_loaded == 500
    assert n_refused > 100


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
    write(path, content | {"version": "0.0.1"}, arrays)
    with pytest.warns(InconsistentVersionWarning, match=r"MissSVAEImputer was saved by .* 0\.0\.1"):
        load(path)
    write(path, content | {"format": 99}, arrays)
    with pytest.raises(ValueError, match="Install a newer version"):
        load(path)


@every_estimator
def test_pickled_states_of_another_version_warn(cls):
    state = tiny(cls).__getstate__()
    with pytest.warns(InconsistentVersionWarning, match=cls.__name__):
        cls().__setstate__(state | {"_skmissvae_version": "0.0.1"})
    assert "_skmissvae_version" not in vars(tiny(cls))


def test_model_files_are_hardly_larger_than_their_weights(tmp_path):
    estimator = MissSVAEImputer(max_iter=1, init="random", random_state=0).fit(table())
    estimator.save(tmp_path / "model")
    weights = sum(4 * p.numel() for p in estimator.vae_.parameters())
    assert (tmp_path / "model").stat().st_size < 1.2 * weights
