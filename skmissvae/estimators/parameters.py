"""Parameters of the estimators, each declared once: type, check, default and text.

A parameter is an annotated class attribute, and its text stands in the docstring of its class::

    @estimator
    class MixtureOptions:
        \"\"\"Parameters of mixture posteriors.

Parameters
----------
        K : int
            Number of components.
        \"\"\"

        _group = "model"
        K: Annotated[int, integer(1)] = 5

The decorator ``estimator`` makes the explicit ``__init__`` that scikit-learn requires and, if the
docstring has ``{parameters}``, writes all parameters there, in groups. A subclass that changes only
a default declares ``K: int = 7``; one that changes the text has it in its docstring.
"""

import dataclasses
import functools
import inspect
import re
import textwrap
from typing import Any, NamedTuple, TypeVar, dataclass_transform, get_type_hints

from .._utils.validation import Check, check_fields

T = TypeVar("T")

GROUPS = ("model", "training", "inference", "table", "imputation")


class Parameter(NamedTuple):
    """The declaration of a parameter, without its name and default."""

    kind: str
    text: str
    check: Check
    group: str


@functools.cache
def parameters(cls: Any) -> dict[str, Parameter]:
    """Return the declared parameters of an estimator class, in the order of its signature."""
    declared = _declared(cls)
    return {name: declared[name] for name in inspect.signature(cls).parameters}


def _declared(cls: type) -> dict[str, Parameter]:
    """Return the declared parameters of a class and its bases."""
    checks: dict[str, tuple[Check, str]] = {}
    texts: dict[str, tuple[str, str]] = {}
    for base in reversed(cls.__mro__):
        texts |= vars(base).get("_parameter_texts", {})
        for name, hint in inspect.get_annotations(base, eval_str=True).items():
            for check in getattr(hint, "__metadata__", ()):
                group = checks[name][1] if name in checks else vars(base)["_group"]
                checks[name] = check, group
    return {name: Parameter(*texts[name], *rest) for name, rest in checks.items()}


def validate(estimator: object) -> None:
    """Raise a ValueError for the first parameter whose value fails its check."""
    cls: Any = type(estimator)
    check_fields(estimator, **{name: declared.check for name, declared in parameters(cls).items()})


def section(doc: str, name: str) -> str:
    """Return the entries of a section of a numpydoc docstring."""
    pattern = rf"(?ms)^{name}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}$|\Z)"
    match = re.search(pattern, doc)
    return match[1].strip() if match else ""


def _inherited_attributes(cls: type) -> str:
    """Return the entries of the Attributes sections of the bases."""
    docs = [inspect.cleandoc(vars(base).get("__doc__") or "") for base in reversed(cls.__mro__[1:])]
    return "\n".join(filter(None, (section(doc, "Attributes") for doc in docs)))


def _texts(doc: str) -> dict[str, tuple[str, str]]:
    """Return type and text of each parameter in the Parameters section of a docstring."""
    entries = re.findall(r"(?m)^(\w+) : (.*)\n((?:    .*\n?|\n)+)", section(doc, "Parameters"))
    return {name: (kind, " ".join(text.split())) for name, kind, text in entries}


def _parameter_section(cls: type) -> str:
    """Return the entries of the Parameters section."""
    signature = inspect.signature(cls).parameters
    lines = []
    for name, parameter in parameters(cls).items():
        lines.append(f"{name} : {parameter.kind}, default={signature[name].default!r}")
        lines.append(_filled(parameter.text, "    "))
    return "\n".join(lines)


def _group_sentence(cls: type) -> str:
    """Return the sentence that lists the parameters by group."""
    by_group: dict[str, list[str]] = {}
    for name, parameter in parameters(cls).items():
        by_group.setdefault(parameter.group, []).append(f"``{name}``")
    groups = [f"{group} ({', '.join(names)})" for group, names in by_group.items()]
    return _filled(f"Parameters are in {len(groups)} groups: {'; '.join(groups)}.", "")


def _filled(text: str, indent: str) -> str:
    wrapper = textwrap.TextWrapper(92, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent = wrapper.subsequent_indent = indent
    return wrapper.fill(text)


@dataclass_transform(kw_only_default=True, eq_default=False)
def estimator(cls: type[T]) -> type[T]:
    """Give a class its ``__init__`` and, if it has ``{parameters}``, its Parameters section."""
    made: Any = dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
    doc = inspect.cleandoc(made.__doc__ or "")
    made._parameter_texts = _texts(doc)
    declared = _declared(made)
    depth = {
        name: i for i, base in enumerate(made.__mro__) for name in inspect.get_annotations(base)
    }

    def order(field: inspect.Parameter) -> tuple[int, int]:
        # within a group those of the most special class come first
        return GROUPS.index(declared[field.name].group), depth[field.name]

    _, *fields = inspect.signature(made.__init__).parameters.values()
    types = get_type_hints(made)  # without the checks
    fields = [field.replace(annotation=types[field.name]) for field in fields]
    made.__signature__ = inspect.Signature(sorted(fields, key=order))
    if "{parameters}" in doc:
        declaration = re.search(r"(?ms)^Parameters\n-+\n.*?\{parameters\}", doc)
        assert declaration is not None, "the placeholder is in its section"
        entries = f"Parameters\n----------\n{_parameter_section(made)}"
        doc = doc.replace(declaration[0], f"{_group_sentence(made)}\n\n{entries}")
        made.__doc__ = doc.replace("{attributes}", _inherited_attributes(made)) + "\n"
    return made
