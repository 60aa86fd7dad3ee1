"""The package, its pages, examples and benchmark pages avoid words that readers misunderstand.

A comment ``# words: ok`` (in Markdown ``<!-- words: ok -->``) at the end of a line permits the
words of this line.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Regular expressions of unwanted words, and what to write instead.
REPLACEMENTS = {
    r"tells?|told": "report, return, log, indicate",
    r"mend(s|ed)?": "fix",
    r"naught|nothings?": "zero, none, no ...",
    r"lest": "so that ... not",
    r"heeds?": "consider, use",
    r"holes?|holed": "missing cell, missing value, incomplete",
    r"gaps? in": "missing cells in",
    r"of one'?s own|users?'s? own": "custom, user-defined",
    r"in company": "independent of the other rows in X",
    r"ask(s|ed)? (for|of)": "request, compute; when the method is called",
    r"but for": "except for",
    r"beside(s)? (it|them|that|each)": "in addition to, next to",
    r"piles?": "point mass",
    r"warps?|warped": "marginal transform",
    r"(poor|even) weights": "low effective sample size, low weight variance",
    r"whole numbers?": "integers, counts",
    r"counted values": "counts",
    r"names of rows": "row identifiers",
    r"lost steps?": "skipped steps",
    r"what comes out": "result, output",
    r"ever (nearer|more)": "increasingly",
    r"for the rest": "otherwise",
    r"seconds of now": "current timings",
    r"strangers?": "unknown categories, outliers",
}
WORDS = {
    re.compile(rf"\b({words})\b".replace(" ", r"\s+"), re.IGNORECASE): replacement
    for words, replacement in REPLACEMENTS.items()
}
EXEMPT = re.compile(r"(#|<!--) words: ok( -->)?$")
TEXT = {"STRING", "FSTRING_MIDDLE", "COMMENT"}


def files():
    """Return the files whose prose is checked."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    pages += [*(ROOT / "examples").rglob("*.rst"), *(ROOT / "benchmarks").rglob("*.md")]
    code = [*(ROOT / "skmissvae").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    return [path for path in sorted(pages + code) if "_build" not in path.parts]


def passages(text, is_code):
    """Yield the first line and the text of each passage of prose: a string, a comment, a page."""
    if not is_code:
        yield 1, text
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if tokenize.tok_name[token.type] in TEXT:
            yield token.start[0], token.string


def unwanted_words(text, is_code):
    """Return (line, word, replacement) of each unwanted word outside exempt lines."""
    lines, found = text.splitlines(), []
    for first, passage in passages(text, is_code):
        for words, replacement in WORDS.items():
            for match in words.finditer(passage):
                line = first + passage.count("\n", 0, match.start())
                if not EXEMPT.search(lines[line - 1].rstrip()):
                    found.append((line, " ".join(match.group().split()), replacement))
    return sorted(found)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_has_no_unwanted_words(path):
    report = [
        f"{path.relative_to(ROOT)}:{line}: {word!r}, write: {replacement}"
        for line, word, replacement in unwanted_words(path.read_text(), path.suffix == ".py")
    ]
    assert not report, "\n".join(report)


def test_unwanted_words_are_found_with_their_lines():
    code = '"""Fill\nthe hole, but\nfor one."""\nhole = 1  # mend it\nx = "told"  # words: ok\n'
    assert [(line, word) for line, word, _ in unwanted_words(code, is_code=True)] == [
        (2, "but for"),
        (2, "hole"),
        (4, "mend"),
    ]
    page = "A hole.\nA hole. <!-- words: ok -->\n"
    assert [line for line, *_ in unwanted_words(page, is_code=False)] == [1]
