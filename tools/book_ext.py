"""The book's own Sphinx extension: what a chapter's page has beyond its notebook, and how the site works without a
network.

A page gets the text alternatives of its figures, links to cells and terms, a line of facts under its title (level,
times, the notebook to take away) and frames around its goals and questions. ``{detr-diagram}`` draws the diagram on a
page that is no notebook, ``{playground}`` the live detector, ``{execution-status}`` tells of the runs that made the
outputs.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from html import escape
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from finish_pages import finish
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from detr_mini.teaching import live
from detr_mini.teaching.diagram import diagram, inlined

log = logging.getLogger(__name__)

# What these pages need of MathJax: 1.3 of its 24 MB. Its parts, since the ready bundle brings a menu and more.
MATHJAX = (
    "startup.js",
    "core.js",
    "input/tex-base.js",
    "input/tex/extensions/ams.js",
    "output/chtml.js",
    "output/chtml/fonts",
    "a11y/assistive-mml.js",
)
MATHJAX_CONFIG = {
    "loader": {"load": ["core", "input/tex-base", "[tex]/ams", "output/chtml", "a11y/assistive-mml"]},
    "tex": {"packages": ["base", "ams"]},
}

# A chapter's row on the first page: the one place that says how hard and how long a chapter is.
ROW = re.compile(
    r"^\| \[[^]]+\]\((?P<name>\w+)\.ipynb\) \| .* \| (?P<level>\w+) \| (?P<read>\d+) \| (?P<run>\d+) \|$", re.M
)
LAUNCH = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}
FRAMES = {"You will be able to": "goals", "Questions this page answers": "questions"}


def prepare_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put beside each cell of a notebook what the page needs and the builder does not look for."""
    assert app.env is not None
    if not str(app.env.doc2path(docname)).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"]["cell_id"] = cell["id"]  # for link_cells: the builder forgets the id itself
        # Text alternatives, which teaching.notebook.show stored beside a figure; the builder reads one a cell.
        alts = {m["alt"] for m in picture_metadata(cell) if "alt" in m}
        if len(alts) > 1:
            log.warning("cell %d shows %d figures: give each its own cell", number, len(alts), location=docname)
        settings = cell["metadata"].setdefault("mystnb", {})
        if alts:
            settings.setdefault("image", {}).setdefault("alt", alts.pop())
        if "diagram(lit=" in "".join(cell["source"]):  # the head of a page is no place for code
            cell["metadata"].setdefault("tags", []).append("remove-input")
        for output in cell.get("outputs", []):
            html = "".join(output.get("data", {}).get("text/html", ""))
            if 'class="detr-d' in html:  # the diagram, or another drawing of teaching/svg.py
                output["data"]["text/html"] = inlined(html)
        settings.setdefault("code_prompt_show", f"Show {folded_words(cell)}")
        settings.setdefault("code_prompt_hide", f"Hide {folded_words(cell)}")
    source[0] = json.dumps(notebook)


def folded_words(cell: dict[str, Any]) -> str:
    """What is folded away in a cell tagged hide-input."""
    if "aside" in cell["metadata"].get("tags", []):
        return "this helper"
    if cell.get("outputs"):
        return "the code of this figure"
    return "imports" if "".join(cell["source"]).startswith(("import ", "from ")) else "a helper that draws"


def link_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Make code cells and terms places to link to: ``(05_topic.ipynb#cell-LABEL)``, ``(glossary.md#term-Slot)``."""
    assert app.env is not None
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for cell in doctree.findall(nodes.container):
        metadata = cell.get("cell_metadata")
        if cell.get("nb_element") == "cell_code" and metadata and "cell_id" in metadata:
            name = f"cell-{metadata['cell_id']}"
            cell["ids"].append(name)
            slugs[name] = (cell.line or 0, name, metadata["cell_id"])
    for term in doctree.findall(nodes.term):
        slugs |= {name: (term.line or 0, name, term.astext()) for name in term["ids"]}


def link_chapters(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn ``book/NN_topic`` in a docstring, with the title before it, into a link to the chapter."""
    lines[:] = [re.sub(r"(?:\*[^*]+\*, )?``(book/\w+)``", r":doc:`/\1`", line) for line in lines]


def skip_aliases(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out the fields of a named tuple that nobody described: Python says "Alias for field number 1"."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def picture_metadata(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """What is stored beside each picture that a cell put out."""
    return [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]


def frame_heads(app: Sphinx, doctree: nodes.document) -> None:
    """Set a chapter's goals and questions apart: a paragraph of few bold words and the list after it."""
    for paragraph in list(doctree.findall(nodes.paragraph)):
        name = FRAMES.get(paragraph.astext())
        items = paragraph.next_node(descend=False, siblings=True)
        if name and isinstance(items, nodes.bullet_list) and paragraph.parent is not None:
            frame = nodes.container(classes=["chapter-head", name])
            paragraph.replace_self(frame)
            items.parent.remove(items)
            frame += [paragraph, items]


def chapter_facts(root: Path) -> dict[str, dict[str, str]]:
    """Level, minutes and seconds of each chapter, from the first page, and its part, from the contents."""
    rows = ROW.finditer((root / "book" / "index.md").read_text("utf-8"))
    facts = {found["name"]: found.groupdict() for found in rows}
    for part in yaml.safe_load((root / "_toc.yml").read_text("utf-8"))["parts"]:
        for chapter in part["chapters"]:
            facts.setdefault(Path(chapter["file"]).name, {})["part"] = part["caption"]
    return facts


def add_facts(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Put part, level and times around a page's title, and its notebook to take away."""
    name = Path(pagename).name
    facts = chapter_facts(Path(app.srcdir)).get(name)
    if not facts or "body" not in context or app.builder.name != "html":
        return
    body = context["body"].replace("<h1>", f'<p class="chapter-part">{escape(facts["part"])}</p>\n<h1>', 1)
    if "level" in facts:
        line = (
            f'<p class="chapter-facts"><span>{facts["level"]}</span> <span>{facts["read"]} minutes to read</span> '
            f"<span>{facts['run']} seconds to run</span> "
            f'<a href="{name}.ipynb" download>Take away as a notebook</a></p>'
        )
        body = body.replace("</h1>", f"</h1>\n{line}", 1)
    context["body"] = body


class DetrDiagram(SphinxDirective):
    """The diagram of DETR with nothing lit; its content stands in for it where there is no Sphinx."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", inlined(diagram()._repr_html_()), format="html")]


class Playground(SphinxDirective):
    """The playground's still picture, and the button that starts it; its content stands in where there is no Sphinx."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        up = "../" * self.env.docname.count("/")
        html = live.shell(f"{up}_static/playground", f"{up}_static/playground.webp")
        return [nodes.raw("", html, format="html")]


class ExecutionStatus(SphinxDirective):
    """When and how long each notebook ran, with which versions: ``book/execution.json``, which tools/nb.py writes."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "book" / "execution.json"
        self.env.note_dependency(str(path))
        record = json.loads(path.read_text("utf-8"))
        lines = ["| notebook | cells | seconds | date of the run |", "|---|--:|--:|---|"]
        lines += [
            f"| [](/book/{name}.ipynb) | {run['cells']} | {run['seconds']:.0f} | {run['date']} |"
            for name, run in sorted(record.items())
        ]
        kinds = sorted({json.dumps(run["with"]) for run in record.values()})
        lines += ["", *(f"With {', '.join(f'{k} {v}' for k, v in json.loads(kind).items())}." for kind in kinds)]
        container = nodes.container(classes=["execution-status"])
        self.state.nested_parse(StringList(lines, source=str(path)), 0, container)
        return [container]


def offer_launch(app: Sphinx, config: Config) -> None:
    """Where the book is hosted is one setting, ``repository: url`` in _config.yml; with it come buttons that launch."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options["use_repository_button"] = True
        options["launch_buttons"] = LAUNCH


def write_terms(app: Sphinx, exception: Exception | None) -> None:
    """What each term means, for the pages' script to show where a term is linked."""
    if exception or app.builder.name != "html":
        return
    assert app.env is not None
    terms = {
        name: " ".join(item.next_node(nodes.definition).astext().split())  # type: ignore[union-attr]
        for item in app.env.get_doctree("book/glossary").findall(nodes.definition_list_item)
        for term in item.findall(nodes.term)
        for name in term["ids"]
    }
    path = Path(app.outdir) / "_static" / "terms.js"
    path.write_text(f"window.TERMS = {json.dumps(terms, indent=0)};\n", "utf-8")


def finish_site(app: Sphinx, exception: Exception | None) -> None:
    """Add the notebooks to take away, and finish the pages."""
    if exception or app.builder.name != "html":
        return
    for path in (Path(app.srcdir) / "book").glob("*.ipynb"):
        (Path(app.outdir) / "book" / path.name).write_text(without_outputs(path.read_text("utf-8")), "utf-8")
    live.write(Path(app.outdir) / "_static" / "playground")
    finish(Path(app.outdir))


def without_outputs(notebook: str) -> str:
    """A notebook to take away: small, and with all outputs made, and so trusted, where it is run."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy MathJax from the installed package into the site, so that pages work without a network."""
    if exception or app.builder.format != "html":
        return
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError("sphinx-mathjax-offline is not installed: pip install -r requirements.txt")
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for name in MATHJAX:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def setup(app: Sphinx) -> dict[str, Any]:
    app.config.mathjax_path = "mathjax/startup.js"  # type: ignore[attr-defined]
    app.config.mathjax3_config = MATHJAX_CONFIG  # type: ignore[attr-defined]
    app.add_js_file("terms.js", loading_method="defer")
    app.add_js_file("book.js", loading_method="defer")
    app.add_directive("detr-diagram", DetrDiagram)
    app.add_directive("execution-status", ExecutionStatus)
    app.add_directive("playground", Playground)
    app.connect("config-inited", offer_launch)
    app.connect("source-read", prepare_notebook)
    app.connect("doctree-read", link_cells)
    app.connect("doctree-read", frame_heads)
    app.connect("autodoc-process-docstring", link_chapters)
    app.connect("autodoc-skip-member", skip_aliases)
    app.connect("html-page-context", add_facts)
    for finishing in (copy_mathjax, write_terms, finish_site):
        app.connect("build-finished", finishing)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
