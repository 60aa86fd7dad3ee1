"""The tables of the benchmarks, from the folder $SKMISSVAE_DATA or from a public source."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from sklearn.datasets import (
    fetch_california_housing,
    fetch_openml,
    load_breast_cancer,
    load_diabetes,
)

MAX_ROWS = 2000
FOLDER = "SKMISSVAE_DATA"
FILES = {
    "wine_red": "A_miwae_uci/wine_red.csv.gz",
    "concrete": "A_miwae_uci/concrete.csv.gz",
    "breast_cancer": "A_miwae_uci/breast_cancer.csv.gz",
    "banknote": "A_miwae_uci/banknote.csv.gz",
    "diabetes": "B_tabular/diabetes_sklearn.csv.gz",
    "wine_white": "A_miwae_uci/wine_white.csv.gz",
    "energy_efficiency": "B_tabular/small_energy_efficiency.csv.gz",
    "ionosphere": "B_tabular/small_ionosphere.csv.gz",
    "sonar": "B_tabular/small_sonar.csv.gz",
    "ecoli": "B_tabular/small_ecoli.csv.gz",
    "concrete_slump": "B_tabular/small_concrete_slump.csv.gz",
    "yacht": "B_tabular/small_yacht.csv.gz",
    "libras": "B_tabular/small_libras.csv.gz",
    "yeast": "A_miwae_uci/yeast.csv.gz",
    "airfoil": "B_tabular/small_airfoil.csv.gz",
    "blood": "B_tabular/small_blood_transfusion.csv.gz",
    "qsar": "B_tabular/small_qsar_biodegradation.csv.gz",
    "california_housing": "B_tabular/california_housing.csv.gz",
    "letter": "B_tabular/letter.csv.gz",
    "spam": "B_tabular/spam.csv.gz",
    "obesity": "B_tabular/obesity.csv.gz",
    "climate": "B_tabular/climate.csv.gz",
    "heart_disease": "E_real_missing/heart_disease.csv.gz",
    "auto_mpg": "E_real_missing/auto_mpg.csv.gz",
    "credit_data": "E_real_missing/credit_data.csv.gz",
}
#: Target columns; those of other tables are the last column.
TARGETS = {"heart_disease": "num", "credit_data": "Status"}
PUBLIC: dict[str, Callable[[], pd.DataFrame]] = {
    "wine_red": lambda: fetch_openml("wine-quality-red", version=1, as_frame=True).data,
    "concrete": lambda: fetch_openml("concrete_compressive_strength", as_frame=True).data,
    "wine_white": lambda: fetch_openml("wine-quality-white", version=1, as_frame=True).data,
    "energy_efficiency": lambda: fetch_openml("energy-efficiency", as_frame=True).data,
    "ionosphere": lambda: fetch_openml("ionosphere", version=1, as_frame=True).data,
    "sonar": lambda: fetch_openml("sonar", version=1, as_frame=True).data,
    "ecoli": lambda: fetch_openml("ecoli", version=1, as_frame=True).data,
    "breast_cancer": lambda: load_breast_cancer(as_frame=True).data,
    "banknote": lambda: fetch_openml("banknote-authentication", version=1, as_frame=True).data,
    "diabetes": lambda: load_diabetes(as_frame=True).data,
}
#: The same with the target as the last column.
PUBLIC_WITH_TARGET: dict[str, Callable[[], pd.DataFrame]] = {
    "breast_cancer": lambda: load_breast_cancer(as_frame=True).frame,
    "california_housing": lambda: fetch_california_housing(as_frame=True).frame,
    "wine_red": lambda: _openml("wine-quality-red"),
    "concrete": lambda: _openml("concrete_compressive_strength"),
    "banknote": lambda: _openml("banknote-authentication"),
    "letter": lambda: _openml("letter"),
    "spam": lambda: _openml("spambase"),
    "climate": lambda: _openml("climate-model-simulation-crashes"),
    "auto_mpg": lambda: _openml("autoMpg"),
}


def _openml(name: str) -> pd.DataFrame:
    data = fetch_openml(name, version=1, as_frame=True)
    return data.data.assign(target=data.target)


def is_available(name: str) -> bool:
    """Return whether a table with its target is in the folder or has a public source."""
    return bool(os.environ.get(FOLDER)) or name in PUBLIC_WITH_TARGET


def load_whole(name: str, max_rows: int) -> tuple[pd.DataFrame, pd.Series]:
    """Return the features and the target of a table, in their own units.

    Parameters
    ----------
    name : str
        A key of FILES.
    max_rows : int
        Maximum number of rows; a larger table is subsampled at random.

    Returns
    -------
    features : DataFrame
        The columns that vary.
    target : Series
        The target.
    """
    folder = os.environ.get(FOLDER)
    if folder:
        table = pd.read_csv(Path(folder) / FILES[name])
        target = TARGETS.get(name, table.columns[-1])
    else:
        table = _fetched(name, PUBLIC_WITH_TARGET)
        target = table.columns[-1]
    table = table.sample(min(len(table), max_rows), random_state=0).sort_index()
    table = table.reset_index(drop=True)
    features = table.drop(columns=target)
    return features.loc[:, features.nunique() > 1], table[target]


def _fetched(name: str, public: Mapping[str, Callable[[], pd.DataFrame]]) -> pd.DataFrame:
    if name not in public:
        raise SystemExit(
            f"Table {name!r} has no public source that scikit-learn can fetch. Set ${FOLDER} to a "
            f"folder that contains {FILES[name]}."
        )
    try:
        return public[name]()
    except Exception as error:
        raise SystemExit(
            f"Table {name!r} could not be fetched from its public source: {error}. Set ${FOLDER} "
            f"to a folder that contains {FILES[name]}."
        ) from error


def load(name: str) -> pd.DataFrame:
    """Return the standardized features of a complete table, subsampled to MAX_ROWS rows.

    Parameters
    ----------
    name : str
        A key of FILES.

    Returns
    -------
    DataFrame
        Columns of mean 0 and standard deviation 1.
    """
    folder = os.environ.get(FOLDER)
    if folder:
        # the files' last column is the target
        table = pd.read_csv(Path(folder) / FILES[name]).iloc[:, :-1]
    else:
        table = _fetched(name, PUBLIC)
    table = table.sample(min(len(table), MAX_ROWS), random_state=0).sort_index()
    table = table.loc[:, table.std() > 0]
    return (table - table.mean()) / table.std(ddof=0)
