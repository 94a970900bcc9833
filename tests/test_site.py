"""What the rendered book has beyond its notebooks, as far as it can be seen without a browser."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import draw_logo
import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
CHAPTERS = sorted(BOOK.glob("[0-9]*.ipynb"))
FONTS = BOOK / "_static" / "fonts"


def page(site: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((site / "book" / f"{name}.html").read_text("utf-8"), "html.parser")


# --- the head of a chapter


def parts() -> dict[str, str]:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    return {Path(c["file"]).name: part["caption"] for part in contents for c in part["chapters"]}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_says_its_part_level_and_times_and_shows_the_diagram(site: Path, path: Path) -> None:
    soup = page(site, path.stem)
    (row,) = (
        line for line in (BOOK / "index.md").read_text().splitlines() if f"]({path.name})" in line and line[0] == "|"
    )
    level, read, run = re.findall(r"\| (\w+) \| (\d+) \| (\d+) \|$", row)[0]
    facts = soup.select_one("h1 + .chapter-facts")
    assert facts is not None
    assert [span.get_text() for span in facts.find_all("span")] == [
        level,
        f"{read} minutes to read",
        f"{run} seconds to run",
    ]
    part = soup.select_one(".chapter-part:has(+ h1)")
    assert part is not None
    assert part.get_text() == parts()[path.stem]
    assert len(soup.select(".detr-diagram")) == 1
    assert len(soup.select(".detr-diagram a[aria-current]")) >= 1
    assert len(soup.select(".detr-diagram svg")) == 2
    assert not soup.select(".detr-diagram img"), "in the page, the ink follows the theme"
    assert [frame.get("class") for frame in soup.select(".chapter-head")] == [
        ["chapter-head", kind, "docutils", "container"] for kind in ("goals", "questions")
    ]
    assert all(link["href"].startswith("faq.html#") for link in soup.select(".questions a"))
    assert not soup.select(".cell:has(.detr-diagram) .cell_input"), "no code at the head"


def test_the_first_page_shows_the_diagram_with_nothing_lit(site: Path) -> None:
    soup = page(site, "index")
    assert {link["href"] for link in soup.select(".detr-diagram a")} > {"08_encoder.html", "12_loss.html"}
    assert not soup.select(".detr-diagram a[aria-current]")
    assert "image batch →" not in soup.get_text(), "the words stand in for the diagram only where it cannot be drawn"


# --- taking it away


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebook_to_take_away_is_the_chapter_without_its_outputs(site: Path, path: Path) -> None:
    taken, stored = (nbformat.read(p, as_version=4) for p in (site / "book" / path.name, path))
    nbformat.validate(taken)
    assert [(c.id, c.cell_type, c.source, c.metadata) for c in taken.cells] == [
        (c.id, c.cell_type, c.source, c.metadata) for c in stored.cells
    ]
    assert not any(cell.get("outputs") for cell in taken.cells)
    if path in CHAPTERS:
        assert page(site, path.stem).select_one(f'.chapter-facts a[download][href="{path.name}"]')


@pytest.mark.slow
def test_a_chapter_that_was_taken_away_runs_in_another_folder(site: Path, tmp_path: Path) -> None:
    shutil.copy(site / "book" / "05_nested_tensor.ipynb", tmp_path)
    execute = ["-m", "jupyter", "nbconvert", "--execute", "--to", "notebook", "--inplace", "05_nested_tensor.ipynb"]
    result = subprocess.run([sys.executable, *execute], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    ran = nbformat.read(tmp_path / "05_nested_tensor.ipynb", as_version=4)
    assert all(cell.execution_count for cell in ran.cells if cell.cell_type == "code")


@pytest.mark.parametrize(
    ("url", "wanted"), [("", 0), ("https://github.com/NAME/detr_mini", 1)], ids=["not hosted", "hosted"]
)
def test_one_setting_brings_the_buttons_that_launch(tmp_path: Path, url: str, wanted: int) -> None:
    for name in ("_config.yml", "tools", "detr_mini"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    for name in ("_static", "references.bib", "05_nested_tensor.ipynb", "execution.json"):
        copy = shutil.copytree if (BOOK / name).is_dir() else shutil.copy
        copy(BOOK / name, tmp_path / "book" / name)
    config = (tmp_path / "_config.yml").read_text()
    (tmp_path / "_config.yml").write_text(config.replace('url: ""', f'url: "{url}"'))
    (tmp_path / "book" / "index.md").write_text("# A book\n")
    (tmp_path / "book" / "glossary.md").write_text("# Terms\n\n:::{glossary}\nSlot\n  A place.\n:::\n")
    chapters = "".join(f"      - file: book/{name}\n" for name in ("05_nested_tensor", "glossary"))
    (tmp_path / "_toc.yml").write_text(
        f"format: jb-book\nroot: book/index\nparts:\n  - caption: A\n    chapters:\n{chapters}"
    )
    builder = Path(sys.executable).with_name("jupyter-book")
    result = subprocess.run([builder, "build", tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    html = (tmp_path / "_build" / "html" / "book" / "05_nested_tensor.html").read_text()
    address = "github.com/NAME/detr_mini/blob/main/book/05_nested_tensor.ipynb".replace("github.com", "github")
    assert html.count(f"https://colab.research.google.com/{address}") == wanted
    assert (
        html.count("https://mybinder.org/v2/gh/NAME/detr_mini/main?urlpath=lab/tree/book/05_nested_tensor.ipynb")
        == wanted
    )


# --- what the outputs were made with


def test_the_record_of_the_runs_is_that_of_the_stored_notebooks() -> None:
    record = json.loads((BOOK / "execution.json").read_text())
    assert sorted(record) == [path.stem for path in NOTEBOOKS]
    for path in NOTEBOOKS:
        run = record[path.stem]
        assert run["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert run["cells"] == sum(cell.cell_type == "code" for cell in nbformat.read(path, as_version=4).cells)
        assert 0 < run["seconds"] < 120
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", run["date"])
        assert {name: version(name) for name in run["with"] if name != "Python"} == {
            name: number for name, number in run["with"].items() if name != "Python"
        }


def test_the_page_of_the_runs_shows_every_one(site: Path) -> None:
    rows = page(site, "execution").select(".execution-status tbody tr")
    record = json.loads((BOOK / "execution.json").read_text())
    shown = [[cell.get_text() for cell in row.find_all("td")] for row in rows]
    assert [cells[1:] for cells in shown] == [
        [str(run["cells"]), str(run["seconds"]), run["date"]] for _, run in sorted(record.items())
    ]
    assert [row.a["href"] for row in rows if row.a] == [f"{name}.html" for name in sorted(record)]
    assert f"torch {version('torch')}" in page(site, "execution").get_text()


# --- terms, fonts, marks


def test_every_linked_term_has_its_meaning_at_hand(site: Path) -> None:
    script = (site / "_static" / "terms.js").read_text("utf-8")
    terms = json.loads(script.removeprefix("window.TERMS = ").rstrip(";\n"))
    linked = set()
    for path in sorted((site / "book").glob("*.html")):
        linked |= set(re.findall(r'href="glossary\.html#(term-[^"]+)"', path.read_text("utf-8")))
    assert len(linked) > 50
    assert linked <= set(terms)
    assert all(len(terms[name].split()) >= 4 for name in linked)


def test_every_chinese_sign_of_the_book_is_in_its_font() -> None:
    said = [ROOT / "detr_mini" / "data" / f"{name}.py" for name in ("lexicon", "grammar")]
    texts = [path.read_text("utf-8") for path in [*BOOK.glob("*.md"), *BOOK.glob("src/*.md"), *said]]
    wanted = {sign for text in texts for sign in text if 0x3000 <= ord(sign) <= 0x9FFF or ord(sign) >= 0xFF00}
    have = set(map(chr, TTFont(FONTS / "noto-sans-cjk-sc.woff").getBestCmap()))
    assert not wanted - have, f"see CONTRIBUTING.md, A term: {''.join(sorted(wanted - have))}"


def test_every_font_is_named_in_its_license() -> None:
    license = (FONTS / "OFL.txt").read_text()
    assert all(path.name in license for path in FONTS.glob("*.woff*"))
    css = (BOOK / "_static" / "book.css").read_text()
    assert sorted(re.findall(r'url\("fonts/([^"]+)"\)', css)) == sorted(path.name for path in FONTS.glob("*.woff*"))


def test_the_marks_are_what_their_code_draws() -> None:
    assert (BOOK / "_static" / "logo.svg").read_text() == draw_logo.logo()
    assert (BOOK / "_static" / "favicon.svg").read_text() == draw_logo.favicon()


# --- weight


def test_the_site_is_no_heavier_than_it_must_be(site: Path) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 40_000_000


def test_pages_hold_no_pictures_and_no_long_data(site: Path) -> None:
    for path in (site / "book").glob("*.html"):
        html = path.read_text("utf-8")
        assert not re.search(r'data:image/webp;base64,[^"]{300}', html), path.name
        assert len(html) < 600_000, path.name
        for tag in BeautifulSoup(html, "html.parser").select(".bd-article img"):
            assert not str(tag["src"]).endswith((".png", ".webp")) or {"width", "height", "loading"} <= set(
                tag.attrs
            ), tag
