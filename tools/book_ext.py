"""The book's own Sphinx extension: text alternatives of figures, links to cells and
from docstrings to chapters, MathJax without a network."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

log = logging.getLogger(__name__)

# What an English page needs of MathJax: 3.4 of its 24 MB.
MATHJAX = (
    "tex-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
    "a11y",
    "ui",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
)


def pass_on_alt_texts(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give the page the text that ``detr_mini.notebook.show`` stored beside a figure.

    The builder reads text alternatives from a cell's settings, one for all pictures of the cell.
    """
    assert app.env is not None
    if not str(app.env.doc2path(docname)).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for number, cell in enumerate(notebook["cells"]):
        cell["metadata"]["cell_id"] = cell["id"]  # for link_cells: the builder forgets the id itself
        alts = {m["alt"] for m in picture_metadata(cell) if "alt" in m}
        if len(alts) > 1:
            log.warning("cell %d shows %d figures: give each its own cell", number, len(alts), location=docname)
        if alts:
            settings = cell["metadata"].setdefault("mystnb", {}).setdefault("image", {})
            settings.setdefault("alt", alts.pop())
    source[0] = json.dumps(notebook)


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
    """Turn ``book/NN_topic`` in a docstring into a link to the chapter."""
    lines[:] = [re.sub(r"``(book/\w+)``", r":doc:`/\1`", line) for line in lines]


def picture_metadata(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """What is stored beside each picture that a cell put out."""
    return [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]


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
    app.config.mathjax_path = "mathjax/tex-chtml.js"  # type: ignore[attr-defined]
    app.connect("source-read", pass_on_alt_texts)
    app.connect("doctree-read", link_cells)
    app.connect("autodoc-process-docstring", link_chapters)
    app.connect("build-finished", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
