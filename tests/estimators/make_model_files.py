"""Write files of fitted estimators of this version, and their outputs, for later versions to load.

usage: python tests/estimators/make_model_files.py

Run it at a release. It writes the archive ``model_files/VERSION.zip`` and refuses one that exists:
files of released versions never change.
"""

import datetime
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import skops.io
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from kill_fits import Killed, kill_after

from skmissvae import (
    SKOPS_TYPES,
    AdamW,
    Checkpoint,
    ConvNetwork,
    DeMissVAEImputer,
    EarlyStopping,
    MissIWAEImputer,
    MissSIWAEImputer,
    MissSVAEImputer,
    MissVAEImputer,
    MIWAEImputer,
    MVAEImputer,
    ResidualNetwork,
    VAEDensityEstimator,
    VAEOutlierDetector,
    __version__,
)
from skmissvae.inference import LAIR
from skmissvae.training.records import RunRecord
from skmissvae.vae import StudentTPrior

FOLDER = Path(__file__).with_name("model_files")
N = 30


def missing(i, j, step=4):
    """Return whether the cell of row i and column j is missing."""
    return (i + 3 * j) % step == 1


def numbers():
    """Return an array of four correlated columns with missing cells."""
    i = np.arange(N)[:, None]
    X = np.sin(1.7 * i + 0.3 * np.arange(4)) * [1.0, 20.0, 0.05, 3.0] + [0.0, 100.0, 1.0, -7.0]
    return np.where(missing(i, np.arange(4)), np.nan, X)


def columns():
    """Return lists of cells of different kinds, None where missing."""
    day = datetime.datetime(2020, 1, 1)
    values = {
        "real": [np.sin(1.7 * i) for i in range(N)],
        "skewed": [float(np.exp(2 * np.sin(1.3 * i))) for i in range(N)],
        "count": [i * i % 7 for i in range(N)],
        "integer": [i * i % 11 - 5 for i in range(N)],
        "binary": [i % 3 == 0 for i in range(N)],
        "category": ["red", "green", "blue"] * 10,
        "rank": ["low", "middle", "high"] * 10,
        "time": [day + datetime.timedelta(hours=5 * i) for i in range(N)],
        "constant": [1.5] * N,
    }
    return {
        name: [None if missing(i, j, 5) else value for i, value in enumerate(cells)]
        for j, (name, cells) in enumerate(values.items())
    }


def pandas_frame():
    """Return the columns as a data frame of pandas."""
    types = {"count": "Int64", "integer": "Int16", "binary": "boolean", "time": "datetime64[us]"}
    types["category"] = pd.CategoricalDtype(pd.Index(["red", "green", "blue"], dtype=object))
    ranks = pd.Index(["low", "middle", "high"], dtype=object)
    types["rank"] = pd.CategoricalDtype(ranks, ordered=True)
    frame = {name: pd.Series(cells, dtype=object) for name, cells in columns().items()}
    frame["text"] = frame["category"]
    return pd.DataFrame(frame).astype({"real": float, "skewed": float, "constant": float, **types})


def arrow_frame():
    """Return a data frame of pandas with types of pyarrow."""
    types = {"real": "double[pyarrow]", "count": "int64[pyarrow]", "category": "string[pyarrow]"}
    cells = columns()
    return pd.DataFrame({name: pd.Series(cells[name], dtype=types[name]) for name in types})


def polars_frame():
    """Return the columns as a data frame of polars."""
    types = {"rank": pl.Enum(["low", "middle", "high"]), "category": pl.Categorical}
    return pl.DataFrame(columns(), schema_overrides={"count": pl.UInt8, **types})


def objects():
    """Return an array of objects: numbers, words and booleans."""
    cells = columns()
    return np.array([cells[name] for name in ("real", "category", "binary")], object).T


def fast(cls, **options):
    """Return an estimator with few weights and epochs."""
    few = {"n_hidden": 4, "n_blocks": 1, "n_latents": 2, "n_importance_draws": 40, "max_iter": 3}
    return cls(**{**few, "device": "cpu", "random_state": 0, **options})


#: Estimators to fit, and functions that return their tables, by the name of the file.
CASES = {
    "MVAE": (fast(MVAEImputer), numbers),
    "MIWAE": (fast(MIWAEImputer, optimizer=AdamW(weight_decay=0.1)), numbers),
    "MissVAE": (fast(MissVAEImputer, K=2), numbers),
    "MissSVAE": (fast(MissSVAEImputer, K=2, prior="student_t"), numbers),
    "MissIWAE": (fast(MissIWAEImputer, K=2, prior="mixture"), numbers),
    "MissSIWAE": (fast(MissSIWAEImputer, K=2, likelihood={0: "student_t"}), numbers),
    "DeMissVAE": (fast(DeMissVAEImputer, K=2, sampler=LAIR(n_steps=4), warm_start=True), numbers),
    "density": (fast(VAEDensityEstimator, K=2, early_stopping=EarlyStopping()), numbers),
    "outliers": (VAEOutlierDetector(fast(VAEDensityEstimator), contamination=0.1), numbers),
    "class as prior": (fast(MVAEImputer, prior=StudentTPrior), numbers),
    "no linear path": (fast(MVAEImputer, network=ResidualNetwork(linear_path=False)), numbers),
    "images": (fast(MVAEImputer, network=ConvNetwork((2, 2)), init="random"), numbers),
    "bootstrap": (fast(MissSIWAEImputer, K=2, n_bootstrap=2), numbers),
    "calibration": (fast(MVAEImputer, calibrate=True), numbers),
    "shapes": (fast(MVAEImputer, learn_shapes=True), pandas_frame),
    "bounds": (fast(MVAEImputer, add_indicator=True, min_value=[-1, 90, 0, -99]), numbers),
    "float32": (fast(MVAEImputer), lambda: numbers().astype(np.float32)),
    "pandas": (fast(MissSIWAEImputer, K=2), pandas_frame),
    "pyarrow": (fast(MVAEImputer), arrow_frame),
    "polars": (fast(MVAEImputer), polars_frame),
    "objects": (fast(MVAEImputer), objects),
}

#: Cases that are written as files of skops, too.
SKOPS_CASES = ("DeMissVAE", "outliers", "pandas", "images")


def fitted(name):
    """Return the fitted estimator of a case, and its table."""
    estimator, make = CASES[name]
    return estimator.fit(make()), make()


def outputs(estimator, X):
    """Return the outputs for a table as arrays of numbers or strings, by name."""
    results = {"score_samples": as_array(estimator.score_samples(X))}
    if hasattr(estimator, "transform"):
        tables = [estimator.transform(X), estimator.impute(X, 2)[1]]
        for method, table in zip(("transform", "impute"), tables, strict=True):
            is_frame = isinstance(table, pd.DataFrame | pl.DataFrame)
            for j, name in enumerate(table.columns if is_frame else range(table.shape[1])):
                cells = table[name] if is_frame else table[:, j]
                results[f"{method} {name}"] = as_array(list(cells))
    if getattr(estimator, "calibration_", None) is not None:
        results["calibration"] = estimator.calibration_.select_dtypes("number").to_numpy()
    return results


def as_array(cells):
    """Return cells as an array of numbers (dates in seconds) or of strings."""
    if isinstance(cells[0], datetime.datetime):
        cells = [(cell - datetime.datetime(2020, 1, 1)).total_seconds() for cell in cells]
    array = np.array(cells)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def with_checkpoint(path):
    """Return an estimator whose fit writes a checkpoint."""
    estimator = fast(MissSIWAEImputer, K=2, max_iter=6)
    return estimator.set_callbacks(Checkpoint(path, every_n_epochs=1))


def write(folder):
    """Write the files to a folder."""
    for name in CASES:
        estimator, X = fitted(name)
        estimator.save(folder / f"{name}.skmissvae")
        np.savez(folder / f"{name}.npz", **outputs(estimator, X))
        if name in SKOPS_CASES:
            skops.io.dump(estimator, folder / f"{name}.skops")
    save = RunRecord.save
    kill_after(3, setattr)  # of six epochs
    try:
        with_checkpoint(folder / "stopped.checkpoint").fit(numbers())
    except Killed:
        pass
    finally:
        RunRecord.save = save
    estimator = with_checkpoint(folder / "not stopped").fit(numbers())
    np.savez(folder / "stopped.npz", **outputs(estimator, numbers()))
    (folder / "skops_types.txt").write_text("\n".join(SKOPS_TYPES) + "\n")


def main():
    """Write the archive of this version."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    path = FOLDER / f"{__version__}.zip"
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        write(Path(folder))
        for file in sorted(Path(folder).iterdir()):
            archive.write(file, file.name)
    n_files, size = len(archive.namelist()), path.stat().st_size / 1000
    sys.stdout.write(f"{path}: {n_files} files, {size:.0f} kB\n")


if __name__ == "__main__":
    main()
