"""Time of training steps, fits, imputation and scoring; memory of imputation.

``python benchmarks/speed.py PART`` measures a part and writes ``speed_PART.csv`` and ``.md``:

- ``steps``: training steps of each method, and of their matrix products alone by ``torch.mm``,
- ``tables``: fit and transform of several imputers by rows and columns, each run in a separate
  process with a limit of 600 s, with errors and peak memory,
- ``serving``: ``transform``, ``impute`` and ``score_samples`` of a fitted model by number of draws,
- ``processes``: epochs of one process, and of two processes that share a table,
- ``memory``: memory of the draws of a row by scikit-learn's ``working_memory`` (Linux only).

Existing runs of ``tables`` are not repeated. The first three parts have ``--device cuda``, which
writes separate files.
"""

import argparse
import ctypes
import functools
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peers
import sklearn
import torch
from accuracy import SECONDS, impute_in_process, is_installed
from common import markdown, run_grid, versions, write_page
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from skmissvae import MissSIWAEImputer, ResidualNetwork, VAEDensityEstimator
from skmissvae._utils.random import StreamNoise
from skmissvae.inference import LAIR
from skmissvae.tables import ColumnSchema
from skmissvae.training.demissvae import DeMissObjective, ImputationStore
from skmissvae.training.loop import train
from skmissvae.training.methods import METHODS, BoundMethod
from skmissvae.training.objectives import Batch, Objective
from skmissvae.training.optim import AdamW, TrainingSettings
from skmissvae.training.spec import ModelSpec
from skmissvae.vae import VAE

HERE = Path(__file__).parent


def wait(device: str) -> None:
    """Wait until a device has finished all operations, before a clock is read."""
    if device != "cpu":
        torch.accelerator.synchronize()


# -- steps -----------------------------------------------------------------------------------------

#: Rows of a step, columns, latents, width, blocks, K, dropout, and whether networks have linear
#: paths and the model the posterior of factor analysis.
SETTINGS = {
    "512 rows, width 256": (512, 20, 10, 256, 2, 5, 0.0, False),
    "64 rows, width 200": (64, 5, 2, 200, 3, 5, 0.0, False),
    "defaults, 128 rows": (128, 10, 10, 128, 2, 5, 0.1, True),
}


def spec(setting: tuple, n_components: int) -> ModelSpec:
    """Return the specification of a model."""
    _, n_columns, n_latents, n_hidden, n_blocks, _, dropout, linear = setting
    return ModelSpec(
        columns=(ColumnSchema("continuous"),) * n_columns,
        positions=tuple(range(n_columns)),
        n_latents=n_latents,
        K=n_components,
        likelihood=[("normal", list(range(n_columns)))],
        min_scale=0.05,
        n_hidden=n_hidden,
        n_blocks=n_blocks,
        dropout=dropout,
        network=ResidualNetwork(linear_path=linear),
        prior="normal",
        posterior="auto",
        factor_analysis="if possible" if linear else "never",
    )


class Products(TorchDispatchMode):
    """Records the factors of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name in ("aten::mm", "aten::addmm", "aten::addmm_"):
            self.factors.append(tuple(args[-2:]))
        return func(*args, **(kwargs or {}))


def matrix_products(vae: VAE, objective: Objective, batch: Batch) -> Callable[[], None]:
    """Return a function that computes the matrix products of a step by torch.mm."""
    device = batch.x.device
    with Products() as products:
        objective.backward(vae, batch, StreamNoise(torch.Generator(device).manual_seed(0)))
    vae.zero_grad()

    def like(factor: Tensor) -> Tensor:
        if factor.is_contiguous():
            return torch.randn(factor.shape, device=device)
        return torch.randn(factor.shape[::-1], device=device).T

    factors = [(like(a), like(b)) for a, b in products.factors]
    work = [(a, b, torch.empty(len(a), b.shape[1], device=device)) for a, b in factors]

    def call() -> None:
        for a, b, out in work:
            torch.mm(a, b, out=out)

    return call


def random_rows(n_rows: int, n_columns: int, device: str, generator: torch.Generator) -> Batch:
    """Return rows of noise, half of the cells missing."""
    options: dict[str, Any] = {"generator": generator, "device": device}
    x = torch.randn(n_rows, n_columns, **options)
    observed = torch.rand(x.shape, **options) < 0.5
    return Batch(torch.where(observed, x, 0.0), observed, torch.arange(n_rows, device=device))


def step_cases(setting: tuple, n_steps: int, device: str) -> dict[str, tuple[Callable, Callable]]:
    """Return functions that take ``n_steps`` steps, and the products of one, by method."""
    size, n_columns, K = setting[0], setting[1], setting[5]
    generator = torch.Generator(device).manual_seed(0)
    rows = random_rows(size * n_steps, n_columns, device, generator)
    first = Batch(*(values[:size] for values in rows))
    settings = TrainingSettings(1, size, 1e-3, AdamW(schedule="constant"))

    def steps(vae: VAE, objective: Objective) -> tuple[Callable, Callable]:
        products = matrix_products(vae, objective, first)
        return lambda: train(vae, objective, rows, settings, generator), products

    cases = {}
    for name, method in METHODS.items():
        if isinstance(method, BoundMethod):
            # each method has as many draws per row as components
            method = method.configured(1 if method.stratified else K, "auto", None)
            vae = spec(setting, K if method.mixture else 1).build(0)
            cases[name] = steps(vae.to(device), method.objective())
    # DeMissVAE is not initialized from factor analysis
    _, completed_vae = spec((*setting[:-1], False), K).build_with_second_encoder(0)
    imputations = ImputationStore(rows, K, 0, generator)
    objective = DeMissObjective(imputations, LAIR(n_replenish=0))
    cases["DeMissVAE"] = steps(completed_vae.to(device), objective)
    return cases


def steps(quick: bool, device: str) -> str:
    """Time training steps."""
    lines = []
    n_rounds = 3 if quick else 15
    for n_threads in (1, 2) if device == "cpu" else (1,):
        torch.set_num_threads(n_threads)
        for name, setting in SETTINGS.items():
            n_steps = max(3, (20 if quick else 40) * 64 // setting[0])
            cases = step_cases(setting, n_steps, device)
            timed: dict[str, list[tuple[float, float]]] = {method: [] for method in cases}
            for _ in range(n_rounds + 1):  # the first is a warm-up
                for method, (step, products) in cases.items():
                    start = time.perf_counter()
                    step()
                    wait(device)
                    middle = time.perf_counter()
                    for _ in range(n_steps):
                        products()
                    wait(device)
                    end = time.perf_counter()
                    factor = 1000 / n_steps
                    timed[method].append((factor * (middle - start), factor * (end - middle)))
            for method, pairs in timed.items():
                both = np.array(pairs[1:])
                lines.append(
                    {
                        "setting": name,
                        "threads": n_threads,
                        "method": method,
                        "ms": np.median(both[:, 0]),
                        "products_ms": np.median(both[:, 1]),
                        "ratio": np.median(both[:, 0] / both[:, 1]),
                    }
                )
    torch.set_num_threads(1)
    frame = pd.DataFrame(lines)
    write_csv("steps", frame, quick, device)
    numbers = frame[["ms", "products_ms", "ratio"]].to_numpy()
    frame["text"] = [f"{ms:.1f} / {products:.1f} = {ratio:.2f}" for ms, products, ratio in numbers]
    frame["column"] = frame["setting"] + ", " + frame["threads"].astype(str) + " threads"
    table = frame.pivot(index="method", columns="column", values="text")
    table = table.loc[list(cases), list(frame["column"].drop_duplicates())]
    return (
        markdown(table, "method")
        + "\nMilliseconds of a training step / of its matrix products alone by torch.mm = ratio: "
        f"medians over {n_rounds} interleaved rounds. K = 5, five draws per row, half of the cells "
        "missing. Columns, latents and blocks: 20, 10, 2; 5, 2, 3; 10, 10, 2. The third setting "
        "has dropout, linear paths and the posterior of factor analysis."
    )


# -- tables ----------------------------------------------------------------------------------------


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
    import resource

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
    command = [sys.executable, __file__, "one", method, str(n_rows), str(n_columns), device]
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
    quick: bool,
    device: str,
    only_shapes: list[str] | None = None,
    only_methods: list[str] | None = None,
) -> str:
    """Time fit and transform."""
    methods = TIMED[:4] if quick else TIMED
    shapes = [(1000, 10), (1000, 50)] if quick else SHAPES
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
    path = output_path("tables", quick, device).with_suffix(".csv")
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
    return (
        markdown(table.fillna(""), "rows x columns")
        + "\nTime of fit and transform, RMSE of hidden cells in standard deviations, and memory in "
        "addition to that of the table and the libraries; separate processes with "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, a fifth of the cells missing. "
        "IterativeImputer has 5 iterations. Few epochs: fitted to at most 20,000 rows (20 epochs "
        "of 1,000 rows, 2 of 10,000 and more), ten draws per row. Log-log slopes of the time of "
        f"MissSIWAEImputer: {', '.join(slopes)}."
    )


# -- serving ---------------------------------------------------------------------------------------


def serving(quick: bool, device: str) -> str:
    """Time transform, impute and score_samples of a fitted model."""
    incomplete, _ = nonlinear_table(1000, 20)
    new_rows, _ = nonlinear_table(200 if quick else 2000, 20, seed=1)
    lines = []
    for K in (1, 5, 20):
        method = {"objective": "MIWAE"} if K == 1 else {"K": K}
        common: dict[str, Any] = {"random_state": 0, "max_iter": 3, "device": device}
        imputer = MissSIWAEImputer(K=K, **common).fit(incomplete)
        density = VAEDensityEstimator(**method, **common).fit(incomplete)
        for n_draws in (10, 100, 1000, 10_000):
            for estimator in (imputer, density):
                estimator.set_params(n_importance_draws=n_draws)
            calls = {
                "transform": lambda rows, imputer=imputer: imputer.transform(rows),
                "impute, 5 times": lambda rows, imputer=imputer: list(imputer.impute(rows, 5)),
                "score_samples": lambda rows, density=density: density.score_samples(rows),
            }
            for call, function in calls.items():
                rows = new_rows[: max(20, len(new_rows) * 100 // n_draws)]
                warnings.simplefilter("ignore")
                function(rows[:3])
                single = []
                for i in range(9):
                    start = time.perf_counter()
                    function(rows[i : i + 1])
                    single.append(time.perf_counter() - start)
                start = time.perf_counter()
                function(rows)
                rate = len(rows) / (time.perf_counter() - start)
                lines.append(
                    {
                        "call": call,
                        "K": K,
                        "draws": n_draws,
                        "rows_per_second": rate,
                        "ms_of_one_row": 1000 * float(np.median(single)),
                    }
                )
    frame = pd.DataFrame(lines)
    write_csv("serving", frame, quick, device)
    slopes = []
    for by in ("draws", "K"):
        part = frame[
            (frame.call == "transform") & (frame.draws == 1000 if by == "K" else frame.K == 5)
        ]
        slope = np.polyfit(np.log(part[by]), -np.log(part.rows_per_second), 1)[0]
        slopes.append(f"{slope:.2f} in {by}")
    numbers = frame[["rows_per_second", "ms_of_one_row"]].to_numpy()
    frame["text"] = [f"{rate:,.0f}, {ms:.1f} ms" for rate, ms in numbers]
    frame["model"] = [f"K = {k}, {n:,} draws" for k, n in frame[["K", "draws"]].to_numpy()]
    table = frame.pivot(index="model", columns="call", values="text")
    return (
        markdown(table.loc[frame["model"].drop_duplicates()], "model")
        + f"\nRows per second of {len(new_rows):,} rows of 20 columns with 100 draws, of fewer "
        "rows with more draws; and milliseconds of a call with one row (median of 9). Log-log "
        f"slopes of the time of transform: {', '.join(slopes)}."
    )


# -- processes -------------------------------------------------------------------------------------


#: Rows of a step, in one process or divided between two.
BATCH_SIZES = (512, 2048, 4096)


def fit_share(rows: int) -> None:
    """Fit the share of a process of a table, and print the time of an epoch and the bounds."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    incomplete, _ = nonlinear_table(20_000, 20)
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
        incomplete = incomplete[dist.get_rank() :: dist.get_world_size()]
    model = MissSIWAEImputer(random_state=0, batch_size=rows, learning_rate=4e-3, n_hidden=256)
    model.set_params(max_iter=4, early_stopping=False)
    model.fit(incomplete)
    seconds = np.diff(model.history_["seconds"])  # without the first epoch, a warm-up
    output = {"seconds": float(np.median(seconds)), "bound": model.history_["bound"]}
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(output))
    if "RANK" in os.environ:
        dist.destroy_process_group()


def processes(quick: bool) -> str:
    """Time epochs of one and of two processes."""
    group = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    lines = []
    for repeat in range(1 if quick else 5):
        for rows in BATCH_SIZES[:1] if quick else BATCH_SIZES:
            for n, launcher in ((1, []), (2, group)):
                done = subprocess.run(
                    [sys.executable, *launcher, __file__, "share", str(rows)],
                    capture_output=True,
                    text=True,
                    check=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
                output = json.loads(done.stdout.splitlines()[-1])
                setting = {"rows": rows, "repeat": repeat, "processes": n}
                outcome = {"seconds": output["seconds"], "bound": output["bound"][-1]}
                lines.append({**setting, **outcome})
    frame = pd.DataFrame(lines)
    write_csv("processes", frame, quick)
    wide = frame.pivot(index=["rows", "repeat"], columns="processes", values="seconds")
    medians = wide.assign(ratio=wide[1] / wide[2]).groupby("rows").median()
    bounds = frame.groupby(["rows", "processes"])["bound"].mean().unstack()
    table = pd.DataFrame(
        {
            "one process, s": medians[1].map("{:.2f}".format),
            "two processes, s": medians[2].map("{:.2f}".format),
            "ratio": medians["ratio"].map("{:.2f}".format),
            "bound of one process": bounds[1].map("{:.3f}".format),
            "bound of two processes": bounds[2].map("{:.3f}".format),
        }
    )
    n_pairs = frame["repeat"].nunique()
    return markdown(table, "rows per step") + (
        "\nTime of an epoch of 20,000 rows and 20 columns, width 256, one thread per process: "
        f"medians over {n_pairs} interleaved pairs of fits. Bounds after four epochs."
    )


# -- output ----------------------------------------------------------------------------------------


def output_path(part: str, quick: bool, device: str = "cpu") -> Path:
    """Return the path of the files of a part, without the extension."""
    suffix = "" if device == "cpu" else f"_{device}"
    return HERE / f"speed_{part}{suffix}{'_quick' if quick else ''}"


def write_csv(part: str, frame: pd.DataFrame, quick: bool, device: str = "cpu") -> None:
    """Write the measurements of a part."""
    path = output_path(part, quick, device).with_suffix(".csv")
    frame.to_csv(path, index=False, float_format="%.5g")


# -- memory ----------------------------------------------------------------------------------------


def peak_mib() -> float:
    """Return the peak memory of this process since the last call."""
    ctypes.CDLL(None).malloc_trim(0)  # memory that was freed would be used again and not counted
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    return float(peak.split()[1]) / 1024


def complete_one(columns: str, limit: float, n_columns: int) -> None:
    """Impute a row under a limit of memory, and print its memory; in a separate process."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) @ rng.normal(size=(3, n_columns))
    x += rng.normal(size=x.shape)
    options: dict[str, Any] = {}
    if columns == "marginal transforms":
        x, options = np.exp(x / 3), {"learn_shapes": True}
    elif columns == "bounds":
        options = {"min_value": -10.0, "max_value": 10.0}
    incomplete = np.where(rng.random(x.shape) < 0.3, np.nan, x)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    imputer = MissSIWAEImputer(max_iter=1, random_state=0, **options).fit(incomplete)
    with sklearn.config_context(working_memory=0.1):
        imputer.transform(incomplete[:1])  # memory of the first call
    peak_mib()
    before = peak_mib()
    with sklearn.config_context(working_memory=limit):
        imputer.transform(incomplete[:1])
    print(json.dumps({"mib": peak_mib() - before}))


def memory(quick: bool) -> str:
    """Measure the memory of draws under limits, in separate processes."""
    n_columns = 100 if quick else 1000
    limits = [1024.0, 32.0] if quick else [1024.0, 128.0, 32.0]
    lines = []
    for columns in ("Normal", "marginal transforms", "bounds"):
        for limit in limits:
            command = [sys.executable, __file__, "complete", columns, str(limit), str(n_columns)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            output = json.loads(done.stdout.splitlines()[-1])
            lines.append({"columns": columns, "limit": limit, **output})
    frame = pd.DataFrame(lines)
    write_csv("memory", frame, quick)
    wide = frame.pivot(index="columns", columns="limit", values="mib")[limits]
    wide = wide.reindex(frame["columns"].drop_duplicates())
    wide.columns = [f"{limit:.0f} MiB" for limit in limits]
    return markdown(wide.map("{:.0f}".format), "columns") + (
        f"\nMiB of `transform` of a row of {n_columns:,} columns for its 1,000 draws, by the "
        "`working_memory` of scikit-learn."
    )


PARTS = {
    "steps": steps,
    "tables": tables,
    "serving": serving,
    "processes": processes,
    "memory": memory,
}


def main() -> None:
    """Measure a part, and write its table."""
    if sys.argv[1:2] == ["one"]:
        fit_one(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
        return
    if sys.argv[1:2] == ["complete"]:
        complete_one(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
        return
    if sys.argv[1:2] == ["share"]:
        fit_share(int(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=list(PARTS), help="what to measure")
    parser.add_argument("--quick", action="store_true", help="few rounds, small tables")
    parser.add_argument("--shapes", nargs="+", help="of tables, such as 1000x10; default: all")
    parser.add_argument("--methods", nargs="+", choices=TIMED, help="of tables; default: all")
    parser.add_argument("--device", default="cpu", help="of steps, tables and serving")
    options = parser.parse_args()
    arguments: dict[str, Any] = {}
    if options.part in ("steps", "tables", "serving"):
        arguments["device"] = options.device
    elif options.device != "cpu":
        parser.error(f"{options.part} is measured on the CPU only.")
    if options.part == "tables":
        arguments |= {"only_shapes": options.shapes, "only_methods": options.methods}
    text = f"{PARTS[options.part](options.quick, **arguments)} {versions()}"
    if options.device != "cpu":
        text += f" Device: {torch.cuda.get_device_name(options.device)}."
    write_page(output_path(options.part, options.quick, options.device), text)


if __name__ == "__main__":
    main()
