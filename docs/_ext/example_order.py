"""The order of the examples in the gallery: that of the table on its first page."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "examples" / "README.rst"


class TableOrder:
    """Sort key of sphinx-gallery.

    Parameters
    ----------
    folder : str
        Not used: folder of a section.
    """

    def __init__(self, folder):
        self._page = PAGE.read_text(encoding="utf-8")

    def __call__(self, filename):
        """Return the position of a script in the table."""
        if filename not in self._page:
            raise ValueError(f"The table in examples/README.rst has no row for {filename}; add it.")
        return self._page.index(filename)
