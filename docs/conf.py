"""Configuration of the documentation site."""

import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks do not gain from more threads
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (imported by examples)

import skmissvae

project = "skmissvae"
author = "The skmissvae developers"
copyright = "The skmissvae developers, BSD-3-Clause"
version = release = skmissvae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "api_pages",
    "executed_pages",
]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/**/*.py"]
nitpicky = True
OTHER_PACKAGES = "collections|joblib|matplotlib|numpy|pandas|pathlib|polars|scipy|sklearn|torch"
# links to classes of other packages would need their inventories, and so a network
nitpick_ignore_regex = [(r"py:.*", rf"({OTHER_PACKAGES})\..*")]

# -- pages -----------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_custom_formats = {".md": ["executed_pages.read_page", {}]}
nb_execution_mode = "off"  # executed by read_page
nb_merge_streams = True

# -- reference -------------------------------------------------------------------------------------

autosummary_generate = False
autodoc_typehints = "none"  # numpydoc's sections have the types
toc_object_entries_show_parents = "hide"
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# -- gallery ---------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "within_subsection_order": "example_order.TableOrder",
    "filename_pattern": r"\.py$",
    "doc_module": ("skmissvae",),
    "backreferences_dir": "gallery/backreferences",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,  # its page loads scripts from another site
    "min_reported_time": 0,
    "abort_on_example_error": True,
}

# -- HTML ------------------------------------------------------------------------------------------

# MathJax is served with the site, and the package that brings it is no module
MATHJAX = [
    f"{folder}/static"
    for folder in importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations
]

html_theme = "pydata_sphinx_theme"
html_logo = html_favicon = "_static/logo.svg"
html_title = f"skmissvae {release}"
html_static_path = ["_static", *MATHJAX]
mathjax_path = "mathjax/tex-chtml.js"
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_sidebars = {name: [] for name in ("choosing", "questions", "results", "glossary", "install")}
html_sidebars |= {name: [] for name in ("getting_started", "citation", "project/*")}
html_search_scorer = str(Path(__file__).parent / "_ext" / "scorer.js")
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skmissvae", "alt_text": "skmissvae"},
    "github_url": "https://github.com/skmissvae/skmissvae",
    "header_links_before_dropdown": 4,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
copybutton_exclude = ".linenos, .gp, .go"
