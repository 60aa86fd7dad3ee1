"""Execution of the Python blocks of Markdown pages, with their real settings and seconds.

MyST-NB reads each page by `read_page`: blocks of Python at the start of a line become the cells of
a notebook, executed in one process in an empty folder. Blocks below a comment of the form
``<!-- not run: reason -->`` are shown only. Executed pages are kept in ``_build/blocks`` until the
page, the package or a library changes; then pages and examples are executed again.
"""

import csv
import functools
import hashlib
import re
import tempfile
from datetime import datetime
from importlib import metadata
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from sphinx.util import logging

import skmissvae

BLOCK = re.compile(r"^(<!-- not run[^\n]*-->\n+)?```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
DOCS = Path(__file__).parents[1]
CACHE = DOCS / "_build" / "blocks"
LIMIT = 30  # seconds of a block, on two cores
log = logging.getLogger(__name__)


def split(text):
    """Return the notebook of a page."""
    cells, end = [], 0
    for match in BLOCK.finditer(text):
        if match.group(1) is None:
            cells += [markdown_cell(text[end : match.start()]), code_cell(match.group(2))]
            end = match.end()
    return nbformat.v4.new_notebook(cells=[*cells, markdown_cell(text[end:])])


def markdown_cell(text):
    """Return a cell of prose."""
    return nbformat.v4.new_markdown_cell(text)


def code_cell(source):
    """Return a cell of code."""
    return nbformat.v4.new_code_cell(source.rstrip("\n"))


@functools.cache
def version_of_code():
    """Return a hash of the package's files and of the versions of its libraries."""
    folder = Path(skmissvae.__file__).parent
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".csv")]
    versions = [metadata.version(name) for name in ("numpy", "pandas", "scikit-learn", "torch")]
    content = b"".join(path.read_bytes() for path in files)
    return hashlib.sha256(content + " ".join(versions).encode()).hexdigest()


def executed_page(text):
    """Return the file of an executed page."""
    return CACHE / (hashlib.sha256((version_of_code() + text).encode()).hexdigest() + ".ipynb")


def read_page(text):
    """Return the executed notebook of a page, as MyST-NB's custom formats need it."""
    notebook = split(text)
    if len(notebook.cells) == 1:
        return notebook
    executed = executed_page(text)
    if executed.exists():
        return nbformat.read(executed, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=20 * LIMIT, kernel_name="python3")
        manager = client.create_kernel_manager()
        # TCP warns that it is not encrypted
        manager.transport, manager.ip = "ipc", str(Path(folder) / "kernel")
        client.execute(cwd=folder)
    executed.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, executed)
    return notebook


def seconds(cell):
    """Return the time that the execution of a cell took."""
    times = cell.metadata["execution"]
    start, end = times["iopub.execute_input"], times["shell.execute_reply"]
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def report_seconds(app, exception):
    """Write the seconds of all blocks to ``_build/seconds.csv``, and log the slowest ones."""
    if exception is not None or app.builder.format != "html":
        return
    rows = []
    for page, text in markdown_texts(app, app.env.found_docs):
        cells = [cell for cell in read_page(text).cells if cell.cell_type == "code"]
        rows += [(page, i, seconds(cell)) for i, cell in enumerate(cells, start=1)]
    rows.sort(key=lambda row: -row[2])
    with (DOCS / "_build" / "seconds.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("page", "block", "seconds"), *rows])
    log.info("%d blocks in %.0f s; the slowest:", len(rows), sum(row[2] for row in rows))
    for page, i, duration in rows[:10]:
        mark = f"  above the limit of {LIMIT} s" if duration > LIMIT else ""
        log.info("%6.1f s  block %d of %s%s", duration, i, page, mark)


def markdown_texts(app, pages):
    """Yield name and text of the Markdown pages among pages."""
    for page in sorted(pages):
        path = Path(app.env.doc2path(page))
        if path.suffix == ".md":
            yield page, path.read_text(encoding="utf-8")


def outdated_pages(app, env, added, changed, removed):
    """Return the pages with blocks that were executed with other code."""
    pages = markdown_texts(app, env.found_docs)
    return [page for page, text in pages if BLOCK.search(text) and not executed_page(text).exists()]


def forget_examples(app, config):
    """Remove the sums by which sphinx-gallery knows executed examples, if the code changed."""
    version = DOCS / "_build" / "version_of_code"
    if not version.exists() or version.read_text() != version_of_code():
        for path in (DOCS / "gallery").glob("*.md5"):
            path.unlink()
        version.parent.mkdir(exist_ok=True)
        version.write_text(version_of_code())


def setup(app):
    """Connect what executes pages and examples again, and the report of seconds."""
    app.connect("config-inited", forget_examples)
    app.connect("env-get-outdated", outdated_pages)
    app.connect("build-finished", report_seconds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
