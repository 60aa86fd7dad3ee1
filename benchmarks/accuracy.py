"""Imputation errors of this package and of other imputers, on twelve tables and four mechanisms.

``python benchmarks/accuracy.py`` hides cells, imputes them by each method of ``peers.py`` in a
separate process, and measures the errors of the hidden cells. Each run appends a line to
``accuracy.csv``; existing runs are not repeated. ``--report`` writes tables and figure from this
file. Imputers whose requirements conflict with those of this package run in separate environments,
which ``make peers`` installs.
"""

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables
from common import argument_parser, markdown, median_seconds, pyplot, run_grid, versions, write_page
from peers import METHODS, N_DRAWS, OURS
from scipy.stats import rankdata

from skmissvae import make_missing

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".venv-peers"
# The tables were fixed before any tuning, but some were also used to choose defaults: wine_red,
# concrete, breast_cancer, banknote and auto_mpg (one mask each, and two seeds of the first three)
# for epochs, steps and learning rates, heart_disease for the epochs of tables with categories.
TABLES = (
    "wine_red",
    "concrete",
    "breast_cancer",
    "banknote",
    "california_housing",
    "letter",
    "spam",
    "obesity",
    "climate",
    "heart_disease",
    "auto_mpg",
    "credit_data",
)
MECHANISMS = {"mcar 20%": 0.2, "mcar 50%": 0.5, "mar 30%": 0.3, "mnar 30%": 0.3}
HALF = "mcar 50%"
MAX_ROWS = 1000
SECONDS = 600  # time limit of a run
TIMES = ("fit_seconds", "transform_seconds")
RELATIVE = "RMSE / RMSE of the mean"
TABLES_BY = "{} tables by mechanisms"
MEASURES = {
    "pfc": "PFC",
    "crps": "CRPS",
    "coverage": "coverage of 90%",
    "log_density": "log-density",
    "downstream": "downstream",
}
QUICK = ("mean", "KNN", "iterative, ridge", OURS)


def encode_categories(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return a table with codes of categories, and their number in each column (0: numeric)."""
    columns, n_categories = [], []
    for name in frame:
        if pd.api.types.is_numeric_dtype(frame[name]):
            columns.append(frame[name].to_numpy(float))
            n_categories.append(0)
        else:
            codes, categories = pd.factorize(frame[name], sort=True)
            columns.append(np.where(codes < 0, np.nan, codes))
            n_categories.append(len(categories))
    return np.column_stack(columns), np.array(n_categories)


def downstream(completed: np.ndarray, n_categories: np.ndarray, target: pd.Series) -> float:
    """Return R2 of ridge regression or accuracy of logistic regression by 5-fold validation."""
    from peers import IncompleteTable
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    has_target = target.notna().to_numpy()
    x = IncompleteTable(completed, n_categories, completed, 0).with_indicators()[has_target]
    y = target[has_target]
    is_regression = pd.api.types.is_numeric_dtype(y) and y.nunique() > 10
    model = RidgeCV(np.logspace(-3, 3, 13)) if is_regression else LogisticRegression(max_iter=2000)
    y = y.to_numpy(float) if is_regression else pd.factorize(y)[0]
    order = np.random.default_rng(0).permutation(len(y))
    return float(cross_val_score(make_pipeline(StandardScaler(), model), x[order], y[order]).mean())


def is_installed(method: str) -> bool:
    """Return whether the environment of a method is installed."""
    return METHODS[method].environment is None or interpreter(method).exists()


def interpreter(method: str) -> Path:
    """Return the Python interpreter of a method."""
    name = METHODS[method].environment
    return Path(sys.executable) if name is None else ENVIRONMENTS / name / "bin" / "python"


def impute_in_process(
    method: str, incomplete: np.ndarray, truth: np.ndarray, n_categories: np.ndarray, seed: int
) -> dict[str, np.ndarray] | str:
    """Return the output of ``peers.py`` in a separate process, or the reason of its failure."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "source.npz", Path(folder) / "output.npz"
        np.savez(source, x=incomplete, truth=truth, n_categories=n_categories)
        command = [interpreter(method), HERE / "peers.py", method, source, str(seed), output]
        # a new session, so that a timeout also ends the processes that the method starts
        process = subprocess.Popen(
            [*map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, stderr = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if not output.exists():
                return f"more than {SECONDS} s"
        else:
            if process.returncode:
                lines = [line for line in stderr.splitlines() if "Error" in line]
                return (lines or stderr.splitlines() or ["failed"])[-1][:200]
        with np.load(output) as file:
            return dict(file)


def hide(frame: pd.DataFrame, mechanism: str, seed: int) -> tuple[np.ndarray, ...]:
    """Return a table as numbers, the mask of the cells to hide, and the numbers of categories."""
    truth, n_categories = encode_categories(frame)
    _, hidden = make_missing(
        truth, mechanism.split()[0], MECHANISMS[mechanism], random_state=seed, return_mask=True
    )
    hidden[:, (~np.isnan(truth) & ~hidden).sum(0) < 2] = False  # two observed cells per column
    return truth, hidden, n_categories


def run(method: str, table: str, mechanism: str, seed: int) -> dict[str, Any]:
    """Hide cells, impute them by a method, and return its errors."""
    frame, target = tables.load_whole(table, MAX_ROWS)
    truth, hidden, n_categories = hide(frame, mechanism, seed)
    incomplete = np.where(hidden, np.nan, truth)
    output = impute_in_process(method, incomplete, truth, n_categories, seed)
    if isinstance(output, str):
        return {"error": output}
    return measures(output, truth, hidden, n_categories, target)


def measures(
    output: dict[str, np.ndarray],
    truth: np.ndarray,
    hidden: np.ndarray,
    n_categories: np.ndarray,
    target: pd.Series,
) -> dict[str, Any]:
    """Return errors and scores of an imputed table."""
    completed = output["completed"]
    if not np.isfinite(completed).all():
        return {"error": "cells are left missing"}
    unit = np.where(n_categories == 0, np.nanstd(truth, 0), 1.0)
    numeric = hidden & (n_categories == 0)
    deviation = ((completed - truth) / unit)[numeric]
    values: dict[str, Any] = {
        "rmse": float(np.sqrt(np.mean(deviation**2))),
        "mae": float(np.abs(deviation).mean()),
        "fit_seconds": float(output["fit_seconds"]),
        "transform_seconds": float(output["transform_seconds"]),
    }
    categorical = hidden & (n_categories > 0)
    if categorical.any():
        values["pfc"] = float((completed != truth)[categorical].mean())
    if "draws" in output:
        units = np.broadcast_to(unit, truth.shape)[numeric]
        draws = np.sort(output["draws"][:, numeric[hidden]] / units, axis=0)  # (S, n)
        values |= draw_scores(draws, truth[numeric] / units)
    if "log_density" in output and np.isfinite(output["log_density"]):
        log_units = float(np.log(np.broadcast_to(unit, truth.shape)[hidden]).sum())
        values["log_density"] = (float(output["log_density"]) + log_units) / int(hidden.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values["downstream"] = downstream(completed, n_categories, target)
    return values


def draw_scores(draws: np.ndarray, value: np.ndarray) -> dict[str, float]:
    """Return CRPS, and coverage of the range of 19 draws: sorted draws (S, n), values (n,)."""
    n = len(draws)
    # mean distance of two draws; this estimate of the CRPS is unbiased
    distance = 2 * ((2 * np.arange(1, n + 1) - n - 1)[:, None] * draws).sum(0) / (n * (n - 1))
    scores = {"crps": float((np.abs(draws - value).mean(0) - 0.5 * distance).mean())}
    if n == N_DRAWS:
        scores["coverage"] = float(((draws[0] <= value) & (value <= draws[-1])).mean())
    return scores


def relative_errors(results: pd.DataFrame, measure: str = "rmse") -> pd.DataFrame:
    """Return errors relative to mean imputation, (tables by mechanisms, methods).

    They are means over seeds, NaN if a run failed. Methods that lack runs are left out.
    """
    index = ["table", "mechanism", "seed"]
    wide = results.pivot_table(index=index, columns="method", values=measure, dropna=False)
    has_run = results.assign(ran=1).pivot_table(index=index, columns="method", values="ran")
    has_run = has_run.reindex(wide.index)
    methods = [name for name in METHODS if name in has_run and has_run[name].notna().all()]
    wide = wide.loc[:, methods]
    mean = wide.groupby(["table", "mechanism"], sort=False).agg(lambda v: v.mean(skipna=False))
    return mean.div(mean["mean"], axis=0) if "mean" in mean else mean


def ranks(errors: pd.DataFrame) -> pd.DataFrame:
    """Return ranks within each row; failed methods share the last ranks."""
    filled = errors.fillna(np.inf).to_numpy()
    return pd.DataFrame(rankdata(filled, axis=1), errors.index, errors.columns)


def common_mean(results: pd.DataFrame, measure: str, methods: list[str]) -> dict[str, str]:
    """Return the mean of a measure by method, over the runs in which all methods have it."""
    if measure not in results:
        return {}
    part = results[results["method"].isin(methods)].dropna(subset=[measure])
    index = ["table", "mechanism", "seed"]
    wide = part.pivot_table(index=index, columns="method", values=measure)
    return {m: f"{value:.3f}" for m, value in wide.dropna().mean().items()}


def interval(values: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of a mean by a bootstrap of groups of values."""
    rng = np.random.default_rng(0)
    means = pd.Series(values).groupby(groups).mean().to_numpy()
    resampled = rng.choice(means, (2000, len(means))).mean(1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


def report(results: pd.DataFrame, figure: Path | None) -> str:
    """Return the tables as Markdown, and draw the figure.

    The first tables are of the first mask, with most methods. Two short tables follow: of half of
    the cells missing completely at random, which includes methods that are too slow for the other
    mechanisms; and of all masks, for methods that have run on all of them.
    """
    first = results[results["seed"] == 0]
    text = first_mask_tables(first, figure)
    complete = relative_errors(results)
    if not {"mean", OURS} <= set(complete):
        return text
    half = first[first["mechanism"] == HALF]
    methods = set(relative_errors(first))
    if set(relative_errors(half)) > methods:
        text += f"\nFirst mask, {HALF} only, with slow methods:\n\n"
        text += short_table(half)
        text += failures(half[~half["method"].isin(methods)])
    n_masks = results["seed"].nunique()
    if n_masks > 1:
        text += f"\n{n_masks} masks, methods that have run on all of them:\n\n"
        text += short_table(results)
        part = results[results["method"].isin(complete)]
        text += ratio_by_table(part[part["rmse"].notna()]) + failures(part)
    return text


def short_table(results: pd.DataFrame) -> str:
    """Return a table of ranks and errors of the methods that have all runs."""
    complete = relative_errors(results)
    rank = ranks(complete).mean().sort_values()
    part = results[results["method"].isin(complete)]
    by_cell = part.groupby(["method", "table", "mechanism"])["rmse"]
    pfc = common_mean(part, "pfc", list(complete))
    columns = {
        "mean rank": rank.map("{:.2f}".format),
        RELATIVE: np.exp(np.log(complete).mean()).map("{:.3f}".format),
        "MissSIWAE better / worse": pd.Series({m: against(complete, m) for m in complete}),
        "failed": complete.isna().sum().astype(str),
        MEASURES["pfc"]: pd.Series({m: pfc.get(m, "") for m in complete}),
    }
    if len(seconds := median_seconds(part, "method", TIMES)):
        columns["fit and transform, s"] = seconds
    if results["seed"].nunique() > 1:
        spread = by_cell.std().groupby("method").mean()
        columns["SD of RMSE over masks"] = spread.map("{:.3f}".format)
    frame = pd.DataFrame(columns).loc[rank.index].fillna("")
    return markdown(frame, TABLES_BY.format(len(complete)))


def against(complete: pd.DataFrame, method: str) -> str:
    """Return on how many tables and mechanisms MissSIWAE is better, and on how many worse."""
    if method == OURS:
        return ""
    ours, theirs = (complete[m].fillna(np.inf) for m in (OURS, method))
    return f"{int((ours < theirs).sum())} / {int((ours > theirs).sum())}"


def failures(results: pd.DataFrame) -> str:
    """Return a line per method, table and error."""
    if "error" not in results:
        return ""
    failed = results[results["error"].notna()].groupby(["method", "table", "error"], sort=False)
    return "".join(
        f"\n- {method} on {table}, {size} runs: {error}"
        for (method, table, error), size in failed.size().items()
    )


def first_mask_tables(results: pd.DataFrame, figure: Path | None) -> str:
    """Return a summary by method, and errors by table and mechanism."""
    succeeded = results if "error" not in results else results[results["error"].isna()]
    complete = relative_errors(results)
    if not {"mean", OURS} <= set(complete):
        return f"The tables require runs of the mean and of {OURS}.\n"
    rank = ranks(complete)
    groups = complete.index.get_level_values("table").to_numpy()
    means = {measure: common_mean(succeeded, measure, list(complete)) for measure in MEASURES}
    lines = {}
    for method in complete:
        low, high = interval(rank[method].to_numpy(), groups)
        lines[method] = {
            "mean rank": f"{rank[method].mean():.2f} ({low:.2f} to {high:.2f})",
            RELATIVE: f"{np.exp(np.log(complete[method].dropna()).mean()):.3f}",
            "MissSIWAE better / worse": against(complete, method),
            "failed": f"{int(complete[method].isna().sum())}",
            **{title: means[measure].get(method, "") for measure, title in MEASURES.items()},
        }
    summary = pd.DataFrame(lines).T.replace("nan", "")
    if len(seconds := median_seconds(succeeded, "method", TIMES)):
        summary["fit and transform, s"] = seconds.reindex(summary.index).fillna("")
    summary = summary.loc[rank.mean().sort_values().index]
    text = markdown(summary, TABLES_BY.format(len(complete)))
    text += "\nRMSE relative to that of mean imputation, by table and mechanism:\n\n"
    texts = complete.map("{:.3f}".format).replace("nan", "")
    for i, row in enumerate(complete.to_numpy()):
        best = int(np.nanargmin(row))
        texts.iloc[i, best] = f"**{texts.iloc[i, best]}**"
    texts.index = pd.Index([", ".join(names) for names in complete.index])
    text += markdown(texts, "table, mechanism")
    text += ratio_by_table(succeeded)
    text += failures(results[results["method"].isin(complete)])
    if figure is not None:
        draw(complete, rank, figure)
    return text + "\n"


def ratio_by_table(results: pd.DataFrame, peer: str = "iterative, ridge") -> str:
    """Return our error relative to that of IterativeImputer, by table."""
    mean = results.groupby(["table", "method"], sort=False)["rmse"].mean().unstack()
    if peer not in mean:
        return ""
    ratio = (mean[OURS] / mean[peer]).dropna()
    texts = ", ".join(f"{table} {value:.3f}" for table, value in ratio.items())
    return f"\nRMSE of {OURS} relative to IterativeImputer with BayesianRidge: {texts}.\n"


def draw(complete: pd.DataFrame, rank: pd.DataFrame, path: Path) -> None:
    """Draw the errors by table and mechanism, a row per method, the best rank at the top."""
    plt = pyplot()
    order = rank.mean().sort_values(ascending=False).index
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(order) + 1.3), layout="constrained")
    rng = np.random.default_rng(0)
    for place, method in enumerate(order):
        values = complete[method].dropna().clip(upper=1.6)
        jitter = place + rng.uniform(-0.18, 0.18, len(values))
        color = "C3" if method == OURS else "0.55"
        ax.scatter(values, jitter, s=9, color=color, alpha=0.6, linewidths=0)
        middle = np.exp(np.log(values).mean())
        ax.plot([middle, middle], [place - 0.33, place + 0.33], color=color, lw=2)
    labels = [f"{method}  ({rank[method].mean():.1f})" for method in order]
    ax.set_yticks(range(len(order)), labels)
    ax.axvline(1, color="0.8", lw=1, zorder=0)
    ax.set_xlabel("RMSE relative to mean imputation, at most 1.6")
    title = "Points: table and mechanism. Bars: geometric mean. In brackets: mean rank"
    ax.set_title(title, fontsize=10)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Run what is not in the CSV file yet, and write tables and figure."""
    parser = argument_parser(__doc__, quick="three tables, half of the cells missing, four methods")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="methods to run")
    parser.add_argument(
        "--mechanisms", nargs="+", default=list(MECHANISMS), choices=list(MECHANISMS)
    )
    parser.add_argument("--seeds", type=int, default=3, help="masks per table and mechanism")
    options = parser.parse_args()
    path = HERE / ("accuracy_quick.csv" if options.quick else "accuracy.csv")
    methods = [m for m in options.methods if m in QUICK] if options.quick else options.methods
    names = ("auto_mpg", "breast_cancer", "concrete") if options.quick else TABLES
    if unavailable := [name for name in names if not tables.is_available(name)]:
        print(f"Skipped tables without a public source (set $SKMISSVAE_DATA): {unavailable}.")
    if missing := [name for name in methods if not is_installed(name)]:
        print(f"Skipped methods that are not installed (make peers): {', '.join(missing)}.")
    methods = [name for name in methods if name not in missing]
    cells = [
        (method, table, mechanism, seed)
        for seed in range(1 if options.quick else options.seeds)
        for method in methods
        for table in names
        if table not in unavailable
        for mechanism in ([HALF] if options.quick else options.mechanisms)
    ]
    keys = ["method", "table", "mechanism", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    text = report(results, None if options.quick else path.with_suffix(".png"))
    text += (
        "\n\nRMSE and CRPS are of hidden cells of numeric columns, in standard deviations of their "
        "columns. PFC: share of hidden categories that are imputed wrongly. Coverage: of the range "
        "of 19 draws, nominally 90%. Log-density: of the hidden cells of a row given its observed "
        "cells, nats per cell, on tables of continuous columns. Downstream: R2 or accuracy of a "
        "linear model of the target on the imputed table. These are means over the runs that all "
        "methods with the measure have. Ranks are by RMSE, with 95% bootstrap intervals over "
        "tables; failed methods share the last ranks. miceforest failed on obesity and credit_data "
        "with its default and was run there with mean_match_strategy='fast'. At most "
        f"{MAX_ROWS} rows, default parameters. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
