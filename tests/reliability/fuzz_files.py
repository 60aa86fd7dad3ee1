"""Load tampered files under limits of memory and time.

usage: python fuzz_files.py FORMAT NUMBER SEED [FIRST]

FORMAT is one of

- model: model files with one to three random changes of their JSON text or of their arrays, and a
  valid SHA-256
- checkpoint: checkpoints of fits, changed in the same way; ``fit`` continues from them
- skops: files of skops with changes of their schema, of their arrays or of the bytes of the archive
- damaged: model files and checkpoints with flipped bits, cuts or additions, without a valid SHA-256
- all: NUMBER files of each

Files FIRST to FIRST + NUMBER - 1 of the seed are loaded; a loaded estimator completes a table. A
violation is a file that

- executes code, starts a process, opens a file for writing or imports a module,
- takes more than ten seconds or 256 MiB beyond what a valid file takes,
- raises an error that is not documented: by ``load`` or ``fit`` another one than ValueError, by the
  loaded estimator another one than ValueError or TypeError; an estimator that skops loads may raise
  any error, since only ``load`` checks that the fitted attributes fit together,
- gives an estimator that leaves cells missing,
- is damaged and loaded.

Violations and a summary are printed; the exit status is 1 if there is a violation.
"""

import functools
import io
import json
import random
import resource
import signal
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import skops.io

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tables"))

from estimator_cases import table, tiny
from table_cases import mixed

from skmissvae import (
    Checkpoint,
    DeMissVAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MVAEImputer,
    VAEDensityEstimator,
    load,
)
from skmissvae.tables.plain_files import read_plain_file, write_plain_file
from skmissvae.training.records import RunRecord
from skmissvae.vae.networks.options import ConvNetwork

MEMORY = 2**28  # bytes
SECONDS = 10
SPECIAL = [None, True, -1, 0, 10**9, 1e308, "", "x" * 100, [], {}, [[]], "os.system", "nan"]
KEYS = ["model_", "__class__", "__reduce__", "@tuple", "x"]
TAGS = ["@tuple", "@dict", "@object", "@array", "@function", "@partial", "@custom", "@label"]
NAMES = [  # of modules, classes and nodes of skops
    *("os", "builtins", "subprocess", "numpy", "sklearn.utils", "torch", "functools", "operator"),
    *("system", "eval", "exec", "open", "Popen", "load", "partial", "methodcaller", "ndarray"),
    *("skmissvae.training.spec", "skmissvae.training.fit", "ModelSpec", "FittedModel"),
    *("ObjectNode", "FunctionNode", "MethodNode", "PartialNode", "TypeNode", "NdArrayNode"),
    *("ConstructorFromReduceNode", "OperatorFuncNode", "CachedNode", "DictNode", "JsonNode"),
]
OUTCOMES = "refused", "loaded", "refused by the estimator", "with another error of the estimator"
#: Events of the interpreter that no file may cause.
FORBIDDEN = {
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
    *("subprocess.Popen", "socket.connect", "pickle.find_class", "ctypes.dlopen", "exec"),
    *("compile", "import", "os.rename", "os.rmdir", "shutil.rmtree"),
}


# -- changes ------------------------------------------------------------------------------------


def places(value, path=()):
    """Return the path of every value in a nested one."""
    paths = [path]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            paths += places(item, (*path, key))
    return paths


def change_json(root, rng, special):
    """Replace, remove, move or repeat a random value."""
    path = rng.choice([path for path in places(root) if path] or [None])
    if path is None:
        return
    parent = root
    for key in path[:-1]:
        parent = parent[key]
    kind, key = rng.randrange(6), path[-1]
    value = parent[key]
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = {rng.choice(TAGS): value}
    elif kind == 2 and (number := as_number(value)) is not None:
        number = number * rng.choice([-1, 2, 1000, 10**6]) + rng.choice([0, 1])
        parent[key] = str(number) if isinstance(value, str) else number
    elif kind == 3 and isinstance(parent, dict):
        parent[rng.choice(KEYS)] = parent.pop(key)
    elif kind == 4 and isinstance(parent, list):
        parent.extend(json.loads(json.dumps(parent)) * rng.choice([1, 50]))
    else:
        parent[key] = json.loads(json.dumps(rng.choice(special)))


def as_number(value):
    """Return a number, also of a JSON text, or None."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) else None


def change_array(arrays, rng):
    """Give a random array another shape, type or content."""
    name = rng.choice(list(arrays))
    array = arrays[name]
    options = [array.ravel(), array.ravel()[:0], np.zeros((3, 3), bool), array[None]]
    if array.dtype.kind in "biuf":
        with np.errstate(all="ignore"):
            options += [array.astype(np.float64), array * np.nan, array * 1e30]
    arrays[name] = np.ascontiguousarray(rng.choice(options))


def change_plain(content, arrays, rng):
    """Make one to three changes of the content of a model file or of a checkpoint."""
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.15 and arrays:
            change_array(arrays, rng)
        else:
            change_json(content, rng, SPECIAL)


def change_bytes(data, rng):
    """Return bytes with flipped bits, a cut, an addition or a block of zeros."""
    changed, kind = bytearray(data), rng.randrange(4)
    if kind == 0:
        for _ in range(rng.choice([1, 1, 2, 100])):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[rng.randrange(len(changed)) :]
    elif kind == 2:
        position = rng.randrange(len(changed))
        changed[position:position] = rng.randbytes(rng.choice([1, 8, 1000]))
    else:
        first = rng.randrange(len(changed))
        changed[first : first + rng.choice([1, 8, 1000])] = b"\xff"
    return bytes(changed)


def change_skops(data, rng):
    """Return a file of skops with changes of its schema, its arrays or its bytes."""
    if rng.random() < 0.1:
        return change_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members.pop("schema.json"))
    for _ in range(rng.randint(1, 3)):
        kind = rng.random()
        if kind < 0.1 and members:
            arrays = {name: np.load(io.BytesIO(member)) for name, member in members.items()}
            change_array(arrays, rng)
            for name, array in arrays.items():
                file = io.BytesIO()
                np.save(file, array)
                members[name] = file.getvalue()
        elif kind < 0.2 and members:
            name = rng.choice(list(members))
            members[name] = change_bytes(members[name], rng) or b"x"
            break  # which numpy cannot read again
        else:
            change_json(schema, rng, [*SPECIAL, *NAMES, *NAMES])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
        archive.writestr("schema.json", json.dumps(schema))
    return file.getvalue()


# -- estimators and their files -----------------------------------------------------------------


def mixed_frame():
    """Return a frame with a column of each kind, dates and a column of two numbers."""
    frame = mixed()
    frame["day"] = pd.Timestamp(2020, 1, 1) + pd.to_timedelta(np.arange(len(frame)), unit="D")
    frame["choice"] = np.arange(len(frame)) % 2
    frame.loc[3, ["day", "choice"]] = None
    return frame


def cases():
    """Return estimators and their tables."""
    small = {"n_hidden": 4, "max_iter": 2}
    return [
        (tiny(MissSVAEImputer, likelihood={0: "student_t"}, warm_start=True, **small), table()),
        (tiny(MissSIWAEImputer, add_indicator=True, min_value=0, **small), mixed_frame()),
        (tiny(DeMissVAEImputer, warm_start=True, **small), mixed("polars")),
        (tiny(MVAEImputer, network=ConvNetwork((2, 2)), calibrate=True, **small), table()),
        (tiny(VAEDensityEstimator, feature_kinds={"flag": "categorical"}, **small), mixed_frame()),
    ]


@functools.cache
def fitted_cases():
    """Return fitted estimators and their tables."""
    return [(estimator.fit(X), X) for estimator, X in cases()]


class Stopped(Exception):
    """The end of a fit."""


def stop_after_two_epochs(estimator, X, path):
    """Leave the checkpoint of a fit that is stopped."""
    save, n_saves = RunRecord.save, []

    def save_and_stop(record, state, generators):
        save(record, state, generators)
        n_saves.append(state)
        if len(n_saves) == 2:
            raise Stopped

    RunRecord.save = save_and_stop
    try:
        estimator.set_callbacks(Checkpoint(path, every_n_epochs=1)).fit(X)
    except Stopped:
        pass
    finally:
        RunRecord.save = save


def use(estimator, X):
    """Complete a table, or score its rows, and return whether no value is missing."""
    estimator.set_params(n_importance_draws=5, sampler="importance", device="cpu", verbose=0)
    is_imputer = hasattr(type(estimator), "transform")
    result = estimator.transform(X) if is_imputer else estimator.score_samples(X)
    return len(result) == len(X) and not pd.isna(np.asarray(result, object)).any()


class ModelFiles:
    """Model files with a valid SHA-256."""

    refusals = (ValueError,)
    must_be_refused = False

    def __init__(self, folder):
        self.path, self.tables, self.contents = folder / "model", [], []
        for estimator, X in fitted_cases():
            estimator.save(self.path)
            content, arrays = read_plain_file(self.path, "skmissvae")
            self.contents.append((json.dumps(content), arrays))
            self.tables.append(X)

    def write(self, i, rng):
        """Write file ``i``; unchanged without a generator."""
        text, arrays = self.contents[i % len(self.contents)]
        content, arrays = json.loads(text), dict(arrays)
        if rng is not None:
            change_plain(content["estimator"], arrays, rng)
        write_plain_file(self.path, "skmissvae", content, arrays)

    def load(self, i):
        """Return the estimator of the file."""
        return load(self.path)


class Checkpoints:
    """Checkpoints with a valid SHA-256, from which a fit continues."""

    refusals = (ValueError,)
    must_be_refused = False

    def __init__(self, folder):
        self.path, self.contents = folder / "fit", []
        self.cases = [*cases(), (tiny(MVAEImputer, n_bootstrap=2, n_hidden=4, max_iter=1), table())]
        self.cases = [(e.set_params(max_iter=4, init="random"), X) for e, X in self.cases]
        # bootstrap models are fitted after two epochs
        self.cases[-1][0].set_params(max_iter=1)
        self.tables = [X for _, X in self.cases]
        for estimator, X in self.cases:
            stop_after_two_epochs(estimator, X, self.path)
            content, arrays = read_plain_file(self.path, "skmissvae checkpoint")
            self.contents.append((json.dumps(content), arrays))
            self.path.unlink()

    def write(self, i, rng):
        """Write file ``i``; unchanged without a generator."""
        text, arrays = self.contents[i % len(self.contents)]
        content, arrays = json.loads(text), dict(arrays)
        if rng is not None:
            change_plain(content["runs"], arrays, rng)
        write_plain_file(self.path, "skmissvae checkpoint", content, arrays)

    def load(self, i):
        """Return the estimator whose fit continues from the file."""
        estimator, X = self.cases[i % len(self.cases)]
        estimator = type(estimator)(**estimator.get_params())
        estimator.set_callbacks(Checkpoint(self.path, every_n_epochs=10**6))
        before = dict(vars(estimator))
        try:
            return estimator.fit(X)
        except ValueError:
            assert vars(estimator) == before, "the estimator has changed"
            raise


class SkopsFiles:
    """Files of skops, of which only the types of the valid file are trusted."""

    refusals = (Exception,)
    must_be_refused = False

    def __init__(self, folder):
        self.fitted = fitted_cases()
        self.tables = [X for _, X in self.fitted]
        self.valid = [skops.io.dumps(estimator) for estimator, _ in self.fitted]
        self.trusted = [skops.io.get_untrusted_types(data=data) for data in self.valid]

    def write(self, i, rng):
        """Keep file ``i``; unchanged without a generator."""
        data = self.valid[i % len(self.valid)]
        self.data = data if rng is None else change_skops(data, rng)

    def load(self, i):
        """Return the estimator of the file."""
        estimator = skops.io.loads(self.data, trusted=self.trusted[i % len(self.valid)])
        expected = type(self.fitted[i % len(self.valid)][0])
        if type(estimator) is not expected:
            raise TypeError("an object of another class")
        return estimator


class DamagedFiles:
    """Model files and checkpoints whose bytes are changed."""

    refusals = (ValueError,)
    must_be_refused = True

    def __init__(self, folder):
        self.formats = [ModelFiles(folder), Checkpoints(folder)]
        self.tables = self.formats[0].tables

    def write(self, i, rng):
        """Write file ``i``; unchanged without a generator."""
        source = self.formats[i % 2]
        source.write(i // 2, None)
        if rng is not None:
            data = source.path.read_bytes()
            while (changed := change_bytes(data, rng)) == data:
                pass
            source.path.write_bytes(changed)

    def load(self, i):
        """Return the estimator of the file."""
        return self.formats[i % 2].load(i // 2)


FORMATS = {
    "model": ModelFiles,
    "checkpoint": Checkpoints,
    "skops": SkopsFiles,
    "damaged": DamagedFiles,
}


# -- limits -------------------------------------------------------------------------------------

is_loading = False
events = []


class TookTooLong(BaseException):
    """The end of a load that takes too long."""


def stop(signum, frame):
    """End a load that takes too long."""
    raise TookTooLong


def audit(event, args):
    """Record and refuse forbidden events of a load."""
    if not is_loading:
        return
    is_forbidden = event in FORBIDDEN
    if event == "compile":  # ast.literal_eval, which parses the header of an array
        is_forbidden = args[1] != "<unknown>"
    elif event == "open":
        is_forbidden = isinstance(args[1], str) and set(args[1]) & set("wax+")
    elif event == "import":
        is_forbidden = args[0] not in sys.modules
    if is_forbidden:
        events.append(f"{event} {args}"[:200])
        raise PermissionError(event)


def limit_memory():
    """Limit the memory of the process to 256 MiB more than it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def outcome(files, i):
    """Return how a file is loaded and used: one of OUTCOMES, or the description of a violation."""
    step = "load"
    try:
        estimator = files.load(i)
        if files.must_be_refused:
            return "damaged, and loaded"
        step = "use"
        is_complete = use(estimator, files.tables[i % len(files.tables)])
        return "loaded" if is_complete else "cells are missing after its use"
    except TookTooLong:
        return f"{step} takes more than {SECONDS} seconds"
    except (MemoryError, SystemError, PermissionError) as error:
        return f"{step} raises {type(error).__name__}: {str(error)[:200]}"
    except BaseException as error:
        if isinstance(error, files.refusals if step == "load" else (ValueError, TypeError)):
            return "refused" if step == "load" else "refused by the estimator"
        if isinstance(error, files.refusals):
            return "with another error of the estimator"
        return f"{step} raises {type(error).__name__}: {str(error)[:200]}"


def prepare(name, folder):
    """Return the files of a format, after imports of all that valid ones need."""
    folder.mkdir()
    files = FORMATS[name](folder)
    for i in range(2 * len(files.tables)):
        files.write(i, None)
        estimator = files.load(i)
        if not files.must_be_refused:
            assert use(estimator, files.tables[i % len(files.tables)])
    return files


def run(name, files, seeds):
    """Load a file for each seed; print the number of each outcome, and return the violations."""
    global is_loading
    counts = dict.fromkeys(OUTCOMES, 0)
    n_violations = 0
    for i, seed in seeds.items():
        files.write(i, random.Random(seed))
        is_loading = True
        signal.alarm(SECONDS)
        result = outcome(files, i)
        signal.alarm(0)
        is_loading = False
        if events:
            result = f"causes {events}"
            events.clear()
        if result in counts:
            counts[result] += 1
        else:
            n_violations += 1
            sys.stdout.write(f"{name} file {i} of seed {seed!r}: {result}\n")
    summary = ", ".join(f"{count} {result}" for result, count in counts.items())
    sys.stdout.write(f"{len(seeds)} {name} files: {summary}, {n_violations} violations\n")
    return n_violations


def main(name, n, seed, first=0):
    """Load files of one or of all formats under limits; return the number of violations."""
    seeds = {i: f"{seed} {i}" for i in range(first, first + n)}
    with tempfile.TemporaryDirectory() as folder:
        names = list(FORMATS) if name == "all" else [name]
        prepared = {name: prepare(name, Path(folder) / name) for name in names}
        limit_memory()
        signal.signal(signal.SIGALRM, stop)
        sys.addaudithook(audit)
        return sum(run(name, files, seeds) for name, files in prepared.items())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(1 if main(sys.argv[1], *map(int, sys.argv[2:])) else 0)
