"""Files of released versions load, and their estimators give the outputs of that version."""

import re
import shutil
import zipfile
from contextlib import contextmanager, nullcontext

import make_model_files as files
import numpy as np
import pytest
import skops.io

from skmissvae import SKOPS_TYPES, InconsistentVersionWarning, __version__, load

ARCHIVES = sorted(files.FOLDER.glob("*.zip"))

pytestmark = pytest.mark.filterwarnings("ignore:.*effective sample size below:UserWarning")
every_archive = pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return folders with the files of each archive."""
    folder = tmp_path_factory.mktemp("model_files")
    for archive in ARCHIVES:
        zipfile.ZipFile(archive).extractall(folder / archive.stem)
    return {archive: folder / archive.stem for archive in ARCHIVES}


def names(suffix):
    """Return archives and the names of their files of a kind."""
    return [
        pytest.param(archive, name, id=f"{archive.stem} {name}")
        for archive in ARCHIVES
        for name in zipfile.ZipFile(archive).namelist()
        if name.endswith(suffix)
    ]


def of_version(version):
    """Return a context that expects the warning about a file of another version."""
    if version == __version__:
        return nullcontext()
    return pytest.warns(InconsistentVersionWarning, match=re.escape(version))


def assert_near(actual, path):
    """Assert that outputs equal those of a file, up to rounding errors of other processors."""
    with np.load(path) as expected:
        assert actual.keys() == set(expected.files)
        for name, values in expected.items():
            if values.dtype.kind == "f":
                scale = np.nanmax(np.abs(values - values.mean()), initial=0.0)
                np.testing.assert_allclose(actual[name], values, 1e-4, 1e-4 * scale, err_msg=name)
            else:  # rounding errors may change the choice between two values
                assert (actual[name] == values).mean() >= 0.9, name


@contextmanager
def refused_as_other():
    """Allow errors about another version, or about rows that were rounded otherwise."""
    try:
        yield
    except ValueError as error:
        if not re.search("was written with|of another fit", str(error)):
            raise


@pytest.mark.parametrize(("archive", "name"), [*names(".skmissvae"), *names(".skops")])
def test_files_load_and_give_their_outputs(archive, name, folders):
    path = folders[archive] / name
    with of_version(archive.stem):
        if path.suffix == ".skops":
            estimator = skops.io.load(path, trusted=SKOPS_TYPES)
        else:
            estimator = load(path)
    X = files.CASES[path.stem][1]()
    assert_near(files.outputs(estimator, X), path.with_suffix(".npz"))


@every_archive
def test_checkpoints_continue_or_are_refused_by_version(archive, folders, tmp_path):
    path = shutil.copy(folders[archive] / "stopped.checkpoint", tmp_path / "checkpoint")
    estimator = files.with_checkpoint(path)
    with refused_as_other():
        estimator.fit(files.numbers())
        assert_near(files.outputs(estimator, files.numbers()), folders[archive] / "stopped.npz")


@every_archive
def test_names_of_types_are_kept(archive, folders):
    names = (folders[archive] / "skops_types.txt").read_text().split()
    assert set(names) <= set(SKOPS_TYPES)


def test_the_archives_have_all_cases():
    assert ARCHIVES
    latest = [zipfile.ZipFile(archive).namelist() for archive in ARCHIVES][-1]
    assert {f"{name}.skmissvae" for name in files.CASES} <= set(latest)
    assert sum(archive.stat().st_size for archive in ARCHIVES) < 300_000 * len(ARCHIVES)
