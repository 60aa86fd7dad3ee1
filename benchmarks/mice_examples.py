"""Pooled regressions of mice's example tables, by mice and by this package.

``python benchmarks/mice_examples.py`` reads ``nhanes2``, ``boys`` and ``mammalsleep`` from the R
package mice, imputes each 20 times by mice with its defaults and by ``MissSIWAEImputer()``, and
pools linear regressions in R (``with``, ``pool``), so that only the imputations differ. Five seeds
of each; each run appends a line per term to ``mice_examples.csv``, and existing ones are not
repeated. Rscript and its packages mice and nnet are required.
"""

import functools
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import argument_parser, markdown, run_grid, versions, write_page

from skmissvae import MissSIWAEImputer

N_IMPUTATIONS, N_SEEDS = 20, 5
MICE, OURS, COMPLETE = "mice", "MissSIWAEImputer", "complete rows"
#: Formula, terms, and ordered columns of each table.
CASES = {
    "nhanes2": ("chl ~ age + bmi", ["age40-59", "age60-99", "bmi"], []),
    "mammalsleep": ("sws ~ log10(bw) + odi", ["log10(bw)", "odi"], []),
    "boys": ("wgt ~ age + hgt + tv", ["age", "hgt", "tv"], ["gen", "phb"]),
}
TABLE = """
table <- mice::{table}; table$species <- NULL
write.csv(table, row.names = FALSE)
"""
ANALYSIS = """
suppressMessages(library(mice))
table <- mice::{table}; table$species <- NULL
if ("{method}" == "mice") {{
  imputed <- mice(table, m = {m}, seed = {seed}, printFlag = FALSE)
}} else if ("{method}" == "complete rows") {{
  model <- summary(lm({formula}, table))
  terms <- as.data.frame(model$coefficients)
  pooled <- data.frame(term = rownames(terms), estimate = terms[, 1], std_error = terms[, 2],
                       df = model$df[2], fmi = NA)
}} else {{
  long <- read.csv(file("stdin"), check.names = FALSE, stringsAsFactors = TRUE,
                   na.strings = "")
  imputed <- suppressWarnings(as.mids(long))
}}
if ("{method}" != "complete rows") {{
  result <- pool(with(imputed, lm({formula})))$pooled
  pooled <- data.frame(term = result$term, estimate = result$estimate,
                       std_error = sqrt(result$t), df = result$df, fmi = result$fmi)
}}
write.csv(pooled, row.names = FALSE)
"""


def run_r(code: str, table: str = "") -> pd.DataFrame:
    """Return the CSV that a script of R prints, given one on its standard input."""
    with tempfile.NamedTemporaryFile("w", suffix=".R") as script:
        script.write(code)
        script.flush()
        process = subprocess.run(
            ["Rscript", script.name], input=table, capture_output=True, text=True
        )
    if process.returncode:
        raise RuntimeError(process.stderr)
    return pd.read_csv(io.StringIO(process.stdout))


@functools.lru_cache
def pooled(table: str, method: str, seed: int) -> pd.DataFrame:
    """Return the pooled estimates of a table, a row per term."""
    formula, _, ordered = CASES[table]
    options = {"table": table, "method": method, "m": N_IMPUTATIONS, "seed": seed + 1}
    code = ANALYSIS.format(formula=formula, **options)
    if method != OURS:
        return run_r(code).set_index("term")
    incomplete = run_r(TABLE.format(table=table))
    for column in ordered:  # their labels sort in their order
        levels = sorted(incomplete[column].dropna().unique())
        incomplete[column] = pd.Categorical(incomplete[column], levels, ordered=True)
    imputer = MissSIWAEImputer(random_state=seed).fit(incomplete)
    imputations = imputer.impute(incomplete, N_IMPUTATIONS)
    long = imputations.to_mids_frame(incomplete)
    return run_r(code, long.to_csv(index=False)).set_index("term")


def run(table: str, method: str, seed: int, term: str) -> dict[str, float]:
    """Return the pooled estimate of a term."""
    return dict(pooled(table, method, seed).loc[term])


def report(results: pd.DataFrame) -> str:
    """Return a table of means over the seeds, with the standard deviation of the estimates."""
    lines, index = [], []
    for (table, term), part in results.groupby(["table", "term"], sort=False):
        for method, group in part.groupby("method", sort=False):
            spread = group["estimate"].std()
            mean = group.mean(numeric_only=True)
            text = f"{mean['estimate']:.3g}"
            lines.append(
                {
                    "method": method,
                    "estimate": text if np.isnan(spread) else f"{text} ({spread:.2g})",
                    "std. error": f"{mean['std_error']:.3g}",
                    "df": f"{mean['df']:.0f}",
                    "missing information": "" if np.isnan(mean["fmi"]) else f"{mean['fmi']:.2f}",
                }
            )
            index.append(f"{table}, {term}")
    return markdown(pd.DataFrame(lines, index=index), "table, term")


def main() -> None:
    """Run what is not in the CSV file yet, and write the page."""
    parser = argument_parser(__doc__, quick="nhanes2, one seed", jobs=False)
    options = parser.parse_args()
    if shutil.which("Rscript") is None and not options.report:
        print("Skipped: Rscript is not installed.")
        return
    path = Path(__file__).with_name(f"mice_examples{'_quick' if options.quick else ''}.csv")
    cells = [
        (table, method, seed, term)
        for table in (["nhanes2"] if options.quick else CASES)
        for method in (COMPLETE, MICE, OURS)
        for seed in range(1 if options.quick or method == COMPLETE else N_SEEDS)
        for term in CASES[table][1]
    ]
    keys = ["table", "method", "seed", "term"]
    results = run_grid(path, keys, [] if options.report else cells, run)
    formulas = "; ".join(f"`{table}`: {formula}" for table, (formula, *_) in CASES.items())
    text = (
        f"{report(results)}\n{formulas}. {N_IMPUTATIONS} imputations; means over seeds, and in "
        "brackets the standard deviation of the estimates over seeds. The regressions are fitted "
        f"and pooled in R. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
