"""Parameters of the estimators, each declared once: type, check, text and default.

A parameter is an annotated class attribute::

    K: Annotated[int, Parameter("int", "Number of components.", integer(1))] = 5

The decorator ``estimator`` makes the explicit ``__init__`` that scikit-learn wants and writes the
texts into the class docstring. A subclass that changes a default only declares ``K: int = 7``.
"""

import dataclasses
import inspect
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar, dataclass_transform, get_args, get_type_hints

from .._utils.validation import Check

T = TypeVar("T")


class Parameter(NamedTuple):
    """What there is to know of a parameter, beside its name and default."""

    kind: str
    text: str
    check: Check


def parameters(cls: type) -> dict[str, Parameter]:
    """Return the declared parameters of an estimator class, in the order of its signature."""
    found: dict[str, Parameter] = {}
    for base in reversed(cls.__mro__):
        hints = get_type_hints(base, include_extras=True) if "__annotations__" in vars(base) else {}
        for name in vars(base).get("__annotations__", {}):
            for extra in getattr(hints.get(name), "__metadata__", ()):
                if isinstance(extra, Parameter):
                    found[name] = extra
    return {name: found[name] for name in inspect.signature(cls).parameters}


def validate(estimator: object) -> None:
    """Raise a ValueError that names the first parameter whose value is not what it must be."""
    for name, parameter in parameters(type(estimator)).items():
        value = getattr(estimator, name)
        want = parameter.check(value)
        if want is not None:
            raise ValueError(
                f"Parameter {name!r} of {type(estimator).__name__} must be {want}; got {value!r}."
            )


def _section(cls: type) -> Iterable[str]:
    signature = inspect.signature(cls).parameters
    for name, parameter in parameters(cls).items():
        yield f"{name} : {parameter.kind}, default={signature[name].default!r}"
        yield textwrap.fill(
            parameter.text,
            92,
            initial_indent="    ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )


_ATTRIBUTES = """\
vae_ : torch.nn.Module
    The fitted model.
history_ : dict of str to list of float
    Per epoch: ``"bound"`` (mean over the batches), ``"learning_rate"``, ``"seconds"`` since the
    start and, where rows are held out, ``"validation_bound"``.
init_ : {"factor_analysis", "random"}
    Initialisation that was used.
n_iter_ : int
    Epochs done since the weights' start.
validation_score_ : float
    Bound of the held-out rows for the weights that were kept; NaN where none are held out.
feature_kinds_ : dict of str to str
    Kind of each column: those of ``feature_kinds``, or why it is none ("identifier", "date",
    "other").
fit_report_ : DataFrame
    A line per column: kind, what becomes of it, missing cells, number of values, remarks.
n_features_in_ : int
    Number of columns seen at fit.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Their names, where ``X`` had names that are all strings."""


def _plain(annotation: Any) -> Any:
    """Return an annotation without what stands beside the type."""
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


@dataclass_transform(kw_only_default=True, eq_default=False)
def estimator(cls: type[T]) -> type[T]:
    """Give a class its ``__init__`` and, where ``{parameters}`` stands, its Parameters section."""
    own = inspect.get_annotations(cls)
    made: Any = dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
    # what is special to the class comes first; all are keywords, so that any order will do
    _, *fields = inspect.signature(made.__init__).parameters.values()
    fields = [field.replace(annotation=_plain(field.annotation)) for field in fields]
    made.__signature__ = inspect.Signature(sorted(fields, key=lambda field: field.name not in own))
    if made.__doc__ and "{parameters}" in made.__doc__:
        doc = inspect.cleandoc(made.__doc__)
        doc = doc.replace("{parameters}", "\n".join(_section(made)))
        made.__doc__ = doc.replace("{attributes}", _ATTRIBUTES + made._attributes) + "\n"
    return made
