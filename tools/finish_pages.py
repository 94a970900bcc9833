"""Make the pages of the built book light: what the theme and the notebooks put into them, put in order.

Works on the HTML as Sphinx wrote it. Figures to play with carry their pictures inside of them, as a notebook must; in
the site they become files, so that a page is read before its pictures are there. Pictures below the first screen are
fetched when a reader comes near them, at a size that is known before, so that nothing jumps.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from PIL import Image

DATA_URI = re.compile(r"data:image/(png|webp);base64,([A-Za-z0-9+/=]{200,})")
IMAGE = re.compile(r"<img\b[^>]*>")
# The theme draws its few icons with a font; this script draws all of Font Awesome's again, in 1.5 MB.
ICON_SCRIPT = re.compile(r"\s*<!-- So that users can add custom icons -->\s*<script[^>]*fontawesome\.js[^>]*></script>")
# The index of the search is for the search page; the theme asks for it on every page.
SEARCH_SCRIPT = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')
# What a figure holds beside its pictures: beyond this length it is fetched when a reader comes near.
FIGURE_DATA = re.compile(r'<script type="application/json">([^<]{50000,})</script>')
# The fold says in words what it holds; this name would hide them from those who listen.
FOLD = re.compile(r'<summary aria-label="Toggle hidden content">')
# Roles that promise list items, and have none, in the list of references.
CITATIONS = re.compile(r' role="list"(?= class="citation-list")| role="doc-biblioentry"')
# A formula in the text and the punctuation after it, which would else begin a line.
PUNCTUATED = re.compile(r'<span class="math notranslate nohighlight">[^<]*</span>[.,;:!?)]+')
# Links inside of figures name notebooks, as they must in Jupyter: those of the diagram, and those of an exhibit.
DIAGRAM = re.compile(r'(<a href="\w+)\.ipynb((?:#[\w-]+)?" (?:aria-label=|class="cell"))')
# One of the two thousand icons that the theme has a rule for.
ICON_RULE = re.compile(r'((?:\.fa-[a-z0-9-]+:before,?)+)\{content:"[^"]*"\}')
HEAVY = 100_000  # bytes: a drawing of few colors is less, a drawn scene is more
# What the theme brings along and no page asks for: sources of its scripts, and fonts in older formats.
UNUSED = (
    "*.map",
    "scripts/fontawesome.js*",
    "vendor/fontawesome/webfonts/*.ttf",
    "vendor/fontawesome/webfonts/fa-brands*",
)


def finish(site: Path) -> None:
    """Finish every page of a built site, in place."""
    static = site / "_static"
    for pattern in UNUSED:
        for path in static.glob(f"**/{pattern}"):
            path.unlink()
    lighter = lighten(site / "_images")
    pages = [path for path in sorted(site.rglob("*.html")) if static not in path.parents]  # not the theme's templates
    drop_icons(static, [*pages, *static.glob("scripts/*.js")])
    for path in pages:
        html = path.read_text("utf-8")
        for heavy, light in lighter.items():
            html = html.replace(f"_images/{heavy}", f"_images/{light}")
        if path.name != "search.html":
            html = SEARCH_SCRIPT.sub("", html)
        path.write_text(finished(html, path.parent, site), "utf-8")


def lighten(images: Path) -> dict[str, str]:
    """Store heavy pictures as WebP where that halves them; which name stands for which now."""
    lighter = {}
    for path in sorted(images.glob("*.png")):
        if path.stat().st_size < HEAVY:
            continue
        light = path.with_suffix(".webp")
        with Image.open(path) as picture:
            picture.convert("RGB").save(light, quality=90, method=6)
        smaller = 2 * light.stat().st_size < path.stat().st_size
        (path if smaller else light).unlink()
        if smaller:
            lighter[path.name] = light.name
    return lighter


def drop_icons(static: Path, users: list[Path]) -> None:
    """Keep of the theme's rules for icons those that are used."""
    used = set(re.findall(r"\bfa-[a-z0-9-]+", " ".join(path.read_text("utf-8") for path in users)))

    def kept(rule: re.Match[str]) -> str:
        return rule[0] if used & set(re.findall(r"fa-[a-z0-9-]+", rule[1])) else ""

    for path in static.glob("styles/pydata-sphinx-theme.css"):
        path.write_text(ICON_RULE.sub(kept, path.read_text("utf-8")), "utf-8")


def finished(html: str, folder: Path, site: Path) -> str:
    """A page's HTML, finished; ``folder`` is where the page lies. Pictures are written to ``site/_images``."""
    html = ICON_SCRIPT.sub("", html)
    html = FOLD.sub("<summary>", html)
    html = CITATIONS.sub("", html)
    html = PUNCTUATED.sub(r'<span class="nobreak">\g<0></span>', html)
    html = DIAGRAM.sub(r"\1.html\2", html)
    up = "../" * len(folder.relative_to(site).parts)
    html = DATA_URI.sub(lambda found: f"{up}_images/{_stored(found, site / '_images')}", html)
    html = FIGURE_DATA.sub(lambda found: _later(found[1], up, site / "_images"), html)
    return IMAGE.sub(lambda found: _patient(found[0], folder), html)


def _stored(found: re.Match[str], images: Path) -> str:
    """Write a picture that stands in the page into a file named after its content; equal ones share it."""
    data = base64.b64decode(found[2])
    name = f"{hashlib.sha256(data).hexdigest()[:16]}.{found[1]}"
    images.mkdir(parents=True, exist_ok=True)
    (images / name).write_bytes(data)
    return name


def _later(data: str, up: str, images: Path) -> str:
    """A figure's data in a script of its own, which works from the file system, too; teaching.interactive loads it."""
    name = f"{hashlib.sha256(data.encode()).hexdigest()[:16]}.js"
    address = f"{up}_images/{name}"
    images.mkdir(parents=True, exist_ok=True)
    (images / name).write_text(f"(window.figureData = window.figureData || {{}})['{address}'] = {data};\n", "utf-8")
    return f'<script type="application/json" data-file="{address}"></script>'


def _patient(tag: str, folder: Path) -> str:
    """An image that is fetched late, with the proportions that keep its place."""
    source = re.search(r'\ssrc="([^"]+)"', tag)
    if source is None or "loading=" in tag:
        return tag
    path = folder / source[1].split("?")[0]
    if path.suffix not in {".png", ".webp"} or not path.is_file():
        return tag
    with Image.open(path) as picture:
        width, height = picture.size
    given = re.search(r'\swidth="(\d+)"|style="width:\s*(\d+)px', tag)
    shown = int(given[1] or given[2]) if given else width
    tag = re.sub(r'\s(width|height)="[^"]*"', "", tag)
    return tag.replace("<img", f'<img width="{shown}" height="{round(shown * height / width)}" loading="lazy"', 1)
