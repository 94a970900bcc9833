"""The one diagram of DETR, with the parts a chapter is about lit (the paper's Figure 2, with shapes).

It is drawn as two SVG pieces that stand side by side on a wide page and one above the other on a phone. Over each part
lies a link to the chapter that builds it. In a notebook the pieces are pictures on a light card: of a drawing in a
notebook that is not trusted yet, JupyterLab leaves the words alone. The built book has the drawings themselves in the
page (``inlined``), where ink follows the page's text colour. Viewers that show no HTML find the whole as SVG.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from detr_mini.colours import CARD, COLOURS, INK

LIT = COLOURS["blue"]  # with white text on it: contrast 5.2
WIDTH, TOP, BOTTOM = 360, 12, 230  # of one piece
ROWS = (54, 160)
COLUMNS = (62, 180, 298)
BOX_WIDTH, BOX_HEIGHT = 92, 44


@dataclass(frozen=True)
class Part:
    """A box of the diagram: its name in words, its lines of text, centre, size, and piece (0 or 1)."""

    words: str
    lines: tuple[str, ...]
    x: int
    y: int
    piece: int
    width: int = BOX_WIDTH
    height: int = BOX_HEIGHT


PARTS: dict[str, tuple[Part, ...]] = {
    "image": (Part("image batch", ("image", "batch"), COLUMNS[0], ROWS[0], 0),),
    "nested_tensor": (Part("padding and mask", ("padding", "+ mask"), COLUMNS[1], ROWS[0], 0),),
    "backbone": (Part("backbone", ("backbone",), COLUMNS[2], ROWS[0], 0),),
    "position_encoding": (
        Part(
            "1×1 projection and positional encoding",
            ("1×1 projection", "+ positional encoding"),
            98,
            ROWS[1],
            0,
            width=172,
        ),
    ),
    "encoder": (Part("encoder", ("encoder",), COLUMNS[2], ROWS[1], 0),),
    "queries": (Part("object queries", ("object", "queries"), COLUMNS[0], ROWS[1], 1),),
    "decoder": (Part("decoder", ("decoder",), COLUMNS[0], ROWS[0], 1),),
    "heads": (
        Part("class head", ("class head",), COLUMNS[1], ROWS[0] - 17, 1, height=28),
        Part("box head", ("box head",), COLUMNS[1], ROWS[0] + 17, 1, height=28),
    ),
    "matcher": (Part("matching", ("matching",), COLUMNS[2], ROWS[1], 1),),
    "loss": (Part("loss", ("loss",), COLUMNS[1], ROWS[1], 1),),
}

CHAPTERS = {  # that build the parts: notebooks of book/, in which the diagram stands
    "image": "04_data",
    "nested_tensor": "05_nested_tensor",
    "backbone": "06_backbone",
    "position_encoding": "07_position_encoding",
    "encoder": "08_encoder",
    "queries": "10_detr",
    "decoder": "09_decoder",
    "heads": "10_detr",
    "matcher": "11_matcher",
    "loss": "12_loss",
}

# Polylines, each ending in an arrowhead, and what flows along them, for the two pieces.
ARROWS: tuple[tuple[tuple[tuple[int, int], ...], ...], ...] = (
    (
        ((108, 54), (133, 54)),
        ((226, 54), (251, 54)),
        ((298, 76), (298, 106), (98, 106), (98, 137)),
        ((184, 160), (251, 160)),
        ((344, 160), (352, 160), (352, 54), (360, 54)),
    ),
    (
        ((0, 54), (15, 54)),
        ((62, 138), (62, 77)),
        ((108, 54), (133, 54)),
        ((226, 37), (251, 37)),
        ((226, 71), (251, 71)),
        ((298, 84), (298, 137)),
        ((252, 160), (227, 160)),
        ((298, 207), (298, 183)),
    ),
)
# The shape of what leaves each part, and where it is written.
LABELS: dict[str, tuple[tuple[int, int, str], ...]] = {
    "image": ((121, 90, "B × (3, H, W)"),),
    "nested_tensor": ((239, 90, "(B, 3, H, W)"),),
    "backbone": ((196, 122, "(B, C, h, w)"),),
    "position_encoding": ((218, 178, "(B, hw, d)"),),
    "encoder": ((298, 197, "(B, hw, d)"),),
    "queries": ((84, 122, "(N, d)"),),
    "decoder": ((120, 99, "(B, N, d)"),),
    "heads": ((300, 24, "predictions"), (300, 41, "(B, N, K+1)"), (300, 75, "(B, N, 4)"), (298, 220, "targets")),
    "matcher": ((239, 197, "pairs"),),
}


WORDS = (
    "the way of a picture to the encoder",
    "from the object queries to predictions, and what training adds",
)  # of the pieces
PICTURE = re.compile(r'<img src="data:image/svg\+xml;base64,([^"]+)"[^>]*>')


@dataclass(frozen=True)
class Diagram:
    """The diagram as Jupyter and the built book show it."""

    lit: tuple[str, ...] = ()

    def __repr__(self) -> str:
        named = [part.words for name in self.lit for part in PARTS[name]]
        return (
            "Diagram of DETR: image batch, padding and mask, backbone, 1×1 projection with positional encoding, "
            "encoder, decoder fed by object queries, class and box heads; in training, matching with the targets, "
            f"then the loss. Lit: {', '.join(named) or 'nothing'}."
        )

    def _repr_html_(self) -> str:
        return (
            f'<div class="detr-diagram" role="group" aria-label="{escape(repr(self))}" style="display:flex;'
            'flex-wrap:wrap;justify-content:center;margin:0.5em 0">'
            f"{self._linked_piece(0)}{self._linked_piece(1)}</div>"
        )

    def _repr_svg_(self) -> str:
        """Both pieces side by side, for viewers that show no HTML."""
        size = f'width="{2 * WIDTH}" height="{BOTTOM - TOP}" viewBox="0 {TOP} {2 * WIDTH} {BOTTOM - TOP}"'
        pieces = f'{self._drawing(0)}\n<g transform="translate({WIDTH})">\n{self._drawing(1)}\n</g>'
        return f"<svg {size} {_ON_CARD}>\n<title>{escape(repr(self))}</title>\n{_card(2 * WIDTH)}\n{pieces}\n</svg>"

    def _linked_piece(self, piece: int) -> str:
        """A piece as a picture, with links over its parts."""
        svg = (
            f'<svg viewBox="0 {TOP} {WIDTH} {BOTTOM - TOP}" {_ON_CARD}>\n{_card(WIDTH)}\n{self._drawing(piece)}\n</svg>'
        )
        links = [
            _link(part, CHAPTERS[name], lit=name in self.lit)
            for name, parts in PARTS.items()
            for part in parts
            if part.piece == piece
        ]
        return (
            '<div style="position:relative;flex:1 1 300px;min-width:0;max-width:400px">\n'
            f'<img src="data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}" '
            f'alt="DETR: {WORDS[piece]}" width="{WIDTH}" style="display:block;width:100%;height:auto">\n'
            + "\n".join(links)
            + "\n</div>"
        )

    def _drawing(self, piece: int) -> str:
        # In the order of the flow, as they are read aloud.
        boxes = [
            "\n".join([_box(part, lit=name in self.lit) for part in parts] + [_label(x) for x in LABELS.get(name, ())])
            for name, parts in PARTS.items()
            if parts[0].piece == piece
        ]
        return "\n".join([*([_frame()] if piece == 1 else []), *map(_arrow, ARROWS[piece]), *boxes])


def diagram(lit: str | Iterable[str] = ()) -> Diagram:
    """The diagram of DETR with the named parts lit; the last expression of a cell shows it.

    Args:
        lit: names of parts, out of ``PARTS``.

    Raises:
        ValueError: a name that no part has.
    """
    names = (lit,) if isinstance(lit, str) else tuple(lit)
    for name in names:
        if name not in PARTS:
            raise ValueError(f"no part of the diagram is called {name!r}; there are {', '.join(PARTS)}")
    return Diagram(names)


def inlined(html: str) -> str:
    """The HTML of a diagram with its pictures as drawings of the page: no card, ink in the colour of the text."""

    def drawing(picture: re.Match[str]) -> str:
        svg = base64.b64decode(picture[1]).decode().replace(f"{_card(WIDTH)}\n", "")
        return svg.replace(_ON_CARD, f'{_SVG} aria-hidden="true" style="display:block;width:100%;height:auto"')

    return PICTURE.sub(drawing, html)


_SVG = 'xmlns="http://www.w3.org/2000/svg" font-size="12.5" text-anchor="middle" fill="currentColor"'
_ON_CARD = f'{_SVG} font-family="sans-serif" color="{INK}"'


def _card(width: int) -> str:
    """The light ground of figures, for where the page's own may be dark."""
    return f'<rect y="{TOP}" width="{width}" height="{BOTTOM - TOP}" fill="{CARD}"/>'


def _box(part: Part, *, lit: bool) -> str:
    """A lit part differs in fill, border and weight of its text, not in colour alone."""
    border = (
        f'fill="{LIT}" stroke="currentColor" stroke-width="3"'
        if lit
        else 'fill="none" stroke="currentColor" stroke-width="1.2" stroke-opacity="0.55"'
    )
    text = 'fill="#fff" font-weight="700"' if lit else 'fill-opacity="0.9"'
    left, top = part.x - part.width // 2, part.y - part.height // 2
    first = part.y + 4.5 - 8 * (len(part.lines) - 1)
    lines = [
        f'<text x="{part.x}" y="{first + 16 * n:g}" {text}>{escape(line)}</text>' for n, line in enumerate(part.lines)
    ]
    box = f'<rect x="{left}" y="{top}" width="{part.width}" height="{part.height}" rx="6" {border}/>'
    return "\n".join([box, *lines])


def _link(part: Part, chapter: str, *, lit: bool) -> str:
    """An empty link over a box: links inside of a drawing are not followed everywhere."""
    left, top = 100 * (part.x - part.width / 2) / WIDTH, 100 * (part.y - part.height / 2 - TOP) / (BOTTOM - TOP)
    width, height = 100 * part.width / WIDTH, 100 * part.height / (BOTTOM - TOP)
    current = ' aria-current="true"' if lit else ""
    return (
        f'<a href="{chapter}.ipynb" aria-label="{escape(part.words)}"{current} style="position:absolute;'
        f'left:{left:.2f}%;top:{top:.2f}%;width:{width:.2f}%;height:{height:.2f}%;border-radius:6px"></a>'
    )


def _arrow(points: tuple[tuple[int, int], ...]) -> str:
    (x0, y0), (x, y) = points[-2:]
    across, down = (x > x0) - (x < x0), (y > y0) - (y < y0)
    tail = f"{x - 6 * across - 4 * down},{y - 6 * down - 4 * across}"
    other = f"{x - 6 * across + 4 * down},{y - 6 * down + 4 * across}"
    line = " ".join(f"{px},{py}" for px, py in points)
    return (
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-opacity="0.7" stroke-width="1.4"/>'
        f'<polygon points="{x},{y} {tail} {other}" fill-opacity="0.7"/>'
    )


def _label(label: tuple[int, int, str]) -> str:
    x, y, words = label
    return f'<text x="{x}" y="{y}" font-size="11" fill-opacity="0.85">{escape(words)}</text>'


def _frame() -> str:
    """The dashed frame around what only training has."""
    return (
        '<rect x="122" y="112" width="236" height="116" rx="8" fill="none" stroke="currentColor" '
        'stroke-opacity="0.45" stroke-dasharray="4 4"/>'
        '<text x="180" y="129" font-size="11" font-style="italic" fill-opacity="0.85">in training</text>'
    )
