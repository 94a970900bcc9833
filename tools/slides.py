"""Build slides for three sessions of the guide for instructors into ``_build/slides``, to be shown without a network.

    .venv/bin/python tools/slides.py     # as `make slides` does

A deck is a Markdown file of ``slides/``; a line ``---`` ends a slide. Lines in braces bring in what is elsewhere:

    {figure 11_matcher#fig-settling}     the figure that this cell of the notebook has stored
    {code 01_tour#ten-lines}             a cell's code and what it printed; with ``last 4`` its last four lines only
    {output 01_tour#matching}            what it printed alone
    {guide Aims}                         a paragraph of the session in ``book/guide.md``

The last paragraph of a slide is for the speaker: ``Notes, 3 minutes.`` and what to say.
"""

from __future__ import annotations

import base64
import html
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).resolve().parent.parent
BOOK, SOURCES = ROOT / "book", ROOT / "slides"
OUT = ROOT / "_build" / "slides"
PAGES = "../html/book/"  # the rendered book, from the folder of the decks
DIRECTIVE = re.compile(r"^\{(\w+) ([^}]+)\}$", flags=re.MULTILINE)
NOTES = re.compile(r"^Notes, (\d+) minutes?\.\s*", flags=re.MULTILINE)
PICTURES = {"image/png": "png", "image/svg+xml": "svg"}
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


class DeckError(Exception):
    """A source asks for what is not there; the message says which source and slide, and what there is."""


@dataclass
class Slide:
    """One slide: what is shown, what the speaker has before them, and the cells that it names."""

    where: str
    session: str
    text: str
    notes: str
    minutes: int
    cells: list[str] = field(default_factory=list)


# --- what is stored: cells of notebooks, paragraphs of the guide


@cache
def notebook(name: str) -> dict[str, NotebookNode]:
    """The cells of a chapter by their names."""
    return {cell.id: cell for cell in nbformat.read(BOOK / f"{name}.ipynb", as_version=4).cells}


def find(reference: str, where: str) -> NotebookNode:
    """The cell that ``11_matcher#fig-settling`` names.

    Raises:
        DeckError: there is no such chapter, or no such cell in it.
    """
    chapter, _, name = reference.partition("#")
    if not (BOOK / f"{chapter}.ipynb").is_file():
        raise DeckError(f"{where} names {reference}, but there is no book/{chapter}.ipynb")
    if name not in notebook(chapter):
        has = ", ".join(key for key, cell in notebook(chapter).items() if cell.cell_type == "code")
        raise DeckError(f"{where} names {reference}, but book/{chapter}.ipynb has no such cell. It has {has}")
    return notebook(chapter)[name]


def title(chapter: str) -> str:
    """The heading of a chapter, up to a colon."""
    first = next(iter(notebook(chapter).values())).source
    return first.partition("\n")[0].removeprefix("# ").partition(":")[0]


def paragraph(session: str, label: str, where: str) -> str:
    """What the guide says of a session under a label such as *Aims*, in Markdown.

    Raises:
        DeckError: the guide has no such session or no such label in it.
    """
    guide = (BOOK / "guide.md").read_text("utf-8")
    part = re.search(rf"^## {re.escape(session)}\n(.*?)(?=^## |\Z)", guide, flags=re.MULTILINE | re.DOTALL)
    if part is None:
        raise DeckError(f"{where}: book/guide.md has no section '{session}'")
    said = re.search(rf"^\*+{re.escape(label)}\.\*+ (.+)$", part[1], flags=re.MULTILINE)
    if said is None:
        raise DeckError(f"{where} asks for {{guide {label}}}, which '{session}' in book/guide.md does not have")
    return said[1]


# --- what becomes of a line in braces


def figure(reference: str, slide: Slide, out: Path) -> str:
    """A stored figure, as a file beside the deck, or one to play with as it is."""
    for output in find(reference, slide.where).get("outputs", []):
        data = output.get("data", {})
        for kind, ending in PICTURES.items():
            if kind in data:
                path = out / "figures" / f"{reference.replace('#', '-')}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base64.b64decode(data[kind]) if ending == "png" else data[kind].encode())
                alt = output.metadata.get(kind, {}).get("alt") or data["text/plain"]
                return f'<img class="figure" src="figures/{path.name}" alt="{html.escape(alt)}">'
        if 'class="interactive"' in data.get("text/html", ""):
            return f'<div class="play">{data["text/html"]}</div>'
    raise DeckError(f"{slide.where} names {reference}, and that cell has stored no figure")


def output(reference: str, slide: Slide, out: Path) -> str:
    """What a cell has printed."""
    outputs = find(reference, slide.where).get("outputs", [])
    said = "".join(one.text for one in outputs if one.output_type == "stream").rstrip()
    if not said:
        raise DeckError(f"{slide.where} names {reference}, and that cell has printed nothing")
    return f'<pre class="output" tabindex="0">{html.escape(said)}</pre>'


def code(reference: str, slide: Slide, out: Path) -> str:
    """A cell's code, all or its last lines, and what it printed, if it did."""
    name, _, last = reference.partition(" last ")
    cell = find(name, slide.where)
    lines = cell.source.splitlines()[-int(last or 0) :]
    colored = highlight("\n".join(["..."] * bool(last) + lines), PythonLexer(), HtmlFormatter(nowrap=True))
    printed = any(one.output_type == "stream" for one in cell.outputs)
    return f'<pre class="code" tabindex="0">{colored.rstrip()}</pre>' + (output(name, slide, out) if printed else "")


def guide(label: str, slide: Slide, out: Path) -> str:
    return MARKDOWN.render(paragraph(slide.session, label, slide.where))


MAKERS = {"figure": figure, "code": code, "output": output, "guide": guide}


def filled(slide: Slide, out: Path) -> str:
    """The slide's Markdown with each line in braces replaced by the HTML it stands for."""

    def replace(match: re.Match[str]) -> str:
        kind, what = match.groups()
        if kind not in MAKERS:
            raise DeckError(f"{slide.where}: {match[0]} is none of {', '.join(MAKERS)}")
        if kind != "guide":
            slide.cells.append(what.partition(" ")[0])
        return f'\n<div class="{kind}-part">\n{without_gaps(MAKERS[kind](what, slide, out))}\n</div>\n'

    return DIRECTIVE.sub(replace, slide.text)


def without_gaps(text: str) -> str:
    """HTML in Markdown ends at an empty line; in code such a line may be a character reference as well."""
    return re.sub(r"\n(?=[ \t]*\n)", "&#10;", text) if "<pre" in text else re.sub(r"\n\s*\n", "\n", text)


# --- decks


def read(path: Path) -> list[Slide]:
    """The slides of a source.

    Raises:
        DeckError: a slide has no notes with its minutes, or the first no heading.
    """
    source = path.read_text("utf-8")
    heading = re.match(r"# (.+)\n", source)
    if heading is None:
        raise DeckError(f"slides/{path.name} does not begin with '# ' and the session's heading in book/guide.md")
    slides = []
    for number, text in enumerate(re.split(r"^---\n", source, flags=re.MULTILINE), start=1):
        where = f"slides/{path.name}, slide {number},"
        found = list(NOTES.finditer(text))
        if len(found) != 1:
            raise DeckError(f"{where} wants one paragraph that begins with 'Notes, 3 minutes.', and has {len(found)}")
        shown, said = text[: found[0].start()], text[found[0].end() :]
        slides.append(Slide(where, heading[1], shown.strip(), said.strip(), int(found[0][1])))
    return slides


def linked(rendered: str) -> str:
    """Links to chapters and pages of the book, as its sources write them, made to lead to the rendered book."""
    return re.sub(r'href="(\w+)\.(?:ipynb|md)(#[^"]*)?"', rf'href="{PAGES}\1.html\2"', rendered)


def section(slide: Slide, out: Path) -> str:
    """One slide as HTML, with a link to the cell that it shows and the speaker's notes."""
    body = MARKDOWN.render(filled(slide, out))
    links = [
        f'<a href="{PAGES}{chapter}.html#cell-{name}">{title(chapter)}: <code>{name}</code></a>'
        for chapter, _, name in (one.partition("#") for one in dict.fromkeys(slide.cells))
    ]
    source = f'<p class="source">{", ".join(links)}</p>' if links else ""
    minutes = f"{slide.minutes} minute{'s' * (slide.minutes != 1)}"
    notes = f'<aside class="notes"><p><b>{minutes}.</b></p>{MARKDOWN.render(slide.notes)}</aside>'
    return f"<section data-minutes={slide.minutes}>\n{linked(body)}{source}\n{linked(notes)}\n</section>"


def deck(path: Path, out: Path) -> tuple[str, str]:
    """Write one deck, and return its heading and a line about it."""
    slides = read(path)
    sections = "\n".join(section(slide, out) for slide in slides)
    for image in BeautifulSoup(sections, "html.parser").select("img:not([alt]), img[alt='']"):
        raise DeckError(f"slides/{path.name}: a picture without an alternative text, {str(image)[:80]}")
    page = (SOURCES / "deck.html").read_text("utf-8")
    page = page.replace("{{ title }}", html.escape(slides[0].session)).replace("{{ slides }}", sections)
    (out / f"{path.stem}.html").write_text(page, "utf-8")
    return slides[0].session, f"{len(slides)} slides, {sum(slide.minutes for slide in slides)} minutes"


def build(out: Path = OUT, sources: Path = SOURCES) -> None:
    """Write all decks and the page that leads to them.

    Raises:
        DeckError: see the functions above.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    shutil.copytree(SOURCES / "vendor", out / "vendor")
    for name in ("deck.css", "deck.js"):
        shutil.copy(SOURCES / name, out)
    (out / "code.css").write_text(HtmlFormatter(style="friendly").get_style_defs("pre.code"), "utf-8")
    rows = "\n".join(index_rows(sorted(sources.glob("session_*.md")), out))
    index = (SOURCES / "index.html").read_text("utf-8").replace("{{ decks }}", rows)
    (out / "index.html").write_text(index, "utf-8")


def index_rows(paths: list[Path], out: Path) -> Iterator[str]:
    for path in paths:
        heading, about = deck(path, out)
        yield f'<li><a href="{path.stem}.html">{html.escape(heading)}</a> ({about})</li>'


def main() -> None:
    try:
        build()
    except DeckError as error:
        sys.exit(f"No slides were made. {error}")


if __name__ == "__main__":
    main()
