"""From numbers with holes to the model's tensors and back."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._utils.numerics import is_point_mass
from .codecs import CODED, Codec, Dates, Floats, Labels, Mask, Numbers, finite_number, reads_as
from .column_statistics import (
    FEW_CODES,
    far_share_of,
    find_copies,
    has_one_value,
    middle_half,
    most_frequent,
)
from .marginals import fit_sinh_arcsinh

# In standard deviations: beyond it squares would leave the range of float32.
_LIMIT = 1e15


# Share of a continuous column's cells from which on its least or greatest value, a pile of zeros
# or of values cut off, gets a probability of its own.
_ATOM_SHARE = 0.2


_MIN_DIFFERENT = 20  # values that tell of a continuum


_FAR = 1000.0  # standard deviations beyond which the least value of a count bounds nothing


# Strings of which so many are different, and so large a share numbers, are hardly categories.
_MANY_LEVELS, _MOSTLY_NUMBERS = 20, 0.9


#: Share of a column's variance by 1% of its cells from which on it is told.
MOST = 0.5


_FAR_OFF = 50.0  # standard deviations of the middle half in one of all that a few cells make


#: What becomes of columns that the model has a say in.
TAKEN = ("modelled", "copy")


#: What becomes of a column, and the words of the report for it.
TREATMENTS = {
    "modelled": "",
    "empty": "no cell is observed: the column is left out unless keep_empty_features=True",
    "constant": "a single value: no evidence for other columns; holes get it",
    "identifier": "as many values as rows: no evidence for other columns; holes get the most "
    "frequent value, unless 'where' leaves them",
    "date": "complete at fit: left aside; feature_kinds can call it 'continuous'",
    "other": "a type that cannot be modelled: left as it is, holes and all",
}


class EncodedRows(NamedTuple):
    """A table as the model sees it."""

    x: NDArray[np.float64]  # (N, D)   standardised, zero where missing
    observed: Mask  # (N, D)

    def part(self, which: Any) -> EncodedRows:
        """Return some of the rows, as an index of arrays chooses them."""
        return EncodedRows(self.x[which], self.observed[which])

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return both in single precision on a device, the cells of a row side by side."""
        x = torch.from_numpy(self.x.astype(np.float32, order="C"))
        observed = torch.from_numpy(np.ascontiguousarray(self.observed))
        return x.to(device), observed.to(device)


class ColumnSchema(NamedTuple):
    """What an observation model may know of a column, in the model's units."""

    kind: str
    counts: tuple[int, ...] = ()  # observed cells of each level of a coded column
    step: float = 0.0  # between neighbours of a column of whole numbers
    low: float = -np.inf  # what such a column cannot fall below
    origin: float = 0.0  # one of its values
    warp: tuple[float, ...] | None = None
    atom: tuple[float, float] | None = None  # an often repeated value and its share


class TableSchema:
    """Schema of a table: which columns the model takes, and in which units.

    A column that is empty at fit is dropped, or filled with zeros where it is kept. A column with
    one value throughout is no random variable, one with as many values as rows no evidence: their
    holes are filled, and they have no part in densities. An exact copy of another column stands
    for the same variable. The rest is standardised by its observed cells, or coded.

    Parameters
    ----------
    keep_empty : bool
        Whether columns without any observed cell are kept.
    learn_shapes : bool
        Whether columns of numbers are warped, and piles of a value have a probability.
    """

    kept: NDArray[np.intp]  # columns of the input that are in the output
    modelled: NDArray[np.intp]  # columns of the input that the model sees, D of them
    location: NDArray[np.float64]  # (D,)
    scale: NDArray[np.float64]  # (D,)
    far_share: NDArray[np.float64]  # (D,)   of the variance, by the farthest 1% of the cells
    fill: NDArray[np.float64]  # value of every input column that is not modelled
    copies: dict[int, int]  # a column, and the modelled one that it repeats
    treatment: list[str]  # of every input column
    facts: list[ColumnSchema]  # of the modelled columns

    def __init__(self, keep_empty: bool = False, learn_shapes: bool = False) -> None:
        self.keep_empty, self.learn_shapes = keep_empty, learn_shapes

    def fit(self, X: Floats, observed: Mask, codecs: Sequence[Codec], holes: Mask) -> TableSchema:
        """Learn the schema: all (N, n_features)."""
        self.codecs, self.n_missing = list(codecs), holes.sum(0)
        seen: Mask = np.asarray(observed.any(0))
        low = X.min(0, where=observed, initial=np.inf)
        high = X.max(0, where=observed, initial=-np.inf)
        varies: Mask = np.asarray(seen & ~has_one_value(low, high, X.dtype))
        kinds = [codec.kind for codec in self.codecs]
        self.copies = find_copies(X, observed, np.flatnonzero(varies), codecs)
        self.treatment = []
        for j, kind in enumerate(kinds):
            if kind == "other":
                self.treatment.append("other")
            elif not varies[j]:
                self.treatment.append("constant" if seen[j] else "empty")
            elif kind in ("identifier", "date"):
                self.treatment.append(kind)
            else:
                self.treatment.append("copy" if j in self.copies else "modelled")
        treatment = np.array(self.treatment)
        dropped = np.isin(treatment, [] if self.keep_empty else ["empty"])
        self.kept, self.modelled = np.flatnonzero(~dropped), np.flatnonzero(treatment == "modelled")
        self.fill = np.where(treatment == "constant", low, 0.0).astype(np.float64)
        for i in np.flatnonzero(np.isin(treatment, ("identifier", "date"))):
            self.fill[i] = most_frequent(X[observed[:, i], i])
        self.n_rows = len(X)
        self.n_values = [len(np.unique(X[observed[:, j], j])) for j in range(X.shape[1])]

        self.low, self.high = low[self.modelled].astype(float), high[self.modelled].astype(float)
        self.location, self.scale = np.zeros(len(self.modelled)), np.ones(len(self.modelled))
        self.far_share = np.zeros(len(self.modelled))
        self.facts = []
        for d, j in enumerate(self.modelled.tolist()):  # one by one, in the memory of a column
            cells = X[observed[:, j], j].astype(np.float64)
            if kinds[j] not in CODED:
                # within [-1, 1] no square over- or underflows, whatever the column's units
                middle = 0.5 * self.low[d] + 0.5 * self.high[d]
                half_range = 0.5 * self.high[d] - 0.5 * self.low[d]
                unit = (cells - middle) / half_range
                centre, spread = unit.mean(), unit.std()
                if self.learn_shapes:
                    middle_of, half = middle_half(unit)
                    if spread > _FAR_OFF * half > 0 and far_share_of(unit - middle_of) > MOST:
                        # a few cells must not be the unit of all others
                        centre, spread = middle_of, half
                self.location[d] = middle + half_range * centre
                self.scale[d] = half_range * spread
                # of few values the rare ones are no errors
                if not self.learn_shapes and self.n_values[j] >= _MIN_DIFFERENT:
                    self.far_share[d] = far_share_of(unit - unit.mean())
            self.facts.append(self._facts(d, cells))
        self.log_scale = np.log(self.scale)
        return self

    def _facts(self, d: int, seen: NDArray[np.float64]) -> ColumnSchema:
        codec = self.codecs[self.modelled[d]]
        if codec.kind in CODED:
            counts = np.bincount(seen.astype(int), minlength=len(codec.levels))
            return ColumnSchema(codec.kind, tuple(counts.tolist()))
        x = (seen - self.location[d]) / self.scale[d]
        warp = None
        if codec.kind in ("count", "integer"):
            if self.learn_shapes and len(np.unique(x)) >= _MIN_DIFFERENT:
                warp = fit_sinh_arcsinh(x)
            # a value of the grid near the others, and no bound far from them, or digits are lost
            origin = (np.rint(self.location[d]) - self.location[d]) / self.scale[d]
            low = -self.location[d] / self.scale[d] if codec.kind == "count" else -np.inf
            return ColumnSchema(
                codec.kind, (), 1 / self.scale[d], low if low > -_FAR else -np.inf, origin, warp
            )
        values, counts = np.unique(x, return_counts=True)
        atom, most = None, counts.argmax()
        at_an_end = most in (0, len(values) - 1) and len(values) >= _MIN_DIFFERENT
        if self.learn_shapes and at_an_end and counts[most] >= _ATOM_SHARE * len(x):
            atom = (float(values[most]), float(counts[most] / len(x)))
            x = x[x != values[most]]
        if self.learn_shapes and len(values) >= _MIN_DIFFERENT:
            warp = fit_sinh_arcsinh(x)
        return ColumnSchema(codec.kind, warp=warp, atom=atom)

    def set_supports(self, supports: Sequence[str], names: Sequence[str]) -> None:
        """Set the units of columns whose observation model does not live on all numbers.

        Parameters
        ----------
        supports : sequence of str
            Support of each modelled column, as its likelihood has it.
        names : sequence of str
            Names of the modelled columns, for errors.
        """
        for d, (support, name) in enumerate(zip(supports, names, strict=True)):
            if support == "unit" and (self.low[d] < 0 or self.high[d] > 1):
                value = self.low[d] if self.low[d] < 0 else self.high[d]
                raise ValueError(
                    f"Column {name!r} holds {value:g}, but by its likelihood it must lie between 0 "
                    "and 1; rescale it (MinMaxScaler) or choose another likelihood."
                )
            if support == "binary":
                self.location[d], self.scale[d] = self.low[d], self.high[d] - self.low[d]
            elif support == "unit":
                self.location[d], self.scale[d] = 0.0, 1.0
            if support not in ("real", "atom"):
                self.log_scale[d] = 0.0  # probabilities and unit densities are in the table's units
        self.supports = list(supports)

    def numeric(self) -> Mask:
        """Tell which modelled columns are of numbers rather than levels, (D,)."""
        return np.array([one not in ("binary", "coded") for one in self.supports], dtype=bool)

    def _binary(self) -> list[int]:
        return [d for d, support in enumerate(self.supports) if support == "binary"]

    def _atoms(self) -> list[int]:
        return [d for d, support in enumerate(self.supports) if support == "atom"]

    def _at_atom(self, d: int, x: NDArray[np.float64]) -> Mask:
        """Tell which cells of a column are its atom, as the likelihood does."""
        atom = self.facts[d].atom
        assert atom is not None, "of a column that has one"
        cells = torch.from_numpy(x).float()
        found: Mask = is_point_mass(cells, cells.new_tensor(atom[0])).numpy()
        return found

    def in_units(self, d: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return numbers of a modelled column in the table's units: (...) -> (...)."""
        values = self.location[d] + self.scale[d] * x
        # to the bit, which the sum need not be
        if self.supports[d] == "binary":
            values[x == 1] = self.high[d]
        elif self.supports[d] == "atom":
            values[self._at_atom(d, x)] = self.atom_value(d)
        return values

    def atom_value(self, d: int) -> float:
        """Return the value of a column's atom in its units; it stands at an end of the column."""
        atom = self.facts[d].atom
        assert atom is not None, "of a column that has one"
        return float(self.low[d] if atom[0] < 0 else self.high[d])

    def levels(self, d: int) -> list[Any]:
        """Return the levels of a modelled column, none where it is one of numbers."""
        levels = list(self.codecs[self.modelled[d]].levels)
        if self.supports[d] == "binary" and not levels:
            return [self.low[d], self.high[d]]
        return levels

    def limits(self, d: int) -> tuple[float, float]:
        """Return what a modelled column cannot fall below or exceed, in its units."""
        if self.supports[d] == "unit":
            return 0.0, 1.0
        return (0.0 if self.facts[d].kind == "count" else -np.inf), np.inf

    def encode(self, X: Floats, observed: Mask) -> EncodedRows:
        """Return the modelled columns in the model's units: (N, n_features) -> (N, D)."""
        if self.copies:
            X, observed = X.copy(), observed.copy()
            for copy, source in self.copies.items():
                also = observed[:, copy] & ~observed[:, source]
                X[also, source] = X[also, copy]
                observed[also, source] = True
        seen = observed[:, self.modelled]
        x = X[:, self.modelled].astype(np.float64, copy=False)  # a copy, and the only one
        x -= self.location
        x /= self.scale
        x.clip(-_LIMIT, _LIMIT, out=x)
        for d in self._binary():  # the two values in float32 and float64 are not quite the same
            for value in (0.0, 1.0):
                x[np.isclose(x[:, d], value, rtol=0, atol=1e-6), d] = value
        for d, facts in enumerate(self.facts):
            # a kind that was guessed may meet a fraction: its neighbour is evidence
            if self.supports[d] == "whole" and self.codecs[self.modelled[d]].guessed:
                x[:, d] = np.rint((x[:, d] - facts.origin) / facts.step) * facts.step + facts.origin
                x[:, d] = np.maximum(x[:, d], facts.low)
        x[~seen] = 0.0
        return EncodedRows(x, seen)

    def check(self, rows: EncodedRows, names: Sequence[str], first: int = 0) -> None:
        """Raise where an observed cell lies outside its column's support.

        Parameters
        ----------
        rows : EncodedRows
            The rows.
        names : sequence of str
            Names of the modelled columns.
        first : int
            Position of the first row.
        """
        for d, support in enumerate(self.supports):
            x = rows.x[rows.observed[:, d], d]
            value = self.location[d] + self.scale[d] * x
            if support == "binary":
                wrong = (x != 0) & (x != 1)
                allowed = f"only {self.low[d]:g} or {self.high[d]:g}, the ends of the column at fit"
            elif support == "unit":
                wrong, allowed = (x < 0) | (x > 1), "only between 0 and 1"
            elif support == "whole" and not self.codecs[self.modelled[d]].guessed:
                # what is lost on the way to the model's units and back
                lost = 8 * np.finfo(float).eps * (abs(self.location[d]) + np.abs(self.scale[d] * x))
                wrong = np.abs(value - np.rint(value)) > 1e-6 + lost
                allowed = "only whole numbers, as at fit"
                if self.facts[d].kind == "count":
                    wrong |= value < -1e-6 - lost
                    allowed = "only whole numbers of 0 or more, as at fit"
            else:
                continue
            if wrong.any():
                row = first + np.flatnonzero(rows.observed[:, d])[wrong.argmax()]
                raise ValueError(
                    f"Column {names[d]!r}, row {row}, holds {value[wrong][0]:g}, but its "
                    f"likelihood allows {allowed}; mend the value, mark it missing or choose "
                    "another likelihood or feature_kinds."
                )

    def log_units(self, rows: EncodedRows) -> NDArray[np.float64]:
        """Return what densities of rows lose from the model's units to the table's, (N,)."""
        log_scale = np.where(rows.observed, self.log_scale, 0.0)
        for d in self._atoms():
            log_scale[self._at_atom(d, rows.x[:, d]), d] = 0.0
        # sums run as numbers lie in memory: side by side, as those of a row alone
        return np.ascontiguousarray(log_scale).sum(1)

    def decode(self, x: NDArray[np.float64], X: Floats, observed: Mask) -> NDArray[np.float64]:
        """Return numbers for all cells, those of observed cells untouched.

        Parameters
        ----------
        x : ndarray of shape (N, D)
            Values of the modelled columns, in the model's units.
        X : ndarray of shape (N, n_features)
            The incomplete table.
        observed : ndarray of shape (N, n_features)
            What is seen of it.

        Returns
        -------
        ndarray of shape (N, n_features)
            In the units and the type of ``X``.
        """
        limits = np.finfo(X.dtype)
        full = np.tile(self.fill, (X.shape[0], 1))
        values = self.location + self.scale * x
        for d in [*self._binary(), *self._atoms()]:
            values[:, d] = self.in_units(d, x[:, d])
        full[:, self.modelled] = np.clip(values, float(limits.min), float(limits.max))
        whole = [codec.whole for codec in self.codecs]
        full[:, whole] = np.rint(full[:, whole]) + 0.0  # no -0.0
        out = np.where(observed, X, full.astype(X.dtype))
        for copy, source in self.copies.items():
            also = observed[:, copy] & ~observed[:, source]
            out[also, source] = X[also, copy]
            out[:, copy] = np.where(observed[:, copy], X[:, copy], out[:, source])
        return out

    def _hints(self, j: int, d: int | None) -> Iterator[str]:
        """Yield what may be amiss with a column, and what to do then."""
        codec, to_date = self.codecs[j], datetime.date.fromisoformat
        if codec.levels and all(reads_as(finite_number, level) for level in codec.levels):
            yield "strings of numbers are taken for categories: pandas.to_numeric makes numbers"
        elif share := self.number_share(j):
            yield (
                f"strings, {share:.0%} of which are numbers, are not taken for numbers: "
                "pandas.to_numeric(errors='coerce') makes numbers and holes"
            )
        elif codec.levels and all(reads_as(to_date, level) for level in codec.levels):
            yield "strings of dates are taken for categories: pandas.to_datetime makes dates"
        if d is None:
            return
        few = self.n_values[j] <= FEW_CODES
        if few and codec.kind in ("count", "integer") and codec.guessed:
            yield (
                "few whole numbers, imputed as numbers: if they are codes, feature_kinds can call "
                "them 'categorical' or 'ordinal'"
            )
        if self.far_share[d] > MOST:
            ends = np.array([self.low[d], self.high[d]])
            off = ends[np.abs(ends - self.location[d]).argmax()]
            told = str(codec.decode(off[None])[0]) if isinstance(codec, Dates) else f"{off:.6g}"
            yield (
                f"1% of the cells make {self.far_share[d]:.0%} of the variance, {told} among "
                "them: mend what is an error, or set learn_shapes=True"
            )

    def number_share(self, j: int) -> float:
        """Return the share of a column's many strings that are numbers; 0 where these are few.

        Whole numbers that are all different are names of rows.
        """
        codec = self.codecs[j]
        if not isinstance(codec, Labels) or codec.meant or len(codec.levels) <= _MANY_LEVELS:
            return 0.0
        named = self.treatment[j] == "identifier"
        # a zero in front is that of a code
        share = sum(
            reads_as(finite_number, level)
            and not (level[:1] == "0" and level[1:2].isdigit())
            and not (named and reads_as(int, level))
            for level in codec.levels
        ) / len(codec.levels)
        return share if share >= _MOSTLY_NUMBERS else 0.0

    def belied(self, X: Floats, observed: Mask) -> Mask:
        """Tell which columns that had one value at most hold others: (n_features,)."""
        treatment = np.array(self.treatment)
        other = (observed & ~has_one_value(X, self.fill, X.dtype)).any(0)
        return np.asarray(
            np.where(treatment == "empty", observed.any(0), other & (treatment == "constant"))
        )

    def fillable(self) -> Mask:
        """Tell which columns have a value for their holes."""
        pairs = zip(self.treatment, self.codecs, strict=True)
        return np.array(
            [t != "other" and (t != "empty" or isinstance(c, Numbers)) for t, c in pairs]
        )

    def report(self, names: Sequence[str]) -> pd.DataFrame:
        """Return a line per input column: what it is and what becomes of it."""
        words = [
            f"an exact copy of {names[self.copies[j]]!r}: completed like it"
            if treatment == "copy"
            else TREATMENTS[treatment]
            for j, treatment in enumerate(self.treatment)
        ]
        place = {int(j): d for d, j in enumerate(self.modelled)}
        for j in range(len(self.codecs)):
            if j in place and (atom := self.facts[place[j]].atom) is not None:
                told = f"{self.atom_value(place[j]):.6g} makes up {atom[1]:.0%}"
                words[j] = f"{told}: it has a probability of its own"
            words[j] = "; ".join(filter(None, [words[j], *self._hints(j, place.get(j))]))
        return pd.DataFrame(
            {
                "kind": [codec.kind for codec in self.codecs],
                "treatment": self.treatment,
                "n_missing": self.n_missing,
                "missing_share": self.n_missing / self.n_rows,
                "n_values": self.n_values,
                "remark": words,
            },
            index=pd.Index(list(names), name="column", tupleize_cols=False),
        )
