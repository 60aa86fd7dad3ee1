"""HTML representations in notebooks: links of estimators to their pages, and tables."""

from collections.abc import Callable
from typing import Any

import pandas as pd


class DocumentationLink:
    """Links the HTML diagram of an estimator to its page of the documentation.

    scikit-learn reads the attributes; classes of users, in other modules, have no link.
    """

    _doc_link_module = "skmissvae"
    _doc_link_template = "https://skmissvae.github.io/skmissvae/api/skmissvae.{estimator_name}.html"


def html_table(
    frame: pd.DataFrame, caption: str = "", float_format: Callable[[float], str] = "{:.4g}".format
) -> str:
    """Return a data frame as an HTML table without its index: escaped, cut if it is long.

    Parameters
    ----------
    frame : DataFrame
        The table.
    caption : str
        HTML of the line above the table.
    float_format : callable
        Returns the text of a float.
    """
    limits: Any = {
        "max_rows": pd.get_option("display.max_rows"),
        "max_cols": pd.get_option("display.max_columns"),
        "show_dimensions": "truncate",
    }
    with pd.option_context("display.max_colwidth", None):  # sentences are complete
        table = frame.to_html(index=False, na_rep="", float_format=float_format, **limits)
    return f"<p>{caption}</p>\n{table}" if caption else table
