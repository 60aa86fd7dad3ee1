"""Pages of the API reference, one for each public name, from ``__all__`` of the public modules."""

import functools
import importlib
import inspect
import re
from pathlib import Path

MODULES = ["", ".datasets", ".inspection", ".pooling", ".tables", ".vae", ".inference"]

#: Sections of the reference: title, introduction, names of the top-level package.
SECTIONS = [
    (
        "Imputers",
        "Start with :class:`skmissvae.MissSIWAEImputer`; :doc:`/choosing` compares them.",
        [
            "MVAEImputer",
            "MIWAEImputer",
            "MissVAEImputer",
            "MissSVAEImputer",
            "MissIWAEImputer",
            "MissSIWAEImputer",
            "DeMissVAEImputer",
        ],
    ),
    (
        "Densities and outliers",
        "Scores of incomplete rows, see :doc:`/guide/density`.",
        ["VAEDensityEstimator", "VAEOutlierDetector"],
    ),
    (
        "Multiple imputation and pooling",
        "See :doc:`/guide/multiple_imputation`.",
        [
            "Imputations",
            "pool",
            "pool_models",
            "pool_wald",
            "pool_likelihood_ratio",
            "pool_nested_models",
            "PooledEstimates",
            "PooledTest",
            "sensitivity",
            "SensitivityAnalysis",
        ],
    ),
    (
        "Prediction",
        "See :doc:`/guide/prediction`.",
        ["MultipleImputationClassifier", "MultipleImputationRegressor"],
    ),
    (
        "Networks and training",
        "Values of the parameters ``network``, ``optimizer`` and ``early_stopping``; a callback.",
        ["ResidualNetwork", "ConvNetwork", "CustomNetwork", "AdamW", "EarlyStopping", "Checkpoint"],
    ),
    (
        "Evaluation and diagnosis",
        "See :doc:`/guide/diagnosis`. More functions and displays are in ``skmissvae.inspection``.",
        [
            "HiddenCellScorer",
            "EnergyIScorer",
            "diagnose",
            "Diagnosis",
            "overimputation_report",
            "OverimputationReport",
            "posterior_predictive_check",
            "compare_imputed",
            "ImputedComparison",
            "value_of_measuring",
        ],
    ),
    (
        "Saving",
        "See :doc:`/guide/persistence`; estimators have a method ``save``.",
        ["load", "SKOPS_TYPES", "InconsistentVersionWarning"],
    ),
    ("Tables", "", ["Chunks", "make_missing", "missing_patterns", "missing_flux"]),
]

INTRODUCTIONS = {
    ".datasets": "A table for examples.",
    ".inspection": "Displays and functions that inspect fitted estimators.",
    ".pooling": "Rubin's rules; all names are also names of ``skmissvae``.",
    ".tables": "How tables are read: for authors of custom tools.",
    ".vae": "Parts of models: for custom likelihoods, priors and posteriors.",
    ".inference": "Conditional distributions and samplers: for custom samplers and research.",
}


def own_members(cls):
    """Yield the public methods and properties of a class that the package defines."""
    for name, member in inspect.getmembers(cls):
        is_public = not name.startswith("_") or name == "__call__"
        if not is_public or name.endswith("_request") or not defined_here(cls, name):
            continue
        if isinstance(member, property | functools.cached_property):
            yield "autoproperty", name
        elif inspect.isroutine(member):
            yield "automethod", name


def defined_here(cls, name):
    """Return whether a class of the package defines a member, other than a field of a tuple."""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    return owner.__module__.startswith("skmissvae") and name not in getattr(cls, "_fields", ())


def page(module, name):
    """Return the page of a public name."""
    member = getattr(importlib.import_module(module), name)
    lines = [name, "=" * len(name), "", f".. currentmodule:: {module}", ""]
    if inspect.isclass(member):
        lines += [f".. autoclass:: {name}", ""]
        lines += [f"   .. {kind}:: {method}" for kind, method in own_members(member)]
    elif callable(member):
        lines += [f".. autofunction:: {name}"]
    else:
        lines += [f".. autodata:: {name}"]
    return "\n".join([*lines, "", f".. minigallery:: {module}.{name}", "   :add-heading:", ""])


def table(module, names):
    """Return a table of names with their summaries."""
    return [
        f".. currentmodule:: {module}",
        "",
        ".. autosummary::",
        "   :nosignatures:",
        "",
        *(f"   {name}" for name in names),
        "",
    ]


def write_pages(folder):
    """Write the index and the pages of the reference, and remove pages of names that are gone."""
    first_module = {}
    for suffix in MODULES:
        for name in importlib.import_module(f"skmissvae{suffix}").__all__:
            first_module.setdefault(name, f"skmissvae{suffix}")
    files = {f"{module}.{name}.rst": page(module, name) for name, module in first_module.items()}
    top = importlib.import_module("skmissvae").__all__
    in_sections = [name for _, _, names in SECTIONS for name in names]
    if sorted(in_sections) != sorted(top):
        raise ValueError(f"SECTIONS differ from __all__ in {set(in_sections) ^ set(top)}")
    index = ["API reference", "=============", "", "All public names, by subject.", ""]
    for title, introduction, names in SECTIONS:
        index += [title, "-" * len(title), "", introduction, "", *table("skmissvae", names)]
    for suffix, introduction in INTRODUCTIONS.items():
        module = f"skmissvae{suffix}"
        names = [name for name, first in first_module.items() if first == module]
        index += [module, "-" * len(module), "", introduction, ""]
        index += table(module, names) if names else []
    order = [f"skmissvae.{name}" for name in in_sections]
    order += [f"{module}.{name}" for name, module in first_module.items() if name not in top]
    index += [".. toctree::", "   :hidden:", "", *(f"   {page}" for page in order)]
    files["index.rst"] = "\n".join(index) + "\n"
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.rst"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def shorten_signature(app, what, name, obj, options, signature, annotation):
    """Return a short signature where the parameters would fill a screen; a list follows below."""
    if what == "class" and signature and signature.count("=") > 8:
        n_parameters = len(inspect.signature(obj).parameters)
        return f"(*, {n_parameters} keyword parameters, all optional)", annotation
    return None


def escape_shapes(app, what, name, obj, options, lines):
    """Escape the asterisk of shapes such as ``(S, *batch, L)``, which is emphasis to docutils."""
    for i, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [re.sub(r"(?<![\w*\\])\*(?=\w*[,)])", r"\\*", part) for part in parts[::2]]
        lines[i] = "``".join(parts)


def setup(app):
    """Write the pages before Sphinx looks for sources."""
    app.connect("config-inited", lambda app, config: write_pages(Path(app.srcdir) / "api"))
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-docstring", escape_shapes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
