"""What adapted proposals do for rows whose importance weights are poor.

``python benchmarks/adapting.py`` fits imputers to half of the rows of tables of which half is
hidden, and completes and scores the other half by draws of the encoder alone, and, as is the rule,
by proposals that are adapted where weights are poor. Each run adds a line to ``adapting.csv``; runs
that are there are not done again.
"""

import argparse
import functools
import math
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import tables
from common import markdown, run_grid, versions
from sklearn.datasets import load_digits

from skmissvae import DeMissVAEImputer, MissSIWAEImputer
from skmissvae.inference import weights

TABLES = ("digits", "breast_cancer", "ionosphere", "wine_white", "concrete")
IMPUTERS = {"MissSIWAE": MissSIWAEImputer, "DeMissVAE": DeMissVAEImputer}
ENCODER, ADAPTED = "encoder alone", "adapted where poor"
MAX_ROWS = 800


def load(table: str) -> np.ndarray:
    """Return standardised numbers."""
    if table != "digits":
        return tables.load(table).to_numpy()
    X = load_digits().data
    X = X[:, X.std(0) > 0.5]  # pixels that are more than a border
    return (X - X.mean(0)) / X.std(0)


def run(table: str, method: str, seed: int, epochs: int | None) -> dict[str, float]:
    """Fit an imputer, complete and score new rows in both ways."""
    warnings.simplefilter("ignore")  # low effective sample sizes are measured
    rng = np.random.default_rng(seed)
    complete = load(table)
    complete = complete[rng.permutation(len(complete))[:MAX_ROWS]]
    hidden = rng.random(complete.shape) < 0.5
    incomplete, half = np.where(hidden, np.nan, complete), len(complete) // 2
    new, truth, hidden = incomplete[half:], complete[half:], hidden[half:]
    # one start for all: what proposals do is asked, not which start is the better one
    imputer = IMPUTERS[method](max_iter=epochs, random_state=seed)
    if method != "DeMissVAE":  # which has but one
        imputer.set_params(init="factor_analysis")
    fitted = imputer.fit(incomplete[:half])
    fitted.set_params(sampler="importance")
    limit = weights.low_ess(fitted.n_importance_draws)
    outcome: dict[str, float] = {}
    # with fewer draws than this constant proposals are never adapted
    min_draws = {ENCODER: math.inf, ADAPTED: weights._LEAST_ADAPTED}
    for way in (ENCODER, ADAPTED):
        with mock.patch.object(weights, "_LEAST_ADAPTED", min_draws[way]):
            fitted.transform(new[:5])  # the first call is slower
            start = time.perf_counter()
            completed = fitted.transform(new)
            seconds = time.perf_counter() - start
            score, ess = fitted.score(new), fitted.effective_sample_size(new)
        outcome |= {
            f"{way}: error": float(np.mean((completed - truth)[hidden] ** 2)),
            f"{way}: score": score,
            f"{way}: effective draws, median": float(np.median(ess)),
            f"{way}: poor rows": float((ess < limit).mean()),
            f"{way}: ms a row": 1000 * seconds / len(new),
        }
    return outcome


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one table, one seed, short fits")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--report", action="store_true", help="write what is done, run nothing")
    options = parser.parse_args()
    quick = options.quick
    path = Path(__file__).with_name("adapting_quick.csv" if quick else "adapting.csv")
    cells = [
        (table, method, seed)
        for seed in range(1 if quick else 3)
        for table in (TABLES[1:2] if quick else TABLES)
        for method in IMPUTERS
    ]
    fit = functools.partial(run, epochs=10 if quick else None)
    keys = ["table", "method", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, fit, options.jobs)
    means = results.groupby(["table", "method"], sort=False).mean()
    lines = {}
    for (table, method), values in means.iterrows():
        for way in (ENCODER, ADAPTED):
            told = values.filter(like=f"{way}: ").rename(lambda name: name.split(": ")[1])
            lines[f"{table}, {method}, {way}"] = {
                "error": f"{told['error']:.3f}",
                "score": f"{told['score']:.2f}",
                "effective draws, median": f"{told['effective draws, median']:.0f}",
                "poor rows": f"{told['poor rows']:.0%}",
                "ms a row": f"{told['ms a row']:.1f}",
            }
    gain = results[f"{ADAPTED}: error"] / results[f"{ENCODER}: error"]
    spread = gain.groupby([results["table"], results["method"]], sort=False).agg(["mean", "std"])
    told = "; ".join(
        f"{table}, {method} {one['mean']:.3f}"
        + ("" if np.isnan(one["std"]) else f" ({one['std']:.3f})")
        for (table, method), one in spread.iterrows()
    )
    text = markdown(pd.DataFrame(lines).T, "table, method, proposal") + (
        "\nNew rows, half of the cells missing completely at random: half of at most "
        f"{MAX_ROWS} rows, 1,000 draws. Mean squared error on hidden standardised cells, "
        "log-density of observed ones in nats, rows with fewer than 10 effective draws; means over "
        f"{results['seed'].nunique()} seeds. Error relative to that by the encoder alone, mean "
        f"(standard deviation): {told}. {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
