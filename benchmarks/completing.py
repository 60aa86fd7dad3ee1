"""Importance weights against Markov chains, to impute new rows by DeMissVAE.

``python benchmarks/completing.py`` hides half of the cells of tables, fits ``DeMissVAEImputer`` to
half of the rows, and imputes the other half: by importance weights of the encoder of incomplete
rows, by chains of a sampler, and by chains for rows with a low effective sample size (ESS) only.
Each run appends a line to ``completing.csv``; existing runs are not repeated.
"""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables
from common import argument_parser, markdown, mean_and_spread, run_grid, versions, write_page
from typing_extensions import override

from skmissvae import DeMissVAEImputer, MissSIWAEImputer
from skmissvae.inference import ConditionalModel
from skmissvae.inference.weights import low_ess

TABLES = ["wine_white", "ionosphere", "breast_cancer"]
CHAINS = ["lair", "metropolis", "pseudo_gibbs"]
#: Sampler of DeMissVAE and whether it runs for all rows; None is MissSIWAE.
WAYS = {
    "importance weights": ("importance", False),
    **{f"{name} for rows with low ESS": (name, False) for name in CHAINS},
    **{f"{name} for all rows": (name, True) for name in CHAINS},
    "MissSIWAE, importance weights": None,
}


class DeMissVAEWithChains(DeMissVAEImputer):
    """DeMissVAE that runs chains for all rows if ``chains_only`` is True."""

    chains_only = False

    @override
    def conditional_model(self) -> ConditionalModel:
        return super().conditional_model()._replace(chains_for_low_ess=not self.chains_only)


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table, one seed, 20 epochs")
    arguments = parser.parse_args()
    quick = arguments.quick
    path = Path(__file__).with_name("completing_quick.csv" if quick else "completing.csv")
    cells = [
        (table, seed)
        for seed in range(1 if quick else 3)
        for table in (TABLES[1:2] if quick else TABLES)
    ]

    def run(table: str, seed: int) -> dict[str, Any]:
        complete = tables.load(table).to_numpy()
        rng = np.random.default_rng(seed)
        complete = complete[rng.permutation(len(complete))[:800]]
        hidden = rng.random(complete.shape) < 0.5
        incomplete, half = np.where(hidden, np.nan, complete), len(complete) // 2
        new, truth, hidden = incomplete[half:], complete[half:], hidden[half:]
        options = {"random_state": seed, "max_iter": 20 if quick else None}
        demiss = DeMissVAEWithChains(**options).fit(incomplete[:half])
        misssiwae = MissSIWAEImputer(**options).fit(incomplete[:half])
        is_low = demiss.effective_sample_size(new) < low_ess(demiss.n_importance_draws)
        outcome: dict[str, Any] = {"low_ess": float(is_low.mean())}
        for way, sampler in WAYS.items():
            if sampler is not None:
                demiss.set_params(sampler=sampler[0])
                demiss.chains_only = sampler[1]
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                completed = (misssiwae if sampler is None else demiss).transform(new)
            outcome[f"{way}, seconds"] = time.perf_counter() - start
            squares = np.where(hidden, (completed - truth) ** 2, np.nan)
            outcome[way] = float(np.nanmean(squares))
            error_of_low = float(np.nanmean(squares[is_low])) if is_low.any() else np.nan
            outcome[f"{way}, rows with low ESS"] = error_of_low
        return outcome

    keys = ["table", "seed"]
    results = run_grid(path, keys, [] if arguments.report else cells, run, arguments.jobs)
    ways = list(WAYS)
    low_only = results[["table", "seed"]].assign(table=results["table"] + ", rows with low ESS")
    low_only[ways] = results[[f"{way}, rows with low ESS" for way in ways]].to_numpy()
    both = pd.concat([results, low_only.dropna()])
    lines = both.melt(["table", "seed"], ways, "way", "mse").sort_values("seed", kind="stable")
    frame = mean_and_spread(lines, "way", "table", "mse").loc[ways]
    seconds = [f"{way}, seconds" for way in WAYS]
    if set(seconds) <= set(results):
        frame["seconds"] = [f"{value:.1f}" for value in results[seconds].median()]
    shares = results.groupby("table")["low_ess"].mean().map("{:.0%}".format)
    text = (
        markdown(frame, "imputation by")
        + "\nMean squared error of hidden cells of standardized columns in new rows, half of the "
        "cells missing completely at random: mean (standard deviation) over "
        f"{results['seed'].nunique()} seeds; half of at most 800 rows. Rows with low ESS: "
        + ", ".join(f"{table} {share}" for table, share in shares.items())
        + f". {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
