"""Tables with missing cells: reading, encoding for a model, and completed tables.

A table that a user passes (``input_table``, ``chunks``) is read as floats (``reader``) by a codec
for each column (``codecs``, ``column_kinds``), encoded for the model by the schema (``schema``,
``column_statistics``, ``suspect_cells``, ``column_report``), and completed in its container and
types (``output``). ``columns`` holds operations on columns of pandas, polars and numpy,
``array_types`` the types of arrays, ``plain_types`` those of columns in files,
``column_selection`` parameters that name columns. ``amputation`` and ``missingness`` make and count
missing cells.
"""

from .amputation import make_missing
from .chunks import Chunks
from .encoded_rows import EncodedRows
from .input_table import InputTable, NumericTable
from .missingness import missing_flux, missing_patterns
from .schema import ColumnSchema, TableSchema

__all__ = [
    "Chunks",
    "ColumnSchema",
    "EncodedRows",
    "InputTable",
    "NumericTable",
    "TableSchema",
    "make_missing",
    "missing_flux",
    "missing_patterns",
]
