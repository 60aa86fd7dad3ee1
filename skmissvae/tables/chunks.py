"""Tables in chunks: larger than memory, in one file or many, or computed while they are read."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._utils.quoting import listed, quoted, shortened
from .._utils.validation import check_minimum
from .columns import as_frame


class Sample(NamedTuple):
    """Rows drawn uniformly from a table in chunks, in the order of the table."""

    table: Any
    places: NDArray[np.int64]  # positions of the rows in the table
    sizes: list[int]  # rows of each chunk


class Chunks:
    r"""A table in chunks, a few of which are in memory at a time.

    ``fit`` of every estimator except DeMissVAE accepts Chunks in place of a table. A first pass
    draws a sample of ``sample_size`` rows. Schema, units, initialization, the rows held out for
    early stopping and the calibration (``calibrate=True``) come from this sample. If the table has
    no more rows than the sample, the model is the same as for the table in memory, except that
    imputers of small tables do not choose the initialization. In each epoch
    the chunks are read in random order if they can be loaded one by one, else in their own order,
    and the rows of ``n_together`` chunks are shuffled together. Results of a fitted estimator for
    a row are independent of the other rows, so that ``map`` applies its methods chunk by chunk.

    Parameters
    ----------
    source : sequence of tables or functions, or function
        The chunks, data frames or arrays with the same columns; or functions without parameters
        that load one each; or a function that returns a new iterator over the chunks. A custom
        sequence loads one item at a time.
    n_together : int, default=4
        Number of chunks in memory whose rows are shuffled together. If similar rows stand together
        over more chunks than that, as in a sorted file, training is slower: shuffle such a file
        once, or give chunks that can be loaded one by one.
    sample_size : int, default=100_000
        Number of rows from which the schema is learned.

    Notes
    -----
    Memory holds the sample, ``n_together + 1`` chunks, and a single-precision copy of their rows.

    The model depends on the sample: a column with a single value in the sample is a constant, one
    without any observed cell is left out, and other categories than those of the sample are
    treated as missing in training. After fit they raise an error, or are treated as missing with
    ``handle_unknown="missing"``. ``fit_report_`` describes the sample.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import Chunks, MVAEImputer
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(300, 1)) + 0.1 * rng.normal(size=(300, 3))
    >>> x[rng.random(x.shape) < 0.2] = np.nan
    >>> chunks = Chunks.from_array(x, n_rows=100)
    >>> imputer = MVAEImputer(max_iter=3, random_state=0).fit(chunks)
    >>> [chunk.shape for chunk in chunks.map(imputer.transform)]
    [(100, 3), (100, 3), (100, 3)]
    """

    def __init__(
        self,
        source: Sequence[Any] | Callable[[], Iterable[Any]],
        *,
        n_together: int = 4,
        sample_size: int = 100_000,
    ) -> None:
        check_minimum(1, n_together=n_together, sample_size=sample_size)
        if hasattr(source, "__next__"):
            raise TypeError(
                f"Chunks cannot be made of a {type(source).__name__}, which can be read only once; "
                "training needs many passes: give a function that returns a new one."
            )
        if not callable(source):
            is_lazy = isinstance(nw.from_native(source, pass_through=True), nw.LazyFrame)
            is_file = isinstance(source, (str, Path))
            if is_lazy or is_file or is_table(source) or not np.iterable(source):
                raise TypeError(
                    f"Chunks needs several tables; got a single {type(source).__name__}. Give a "
                    "list of tables, or use Chunks.from_array or Chunks.from_parquet."
                )
            if not (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
                source = list(source)
            if not len(source):
                raise ValueError("Chunks needs at least one chunk; got none.")
        self._source = source
        self.n_together, self.sample_size = int(n_together), int(sample_size)

    @classmethod
    def from_array(cls, array: Any, n_rows: int = 100_000, **options: Any) -> Self:
        """Return chunks of an array on disk, such as ``numpy.memmap`` or a dataset of HDF5.

        Parameters
        ----------
        array : array-like of shape (n_samples, n_features)
            An object with a shape and slices of rows.
        n_rows : int, default=100_000
            Number of rows of a chunk.
        **options
            Keyword parameters of ``Chunks``.

        Returns
        -------
        Chunks
            Slices of the array, each read when it is needed.

        Raises
        ------
        TypeError
            If ``array`` is a data frame.
        ValueError
            If ``n_rows`` is out of range.
        """
        check_minimum(1, n_rows=n_rows)
        if as_frame(array) is not None:
            raise TypeError(
                f"from_array needs an array; got a {type(array).__name__}. Give Chunks a list of "
                "data frames."
            )

        starts = range(0, array.shape[0], n_rows)
        chunks = [functools.partial(_slice, array, start, start + n_rows) for start in starts]
        return cls(chunks, **options)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path | Sequence[str | Path],
        columns: Sequence[str] | None = None,
        n_rows: int = 100_000,
        **options: Any,
    ) -> Self:
        """Return chunks of Parquet files, as data frames of pandas; pyarrow must be installed.

        Parameters
        ----------
        path : str, Path or sequence of them
            Files or folders. A folder stands for all of its files that end in ``.parquet``, by
            name. Folders whose names hold values of a column (``country=it``) are not supported.
        columns : sequence of str or None, default=None
            Columns to read; None reads all.
        n_rows : int, default=100_000
            Row groups are read together up to this number of rows; a larger one is a chunk.
        **options
            Keyword parameters of ``Chunks``.

        Returns
        -------
        Chunks
            Row groups of the files, each read when it is needed.

        Raises
        ------
        ValueError
            If there is no file with rows, a file cannot be read or lacks a column, or the name of
            a folder holds values of a column.
        """
        check_minimum(1, n_rows=n_rows)
        paths = [path] if isinstance(path, (str, Path)) else path
        names = None if columns is None else list(columns)
        chunks = [
            functools.partial(_row_groups, file, groups, names)
            for folder in map(Path, paths)
            for file in (sorted(folder.rglob("*.parquet")) if folder.is_dir() else [folder])
            for groups in _grouped_rows(folder, file, names, n_rows)
        ]
        if not chunks:
            raise ValueError(f"No Parquet file with rows is at {path!r}.")
        return cls(chunks, **options)

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the chunks, in their order."""
        if callable(self._source):
            return iter(self._source())
        return (_load(self._source, i) for i in range(len(self._source)))

    def __repr__(self) -> str:
        """Return the number of chunks, if it is known."""
        n = "?" if callable(self._source) else len(self._source)
        return f"{type(self).__name__}(<{n} chunks>)"

    def map(self, function: Callable[[Any], Any]) -> Chunks:
        """Apply a function to each chunk, when the result is needed.

        Parameters
        ----------
        function : callable
            Function of a chunk, for example ``imputer.transform``.

        Returns
        -------
        Chunks
            The results.
        """
        source = self._source
        options = {"n_together": self.n_together, "sample_size": self.sample_size}
        if callable(source):
            return Chunks(lambda: map(function, source()), **options)
        results = [functools.partial(_result, function, source, i) for i in range(len(source))]
        return Chunks(results, **options)

    def to_parquet(self, path: str | Path) -> None:
        """Write the chunks to a Parquet file; pyarrow must be installed.

        Parameters
        ----------
        path : str or Path
            The file. Columns of arrays are named x0, x1 and so on. The types are those of the
            first chunk, and a pandas index is not written. If a chunk fails, an existing file
            stays as it is.
        """
        parquet = _parquet()
        import pyarrow as pa

        path = Path(path)
        temporary, writer = path.with_name(f".{path.name}.{os.getpid()}.part"), None
        with contextlib.ExitStack() as stack:
            stack.callback(temporary.unlink, missing_ok=True)
            for i, chunk in enumerate(self):
                table = _to_arrow(chunk)
                if writer is None:
                    writer = stack.enter_context(parquet.ParquetWriter(temporary, table.schema))
                try:
                    writer.write_table(table.cast(writer.schema))
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
                    raise ValueError(
                        f"Chunk {i} does not have the columns and types of the first: "
                        f"{shortened(str(error), 150)}"
                    ) from error
            if writer is None:
                raise ValueError("There is no chunk to write.")
            writer.close()
            temporary.replace(path)


# -- passes of estimators over the chunks ---------------------------------------------------------


def shuffled_chunks(chunks: Chunks, rng: np.random.Generator) -> Iterator[tuple[int, Any]]:
    """Yield chunks and their numbers, in random order if they can be loaded one by one."""
    source = chunks._source
    if callable(source):
        yield from enumerate(chunks)
        return
    for i in rng.permutation(len(source)).tolist():
        yield i, _load(source, i)


class _KeyedRows(NamedTuple):
    """Rows with random keys: those with the smallest keys are the sample."""

    keys: NDArray[np.float64]
    places: NDArray[np.int64]
    table: Any


def draw_sample(chunks: Chunks, seed: int) -> Sample:
    """Return a uniform sample of ``chunks.sample_size`` rows, or all rows if there are fewer."""
    rng = np.random.default_rng(seed)
    candidates: list[_KeyedRows] = []
    limit, size = math.inf, chunks.sample_size
    sizes: list[int] = []
    for chunk in chunks:
        keys = rng.random(_n_rows(chunk))
        rows = _KeyedRows(keys, sum(sizes) + np.arange(len(keys)), chunk)
        sizes.append(len(keys))
        candidates += _rows_up_to(limit, [rows])
        if sum(len(rows.keys) for rows in candidates) > 2 * size:
            limit = _limit_of_keys(candidates, size)
            candidates = _rows_up_to(limit, candidates)
    if not candidates:
        raise ValueError("Chunks have no rows to learn from; give at least one row.")
    candidates = _rows_up_to(_limit_of_keys(candidates, size), candidates)
    table = concatenate_tables([rows.table for rows in candidates])
    return Sample(table, np.concatenate([rows.places for rows in candidates]), sizes)


def _limit_of_keys(candidates: list[_KeyedRows], n: int) -> float:
    """Return the n-th smallest key, infinity if there are no more than n."""
    keys = np.concatenate([rows.keys for rows in candidates])
    return float(np.partition(keys, n - 1)[n - 1]) if len(keys) > n else math.inf


def _rows_up_to(limit: float, candidates: list[_KeyedRows]) -> list[_KeyedRows]:
    """Return the rows whose keys are at most ``limit``."""
    selected = []
    for rows in candidates:
        at = np.flatnonzero(rows.keys <= limit)
        if len(at):
            table = rows.table if len(at) == len(rows.keys) else take_rows(rows.table, at)
            selected.append(_KeyedRows(rows.keys[at], rows.places[at], table))
    return selected


# -- tables of any library ------------------------------------------------------------------------


def is_table(value: Any) -> bool:
    """Return whether an object is a data frame or an array of two axes."""
    is_matrix = isinstance(value, np.ndarray) and value.ndim == 2
    return is_matrix or as_frame(value) is not None


def _n_rows(table: Any) -> int:
    if not is_table(table):
        raise TypeError(
            f"A chunk must be a data frame or an array of two axes; got a {type(table).__name__}."
        )
    return int(table.shape[0])


def take_rows(table: Any, positions: NDArray[np.int64]) -> Any:
    """Return rows of a data frame or an array by position."""
    frame = as_frame(table)
    return table[positions] if frame is None else nw.to_native(frame[positions.tolist()])


def concatenate_tables(tables: list[Any]) -> Any:
    """Return the rows of several data frames or arrays as one table."""
    if len({type(table) for table in tables}) > 1:
        types = sorted({type(table).__name__ for table in tables})
        raise TypeError(f"Chunks must be tables of one type; got {' and '.join(types)}.")
    if len(tables) == 1:
        return tables[0]
    try:
        if isinstance(tables[0], np.ndarray):
            return np.concatenate(tables)
        if isinstance(tables[0], pd.DataFrame):
            names = [table.columns.tolist() for table in tables]
            for other_names in names:
                if other_names != names[0]:
                    raise ValueError(f"one has {listed(names[0])}, another {listed(other_names)}")
            return pd.concat(tables)
        return nw.to_native(nw.concat([nw.from_native(table, eager_only=True) for table in tables]))
    except (ValueError, TypeError, nw.exceptions.NarwhalsError) as error:
        raise ValueError(
            f"Chunks must have the same columns and types: {shortened(str(error), 150)}"
        ) from error


# -- sources --------------------------------------------------------------------------------------


def _load(source: Sequence[Any], i: int) -> Any:
    item = source[i]
    return item() if callable(item) else item


def _result(function: Callable[[Any], Any], source: Sequence[Any], i: int) -> Any:
    return function(_load(source, i))


def _slice(array: Any, start: int, stop: int) -> NDArray[Any]:
    return np.asarray(array[start:stop])


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install pyarrow.") from error
    return parquet


def _grouped_rows(
    folder: Path, file: Path, names: list[str] | None, n_rows: int
) -> Iterator[list[int]]:
    """Yield the row groups of a Parquet file that make one chunk.

    Parameters
    ----------
    folder : Path
        Path that the user gave: the file, or a folder that holds it.
    file : Path
        The file.
    names : list of str or None
        Columns that the file must have.
    n_rows : int
        Number of rows up to which row groups are read together.
    """
    parents = folder.parent.name
    if folder.is_dir():
        parents = f"{folder.name}/{file.relative_to(folder).parent}"
    if "=" in parents:
        raise ValueError(
            f"{file} lies in a folder whose name holds values of a column, which would be lost; "
            "write the column into the files."
        )
    try:
        opened = _parquet().ParquetFile(file)
    except ValueError as error:  # pyarrow's message does not name the file
        raise ValueError(
            f"{file} cannot be read as a Parquet file: {shortened(str(error), 150)}"
        ) from error
    in_file = opened.schema_arrow.names
    absent = [name for name in names or () if name not in in_file]
    if absent:
        raise ValueError(f"{file} has no column {quoted(absent[0])}; it has {listed(in_file)}.")
    groups: list[int] = []
    n = 0
    for i in range(opened.metadata.num_row_groups):
        size = opened.metadata.row_group(i).num_rows
        if groups and n + size > n_rows:
            yield groups
            groups, n = [], 0
        groups, n = [*groups, i], n + size
    if n:
        yield groups


def _row_groups(file: Path, groups: list[int], columns: list[str] | None) -> pd.DataFrame:
    return _parquet().ParquetFile(file).read_row_groups(groups, columns=columns).to_pandas()


def _to_arrow(table: Any) -> Any:
    """Return a data frame, without an index, or an array as a table of pyarrow."""
    if isinstance(table, pd.DataFrame):
        table = table.reset_index(drop=True)
    frame = as_frame(table)
    if frame is None:
        frame = nw.from_native(pd.DataFrame(np.asarray(table)).add_prefix("x"), eager_only=True)
    return frame.to_arrow()
