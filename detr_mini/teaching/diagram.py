"""The one diagram of DETR, with the parts a chapter is about lit (the paper's Figure 2, with shapes).

It is drawn as two SVG pieces that stand side by side on a wide page and one above the other on a phone. Over each part
lies a link to the chapter that builds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from detr_mini.teaching.svg import ON_CARD, Box, Frame, arrow, group, inlined, label, linked_piece

__all__ = ["Diagram", "diagram", "inlined"]

WIDTH, TOP, BOTTOM = 360, 12, 230  # of one piece
FRAME = Frame(WIDTH, TOP, BOTTOM)
ROWS = (54, 160)
COLUMNS = (62, 180, 298)
BOX_WIDTH, BOX_HEIGHT = 92, 44


@dataclass(frozen=True)
class Part:
    """A box of the diagram: its name in words, its lines of text, center, size, and piece (0 or 1)."""

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
        return group("detr-diagram", repr(self), map(self._linked_piece, (0, 1)))

    def _repr_svg_(self) -> str:
        """Both pieces side by side, for viewers that show no HTML."""
        size = f'width="{2 * WIDTH}" height="{BOTTOM - TOP}" viewBox="0 {TOP} {2 * WIDTH} {BOTTOM - TOP}"'
        pieces = f'{self._drawing(0)}\n<g transform="translate({WIDTH})">\n{self._drawing(1)}\n</g>'
        card = Frame(2 * WIDTH, TOP, BOTTOM).card()
        return f"<svg {size} {ON_CARD}>\n<title>{escape(repr(self))}</title>\n{card}\n{pieces}\n</svg>"

    def _linked_piece(self, piece: int) -> str:
        """A piece as a picture, with links over its parts."""
        boxes = [box for boxes in self._boxes(piece).values() for box in boxes]
        return linked_piece(FRAME, self._drawing(piece), f"DETR: {WORDS[piece]}", boxes)

    def _boxes(self, piece: int) -> dict[str, list[Box]]:
        return {
            name: [_box(part, CHAPTERS[name], lit=name in self.lit) for part in parts]
            for name, parts in PARTS.items()
            if parts[0].piece == piece
        }

    def _drawing(self, piece: int) -> str:
        # In the order of the flow, as they are read aloud.
        boxes = [
            "\n".join([box.drawn() for box in boxes] + [label(*at) for at in LABELS.get(name, ())])
            for name, boxes in self._boxes(piece).items()
        ]
        arrows = [arrow(*points) for points in ARROWS[piece]]
        return "\n".join([*([_frame()] if piece == 1 else []), *arrows, *boxes])


def _box(part: Part, chapter: str, *, lit: bool) -> Box:
    return Box(part.words, part.lines, part.x, part.y, part.width, part.height, f"{chapter}.ipynb", lit)


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


def _frame() -> str:
    """The dashed frame around what only training has."""
    return (
        '<rect x="122" y="112" width="236" height="116" rx="8" fill="none" stroke="currentColor" '
        'stroke-opacity="0.45" stroke-dasharray="4 4"/>'
        '<text x="180" y="129" font-size="11" font-style="italic" fill-opacity="0.85">in training</text>'
    )
