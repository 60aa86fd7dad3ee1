"""Tables with missing cells: reading, schema, chunks, missingness."""

from .amputation import make_missing
from .chunks import Chunks
from .input_table import InputTable, NumericTable
from .missingness import missing_patterns
from .schema import ColumnSchema, EncodedRows, TableSchema

__all__ = [
    "Chunks",
    "ColumnSchema",
    "EncodedRows",
    "InputTable",
    "NumericTable",
    "TableSchema",
    "make_missing",
    "missing_patterns",
]
