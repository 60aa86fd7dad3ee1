"""Calls in a process whose address space is limited: ``python memory_limits.py N SEED``.

The calls run in a child process, since a library may end it. Each call gives the bits that it has
without a limit, or raises an error of memory and leaves the estimator as it was.
"""

import os
import random
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1]
#: Texts of errors of memory that are no MemoryError: of torch's allocator of the host, of threads.
MESSAGES = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


@contextmanager
def more_memory(n_bytes):
    """Let the process allocate at most ``n_bytes`` more within the block."""
    import resource  # of POSIX

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def serve():
    """Run the calls that stdin names with their limits, and write what they gave to stdout."""
    warnings.simplefilter("ignore")
    import pickle

    from estimator_cases import outputs, table
    from faults import differs

    from skmissvae import MissSIWAEImputer

    X = table(90)

    def new():
        return MissSIWAEImputer(
            max_iter=2, n_hidden=32, n_importance_draws=40, batch_size=300, random_state=0
        )

    fitted = new().fit(X)
    stored, before = pickle.dumps(fitted), outputs(fitted, X)
    calls = {
        "fit": lambda e: {"weights": e.fit(X).model_.__getstate__()["weights"]["vae"]},
        "transform": lambda e: {"X": e.transform(X)},
        "impute": lambda e: {str(i): X for i, X in enumerate(e.impute(X, 2))},
        "score_samples": lambda e: {"scores": e.score_samples(X)},
    }
    expected = {name: call(pickle.loads(stored)) for name, call in calls.items()}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        name, n_bytes = line.split()
        estimator = new() if name == "fit" else pickle.loads(stored)
        attributes, text, values = dict(vars(estimator)), "same bits", None
        with more_memory(int(n_bytes)):
            try:
                values = calls[name](estimator)
            except MemoryError:
                text = "MemoryError"
            except Exception as error:
                is_of_memory = any(message in str(error) for message in MESSAGES)
                text = f"{'' if is_of_memory else 'violation: '}{type(error).__name__}"
                text += "" if is_of_memory else f" {str(error)[:300]!r}"
        if values is not None and differs_in_any(values, expected[name], differs):
            text = "violation: other results"
        if values is None and vars(estimator) != attributes:
            text += ", violation: changed estimator"
        if values is None and name != "fit" and differs(outputs(estimator, X), before):
            text += ", violation: changed outputs"
        sys.stdout.write(text.replace("\n", " ") + "\n")
        sys.stdout.flush()


def differs_in_any(values, expected, differs):
    """Return whether results differ; weights are compared by their bytes."""
    if "weights" in values:
        values, expected = (
            {k: v.tobytes() for k, v in r["weights"].items()} for r in (values, expected)
        )
    return differs(values, expected) is not None


def run(n, seed):
    """Run calls with random limits; return the number of each outcome, and the violations."""
    rng, counts, violations = random.Random(seed), {}, []
    path = os.pathsep.join(
        [str(TESTS), str(TESTS / "reliability"), os.environ.get("PYTHONPATH", "")]
    )
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",  # free memory is returned to the system
        "MALLOC_TRIM_THRESHOLD_": "0",
    }
    child = None
    for _ in range(n):
        if child is None:
            child = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            assert child.stdout.readline() == "ready\n", child.stderr.read()
        request = f"{rng.choice(['fit', 'transform', 'impute', 'score_samples'])} "
        request += str(int(2 ** rng.uniform(12, 24)))
        child.stdin.write(request + "\n")
        child.stdin.flush()
        text = child.stdout.readline().strip()
        if not text:
            _, stderr = child.communicate()
            text, child = f"violation: ended by {child.returncode}, {stderr[-300:]!r}", None
        if "violation" in text:
            violations.append(f"{request}: {text}")
        else:
            counts[text] = counts.get(text, 0) + 1
    if child is not None:
        child.communicate()
    return counts, violations


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    else:
        sys.stdout.write(f"{run(int(sys.argv[1]), int(sys.argv[2]))}\n")
