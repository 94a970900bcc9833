"""What the drawings of the book are made of: boxes, arrows and words as SVG, and links over them.

In a notebook a drawing is a picture on a light card: of a drawing in a notebook that is not trusted yet, JupyterLab
leaves the words alone. The built book has the drawing itself in the page (``inlined``), where ink follows the page's
text color. Viewers that show no HTML find the whole as SVG.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from detr_mini.colours import CARD, COLOURS, INK

LIT = COLOURS["blue"]  # with white text on it: contrast 5.2
SVG = 'xmlns="http://www.w3.org/2000/svg" font-size="12.5" text-anchor="middle" fill="currentColor"'
ON_CARD = f'{SVG} font-family="sans-serif" color="{INK}"'
PICTURE = re.compile(r'<img src="data:image/svg\+xml;base64,([^"]+)"[^>]*>')
GROUND = re.compile(rf'<rect [^>]*fill="{CARD}"/>\n')
Point = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """The part of the plane that a piece shows: x from 0 to ``width``, y from ``top`` to ``bottom``."""

    width: int
    top: int
    bottom: int

    def card(self) -> str:
        """The light ground of figures, for where the page's own may be dark."""
        return f'<rect y="{self.top}" width="{self.width}" height="{self.bottom - self.top}" fill="{CARD}"/>'

    def svg(self, drawing: str, head: str = "") -> str:
        """A whole SVG file; ``head`` goes before ``viewBox``."""
        box = f'viewBox="0 {self.top} {self.width} {self.bottom - self.top}"'
        return f"<svg {head}{box} {ON_CARD}>\n{self.card()}\n{drawing}\n</svg>"


@dataclass(frozen=True)
class Box:
    """A box: its lines of text, center and size, its name in words and where it leads."""

    words: str
    lines: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float
    href: str
    lit: bool = False

    def drawn(self) -> str:
        """A lit box differs in fill, border and weight of its text, not in color alone."""
        border = (
            f'fill="{LIT}" stroke="currentColor" stroke-width="3"'
            if self.lit
            else 'fill="none" stroke="currentColor" stroke-width="1.2" stroke-opacity="0.55"'
        )
        ink = 'fill="#fff" font-weight="700"' if self.lit else 'fill-opacity="0.9"'
        first = self.y + 4.5 - 8 * (len(self.lines) - 1)
        lines = [
            f'<text x="{self.x:g}" y="{first + 16 * n:g}" {ink}>{escape(line)}</text>'
            for n, line in enumerate(self.lines)
        ]
        left, top = self.x - self.width / 2, self.y - self.height / 2
        box = f'<rect x="{left:g}" y="{top:g}" width="{self.width:g}" height="{self.height:g}" rx="6" {border}/>'
        return "\n".join([box, *lines])

    def link(self, frame: Frame) -> str:
        """An empty link over the box: links inside of a drawing are not followed everywhere."""
        high = frame.bottom - frame.top
        left, top = 100 * (self.x - self.width / 2) / frame.width, 100 * (self.y - self.height / 2 - frame.top) / high
        width, height = 100 * self.width / frame.width, 100 * self.height / high
        current = ' aria-current="true"' if self.lit else ""
        return (
            f'<a href="{self.href}" aria-label="{escape(self.words)}"{current} style="position:absolute;'
            f'left:{left:.2f}%;top:{top:.2f}%;width:{width:.2f}%;height:{height:.2f}%;border-radius:6px"></a>'
        )


def arrow(*points: Point) -> str:
    """A line along the points, with a head at its end."""
    (x0, y0), (x, y) = points[-2:]
    across, down = (x > x0) - (x < x0), (y > y0) - (y < y0)
    tail = f"{x - 6 * across - 4 * down:g},{y - 6 * down - 4 * across:g}"
    other = f"{x - 6 * across + 4 * down:g},{y - 6 * down + 4 * across:g}"
    return f'{line(*points)}<polygon points="{x:g},{y:g} {tail} {other}" fill-opacity="0.7"/>'


def line(*points: Point) -> str:
    """A line along the points."""
    along = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{along}" fill="none" stroke="currentColor" stroke-opacity="0.7" stroke-width="1.4"/>'


def label(x: float, y: float, words: str, more: str = "") -> str:
    """Small words in the drawing; ``more`` for further attributes."""
    return f'<text x="{x:g}" y="{y:g}" font-size="11"{more} fill-opacity="0.85">{escape(words)}</text>'


def linked_piece(frame: Frame, drawing: str, alt: str, boxes: Iterable[Box]) -> str:
    """A piece as a picture, with links over its boxes."""
    links = "\n".join(box.link(frame) for box in boxes)
    return (
        '<div style="position:relative;flex:1 1 300px;min-width:0;max-width:400px">\n'
        f'<img src="data:image/svg+xml;base64,{base64.b64encode(frame.svg(drawing).encode()).decode()}" '
        f'alt="{escape(alt)}" width="{frame.width}" style="display:block;width:100%;height:auto">\n{links}\n</div>'
    )


def group(kind: str, words: str, pieces: Iterable[str]) -> str:
    """Pieces that stand side by side on a wide page and one above the other on a phone."""
    return (
        f'<div class="{kind}" role="group" aria-label="{escape(words)}" style="display:flex;'
        f'flex-wrap:wrap;justify-content:center;margin:0.5em 0">{"".join(pieces)}</div>'
    )


def inlined(html: str) -> str:
    """The HTML of a drawing with its pictures as drawings of the page: no card, ink in the color of the text."""

    def drawing(picture: re.Match[str]) -> str:
        svg = GROUND.sub("", base64.b64decode(picture[1]).decode(), count=1)
        return svg.replace(ON_CARD, f'{SVG} aria-hidden="true" style="display:block;width:100%;height:auto"')

    return PICTURE.sub(drawing, html)
