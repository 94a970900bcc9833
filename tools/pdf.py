"""Print the rendered book as one PDF, with an installed Chromium.

    make pdf                              # renders the book, then prints _build/detr_mini.pdf
    python tools/pdf.py --site _build/html --out detr_mini.pdf

The pages of the site are joined into one document in the order of `_toc.yml`. What can only be clicked becomes still:
folded parts open, figures to play with show a few of their states. It is printed twice, since the contents
can name pages only once it is known where everything falls.
"""

from __future__ import annotations

import argparse
import base64
import copy
import io
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pikepdf
import yaml
from browser import find_chromium, launch
from bs4 import BeautifulSoup, Tag
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
NO_CHROMIUM = """The PDF is printed by Chromium, and there is none on PATH. Debian has it: sudo apt install chromium.
If you have it, or Chrome, elsewhere, name it: make pdf CHROMIUM=/path/to/chrome"""
PREFACE = "About this book"  # the title of the site's first page is on the title page already
PLAY = "In the rendered book and in Jupyter, this figure can be played with."
WEIGHTS = {400: "1 500", 600: "501 650", 700: "651 1000"}  # printed, and the weights asked for that each stands for
SHORT = 20  # lines of code that stay on one page
POINTERS = ("for", "aria-labelledby", "aria-describedby", "aria-controls")  # attributes that hold ids
# Names and punctuation of the code have the color of text: without their tags, nine tenths of the document's.
PLAIN = re.compile(r'<span class="(?:n|nn|nx|o|p|w)">([^<]*)</span>')
LEFT_OUT = "script, button, a.headerlink, a[download], details.hide.above-input, .pst-js-only"


@dataclass(frozen=True)
class Chapter:
    """A page of the site, its ids made its own by its name, its headings one level down."""

    name: str
    title: str
    article: Tag


@dataclass(frozen=True)
class Part:
    caption: str
    chapters: list[Chapter]


# --- from the pages of the site to one document


def read_parts(site: Path) -> list[Part]:
    """The chapters in the order of the contents, the site's first page as a part without a caption."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    files = [(part["caption"], [chapter["file"] for chapter in part["chapters"]]) for part in toc["parts"]]
    names = {Path(file).name for _, some in files for file in some} | {Path(toc["root"]).name}
    parts = [Part(caption, [read_chapter(site, file, names) for file in some]) for caption, some in files]
    return [Part("", [read_preface(site, toc["root"], names)]), *parts]


def read_chapter(site: Path, file: str, names: set[str]) -> Chapter:
    soup = BeautifulSoup(PLAIN.sub(r"\1", (site / f"{file}.html").read_text("utf-8")), "html.parser")
    article = soup.select_one("article.bd-article")
    if article is None:
        raise SystemExit(f"{file}.html in {site} has no article: is this the rendered book?")
    name = Path(file).name
    for figure in article.select("figure.interactive"):
        hold_still(soup, figure)
    for unwanted in article.select(LEFT_OUT):
        unwanted.decompose()
    for fold in article.select("details"):
        unfold(soup, fold)
    for tag in article.find_all(["h1", "h2", "h3", "h4", "h5"]):
        tag.name = f"h{int(tag.name[1]) + 1}"
    for image in article.find_all("img", loading=True):
        del image["loading"]  # what is below the window would not be loaded before it is printed
    keep_whole(article)
    relink(article, name, names)
    heading = article.find("h2")
    assert isinstance(heading, Tag)
    heading["class"] = "chapter-title"
    return Chapter(name, heading.get_text(), article)


def read_preface(site: Path, file: str, names: set[str]) -> Chapter:
    """The site's first page: its title is the book's, its headings are as high as those of the parts."""
    chapter = read_chapter(site, file, names)
    for tag in chapter.article.find_all(["h2", "h3", "h4", "h5", "h6"]):
        tag.name = f"h{int(tag.name[1]) - 1}"
    heading = chapter.article.find("h1")
    assert isinstance(heading, Tag)
    heading.string = PREFACE
    return Chapter(chapter.name, PREFACE, chapter.article)


def keep_whole(article: Tag) -> None:
    """Mark what stays together on a page: short code, outputs and cells, and a line in bold with what it heads."""
    for strong in article.select("p > strong:only-child"):
        if strong.parent.get_text().strip() == strong.get_text().strip():
            strong.parent["class"] = "lead"
    for block in article.select(".cell_input, .output, .highlight, .cell:not(:has(img, svg, figure))"):
        if block.get_text().strip().count("\n") < SHORT:
            block["class"] = [*block["class"], "whole"]


def unfold(soup: BeautifulSoup, fold: Tag) -> None:
    """A folded part as an open one: "Show a hint" says nothing on paper, "Hint" does."""
    if summary := fold.find("summary"):
        if "hide" not in fold.get("class", []):
            title = soup.new_tag("p", attrs={"class": "unfolded-title"})
            title.string = re.sub(r"^Show (an?|the) ", "", summary.get_text().strip()).capitalize()
            fold["class"] = "unfolded"
            summary.insert_before(title)
        summary.extract()
    fold.name = "div"


def hold_still(soup: BeautifulSoup, figure: Tag) -> None:
    """A figure to play with as it starts; of a slider, up to three of its states."""
    stored = figure.select_one("script[type='application/json']")
    if stored and '"frames"' in stored.get_text():
        states = json.loads(stored.get_text())
        show_states(soup, figure, states["frames"], states["labels"])
    elif said := state_of_picker(figure):
        figure.append(BeautifulSoup(f'<p class="state-label">{escape(said)}</p>', "html.parser"))
    place = figure.select_one(".states") or figure
    for control in figure.select("label, select, input, output, canvas, .controls, .asking, [hidden]"):
        control.decompose()
    place.append(BeautifulSoup(f'<p class="play">{PLAY}</p>', "html.parser"))


def state_of_picker(figure: Tag) -> str:
    """What a figure shows at first whose controls are left out: what is chosen, or the query and the moment."""
    if figure.select_one(".asking"):  # an exhibit, whose causes say nothing without their answers
        return ""
    if figure.option:
        label = figure.option.find_parent("label")
        return f"{label.get_text().partition(':')[0] if label else 'map'}: {figure.option.get_text()}"
    return str(figure.img["alt"]).partition("At first: ")[2].rstrip(".") if figure.img else ""


def show_states(soup: BeautifulSoup, figure: Tag, frames: list[str], labels: list[str]) -> None:
    image, control, chooser = figure.img, figure.label, figure.input
    assert image is not None
    assert control is not None
    assert chooser is not None
    what = control.get_text().split(":")[0].strip()
    shown = soup.new_tag("div", attrs={"class": "states"})
    for index in some_states(len(frames), int(str(chooser["value"]))):
        label = f"{what}: {labels[index]}"
        state = soup.new_tag("div", attrs={"class": "state", "style": f"--width: {image.get('width', 600)}px"})
        picture = soup.new_tag("img", attrs={"src": frames[index], "alt": f"{image['alt']} Here: {label}."})
        said = soup.new_tag("p", attrs={"class": "state-label"})
        said.string = label
        state.extend([picture, said])
        shown.append(state)
    image.replace_with(shown)


def some_states(count: int, start: int) -> list[int]:
    """The first and the last of some states, and between them the one to start with, or else the middle."""
    between = start if 0 < start < count - 1 else count // 2
    return sorted({0, between, count - 1})


def relink(article: Tag, name: str, names: set[str]) -> None:
    """Make ids those of the chapter, and let links to pages of the site lead to their place in the document."""
    for tag in article.find_all(id=True):
        tag["id"] = f"{name}--{tag['id']}"
    for tag in article.find_all(True):
        for key in POINTERS:
            if key in tag.attrs:
                tag[key] = " ".join(f"{name}--{one}" for one in str(tag[key]).split())
        if isinstance(style := tag.get("fill"), str):
            tag["fill"] = re.sub(r"url\(#", f"url(#{name}--", style)
    for link in article.find_all("a", href=True):
        page, _, anchor = str(link["href"]).partition("#")
        if re.match(r"[a-z]+:", page):
            continue
        target = Path(page).stem if page else name
        if target in names and (not page or page.endswith(".html")):
            link["href"] = f"#{target}--{anchor}" if anchor else f"#{target}"
        else:
            link.unwrap()  # a picture in full size, the index: they are of the site alone


def document(site: Path, parts: list[Part]) -> str:
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    chapters = [chapter for part in parts for chapter in part.chapters]
    body = "".join(printed_part(number, part) for number, part in enumerate(parts))
    return f"""<!doctype html>
<html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">
<title>{escape(config["title"])}</title>
{"".join(head_of(site))}
<link rel="stylesheet" href="../_static/print.css">
<style>{"".join([*printed_fonts(site), *map(running_foot, chapters)])}</style></head>
<body><div class="title-page"><h1>{escape(config["title"])}</h1>
<img src="../_static/slots.png" alt="The slots of 25 object queries: where each one's boxes lie on 500 pictures.">
<p class="authors">{escape(config["author"])}</p>
<p>Version {version}, {config["copyright"]}</p></div>
<nav class="table-of-contents"><h1>Contents</h1>{"".join(map(contents_of, parts))}</nav>
<main class="bd-content"><div class="bd-article">{body}</div></main></body></html>"""


def head_of(site: Path) -> Iterator[str]:
    """The style sheets of the site and what typesets its formulas, each once."""
    seen: dict[str, str] = {}
    for page in sorted(site.glob("book/*.html")):
        soup = BeautifulSoup(page.read_text("utf-8").partition("</head>")[0], "html.parser")
        for tag in soup.select("link[rel=stylesheet], script"):
            if tag.name == "link" or "mathjax" in str(tag).lower():
                seen.setdefault(re.sub(r"\?\w+=\w+", "", str(tag)), str(tag))
    return iter(seen.values())


def printed_fonts(site: Path) -> Iterator[str]:
    """The variable fonts of the site at a few weights; as they are, Chromium prints them as nameless drawings."""
    for face in re.findall(r"@font-face\s*{([^}]*)}", (site / "_static" / "book.css").read_text("utf-8")):
        (family,), (source,) = re.findall(r'family: "([^"]+)"', face), re.findall(r'url\("([^"]+)"\)', face)
        style = "italic" if "font-style: italic" in face else "normal"
        if "fvar" in TTFont(site / "_static" / source):
            for weight, weights in WEIGHTS.items():
                yield f"""@font-face {{ font-family: "Printed {family}"; font-style: {style}; font-weight: {weights};
src: url("data:font/ttf;base64,{at_weight(site / "_static" / source, weight)}") }}
"""


def at_weight(path: Path, weight: int) -> str:
    font = instantiateVariableFont(TTFont(path), {"wght": weight})
    font.flavor, file = None, io.BytesIO()
    font.save(file)
    return base64.b64encode(file.getvalue()).decode("ascii")


def running_foot(chapter: Chapter) -> str:
    """A kind of page for each chapter, which says its title at the bottom."""
    title, page = json.dumps(chapter.title, ensure_ascii=False), f"chapter-{chapter.name}"
    return f"""@page {page} {{ @bottom-left {{ content: {title} }} }}
[id="{chapter.name}"] {{ page: {page} }}
"""


def printed_part(number: int, part: Part) -> str:
    chapters = "".join(
        f'<section class="chapter" id="{c.name}">{c.article.decode_contents()}</section>' for c in part.chapters
    )
    if not part.caption:
        return chapters
    lines = "".join(f'<li><a href="#{c.name}">{escape(c.title)}</a></li>' for c in part.chapters)
    return f"""<section class="part" id="part-{number}"><p class="part-number">Part {number}</p>
<h1>{escape(part.caption)}</h1><ul>{lines}</ul></section>{chapters}"""


def contents_of(part: Part) -> str:
    caption = f'<p class="contents-part">{escape(part.caption)}</p>' if part.caption else ""
    return caption + "".join(map(contents_of_chapter, part.chapters))


def contents_of_chapter(chapter: Chapter) -> str:
    level = "h2" if chapter.title == PREFACE else "h3"
    sections = [
        entry(str(section.parent["id"]), words(section)) for section in chapter.article.select(f"section > {level}")
    ]
    return f"""<div class="contents-chapter">{entry(chapter.name, escape(chapter.title))}
<div class="contents-sections">{"".join(sections)}</div></div>"""


def entry(target: str, title: str) -> str:
    """A line of the contents; the page comes in once it is known."""
    return f'<a href="#{target}"><span class="what">{title}</span><span class="page" data-of="{target}"></span></a>'


def words(heading: Tag) -> str:
    """A heading's content without its links, which the contents' own would enclose."""
    heading = copy.copy(heading)
    for link in heading.find_all("a"):
        link.unwrap()
    return heading.decode_contents()


# --- from the document to the PDF


def print_book(browser: str, site: Path, html: str, out: Path) -> int:
    """Print until the contents are right; the number of pages."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = launch(playwright, browser)
        page = open_document(chromium.new_page(color_scheme="light"), site, html)
        draft, final = Path(folder) / "draft.pdf", Path(folder) / "final.pdf"
        to_pdf(page, draft)
        found = pages_of(draft)
        page.evaluate(
            "pages => document.querySelectorAll('[data-of]').forEach(e => { e.textContent = pages[e.dataset.of] })",
            found,
        )
        to_pdf(page, final)
        headings = page.eval_on_selector_all("h1, h2, h3, h4, h5, h6", "all => all.map(e => e.innerText)")
        chromium.close()
        if pages_of(final) != found:
            raise SystemExit("The page numbers in the contents have moved what they number.")
        return finish(final, headings, out)


def open_document(page: Page, site: Path, html: str) -> Page:
    """Show the document as if it lay among the pages of the site, and wait until it is complete."""
    place = (site.resolve() / "book" / "all-pages.html").as_uri()
    page.set_default_timeout(180_000)
    page.route(place, lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
    page.emulate_media(media="print")
    page.goto(place, wait_until="load")
    page.wait_for_function("!document.querySelector('.math:not(:has(mjx-container))')")  # every formula is typeset
    page.evaluate("document.fonts.ready.then(() => 1)")
    page.evaluate(
        "document.querySelectorAll('.state img').forEach("
        "i => i.closest('.states').classList.toggle('high', i.naturalHeight > 0.7 * i.naturalWidth))"
    )
    return page


def to_pdf(page: Page, path: Path) -> None:
    page.pdf(path=path, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)


def pages_of(path: Path) -> dict[str, int]:
    """The page, from 1, of each place that a link leads to."""
    with pikepdf.open(path) as pdf:
        numbers = {page.objgen: number for number, page in enumerate(pdf.pages, start=1)}
        return {name.removeprefix("/"): numbers[place[0].objgen] for name, place in pdf.Root.Dests.items()}


def finish(printed: Path, headings: list[str], out: Path) -> int:
    """Say in the file what it is, leave out when it was printed, and make it smaller."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    out.parent.mkdir(parents=True, exist_ok=True)
    with pikepdf.open(printed) as pdf:
        del pdf.docinfo
        pdf.docinfo["/Title"], pdf.docinfo["/Author"] = config["title"], config["author"]
        # Chromium joins a heading's lines without a space, and doubles one that was moved to the next page.
        for entry, heading in zip(bookmarks(pdf.Root.Outlines), headings, strict=True):
            entry.Title = pikepdf.String(" ".join(heading.split()))
        pdf.Root.ViewerPreferences = pikepdf.Dictionary(DisplayDocTitle=True)
        for image in (thing for thing in pdf.objects if isinstance(thing, pikepdf.Stream)):
            pack(image)
        # Most of what is printed are the many small objects of the tags: together they shrink to a tenth.
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True)
        return len(pdf.pages)


def bookmarks(parent: pikepdf.Object) -> Iterator[pikepdf.Object]:
    """All entries of the outline under one, in the order of the pages."""
    entry = parent.get("/First")
    while entry is not None:
        yield entry
        yield from bookmarks(entry)
        entry = entry.get("/Next")


def pack(image: pikepdf.Stream) -> None:
    """Store a picture as JPEG where this halves it: drawn scenes, not charts of few colors."""
    if image.get("/Subtype") != "/Image" or image.get("/Filter") != "/FlateDecode":
        return
    width, height, pixels = int(image.Width), int(image.Height), image.read_bytes()
    if len(pixels) != 3 * width * height:
        return
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), pixels).save(file, "jpeg", quality=90, subsampling=0, optimize=True)
    if 2 * len(file.getvalue()) < len(image.read_raw_bytes()):
        image.write(file.getvalue(), filter=pikepdf.Name.DCTDecode)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html", help="the rendered book")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "detr_mini.pdf", help="the file to write")
    args = parser.parse_args(arguments)
    try:
        browser = find_chromium()
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None
    if browser is None:
        raise SystemExit(NO_CHROMIUM)
    if not (args.site / "book").is_dir():
        parser.error(f"there is no rendered book in {args.site}: run make book")
    pages = print_book(browser, args.site, document(args.site, read_parts(args.site)), args.out)
    print(f"The book is in {args.out}: {pages} pages, {args.out.stat().st_size / 1e6:.1f} MB.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
