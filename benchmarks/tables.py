"""The benchmark's tables: from the folder $SKMISSVAE_DATA, else from a public source."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from sklearn.datasets import fetch_openml, load_breast_cancer, load_diabetes

MAX_ROWS = 2000
FILES = {
    "wine_red": "A_miwae_uci/wine_red.csv.gz",
    "concrete": "A_miwae_uci/concrete.csv.gz",
    "breast_cancer": "A_miwae_uci/breast_cancer.csv.gz",
    "banknote": "A_miwae_uci/banknote.csv.gz",
    "diabetes": "B_tabular/diabetes_sklearn.csv.gz",
    "wine_white": "A_miwae_uci/wine_white.csv.gz",
    "energy_efficiency": "B_tabular/small_energy_efficiency.csv.gz",
    "ionosphere": "B_tabular/small_ionosphere.csv.gz",
}
PUBLIC: dict[str, Callable[[], pd.DataFrame]] = {
    "wine_red": lambda: fetch_openml("wine-quality-red", version=1, as_frame=True).data,
    "concrete": lambda: fetch_openml("concrete_compressive_strength", as_frame=True).data,
    "wine_white": lambda: fetch_openml("wine-quality-white", version=1, as_frame=True).data,
    "energy_efficiency": lambda: fetch_openml("energy-efficiency", as_frame=True).data,
    "ionosphere": lambda: fetch_openml("ionosphere", version=1, as_frame=True).data,
    "breast_cancer": lambda: load_breast_cancer(as_frame=True).data,
    "banknote": lambda: fetch_openml("banknote-authentication", version=1, as_frame=True).data,
    "diabetes": lambda: load_diabetes(as_frame=True).data,
}


def load(name: str) -> pd.DataFrame:
    """Return the features of a complete table, standardised; of long tables a part.

    Parameters
    ----------
    name : str
        A key of FILES.

    Returns
    -------
    DataFrame
        Columns of mean 0 and standard deviation 1.
    """
    folder = os.environ.get("SKMISSVAE_DATA")
    if folder:
        # the files' last column is the target
        table = pd.read_csv(Path(folder) / FILES[name]).iloc[:, :-1]
    else:
        try:
            table = PUBLIC[name]()
        except Exception as error:
            raise SystemExit(
                f"Table {name!r} is neither in the folder $SKMISSVAE_DATA (which is not set) nor "
                f"to be had from its public source: {error}"
            ) from error
    table = table.sample(min(len(table), MAX_ROWS), random_state=0).sort_index()
    table = table.loc[:, table.std() > 0]
    return (table - table.mean()) / table.std(ddof=0)
