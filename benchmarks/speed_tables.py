"""Time, error and memory of imputers by table: ``python benchmarks/speed.py tables``."""

import functools
import json
import math
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peers
from accuracy import SECONDS, impute_in_process, is_installed
from common import markdown, run_grid

from skmissvae import MissSIWAEImputer


def nonlinear_table(n_rows: int, n_columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return sines of three latents with noise, with a fifth of the cells missing, and complete."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_rows, 3))
    weight = rng.normal(size=(3, n_columns)) / math.sqrt(3)
    x = np.sin(2 * z @ weight + rng.uniform(0, 6, n_columns))
    x += 0.2 * rng.normal(size=x.shape)
    return np.where(rng.random(x.shape) < 0.2, np.nan, x), x


def rmse(completed: np.ndarray, incomplete: np.ndarray, x: np.ndarray) -> float:
    """Return the root mean squared error of hidden cells, in standard deviations of the table."""
    return float(np.sqrt(np.mean((completed - x)[np.isnan(incomplete)] ** 2)) / x.std())


class FastImputer:
    """MissSIWAEImputer with few epochs on at most 20,000 rows, and ten draws per row."""

    def __init__(self, seed: int, device: str = "cpu") -> None:
        self.seed, self.device = seed, device

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        """Impute a table."""
        rows = np.random.default_rng(self.seed).permutation(len(X))[:20_000]
        imputer = MissSIWAEImputer(
            max_iter=max(2, 20_000 // len(rows)),
            n_importance_draws=10,
            device=self.device,
            random_state=self.seed,
        )
        return imputer.fit(X[rows]).transform(X)


def fit_one(method: str, n_rows: int, n_columns: int, device: str) -> None:
    """Fit, impute, and print time, error and memory; in a separate process."""
    ours = functools.partial(peers.default, "MissSIWAEImputer", device=device)
    makers = {
        "MissSIWAEImputer": ours(),
        "MissSIWAEImputer, 100 draws": ours(n_importance_draws=100),
        "MissSIWAEImputer, few epochs": functools.partial(FastImputer, device=device),
        "iterative, ridge": peers.iterative(None, 5),
        "iterative, forest": peers.iterative(peers.forest, 5),
        "KNN": peers.knn,
        "mean": peers.mean,
    }
    incomplete, x = nonlinear_table(n_rows, n_columns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    completed = makers[method](0).fit_transform(incomplete)
    seconds = time.perf_counter() - start
    error = rmse(completed, incomplete, x)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": seconds, "error": error, "mib": peak}))


def fit_in_process(device: str, method: str, n_rows: int, n_columns: int) -> dict[str, Any]:
    """Run ``fit_one`` in a separate process with a time limit."""
    if method in OTHER_ENVIRONMENTS:
        incomplete, x = nonlinear_table(n_rows, n_columns)
        numeric = np.zeros(n_columns, dtype=int)
        output = impute_in_process(method, incomplete, x, numeric, seed=1)  # seed 0 also draws
        if isinstance(output, str):
            return {"seconds": math.inf, "failure": output}
        error = rmse(output["completed"], incomplete, x)
        return {"seconds": float(output["fit_seconds"]), "error": error}
    command = [sys.executable, __file__, method, str(n_rows), str(n_columns), device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except subprocess.TimeoutExpired:
        return {"seconds": math.inf, "failure": f"more than {SECONDS} s"}
    return json.loads(done.stdout.splitlines()[-1])


#: Imputers in separate environments, whose memory is not measured.
OTHER_ENVIRONMENTS = ["miceforest", "hyperimpute"]
TIMED = [
    "MissSIWAEImputer",
    "MissSIWAEImputer, 100 draws",
    "MissSIWAEImputer, few epochs",
    "iterative, ridge",
    "iterative, forest",
    "KNN",
    "mean",
    *OTHER_ENVIRONMENTS,
]
SHAPES = [
    *((1000, d) for d in (10, 50, 200, 2000)),
    *((n, 20) for n in (10_000, 100_000, 1_000_000)),
    (1_000_000, 50),
]


def tables(
    path: Path,
    quick: bool,
    device: str,
    only_shapes: list[str] | None = None,
    only_methods: list[str] | None = None,
) -> tuple[pd.DataFrame, str]:
    """Time fit and transform."""
    methods = TIMED[:4] if quick else TIMED
    shapes = [(200, 5), (200, 10)] if quick else SHAPES
    missing = [m for m in methods if m in OTHER_ENVIRONMENTS and not is_installed(m)]
    if missing:
        print(f"Skipped methods that are not installed (make peers): {', '.join(missing)}.")
    cells = [
        (method, n, d)
        for n, d in shapes
        for method in methods
        if method not in missing
        if not only_methods or method in only_methods
        if not only_shapes or f"{n}x{d}" in only_shapes
    ]
    run = functools.partial(fit_in_process, device)
    results = run_grid(path, ["method", "n_rows", "n_columns"], cells, run)

    def text(line: pd.Series) -> str:
        if not np.isfinite(line.seconds):
            return str(line.failure)
        memory = f", {line.mib:.0f} MiB" if np.isfinite(line.mib) else ""
        return f"{line.seconds:.1f} s, {line.error:.3f}{memory}"

    table = results.assign(
        text=results.apply(text, axis=1),
        shape=[f"{n:,} x {d:,}" for n, d in results[["n_rows", "n_columns"]].to_numpy()],
    ).pivot(index="shape", columns="method", values="text")
    order = [f"{n:,} x {d:,}" for n, d in shapes]
    table = table.loc[[shape for shape in order if shape in table.index]]
    table = table[[method for method in methods if method in table]]
    ours = results[results["method"] == methods[0]]
    slopes = []
    for by, part in (
        ("rows", ours[ours.n_columns == 20]),
        ("columns", ours[ours.n_rows == 1000]),
    ):
        part = part[np.isfinite(part.seconds)]
        if len(part) > 1:
            size = np.log(part["n_rows" if by == "rows" else "n_columns"])
            slopes.append(f"{np.polyfit(size, np.log(part.seconds), 1)[0]:.2f} in {by}")
    return results, (
        markdown(table.fillna(""), "rows x columns")
        + "\nTime of fit and transform, RMSE of hidden cells in standard deviations, and memory in "
        "addition to that of the table and the libraries; separate processes with "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, a fifth of the cells missing. "
        "IterativeImputer has 5 iterations. Few epochs: fitted to at most 20,000 rows (20 epochs "
        "of 1,000 rows, 2 of 10,000 and more), ten draws per row. Log-log slopes of the time of "
        f"MissSIWAEImputer: {', '.join(slopes)}."
    )


if __name__ == "__main__":  # a run of fit_in_process
    fit_one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
