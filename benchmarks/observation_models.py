"""Imputation errors and densities by observation model, on twelve tables of mixed types.

``python benchmarks/observation_models.py`` hides 30% of the observed cells and measures the errors
of an imputer on them, and the log-density that a density estimator gives them given the rest of
their rows (the difference of two ``score_samples``): with the defaults, with another value of
``learn_shapes``, with integers as continuous columns, and with integers of at most ten values as
ordinal columns. Each run appends a line to ``observation_models.csv``; existing runs are not
repeated.
"""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import argument_parser, markdown, run_grid, versions, write_page
from mixed import errors, files, load

from skmissvae import MissSIWAEImputer, VAEDensityEstimator

TABLES = (
    *("heart_disease", "hitters", "riskfactors", "pima2", "cervical_cancer_risk", "brandsma"),
    *("obesity", "drug_consumption", "credit_data", "flchain", "bike_seoul", "news_reduced"),
)
VARIANTS = ("default", "other learn_shapes", "integers continuous", "few integers ordinal")
HIDDEN, CAP = 0.3, 800


def options(variant: str, frame: pd.DataFrame, learn_shapes: tuple[Any, Any]) -> dict[str, Any]:
    """Return the parameters of a variant, given the default of ``learn_shapes`` and another."""
    integers = [
        name
        for name in frame.select_dtypes("number")
        if frame[name].nunique() > 2 and (frame[name].dropna() % 1 == 0).all()
    ]
    kinds = {
        VARIANTS[2]: dict.fromkeys(integers, "continuous"),
        VARIANTS[3]: {name: "ordinal" for name in integers if frame[name].nunique() <= 10},
    }
    return {
        "learn_shapes": learn_shapes[variant == VARIANTS[1]],
        "feature_kinds": kinds.get(variant),
        "handle_unknown": "missing",
        "random_state": 0,
    }


def run(table: str, variant: str, estimator: str) -> dict[str, Any]:
    """Hide cells, fit an imputer or a density estimator, and measure it."""
    warnings.simplefilter("ignore")
    frame = load(files()[table], CAP)
    types = dict.fromkeys(frame.select_dtypes("integer"), "Int64")
    types |= dict.fromkeys(frame.select_dtypes("bool"), "boolean")
    frame = frame.astype(types)
    hidden = np.random.default_rng(0).random(frame.shape) < HIDDEN
    hidden &= frame.notna().to_numpy()
    incomplete = frame.mask(hidden)
    start = time.perf_counter()
    if estimator == "imputer":
        imputer = MissSIWAEImputer(**options(variant, frame, (False, "point_masses"))).fit(
            incomplete
        )
        seconds = time.perf_counter() - start
        return {**errors(frame, imputer.transform(incomplete), hidden), "fit_seconds": seconds}
    density = VAEDensityEstimator(**options(variant, frame, (True, False))).fit(incomplete)
    seconds = time.perf_counter() - start
    # cells of columns that are not modelled have no density
    modelled = (density.fit_report_["role"] == "modelled").to_numpy()
    difference = density.score_samples(frame) - density.score_samples(incomplete)
    point_masses = density.fit_report_["remark"].str.contains("point mass").any()
    return {
        "log_density": float(difference.sum() / hidden[:, modelled].sum()),
        "point_masses": bool(point_masses),
        "fit_seconds": seconds,
    }


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table")
    arguments = parser.parse_args()
    name = "observation_models_quick.csv" if arguments.quick else "observation_models.csv"
    path = Path(__file__).with_name(name)
    tables = TABLES[:1] if arguments.quick else TABLES
    cells = [(t, v, e) for v in VARIANTS for t in tables for e in ("imputer", "density")]
    keys = ["table", "variant", "estimator"]
    results = run_grid(path, keys, [] if arguments.report else cells, run, arguments.jobs)
    columns = {}
    for measure, title in (("nrmse", "NRMSE"), ("pfc", "PFC"), ("log_density", "log-density")):
        wide = results.pivot_table(index="table", columns="variant", values=measure)
        wide = wide.reindex(tables).reindex(columns=VARIANTS)
        columns[title] = [
            " / ".join("-" if np.isnan(v) else f"{v:.3f}" for v in row) for row in wide.to_numpy()
        ]
        means = wide.dropna(how="all").mean()
        columns[title].append(" / ".join(f"{v:.3f}" for v in means))
    text = markdown(pd.DataFrame(columns, index=[*tables, "mean"]), "table") + (
        f"\nEach cell: {' / '.join(VARIANTS)}. Errors of MissSIWAEImputer (learn_shapes="
        "False, 'point_masses'), log-densities in nats per hidden cell of VAEDensityEstimator "
        "(learn_shapes=True, False). A point mass has a probability, not a density, unless "
        "learn_shapes=False; the log-densities are not comparable on tables with point masses: "
        f"{', '.join(sorted(set(results.loc[results['point_masses'] == True, 'table'])))}. "  # noqa: E712
        f"One mask, one seed. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
