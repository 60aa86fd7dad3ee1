"""Ways to complete new rows by DeMissVAE, which its paper leaves open.

``python benchmarks/completing.py`` fits ``DeMissVAEImputer`` to half of the rows of tables of which
half is hidden, and completes the other half by the importance weights of its encoder of incomplete
rows, by chains of a sampler alone, and by chains where weights are poor. Each run adds its lines to
``completing.csv``; runs that are there are not done again.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables
from common import markdown, mean_and_spread, run_grid, versions
from typing_extensions import override

from skmissvae import DeMissVAEImputer, MissSIWAEImputer
from skmissvae.inference import ConditionalModel
from skmissvae.inference.weights import low_ess

TABLES = ["wine_white", "ionosphere", "breast_cancer"]
CHAINS = ["lair", "metropolis", "pseudo_gibbs"]
WAYS = {
    "importance weights": ("importance", False),
    **{f"{name} where weights are poor": (name, False) for name in CHAINS},
    **{f"{name} alone": (name, True) for name in CHAINS},
    "MissSIWAE, importance weights": None,
}


class ByChains(DeMissVAEImputer):
    """DeMissVAE that may leave importance weights alone."""

    chains_only = False

    @override
    def conditional_model(self) -> ConditionalModel:
        return super().conditional_model()._replace(chains_for_low_ess=not self.chains_only)


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one table, one seed, short fits")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    quick = options.quick
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
        fitted = {"random_state": seed, "max_iter": 20 if quick else None}
        demiss = ByChains(**fitted).fit(incomplete[:half])
        other = MissSIWAEImputer(**fitted).fit(incomplete[:half])
        poor = demiss.effective_sample_size(new) < low_ess(demiss.n_importance_draws)
        found: dict[str, Any] = {"poor": float(poor.mean())}
        for way, chosen in WAYS.items():
            if chosen is not None:
                demiss.set_params(sampler=chosen[0])
                demiss.chains_only = chosen[1]
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                completed = (other if chosen is None else demiss).transform(new)
            found[f"{way}, seconds"] = time.perf_counter() - start
            squares = np.where(hidden, (completed - truth) ** 2, np.nan)
            found[way] = float(np.nanmean(squares))
            found[f"{way}, poor rows"] = float(np.nanmean(squares[poor])) if poor.any() else np.nan
        return found

    results = run_grid(path, ["table", "seed"], cells, run, options.jobs)
    ways = list(WAYS)
    poor_only = results[["table", "seed"]].assign(table=results["table"] + ", poor rows")
    poor_only[ways] = results[[f"{way}, poor rows" for way in ways]].to_numpy()
    both = pd.concat([results, poor_only.dropna()])
    lines = both.melt(["table", "seed"], ways, "way", "mse").sort_values("seed", kind="stable")
    frame = mean_and_spread(lines, "way", "table", "mse").loc[ways]
    seconds = results[[f"{way}, seconds" for way in WAYS]].median()
    frame["seconds"] = [f"{value:.1f}" for value in seconds]
    poor = results.groupby("table")["poor"].mean().map("{:.0%}".format)
    text = (
        markdown(frame, "way")
        + "\nMean squared error on hidden standardised cells of new rows, half of them missing "
        f"completely at random: mean (standard deviation) over {results['seed'].nunique()} seeds; "
        "seconds for the half of at most 800 rows. Rows with poor weights: "
        + ", ".join(f"{table} {share}" for table, share in poor.items())
        + f". {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
