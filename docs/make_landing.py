"""Draw the picture of the landing page: rows of the penguins before and after imputation.

Writes ``_static/landing.png``. Takes less than a minute on a CPU.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

from skmissvae import MissSIWAEImputer, make_missing
from skmissvae.datasets import load_penguins

ROWS = [10, 37, 91, 143, 189, 256, 271]
COLUMNS = {
    "species": "species",
    "bill_length_mm": "bill, mm",
    "body_mass_g": "mass, g",
    "sex": "sex",
}
GREY, PALE, BLUE, PALE_BLUE, RED = "#4d5560", "#f1f3f5", "#0b5cad", "#dcebfa", "#fbe3df"
ROW_HEIGHT, COLUMN_WIDTH = 0.62, 1.62


def main() -> None:
    """Fit the imputer and draw both tables."""
    table = load_penguins().drop(columns="year")
    X = make_missing(table, "mcar", 0.15, random_state=0)
    imputer = MissSIWAEImputer(init="random", random_state=0).fit(X)
    completed = imputer.transform(X)
    cells = imputer.cell_distribution(X.loc[ROWS], quantiles=[0.05, 0.95])

    figure = plt.figure(figsize=(9.6, 3.7), facecolor="white")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 16.6), ylim=(6.15, -0.25))
    ax.axis("off")
    draw_table(ax, 0.3, "an incomplete table", X, incomplete_text)

    def completed_text(row: int, name: str) -> tuple[str, str, str]:
        return text_of_cell(X, completed, cells, row, name)

    arrow = {"arrowstyle": "-|>", "color": BLUE, "lw": 2.5, "mutation_scale": 22}
    ax.annotate("", (8.4, 3.1), (7.1, 3.1), arrowprops=arrow)
    ax.text(7.72, 2.75, "fit\ntransform", ha="center", va="bottom", color=BLUE, size=11)
    ax.text(7.72, 3.45, "cell_\ndistribution", ha="center", va="top", color=BLUE, size=11)
    draw_table(ax, 8.75, "completed, with uncertainty", X, completed_text, widths=1.18)
    path = Path(__file__).parent / "_static" / "landing.png"
    figure.savefig(path, dpi=170)


def incomplete_text(row: int, name: str) -> tuple[str, str, str]:
    """Return the text of an incomplete cell."""
    return "?", RED, "#b3261e"


def text_of_cell(
    X: pd.DataFrame, completed: pd.DataFrame, cells: pd.DataFrame, row: int, name: str
) -> tuple[str, str, str]:
    """Return the imputed value with its 90% interval or its probability."""
    cell = cells[(cells["row"] == row) & (cells["column"] == name)]
    if pd.api.types.is_numeric_dtype(completed[name]):
        low, high = cell["5%"].iloc[0], cell["95%"].iloc[0]
        text = f"{completed.loc[row, name]:,.0f}\n{low:,.0f} to {high:,.0f}"
    else:
        probability = cell["probability"].max()
        share = f"{probability:.0%}" if probability < 0.995 else "over 99%"
        text = f"{completed.loc[row, name]}\n{share}"
    return text, PALE_BLUE, BLUE


def draw_table(ax, left, title, X, missing_text, widths=1.0):
    """Draw rows of X; the text of missing cells comes from a function of row and column."""
    width = COLUMN_WIDTH * widths
    ax.text(left, 0.12, title, size=15, weight="bold", color=GREY, va="center")
    for j, (name, label) in enumerate(COLUMNS.items()):
        x = left + j * width
        ax.text(x + width / 2 - 0.05, 0.78, label, ha="center", va="center", size=12, color=GREY)
        for i, row in enumerate(ROWS):
            y = 1.12 + i * 0.7
            value, face, color = X.loc[row, name], PALE, GREY
            if pd.isna(value):
                text, face, color = missing_text(row, name)
            else:
                is_number = pd.api.types.is_numeric_dtype(X[name])
                text = f"{value:,.0f}" if is_number else str(value)
            box = mpl.patches.FancyBboxPatch(
                (x, y), width - 0.12, ROW_HEIGHT, boxstyle="round,pad=0,rounding_size=0.1", fc=face
            )
            box.set_edgecolor("none")
            ax.add_patch(box)
            is_tall = "\n" in text
            ax.text(
                x + width / 2 - 0.06,
                y + ROW_HEIGHT / 2,
                text,
                ha="center",
                va="center",
                size=9.5 if is_tall else 12,
                color=color,
                weight="bold" if text == "?" else "normal",
                linespacing=1.0,
            )


if __name__ == "__main__":
    main()
