"""Check the wheel and the sdist in ``dist``: contents, installation and tests.

    python packaging/check_dist.py [--tests {some,all}]

A clean virtual environment gets the wheel and runs ``check_wheel.py`` and the blocks of
``docs/getting_started.md`` in an empty folder. Then it gets the tools of the tests, and runs the
tests of the unpacked sdist: those that take about a minute, or all.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"  # first: a version range would select the newest build
SOME_TESTS = [
    *("-m", "not slow", "tests/_utils", "tests/pooling", "tests/vae/test_bounds.py"),
    *("tests/estimators/test_imputations.py", "tests/tables/test_output.py"),
    *("tests/test_datasets.py", "tests/test_layers.py", "tests/test_readme.py"),
]
DATA = {"py.typed", "datasets/penguins.csv"}
NOT_IN_SDIST = (".ci/", ".github/")


def check_contents(wheel: Path, sdist: Path) -> None:
    """Check that the wheel has the package only, and the sdist each file of the repository."""
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    package = {name for name in tracked if name.startswith("skmissvae/")}
    assert {f"skmissvae/{name}" for name in DATA} <= package
    in_wheel = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert in_wheel == package, sorted(in_wheel ^ package)
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    absent = {n for n in tracked if not n.startswith(NOT_IN_SDIST)} - in_sdist
    assert not absent, f"the sdist lacks {sorted(absent)}; see MANIFEST.in"
    files = {n for n in in_sdist if "." in Path(n).name and ".egg-info" not in n}
    extra = files - {*tracked, "PKG-INFO", "setup.cfg"}
    assert not extra, f"the sdist has files that are not tracked: {sorted(extra)}; see MANIFEST.in"


def run(*command: str | Path, folder: Path) -> None:
    """Run a command in a folder, where neither the checkout nor PYTHONPATH is importable."""
    print("$", *command, flush=True)
    environment = {**os.environ, "PYTHONNOUSERSITE": "1"}
    environment.pop("PYTHONPATH", None)
    subprocess.run([str(part) for part in command], cwd=folder, env=environment, check=True)


def main() -> None:
    """Check the only wheel and the only sdist in ``dist``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", choices=["some", "all"], default="some")
    tests = parser.parse_args().tests
    (wheel,), (sdist,) = (ROOT / "dist").glob("*.whl"), (ROOT / "dist").glob("*.tar.gz")
    check_contents(wheel, sdist)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        venv.create(folder / "venv", with_pip=True)
        scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        python, constraints = scripts / "python", ROOT / "constraints.txt"
        install = [python, "-m", "pip", "install", "-q"]
        (folder / "empty").mkdir()
        run(*install, TORCH, folder=folder)
        run(*install, "-c", constraints, f"{wheel}[plot]", folder=folder)
        run(python, ROOT / "packaging" / "check_wheel.py", folder=folder / "empty")
        page = ROOT / "docs" / "getting_started.md"
        run(python, ROOT / "packaging" / "run_blocks.py", page, folder=folder / "empty")
        run(*install, "-c", constraints, f"{wheel}[dev]", folder=folder)
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        arguments = SOME_TESTS if tests == "some" else ["-n", "auto", "tests"]
        unpacked = folder / sdist.name.removesuffix(".tar.gz")
        # the tests import the wheel, and those that read files of the package find them there
        shutil.rmtree(unpacked / "skmissvae")
        run(python, "-m", "pytest", "-q", *arguments, folder=unpacked)


if __name__ == "__main__":
    main()
