"""Imputation errors on 69 tables of mixed types, most of them already incomplete.

``python benchmarks/mixed.py`` hides a fifth of the observed cells of each file of ``B_tabular`` and
``E_real_missing`` in ``$SKMISSVAE_DATA``, and imputes the table by ``MissSIWAEImputer``, the mean
or mode, KNNImputer and IterativeImputer, with default parameters. It also checks ``impute`` and
``score_samples``. Each run appends a line to ``mixed.csv``, failures included; existing runs are
not repeated.
"""

import multiprocessing
import os
import resource
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import argument_parser, markdown, versions, write_page

OURS = "MissSIWAEImputer"
PEERS = ("mean or mode", "KNNImputer", "IterativeImputer")
GROUPS = ("B_tabular", "E_real_missing")
HIDDEN = 0.2
QUICK = ("penguins", "airquality", "nlsyV", "chain", "survey_mass")


def files() -> dict[str, Path]:
    """Return the paths of the tables by name, small files first."""
    folder = os.environ.get("SKMISSVAE_DATA")
    if not folder:
        raise SystemExit(
            "The tables are from many public sources (UCI, R packages; mixed.md has their names). "
            "Set $SKMISSVAE_DATA to a folder that contains B_tabular and E_real_missing."
        )
    paths = [path for group in GROUPS for path in sorted((Path(folder) / group).glob("*.csv.gz"))]
    paths.sort(key=lambda path: path.stat().st_size)
    return {path.name.removesuffix(".csv.gz"): path for path in paths}


def load(path: Path, cap: int) -> pd.DataFrame:
    """Return a table, subsampled to at most ``cap`` rows."""
    frame = pd.read_csv(path)
    if len(frame) > cap:
        frame = frame.sample(cap, random_state=0).sort_index().reset_index(drop=True)
    return frame


def hide(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the table with more missing cells, in nullable types, and the mask of hidden cells."""
    hidden = np.random.default_rng(seed).random(frame.shape) < HIDDEN
    hidden &= frame.notna().to_numpy()
    types = {name: "Int64" for name in frame if pd.api.types.is_integer_dtype(frame[name])}
    types |= {name: "boolean" for name in frame if pd.api.types.is_bool_dtype(frame[name])}
    return frame.astype(types).mask(hidden), hidden


def is_number(column: pd.Series) -> bool:
    """Return whether a column is numeric with more than two values."""
    number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return bool(number and column.nunique() > 2)


def errors(frame: pd.DataFrame, completed: pd.DataFrame, hidden: np.ndarray) -> dict[str, float]:
    """Return normalized RMSE of numeric columns, and PFC of the other columns.

    Both are over all hidden cells of the table; row identifiers are left out.
    """
    squares, wrong = [], []
    for j, name in enumerate(frame):
        column, mask = frame[name], hidden[:, j]
        if column.nunique() < 2 or not mask.any() or name not in completed:
            continue
        if is_number(column):
            error = completed[name].astype(float) - column.astype(float)
            squares.append((error / column.astype(float).std(ddof=0))[mask] ** 2)
        elif column.nunique() < column.notna().sum():
            wrong.append((completed[name].astype(str) != column.astype(str))[mask])
    rmse = float(np.sqrt(np.concatenate(squares).mean())) if squares else np.nan
    pfc = float(np.concatenate(wrong).mean()) if wrong else np.nan
    return {"nrmse": rmse, "pfc": pfc}


def impute_by_sklearn(name: str, incomplete: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Impute a table by scikit-learn, with ordinal codes of categories and standardized columns."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    categories, codes = {}, {}
    for column in incomplete:
        if is_number(frame[column]):
            codes[column] = incomplete[column].astype("Float64").to_numpy(float, na_value=np.nan)
        else:
            code, categories[column] = pd.factorize(incomplete[column], sort=True)
            codes[column] = np.where(code < 0, np.nan, code)
    numbers = pd.DataFrame(codes).dropna(axis=1, how="all")
    low, high = numbers.min(), numbers.max()
    if name == "mean or mode":
        coded = [column for column in numbers if column in categories]
        completed = numbers.fillna(numbers.mean())
        if coded:
            modes = SimpleImputer(strategy="most_frequent").fit_transform(numbers[coded])
            completed[coded] = modes
    else:
        center, scale = numbers.mean(), numbers.std().replace(0, 1).fillna(1)
        imputer = KNNImputer() if name == "KNNImputer" else IterativeImputer(random_state=0)
        scaled = imputer.fit_transform(((numbers - center) / scale).to_numpy())
        completed = pd.DataFrame(scaled, columns=numbers.columns) * scale + center
    for column in completed:
        if column in categories:
            nearest = completed[column].clip(low[column], high[column]).round().astype(int)
            completed[column] = categories[column].take(nearest)
    return completed


def run(table: str, method: str, cap: int, seed: int) -> dict[str, Any]:
    """Impute a table and return errors, time and memory; in a separate process."""
    warnings.simplefilter("ignore")
    frame = load(files()[table], cap)
    incomplete, hidden = hide(frame, seed)
    line: dict[str, Any] = {"rows": len(frame), "columns": frame.shape[1]}
    line["missing_share"] = frame.isna().to_numpy().mean()
    start = time.perf_counter()
    if method != OURS:
        completed = impute_by_sklearn(method, incomplete, frame)
        line["seconds"] = time.perf_counter() - start
        return line | errors(frame, completed, hidden)

    import skmissvae

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    imputer = skmissvae.MissSIWAEImputer(random_state=seed).fit(incomplete)
    line["fit_seconds"] = time.perf_counter() - start
    completed = imputer.transform(incomplete)
    line["seconds"] = time.perf_counter() - start
    drawn = imputer.impute(incomplete, 1)[0]
    score = imputer.score_samples(incomplete)
    line["all_seconds"] = time.perf_counter() - start
    line["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    observed = incomplete.notna()
    for imputed in (completed, drawn):
        assert not imputed.isna().any(axis=None), "all cells are imputed"
        assert imputed.dtypes.equals(incomplete.dtypes), "types do not change"
        pd.testing.assert_frame_equal(imputed.where(observed), incomplete.where(observed))
    assert np.isfinite(score).all(), "scores are finite"
    for kind in ("continuous", "count", "integer", "binary", "categorical", "ordinal"):
        line[kind] = list(imputer.feature_kinds_.values()).count(kind)
    line["not_modelled"] = int((imputer.fit_report_["role"] != "modelled").sum())
    return line | errors(frame, completed, hidden)


def report(results: pd.DataFrame) -> str:
    """Return the table, and the means over tables, as Markdown."""
    ours = results[results["method"] == OURS].set_index("table")
    kinds = ["continuous", "count", "integer", "binary", "categorical", "ordinal"]
    short = ["cont", "count", "int", "bin", "cat", "ord"]
    page = pd.DataFrame(index=ours.index)
    page["rows x columns"] = [f"{r:.0f} x {c:.0f}" for r, c in ours[["rows", "columns"]].to_numpy()]
    page["kinds"] = [
        ", ".join(f"{n:.0f} {s}" for n, s in zip(row, short, strict=True) if n > 0)
        for row in ours[kinds].to_numpy()
    ]
    page["missing"] = ours["missing_share"].map("{:.1%}".format)
    for name, title in (("fit_seconds", "fit, s"), ("all_seconds", "all, s"), ("megabytes", "MB")):
        if name in ours and ours[name].notna().all():
            page[title] = ours[name].map("{:.0f}".format)
    means = {}
    for measure, title in (("nrmse", "NRMSE"), ("pfc", "PFC")):
        wide = results.pivot_table(index="table", columns="method", values=measure)
        complete = wide.reindex(columns=[OURS, *PEERS]).dropna()
        means[title] = complete.mean()
        cells = wide.reindex(ours.index, columns=[OURS, *PEERS])
        page[title + ": MissSIWAE / mean or mode / KNN / iterative"] = [
            " / ".join("-" if np.isnan(v) else f"{v:.3f}" for v in row) for row in cells.to_numpy()
        ]
        means[f"{title}, tables on which MissSIWAE is better"] = complete.gt(
            complete[OURS], axis=0
        ).sum()
        means[f"{title}, tables"] = complete.notna().sum()
    text = markdown(pd.DataFrame(means).map("{:.4g}".format), "means over tables")
    failed = results[results["error"].notna()] if "error" in results else results[:0]
    lines = "".join(
        f"\n- {line.table}, {line.method}: {line.error}" for line in failed.itertuples()
    )
    return text + "\n" + markdown(page.astype(str), "table") + (lines and f"{lines}\n")


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="five small tables")
    parser.add_argument("--cap", type=int, default=5000, help="maximum number of rows")
    options = parser.parse_args()
    path = Path(__file__).with_name("mixed_quick.csv" if options.quick else "mixed.csv")
    tables = QUICK if options.quick else tuple(files())
    results = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["table", "method"])
    done = set(zip(results["table"], results["method"], strict=True))
    cells = [(t, m) for t in tables for m in (OURS, *PEERS) if (t, m) not in done]
    context = multiprocessing.get_context("spawn")
    # one process per run, so that its peak memory is that of the run
    with ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=1) as pool:
        work = {} if options.report else {pool.submit(run, *c, options.cap, 0): c for c in cells}
        for future in as_completed(work):
            line = dict(zip(("table", "method"), work[future], strict=True))
            try:
                line |= future.result()
            except Exception as error:  # a failure is a result
                traceback.print_exception(error)
                line["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            results = pd.concat([results, pd.DataFrame([line])], ignore_index=True)
            results.to_csv(path, index=False, float_format="%.5g")
            print(line, flush=True)
    text = report(results) + (
        "\nA fifth of the observed cells is hidden at random in addition to the missing cells of "
        "the table. NRMSE: root mean squared error of hidden numbers in standard deviations of "
        "their columns. PFC: share of hidden categories and binary values that are imputed "
        f"wrongly. At most {options.cap:,} rows, one mask, one seed. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
