"""How to cite: the page, CITATION.cff, the package and the book agree."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


PAGE = read("book/cite.md")
CITATION = yaml.safe_load(read("CITATION.cff"))
PACKAGE = tomllib.loads(read("pyproject.toml"))["project"]
BOOK = yaml.safe_load(read("_config.yml"))


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("cited", [CITATION, CITATION["preferred-citation"]], ids=["file", "preferred"])
def test_the_citation_file_agrees_with_package_and_book(cited: dict[str, Any]) -> None:
    assert cited["title"] == BOOK["title"]
    assert cited["authors"] == [{"name": BOOK["author"]}]
    assert cited["version"] == PACKAGE["version"]
    assert cited["license"] == PACKAGE["license"]


def test_the_year_is_that_of_the_book() -> None:
    assert str(CITATION["preferred-citation"]["year"]) == BOOK["copyright"]


def test_the_entry_on_the_page_agrees() -> None:
    entry = re.sub(r"[{}\\]", "", PAGE[PAGE.index("@misc") : PAGE.index("@inproceedings")])
    fields = dict(re.findall(r"^  (\w+) *= (.+?),?$", entry, flags=re.M))
    assert fields == {
        "author": BOOK["author"],
        "title": BOOK["title"],
        "year": BOOK["copyright"],
        "note": f"Version {PACKAGE['version']}",
    }


def test_the_paper_is_cited_as_in_the_references() -> None:
    (entry,) = re.findall(r"^@inproceedings.*?^}", PAGE, flags=re.M | re.S)
    assert one_line(entry) in one_line(read("book/references.bib"))
    (paper,) = CITATION["references"]
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert {names, paper["title"], paper["collection-title"], str(paper["year"])} <= set(
        re.findall(r"{([^{}]+)}", one_line(entry))
    )


def test_the_license_is_that_of_the_package() -> None:
    assert f"({PACKAGE['license']})" in PAGE
    assert "Apache License Version 2.0" in one_line(read("LICENSE"))
