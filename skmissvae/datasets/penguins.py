"""The table of the Palmer penguins."""

from importlib.resources import files

import pandas as pd

_CATEGORIES = {
    "species": ["Adelie", "Chinstrap", "Gentoo"],
    "island": ["Biscoe", "Dream", "Torgersen"],
    "sex": ["female", "male"],
}


def load_penguins() -> pd.DataFrame:
    """Return measurements of 344 penguins of three species, with 19 missing cells.

    The columns are three categories (``species``, ``island``, ``sex``), four measurements
    (``bill_length_mm``, ``bill_depth_mm``, ``flipper_length_mm``, ``body_mass_g``) and the
    ``year``. Sex is missing in 11 rows, the measurements in two of them. The table is part of
    the package and needs no download.

    Returns
    -------
    frame : pandas.DataFrame of shape (344, 8)
        The table. Lengths are in millimetres, masses in grams.

    References
    ----------
    Gorman, Williams and Fraser (2014). Ecological sexual dimorphism and environmental variability
    within a community of Antarctic penguins (genus *Pygoscelis*). PLoS ONE 9(3), e90081. The data
    are in the public domain (CC0), as in the R package palmerpenguins.

    Examples
    --------
    >>> from skmissvae.datasets import load_penguins
    >>> penguins = load_penguins()
    >>> penguins.shape, int(penguins.isna().sum().sum())
    ((344, 8), 19)
    """
    path = files(__package__).joinpath("penguins.csv")
    with path.open(encoding="utf-8") as file:
        frame = pd.read_csv(file)
    for column, categories in _CATEGORIES.items():
        frame[column] = pd.Categorical(frame[column], categories)
    return frame
