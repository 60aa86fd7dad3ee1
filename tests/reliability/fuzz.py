"""Run the fuzzers of tables and files in two processes; print violations, summaries and their sums.

usage: python fuzz.py [NUMBER [SEED]]

NUMBER (10,000) tables, and as many files of each format. The exit status is 1 if there is a
violation.
"""

import collections
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

SHARD = 500  # tables or files in a process, which limits its memory
FORMATS = ("model", "checkpoint", "skops", "damaged")
HERE = Path(__file__).parent


def run(arguments):
    """Return the output of a fuzzer."""
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode not in (0, 1):
        raise SystemExit(f"{command} ended with {result.returncode}: {result.stderr[-2000:]}")
    return result


def main(n=10_000, seed=0):
    """Print violations and sums; return the number of violations."""
    scripts = [[HERE / "fuzz_tables.py"], *([HERE / "fuzz_files.py", name] for name in FORMATS)]
    tasks = [
        [*script, min(SHARD, n - first), seed, first]
        for first in range(0, n, SHARD)
        for script in scripts
    ]
    sums = collections.defaultdict(collections.Counter)
    with ThreadPoolExecutor(2) as pool:
        for future in as_completed([pool.submit(run, task) for task in tasks]):
            result = future.result()
            for line in result.stdout.splitlines():
                if summary := re.fullmatch(r"(\d+) ([a-z ]+): (\d+ .* violations)", line):
                    counts = re.findall(r"(\d+) ([a-z ]+)", summary[3])
                    sums[summary[2]].update({key: int(count) for count, key in counts})
                    sums[summary[2]]["number"] += int(summary[1])
                    line = f"  shard: {line}"
                sys.stdout.write(line + "\n")
            sys.stdout.write(result.stderr)
            sys.stdout.flush()
    for what, counts in sums.items():
        number = counts.pop("number")
        n_violations = counts.pop("violations")
        summary = ", ".join(f"{count} {key}" for key, count in counts.items())
        sys.stdout.write(f"{number} {what}: {summary}, {n_violations} violations\n")
        counts["violations"] = n_violations
    is_complete = len(sums) == len(FORMATS) + 2
    return sum(counts["violations"] for counts in sums.values()) + (not is_complete)


if __name__ == "__main__":
    sys.exit(1 if main(*map(int, sys.argv[1:])) else 0)
