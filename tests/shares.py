"""What each process of ``test_distributed.py`` does: fit imputers to its share of a table."""

from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from training.kill_fits import Killed, kill_after

from skmissvae import (
    Checkpoint,
    Chunks,
    DeMissVAEImputer,
    EarlyStopping,
    MissSIWAEImputer,
    MVAEImputer,
)
from skmissvae.training.loaders import DistributedLoader, InMemoryLoader
from skmissvae.training.objectives import Batch
from skmissvae.training.optim import FlatParameters
from skmissvae.training.records import RunRecord

N = 480
SMALL = {"n_hidden": 16, "n_blocks": 1, "n_importance_draws": 50, "batch_size": 64}


def table():
    """Return a table with missing cells, and the complete table."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 1)) * [1.0, -0.5, 2.0] + 0.1 * rng.normal(size=(N, 3)) + 5
    return np.where(rng.random(x.shape) < 0.3, np.nan, x), x


def imputer(**options):
    """Return a small imputer."""
    return MissSIWAEImputer(**SMALL, **{"max_iter": 8, "random_state": 0, **options})


def error_message(call):
    """Return the message of an error, "none" if there is none."""
    try:
        call()
    except (ValueError, RuntimeError) as error:
        return str(error)
    return "none"


def continued(share, path, n_epochs, options):
    """Return an imputer whose fit is stopped after every ``n_epochs`` epochs."""
    save = RunRecord.save
    while True:
        fitted = imputer(**options).set_callbacks(Checkpoint(path, every_n_epochs=1))
        kill_after(n_epochs, setattr)
        try:
            return fitted.fit(share)
        except Killed:
            pass
        finally:
            RunRecord.save = save


def refused(share, path):
    """Fit with the checkpoint of another fit."""
    if dist.get_rank() == 0:
        Path(path).write_bytes(b"damaged")
    imputer().set_callbacks(Checkpoint(path)).fit(share)


def main(folder):
    """Fit imputers to arrays and chunks, and save the results in a folder."""
    torch.set_num_threads(1)
    rank = dist.get_rank()
    X, _ = table()
    share = X[:320] if rank == 0 else X[320:]  # the first process has twice as many rows
    results = {}
    for name, data, options in (
        ("array", share, {}),
        ("stopping", share, {"early_stopping": EarlyStopping(n_iter_no_change=3)}),
        ("chunks", Chunks.from_array(share, 80, sample_size=160), {"random_state": None}),
        ("early chunks", Chunks.from_array(share, 80, sample_size=160), {"early_stopping": True}),
    ):
        with mock.patch.object(dist, "all_reduce", wraps=dist.all_reduce) as reduce:
            fitted = imputer(**options).fit(data)
        weights = torch.cat([w.flatten() for w in fitted.vae_.state_dict().values()])
        results |= {
            f"{name}_weights": weights.numpy(),
            f"{name}_bound": fitted.history_["bound"],
            f"{name}_completed": fitted.transform(X[:100]),
            f"{name}_exchanges": reduce.call_count,
        }
    options = {"dropout": 0.2, "early_stopping": EarlyStopping(n_iter_no_change=3)}
    path = f"{folder}/continued.checkpoint"
    fits = continued(share, path, 2, options), imputer(**options).fit(share)
    for name, fitted in zip(("continued", "expected"), fits, strict=True):
        weights = torch.cat([w.flatten() for w in fitted.vae_.state_dict().values()])
        results[name] = weights.numpy()
        results[f"{name}_bound"] = fitted.history_["validation_bound"]
    results["continued_files"] = Path(path).exists()
    results["refused"] = error_message(lambda: refused(share, f"{folder}/refused"))
    loader = DistributedLoader(
        InMemoryLoader(Batch(*map(torch.from_numpy, (share, ~np.isnan(share), share))))
    )
    gradient = torch.tensor([3.0 + 6 * rank, -rank])
    flat = FlatParameters([torch.nn.Parameter(torch.zeros(2))])
    loader.begin_epoch(N)
    flat.gradients[0].copy_(gradient)
    loader.average_gradients(torch.zeros(()), flat)
    results["average"] = flat.gradients[0].clone()
    results["mean"] = loader.mean(torch.tensor(3.0 + 6 * rank))
    loss = torch.tensor([0.0, np.inf])[rank]  # not finite in one of the processes
    loader.begin_epoch(N)
    loader.average_gradients(loss, flat)
    results["invalid"] = flat.gradients[0]
    results["no rows"] = error_message(lambda: imputer().fit(share if rank == 0 else X[:0]))
    results["DeMissVAE"] = error_message(lambda: DeMissVAEImputer(**SMALL).fit(share))
    results["bootstrap"] = error_message(lambda: MVAEImputer(**SMALL, n_bootstrap=2).fit(share))
    np.savez(f"{folder}/{rank}.npz", **results)
