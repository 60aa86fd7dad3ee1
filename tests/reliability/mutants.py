"""Insert the faults of ``mutants.toml`` into copies of the package, and run the tests on each.

usage: python mutants.py [--workers N] [--stages {fast,package,all}] [--only NAME ...]

First all tests run once, to record their seconds and the lines of the package that they call. The
tests that call the function with the fault then run in three stages, up to the first failure:
those of ``tests/fast.txt``, those of the file's package, all others. ``build/mutants.csv`` holds
the outcome of each fault, the test and the seconds; faults with an entry for the same code and
tests are skipped. The exit code is 1 if the tests detect less than 95%.
"""

import argparse
import ast
import collections
import contextlib
import csv
import functools
import hashlib
import multiprocessing
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
FIELDS = ["code", "file", "fault", "stage", "test", "seconds"]
STAGES = ["fast", "package", "all"]
MIN_SHARE = 0.95  # of the faults that the tests must detect
LIMIT = 1800  # seconds after which a stage counts as failed: some faults prevent the end of a loop

#: Tests of texts, which detect no fault, and of faults.
IGNORED_TESTS = [
    *(f"tests/test_{name}.py" for name in ("docs", "layers", "packaging", "typing", "words")),
    "tests/reliability/test_mutants.py",
]
IGNORED_FILES = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "_build", "build", "dist")

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("torch", "sklearn.impute", "pandas", "narwhals", "scipy.stats", "pyarrow", "polars"),
        *("joblib", "hypothesis", "pytest", "matplotlib.pyplot"),
    ]
)


class Mutant(NamedTuple):
    """A fault: a text that occurs once in a file of the package, and its replacement."""

    file: str
    fault: str
    original: str
    replacement: str


def mutants():
    """Return all faults."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return [
        Mutant(file, fault, *texts)
        for file, faults in tomllib.loads(text).items()
        for fault, texts in faults.items()
    ]


def fast_tests():
    """Return the arguments of pytest that select the fast tests: options, and paths."""
    lines = (ROOT / "tests" / "fast.txt").read_text(encoding="utf-8").splitlines()
    paths = [line for line in lines if line.startswith("tests/")]
    return [line for line in lines if line not in paths], paths


# -- which tests call which lines -----------------------------------------------------------------


class Record(NamedTuple):
    """What a run of all tests recorded: the lines that each test calls, and its seconds."""

    calls: Path  # of coverage
    seconds: Path  # of pytest

    @classmethod
    def of(cls, folder, n_workers):
        """Return the record of the tests on a copy of the repository."""
        paths = [BUILD / f"mutants_{digest()}.{suffix}" for suffix in ("coverage", "xml")]
        record = cls(*paths)
        if record.calls.exists():
            return record
        command = [sys.executable, "-m", "pytest", "-q", "-n", str(n_workers), "--cov=skmissvae"]
        command += ["--cov-config=", "--cov-context=test", "--cov-report="]
        command += [f"--junitxml={record.seconds}", "tests", "skmissvae"]
        command += [f"--ignore={ignored}" for ignored in IGNORED_TESTS]
        environment = {"PYTHONPATH": str(folder), "COVERAGE_FILE": str(folder / "coverage")}
        subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True)
        shutil.copy(folder / "coverage", record.calls)
        return record

    @functools.lru_cache  # noqa: B019
    def tests_by_line(self, file):
        """Return the tests that call each line of a file, without their parameters."""
        from coverage import CoverageData

        data = CoverageData(str(self.calls))
        data.read()
        (measured,) = (f for f in data.measured_files() if f.endswith(f"/skmissvae/{file}"))
        return {
            line: {context.split("|")[0].split("[")[0] for context in contexts if context}
            for line, contexts in data.contexts_by_lineno(measured).items()
        }

    @functools.lru_cache  # noqa: B019
    def seconds_by_test(self):
        """Return the seconds of each test, over its parameters."""
        seconds = collections.Counter()
        for case in ElementTree.parse(self.seconds).iter("testcase"):
            path = case.get("classname").replace(".", "/") + ".py"
            seconds[f"{path}::{case.get('name').split('[')[0]}"] += float(case.get("time"))
        return seconds


def tests_of(mutant, record):
    """Return the tests that call the function with a fault, the most likely to fail first.

    Faults outside of functions change what is defined on import: they have the tests of all
    functions of the file. The record has no calls in other processes: functions without any have
    all tests of the package.
    """
    text = (ROOT / "skmissvae" / mutant.file).read_text(encoding="utf-8")
    line = text[: text.index(mutant.original)].count("\n") + 1
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    around = [f for f in functions if f.lineno <= line <= f.end_lineno]
    spans = [(f.body[0].lineno, f.end_lineno) for f in around] or [(1, text.count("\n"))]
    first, last = max(spans)  # of the innermost function
    by_line, seconds = record.tests_by_line(mutant.file), record.seconds_by_test()
    tests = set().union(*(tests for line, tests in by_line.items() if first <= line <= last))
    package = f"tests/{Path(mutant.file).parts[0]}/"
    if not tests:
        return [package]
    mirror = f"{package}test_{Path(mutant.file).stem}.py"
    return sorted(tests, key=lambda test: (not test.startswith(mirror), seconds[test], test))


def stages(mutant, record):
    """Yield the name and the arguments of pytest of each stage that has a test."""
    tests, (options, fast_paths) = tests_of(mutant, record), fast_tests()
    fast = [t for t in tests if t in fast_paths or t.split("::")[0] in fast_paths]
    yield "fast", [*options, *fast], fast
    package = [test for test in tests if test.startswith(f"tests/{Path(mutant.file).parts[0]}/")]
    yield "package", package, package
    others = [test for test in tests if test not in package]
    yield "all", others, others


# -- runs of the tests ----------------------------------------------------------------------------


def run_pytest(folder, arguments, output):
    """Run pytest in a copy of the repository, and write what it prints to a file."""
    os.setsid()  # a group, so that processes of tests end with it
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    import pytest

    code = int(pytest.main(arguments))
    sys.stdout.flush()
    os._exit(code)  # without the end of pools of processes, which can wait for ever


def run_tests(folder, arguments):
    """Return the first test that fails in a copy of the repository, or None."""
    output = folder.with_suffix(".txt")
    options = ["-x", "-q", "-rfE", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    # a process that has imported the libraries is copied, which takes no time
    process = CONTEXT.Process(target=run_pytest, args=(folder, [*options, *arguments], output))
    process.start()
    process.join(LIMIT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.exitcode is None:
        return "no end"
    if process.exitcode in (0, 5):  # 5: all of the tests are slow ones
        return None
    text = output.read_text(encoding="utf-8", errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", text, re.MULTILINE)
    if failed is None and process.exitcode > 0:
        raise RuntimeError(text[-3000:])
    return failed[1] if failed else f"signal {-process.exitcode}"


def outcome(mutant, folder, record, last_stage):
    """Return the stage in which the tests detect a fault, the first test that does, and seconds."""
    path, start = folder / "skmissvae" / mutant.file, time.monotonic()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.original, mutant.replacement), encoding="utf-8")
    try:
        for stage, arguments, tests in stages(mutant, record):
            if tests and (test := run_tests(folder, arguments)) is not None:
                return stage, test, round(time.monotonic() - start)
            if stage == last_stage:
                break
    finally:
        path.write_text(text, encoding="utf-8")
    return "survived", "", round(time.monotonic() - start)


@functools.cache
def digest():
    """Return a digest of the code and the tests."""
    folders = ROOT / "skmissvae", ROOT / "tests"
    files = [p for folder in folders for p in folder.rglob("*") if p.suffix in (".py", ".txt")]
    contents = b"\0".join(path.read_bytes() for path in sorted(files))
    return hashlib.sha256(contents).hexdigest()[:16]


def key_of(mutant):
    """Return the digest of code, tests and fault, the file and the name of the fault."""
    contents = "\0".join([digest(), *mutant])
    return hashlib.sha256(contents.encode()).hexdigest()[:16], mutant.file, mutant.fault


def read_table(path):
    """Return the outcomes of earlier runs, by code and fault."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["code"], row["file"], row["fault"]): row for row in csv.DictReader(file)}


def report(*words):
    """Write a line to the standard output."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main():
    """Run the tests on all faults, and print how many they detect."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stages", choices=STAGES, default="all", help="the last stage to run")
    parser.add_argument("--only", nargs="*", metavar="NAME")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before the first import of torch
    selected = [m for m in mutants() if options.only is None or m.fault in options.only]
    BUILD.mkdir(exist_ok=True)
    table = BUILD / "mutants.csv"
    rows, keys = read_table(table), {mutant: key_of(mutant) for mutant in selected}
    waiting = [mutant for mutant in selected if keys[mutant] not in rows]
    lock, folders = threading.Lock(), queue.SimpleQueue()
    with tempfile.TemporaryDirectory() as temporary:
        for i in range(options.workers):
            folder = Path(temporary) / str(i)
            shutil.copytree(ROOT, folder, ignore=IGNORED_FILES)
            folders.put(folder)
        record = Record.of(folder, options.workers)

        def evaluate(mutant):
            folder = folders.get()
            result = outcome(mutant, folder, record, options.stages)
            folders.put(folder)
            with lock:
                rows[keys[mutant]] = dict(zip(FIELDS, [*keys[mutant], *result], strict=True))
                with table.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, FIELDS)
                    writer.writeheader()
                    writer.writerows(rows.values())
                report(*keys[mutant][1:], *result)

        with ThreadPoolExecutor(options.workers) as executor:
            list(executor.map(evaluate, waiting))
    found = [rows[keys[mutant]]["stage"] for mutant in selected]
    survivors = [m.fault for m, stage in zip(selected, found, strict=True) if stage == "survived"]
    report("by stage:", ", ".join(f"{stage} {found.count(stage)}" for stage in STAGES))
    n, n_caught = len(selected), len(selected) - len(survivors)
    report(f"mutants: {n_caught} caught of {n}; survivors: {', '.join(survivors) or 'none'}")
    return int(n_caught < MIN_SHARE * n)


if __name__ == "__main__":
    sys.exit(main())
