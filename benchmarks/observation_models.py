"""What observation models and learned shapes of columns are worth, on tables of mixed types.

``python benchmarks/observation_models.py`` hides three tenths of the observed cells of twelve
tables. Imputers are measured by the errors of hidden cells, densities by their log-density given
the rest of their rows, score_samples of whole rows less that of rows with holes, for: the
defaults; ``learn_shapes`` the other way; whole numbers taken for continuous; and whole numbers of
ten values at most taken for ranks. Each run adds a line to ``observation_models.csv``.
"""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import markdown, run_grid, versions
from mixed import errors, files, load

from skmissvae import MissSIWAEImputer, VAEDensityEstimator

TABLES = (
    *("heart_disease", "hitters", "riskfactors", "pima2", "cervical_cancer_risk", "brandsma"),
    *("obesity", "drug_consumption", "credit_data", "flchain", "bike_seoul", "news_reduced"),
)
VARIANTS = ("default", "other shapes", "whole as continuous", "few whole as ranks")
HIDDEN, CAP = 0.3, 800


def options(variant: str, frame: pd.DataFrame, shapes: bool) -> dict[str, Any]:
    """Return the parameters of a variant."""
    whole = [
        name
        for name in frame.select_dtypes("number")
        if frame[name].nunique() > 2 and (frame[name].dropna() % 1 == 0).all()
    ]
    kinds = {
        "whole as continuous": dict.fromkeys(whole, "continuous"),
        "few whole as ranks": {n: "ordinal" for n in whole if frame[n].nunique() <= 10},
    }
    return {
        "learn_shapes": shapes != (variant == "other shapes"),
        "feature_kinds": kinds.get(variant),
        "handle_unknown": "missing",
        "random_state": 0,
    }


def run(table: str, variant: str, estimator: str) -> dict[str, Any]:
    """Fit to a table with holes, and measure."""
    warnings.simplefilter("ignore")
    frame = load(files()[table], CAP)
    types = dict.fromkeys(frame.select_dtypes("integer"), "Int64")
    types |= dict.fromkeys(frame.select_dtypes("bool"), "boolean")
    frame = frame.astype(types)
    hidden = np.random.default_rng(0).random(frame.shape) < HIDDEN
    hidden &= frame.notna().to_numpy()
    holed = frame.mask(hidden)
    start = time.perf_counter()
    if estimator == "imputer":
        imputer = MissSIWAEImputer(**options(variant, frame, False)).fit(holed)
        seconds = time.perf_counter() - start
        return {**errors(frame, imputer.transform(holed), hidden), "fit_seconds": seconds}
    density = VAEDensityEstimator(**options(variant, frame, True)).fit(holed)
    seconds = time.perf_counter() - start
    # what is no evidence, such as a category that no row of the fit has, is no cell to predict
    modelled = (density.fit_report_["role"] == "modelled").to_numpy()
    gain = density.score_samples(frame) - density.score_samples(holed)
    piles = density.fit_report_["remark"].str.contains("point mass").any()
    return {
        "log_density": float(gain.sum() / hidden[:, modelled].sum()),
        "piles": bool(piles),
        "fit_seconds": seconds,
    }


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two tables")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--report", action="store_true", help="write what is done, run nothing")
    given = parser.parse_args()
    name = "observation_models_quick.csv" if given.quick else "observation_models.csv"
    path = Path(__file__).with_name(name)
    tables = TABLES[:2] if given.quick else TABLES
    cells = [(t, v, e) for v in VARIANTS for t in tables for e in ("imputer", "density")]
    keys = ["table", "variant", "estimator"]
    results = run_grid(path, keys, [] if given.report else cells, run, given.jobs)
    shown = {}
    for measure, title in (("nrmse", "NRMSE"), ("pfc", "PFC"), ("log_density", "log-density")):
        wide = results.pivot_table(index="table", columns="variant", values=measure)
        wide = wide.reindex(tables).reindex(columns=VARIANTS)
        shown[title] = [
            " / ".join("-" if np.isnan(v) else f"{v:.3f}" for v in row) for row in wide.to_numpy()
        ]
        means = wide.dropna(how="all").mean()
        shown[title].append(" / ".join(f"{v:.3f}" for v in means))
    text = markdown(pd.DataFrame(shown, index=[*tables, "mean"]), "table") + (
        f"\nEach cell: {' / '.join(VARIANTS)}. Errors are those of MissSIWAEImputer (shapes not "
        "learned by default), log-densities, in nats a hidden cell, those of VAEDensityEstimator "
        "(learned by default); a pile of one value has a probability where shapes are learned and "
        "a density where not, so that the two do not compare on tables with piles: "
        f"{', '.join(sorted(set(results.loc[results['piles'] == True, 'table'])))}. "  # noqa: E712
        f"One mask, one seed. {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
