"""Files of the package agree: versions, and links of the README."""

import configparser
import importlib.util
import re
from pathlib import Path

import pytest

import skmissvae

ROOT = Path(__file__).parents[1]
BLOB = "https://github.com/skmissvae/skmissvae/blob/main/"
SITE = "https://skmissvae.github.io/skmissvae/"


def floors():
    """Return the lowest version of each requirement and of the extras ``plot`` and ``progress``."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    lines = config["options"]["install_requires"] + extras["plot"] + extras["progress"]
    return dict(re.findall(r"^([\w-]+)>=([\d.]+)$", lines, re.MULTILINE))


def pinned(name):
    """Return the versions of a file of constraints."""
    return dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / name).read_text(), re.MULTILINE))


def test_the_oldest_versions_of_the_tests_are_the_lowest_that_the_package_allows():
    oldest = pinned("constraints-oldest.txt")
    assert floors().keys() >= {"numpy", "torch", "scikit-learn", "matplotlib"}
    for name, floor in floors().items():
        assert re.fullmatch(rf"{re.escape(floor)}(\.0)*", oldest[name]), name


def test_the_pinned_versions_are_allowed():
    versions = pinned("constraints.txt")
    for name, floor in floors().items():
        parts = [[int(part) for part in v.split(".")] for v in (versions[name], floor)]
        assert parts[0] >= parts[1], name


def test_the_files_with_a_hash_have_the_pinned_versions():
    """CI installs constraints-hashes.txt, and users of the repository constraints.txt."""
    text = (ROOT / "constraints-hashes.txt").read_text()
    hashed = dict(re.findall(r"^([\w-]+)==([\d.]+)(?:\+cpu)? \\\n    --hash=sha256:", text, re.M))
    hashed = {name.lower(): version for name, version in hashed.items()}
    pinned_versions = {name.lower(): v for name, v in pinned("constraints.txt").items()}
    assert hashed.keys() >= pinned_versions.keys()
    assert {name: hashed[name] for name in pinned_versions} == pinned_versions


def links():
    return re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("link", links())
def test_links_of_the_readme_are_absolute_and_lead_to_files(link):
    assert link.startswith((BLOB, SITE)), "package indexes do not resolve relative links"
    if link.startswith(BLOB):
        assert (ROOT / link.removeprefix(BLOB)).exists()


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert len(text.split()) <= 700


def test_the_gallery_lists_all_examples_and_the_reference_all_names():
    page = (ROOT / "examples" / "README.rst").read_text(encoding="utf-8")
    for script in (ROOT / "examples").glob("*.py"):
        assert f"``{script.name}``" in page
    spec = importlib.util.spec_from_file_location("api_pages", ROOT / "docs/_ext/api_pages.py")
    api_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api_pages)
    names = [name for _, _, section in api_pages.SECTIONS for name in section]
    assert sorted(names) == sorted(skmissvae.__all__)
