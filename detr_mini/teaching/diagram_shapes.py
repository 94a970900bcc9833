"""Queries, keys and values as shapes: what one head of an encoder's self-attention multiplies, one cell's row lit."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from detr_mini.colours import COLOURS
from detr_mini.teaching.svg import LIT, ON_CARD, Box, Frame, arrow, group, label, linked_piece

FRAME = Frame(360, 0, 186)
TOP, CELLS, WIDTH, HEAD = 46, 88, 44, 20  # where matrices begin; hw, d and the width of a head, in the drawing
STRIP, ASKS, READ = 9, 22, 57  # a cell's row: its height, and where those of the cell that asks and of one read begin
READ_INK = COLOURS["orange"]
WORDS = (
    "Who reads whom: x + pos, hw by d, makes the queries Q, hw by d over heads, and the keys K, turned. "
    "Their products, divided by the root of the head's width and put through softmax, are the weights, hw by hw. "
    "The row of one cell is lit; a column is one cell that it may read.",
    "What is read: the weights, hw by hw, times the values V, hw by d over heads, which are made from x alone. "
    "The lit row of weights gives the lit row of the head's result. "
    "The heads side by side go through the output projection, back to hw by d.",
)


@dataclass(frozen=True)
class ShapesDrawing:
    """Two pieces: the weights, and what they are used for."""

    def __repr__(self) -> str:
        return " ".join(WORDS)

    def _repr_html_(self) -> str:
        pieces = [
            linked_piece(FRAME, body, words, boxes)
            for body, words, boxes in zip((_weights(), _reading()), WORDS, (LINKS, LINKS[1:]), strict=True)
        ]
        return group("detr-drawing", repr(self), pieces)

    def _repr_svg_(self) -> str:
        size = f'width="720" height="{FRAME.bottom}" viewBox="0 0 720 {FRAME.bottom}"'
        pieces = f'{_weights()}\n<g transform="translate(360)">\n{_reading()}\n</g>'
        card = Frame(720, 0, FRAME.bottom).card()
        return f"<svg {size} {ON_CARD}>\n<title>{escape(repr(self))}</title>\n{card}\n{pieces}\n</svg>"


def shapes_drawing() -> ShapesDrawing:
    """Queries, keys and values as shapes; the last expression of a cell shows them."""
    return ShapesDrawing()


# Over x + pos in the first piece, and over the formula's name in both.
LINKS = (
    Box("x + pos: positional encoding", (), 34, 90, WIDTH, CELLS, "07_position_encoding.ipynb"),
    Box("attention, step by step", (), 180, 172, 250, 26, "02_attention.ipynb"),
)


def _weights() -> str:
    low, middle = TOP + CELLS, TOP + CELLS / 2
    return "\n".join(
        [
            _matrix(12, "x + pos", "hw × d", WIDTH),
            _strip(12, TOP + ASKS, WIDTH),
            arrow((58, middle), (96, middle)),
            _matrix(98, "Q", "hw × d/heads", HEAD),
            _strip(98, TOP + ASKS, HEAD),
            label(134, middle + 5, "×", ' font-weight="700"'),
            _matrix(150, "Kᵀ", "d/heads × hw", CELLS, top=middle - HEAD / 2, height=HEAD),
            _strip(150 + READ, middle - HEAD / 2, STRIP, HEAD, READ_INK),
            arrow((34, low + 2), (34, low + 14), (194, low + 14), (194, middle + HEAD / 2 + 2)),
            arrow((240, middle), (262, middle)),
            _matrix(264, "weights", "hw × hw", CELLS),
            _strip(264, TOP + ASKS, CELLS),
            _strip(264 + READ, TOP + ASKS, STRIP, STRIP, READ_INK),
            label(180, 176, "weights = softmax(Q Kᵀ / √(d/heads))"),
        ]
    )


def _reading() -> str:
    middle = TOP + CELLS / 2
    return "\n".join(
        [
            _matrix(12, "weights", "hw × hw", CELLS),
            _strip(12, TOP + ASKS, CELLS),
            _strip(12 + READ, TOP + ASKS, STRIP, STRIP, READ_INK),
            label(114, middle + 5, "×", ' font-weight="700"'),
            _matrix(130, "V, of x alone", "hw × d/heads", HEAD),
            _strip(130, TOP + READ, HEAD, STRIP, READ_INK),
            label(176, middle + 5, "=", ' font-weight="700"'),
            _matrix(206, "read", "by one head", HEAD),
            _strip(206, TOP + ASKS, HEAD),
            arrow((230, middle), (300, middle)),
            label(264, middle - 22, "all heads,"),
            label(264, middle - 8, "out_proj"),
            _matrix(304, "result", "hw × d", WIDTH),
            _strip(304, TOP + ASKS, WIDTH),
            label(180, 176, "read = weights × V"),
        ]
    )


def _matrix(x: float, name: str, shape: str, width: float, top: float = TOP, height: float = CELLS) -> str:
    """A matrix with its name and its shape over it."""
    middle = x + width / 2
    rect = f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="none" stroke="currentColor"'
    return "\n".join(
        [
            label(middle, TOP - 26, name, ' font-weight="600"'),
            label(middle, TOP - 11, shape),
            f'{rect} stroke-width="1.2" stroke-opacity="0.7"/>',
        ]
    )


def _strip(x: float, y: float, width: float, height: float = STRIP, ink: str = LIT) -> str:
    rect = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{ink}"'
    return f'{rect} stroke="currentColor" stroke-width="0.8"/>'
