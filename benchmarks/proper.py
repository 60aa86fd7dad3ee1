"""Time that proper imputations take: in the fit, and in five imputations.

``python benchmarks/proper.py`` hides 30% of the cells of tables completely at random. It measures
the seconds of a fit, the share of the uncertainty of the decoder in it, and the seconds of five
imputations of 300 rows: from a decoder drawn for each of them, and from one decoder. Times are the
shorter ones of two calls. Each run appends a line to ``proper.csv``; existing ones are not
repeated. Run it on an idle machine.
"""

import copy
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import tables
import torch
from common import argument_parser, markdown, run_grid, versions, write_page

from skmissvae import MissSIWAEImputer, make_missing
from skmissvae.estimators import imputer_base

TABLES = [("diabetes", 50), ("diabetes", 442), ("breast_cancer", 569), ("wine_red", 1000)]
HIDDEN, N_IMPUTATIONS, N_IMPUTED = 0.3, 5, 300


def seconds(call: Callable[[], Any]) -> float:
    """Return the shorter time of two calls."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def run(table: str, n_rows: int) -> dict[str, float]:
    """Return the seconds of a fit and of five imputations."""
    incomplete = make_missing(tables.load(table)[:n_rows], "mcar", HIDDEN, random_state=0)
    imputer = MissSIWAEImputer(random_state=0)
    shares, uncertainty = [], imputer_base.decoder_uncertainty

    def timed(*args: Any) -> Any:
        start = time.perf_counter()
        result = uncertainty(*args)
        shares.append(time.perf_counter() - start)
        return result

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mock.patch.object(imputer_base, "decoder_uncertainty", timed):
            of_fit = seconds(lambda: imputer.fit(incomplete))
        improper = copy.copy(imputer)
        improper._decoder_uncertainty = None
        of_proper, of_improper = (
            seconds(lambda model=model: list(model.impute(incomplete[:N_IMPUTED], N_IMPUTATIONS)))
            for model in (imputer, improper)
        )
    return {
        "fit": of_fit,
        "uncertainty of the decoder": min(shares),
        "impute": of_proper,
        "impute, one decoder": of_improper,
    }


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table of 50 rows")
    options = parser.parse_args()
    path = Path(__file__).with_name("proper_quick.csv" if options.quick else "proper.csv")
    cells = TABLES[:1] if options.quick else TABLES
    keys = ["table", "rows"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    of_fit = results["uncertainty of the decoder"] / results["fit"]
    frame = pd.DataFrame(
        {
            "rows": results["rows"],
            "fit, seconds": results["fit"].round(2),
            "uncertainty of the decoder, share": of_fit.map("{:.0%}".format),
            "impute, seconds": results["impute"].round(2),
            "one decoder, seconds": results["impute, one decoder"].round(2),
            "ratio": (results["impute"] / results["impute, one decoder"]).round(1),
        }
    )
    frame = frame.astype(str).set_axis(pd.Index(results["table"]))
    text = (
        markdown(frame, "table") + f"\n{HIDDEN:.0%} of the cells missing; {N_IMPUTATIONS} "
        f"imputations of at most {N_IMPUTED} rows. The shorter times of two calls, "
        f"a processor with {torch.backends.cpu.get_cpu_capability()}. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
