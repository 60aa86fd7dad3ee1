"""Error, score and time with and without better proposals for rows with a low ESS.

``python benchmarks/adapting.py`` hides half of the cells of tables, fits imputers to half of the
rows, and imputes and scores the other half: by draws from the encoder only, and, which is the
default, with better proposals for rows with a low effective sample size (ESS), and as many draws
as a row needs. Each run appends a line to ``adapting.csv``; existing runs are not repeated.
"""

import functools
import math
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import tables
from common import argument_parser, markdown, run_grid, versions, write_page
from sklearn.datasets import load_digits

from skmissvae import DeMissVAEImputer, MissSIWAEImputer
from skmissvae.inference import weights

TABLES = ("digits", "breast_cancer", "ionosphere", "wine_white", "concrete")
IMPUTERS = {"MissSIWAE": MissSIWAEImputer, "DeMissVAE": DeMissVAEImputer}
ENCODER, BETTER = "encoder", "better if ESS is low"
MAX_ROWS = 800


def load(table: str) -> np.ndarray:
    """Return a standardized table."""
    if table != "digits":
        return tables.load(table).to_numpy()
    X = load_digits().data
    X = X[:, X.std(0) > 0.5]  # pixels at the border hardly vary
    return (X - X.mean(0)) / X.std(0)


def run(table: str, method: str, seed: int, epochs: int | None) -> dict[str, float]:
    """Fit an imputer, and impute and score new rows by both proposals."""
    warnings.simplefilter("ignore")  # low effective sample sizes are measured
    rng = np.random.default_rng(seed)
    complete = load(table)
    complete = complete[rng.permutation(len(complete))[:MAX_ROWS]]
    hidden = rng.random(complete.shape) < 0.5
    incomplete, half = np.where(hidden, np.nan, complete), len(complete) // 2
    new, truth, hidden = incomplete[half:], complete[half:], hidden[half:]
    imputer = IMPUTERS[method](max_iter=epochs, random_state=seed)
    if method != "DeMissVAE":  # its only initialization is random
        imputer.set_params(init="factor_analysis")  # no choice, which takes time
    fitted = imputer.fit(incomplete[:half])
    fitted.set_params(sampler="importance")
    limit = weights.low_ess(fitted.n_importance_draws)
    outcome: dict[str, float] = {}
    # with fewer draws than this constant there is only the encoder's proposal
    min_draws = {ENCODER: math.inf, BETTER: weights._MIN_ADAPTED_DRAWS}
    for way in (ENCODER, BETTER):
        with mock.patch.object(weights, "_MIN_ADAPTED_DRAWS", min_draws[way]):
            fitted.transform(new[:5])  # the first call is slower
            start = time.perf_counter()
            completed = fitted.transform(new)
            seconds = time.perf_counter() - start
            score, ess = fitted.score(new), fitted.effective_sample_size(new)
        outcome |= {
            f"{way}: error": float(np.mean((completed - truth)[hidden] ** 2)),
            f"{way}: score": score,
            f"{way}: ESS, median": float(np.median(ess)),
            f"{way}: rows with low ESS": float((ess < limit).mean()),
            f"{way}: ms per row": 1000 * seconds / len(new),
        }
    return outcome


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table, one seed, 10 epochs")
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
        for way in (ENCODER, BETTER):
            part = values.filter(like=f"{way}: ").rename(lambda name: name.split(": ")[1])
            lines[f"{table}, {method}, {way}"] = {
                "MSE": f"{part['error']:.3f}",
                "log-density": f"{part['score']:.2f}",
                "ESS, median": f"{part['ESS, median']:.0f}",
                "rows with low ESS": f"{part['rows with low ESS']:.0%}",
            }
            if "ms per row" in part and np.isfinite(part["ms per row"]):
                lines[f"{table}, {method}, {way}"]["ms per row"] = f"{part['ms per row']:.1f}"
    ratio = results[f"{BETTER}: error"] / results[f"{ENCODER}: error"]
    spread = ratio.groupby([results["table"], results["method"]], sort=False).agg(["mean", "std"])
    ratios = "; ".join(
        f"{table}, {method} {line['mean']:.3f}"
        + ("" if np.isnan(line["std"]) else f" ({line['std']:.3f})")
        for (table, method), line in spread.iterrows()
    )
    text = markdown(pd.DataFrame(lines).T.fillna(""), "table, method, proposal") + (
        f"\nHalf of at most {MAX_ROWS} rows are imputed, with half of the cells missing completely "
        "at random, by at most 1,000 draws. Mean squared error of hidden cells of standardized "
        "columns, log-density of the observed cells of a row in nats, share of rows with an ESS "
        "below 10; "
        f"means over {results['seed'].nunique()} seeds. MSE with better proposals relative to the "
        f"encoder, mean (standard deviation): {ratios}. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
