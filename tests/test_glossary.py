"""The glossary: every term is told once, and leads to where a chapter explains it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).resolve().parent.parent / "book"
TERMS = {
    term: " ".join(meaning.split())
    for term, meaning in re.findall(
        r"^(\S.*)\n((?:  .*\n)+)",
        (BOOK / "glossary.md").read_text("utf-8").partition(":::{glossary}\n")[2],
        flags=re.MULTILINE,
    )
}


def slug(heading: str) -> str:
    """What a heading is called in a link: as on GitHub, and as MyST has it."""
    return re.sub(r"[^\w -]", "", re.sub(r"[`*$]", "", heading)).lower().replace(" ", "-")


@cache
def anchors(notebook: str) -> set[str]:
    cells = nbformat.read(BOOK / notebook, as_version=4).cells
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#{1,3} (.*)$", prose, flags=re.MULTILINE)
    return {slug(heading) for heading in headings} | {f"cell-{cell.id}" for cell in cells if cell.cell_type == "code"}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_leads_to_where_it_is_explained(term: str) -> None:
    links = re.findall(r"\]\((\d\d_\w+\.ipynb)#([\w-]+)\)", TERMS[term])
    assert links, "no chapter explains it"
    assert [(page, anchor) for page, anchor in links if anchor not in anchors(page)] == []


def test_terms_are_told_once_and_in_order() -> None:
    names = [re.sub(r"[`(]", "", term.partition(" · ")[0]).lower() for term in TERMS]
    assert len(names) > 120
    assert names == sorted(set(names))


@pytest.mark.parametrize("word", ["slot", "duplicate", "firing", "reporting", "seed", "spread", "softmax", "entropy"])
def test_the_words_on_which_readings_depend_are_told(word: str) -> None:
    assert any(term.partition(" · ")[0].lower() == word for term in TERMS)
