"""Run the Python blocks of a page one after the other: ``python run_blocks.py PAGE``.

As in ``tests/test_readme.py``, a block after a comment ``<!-- not run -->`` is not run.
"""

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^(<!-- not run[^\n]*-->\n+)?```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def main(page: Path) -> None:
    """Run the blocks in one namespace, without windows of figures."""
    try:
        import matplotlib as mpl
    except ImportError:
        pass
    else:
        mpl.use("Agg")
    text, names = page.read_text(encoding="utf-8"), {"__name__": "__main__"}
    for match in BLOCK.finditer(text):
        if not match[1]:
            n_lines = text[: match.start(2)].count("\n")  # errors name the line of the page
            exec(compile("\n" * n_lines + match[2], str(page), "exec"), names)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
