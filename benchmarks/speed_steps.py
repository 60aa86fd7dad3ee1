"""Time of training steps of all methods: ``python benchmarks/speed.py steps``."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import markdown
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from skmissvae import ResidualNetwork
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


def wait(device: str) -> None:
    """Wait until a device has finished all operations, before a clock is read."""
    if device != "cpu":
        torch.accelerator.synchronize()


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
    first = rows.part(slice(size))
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
    _, completed_vae = spec((*setting[:-1], False), K).build_pair(0, has_second=True)
    imputations = ImputationStore(rows, K, 0, generator, rows)
    objective = DeMissObjective(imputations, LAIR(n_replenish=0))
    cases["DeMissVAE"] = steps(completed_vae.to(device), objective)
    return cases


def steps(quick: bool, device: str) -> tuple[pd.DataFrame, str]:
    """Time training steps."""
    lines = []
    n_rounds = 1 if quick else 15
    for n_threads in (1, 2) if device == "cpu" and not quick else (1,):
        torch.set_num_threads(n_threads)
        for name, setting in SETTINGS.items():
            n_steps = max(3, (5 if quick else 40) * 64 // setting[0])
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
    text = report(frame, list(cases), n_rounds)
    return frame, text


def report(frame: pd.DataFrame, methods: list[str], n_rounds: int) -> str:
    """Return the measurements as a Markdown table."""
    numbers = frame[["ms", "products_ms", "ratio"]].to_numpy()
    frame = frame.assign(
        text=[f"{ms:.1f} / {products:.1f} = {ratio:.2f}" for ms, products, ratio in numbers],
        column=frame["setting"] + ", " + frame["threads"].astype(str) + " threads",
    )
    table = frame.pivot(index="method", columns="column", values="text")
    table = table.loc[methods, list(frame["column"].drop_duplicates())]
    return (
        markdown(table, "method")
        + "\nMilliseconds of a training step / of its matrix products alone by torch.mm = ratio: "
        f"medians over {n_rounds} interleaved rounds. K = 5, five draws per row, half of the cells "
        "missing. Columns, latents and blocks: 20, 10, 2; 5, 2, 3; 10, 10, 2. The third setting "
        "has dropout, linear paths and the posterior of factor analysis."
    )
