"""Errors in one of two processes that fit together, at every place of a fit.

usage: python -m torch.distributed.run --standalone --nproc-per-node=2 process_errors.py FOLDER
       [NUMBER SEED]

In each case one process raises an error at a random call of a function of the fit, or gets Ctrl-C
there (once, or again while it reports the error) or while it waits for the other one. Both must
raise an error, keep their estimator, and give the same bits in the next fit. Writes the outcomes
of each process as JSON to the folder; NUMBER cases follow one case for each place and each way to
fail.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist

from skmissvae import Checkpoint, Chunks, EarlyStopping, MissSIWAEImputer
from skmissvae.estimators import base, imputer_base, preparation
from skmissvae.training import data, loaders, loop, processes
from skmissvae.training.callbacks import FitProgress
from skmissvae.training.objectives import BoundObjective
from skmissvae.training.optim import FlatParameters, Optimizer
from skmissvae.training.records import CheckpointFile, RunRecord

#: Functions in which the error is raised: their owner, name and largest number of a call.
PLACES = {
    "reading": (data, "draw_sample", 1),
    "schema": (preparation, "learn_schema", 1),
    "loader": (loaders.ChunkLoader, "_training_rows", 8),
    "initialization": (base, "fit_model", 1),
    "begin of an epoch": (FitProgress, "begin_epoch", 2),
    "step": (BoundObjective, "backward", 12),
    "step of the optimizer": (Optimizer, "step", 12),
    "end of the steps": (Optimizer, "end_epoch", 2),
    "evaluation": (loop, "evaluate", 2),
    "end of an epoch": (FitProgress, "end_epoch", 2),
    "save": (RunRecord, "save", 2),
    "write": (CheckpointFile, "write", 2),
    "end of the stage": (RunRecord, "finish_stage", 1),
    "exchange": (dist, "all_gather_object", 18),
    "end of the fit": (imputer_base.BaseImputer, "_fit_more_models", 1),
}


def incomplete():
    """Return the rows of this process: 90 and 60."""
    rng = np.random.default_rng(dist.get_rank())
    x = rng.normal(size=(90 - 30 * dist.get_rank(), 1)) + 0.3 * rng.normal(size=(1, 3))
    x = x + 0.1 * rng.normal(size=(len(x), 3))
    return np.where(rng.random(x.shape) < 0.2, np.nan, x)


def estimator(folder):
    """Return an imputer whose fit passes all places."""
    options = {"n_hidden": 8, "n_blocks": 1, "n_importance_draws": 20, "batch_size": 32}
    options |= {"early_stopping": EarlyStopping(n_iter_no_change=99), "device": "cpu"}
    imputer = MissSIWAEImputer(**options, init="random", max_iter=2, random_state=0)
    return imputer.set_callbacks(Checkpoint(f"{folder}/checkpoint", every_n_epochs=1))


def weights(imputer):
    """Return the weights of a fitted imputer."""
    return torch.cat([w.flatten() for w in imputer.vae_.state_dict().values()])


def ways_to_fail(stack):
    """Return functions that raise an error, by name; changes last until a stack is closed."""

    def fail(error):
        raise error

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    def interrupt_again():
        calls = [(loaders.DistributedLoader, "leave_epoch"), (FlatParameters, "release")]
        for owner, name in [*calls, (processes, "shortened")]:
            stack.enter_context(mock.patch.object(owner, name, interrupted(getattr(owner, name))))
        interrupt()

    def interrupted(function):
        def call(*args, **kwargs):
            interrupt()
            return function(*args, **kwargs)

        return call

    def interrupt_later():
        threading.Timer(0.05, interrupt).start()

    return {
        "error": lambda: fail(ValueError("of this case")),
        "memory": lambda: fail(MemoryError("of this case")),
        "device memory": lambda: fail(torch.OutOfMemoryError("of this case")),
        "exit": lambda: fail(SystemExit(3)),
        "interrupt": interrupt,
        "interrupt again": interrupt_again,
        "interrupt later": interrupt_later,
    }


def outcome(place, way, n_calls, rank, folder, expected):
    """Return what a fit does in this process if process ``rank`` fails at a place."""
    owner, name, _ = PLACES[place]
    function, calls = getattr(owner, name), itertools.count(1)

    def failing(*args, **kwargs):
        if next(calls) == n_calls:
            if dist.get_rank() == rank:
                ways_to_fail(stack)[way]()
            elif way == "interrupt later":
                time.sleep(0.2)
        return function(*args, **kwargs)

    imputer, error = estimator(folder), None
    imputer.vae_weights = expected
    before = dict(vars(imputer))
    with contextlib.ExitStack() as stack, mock.patch.object(owner, name, failing):
        try:
            imputer.fit(Chunks.from_array(incomplete(), 20, sample_size=40))
            time.sleep(0.1 if way == "interrupt later" else 0)
        except BaseException as caught:
            error = f"{type(caught).__name__}: {caught}"
    result = {"error": error, "is_unchanged": vars(imputer) == before}
    dist.barrier()
    if dist.get_rank() == 0:
        Path(f"{folder}/checkpoint").unlink(missing_ok=True)
    dist.barrier()
    again = imputer.fit(Chunks.from_array(incomplete(), 20, sample_size=40))
    return {**result, "next_fit_is_the_same": torch.equal(weights(again), expected)}


@mock.patch.object(imputer_base, "decoder_uncertainty", mock.Mock(return_value=None))
def main(folder, number=0, seed=0):
    """Run all cases, and write their outcomes."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rng = random.Random(int(seed))
    cases = [(place, "error", i % 2) for i, place in enumerate(PLACES)]
    cases += [("step", way, i % 2) for i, way in enumerate(ways_to_fail(None))]
    cases += [("step", "error", i // 2 % 2) for i in range(4)]
    cases += [("exchange", "device memory", i) for i in range(2)]
    for _ in range(int(number)):
        cases.append((rng.choice([*PLACES]), rng.choice([*ways_to_fail(None)]), rng.randrange(2)))
    outcomes = {}
    with tempfile.TemporaryDirectory() as temporary:
        paths = [temporary]
        dist.broadcast_object_list(paths)
        expected = weights(
            estimator(paths[0]).fit(Chunks.from_array(incomplete(), 20, sample_size=40))
        )
        for i, (place, way, rank) in enumerate(cases):
            n_calls = rng.randint(1, PLACES[place][2])
            if place == "write":
                rank = 0  # the only one that writes
            if place in ("end of the stage", "end of the fit") and way == "interrupt later":
                way = "interrupt"  # Ctrl-C in the last exchange is that of one process
            name = f"{i}: {way} at call {n_calls} of {place} in process {rank}"
            steps = {"cpu": 4 if i % 2 else 1}  # between two reads, as with GPUs and without
            with mock.patch.dict(loaders._STEPS_PER_READ, steps):
                outcomes[name] = outcome(place, way, n_calls, rank, paths[0], expected)
        dist.barrier()
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, f"{dist.get_rank()}.json").write_text(json.dumps(outcomes, indent=1))


if __name__ == "__main__":
    dist.init_process_group("gloo")
    main(*sys.argv[1:])
    dist.destroy_process_group()
