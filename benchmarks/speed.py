"""Speed: of a training step, of a fit beside the peers, of completing and scoring.

``python benchmarks/speed.py steps`` times training steps of every method beside their floor, the
bare matrix products of the same shapes by ``torch.mm``, interleaved, and writes medians over rounds
of the ratios within a round. ``models`` times steps of several models that are trained at once
beside those of the same models one by one. ``tables`` times fit and transform beside scikit-learn's
imputers by rows and columns, each run in a process of its own that is stopped at 600 s, with its
peak memory and its error. ``serving`` times ``transform``, ``impute`` and ``score_samples`` of a
fitted model by draws. ``processes`` times epochs of one and of two processes that share a table.
``memory`` tells what a row's draws take under limits of scikit-learn's ``working_memory``, on
Linux. Each writes ``speed_*.csv`` and ``speed_*.md``; ``tables`` does not do again what its file
has. The first four take ``--device cuda``, and then have files of their own.
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
from accuracy import SECONDS, apart
from common import markdown, run_grid, versions
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
    """Let a device finish what it was given: a clock that is read before tells nothing."""
    if device != "cpu":
        torch.accelerator.synchronize()


# -- steps -----------------------------------------------------------------------------------------

#: Rows of a step, columns, latents, width, blocks, K, dropout, and whether with linear paths and
#: the posterior of factor analysis to start from.
SETTINGS = {
    "512 rows, width 256": (512, 20, 10, 256, 2, 5, 0.0, False),
    "64 rows, width 200": (64, 5, 2, 200, 3, 5, 0.0, False),
    "defaults, 128 rows": (128, 10, 10, 128, 2, 5, 0.1, True),
}


def spec(setting: tuple, n_components: int) -> ModelSpec:
    """Return an architecture."""
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
    """Notes the shapes of all matrix products, and how their factors lie in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name in ("aten::mm", "aten::addmm", "aten::addmm_"):
            self.found.append(tuple(args[-2:]))
        return func(*args, **(kwargs or {}))


def floor(vae: VAE, objective: Objective, batch: Batch) -> Callable[[], None]:
    """Return a function that does the matrix products of a step by torch.mm, and nothing else."""
    device = batch.x.device
    with Products() as products:
        objective.backward(vae, batch, StreamNoise(torch.Generator(device).manual_seed(0)))
    vae.zero_grad()

    def like(part: Tensor) -> Tensor:
        if part.is_contiguous():
            return torch.randn(part.shape, device=device)
        return torch.randn(part.shape[::-1], device=device).T

    factors = [(like(a), like(b)) for a, b in products.found]
    work = [(a, b, torch.empty(len(a), b.shape[1], device=device)) for a, b in factors]

    def call() -> None:
        for a, b, out in work:
            torch.mm(a, b, out=out)

    return call


def table_of(n_rows: int, n_columns: int, device: str, generator: torch.Generator) -> Batch:
    """Return rows of noise, half of which is missing."""
    there: dict[str, Any] = {"generator": generator, "device": device}
    x = torch.randn(n_rows, n_columns, **there)
    observed = torch.rand(x.shape, **there) < 0.5
    return Batch(torch.where(observed, x, 0.0), observed, torch.arange(n_rows, device=device))


def step_cases(setting: tuple, n_steps: int, device: str) -> dict[str, tuple[Callable, Callable]]:
    """Return, by method, what takes ``n_steps`` steps and what takes the products of one."""
    size, n_columns, K = setting[0], setting[1], setting[5]
    generator = torch.Generator(device).manual_seed(0)
    rows = table_of(size * n_steps, n_columns, device, generator)
    first = Batch(*(piece[:size] for piece in rows))
    settings = TrainingSettings(1, size, 1e-3, AdamW(schedule="constant"))

    def steps(vae: VAE, objective: Objective) -> tuple[Callable, Callable]:
        products = floor(vae, objective, first)
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
            for _ in range(n_rounds + 1):  # the first warms up
                for method, (step, products) in cases.items():
                    start = time.perf_counter()
                    step()
                    wait(device)
                    middle = time.perf_counter()
                    for _ in range(n_steps):
                        products()
                    wait(device)
                    end = time.perf_counter()
                    per = 1000 / n_steps
                    timed[method].append((per * (middle - start), per * (end - middle)))
            for method, pairs in timed.items():
                both = np.array(pairs[1:])
                lines.append(
                    {
                        "setting": name,
                        "threads": n_threads,
                        "method": method,
                        "ms": np.median(both[:, 0]),
                        "floor_ms": np.median(both[:, 1]),
                        "ratio": np.median(both[:, 0] / both[:, 1]),
                    }
                )
    torch.set_num_threads(1)
    frame = pd.DataFrame(lines)
    write("steps", frame, quick, device)
    shown = frame.assign(
        told=[f"{ms:.1f} / {floor:.1f} = {r:.2f}" for ms, floor, r in frame.iloc[:, 3:].to_numpy()]
    )
    shown["where"] = frame_where(frame)
    shown = shown.pivot(index="method", columns="where", values="told")
    shown = shown.loc[list(cases), list(dict.fromkeys(frame_where(frame)))]
    return (
        markdown(shown, "method")
        + "\nMilliseconds of a training step, of its matrix products alone by torch.mm, and the "
        f"ratio: medians over {n_rounds} interleaved rounds. K = 5, five draws a row; half of the "
        "cells missing. Columns, latents and blocks: 20, 10, 2; 5, 2, 3; 10, 10, 2. The third "
        "setting has dropout, linear paths and the posterior of factor analysis to start from."
    )


def frame_where(frame: pd.DataFrame) -> list[str]:
    """Return the names of settings and threads, in their order."""
    return [f"{s}, {t} threads" for s, t in zip(frame.setting, frame.threads, strict=True)]


# -- tables ----------------------------------------------------------------------------------------


def curved(n_rows: int, n_columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a table of three latents that bends, with a fifth of its cells missing, and whole."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_rows, 3))
    weight = rng.normal(size=(3, n_columns)) / math.sqrt(3)
    x = np.sin(2 * z @ weight + rng.uniform(0, 6, n_columns))
    x += 0.2 * rng.normal(size=x.shape)
    return np.where(rng.random(x.shape) < 0.2, np.nan, x), x


def off(completed: np.ndarray, holed: np.ndarray, x: np.ndarray) -> float:
    """Return the error on hidden cells, in standard deviations."""
    return float(np.sqrt(np.mean((completed - x)[np.isnan(holed)] ** 2)) / x.std())


class InHaste:
    """Fits few epochs to 20,000 rows at most, and completes all by ten draws each."""

    def __init__(self, seed: int, device: str = "cpu") -> None:
        self.seed, self.device = seed, device

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        """Complete a table."""
        rows = np.random.default_rng(self.seed).permutation(len(X))[:20_000]
        imputer = MissSIWAEImputer(
            max_iter=max(2, 20_000 // len(rows)),
            n_importance_draws=10,
            device=self.device,
            random_state=self.seed,
        )
        return imputer.fit(X[rows]).transform(X)


def fit_one(method: str, n_rows: int, n_columns: int, device: str) -> None:
    """Fit, complete and print seconds, error and memory: in a process of its own."""
    import resource

    ours = functools.partial(peers.default, "MissSIWAEImputer", device=device)
    makers = {
        "MissSIWAEImputer": ours(),
        "MissSIWAEImputer, 100 draws": ours(n_importance_draws=100),
        "MissSIWAEImputer, in haste": functools.partial(InHaste, device=device),
        "iterative, ridge": peers.iterative(None, 5),
        "iterative, forest": peers.iterative(peers.forest, 5),
        "KNN": peers.knn,
        "mean": peers.mean,
    }
    holed, x = curved(n_rows, n_columns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    completed = makers[method](0).fit_transform(holed)
    seconds = time.perf_counter() - start
    error = off(completed, holed, x)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": seconds, "error": error, "more_mib": peak}))


def fit_apart(device: str, method: str, n_rows: int, n_columns: int) -> dict[str, Any]:
    """Run ``fit_one`` in a process, for so long and no longer."""
    if method in ELSEWHERE:
        holed, x = curved(n_rows, n_columns)
        told = apart(method, holed, x, np.zeros(n_columns, dtype=int), seed=1)  # 0 draws, too
        if isinstance(told, str):
            return {"seconds": math.inf, "failure": told}
        return {"seconds": float(told["fit_seconds"]), "error": off(told["completed"], holed, x)}
    command = [sys.executable, __file__, "one", method, str(n_rows), str(n_columns), device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except subprocess.TimeoutExpired:
        return {"seconds": math.inf, "failure": f"more than {SECONDS} s"}
    return json.loads(done.stdout.splitlines()[-1])


#: Peers in environments of their own; their memory is not measured.
ELSEWHERE = ["miceforest", "hyperimpute"]
TIMED = [
    "MissSIWAEImputer",
    "MissSIWAEImputer, 100 draws",
    "MissSIWAEImputer, in haste",
    "iterative, ridge",
    "iterative, forest",
    "KNN",
    "mean",
    *ELSEWHERE,
]
SHAPES = [
    *((1000, d) for d in (10, 50, 200, 2000)),
    *((n, 20) for n in (10_000, 100_000, 1_000_000)),
    (1_000_000, 50),
]


def tables(
    quick: bool,
    device: str,
    chosen: list[str] | None = None,
    methods: list[str] | None = None,
) -> str:
    """Time fits and completions."""
    wanted, methods = methods, TIMED[:4] if quick else TIMED
    shapes = [(1000, 10), (1000, 50)] if quick else SHAPES
    cells = [
        (m, n, d)
        for n, d in shapes
        for m in methods
        if m in (wanted or methods) and f"{n}x{d}" in (chosen or [f"{n}x{d}"])
    ]
    path = place("tables", quick, device).with_suffix(".csv")
    run = functools.partial(fit_apart, device)
    results = run_grid(path, ["method", "n_rows", "n_columns"], cells, run)

    def told(line: pd.Series) -> str:
        if not np.isfinite(line.seconds):
            return str(line.failure)
        memory = f", {line.more_mib:.0f} MiB" if np.isfinite(line.more_mib) else ""
        return f"{line.seconds:.1f} s, {line.error:.3f}{memory}"

    shown = results.assign(
        told=results.apply(told, axis=1),
        shape=[f"{n:,} x {d:,}" for n, d in results[["n_rows", "n_columns"]].to_numpy()],
    ).pivot(index="shape", columns="method", values="told")
    order = list(dict.fromkeys(f"{n:,} x {d:,}" for n, d in shapes))
    shown = shown.loc[[shape for shape in order if shape in shown.index]]
    shown = shown[[method for method in methods if method in shown]]
    ours = results[results["method"] == methods[0]]
    slopes = []
    for by, part in (
        ("rows", ours[ours.n_columns == 20]),
        ("columns", ours[ours.n_rows == 1000]),
    ):
        part = part[np.isfinite(part.seconds)]
        if len(part) > 1:
            at = np.log(part["n_rows" if by == "rows" else "n_columns"])
            slopes.append(f"{np.polyfit(at, np.log(part.seconds), 1)[0]:.2f} in {by}")
    return (
        markdown(shown.fillna(""), "rows x columns")
        + "\nFit and transform: seconds, RMSE on hidden cells in standard deviations, and memory "
        "beyond that of the table and the libraries, of runs in processes of their own with "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, a fifth of the cells missing. "
        "IterativeImputer has 5 rounds. In haste: fitted to 20,000 rows at most (1,000: 20 epochs; "
        "10,000 and more: 2), with ten draws a row. "
        f"Log-log slopes of ours: {', '.join(slopes)}."
    )


# -- serving ---------------------------------------------------------------------------------------


def serving(quick: bool, device: str) -> str:
    """Time what a fitted model does."""
    holed, _ = curved(1000, 20)
    many, _ = curved(200 if quick else 2000, 20, seed=1)
    lines = []
    for K in (1, 5, 20):
        name = {"objective": "MIWAE"} if K == 1 else {"K": K}
        common: dict[str, Any] = {"random_state": 0, "max_iter": 3, "device": device}
        model = MissSIWAEImputer(K=K, **common).fit(holed)
        density = VAEDensityEstimator(**name, **common).fit(holed)
        for n_draws in (10, 100, 1000, 10_000):
            for one in (model, density):
                one.set_params(n_importance_draws=n_draws)
            calls = {
                "transform": lambda rows, model=model: model.transform(rows),
                "impute, 5 times": lambda rows, model=model: list(model.impute(rows, 5)),
                "score_samples": lambda rows, density=density: density.score_samples(rows),
            }
            for call, function in calls.items():
                rows = many[: max(20, len(many) * 100 // n_draws)]
                warnings.simplefilter("ignore")
                function(rows[:3])
                alone = []
                for i in range(9):
                    start = time.perf_counter()
                    function(rows[i : i + 1])
                    alone.append(time.perf_counter() - start)
                start = time.perf_counter()
                function(rows)
                rate = len(rows) / (time.perf_counter() - start)
                lines.append(
                    {
                        "call": call,
                        "K": K,
                        "draws": n_draws,
                        "rows_per_second": rate,
                        "ms_of_one_row": 1000 * float(np.median(alone)),
                    }
                )
    frame = pd.DataFrame(lines)
    write("serving", frame, quick, device)
    slopes = []
    for by in ("draws", "K"):
        part = frame[
            (frame.call == "transform") & (frame.draws == 1000 if by == "K" else frame.K == 5)
        ]
        slope = np.polyfit(np.log(part[by]), -np.log(part.rows_per_second), 1)[0]
        slopes.append(f"{slope:.2f} in {by}")
    told = [
        f"{r:,.0f}, {ms:.1f} ms" for r, ms in frame[["rows_per_second", "ms_of_one_row"]].to_numpy()
    ]
    shown = frame.assign(
        told=told, what=[f"K = {k}, {n:,} draws" for k, n in zip(frame.K, frame.draws, strict=True)]
    )
    shown = shown.pivot(index="what", columns="call", values="told").loc[
        list(dict.fromkeys(shown.what))
    ]
    return (
        markdown(shown, "model")
        + f"\nRows per second of {len(many):,} rows of 20 columns at 100 draws, of fewer at more, "
        "and milliseconds of a call with one row (median of 9), on "
        f"{torch.get_num_threads()} thread. Log-log slopes of the time of transform: "
        f"{', '.join(slopes)}."
    )


# -- processes -------------------------------------------------------------------------------------


#: Rows of a step that one process takes alone, or two share.
STEPS_OF = (512, 2048, 4096)


def share(rows: int) -> None:
    """Fit a share of a table, or alone the whole, and print seconds and the bound."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    holed, _ = curved(20_000, 20)
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
        holed = holed[dist.get_rank() :: dist.get_world_size()]
    model = MissSIWAEImputer(random_state=0, batch_size=rows, learning_rate=4e-3, n_hidden=256)
    model.set_params(max_iter=4, early_stopping=False)
    model.fit(holed)
    seconds = np.diff(model.history_["seconds"])  # without the first, which warms up
    told = {"seconds": float(np.median(seconds)), "bound": model.history_["bound"]}
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(told))
    if "RANK" in os.environ:
        dist.destroy_process_group()


def processes(quick: bool) -> str:
    """Time epochs of one and of two processes."""
    group = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    lines = []
    for repeat in range(1 if quick else 5):
        for rows in STEPS_OF[:1] if quick else STEPS_OF:
            for n, way in ((1, []), (2, group)):
                done = subprocess.run(
                    [sys.executable, *way, __file__, "share", str(rows)],
                    capture_output=True,
                    text=True,
                    check=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
                told = json.loads(done.stdout.splitlines()[-1])
                cell = {"rows": rows, "repeat": repeat, "processes": n}
                lines.append({**cell, "seconds": told["seconds"], "bound": told["bound"][-1]})
    frame = pd.DataFrame(lines)
    write("processes", frame, quick)
    wide = frame.pivot(index=["rows", "repeat"], columns="processes", values="seconds")
    medians = wide.assign(ratio=wide[1] / wide[2]).groupby("rows").median()
    bounds = frame.groupby(["rows", "processes"])["bound"].mean().unstack()
    told = pd.DataFrame(
        {
            "one process, s": medians[1].map("{:.2f}".format),
            "two, s": medians[2].map("{:.2f}".format),
            "throughput": medians["ratio"].map("{:.2f}".format),
            "bound of one": bounds[1].map("{:.3f}".format),
            "of two": bounds[2].map("{:.3f}".format),
        }
    )
    n_pairs = frame["repeat"].nunique()
    return markdown(told, "rows a step") + (
        f"\nAn epoch of 20,000 x 20, width 256, one thread each: medians over {n_pairs} "
        "interleaved pairs of fits. Throughput: that of two processes over that of one. Bounds: "
        "after four epochs.\n"
    )


def place(name: str, quick: bool, device: str = "cpu") -> Path:
    """Return where the table of a part lies, without what its name ends in."""
    where = "" if device == "cpu" else f"_{device}"
    return HERE / f"speed_{name}{where}{'_quick' if quick else ''}"


def write(name: str, frame: pd.DataFrame, quick: bool, device: str = "cpu") -> None:
    """Keep the lines of a table."""
    path = place(name, quick, device).with_suffix(".csv")
    frame.to_csv(path, index=False, float_format="%.5g")


def peak_mib() -> float:
    """Return the most memory that this process has held since it was last asked."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not be used again unseen
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    return float(peak.split()[1]) / 1024


def complete_one(columns: str, limit: float, n_columns: int) -> None:
    """Complete a row under a limit and print what it took: in a process of its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) @ rng.normal(size=(3, n_columns))
    x += rng.normal(size=x.shape)
    options: dict[str, Any] = {}
    if columns == "shapes learned":
        x, options = np.exp(x / 3), {"learn_shapes": True}
    elif columns == "bounds":
        options = {"min_value": -10.0, "max_value": 10.0}
    holed = np.where(rng.random(x.shape) < 0.3, np.nan, x)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    imputer = MissSIWAEImputer(max_iter=1, random_state=0, **options).fit(holed)
    with sklearn.config_context(working_memory=0.1):
        imputer.transform(holed[:1])  # what the first call takes anyway
    peak_mib()
    before = peak_mib()
    with sklearn.config_context(working_memory=limit):
        imputer.transform(holed[:1])
    print(json.dumps({"mib": peak_mib() - before}))


def memory(quick: bool) -> str:
    """Measure what draws take under limits, each in a process of its own."""
    n_columns = 100 if quick else 1000
    limits = [1024.0, 32.0] if quick else [1024.0, 128.0, 32.0]
    lines = []
    for columns in ("Normal", "shapes learned", "bounds"):
        for limit in limits:
            command = [sys.executable, __file__, "complete", columns, str(limit), str(n_columns)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            lines.append({"columns": columns, "limit": limit, **found})
    frame = pd.DataFrame(lines)
    write("memory", frame, quick)
    wide = frame.pivot(index="columns", columns="limit", values="mib")[limits]
    wide = wide.reindex(frame["columns"].drop_duplicates())
    wide.columns = [f"{limit:.0f} MiB" for limit in limits]
    return markdown(wide.map("{:.0f}".format), "columns") + (
        f"\nMiB that `transform` of a row of {n_columns:,} columns takes for its 1,000 draws, by "
        "scikit-learn's `working_memory`; one thread."
    )


PARTS = {
    "steps": steps,
    "tables": tables,
    "serving": serving,
    "processes": processes,
    "memory": memory,
}


def main() -> None:
    """Time a part, and write its table."""
    if sys.argv[1:2] == ["one"]:
        fit_one(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
        return
    if sys.argv[1:2] == ["complete"]:
        complete_one(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
        return
    if sys.argv[1:2] == ["share"]:
        share(int(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS), help="what to time")
    parser.add_argument("--quick", action="store_true", help="few rounds, small tables")
    parser.add_argument("--shapes", nargs="+", help="of tables, such as 1000x10; all without it")
    parser.add_argument("--methods", nargs="+", choices=TIMED, help="of tables; all without it")
    parser.add_argument("--device", default="cpu", help="of steps, tables and serving")
    options = parser.parse_args()
    more: dict[str, Any] = {}
    if options.part in ("steps", "tables", "serving"):
        more["device"] = options.device
    elif options.device != "cpu":
        parser.error(f"{options.part} is measured on the CPU alone.")
    if options.part == "tables":
        more |= {"chosen": options.shapes, "methods": options.methods}
    text = f"{PARTS[options.part](options.quick, **more)} {versions()}"
    if options.device != "cpu":
        text += f" Device: {torch.cuda.get_device_name(options.device)}."
    place(options.part, options.quick, options.device).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
