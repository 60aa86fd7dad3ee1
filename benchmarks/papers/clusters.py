"""Clusters in incomplete tables: by components of a learned prior, and by k-means of latents.

``python benchmarks/papers/clusters.py`` hides 30% of the cells of tables with known classes and
compares the classes with clusters: the most probable component of a learned mixture prior given the
observed cells of a row, in a density estimator of two latents; and k-means of the latents of an
imputer, of its imputed table, and of a table with mean imputation. Each run appends a line to
``clusters.csv``; existing runs are not repeated.
"""

import functools
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.impute import SimpleImputer
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import argument_parser, markdown, mean_and_spread, run_grid, versions, write_page

from skmissvae import MissSIWAEImputer, VAEDensityEstimator, make_missing
from skmissvae.inference import ConditionalModel, RowBatch
from skmissvae.vae import MixturePrior

TABLES = {"wine": load_wine, "iris": load_iris, "breast_cancer": load_breast_cancer}


class Probabilities(NamedTuple):
    """Probabilities of the components of the prior given the observed cells of rows."""

    value: Tensor  # (B, C)


def by_prior(X: np.ndarray, n_components: int, seed: int) -> np.ndarray:
    """Return the most probable component of a learned mixture prior for each row."""
    prior = functools.partial(MixturePrior, n_components=n_components)
    density = VAEDensityEstimator(prior=prior, n_latents=2, random_state=seed).fit(X)

    def probabilities(model: ConditionalModel, batch: RowBatch) -> Probabilities:
        z, w, _ = model.weighted_latents(batch)  # (M, 1, L), (M,)
        mixture = model.vae.prior()
        log_p = mixture.log_pi + mixture.component.log_prob(z.unsqueeze(-2))  # (M, 1, C)
        return Probabilities((w.double() @ log_p.squeeze(1).softmax(-1).double()).unsqueeze(0))

    return np.asarray(density.map_rows(X, probabilities).value).argmax(1)


def run(table: str, seed: int) -> dict[str, float]:
    """Return adjusted Rand indices."""
    X, y = TABLES[table](return_X_y=True)
    n = len(np.unique(y))
    incomplete = make_missing(X, "mcar", 0.3, random_state=seed)

    def k_means(values: np.ndarray, scale: bool = True) -> np.ndarray:
        values = StandardScaler().fit_transform(values) if scale else values
        return KMeans(n, n_init=10, random_state=seed).fit_predict(values)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputer = MissSIWAEImputer(random_state=seed).fit(incomplete)
        groups = {
            "k-means, no cell missing": k_means(X),
            "k-means, mean imputation": k_means(SimpleImputer().fit_transform(incomplete)),
            "k-means, imputation by MissSIWAE": k_means(imputer.transform(incomplete)),
            "k-means, latents of MissSIWAE": k_means(imputer.encode(incomplete), scale=False),
            "prior with a component per class": by_prior(incomplete, n, seed),
            "prior with ten components": by_prior(incomplete, 10, seed),
        }
    return {name: float(adjusted_rand_score(y, labels)) for name, labels in groups.items()}


def main() -> None:
    """Run what is not in the CSV file yet, and write the table."""
    parser = argument_parser(__doc__, quick="one table, one seed")
    options = parser.parse_args()
    path = Path(__file__).with_name("clusters_quick.csv" if options.quick else "clusters.csv")
    tables, seeds = (["iris"], 1) if options.quick else (list(TABLES), 3)
    cells = [(table, seed) for seed in range(seeds) for table in tables]
    keys = ["table", "seed"]
    results = run_grid(path, keys, [] if options.report else cells, run, options.jobs)
    ways = [name for name in results if name not in keys]
    long = results.melt("table", ways, "way", "index")
    text = markdown(mean_and_spread(long, "way", "table", "index").loc[ways], "clusters") + (
        "\nAdjusted Rand index of clusters and classes, 30% of the cells missing completely at "
        f"random: mean (standard deviation) over {results['seed'].nunique()} seeds of mask and "
        f"model. {versions()}"
    )
    write_page(path, text)


if __name__ == "__main__":
    main()
