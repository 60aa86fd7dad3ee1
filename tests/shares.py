"""What each process of ``test_distributed.py`` does: fit an imputer to its share of a table."""

import sys

import numpy as np
import torch
import torch.distributed as dist

from skmissvae import Chunks, DeMissVAEImputer, MissSIWAEImputer, MVAEImputer
from skmissvae.training.distributed import DistributedLoader
from skmissvae.training.loaders import InMemoryLoader
from skmissvae.training.objectives import Batch

N = 900
SMALL = {"n_hidden": 16, "n_blocks": 1, "n_importance_draws": 50, "batch_size": 32}


def table():
    """Return a table with holes, and the same without."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 1)) * [1.0, -0.5, 2.0] + 0.1 * rng.normal(size=(N, 3)) + 5
    return np.where(rng.random(x.shape) < 0.3, np.nan, x), x


def imputer(**options):
    """Return a small imputer."""
    return MissSIWAEImputer(**SMALL, **{"max_iter": 15, "random_state": 0, **options})


def refused(call):
    """Return the words of a ValueError."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return "nothing"


def main(folder):
    """Fit in every way, and keep what comes of it."""
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    rank = dist.get_rank()
    X, _ = table()
    share = X[:600] if rank == 0 else X[600:]  # one has twice as many as the other
    found = {}
    for name, data, options in (
        ("array", share, {}),
        ("stopping", share, {"early_stopping": True, "n_iter_no_change": 3}),
        ("chunks", Chunks.from_array(share, 100, sample_size=200), {"random_state": None}),
        ("stream", Chunks.from_array(share, 100, sample_size=200), {"early_stopping": True}),
    ):
        fitted = imputer(**options).fit(data)
        weights = torch.cat([w.flatten() for w in fitted.vae_.state_dict().values()])
        found |= {
            f"{name}_weights": weights.numpy(),
            f"{name}_bound": fitted.history_["bound"],
            f"{name}_completed": fitted.transform(X[:100]),
        }
    stream = DistributedLoader(
        InMemoryLoader(Batch(*map(torch.from_numpy, (share, ~np.isnan(share), share))))
    )
    gradient = torch.tensor([3.0 + 6 * rank, -rank])
    stream.average(torch.zeros(()), [gradient])
    found["average"] = gradient.clone()
    found["mean"] = stream.mean(torch.tensor(3.0 + 6 * rank))
    stream.average(torch.tensor([0.0, np.inf])[rank], [gradient])  # of one process alone
    found["spoiled"] = gradient
    found["none"] = refused(lambda: imputer().fit(share if rank == 0 else X[:0]))
    found["demiss"] = refused(lambda: DeMissVAEImputer(**SMALL).fit(share))
    found["models"] = refused(lambda: MVAEImputer(**SMALL, n_models=2).fit(share))
    np.savez(f"{folder}/{rank}.npz", **found)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
