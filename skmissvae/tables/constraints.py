"""Conditions that completed rows meet, such as low <= high: the parameter constraints."""

import ast
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .._utils.quoting import listed, quoted
from .codecs import Codec, Dates, Numbers, Unsupported
from .columns import Mask
from .schema import TableSchema

#: Returns a number or a bool for each row, given cells as floats, (N, n_features).
RowFunction = Callable[[NDArray[np.float64]], NDArray[Any]]

_OPERATORS: dict[type, Any] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.And: np.logical_and,
    ast.Or: np.logical_or,
}
# Names that are not identifiers, in backticks; strings are left as they are.
_QUOTED_NAME = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`([^`]*)`")

_MAX_LENGTH, _MAX_DEPTH = 1000, 50  # of an expression, which may come from a file
_INFINITY = 1e300  # beyond which numbers are no constants


class Constraint(NamedTuple):
    """A condition of completed rows: an expression of columns, or a function of a table."""

    name: str
    function: Callable[[Any], Any]  # of cells as floats, (N, n_features), or of a table
    columns: tuple[int, ...] | None = None  # of an expression
    pair: tuple[int, int] | None = None  # columns of which the first is at most the second

    def is_met(self, cells: NDArray[np.float64], table: Any) -> Mask:
        """Return which completed rows meet the condition, (N,).

        Expressions of cells that are NaN are met.

        Raises
        ------
        ValueError, TypeError
            If the function does not return a bool for each row.
        """
        if self.columns is not None:
            with np.errstate(all="ignore"):
                is_met: Mask = np.broadcast_to(_to_bool(self.function(cells)), len(cells))
            return is_met | np.isnan(cells[:, self.columns]).any(1)
        # other functions must not see changes of this one
        copied = table.copy() if isinstance(table, (np.ndarray, pd.DataFrame)) else table
        return self._checked(self.function(copied), table)

    def _checked(self, values: Any, table: Any) -> Mask:
        """Return what the function returned for a table as an array of bools."""
        name, n = quoted(self.name), len(table)
        are_series = isinstance(values, pd.Series) and isinstance(table, pd.DataFrame)
        if are_series and len(values) == n and not values.index.equals(table.index):
            raise ValueError(
                f"Parameter 'constraints' returns a series with another index than that of the "
                f"table for {name}. Return it in the order of the rows."
            )
        try:
            is_met = pd.array(np.asarray(values).ravel(), dtype="boolean")
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Parameter 'constraints' returns {quoted(values)} for {name}, which are not "
                "bools. Return True or False for each row."
            ) from error
        if np.shape(values) != (n,):
            raise ValueError(
                f"Parameter 'constraints' returns an array of shape {np.shape(values)} for {name}. "
                f"Return True or False for each of the {n} rows."
            )
        return np.asarray(is_met.to_numpy(dtype=bool, na_value=False))

    def concerns(self, imputed: Mask) -> Mask:
        """Return in which rows imputed cells, (N, n_features), may decide, (N,)."""
        cells = imputed if self.columns is None else imputed[:, self.columns]
        return np.any(cells, axis=1)


def parse_constraints(
    constraints: Sequence[str] | Mapping[str, str | Callable[[Any], Any]] | None,
    schema: TableSchema,
) -> list[Constraint]:
    """Return the conditions of the parameter ``constraints``.

    Terms that are connected by ``and`` are conditions with the same name.

    Raises
    ------
    ValueError, TypeError
        If an expression is invalid or names a column that completed tables do not have.
    """
    if constraints is None:
        return []
    if not isinstance(constraints, Mapping):
        constraints = {condition: condition for condition in constraints}
    result = []
    for name, condition in constraints.items():
        if callable(condition):
            result.append(Constraint(str(name), condition))
        elif isinstance(condition, str):
            result += _Expression(condition, schema).constraints(str(name))
        else:
            raise TypeError(
                f"Parameter 'constraints' has {quoted(condition)} as {quoted(name)}. Pass an "
                "expression such as 'low <= high', or a mapping from names to functions of a table."
            )
    return result


class _Expression:
    """An expression of columns. It is computed by its syntax tree, and never executed as code.

    Parameters
    ----------
    text : str
        The expression.
    schema : TableSchema
        The schema.
    """

    def __init__(self, text: str, schema: TableSchema) -> None:
        self._text, self._schema = text, schema
        outputs = schema.output_columns.tolist()
        self._index = {str(schema.names[j]): j for j in outputs}
        self._placeholders = dict[str, str]()

    def constraints(self, name: str) -> Iterator[Constraint]:
        """Yield a constraint for each term that is connected by ``and``."""
        for term in self._terms(self._tree().body):
            function = self._condition(term)
            names = [node for node in ast.walk(term) if isinstance(node, ast.Name)]
            columns = tuple(sorted({self._column(node) for node in names}))
            if not columns:
                raise self._error("a term that names no column", "Write 'low <= high'")
            yield Constraint(name, function, columns, self._pair(term))

    def _tree(self) -> ast.Expression:
        """Return the syntax tree, with placeholders for names in backticks."""
        runs = re.findall("_+", " ".join((self._text, *self._index)))
        prefix = "_" * (1 + max(map(len, runs), default=0))

        def placeholder(match: re.Match[str]) -> str:
            if match[1] is None:
                return match[0]
            identifier = f"{prefix}{len(self._placeholders)}"
            self._placeholders[identifier] = match[1]
            return identifier

        if len(self._text) > _MAX_LENGTH:
            raise self._error(
                f"{len(self._text)} characters", f"Write at most {_MAX_LENGTH}, or several ones"
            )
        try:
            tree = ast.parse(_QUOTED_NAME.sub(placeholder, self._text).strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", str(error))
            raise self._error(
                f"a fault ({reason})", "Write an expression such as 'low <= high'"
            ) from error
        depth, nodes = 0, [*ast.iter_child_nodes(tree)]
        while nodes:
            depth, nodes = depth + 1, [c for node in nodes for c in ast.iter_child_nodes(node)]
        if depth > _MAX_DEPTH:
            raise self._error("too many parts within parts", "Pass {name: function}")
        return tree

    def _terms(self, node: ast.expr) -> Iterator[ast.expr]:
        """Yield the terms of ``and``, and the comparisons of ``a <= b <= c``."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            for term in node.values:
                yield from self._terms(term)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, operator, right in zip(sides[:-1], node.ops, sides[1:], strict=True):
                yield ast.Compare(left, [operator], [right])
        else:
            yield node

    def _column(self, node: ast.Name) -> int:
        """Return the index of a column."""
        name = self._name(node)
        # Python normalizes identifiers
        is_exact = node.id in self._placeholders
        same = [n for n in self._index if n == name or (not is_exact and _normal(n) == name)]
        if len(same) != 1:
            left_out = name in map(str, self._schema.names)
            what = "completed tables do not have" if left_out else "X does not have"
            raise ValueError(
                f"Parameter 'constraints' names column {quoted(name)} in {quoted(self._text)}, "
                f"which {what if not same else 'is not unique'}; it has {listed(self._index)}. "
                "Write names that are not identifiers in backticks, as in '`low limit` <= high'."
            )
        return self._index[same[0]]

    def _name(self, node: ast.Name) -> str:
        return self._placeholders.get(node.id, node.id)

    def _codec(self, node: ast.expr) -> Codec | None:
        return self._schema.codecs[self._column(node)] if isinstance(node, ast.Name) else None

    def _condition(self, node: ast.expr) -> RowFunction:
        """Return a function of cells that computes a condition."""
        match node:
            case ast.Name() if self._holds_bools(node):
                values = self._numbers(node)
                return lambda cells: _to_bool(values(cells))
            case ast.UnaryOp(op=ast.Not()):
                values = self._condition(node.operand)
                return lambda cells: ~values(cells)
            case ast.BoolOp():
                operator = _OPERATORS[type(node.op)]
                parts = [self._condition(part) for part in node.values]
                return lambda cells: operator.reduce([part(cells) for part in parts])
            case ast.Compare() if all(type(operator) in _OPERATORS for operator in node.ops):
                terms = [self._comparison(term) for term in self._terms(node)]
                return lambda cells: np.logical_and.reduce([term(cells) for term in terms])
            case ast.Name() | ast.Constant() | ast.BinOp(op=ast.Add() | ast.Sub()):
                raise self._error("a number in place of a condition", "Compare it with another one")
        raise self._refused(node)

    def _holds_bools(self, node: ast.Name) -> bool:
        codec = self._codec(node)
        return codec is not None and {*codec.categories} in ({0, 1}, {0}, {1})

    def _values(self, node: ast.expr) -> RowFunction:
        """Return a function of cells that computes a number."""
        match node:
            case ast.Constant(value=bool() | int() | float() as value) if abs(value) < _INFINITY:
                return _constant(value)
            case ast.Name():
                return self._numbers(node)
            case ast.UnaryOp(op=ast.USub()):
                values = self._values(node.operand)
                return lambda cells: -np.asarray(values(cells), dtype=np.float64)
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
                operator = _OPERATORS[type(node.op)]
                first, second = self._values(node.left), self._values(node.right)
                return lambda cells: operator(first(cells) * 1.0, second(cells) * 1.0)
        raise self._refused(node)

    def _refused(self, node: ast.expr) -> ValueError:
        return self._error(
            f"a part that expressions cannot have there ({type(node).__name__})",
            "They have columns, constants, comparisons, arithmetic, 'and', 'or' and 'not'. Pass "
            "{name: function} for other conditions",
        )

    def _numbers(self, node: ast.Name) -> RowFunction:
        """Return a function that returns a column of numbers, or of bools as 0 and 1."""
        j, codec = self._column(node), self._codec(node)
        assert codec is not None, "of a column"
        if isinstance(codec, Numbers):
            return _cells_of(j)
        labels = codec.categories
        if not labels or not all(isinstance(label, Real) for label in labels):
            raise self._error(
                f"arithmetic or a comparison with numbers of column {quoted(self._name(node))}, "
                f"whose values are {'dates' if isinstance(codec, Dates) else codec.kind}",
                "Compare it with a column or a constant of its type, or pass {name: function}",
            )
        return _recoded(j, labels)

    def _comparison(self, term: ast.expr) -> RowFunction:
        """Return a function that computes a comparison of two sides."""
        assert isinstance(term, ast.Compare), "a comparison"
        sides = [term.left, term.comparators[0]]
        operator, codecs = _OPERATORS[type(term.ops[0])], [self._codec(side) for side in sides]
        texts = [isinstance(s, ast.Constant) and isinstance(s.value, str) for s in sides]
        if any(isinstance(codec, Dates) for codec in codecs):
            first, second = self._dates(sides, codecs)
        elif any(texts) or any(_has_labels(codec) for codec in codecs):
            first, second = self._labels(sides, codecs, term.ops[0])
        else:
            first, second = map(self._values, sides)
            if isinstance(term.ops[0], ast.Eq):
                self._refuse_equality(term)
        return lambda cells: operator(first(cells), second(cells))

    def _dates(
        self, sides: Sequence[ast.expr], codecs: Sequence[Codec | None]
    ) -> Iterator[RowFunction]:
        """Yield the sides of a comparison of dates, times or durations, in microseconds."""
        dates = [codec for codec in codecs if isinstance(codec, Dates)]
        kinds = {(codec.is_duration, codec.time_zone is None) for codec in dates}
        for side, codec in zip(sides, codecs, strict=True):
            if isinstance(codec, Dates) and isinstance(side, ast.Name) and len(kinds) == 1:
                yield _cells_of(self._column(side))
                continue
            try:
                limit = dates[0].encode_limit(getattr(side, "value", None))
            except (TypeError, ValueError) as error:
                raise self._error(
                    "a comparison of dates with other values, or of times with and without a zone",
                    "Compare dates with dates, or with a constant such as '2024-01-31'",
                ) from error
            yield _constant(limit)

    def _labels(
        self, sides: Sequence[ast.expr], codecs: Sequence[Codec | None], operator: ast.cmpop
    ) -> Iterator[RowFunction]:
        """Yield the sides of a comparison of categories, as positions in a common list."""
        lists = [list(codec.categories) for codec in codecs if codec and _has_labels(codec)]
        constants = [side.value for side in sides if isinstance(side, ast.Constant)]
        if not lists or len(lists) + len(constants) < 2:
            raise self._error(
                "a comparison of text with other values", "Compare categories with text or others"
            )
        unknown = [c for c in constants if c not in lists[0]]
        if unknown:
            raise self._error(
                f"the category {quoted(unknown[0])}, which no row had at fit",
                f"Name one of {listed(lists[0])}",
            )
        is_ordered = isinstance(operator, (ast.Eq, ast.NotEq)) or (
            all(codec is None or codec.kind == "ordinal" for codec in codecs)
            and all(labels == lists[0] for labels in lists)
        )
        if not is_ordered:
            raise self._error(
                "an order of categories that have none",
                "Compare them by == or !=, or give the column an ordered type",
            )
        joint = list(dict.fromkeys(label for labels in [*lists, constants] for label in labels))
        for side, codec in zip(sides, codecs, strict=True):
            if isinstance(side, ast.Constant):
                yield _constant(joint.index(side.value))
                continue
            assert isinstance(side, ast.Name), "a column"
            assert codec is not None, "of a column"
            yield _recoded(self._column(side), list(map(joint.index, codec.categories)))

    def _refuse_equality(self, term: ast.expr) -> None:
        """Raise where a column of an equality has no probability of any single value."""
        for node in ast.walk(term):
            codec = self._codec(node) if isinstance(node, ast.Name) else None
            if isinstance(codec, Numbers) and not codec.is_integer:
                raise self._error(
                    "an equality of numbers that are not integers, which draws meet with "
                    "probability zero",
                    "Compute one column from the others ('derived'), or use two inequalities",
                )

    def _pair(self, term: ast.expr) -> tuple[int, int] | None:
        """Return the columns of a comparison of which the first is at most the second."""
        if not isinstance(term, ast.Compare):
            return None
        left, right, operator = term.left, term.comparators[0], term.ops[0]
        if not isinstance(left, ast.Name) or not isinstance(right, ast.Name):
            return None
        pair = self._column(left), self._column(right)
        if isinstance(operator, (ast.Lt, ast.LtE)):
            return pair
        return pair[::-1] if isinstance(operator, (ast.Gt, ast.GtE)) else None

    def _error(self, part: str, remedy: str) -> ValueError:
        return ValueError(
            f"Parameter 'constraints' has {quoted(self._text)} with {part}. {remedy}."
        )


def _has_labels(codec: Codec | None) -> bool:
    """Return whether a column holds categories that are not numbers."""
    if codec is None or isinstance(codec, (Numbers, Dates, Unsupported)):
        return False
    labels = list(codec.categories)
    if not all(isinstance(label, Real) for label in labels):
        return True
    return codec.kind == "ordinal" and labels != sorted(labels)  # an order other than of numbers


def _normal(name: str) -> str:
    return unicodedata.normalize("NFKC", name)


def _constant(value: float) -> RowFunction:
    return lambda cells: np.asarray(value)


def _cells_of(j: int) -> RowFunction:
    return lambda cells: cells[:, j]


def _recoded(j: int, values: Sequence[Any]) -> RowFunction:
    """Return a function that returns a value for each category of a column, NaN where missing."""
    table = np.array([*values, np.nan], dtype=np.float64)
    return lambda cells: table[np.where(np.isnan(cells[:, j]), -1, cells[:, j]).astype(np.intp)]


def _to_bool(values: NDArray[Any]) -> Mask:
    """Return which values are true; NaN is false."""
    return np.asarray((values != 0) & (values == values))
