"""The book as one PDF: what is printed of a page, and the file itself, printed once for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pdf
import pytest
import yaml
from browser import find_chromium
from bs4 import BeautifulSoup
from filelock import FileLock  # comes with torch
from pypdf import PdfReader

pytestmark = pytest.mark.timeout(900)  # printing takes a minute, and much longer on a busy machine

ROOT = Path(__file__).resolve().parent.parent
PAGE = """<html><article class="bd-article"><section id="the-title">
<h1>The title<a class="headerlink" href="#the-title">#</a></h1>
<div class="cell"><details class="hide above-input"><summary>Show</summary><div class="cell_input">d()</div></details>
<div class="cell_output"><img alt="A figure." loading="lazy" src="../_images/a.png"></div></div>
<section id="more"><h2>More</h2><p><a href="#more">here</a> <a href="other.html#place">there</a>
<a href="other.html">all</a> <a href="https://example.org/">outside</a> <a href="../_images/a.png">large</a></p>
<details><summary>Show a hint</summary><p>Look at the mask.</p></details>
<figure class="interactive" data-name="x"><img alt="A query." src="2.webp" width="442">
<script type="application/json">
{"frames": ["0.webp", "1.webp", "2.webp", "3.webp"], "labels": ["a", "b", "c", "d"]}</script>
<label><span>layer: <output>c</output></span><input type="range" min="0" max="3" value="2"></label>
<script>play()</script></figure></section></section></article></html>"""


@pytest.fixture
def chapter(tmp_path: Path) -> pdf.Chapter:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "01_one.html").write_text(PAGE)
    return pdf.read_chapter(tmp_path, "book/01_one", {"01_one", "other"})


def test_drawing_code_is_left_out_and_a_hint_is_printed_open(chapter: pdf.Chapter) -> None:
    assert not chapter.article.select("details, summary, .cell_input, script, .headerlink")
    assert [image["src"] for image in chapter.article.select(".cell_output img:not([loading])")] == ["../_images/a.png"]
    (hint,) = chapter.article.select(".unfolded")
    assert hint.get_text("|", strip=True) == "Hint|Look at the mask."


def test_links_lead_to_places_of_the_document(chapter: pdf.Chapter) -> None:
    links = [link["href"] for link in chapter.article.select("a")]
    assert links == ["#01_one--more", "#other--place", "#other", "https://example.org/"]
    assert [tag["id"] for tag in chapter.article.select("section")] == ["01_one--the-title", "01_one--more"]
    assert "large" in chapter.article.get_text()


def test_a_slider_becomes_three_labeled_pictures(chapter: pdf.Chapter) -> None:
    figure = chapter.article.select_one("figure")
    assert figure is not None
    assert [image["src"] for image in figure.select("img")] == ["0.webp", "2.webp", "3.webp"]
    assert [said.get_text() for said in figure.select(".state-label")] == ["layer: a", "layer: c", "layer: d"]
    assert not figure.select("label, input, output")
    assert figure.get_text().strip().endswith(pdf.PLAY)


def test_an_exhibit_is_printed_with_its_first_evidence_and_without_its_answer() -> None:
    body = (
        '<div class="asking"><button>losses</button></div><div class="piece"><img alt="Curves."></div>'
        '<div class="piece" hidden><img alt="Boxes."></div><label>cause: <select><option>choose one</option></select>'
        '</label><div class="solved" hidden>Positions were left out.</div>'
    )
    soup = BeautifulSoup(f"<figure>{body}</figure>", "html.parser")
    pdf.hold_still(soup, soup.figure)
    assert [image["alt"] for image in soup.select("img")] == ["Curves."]
    assert soup.get_text() == pdf.PLAY


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<img alt="A cell."><label>model: <select><option>trained</option></select></label>', "model: trained"),
        ('<img alt="Two panels."><select><option>layer 3</option><option>layer 1</option></select>', "map: layer 3"),
        ('<img alt="All slots. At first: query 7, step 500."><canvas></canvas>', "query 7, step 500"),
        ('<img alt="Two panels."><output>row 7, column 9</output>', None),
    ],
)
def test_a_picker_says_what_it_shows(body: str, said: str | None) -> None:
    soup = BeautifulSoup(f"<figure>{body}</figure>", "html.parser")
    assert soup.figure is not None
    pdf.hold_still(soup, soup.figure)
    assert [p.get_text() for p in soup.select(".state-label")] == ([said] if said else [])
    assert not soup.select("select, canvas, output")


def test_only_a_line_that_is_all_bold_is_kept_with_what_follows() -> None:
    soup = BeautifulSoup(
        "<div><p><strong>Goals</strong></p><p><strong>Break it.</strong> Then look.</p></div>", "html.parser"
    )
    assert soup.div is not None
    pdf.keep_whole(soup.div)
    assert [p.get_text() for p in soup.select(".lead")] == ["Goals"]


@pytest.mark.parametrize(
    ("count", "start", "shown"), [(1, 0, [0]), (2, 1, [0, 1]), (9, 0, [0, 4, 8]), (9, 8, [0, 4, 8]), (9, 2, [0, 2, 8])]
)
def test_states_shown_are_first_last_and_one_between(count: int, start: int, shown: list[int]) -> None:
    assert pdf.some_states(count, start) == shown


@pytest.mark.parametrize(("named", "said"), [("", "apt install chromium"), ("/no/chrome", "CHROMIUM=/no/chrome")])
def test_without_chromium_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str, said: str
) -> None:
    monkeypatch.setenv("CHROMIUM", named)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=said):
        pdf.main([])


# --- the file


@pytest.fixture(scope="module")
def path(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book, printed once a run: of several processes the first one prints it, and the others wait."""
    if find_chromium() is None:
        pytest.skip("needs Chromium: install it, or name it in CHROMIUM")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of the folders that the processes have for themselves
    out = shared / "detr_mini.pdf"
    with FileLock(shared / "pdf.lock"):
        if not out.is_file():
            pdf.main(["--site", str(site), "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def reader(path: Path) -> PdfReader:
    return PdfReader(path)


@pytest.fixture(scope="module")
def lines(reader: PdfReader) -> list[list[str]]:
    """The lines of text of each page."""
    return [page.extract_text().splitlines() for page in reader.pages]


@pytest.fixture(scope="module")
def texts(lines: list[list[str]]) -> list[str]:
    return [" ".join(" ".join(page).split()) for page in lines]


@pytest.fixture(scope="module")
def chapters(site: Path) -> list[pdf.Chapter]:
    return [chapter for part in pdf.read_parts(site) for chapter in part.chapters]


def titles(entries: list[Any], levels: int) -> Iterator[str]:
    for entry in entries:
        if not isinstance(entry, list):
            yield entry.title
        elif levels > 1:
            yield from titles(entry, levels - 1)


@pytest.mark.browser
def test_it_says_what_it_is(reader: PdfReader, path: Path) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert reader.metadata is not None
    assert dict(reader.metadata) == {"/Title": config["title"], "/Author": config["author"]}
    assert reader.root_object["/MarkInfo"]["/Marked"]
    assert reader.root_object["/Lang"] == "en"
    assert 250 < len(reader.pages) < 700
    assert path.stat().st_size < 25e6
    width, height = reader.pages[0].mediabox[2:]
    assert (round(width / 72 * 25.4), round(height / 72 * 25.4)) == (210, 297)


@pytest.mark.browser
def test_the_outline_has_every_part_and_chapter_in_order(reader: PdfReader, chapters: list[pdf.Chapter]) -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    called = {chapter.name: chapter.title for chapter in chapters}
    wanted = [pdf.PREFACE]
    for part in toc["parts"]:
        wanted += [part["caption"], *(called[Path(chapter["file"]).name] for chapter in part["chapters"])]
    assert len(wanted) > 20
    assert [title for title in titles(reader.outline, levels=2) if title in wanted] == wanted


@pytest.fixture(scope="module")
def starts(reader: PdfReader, chapters: list[pdf.Chapter]) -> list[int]:
    """The page of each chapter, from 0."""
    places = {name.strip("/"): place for name, place in reader.named_destinations.items()}
    return [reader.get_destination_page_number(places[chapter.name]) or 0 for chapter in chapters]


@pytest.mark.browser
def test_the_contents_say_where_chapters_start(
    texts: list[str], chapters: list[pdf.Chapter], starts: list[int]
) -> None:
    contents = " ".join(texts[1 : starts[0]])
    for chapter, start in zip(chapters, starts, strict=True):
        assert f"{chapter.title} {start + 1} " in f"{contents} ", chapter.name
        assert texts[start].startswith(f"{start + 1}{chapter.title} "), "the foot of a page comes first"
        assert texts[start].count(chapter.title) > 1, "and then the title itself"


@pytest.mark.browser
def test_each_chapter_is_there_to_its_end(texts: list[str], chapters: list[pdf.Chapter], starts: list[int]) -> None:
    for chapter, start, end in zip(chapters, starts, [*starts[1:], len(texts)], strict=True):
        printed = squeezed(" ".join(texts[start:end]))
        *_, last = chapter.article.select("p:not(.math, :has(.math)), pre")
        assert squeezed(last.get_text())[:40] in printed, chapter.name


def squeezed(text: str) -> str:
    """Without spaces and ends of lines, and with one sign for the apostrophe, whose glyph has two."""
    return "".join(text.split()).replace("\u02bc", "\u2019")


@pytest.mark.browser
def test_no_page_is_empty(reader: PdfReader, texts: list[str]) -> None:
    for number, (page, text) in enumerate(zip(reader.pages, texts, strict=True), start=1):
        assert len(text) > 60 or len(page.images) or "Part" in text, f"page {number}: {text!r}"


@pytest.mark.browser
def test_lines_of_code_are_printed_whole(lines: list[list[str]], chapters: list[pdf.Chapter]) -> None:
    printed = {squeezed(line) for page in lines for line in page}
    codes = [code for chapter in chapters for code in chapter.article.select(".cell_input pre")]
    long = {line for code in codes for line in code.get_text().splitlines() if len(line) > 70}
    assert len(long) > 50
    assert not [line for line in long if squeezed(line) not in printed]


@pytest.mark.browser
def test_every_font_is_in_the_file(reader: PdfReader) -> None:
    fonts = {reference.idnum: reference.get_object() for page in reader.pages for reference in fonts_of(page)}
    assert len(fonts) > 5
    for font in fonts.values():
        if font["/Subtype"] != "/Type3":  # whose letters are drawings in the file
            (descendant,) = font["/DescendantFonts"]
            assert "/FontFile2" in descendant.get_object()["/FontDescriptor"], font["/BaseFont"]
        assert "/ToUnicode" in font, "text can be searched"


def fonts_of(page: Any) -> list[Any]:
    fonts = page["/Resources"].get("/Font", {})
    return [fonts.raw_get(name) for name in fonts]


@pytest.mark.browser
def test_formulas_and_chinese_terms_are_printed(
    texts: list[str], chapters: list[pdf.Chapter], starts: list[int]
) -> None:
    begins = dict(zip([chapter.name for chapter in chapters], starts, strict=True))
    attention = squeezed(" ".join(texts[begins["02_attention"] : begins["03_seq2seq"]]))
    assert "softmax(QK⊤√d)V" in attention
    assert "集合预测" in "".join(texts[begins["glossary"] : begins["api"]])


@pytest.mark.browser
def test_links_lead_somewhere(reader: PdfReader) -> None:
    places = set(reader.named_destinations)
    links = [note.get_object() for page in reader.pages for note in page.get("/Annots", [])]
    within = [str(link["/Dest"]) for link in links if "/Dest" in link]
    outside = [str(link["/A"]["/URI"]) for link in links if "/A" in link]
    assert len(within) > 500
    assert set(within) <= places
    assert all(address.startswith("http") for address in outside)
