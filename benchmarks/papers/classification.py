"""MVAE and MIWAE on MNIST with missing pixels: log-likelihood by epoch, and classification.

``python benchmarks/papers/classification.py`` fits MVAE and MIWAE to binarized digits with pixels
missing completely at random, or with halves of digits missing at random given the other half, and
measures the log-likelihood of test images by epoch (Mattei and Frellsen 2019). Then it classifies
digits with half of the pixels missing in training and test: imputed by zeros, by single and by
multiple imputation, and complete digits. Each run appends a line to ``classification.csv``;
existing runs are not repeated.

Multiple imputation averages classifiers, which by itself improves the accuracy. Therefore single
imputations are also classified by as many classifiers.
"""

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neural_network import MLPClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import (
    argument_parser,
    markdown,
    mean_and_spread,
    pyplot,
    run_grid,
    versions,
    write_page,
)
from images import SHAPE, mnist
from masks import hide_parts

from skmissvae import MIWAEImputer, MVAEImputer, make_missing
from skmissvae.inspection import log_likelihood

#: Published accuracy and cross-entropy with 60,000 digits.
PUBLISHED = {
    "zeros": (0.9739, 0.1003),
    "missForest": (0.9805, 0.0645),
    "MIWAE, single": (0.9847, 0.0510),
    "MIWAE, multiple": (0.9870, 0.0396),
    "complete digits": (0.9866, 0.0464),
}
IMPUTERS = {"MVAE": MVAEImputer, "MIWAE": MIWAEImputer}
MECHANISMS = ("half of the pixels", "halves at random")
EPOCHS = (1, 2, 5, 10, 20, 30)
N_IMPUTATIONS = 5


def digits(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return binarized digits and labels of training and test."""
    X, y, X_test, y_test = mnist()
    rng = np.random.default_rng(seed)
    subset = rng.permutation(len(X))[:rows]
    X, y, X_test, y_test = X[subset], y[subset], X_test[: rows // 4], y_test[: rows // 4]
    X, X_test = ((rng.random(part.shape) < part).astype(np.float32) for part in (X, X_test))
    return X, y, X_test, y_test


def hide(X: np.ndarray, mechanism: str, seed: int) -> np.ndarray:
    """Return digits with missing pixels."""
    if mechanism == "half of the pixels":
        return hide_parts(X, "pixels", 0.5, SHAPE, seed)
    # 80% of the digits lose a half, more often if the other half has much ink
    rows, columns = np.divmod(np.arange(X.shape[1]), SHAPE[1])
    halves = np.array([rows < 14, rows >= 14, columns < 14, columns >= 14])
    return make_missing(X, "mar", 0.8, of="rows", patterns=halves, random_state=seed)


def imputer(name: str, epochs: int, rows: int, seed: int) -> Any:
    """Return an imputer for digits."""
    return IMPUTERS[name](
        n_draws=5,
        n_latents=40,
        likelihood="bernoulli",
        n_hidden=256,
        max_iter=epochs,
        keep_empty_features=True,
        n_importance_draws=100 if rows > 2000 else 10,
        strategy="mean",
        early_stopping=False,
        random_state=seed,
    )


def run_density(name: str, mechanism: str, rows: int, seed: int) -> dict[str, float]:
    """Fit, and return the test log-likelihoods of some epochs."""
    X, _, X_test, _ = digits(rows, seed)
    X, X_test = hide(X, mechanism, seed), hide(X_test[:200], mechanism, seed + 1)
    fitted, outcome = imputer(name, EPOCHS[-1], rows, seed), {}
    for epoch in range(1, (EPOCHS[-1] if rows > 2000 else 2) + 1):
        fitted.partial_fit(X)
        if epoch in EPOCHS:
            n_draws = 500 if rows > 2000 else 50
            outcome[f"epoch {epoch}"] = log_likelihood(fitted, X_test, n_draws=n_draws).mean
    return outcome


def classifiers(
    X: list[np.ndarray], y: np.ndarray, n: int, seed: int
) -> list[tuple[ClassifierMixin, int]]:
    """Return n classifiers and the index of the table that each is fitted to."""
    return [
        (
            MLPClassifier((256,), early_stopping=True, max_iter=50, random_state=seed + i).fit(
                X[i % len(X)], y
            ),
            i % len(X),
        )
        for i in range(n)
    ]


def run_classification(rows: int, seed: int) -> dict[str, float]:
    """Impute and classify digits, and return accuracies and cross-entropies."""
    X, y, X_test, y_test = digits(rows, seed)
    incomplete = hide(X, MECHANISMS[0], seed), hide(X_test, MECHANISMS[0], seed + 1)
    ways: dict[str, tuple[list[np.ndarray], list[np.ndarray], int]] = {
        "complete digits": ([X], [X_test], 1),
        "zeros": ([np.nan_to_num(incomplete[0])], [np.nan_to_num(incomplete[1])], 1),
    }
    for name in IMPUTERS:
        fitted = imputer(name, 30 if rows > 2000 else 2, rows, seed).fit(incomplete[0])
        single = [fitted.transform(part) for part in incomplete]
        ways[f"{name}, single"] = ([single[0]], [single[1]], 1)
        ways[f"{name}, single, {N_IMPUTATIONS} classifiers"] = (
            [single[0]],
            [single[1]],
            N_IMPUTATIONS,
        )
        multiple = [
            list(fitted.impute(part, N_IMPUTATIONS, random_state=seed)) for part in incomplete
        ]
        ways[f"{name}, multiple"] = (multiple[0], multiple[1], N_IMPUTATIONS)
    outcome: dict[str, float] = {}
    for way, (train, test, n) in ways.items():
        members = classifiers(train, y, n, seed)
        p = np.mean([member.predict_proba(test[i]) for member, i in members], 0)
        outcome[f"{way}: accuracy"] = float(accuracy_score(y_test, p.argmax(1)))
        outcome[f"{way}: cross-entropy"] = float(log_loss(y_test, p, labels=range(10)))
    return outcome


def run(part: str, name: str, mechanism: str, rows: int, seed: int) -> dict[str, float]:
    """Run the part "density" or "classification"."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant pixels, low effective sample sizes
        if part == "density":
            outcome = run_density(name, mechanism, rows, seed)
        else:
            outcome = run_classification(rows, seed)
    return {**outcome, "seconds": time.perf_counter() - start}


def draw(by_epoch: pd.DataFrame, path: Path) -> None:
    """Draw test log-likelihoods by epoch, a panel per mechanism and a line per method."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for ax, mechanism in zip(axes, MECHANISMS, strict=True):
        for name in IMPUTERS:
            part = by_epoch[(by_epoch["imputer"] == name) & (by_epoch["mechanism"] == mechanism)]
            means = part[[f"epoch {epoch}" for epoch in EPOCHS]].mean()
            ax.plot(EPOCHS, means, marker="o", label=name)
        ax.set(title=f"missing: {mechanism}", xlabel="epoch")
    axes[0].set_ylabel("log-likelihood of observed pixels")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run what is not in the CSV file yet, and write the tables and the figure."""
    parser = argument_parser(__doc__, quick="500 digits, 2 epochs")
    parser.add_argument("--rows", type=int, default=5000, help="60,000 in the paper")
    parser.add_argument("--seeds", type=int, default=1, help="samples of digits")
    options = parser.parse_args()
    rows = 500 if options.quick else options.rows
    name = "classification_quick.csv" if options.quick else "classification.csv"
    path = Path(__file__).with_name(name)
    cells = [
        cell
        for seed in range(options.seeds)
        for cell in (
            ("classification", "all", MECHANISMS[0], rows, seed),
            *(("density", i, mechanism, rows, seed) for mechanism in MECHANISMS for i in IMPUTERS),
        )
    ]
    keys = ["part", "imputer", "mechanism", "rows", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    results = results[results["rows"] == rows]
    measures = [name for name in results if ": " in name]
    long = results[results["part"] == "classification"].melt(["seed"], measures, "name", "value")
    long[["way", "measure"]] = long["name"].str.split(": ", expand=True)
    frame = mean_and_spread(long.dropna(), "way", "measure", "value").astype(str)
    for i, measure in enumerate(("accuracy", "cross-entropy")):
        figures = {way: f"{values[i]:.4f}" for way, values in PUBLISHED.items()}
        frame[f"{measure}, published"] = [figures.get(way, "") for way in frame.index]
    text = f"Digits with half of the pixels missing:\n\n{markdown(frame, 'imputation')}"
    by_epoch = results[results["part"] == "density"].copy()
    epochs = [name for name in results if name.startswith("epoch ")]
    if len(by_epoch):
        by_epoch.index = by_epoch["imputer"] + ", " + by_epoch["mechanism"]
        means = by_epoch[epochs].groupby(level=0, sort=False).mean().map("{:.1f}".format)
        text += (
            f"\nLog-likelihood of the observed pixels of {min(200, rows // 4)} test digits by "
            "epoch, nats:\n\n" + markdown(means, "method, missing")
        )
    text += (
        f"\n{rows:,} binarized training digits and {rows // 4:,} test digits; published: 60,000 "
        "digits and another classifier. Classifiers are perceptrons of 256 units with early "
        f"stopping. Multiple: the mean of {N_IMPUTATIONS} classifiers, one per imputation. "
        f"{versions()}"
    )
    write_page(path, text)
    if len(by_epoch) and not options.quick:
        draw(by_epoch, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
