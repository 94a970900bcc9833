"""One spelling in texts, docstrings, comments and names: American, as PyTorch and the names of the field have it."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
AMERICAN = {
    "colour": "color", "grey": "gray", "centre": "center", "centring": "centering", "centred": "centered",
    "neighbour": "neighbor", "behaviour": "behavior", "favour": "favor", "flavour": "flavor", "harbour": "harbor",
    "normalis": "normaliz", "optimis": "optimiz", "generalis": "generaliz", "specialis": "specializ",
    "recognis": "recogniz", "randomis": "randomiz", "minimis": "minimiz", "maximis": "maximiz",
    "initialis": "initializ",
    "organis": "organiz", "realis": "realiz", "summaris": "summariz", "visualis": "visualiz", "regularis": "regulariz",
    "analyse": "analyze", "labelled": "labeled", "labelling": "labeling", "modelling": "modeling", "licence": "license",
    "spelt": "spelled", "spoilt": "spoiled", "learnt": "learned", "metre": "meter", "tyre": "tire", "kerb": "curb",
    "artefact": "artifact", "judgement": "judgment", "defence": "defense", "catalogue": "catalog",
}  # fmt: skip
BRITISH = re.compile(r"\w*?(" + "|".join(AMERICAN) + r")\w*", re.IGNORECASE)

# Names keep their spelling where a change would break what imports, reads or shows them. Sentences have no such excuse.
KEPT = {
    "colour": "`detr_mini.colours`, `Phrase.colour` and arguments of public functions; what holds such a value",
    "normalise": "a cell of *Data preparation*, by its name, which pages link to",
    "denormalise": "a function that `detr_mini.data` exports",
    "Greys": "Matplotlib's color map",
    "labelledby": "`aria-labelledby` of HTML",
}
# What is a name inside of a sentence: code, a link's target, an argument that a docstring lists, a field of a format.
NAMES = re.compile(r"``[^`]+``|`[^`]+`|\]\([^)]*\)|^ +\w*colours?(?=:)|\{[^{}]*\}|aria-\w+", re.MULTILINE)
PYTHON = sorted(
    path
    for folder in ("detr_mini", "tools", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__).resolve()
)
TEXTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *(p for d in ("book", "benchmarks", "detr_mini") for p in (ROOT / d).rglob("*.md")),
    ]
)


def british(words: str) -> Iterator[str]:
    for found in BRITISH.finditer(words):
        yield f"{found[0]} ({AMERICAN[found[1].lower()]})"


def in_sentences(text: str) -> list[str]:
    return list(british(NAMES.sub(" ", text)))


def in_code(source: str) -> list[str]:
    """In the names, strings and comments of Python; a string without a space is a name, too."""
    found: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and " " in token.string.strip()):
            found += in_sentences(re.sub(r"""(["'])\w+\1""", " ", token.string))
        elif token.type in (tokenize.NAME, tokenize.STRING) and not any(
            name in token.string.lower() for name in map(str.lower, KEPT)
        ):
            found += british(token.string)
    return found


def in_page(text: str) -> list[str]:
    """In a text with code: cells are read as Python, other listings not at all."""
    found: list[str] = []

    def read(fence: re.Match[str]) -> str:
        if fence[1].startswith("{code-cell}"):
            found.extend(in_code(re.sub(r"^:[\w-]+:.*$", "", fence[2], flags=re.MULTILINE)))
        return ""

    rest = re.sub(r"^```(\S*)[^\n]*\n(.*?)^```$", read, text, flags=re.MULTILINE | re.DOTALL)
    return found + in_sentences(rest)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_have_one_spelling(path: Path) -> None:
    assert in_page(path.read_text("utf-8")) == []


def test_the_package_has_one_spelling() -> None:
    found = {str(path.relative_to(ROOT)): in_code(path.read_text("utf-8")) for path in PYTHON}
    assert {path: words for path, words in found.items() if words} == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A grey cell.", 1),
        ("Neighbours, and their\nCOLOURS.", 2),
        ("`COLOURS` of [it](a.ipynb#cell-neighbours)", 0),
        ("```{code-cell} python\n:label: neighbours\ncolour = 1  # a name\n```\n", 0),
        ("```{code-cell} python\nneighbours = 1  # of a grey cell\n```\n", 2),
        ('```{code-cell} python\nshow(fig, alt="A grey cell.")\n```\n', 1),
        ("```bash\nmake colours\n```\n", 0),
    ],
)
def test_a_word_in_the_other_spelling_is_found(text: str, words: int) -> None:
    assert len(in_page(text)) == words
