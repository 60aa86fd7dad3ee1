"""Kill fits at random moments, and compare them with fits that were not killed.

usage: python kill_fits.py NUMBER SEED [ROWS]

Fits run in a process that is killed (SIGKILL) after a random time and started again, until the fit
is complete. Prints how many were killed how often and how many have the same bits.
"""

import functools
import itertools
import multiprocessing
import pickle
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from estimator_cases import outputs, table, tiny

from skmissvae import (
    Checkpoint,
    DeMissVAEImputer,
    EarlyStopping,
    MissSIWAEImputer,
    MissVAEImputer,
    VAEDensityEstimator,
)
from skmissvae._utils.files import replaced_file
from skmissvae.training.records import RunRecord

#: Functions that return an estimator, and a table, by name.
CASES = {
    "MissSIWAE": (lambda: tiny(MissSIWAEImputer, dropout=0.2), table()),
    "MissVAE": (lambda: tiny(MissVAEImputer, init="random", batch_size=7), table()),
    "DeMissVAE": (lambda: tiny(DeMissVAEImputer, dropout=0.2, max_iter=4), table()),
    "CVI-VAE": (lambda: tiny(VAEDensityEstimator, objective="CVI-VAE", max_iter=4), table()),
    "density": (lambda: tiny(VAEDensityEstimator, early_stopping=True, max_iter=6), table()),
    "early stopping": (
        lambda: tiny(
            VAEDensityEstimator,
            early_stopping=EarlyStopping(n_iter_no_change=2, validation_fraction=0.3),
            learning_rate=0.2,
            max_iter=30,
        ),
        table(),
    ),
    "DeMissVAE, early stopping": (
        lambda: tiny(
            DeMissVAEImputer,
            early_stopping=EarlyStopping(n_iter_no_change=2, validation_fraction=0.3),
            learning_rate=0.2,
            max_iter=12,
        ),
        table(),
    ),
    "bootstrap": (lambda: tiny(MissSIWAEImputer, n_bootstrap=2, dropout=0.1, max_iter=2), table()),
    "calibrated": (
        lambda: tiny(MissSIWAEImputer, n_bootstrap=2, calibrate=True, early_stopping=True),
        table(),
    ),
}


class Killed(Exception):
    """The end of a fit."""


def kill_after(n_epochs, setattr):
    """Raise an error after a number of epochs."""
    n_done = []
    save = RunRecord.save

    def save_and_stop(record, state, generators):
        save(record, state, generators)
        n_done.append(state)
        if len(n_done) == n_epochs:
            raise Killed

    setattr(RunRecord, "save", save_and_stop)


def results(estimator, X):
    """Return all results of a fit that do not depend on time."""
    values = outputs(estimator, X)
    models = [estimator.model_, *getattr(estimator, "models_", [])]
    parts = [vae for m in models for vae in (m.vae, m.completed_vae) if vae is not None]
    weights = [w.numpy().ravel() for vae in parts for w in vae.state_dict().values()]
    values["weights"] = np.concatenate(weights).astype(np.float64)
    for name, history in estimator.history_.items():
        if name != "seconds":
            values[f"history, {name}"] = np.array(history)
    assert np.all(np.diff(estimator.history_["seconds"]) >= 0)
    numbers = [(m.n_iter, m.validation_score, *m.skipped_steps) for m in models]
    values["numbers"] = np.array(numbers)
    if getattr(estimator, "calibrate", False):
        values["cells"] = estimator.cell_distribution(X).select_dtypes("number").to_numpy()
    if estimator.model_.imputations is not None:
        values["imputations"] = estimator.model_.imputations["x"]
    return values


@functools.cache
def fitted(name):
    """Return the results of a fit that is not stopped."""
    make, X = CASES[name]
    return results(make().fit(X), X)


def large(seed, n_rows):
    """Return an estimator that takes some seconds to fit to 120 rows, and its table."""
    classes = [MissSIWAEImputer, DeMissVAEImputer, VAEDensityEstimator]
    cls, options = classes[seed % 3], {"max_iter": 10, "n_importance_draws": 40, "random_state": 0}
    if cls is not VAEDensityEstimator:
        options |= {"n_bootstrap": 1, "calibrate": True}
    return cls(**options, n_hidden=32, dropout=0.1), table(n_rows, seed=seed)


def fit(path, output, seed, n_rows):
    """Fit with a checkpoint, and write the results."""
    estimator, X = large(seed, n_rows)
    if path is not None:
        estimator.set_callbacks(Checkpoint(path, every_n_epochs=1))
    start = time.perf_counter()
    estimator.fit(X)
    content = time.perf_counter() - start, results(estimator, X)
    with replaced_file(output) as file:
        file.write(pickle.dumps(content))


def run_until_complete(case, path, output, limits, n_rows):
    """Kill a fit after each time limit until it is complete; return how often, and with a file."""
    n_kills = n_with_file = 0
    # a fork needs no imports; it is safe, as this process has not started threads
    processes = multiprocessing.get_context("fork")
    while not output.exists():
        process = processes.Process(target=fit, args=(path, output, case, n_rows))
        process.start()
        process.join(next(limits))
        if process.is_alive():
            process.kill()
            process.join()
            n_kills, n_with_file = n_kills + 1, n_with_file + path.exists()
        else:
            assert process.exitcode == 0, f"fit {output.stem} failed"
    return n_kills, n_with_file


def main(n, seed, n_rows=120):
    """Kill fits and print what they give."""
    rng, n_same, n_kills = random.Random(seed), 0, np.zeros(2, int)
    expected, durations = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n):
            output, path, case = Path(folder) / f"{i}.pickle", Path(folder) / f"{i}.fit", i % 3
            if case not in expected:
                run_until_complete(case, None, output, itertools.repeat(None), n_rows)
                durations[case], expected[case] = pickle.loads(output.read_bytes())
                output.unlink()
            # the time rises, so that a fit that makes no progress between two kills ends
            limits = (durations[case] * (rng.random() + 0.6 * j) for j in itertools.count())
            kills = run_until_complete(case, path, output, limits, n_rows)
            _, values = pickle.loads(output.read_bytes())
            is_same = all(
                np.array_equal(values[name], value, equal_nan=True)
                for name, value in expected[case].items()
            )
            assert [p.name for p in Path(folder).iterdir() if ".fit" in p.name] == []
            n_same, n_kills = n_same + is_same, n_kills + kills
            sys.stdout.write(f"fit {i}: {kills[0]} kills, same bits: {is_same}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{n_kills[0]} kills, {n_kills[1]} of them with a checkpoint\n")
    sys.stdout.write(f"{n_same} of {n} fits have the same bits\n")
    return n_same == n


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
