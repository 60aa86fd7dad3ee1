"""Every table of mixed types there is at hand, with its own holes, by default parameters.

``python benchmarks/mixed.py`` takes each file of ``B_tabular`` and ``E_real_missing`` of
``$SKMISSVAE_DATA`` through fit, transform, impute and score_samples, hides a fifth of the observed
cells on top of the table's own holes, and compares errors on them with those of the mean or mode,
of KNNImputer and of IterativeImputer. Each run adds a line to ``mixed.csv``; runs that are there
are not done again, and what failed is written down as such.
"""

import argparse
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
from common import markdown, versions

OURS = "MissSIWAEImputer"
PEERS = ("mean or mode", "KNNImputer", "IterativeImputer")
GROUPS = ("B_tabular", "E_real_missing")
HIDDEN = 0.2
QUICK = ("penguins", "airquality", "nlsyV", "chain", "survey_mass")


def files() -> dict[str, Path]:
    """Return the tables by name, small ones first."""
    folder = os.environ.get("SKMISSVAE_DATA")
    if not folder:
        raise SystemExit(
            "These tables come from many public sources (UCI, R packages; see the benchmark's "
            "table for their names); set $SKMISSVAE_DATA to a folder that holds B_tabular and "
            "E_real_missing."
        )
    found = [path for group in GROUPS for path in sorted((Path(folder) / group).glob("*.csv.gz"))]
    found.sort(key=lambda path: path.stat().st_size)
    return {path.name.removesuffix(".csv.gz"): path for path in found}


def load(path: Path, cap: int) -> pd.DataFrame:
    """Return a table, or some of its rows."""
    frame = pd.read_csv(path)
    if len(frame) > cap:
        frame = frame.sample(cap, random_state=0).sort_index().reset_index(drop=True)
    return frame


def hide(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the table with more holes, in types that can have them, and which ones are new."""
    hidden = np.random.default_rng(seed).random(frame.shape) < HIDDEN
    hidden &= frame.notna().to_numpy()
    types = {name: "Int64" for name in frame if pd.api.types.is_integer_dtype(frame[name])}
    types |= {name: "boolean" for name in frame if pd.api.types.is_bool_dtype(frame[name])}
    return frame.astype(types).mask(hidden), hidden


def is_number(column: pd.Series) -> bool:
    """Tell whether a column is judged as numbers: all but words, flags and pairs of values."""
    number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return bool(number and column.nunique() > 2)


def errors(frame: pd.DataFrame, completed: pd.DataFrame, hidden: np.ndarray) -> dict[str, float]:
    """Return normalised RMSE of numbers and the proportion of categories falsely classified.

    Both are over all hidden cells of the table; columns of words that are all different have none.
    """
    squares, wrong = [], []
    for j, name in enumerate(frame):
        column, where = frame[name], hidden[:, j]
        if column.nunique() < 2 or not where.any() or name not in completed:
            continue
        if is_number(column):
            off = completed[name].astype(float) - column.astype(float)
            squares.append((off / column.astype(float).std(ddof=0))[where] ** 2)
        elif column.nunique() < column.notna().sum():
            wrong.append((completed[name].astype(str) != column.astype(str))[where])
    rmse = float(np.sqrt(np.concatenate(squares).mean())) if squares else np.nan
    pfc = float(np.concatenate(wrong).mean()) if wrong else np.nan
    return {"nrmse": rmse, "pfc": pfc}


def by_peer(name: str, incomplete: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Complete a table by an imputer of scikit-learn: categories by ordinal codes, all scaled."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    levels, codes = {}, {}
    for column in incomplete:
        if is_number(frame[column]):
            codes[column] = incomplete[column].astype("Float64").to_numpy(float, na_value=np.nan)
        else:
            found, levels[column] = pd.factorize(incomplete[column], sort=True)
            codes[column] = np.where(found < 0, np.nan, found)
    numbers = pd.DataFrame(codes).dropna(axis=1, how="all")
    low, high = numbers.min(), numbers.max()
    if name == "mean or mode":
        words = [column for column in numbers if column in levels]
        completed = numbers.fillna(numbers.mean())
        if words:
            modes = SimpleImputer(strategy="most_frequent").fit_transform(numbers[words])
            completed[words] = modes
    else:
        centre, scale = numbers.mean(), numbers.std().replace(0, 1).fillna(1)
        imputer = KNNImputer() if name == "KNNImputer" else IterativeImputer(random_state=0)
        scaled = imputer.fit_transform(((numbers - centre) / scale).to_numpy())
        completed = pd.DataFrame(scaled, columns=numbers.columns) * scale + centre
    for column in completed:
        if column in levels:
            nearest = completed[column].clip(low[column], high[column]).round().astype(int)
            completed[column] = levels[column].take(nearest)
    return completed


def run(table: str, method: str, cap: int, seed: int) -> dict[str, Any]:
    """Complete a table and return what there is to know of it; runs in a process of its own."""
    warnings.simplefilter("ignore")
    frame = load(files()[table], cap)
    incomplete, hidden = hide(frame, seed)
    line: dict[str, Any] = {"rows": len(frame), "columns": frame.shape[1]}
    line["missing_share"] = frame.isna().to_numpy().mean()
    start = time.perf_counter()
    if method != OURS:
        completed = by_peer(method, incomplete, frame)
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
    for made in (completed, drawn):
        seen = incomplete.notna()
        assert not made.isna().any(axis=None), "a hole is left"
        assert made.dtypes.equals(incomplete.dtypes), "a type is lost"
        pd.testing.assert_frame_equal(made.where(seen), incomplete.where(seen))
    assert np.isfinite(score).all(), "a score is not finite"
    for kind in ("continuous", "count", "integer", "binary", "categorical", "ordinal"):
        line[kind] = list(imputer.feature_kinds_.values()).count(kind)
    line["aside"] = int((imputer.fit_report_["role"] != "modelled").sum())
    return line | errors(frame, completed, hidden)


def report(results: pd.DataFrame) -> str:
    """Return the table and the means as Markdown."""
    ours = results[results["method"] == OURS].set_index("table")
    kinds = ["continuous", "count", "integer", "binary", "categorical", "ordinal"]
    short = ["cont", "count", "int", "bin", "cat", "ord"]
    shown = pd.DataFrame(index=ours.index)
    shown["rows x columns"] = [
        f"{r:.0f} x {c:.0f}" for r, c in ours[["rows", "columns"]].to_numpy()
    ]
    shown["kinds"] = [
        ", ".join(f"{n:.0f} {s}" for n, s in zip(row, short, strict=True) if n > 0)
        for row in ours[kinds].to_numpy()
    ]
    shown["missing"] = ours["missing_share"].map("{:.1%}".format)
    for name, title in (("fit_seconds", "fit, s"), ("all_seconds", "all, s"), ("megabytes", "MB")):
        shown[title] = ours[name].map("{:.0f}".format)
    means = {}
    for measure, title in (("nrmse", "NRMSE"), ("pfc", "PFC")):
        wide = results.pivot_table(index="table", columns="method", values=measure)
        complete = wide.reindex(columns=[OURS, *PEERS]).dropna()
        means[title] = complete.mean()
        cells = wide.reindex(ours.index, columns=[OURS, *PEERS])
        shown[title + ": ours / mean or mode / KNN / iterative"] = [
            " / ".join("-" if np.isnan(v) else f"{v:.3f}" for v in row) for row in cells.to_numpy()
        ]
        means[f"{title}, tables where ours is better"] = complete.gt(complete[OURS], axis=0).sum()
        means[f"{title}, tables"] = complete.notna().sum()
    whole = pd.DataFrame(means)
    text = markdown(whole.map("{:.4g}".format), "means over tables")
    failed = results[results["error"].notna()] if "error" in results else results[:0]
    lines = "".join(
        f"\n- {line.table}, {line.method}: {line.error}" for line in failed.itertuples()
    )
    return text + "\n" + markdown(shown.astype(str), "table") + lines


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five small tables")
    parser.add_argument("--cap", type=int, default=5000, help="rows of a table at most")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--report", action="store_true", help="write what is done, run nothing")
    options = parser.parse_args()
    path = Path(__file__).with_name("mixed_quick.csv" if options.quick else "mixed.csv")
    tables = QUICK if options.quick else tuple(files())
    results = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["table", "method"])
    done = set(zip(results["table"], results["method"], strict=True))
    cells = [(t, m) for t in tables for m in (OURS, *PEERS) if (t, m) not in done]
    context = multiprocessing.get_context("spawn")
    # a process a run: peak memory is that of the run
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
        "\nA fifth of the observed cells was hidden at random on top of the table's own holes; "
        "NRMSE: root mean squared error of hidden numbers in standard deviations of their columns; "
        "PFC: proportion of hidden categories, flags and two-valued numbers falsely classified. "
        f'Tables are capped at {options.cap:,} rows; "all" is fit, transform, one imputation and '
        f"score_samples. One mask, one seed. {versions()}"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
