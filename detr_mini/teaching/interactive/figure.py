"""What every figure to play with is made of: its frame, its script, its pictures inside of it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from detr_mini.teaching.pictures import checked_alt

KEYS = 'data-lm-suppress-shortcuts="true"'  # arrow keys are for the figure, not for JupyterLab's cells


@dataclass(frozen=True)
class Interactive:
    """A figure to play with; the last expression of a cell shows it."""

    html: str
    alt: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"A figure to play with: {self.alt}"


def framed(name: str, alt: str, body: str, script: str) -> Interactive:
    """A figure of this name: its body, and ``SCRIPT.js`` of this folder, which plays it.

    Raises:
        ValueError: a name that is not of letters, digits and dashes.
    """
    # Found by its name, not by where the script stands: Jupyter runs scripts after it has moved them.
    find = (
        f"document.querySelectorAll('figure.interactive[data-name=\"{checked_name(name)}\"]:not([data-ready])').forEach"
    )
    folder = Path(__file__).parent
    play, start = ((folder / f"{part}.js").read_text("utf-8") for part in (script, "figure"))
    html = (
        f'<figure class="interactive" data-name="{name}" style="margin:0.5em 0">\n{body}\n'
        f"<script>{find}(function (figure) {{ figure.dataset.ready = 1;\n"
        f"{play}{start}start(figure, play); }});</script>\n</figure>"
    )
    return Interactive(html, checked_alt(alt))


def checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError(f"name={name!r}: letters, digits and dashes only")
    return name


def data_uri(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")
