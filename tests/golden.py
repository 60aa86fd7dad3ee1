"""Compare the results of all estimators, bit for bit, before and after a move of the code.

    python tests/golden.py FILE          write FILE where it does not exist, else compare with it

Results depend on the machine: both runs must be on one.
"""

import hashlib
import json
import pathlib
import sys
import time
import warnings

import numpy as np
import pandas as pd

import skmissvae
from skmissvae import VAEDensityEstimator

IMPUTERS = ["MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE", "MissSIWAE", "DeMissVAE"]


def tables():
    """Return small tables by name, with complete, incomplete and empty rows."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 2))
    X = z @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(60, 5))
    X[rng.random(X.shape) < 0.3] = np.nan
    X[0], X[1] = np.arange(5.0), np.nan
    mixed = pd.DataFrame(
        {
            "income": np.exp(z[:, 0]),
            "zeros": np.where(z[:, 1] < 0, 0.0, z[:, 1]),
            "count": rng.poisson(np.exp(1 + 0.5 * z[:, 0])).astype(float),
            "yes": (z[:, 0] > 0).astype(float),
            "size": pd.Categorical.from_codes(
                (z[:, 1] > 0).astype(int) + (z[:, 1] > 1), ["s", "m", "l"], ordered=True
            ),
            "city": np.array(["Rome", "Oslo", "Bonn"])[(z[:, 0] > 0.5).astype(int) + (z[:, 1] > 0)],
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.round(30 * z[:, 0]), "D"),
        }
    )
    mask = rng.random(mixed.shape) < 0.25
    mask[0], mask[1] = False, True
    mixed = mixed.mask(mask)
    images = np.clip(rng.random((60, 1)) * rng.random((60, 30)), 0, 1)
    images[rng.random(images.shape) < 0.3] = np.nan
    return {"numeric": X, "mixed": mixed, "images": images}


def digest(value):
    """Return a hash of arrays and frames."""
    if isinstance(value, pd.DataFrame):
        text = value.to_csv(float_format="%.17g") + str(dict(value.dtypes))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
    array = np.ascontiguousarray(value)
    content = array.tobytes() if array.dtype != object else str(array.tolist()).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def results(estimator, X):
    """Yield (method, hash) of a fitted estimator."""
    yield "score_samples", digest(estimator.score_samples(X))
    yield "effective_sample_size", digest(estimator.effective_sample_size(X))
    yield "sample", digest(estimator.sample(7, random_state=3))
    yield "encode", digest(estimator.encode(X))
    yield "history", digest(np.array(estimator.history_["bound"]))
    if hasattr(estimator, "transform"):
        yield "transform", digest(estimator.transform(X))
        yield "one row", digest(estimator.transform(X[5:6]))
        for i, table in enumerate(estimator.impute(X, 3, random_state=1)):
            yield f"impute {i}", digest(table)
        yield "cell_distribution", digest(estimator.cell_distribution(X[:20]))
        for estimate in ("median", "mode", "draw"):
            name = "strategy" if "strategy" in estimator.get_params() else "estimate"
            estimator.set_params(**{name: estimate})
            yield estimate, digest(estimator.transform(X[:20]))


def cases():
    """Yield (name, estimator, table name)."""
    small = {"max_iter": 3, "n_hidden": 16, "random_state": 0, "n_importance_draws": 150}
    for name in IMPUTERS:
        make = getattr(skmissvae, f"{name}Imputer")
        for table in ("numeric", "mixed"):
            yield f"{name} {table}", make(**small), table
    make = skmissvae.MissSIWAEImputer
    for table in ("numeric", "mixed"):
        yield f"density {table}", VAEDensityEstimator(**small), table
        yield f"shapes {table}", make(**small, learn_shapes=True), table
        yield f"models {table}", make(**small, n_bootstrap=2), table
        yield f"calibrated {table}", make(**small, calibrate=True), table
        yield f"default draws {table}", make(**small | {"n_importance_draws": 1000}), table
        yield f"few draws {table}", make(**small | {"n_importance_draws": 20}), table
        yield f"bounds {table}", make(**small, min_value=-0.5), table
        yield f"student {table}", make(**small, prior="student_t", likelihood="student_t"), table
    for sampler in ("lair", "metropolis", "pseudo_gibbs"):
        yield sampler, make(**small, sampler=sampler), "numeric"
    yield "early stopping", make(**small | {"max_iter": 12}, early_stopping=True), "numeric"
    yield "defaults", make(n_hidden=16, random_state=0), "numeric"
    image = False
    if image:
        yield "images", make(**small, image_shape=(5, 6)), "images"
    else:
        from skmissvae import ConvNetwork

        yield "images", make(**small, network=ConvNetwork((5, 6))), "images"
    yield "pixels", make(**small, likelihood="continuous_bernoulli"), "images"


def extra(X):
    """Yield (name, hash) of fits that are not one call of fit."""
    small = {"max_iter": 3, "n_hidden": 16, "random_state": 0, "n_importance_draws": 50}
    for name in ("MissSIWAE", "DeMissVAE"):
        make = getattr(skmissvae, f"{name}Imputer")
        one = make(**small).partial_fit(X).partial_fit(X[10:])
        yield f"partial_fit {name}", digest(one.transform(X))
        one = make(**small, warm_start=True).fit(X)
        yield f"warm_start {name}", digest(one.fit(X).transform(X))
        yield f"refit_encoder {name}", digest(one.refit_encoder(X).transform(X))
    one = skmissvae.MissSIWAEImputer(**small).fit(
        skmissvae.Chunks.from_array(np.tile(X, (3, 1)), 50)
    )
    yield "chunks", digest(one.transform(X))
    rng = np.random.default_rng(1)
    Y = rng.normal(size=(120, 4))
    Y[:, 1] += Y[:, 0]
    Y[rng.random(Y.shape) < 0.3] = np.nan
    one = skmissvae.MVAEImputer(n_hidden=16, random_state=0, n_importance_draws=50).fit(Y)
    yield "starts", digest(one.transform(Y)) + one.init_


def main():
    """Write or compare."""
    warnings.simplefilter("ignore")
    start, found, data = time.time(), {}, tables()
    for name, estimator, table in cases():
        X = data[table]
        for method, value in results(estimator.fit(X), X):
            found[f"{name}: {method}"] = value
    found |= dict(extra(data["numeric"]))
    path = pathlib.Path(sys.argv[1])
    if not path.exists():
        path.write_text(json.dumps(found, indent=1))
        print(f"{len(found)} results written in {time.time() - start:.0f} s")
        return
    known = json.loads(path.read_text())
    changed = [name for name in known if found.get(name) != known[name]]
    print(
        f"{len(changed)} of {len(known)} results changed in {time.time() - start:.0f} s",
        *changed[:40],
        sep="\n  ",
    )
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
