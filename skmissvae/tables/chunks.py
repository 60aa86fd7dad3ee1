"""Tables in chunks: larger than memory, in one file or many, or made on the way."""

from __future__ import annotations

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

from .._utils.validation import check_minimum


class Sample(NamedTuple):
    """Rows of a table in chunks, drawn uniformly and in its order."""

    table: Any
    places: NDArray[np.int64]  # of them in the table
    sizes: list[int]  # rows of each chunk


class Chunks:
    r"""A table in chunks, of which few are in memory at a time.

    ``fit`` of every estimator but DeMissVAE takes one in place of a table. A first pass draws
    ``sample_size`` rows: schema, units, the start of the model, the rows held out for early
    stopping and those that ``calibrate=True`` learns from come from them, and a table that has no
    more rows is fitted as if it were given whole. Every epoch then takes the chunks in random
    order where they can be loaded one by one, else as they come, and mixes the rows of
    ``n_together`` of them. What a fitted estimator tells of a row does not depend on others:
    ``map`` applies its methods chunk by chunk.

    Parameters
    ----------
    source : sequence of tables or functions, or function
        The chunks, frames or arrays of the same columns; or functions without parameters that
        load one each; or a function that returns a new iterator over them whenever it is called.
        A sequence of one's own is asked for one item at a time.
    n_together : int, default=4
        Chunks that are in memory together while their rows are shuffled. Rows of a kind that
        stand together over more chunks than that, as in a sorted file, make training slower:
        shuffle such a file before, or give chunks that can be loaded one by one.
    sample_size : int, default=100_000
        Rows that are drawn to learn the schema from.

    Notes
    -----
    Memory is that of the sample, of ``n_together + 1`` chunks, and of as many rows in single
    precision.

    What the sample does not show the model does not know: a column that has a single value there
    is a constant, one without any cell is left out, and levels it has not seen are no evidence in
    training. With ``handle_unknown="missing"`` they are none afterwards, too; by default
    ``transform`` refuses them. ``fit_report_`` is of the sample.

    Examples
    --------
    >>> import numpy as np
    >>> from skmissvae import Chunks, MVAEImputer
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(300, 1)) + 0.1 * rng.normal(size=(300, 3))
    >>> x[rng.random(x.shape) < 0.2] = np.nan
    >>> chunks = Chunks.from_array(x, n_rows=100)
    >>> imputer = MVAEImputer(max_iter=3, random_state=0).fit(chunks)
    >>> [piece.shape for piece in chunks.map(imputer.transform)]
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
                f"Chunks cannot be made of a {type(source).__name__}, read once alone, "
                "where training takes many passes; give a function that returns a new one."
            )
        if not callable(source):
            if isinstance(source, (str, Path)) or is_table(source) or _is_lazy(source):
                raise TypeError(
                    f"Chunks takes several tables; got a single {type(source).__name__}. Give a "
                    "list of them, or use Chunks.from_array or Chunks.from_parquet."
                )
            if not np.iterable(source):
                raise TypeError(
                    "Chunks takes a sequence of tables, or a function that makes them; got a "
                    f"{type(source).__name__}."
                )
            if not (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
                source = list(source)
            if not len(source):
                raise ValueError("Chunks needs at least one chunk; got none.")
        self._source = source
        self.n_together, self.sample_size = int(n_together), int(sample_size)

    @classmethod
    def from_array(cls, array: Any, n_rows: int = 100_000, **options: Any) -> Self:
        """Return chunks of an array that is sliced, such as ``numpy.memmap`` or of HDF5.

        Parameters
        ----------
        array : array-like of shape (n_samples, n_features)
            What has a shape, and slices of rows.
        n_rows : int, default=100_000
            Rows of a chunk.
        **options
            As of ``Chunks``.

        Returns
        -------
        Chunks
            Each is read when it is asked for.

        Raises
        ------
        TypeError
            If it is a data frame.
        ValueError
            If ``n_rows`` is out of range.
        """
        check_minimum(1, n_rows=n_rows)
        if isinstance(nw.from_native(array, pass_through=True), nw.DataFrame):
            raise TypeError(
                f"from_array takes an array; got a {type(array).__name__}. Give a list of frames."
            )

        starts = range(0, array.shape[0], n_rows)
        parts = [functools.partial(_slice, array, start, start + n_rows) for start in starts]
        return cls(parts, **options)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path | Sequence[str | Path],
        columns: Sequence[str] | None = None,
        n_rows: int = 100_000,
        **options: Any,
    ) -> Self:
        """Return chunks of Parquet files, as frames of pandas; pyarrow must be installed.

        Parameters
        ----------
        path : str, Path or sequence of them
            Files; of a folder all files that end in ``.parquet``, by name. Folders whose names
            hold values of a column (``country=it``) are not understood, and refused.
        columns : sequence of str or None, default=None
            Columns to read; None takes all.
        n_rows : int, default=100_000
            Row groups are read together up to so many rows, a larger one by itself.
        **options
            As of ``Chunks``.

        Returns
        -------
        Chunks
            Each is read when it is asked for.

        Raises
        ------
        ValueError
            If there is no file with rows, one cannot be read or lacks a column, or a
            folder's name holds values of a column.
        """
        check_minimum(1, n_rows=n_rows)
        parquet = _parquet()
        paths = [path] if isinstance(path, (str, Path)) else path
        files = [
            (
                file,
                f"{one.name}/{file.relative_to(one).parent}" if one.is_dir() else one.parent.name,
            )
            for one in map(Path, paths)
            for file in (sorted(one.rglob("*.parquet")) if one.is_dir() else [one])
        ]
        names = None if columns is None else list(columns)
        parts: list[Callable[[], Any]] = []
        for file, folders in files:
            if "=" in folders:
                raise ValueError(
                    f"{file} lies in a folder whose name holds values of a column, which would be "
                    "lost; write the column into the files."
                )
            try:
                opened = parquet.ParquetFile(file)
            except ValueError as error:  # of pyarrow, without the file's name
                raise ValueError(f"{file} cannot be read as a Parquet file: {error}") from error
            known = opened.schema_arrow.names
            absent = [name for name in columns or () if name not in known]
            if absent:
                raise ValueError(f"{file} has no column {absent[0]!r}; it has {known[:20]}.")
            about = opened.metadata
            group: list[int] = []
            n = 0
            for i in range(about.num_row_groups):
                size = about.row_group(i).num_rows
                if group and n + size > n_rows:
                    parts.append(functools.partial(_row_groups, file, group, names))
                    group, n = [], 0
                group, n = [*group, i], n + size
            if n:
                parts.append(functools.partial(_row_groups, file, group, names))
        if not parts:
            raise ValueError(f"No Parquet file with rows is at {path!r}.")
        return cls(parts, **options)

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the chunks, in their order."""
        if callable(self._source):
            return iter(self._source())
        return (_loaded(self._source, i) for i in range(len(self._source)))

    def __repr__(self) -> str:
        """Tell how many there are."""
        n = "?" if callable(self._source) else len(self._source)
        return f"{type(self).__name__}(<{n} chunks>)"

    def map(self, function: Callable[[Any], Any]) -> Chunks:
        """Return the chunks that a function makes of these, each when it is asked for.

        Parameters
        ----------
        function : callable
            Takes a chunk; ``imputer.transform``, for instance.

        Returns
        -------
        Chunks
            As many.
        """
        source = self._source
        options = {"n_together": self.n_together, "sample_size": self.sample_size}
        if callable(source):
            return Chunks(lambda: map(function, source()), **options)

        def part(i: int) -> Callable[[], Any]:
            return lambda: function(_loaded(source, i))

        return Chunks([part(i) for i in range(len(source))], **options)

    def to_parquet(self, path: str | Path) -> None:
        """Write the chunks to a Parquet file, one after the other; pyarrow must be installed.

        Parameters
        ----------
        path : str or Path
            The file. Columns of arrays are named x0, x1 and so on. The first chunk decides on
            types, and a pandas index is not written. If a chunk fails nothing is left at ``path``
            that was not there before.
        """
        parquet = _parquet()
        import pyarrow as pa

        path = Path(path)
        part, writer = path.with_name(f".{path.name}.{os.getpid()}.part"), None
        try:
            for i, chunk in enumerate(self):
                if isinstance(chunk, pd.DataFrame):
                    chunk = chunk.reset_index(drop=True)
                frame = nw.from_native(chunk, pass_through=True)
                if not isinstance(frame, nw.DataFrame):
                    cells = np.asarray(chunk)
                    cells = cells[:, None] if cells.ndim == 1 else cells
                    named = pd.DataFrame(cells, columns=[f"x{j}" for j in range(cells.shape[1])])
                    frame = nw.from_native(named, eager_only=True)
                table = frame.to_arrow()
                writer = writer or parquet.ParquetWriter(part, table.schema)
                try:
                    writer.write_table(table.cast(writer.schema))
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
                    raise ValueError(
                        f"Chunk {i} does not have the columns and types of the first: {error}"
                    ) from error
            if writer is None:
                raise ValueError("There is no chunk to write.")
            writer.close()
            part.replace(path)
        finally:
            if writer is not None and writer.is_open:
                writer.close()
            part.unlink(missing_ok=True)

    # -- for estimators -----------------------------------------------------------------------

    def _each(self, rng: np.random.Generator) -> Iterator[tuple[int, Any]]:
        """Return numbers and chunks: in random order, where chunks can be loaded one by one."""
        if callable(self._source):
            yield from enumerate(self)
            return
        for i in rng.permutation(len(self._source)).tolist():
            yield i, _loaded(self._source, i)

    def _sample(self, seed: int) -> Sample:
        """Return a uniform sample of the rows: all of them where they are not more than wanted."""
        rng = np.random.default_rng(seed)
        kept: list[tuple[NDArray[np.float64], NDArray[np.int64], Any]] = []
        least, wanted = math.inf, self.sample_size
        sizes: list[int] = []

        def prune(kept: list[Any]) -> tuple[list[Any], float]:
            keys = np.concatenate([one[0] for one in kept])
            if len(keys) <= wanted:
                return kept, math.inf
            # rows stay whose random keys are the smallest
            limit = float(np.partition(keys, wanted - 1)[wanted - 1])
            parts = [(np.flatnonzero(keys <= limit), keys, *rest) for keys, *rest in kept]
            return [
                (keys[at], index[at], take(table, at))
                for at, keys, index, table in parts
                if len(at)
            ], limit

        for chunk in self:
            n, start = _n_rows(chunk), sum(sizes)
            sizes.append(n)
            keys = rng.random(n)
            at = np.flatnonzero(keys <= least)
            if not len(at):
                continue
            kept.append((keys[at], start + at, chunk if len(at) == n else take(chunk, at)))
            if sum(len(one[0]) for one in kept) > 2 * wanted:
                kept, least = prune(kept)
        if not kept:
            raise ValueError("Chunks have no rows: there is nothing to learn from.")
        kept = prune(kept)[0]
        return Sample(
            together([one[2] for one in kept]), np.concatenate([one[1] for one in kept]), sizes
        )


def _loaded(source: Sequence[Any], i: int) -> Any:
    part = source[i]
    return part() if callable(part) else part


def _parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError("Parquet files take pyarrow: pip install pyarrow.") from error
    return parquet


def _slice(array: Any, start: int, stop: int) -> NDArray[Any]:
    return np.asarray(array[start:stop])


def _row_groups(file: Path, groups: list[int], columns: list[str] | None) -> pd.DataFrame:
    table = _parquet().ParquetFile(file).read_row_groups(groups, columns=columns)
    frame: pd.DataFrame = table.to_pandas()
    return frame


def is_table(value: Any) -> bool:
    """Tell whether something is a data frame or an array."""
    is_frame = isinstance(nw.from_native(value, pass_through=True), nw.DataFrame)
    return is_frame or (isinstance(value, np.ndarray) and value.ndim == 2)


def _is_lazy(value: Any) -> bool:
    return isinstance(nw.from_native(value, pass_through=True), nw.LazyFrame)


def _n_rows(table: Any) -> int:
    if not is_table(table):
        raise TypeError(
            f"A chunk must be a data frame or an array of two axes; got a {type(table).__name__}."
        )
    return int(table.shape[0])


def take(table: Any, at: NDArray[np.int64]) -> Any:
    """Return rows of a table."""
    frame = nw.from_native(table, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return nw.to_native(frame[at.tolist()])
    return table[at]


def together(tables: list[Any]) -> Any:
    """Return tables as one."""
    if len({type(table) for table in tables}) > 1:
        kinds = sorted({type(table).__name__ for table in tables})
        raise TypeError(f"Chunks must be tables of one kind; got {' and '.join(kinds)}.")
    if len(tables) == 1:
        return tables[0]
    try:
        if isinstance(tables[0], np.ndarray):
            return np.concatenate(tables)
        if isinstance(tables[0], pd.DataFrame):
            first = tables[0].columns
            for table in tables[1:]:
                if not table.columns.equals(first):
                    raise ValueError(
                        f"one has {first.tolist()[:10]}, another {table.columns.tolist()[:10]}"
                    )
            return pd.concat(tables)
        return nw.to_native(nw.concat([nw.from_native(table, eager_only=True) for table in tables]))
    except (ValueError, TypeError, nw.exceptions.NarwhalsError) as error:
        raise ValueError(f"Chunks must have the same columns and types: {error}") from error
