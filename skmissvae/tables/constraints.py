"""Conditions that completed rows meet, such as low <= high: the parameter constraints."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._utils.quoting import listed, quoted
from .codecs import Numbers
from .columns import Mask
from .input_table import to_pandas
from .schema import TableSchema

# What expressions consist of: neither calls nor attributes, as files of models hold expressions.
_PARTS = (
    ast.Expression,
    *(ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Name, ast.Constant, ast.Load),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.And, ast.Or, ast.Not),
    *(ast.BitAnd, ast.BitOr, ast.Invert, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub),
)
_QUOTED_NAME = re.compile("`([^`]*)`")  # names that are not identifiers, as in pandas


class Constraint(NamedTuple):
    """A condition of rows of completed tables."""

    name: str
    function: Callable[[Any], Any]  # of a completed table
    columns: tuple[int, ...] | None = None  # that it reads; None if they are unknown
    pairs: Sequence[tuple[int, int]] = ()  # columns of which the first is at most the second

    def is_met(self, table: Any) -> Mask:
        """Return which rows of a completed table meet the condition, (n_samples,).

        Raises
        ------
        ValueError, TypeError
            If the function does not return a bool for each row.
        """
        values = self.function(table)
        are_series = isinstance(values, pd.Series) and isinstance(table, pd.DataFrame)
        if are_series and len(values) == len(table) and not values.index.equals(table.index):
            raise ValueError(
                f"Parameter 'constraints' returns a series with another index than that of the "
                f"table for {quoted(self.name)}. Return it in the order of the rows."
            )
        try:
            is_met = pd.array(np.asarray(values).ravel(), dtype="boolean")
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Parameter 'constraints' returns {quoted(values)} for {quoted(self.name)}, which "
                "are not bools. Return True or False for each row."
            ) from error
        if np.shape(values) != (len(table),):
            raise ValueError(
                f"Parameter 'constraints' returns an array of shape {np.shape(values)} for "
                f"{quoted(self.name)}. Return True or False for each of the {len(table)} rows."
            )
        return np.asarray(is_met.to_numpy(dtype=bool, na_value=False))

    def concerns(self, imputed: Mask) -> Mask:
        """Return in which rows imputed cells, (n_samples, n_features), may decide, (n_samples,)."""
        cells = imputed if self.columns is None else imputed[:, list(self.columns)]
        return np.any(cells, axis=1)


def parse_constraints(
    constraints: Sequence[str] | Mapping[str, str | Callable[[Any], Any]] | None,
    schema: TableSchema,
) -> list[Constraint]:
    """Return the conditions of the parameter ``constraints``.

    Raises
    ------
    ValueError, TypeError
        If an expression is invalid or names a column that completed tables do not have.
    """
    if constraints is None:
        return []
    if not isinstance(constraints, Mapping):
        constraints = {condition: condition for condition in constraints}
    return [_parse(str(name), condition, schema) for name, condition in constraints.items()]


def _parse(name: str, condition: Any, schema: TableSchema) -> Constraint:
    if callable(condition):
        return Constraint(name, condition)
    if not isinstance(condition, str):
        raise TypeError(
            f"Parameter 'constraints' has {quoted(condition)} as {quoted(name)}. Pass an "
            "expression such as 'low <= high', or a mapping from names to functions of a table."
        )
    tree = _tree(condition)
    names = list(map(str, schema.names))
    indices = {str(schema.names[j]): j for j in schema.output_columns.tolist()}
    columns = list[int]()
    for column in _columns(tree, condition):
        if column not in indices:
            what = "completed tables do not" if column in names else "X does not"
            raise ValueError(
                f"Parameter 'constraints' names column {quoted(column)} in {quoted(condition)}, "
                f"which {what} have; it has {listed(indices)}. Write other names than those of "
                "variables of Python in backticks, as in '`low limit` <= high'."
            )
        columns.append(indices[column])
    if not columns:
        raise ValueError(
            f"Parameter 'constraints' has {quoted(condition)}, which names no column. Write a "
            "comparison of columns such as 'low <= high'."
        )
    pairs = []
    for term in _terms(tree):
        for left, operator, right in _comparisons(term):
            sides = [[indices[c] for c in _columns(side, condition)] for side in (left, right)]
            if isinstance(operator, ast.Eq):
                _refuse_equality(condition, schema, sides[0] + sides[1])
            elif isinstance(left, ast.Name) and isinstance(right, ast.Name):
                is_upwards = isinstance(operator, (ast.Lt, ast.LtE))
                low, high = sides if is_upwards else sides[::-1]
                pairs += [(low[0], high[0])] if not isinstance(operator, ast.NotEq) else []
    outputs = list(indices)

    def is_met(table: Any) -> Any:
        frame = to_pandas(table)
        if not isinstance(frame, pd.DataFrame):
            frame = pd.DataFrame(frame[:, : len(outputs)], columns=outputs)
        return frame.eval(condition, engine="python")

    return Constraint(name, is_met, tuple(sorted(set(columns))), pairs)


def _tree(expression: str) -> ast.Expression:
    """Return the syntax tree of an expression; quoted names are numbered, ``_0``."""
    counter = iter(range(len(expression)))
    try:
        text = _QUOTED_NAME.sub(lambda _: f"_{next(counter)}_", expression)
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(
            f"Parameter 'constraints' has {quoted(expression)}, which is not an expression: "
            f"{error.msg}. Write a comparison of columns such as 'low <= high'."
        ) from error
    for node in ast.walk(tree):
        if not isinstance(node, _PARTS):
            raise ValueError(
                f"Parameter 'constraints' has {quoted(expression)} with a part that expressions "
                f"cannot have ({type(node).__name__}): they have columns, constants, comparisons, "
                "arithmetic, 'and', 'or' and 'not'. Pass {name: function} for other conditions."
            )
    return tree


def _columns(tree: ast.AST, expression: str) -> list[str]:
    """Return the names of columns in a part of an expression."""
    quoted_names = _QUOTED_NAME.findall(expression)
    places = {f"_{i}_": name for i, name in enumerate(quoted_names)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [places.get(node.id, node.id) for node in nodes]


def _terms(tree: ast.Expression) -> Iterator[ast.expr]:
    """Yield the parts that every accepted row meets: the whole, or the terms of ``and``."""
    terms: list[ast.expr] = [tree.body]
    while terms:
        term = terms.pop()
        if isinstance(term, ast.BoolOp) and isinstance(term.op, ast.And):
            terms += term.values
        else:
            yield term


def _comparisons(term: ast.expr) -> Iterator[tuple[ast.expr, ast.cmpop, ast.expr]]:
    """Yield the sides and operators of comparisons, three in ``a < b <= c < d``."""
    if isinstance(term, ast.Compare):
        yield from zip([term.left, *term.comparators], term.ops, term.comparators, strict=False)


def _refuse_equality(condition: str, schema: TableSchema, columns: Sequence[int]) -> None:
    """Raise where a column of an equality has no probability of any single value."""
    for j in columns:
        codec = schema.codecs[j]
        if isinstance(codec, Numbers) and not codec.is_integer:
            raise ValueError(
                f"Parameter 'constraints' has {quoted(condition)}, which draws of column "
                f"{quoted(schema.names[j])} meet with probability zero. Compute the column from "
                "the others ('derived'), or use two inequalities."
            )
