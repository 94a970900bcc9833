"""The layers of DETR's transformer, drawn: who gets which position, and where the norms stand (the paper's Figure 10).

One piece for each layer, read from below: content flows upwards through the blocks, past each runs its residual
connection. Built of the same parts as the diagram of DETR, with a link over each box.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

from detr_mini.teaching.svg import ON_CARD, Box, Frame, arrow, group, label, line, linked_piece

WIDTH, MIDDLE = 360, 192  # of a piece, and where its content flows
BLOCK, NORM, SIDE = (192, 40), (118, 26), (72, 26)  # width and height of boxes
LEADS = {  # from each part to where it is built
    "self-attention": "02_attention.ipynb",
    "cross-attention": "09_decoder.ipynb#a-layer-by-hand",
    "feed-forward": "08_encoder.ipynb#around-the-attention",
    "norm": "08_encoder.ipynb#norm-after-or-norm-before",
    "pos": "07_position_encoding.ipynb",
    "query_pos": "10_detr.ipynb",
    "memory": "08_encoder.ipynb#the-whole-encoder",
}
PARTS = ("self-attention", "cross-attention", "feed-forward", "norm", "positions", "memory")
LAYERS = {
    "encoder": ("x", "pos", ("self-attention", "feed-forward")),
    "decoder": ("tgt", "query_pos", ("self-attention", "cross-attention", "feed-forward")),
}
FLOW = {  # what goes in below and comes out above
    "encoder": ("x: cells (B, hw, d)", "to the next layer (B, hw, d)"),
    "decoder": ("tgt: slots (B, N, d), zeros at first", "to the next layer (B, N, d)"),
}


@dataclass
class _Layer:
    """A layer as it is drawn from below, y falling."""

    name: str
    pre_norm: bool
    lit: tuple[str, ...]
    y: float = 0
    norms: int = 0
    drawn: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)

    @property
    def position(self) -> str:
        return LAYERS[self.name][1]

    def draw(self) -> None:
        """All blocks, with what goes in and what comes out."""
        into, out = FLOW[self.name]
        self.drawn.append(label(MIDDLE, -4, into))
        self.y = -18
        for block in LAYERS[self.name][2]:
            self.block(block)
        self.drawn += [arrow((MIDDLE, self.y), (MIDDLE, self.y - 20)), label(MIDDLE, self.y - 28, out)]
        self.y -= 42

    def block(self, kind: str) -> None:
        """One block with its norm and its residual connection; a dot where a line parts, a plus where two join."""
        start = self.y - 8
        self.drawn += [line((MIDDLE, self.y), (MIDDLE, start)), _dot(MIDDLE, start)]
        self.y = start
        if self.pre_norm:
            self.norm()
        reads = {"self-attention": self.self_attention, "cross-attention": self.cross_attention}
        reads.get(kind, self.feed_forward)()
        self.box(kind, (kind,), MIDDLE, self.y - BLOCK[1] / 2, BLOCK)
        self.y -= BLOCK[1]
        joined = self.y - 20
        aside = 84 if kind == "cross-attention" else 306  # the memory comes from the right
        edge = MIDDLE + (9 if aside > MIDDLE else -9)
        self.drawn += [
            arrow((MIDDLE, self.y), (MIDDLE, joined + 9)),
            arrow((MIDDLE, start), (aside, start), (aside, joined), (edge, joined)),
            _plus(MIDDLE, joined),
        ]
        self.y = joined - 9
        if not self.pre_norm:
            self.norm()

    def norm(self) -> None:
        self.drawn.append(arrow((MIDDLE, self.y), (MIDDLE, self.y - 12)))
        self.norms += 1
        self.box(f"norm {self.norms}", ("norm",), MIDDLE, self.y - 12 - NORM[1] / 2, NORM)
        self.y -= 12 + NORM[1]

    def self_attention(self) -> None:
        """Content with its position makes query and key; content alone makes the value."""
        q, plus, k, v = 118, 142, 166, 256
        parts, joins, splits, end = self.y - 12, self.y - 36, self.y - 54, self.y - 76
        self.drawn += [
            line((MIDDLE, self.y), (MIDDLE, parts)),
            _dot(MIDDLE, parts),
            arrow((MIDDLE, parts), (plus, parts), (plus, joins + 9)),
            _plus(plus, joins),
            line((plus, joins - 9), (plus, splits)),
            _dot(plus, splits),
            arrow((plus, splits), (q, splits), (q, end)),
            arrow((plus, splits), (k, splits), (k, end)),
            arrow((MIDDLE, parts), (v, parts), (v, end)),
        ]
        self.beside(40, joins, self.position, plus - 9)
        self.name_inputs((q, k, v), end)

    def cross_attention(self) -> None:
        """The query comes from the slots; the memory with its positions makes the key, the memory alone the value."""
        q, k, v = 118, MIDDLE, 256
        parts, keys, joins, reads, end = self.y - 10, self.y - 30, self.y - 40, self.y - 66, self.y - 90
        self.drawn += [
            line((MIDDLE, self.y), (MIDDLE, parts)),
            arrow((MIDDLE, parts), (q, parts), (q, joins + 9)),
            _plus(q, joins),
            arrow((q, joins - 9), (q, end)),
            line((284, reads), (v, reads)),
            _dot(v, reads),
            arrow((v, reads), (v, end)),
            arrow((v, reads), (v, keys - 9)),
            _plus(v, keys),
            arrow((v - 9, keys), (k, keys), (k, end)),
        ]
        self.beside(40, joins, self.position, q - 9)
        self.box("memory", ("memory",), 320, reads, SIDE)
        self.beside(320, keys, "pos", v + 9)
        self.name_inputs((q, k, v), end)

    def feed_forward(self) -> None:
        self.drawn.append(arrow((MIDDLE, self.y), (MIDDLE, self.y - 22)))
        self.y -= 22

    def name_inputs(self, places: tuple[float, float, float], end: float) -> None:
        self.drawn += [label(x + 9, end + 14, name) for x, name in zip(places, "qkv", strict=True)]
        self.y = end

    def beside(self, x: float, y: float, name: str, end: float) -> None:
        """A position at the side, with an arrow to where it is added."""
        self.box(name, (name,), x, y, SIDE)
        self.drawn.append(arrow((x + (SIDE[0] / 2 if end > x else -SIDE[0] / 2), y), (end, y)))

    def box(self, words: str, lines: tuple[str, ...], x: float, y: float, size: tuple[int, int]) -> None:
        kind = words.split()[0]
        lit = kind in self.lit or (kind in ("pos", "query_pos") and "positions" in self.lit)
        self.boxes.append(Box(words, lines, x, y, *size, LEADS[kind], lit))


@dataclass(frozen=True)
class LayerDrawing:
    """Layers side by side, as Jupyter and the built book show them: (name, pre-norm?) of each, and what is lit."""

    layers: tuple[tuple[str, bool], ...]
    lit: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{' '.join(_words(*layer) for layer in self.layers)} Lit: {', '.join(self.lit) or 'nothing'}."

    def _repr_html_(self) -> str:
        return group("detr-drawing", repr(self), map(self._piece, self.layers))

    def _piece(self, layer: tuple[str, bool]) -> str:
        drawn, frame, body = self._drawn(layer)
        return linked_piece(frame, body, _words(*layer), drawn.boxes)

    def _repr_svg_(self) -> str:
        """All pieces side by side, for viewers that show no HTML."""
        drawn = [self._drawn(layer) for layer in self.layers]
        top = min(frame.top for _, frame, _ in drawn)
        width = WIDTH * len(drawn)
        pieces = "\n".join(
            f'<g transform="translate({WIDTH * n})">\n{body}\n</g>' for n, (*_, body) in enumerate(drawn)
        )
        size = f'width="{width}" height="{8 - top}" viewBox="0 {top} {width} {8 - top}"'
        title = f"<title>{escape(repr(self))}</title>"
        return f"<svg {size} {ON_CARD}>\n{title}\n{Frame(width, top, 8).card()}\n{pieces}\n</svg>"

    def _drawn(self, layer: tuple[str, bool]) -> tuple[_Layer, Frame, str]:
        name, pre_norm = layer
        drawn = _Layer(name, pre_norm, self.lit)
        drawn.draw()
        top = int(drawn.y) - 24
        title = f"{name} layer, {'pre-norm' if pre_norm else 'post-norm'}"
        heading = label(MIDDLE, top + 16, title, ' font-weight="600"')
        return drawn, Frame(WIDTH, top, 8), "\n".join([heading, *drawn.drawn, *(box.drawn() for box in drawn.boxes)])


def layer_drawing(*layers: str, lit: str | Iterable[str] = ()) -> LayerDrawing:
    """The named layers side by side; the last expression of a cell shows them.

    Args:
        layers: "encoder" or "decoder", post-norm as published, or followed by " pre-norm".
        lit: names of parts, out of ``PARTS``.

    Raises:
        ValueError: a layer or a part that there is not.
    """
    names = (lit,) if isinstance(lit, str) else tuple(lit)
    for name in names:
        if name not in PARTS:
            raise ValueError(f"no part of a layer is called {name!r}; there are {', '.join(PARTS)}")
    parted = tuple((name.removesuffix(" pre-norm"), name.endswith(" pre-norm")) for name in layers)
    for name, _ in parted:
        if name not in LAYERS:
            raise ValueError(f"no layer is called {name!r}; there are {', '.join(LAYERS)}")
    return LayerDrawing(parted, names)


def _words(name: str, pre_norm: bool) -> str:
    content, position, blocks = LAYERS[name]
    told = {
        "self-attention": f"self-attention, with q and k from {content} + {position} and v from {content}",
        "cross-attention": f"cross-attention, with q from {content} + {position}, k from memory + pos, v from memory",
        "feed-forward": "feed-forward",
    }
    norm = "a norm before each, on the way into the block" if pre_norm else "a norm after each sum"
    return (
        f"A {'pre' if pre_norm else 'post'}-norm {name} layer: {'; '.join(told[block] for block in blocks)}. "
        f"Around each block a residual connection, and {norm}."
    )


def _plus(x: float, y: float) -> str:
    ring = f'<circle cx="{x:g}" cy="{y:g}" r="9" fill="none" stroke="currentColor" stroke-opacity="0.7"'
    return f'{ring} stroke-width="1.4"/>\n<path d="M{x - 5:g} {y:g}h10M{x:g} {y - 5:g}v10" stroke="currentColor"/>'


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="2.6" fill-opacity="0.7"/>'
