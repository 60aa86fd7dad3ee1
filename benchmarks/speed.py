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
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from common import markdown, versions, write_page
from speed_steps import steps
from speed_tables import TIMED, nonlinear_table, tables

from skmissvae import MissSIWAEImputer, VAEDensityEstimator

HERE = Path(__file__).parent


# -- serving ---------------------------------------------------------------------------------------


def serving(quick: bool, device: str) -> tuple[pd.DataFrame, str]:
    """Time transform, impute and score_samples of a fitted model."""
    incomplete, _ = nonlinear_table(1000, 20)
    new_rows, _ = nonlinear_table(200 if quick else 2000, 20, seed=1)
    lines = []
    for K in (1, 5) if quick else (1, 5, 20):
        method = {"objective": "MIWAE"} if K == 1 else {"K": K}
        common: dict[str, Any] = {"random_state": 0, "max_iter": 3, "device": device}
        imputer = MissSIWAEImputer(K=K, **common).fit(incomplete)
        density = VAEDensityEstimator(**method, **common).fit(incomplete)
        for n_draws in (100, 1000) if quick else (10, 100, 1000, 10_000):
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
    slopes = []
    for by in ("draws", "K"):
        part = frame[
            (frame.call == "transform") & (frame.draws == 1000 if by == "K" else frame.K == 5)
        ]
        slope = np.polyfit(np.log(part[by]), -np.log(part.rows_per_second), 1)[0]
        slopes.append(f"{slope:.2f} in {by}")
    numbers = frame[["rows_per_second", "ms_of_one_row"]].to_numpy()
    models = [f"K = {k}, {n:,} draws" for k, n in frame[["K", "draws"]].to_numpy()]
    texts = [f"{rate:,.0f}, {ms:.1f} ms" for rate, ms in numbers]
    table = frame.assign(model=models, text=texts).pivot(
        index="model", columns="call", values="text"
    )
    return frame, (
        markdown(table.loc[list(dict.fromkeys(models))], "model")
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


def processes(quick: bool) -> tuple[pd.DataFrame, str]:
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
    return frame, markdown(table, "rows per step") + (
        "\nTime of an epoch of 20,000 rows and 20 columns, width 256, one thread per process: "
        f"medians over {n_pairs} interleaved pairs of fits. Bounds after four epochs."
    )


# -- output ----------------------------------------------------------------------------------------


def output_path(part: str, quick: bool, device: str = "cpu") -> Path:
    """Return the path of the files of a part, without the extension."""
    suffix = "" if device == "cpu" else f"_{device}"
    return HERE / f"speed_{part}{suffix}{'_quick' if quick else ''}"


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


def memory(quick: bool) -> tuple[pd.DataFrame, str]:
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
    wide = frame.pivot(index="columns", columns="limit", values="mib")[limits]
    wide = wide.reindex(frame["columns"].drop_duplicates())
    wide.columns = [f"{limit:.0f} MiB" for limit in limits]
    return frame, markdown(wide.map("{:.0f}".format), "columns") + (
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
    """Measure a part, and write its CSV file and page."""
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
    path = output_path(options.part, options.quick, options.device).with_suffix(".csv")
    if options.part == "tables":
        arguments["path"] = path
    frame, text = PARTS[options.part](quick=options.quick, **arguments)
    frame.to_csv(path, index=False, float_format="%.5g")
    text = f"{text} {versions()}"
    if options.device != "cpu":
        text += f" Device: {torch.cuda.get_device_name(options.device)}."
    write_page(path, text)


if __name__ == "__main__":
    main()
