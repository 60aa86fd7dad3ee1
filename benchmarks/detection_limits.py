"""Bias and coverage of estimates from columns with limits of detection.

``python benchmarks/detection_limits.py`` draws tables of two lognormal concentrations, of which
those below a limit are missing (30% and 20% of the cells), and an outcome that depends on both. The
logarithms are imputed several times with and without the limits, or half of the limit is
substituted. The means of the logarithms and the slopes of the outcome are pooled by Rubin's rules.
Each repetition appends a line to ``detection_limits.csv``; existing ones are not repeated.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import argument_parser, markdown, run_grid, versions, write_page
from scipy import special

from skmissvae import MissSIWAEImputer, pool

N_ROWS, M, N_REPETITIONS = 200, 20, 200
CENSORED = {"log_a": 0.3, "log_b": 0.2}  # share of cells below the limit
CORRELATION = 0.5  # of the logarithms
SPREAD = {"log_a": 1.0, "log_b": 2.0}  # standard deviation of the logarithms
SLOPES = {"log_a": 0.5, "log_b": -0.25}
TRUTH = {f"mean of {name}": 0.0 for name in SLOPES}
TRUTH |= {f"slope of {name}": slope for name, slope in SLOPES.items()}
METHODS = ["complete data", "complete rows", "half of the limit", "without limits", "with limits"]


def draw(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Return a complete table, the same without cells below the limits, and the limits."""
    rng = np.random.default_rng(seed)
    x = rng.multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], N_ROWS)
    complete = pd.DataFrame(x, columns=list(SLOPES)) * pd.Series(SPREAD)
    complete["y"] = complete @ pd.Series(SLOPES) + rng.normal(size=N_ROWS)
    limits = {name: SPREAD[name] * float(special.ndtri(p)) for name, p in CENSORED.items()}
    incomplete = complete.copy()
    for name, limit in limits.items():
        incomplete.loc[complete[name] < limit, name] = np.nan
    return complete, incomplete, limits


def estimates(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return means and slopes with their variances."""
    n = len(table)
    X = np.column_stack([np.ones(n), table[list(SLOPES)]])
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ X.T @ table["y"].to_numpy()
    residual = table["y"].to_numpy() - X @ beta
    variance = np.diag(inverse) * (residual @ residual) / (n - 3)
    result = {f"mean of {name}": (table[name].mean(), table[name].var() / n) for name in SLOPES}
    for j, name in enumerate(SLOPES, 1):
        result[f"slope of {name}"] = beta[j], variance[j]
    return result


def completed(method: str, seed: int) -> list[pd.DataFrame]:
    """Return the completed tables of a method."""
    complete, incomplete, limits = draw(seed)
    if method == "complete data":
        return [complete]
    if method == "complete rows":
        return [incomplete.dropna()]
    if method == "half of the limit":
        return [incomplete.fillna({name: limit - np.log(2) for name, limit in limits.items()})]
    upper = limits if method == "with limits" else None
    imputer = MissSIWAEImputer(random_state=seed).fit(incomplete, upper=upper)
    return list(imputer.impute(incomplete, M, upper=upper))


def run(method: str, seed: int) -> dict[str, Any]:
    """Return estimates and 95% intervals in one repetition."""
    warnings.simplefilter("ignore")
    tables = completed(method, seed)
    fits = [estimates(table) for table in tables]
    result = {}
    for name in TRUTH:
        values, variances = zip(*(fit[name] for fit in fits), strict=True)
        dfcom = len(tables[0]) - (3 if name.startswith("slope") else 1)
        if len(fits) > 1:
            pooled = pool(values, variances, dfcom=dfcom)
            estimate, (low, high) = pooled.qbar, pooled.interval(0.95)
        else:
            half = special.stdtrit(dfcom, 0.975) * np.sqrt(variances[0])
            estimate, low, high = values[0], values[0] - half, values[0] + half
        result |= {name: estimate, f"{name}, low": low, f"{name}, high": high}
    return result


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Return bias, coverage and width of the estimates of each method."""
    lines = []
    for method, part in results.groupby("method", sort=False):
        for name, truth in TRUTH.items():
            low, high = part[f"{name}, low"], part[f"{name}, high"]
            error = part[name] - truth
            lines.append(
                {
                    "method": method,
                    "estimate": name,
                    "repetitions": len(part),
                    "bias": f"{error.mean():.3f} ± {error.std() / np.sqrt(len(part)):.3f}",
                    "coverage": f"{((low <= truth) & (truth <= high)).mean():.3f}",
                    "width": f"{(high - low).mean():.3f}",
                }
            )
    return pd.DataFrame(lines)


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="2 repetitions")
    options = parser.parse_args()
    name = "detection_limits_quick.csv" if options.quick else "detection_limits.csv"
    path = Path(__file__).with_name(name)
    seeds = range(2 if options.quick else N_REPETITIONS)
    cells = [] if options.report else [(method, seed) for seed in seeds for method in METHODS]
    results = run_grid(path, ["method", "seed"], cells, run, options.jobs)
    results["order"] = results["method"].map(METHODS.index)
    results = results.sort_values(["order", "seed"])
    frame = table(results).astype(str).set_index("method")
    text = (
        markdown(frame, "method")
        + f"\n{N_ROWS} rows; Normal logarithms with mean 0, standard deviations 1 (log_a) and 2 "
        f"(log_b) and correlation {CORRELATION}; 30% of the cells of log_a and 20% of those of "
        "log_b are below their limit and missing. y = 0.5 log_a - 0.25 log_b + N(0, 1). "
        f"{M} imputations, pooled. Bias with its standard error; coverage is that of 95% "
        "intervals, with a standard error of 0.015. " + versions()
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
