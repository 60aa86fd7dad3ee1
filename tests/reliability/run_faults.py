"""Many faults of each kind, and what they violate: ``make faults``.

``python tests/reliability/run_faults.py [SCALE] [SEED]``; the numbers of trials are multiplied by
SCALE. The exit status is 1 if a law is violated.
"""

import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import concurrent_calls
import faults
import full_disks
import leaks
import memory_limits
import numpy as np

_VIOLATIONS = []


def report(text, start, violations):
    """Print a line about a kind of faults, and its violations."""
    _VIOLATIONS.extend(violations)
    for violation in violations:
        sys.stdout.write(f"violation: {violation}\n")
    seconds = time.perf_counter() - start
    sys.stdout.write(f"faults: {text}, {len(violations)} violations ({seconds:.0f} s)\n")
    sys.stdout.flush()


def in_calls(n, trial, text, folder):
    """Run trials until ``n`` of them have raised an error."""
    start, n_raised, n_answered, violations = time.perf_counter(), 0, 0, []
    while n_raised < n:
        outcome = trial(folder)
        n_raised, n_answered = n_raised + outcome.was_raised, n_answered + outcome.was_answered
        violations += outcome.violations
    report(f"{n_raised} {text}, after {n_answered} of them the call went on", start, violations)


def of_leaks(n, folder):
    """Report what calls leave, and the growth of the resident memory."""
    start, n_each = time.perf_counter(), n // len(leaks.CALLS)
    violations, resident = [], []
    for name in leaks.CALLS:
        growth = leaks.growth(name, folder, 5, 10)
        n_bytes = growth.pop("bytes")
        if n_bytes > 75_000 or growth["objects"] > 5 or growth["files"] or growth["threads"]:
            violations.append(f"{name}: {growth}, {n_bytes} bytes")
    for _ in range(n_each):
        for call in leaks.CALLS.values():
            call(leaks.fitted(), folder / "model")
        resident.append(leaks.resident_bytes())
    half = resident[len(resident) // 2 :]
    per_call = np.polyfit(np.arange(len(half)), half, 1)[0] / len(leaks.CALLS)
    if per_call > 4096:
        violations.append(f"resident memory grows by {per_call:.0f} bytes a call")
    text = f"{n_each * len(leaks.CALLS)} calls for leaks, resident memory {per_call:+.0f} bytes"
    report(f"{text} a call in the second half", start, violations)


def main(scale, seed):
    """Run all kinds of faults."""
    warnings.simplefilter("ignore")
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def at_line(folder):
            return faults.at_random_line(rng, folder, rng.choice(faults.ERRORS))

        in_calls(int(540 * scale), at_line, "exceptions at random lines", folder)
        interrupt = lambda folder: faults.at_random_line(rng, folder, KeyboardInterrupt)  # noqa: E731
        in_calls(int(90 * scale), interrupt, "interrupts at random lines", folder)
        moment = lambda folder: faults.at_random_moment(rng, folder)  # noqa: E731
        in_calls(int(110 * scale), moment, "interrupts at random moments", folder)
        (folder / "model").unlink(missing_ok=True)

        start, n = time.perf_counter(), int(60 * scale)
        violations = [text for _ in range(n) for text in full_disks.write(rng, folder)]
        report(f"{n} full disks", start, violations)

        start, n = time.perf_counter(), int(60 * scale)
        counts, violations = memory_limits.run(n, seed)
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        report(f"{n} memory limits, {outcomes}", start, violations)

        start, n = time.perf_counter(), int(10 * scale)
        violations = [text for _ in range(n) for text in concurrent_calls.run(rng, 64)]
        report(f"{64 * n} calls by 8 threads", start, violations)

        of_leaks(int(2002 * scale), folder)
    return len(_VIOLATIONS)


if __name__ == "__main__":
    scale, seed = (*sys.argv[1:], *("1", "0")[len(sys.argv) - 1 :])
    sys.exit(1 if main(float(scale), int(seed)) else 0)
