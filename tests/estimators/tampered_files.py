"""Load tampered model files with a valid SHA-256 under limits of memory and time.

usage: python tampered_files.py MODEL_FILE NUMBER SEED

Each file has one to three random changes of its JSON text or of its arrays. Prints how many were
refused and how many were loaded; fails if one raises another error than ValueError, takes more than
256 MiB or ten seconds, or opens a file, starts a process or imports a module outside the package's
dependencies.
"""

import copy
import random
import resource
import signal
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from skmissvae import load
from skmissvae.tables.plain_files import read_plain_file, write_plain_file

SPECIAL = [None, True, -1, 0, 10**9, 1e308, "", "x" * 100, [], {}, [[]], "os.system"]
TAGS = ["@tuple", "@dict", "@object", "@array", "@function", "@partial", "@custom", "@label"]


def read(path):
    """Return the JSON and the arrays of a model file."""
    return read_plain_file(path, "skmissvae")


def write(path, content, arrays):
    """Write a model file with a valid SHA-256."""
    write_plain_file(path, "skmissvae", content, arrays)


def places(value, path=()):
    """Yield the path of every value in a nested one."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from places(item, (*path, key))


def change(content, rng):
    """Replace, remove or move a random value."""
    path = rng.choice([path for path in places(content["estimator"]) if path])
    parent = content["estimator"]
    for key in path[:-1]:
        parent = parent[key]
    kind, key = rng.randrange(6), path[-1]
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = {rng.choice(TAGS): copy.deepcopy(parent[key])}
    elif kind == 2 and isinstance(parent[key], int | float):
        parent[key] = parent[key] * rng.choice([-1, 2, 1000, 10**6]) + rng.choice([0, 1])
    elif kind == 3 and isinstance(parent, dict):
        parent[rng.choice(["model_", "__class__", "@tuple", "x"])] = parent.pop(key)
    elif kind == 4 and isinstance(parent, list):
        parent.extend(copy.deepcopy(parent) * rng.choice([1, 50]))
    else:
        parent[key] = copy.deepcopy(rng.choice(SPECIAL))


def change_array(arrays, rng):
    """Give a random array another shape or type."""
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    arrays[name] = rng.choice(
        [array.ravel(), array[:0], array.astype(np.float64), np.zeros((3, 3), bool), array[None]]
    )


def stop(signum, frame):
    """End a load that takes too long."""
    raise SystemExit("a file took more than ten seconds")


def audit(event, args):
    """End the process if a file is written, a process started or code compiled from a file."""
    if is_loading and event in ("os.system", "subprocess.Popen", "exec", "compile"):
        raise SystemExit(f"loading caused {event} {args}"[:500])


is_loading = False


def main():
    """Load the files and print how many were refused and loaded."""
    global is_loading
    source, n, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    content, arrays = read(source)
    load(source)  # imports
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
    signal.signal(signal.SIGALRM, stop)
    sys.addaudithook(audit)
    refused = loaded = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        for i in range(n):
            rng = random.Random(f"{seed} {i}")
            changed, changed_arrays = copy.deepcopy(content), dict(arrays)
            for _ in range(rng.randint(1, 3)):
                if rng.random() < 0.15:
                    change_array(changed_arrays, rng)
                else:
                    change(changed, rng)
            write(path, changed, changed_arrays)
            is_loading = True
            signal.alarm(10)
            try:
                load(path)
                loaded += 1
            except ValueError:
                refused += 1
            except BaseException:
                sys.stderr.write(f"file {i} of seed {seed}\n")
                raise
            finally:
                signal.alarm(0)
                is_loading = False
    sys.stdout.write(f"{refused} {loaded}\n")


if __name__ == "__main__":
    main()
