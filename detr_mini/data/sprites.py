"""How each thing of Tiny Town is drawn: flat picture-book shapes with a thin dark outline.

A sprite is a tuple of shapes in its own units: x to the right, y up, the ground at y = 0, the top near y = 1. The
canvas puts it into the scene and draws the same shapes twice, once in color and once into a buffer of segment ids,
so that masks are exact. Only integers reach the rasteriser, which keeps the pixels the same on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
T = TypeVar("T")

SUPERSAMPLE = 3  # each final pixel is the mean of 3 x 3 drawn ones; the middle one gives its segment id
OUTLINE: Colour = (44, 38, 58)
GLASS: Colour = (178, 222, 240)
SHEEN: Colour = (226, 244, 250)
TIRE: Colour = (40, 40, 48)


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """One item, from ``rng.random()`` alone, whose stream is the same in every version of Python."""
    return items[int(rng.random() * len(items))]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """``a`` moved towards ``b``: share 0 gives ``a``, share 1 gives ``b``."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def darker(colour: Colour, share: float = 0.25) -> Colour:
    """The color in shade."""
    return mix(colour, (30, 24, 60), share)


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    """The color in light."""
    return mix(colour, (255, 252, 236), share)


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon, or an oval given by two opposite corners. Solid shapes make the silhouette and its outline."""

    points: tuple[Point, ...]
    colour: Colour
    oval: bool = False
    solid: bool = True


Sprite = tuple[Shape, ...]


def chaikin(points: Sequence[Point], times: int = 2) -> tuple[Point, ...]:
    """Rounds the corners of a closed polygon by Chaikin's corner cutting, which needs no trigonometry."""
    for _ in range(times):
        cut: list[Point] = []
        for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
            cut += [(0.75 * ax + 0.25 * bx, 0.75 * ay + 0.25 * by), (0.25 * ax + 0.75 * bx, 0.25 * ay + 0.75 * by)]
        points = cut
    return tuple(points)


smooth = lru_cache(maxsize=512)(chaikin)  # sprites round the same few polygons again and again


@lru_cache(maxsize=512)
def rounded(radius: float, *points: Point) -> tuple[Point, ...]:
    """Rounds the corners of a closed polygon within ``radius`` of each; its sides stay straight."""
    cut: list[Point] = []
    for before, (x, y), after in zip(points[-1:] + points[:-1], points, points[1:] + points[:1], strict=True):
        ends = []
        for ox, oy in (before, after):
            share = min(0.5, radius / math.sqrt((ox - x) ** 2 + (oy - y) ** 2))
            ends.append((x + share * (ox - x), y + share * (oy - y)))
        (ax, ay), (bx, by) = ends
        cut += [(ax, ay), (0.25 * ax + 0.5 * x + 0.25 * bx, 0.25 * ay + 0.5 * y + 0.25 * by), (bx, by)]
    return tuple(cut)


def poly(colour: Colour, *points: Point) -> Shape:
    """A polygon that is part of the silhouette."""
    return Shape(points, colour)


def soft(colour: Colour, *points: Point) -> Shape:
    """A polygon with rounded corners that is part of the silhouette."""
    return Shape(smooth(points), colour)


def round_poly(colour: Colour, *points: Point, radius: float = 0.1) -> Shape:
    """A polygon with straight sides and round corners that is part of the silhouette."""
    return Shape(rounded(radius, *points), colour)


def mark(colour: Colour, *points: Point) -> Shape:
    """A polygon drawn on top of the silhouette."""
    return Shape(points, colour, solid=False)


def box(colour: Colour, x0: float, y0: float, x1: float, y1: float, solid: bool = False) -> Shape:
    """An upright rectangle."""
    return Shape(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour, solid=solid)


def oval(colour: Colour, x: float, y: float, rx: float, ry: float, solid: bool = True) -> Shape:
    """An upright ellipse around (x, y)."""
    return Shape(((x - rx, y - ry), (x + rx, y + ry)), colour, oval=True, solid=solid)


class Canvas:
    """A supersampled color image with a buffer of segment ids of the same size; coordinates are scene pixels."""

    def __init__(self, width: int, height: int, scale: int) -> None:
        self.factor = SUPERSAMPLE * scale
        self.size = (width * self.factor, height * self.factor)
        self.image = Image.new("RGB", self.size)
        self.ids = Image.new("L", self.size)
        self.ink, self.label = ImageDraw.Draw(self.image), ImageDraw.Draw(self.ids)

    def place(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        """Scene pixels to whole buffer pixels."""
        f = self.factor
        return [(round(x * f), round(y * f)) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour, segment: int | None = None) -> None:
        """Fills a polygon, and labels it when it belongs to a segment."""
        corners = self.place(points)
        self.ink.polygon(corners, colour)
        if segment is not None:
            self.label.polygon(corners, segment)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fills an upright ellipse around (x, y)."""
        self.ink.ellipse(self.place([(x - rx, y - ry), (x + rx, y + ry)]), colour)

    def gradient(self, points: Sequence[Point], colours: Sequence[Colour], segment: int) -> None:
        """Fills a polygon with colors that run evenly from its top to its bottom."""
        corners = self.place(points)
        (xs, ys), (width, height) = zip(*corners, strict=True), self.size
        x0, y0, x1, y1 = max(min(xs), 0), max(min(ys), 0), min(max(xs) + 1, width), min(max(ys) + 1, height)
        stops = np.linspace(min(ys), max(ys), len(colours))
        rows = np.arange(y0, y1)
        column = np.stack([np.interp(rows, stops, channel) for channel in zip(*colours, strict=True)], -1)
        fill = Image.fromarray(np.rint(column[:, None]).astype(np.uint8))
        mask = Image.new("L", (x1 - x0, y1 - y0))
        ImageDraw.Draw(mask).polygon([(x - x0, y - y0) for x, y in corners], 255)
        self.image.paste(fill.resize(mask.size, Image.Resampling.NEAREST), (x0, y0), mask)
        self.label.polygon(corners, segment)

    def sprite(self, sprite: Sprite, x: float, y: float, size: float, light: Colour, segment: int) -> None:
        """Draw a sprite standing at (x, y), ``abs(size)`` pixels for its unit height, mirrored if size is negative."""
        edge = max(1, round((0.28 + 0.006 * abs(size)) * self.factor))
        rim = tuple(c * k // 255 for c, k in zip(OUTLINE, light, strict=True))
        placed = [
            (shape, self.place([(x + px * size, y - py * abs(size)) for px, py in shape.points])) for shape in sprite
        ]
        for shape, corners in placed:
            if shape.solid:
                self._rim(shape, corners, edge, rim, segment)
        for shape, corners in placed:
            colour = tuple(c * k // 255 for c, k in zip(shape.colour, light, strict=True))
            if shape.oval:
                self.ink.ellipse(_sorted(corners), colour)
            else:
                self.ink.polygon(corners, colour)

    def _rim(self, shape: Shape, corners: list[tuple[int, int]], edge: int, rim: tuple[int, ...], segment: int) -> None:
        if shape.oval:
            x0, y0, x1, y1 = _sorted(corners)
            wide = (x0 - edge, y0 - edge, x1 + edge, y1 + edge)
            self.ink.ellipse(wide, rim)
            self.label.ellipse(wide, segment)
            return
        closed = [*corners, corners[0], corners[1]]
        joint = "curve" if edge > 2 else None  # the notches at the corners of a thin line cannot be seen
        for draw, fill in ((self.ink, rim), (self.label, segment)):
            draw.line(closed, fill, 2 * edge + 1, joint)
            draw.polygon(corners, fill)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """The image (H, W, 3) uint8 and the segment ids (H, W) uint8, at the final size."""
        middle = SUPERSAMPLE // 2
        ids = np.asarray(self.ids)[middle::SUPERSAMPLE, middle::SUPERSAMPLE]
        return np.asarray(self.image.reduce(SUPERSAMPLE)), ids


def _sorted(corners: list[tuple[int, int]]) -> tuple[int, int, int, int]:
    (ax, ay), (bx, by) = corners
    return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


# --- the things ------------------------------------------------------------------------------------------------------

SKIN: tuple[Colour, ...] = ((250, 214, 184), (232, 182, 142), (190, 132, 92), (128, 84, 58))
HAIR: tuple[Colour, ...] = ((60, 40, 34), (106, 62, 36), (222, 176, 86), (172, 72, 40), (196, 196, 204))
CLOTHES: tuple[Colour, ...] = (
    (226, 58, 64),
    (246, 178, 44),
    (38, 150, 170),
    (126, 76, 176),
    (238, 110, 154),
    (250, 246, 236),
    (42, 96, 190),
)
TROUSERS: tuple[Colour, ...] = ((44, 54, 92), (70, 52, 60), (58, 64, 74))


def person(rng: random.Random) -> Sprite:
    """Someone standing or walking, in trousers or a skirt, with or without a hat."""
    skin, hair, shirt, legs = pick(rng, SKIN), pick(rng, HAIR), pick(rng, CLOTHES), pick(rng, TROUSERS)
    stride, skirt, hat = pick(rng, (0.0, 0.07, 0.11)), rng.random() < 0.35, rng.random() < 0.25
    limb = skin if skirt else legs
    shapes = [
        poly(limb, (-0.11, 0.46), (-0.10 - stride, 0.03), (-0.02 - stride, 0.03), (0.0, 0.46)),
        poly(limb, (0.11, 0.46), (0.10 + stride, 0.03), (0.02 + stride, 0.03), (0.0, 0.46)),
        oval(TIRE, -0.05 - stride, 0.025, 0.075, 0.03),
        oval(TIRE, 0.07 + stride, 0.025, 0.075, 0.03),
        poly(darker(shirt), (-0.12, 0.79), (-0.19, 0.74), (-0.24 - stride / 2, 0.46), (-0.17 - stride / 2, 0.45)),
        poly(darker(shirt), (0.12, 0.79), (0.19, 0.74), (0.24 + stride / 2, 0.46), (0.17 + stride / 2, 0.45)),
        oval(skin, -0.205 - stride / 2, 0.44, 0.04, 0.04),
        oval(skin, 0.205 + stride / 2, 0.44, 0.04, 0.04),
        round_poly(shirt, (-0.15, 0.42), (-0.165, 0.81), (0.165, 0.81), (0.15, 0.42), radius=0.07),
    ]
    if skirt:
        shapes.append(poly(shirt, (-0.11, 0.6), (-0.2, 0.27), (0.2, 0.27), (0.11, 0.6)))
    shapes += [
        mark(lighter(shirt, 0.25), (-0.12, 0.46), (-0.13, 0.74), (-0.07, 0.77), (-0.06, 0.46)),
        oval(hair, 0.0, 0.895, 0.125, 0.115),
        oval(skin, 0.0, 0.86, 0.105, 0.09, solid=False),
        mark(darker(skin, 0.12), (-0.04, 0.785), (-0.05, 0.75), (0.05, 0.75), (0.04, 0.785)),
        mark(hair, (-0.1, 0.9), (-0.09, 0.98), (0.09, 0.98), (0.1, 0.9), (0.02, 0.93)),
        oval(OUTLINE, -0.04, 0.865, 0.014, 0.018, solid=False),
        oval(OUTLINE, 0.04, 0.865, 0.014, 0.018, solid=False),
        mark((188, 70, 72), (-0.03, 0.822), (0.0, 0.808), (0.03, 0.822), (0.0, 0.818)),
    ]
    if hat:
        brim = pick(rng, CLOTHES)
        shapes += [oval(brim, 0.0, 0.935, 0.17, 0.03), oval(brim, 0.0, 0.965, 0.1, 0.055)]
    return tuple(shapes)


CAR_PAINT: tuple[Colour, ...] = (
    (214, 40, 52),
    (36, 92, 200),
    (238, 238, 242),
    (20, 146, 140),
    (138, 62, 158),
    (150, 26, 62),
)


def _wheel(x: float, y: float, r: float) -> tuple[Shape, Shape]:
    return oval(TIRE, x, y, r, r), oval((206, 206, 214), x, y, r * 0.5, r * 0.5, solid=False)


def car_side(rng: random.Random) -> Sprite:
    """A car that drives to the right."""
    paint = pick(rng, CAR_PAINT)
    estate = rng.random() < 0.4
    back = (-1.22, 1.0) if estate else (-0.62, 1.0)
    rear = (-1.34, 0.62) if estate else (-1.0, 0.64)
    shapes = [
        round_poly(paint, rear, back, (0.38, 1.0), (0.86, 0.6), (0.7, 0.45), (-1.2, 0.45), radius=0.18),
        round_poly(paint, (-1.4, 0.16), (-1.4, 0.68), (0.4, 0.7), (1.3, 0.62), (1.42, 0.5), (1.4, 0.16)),
        mark(lighter(paint), (-1.28, 0.56), (-1.22, 0.62), (0.7, 0.64), (1.24, 0.55), (1.1, 0.54)),
        mark(darker(paint), (-1.34, 0.2), (-1.34, 0.3), (1.36, 0.3), (1.34, 0.2)),
        mark(GLASS, (0.02, 0.66), (0.02, 0.92), (0.32, 0.92), (0.62, 0.66)),
        mark(GLASS, (rear[0] + 0.22, 0.66), (back[0] + 0.12, 0.92), (-0.08, 0.92), (-0.08, 0.66)),
        mark(SHEEN, (0.1, 0.66), (0.3, 0.92), (0.36, 0.9), (0.2, 0.66)),
        box(darker(paint, 0.4), -0.04, 0.32, -0.01, 0.66),
        box(darker(paint, 0.4), -0.26, 0.54, -0.12, 0.57),
        oval((255, 238, 170), 1.29, 0.46, 0.08, 0.07, solid=False),
        box((255, 96, 70), -1.37, 0.42, -1.3, 0.56),
        *_wheel(-0.84, 0.2, 0.22),
        *_wheel(0.86, 0.2, 0.22),
    ]
    return tuple(shapes)


def car_end(rng: random.Random, coming: bool) -> Sprite:
    """A car from the front, or from the back when it drives away."""
    paint = pick(rng, CAR_PAINT)
    lamp = (255, 242, 184) if coming else (232, 40, 40)
    return (
        box(TIRE, -0.56, 0.0, -0.34, 0.3, solid=True),
        box(TIRE, 0.34, 0.0, 0.56, 0.3, solid=True),
        soft(paint, (-0.5, 0.5), (-0.38, 1.02), (0.38, 1.02), (0.5, 0.5)),
        round_poly(paint, (-0.66, 0.1), (-0.66, 0.66), (0.66, 0.66), (0.66, 0.1)),
        mark(GLASS, (-0.42, 0.6), (-0.33, 0.9), (0.33, 0.9), (0.42, 0.6)),
        mark(SHEEN, (-0.3, 0.6), (-0.14, 0.9), (-0.02, 0.9), (-0.18, 0.6)),
        mark(lighter(paint), (-0.52, 0.54), (-0.48, 0.58), (0.48, 0.58), (0.52, 0.54)),
        box(darker(paint), -0.56, 0.15, 0.56, 0.25),
        oval(lamp, -0.46, 0.41, 0.11, 0.08, solid=False),
        oval(lamp, 0.46, 0.41, 0.11, 0.08, solid=False),
        box((60, 60, 70) if coming else (250, 244, 210), -0.2, 0.32, 0.2, 0.42),
    )


BUS_PAINT: tuple[Colour, ...] = ((250, 190, 30), (255, 170, 20), (246, 206, 60))


def bus_side(rng: random.Random) -> Sprite:
    """A bus that drives to the right."""
    paint = pick(rng, BUS_PAINT)
    band = pick(rng, ((196, 58, 40), (36, 84, 120), (255, 250, 232)))
    shapes = [
        round_poly(paint, (-1.22, 0.1), (-1.22, 1.03), (1.2, 1.03), (1.22, 0.6), (1.24, 0.1)),
        mark(lighter(paint, 0.5), (-1.06, 0.93), (-1.04, 0.98), (1.02, 0.98), (1.04, 0.93)),
        box(band, -1.2, 0.34, 1.2, 0.44),
        box(darker(paint), -1.18, 0.14, 1.18, 0.22),
    ]
    for i in range(6):
        x = -1.1 + 0.31 * i
        shapes += [
            box(GLASS, x, 0.55, x + 0.25, 0.85),
            mark(SHEEN, (x + 0.04, 0.55), (x + 0.14, 0.85), (x + 0.2, 0.85), (x + 0.1, 0.55)),
        ]
    shapes += [
        box(GLASS, 0.8, 0.22, 0.97, 0.85),
        box(darker(GLASS, 0.4), 0.875, 0.22, 0.895, 0.85),
        mark(GLASS, (1.03, 0.5), (1.03, 0.85), (1.17, 0.85), (1.18, 0.5)),
        oval((255, 246, 200), 1.16, 0.28, 0.05, 0.05, solid=False),
        *_wheel(-0.72, 0.14, 0.15),
        *_wheel(0.6, 0.14, 0.15),
    ]
    return tuple(shapes)


def bus_end(rng: random.Random, coming: bool) -> Sprite:
    """A bus from the front, or from the back when it drives away."""
    paint = pick(rng, BUS_PAINT)
    band = pick(rng, ((196, 58, 40), (36, 84, 120), (255, 250, 232)))
    lamp = (255, 246, 200) if coming else (226, 36, 36)
    shapes = [
        box(TIRE, -0.38, 0.0, -0.2, 0.2, solid=True),
        box(TIRE, 0.2, 0.0, 0.38, 0.2, solid=True),
        round_poly(paint, (-0.46, 0.06), (-0.46, 1.04), (0.46, 1.04), (0.46, 0.06)),
        box(band, -0.43, 0.32, 0.43, 0.4),
        box(darker(paint), -0.42, 0.11, 0.42, 0.17),
        box(GLASS, -0.36, 0.45, 0.36, 0.8),
        mark(SHEEN, (-0.28, 0.45), (-0.1, 0.8), (0.02, 0.8), (-0.16, 0.45)),
        box(OUTLINE if coming else darker(paint), -0.24, 0.86, 0.24, 0.95),
        oval(lamp, -0.32, 0.245, 0.06, 0.045, solid=False),
        oval(lamp, 0.32, 0.245, 0.06, 0.045, solid=False),
    ]
    if coming:
        shapes += [box((255, 214, 90), -0.16, 0.885, 0.16, 0.925), box(darker(GLASS, 0.4), -0.01, 0.45, 0.01, 0.8)]
    return tuple(shapes)


HULL_STRIPE: tuple[Colour, ...] = ((214, 52, 52), (30, 70, 150), (20, 130, 120))


def sailing_boat(rng: random.Random) -> Sprite:
    """A boat with a white hull under two sails."""
    stripe, white = pick(rng, HULL_STRIPE), (252, 250, 244)
    sail = pick(rng, (white, white, (255, 226, 190), (228, 84, 62)))
    shade = darker(sail, 0.14)
    return (
        box((120, 84, 60), -0.01, 0.14, 0.02, 1.0, solid=True),
        poly(sail, (0.05, 0.24), (0.05, 0.97), (0.16, 0.7), (0.32, 0.45), (0.44, 0.24)),
        mark(shade, (0.05, 0.24), (0.05, 0.5), (0.2, 0.36), (0.44, 0.24)),
        poly(lighter(sail, 0.6), (-0.04, 0.9), (-0.04, 0.24), (-0.38, 0.24), (-0.2, 0.52)),
        poly(stripe, (0.02, 1.0), (0.16, 0.97), (0.02, 0.93)),
        poly(white, (-0.46, 0.2), (-0.36, 0.0), (0.36, 0.0), (0.5, 0.21)),
        mark(stripe, (-0.45, 0.18), (-0.42, 0.12), (0.45, 0.12), (0.48, 0.18)),
        mark(darker(white, 0.2), (-0.39, 0.05), (-0.36, 0.0), (0.36, 0.0), (0.39, 0.05)),
    )


def steamer(rng: random.Random) -> Sprite:
    """A small passenger boat with a white hull and a colored funnel."""
    stripe, white = pick(rng, HULL_STRIPE), (252, 250, 244)
    shapes = [
        poly(stripe, (-0.18, 0.62), (-0.18, 1.0), (0.1, 1.0), (0.1, 0.62)),
        box(OUTLINE, -0.18, 0.9, 0.1, 1.0),
        box(white, -0.1, 0.86, 0.02, 0.9),
        box(white, -0.5, 0.3, 0.5, 0.64, solid=True),
        box(lighter(stripe, 0.15), -0.56, 0.62, 0.56, 0.69, solid=True),
        poly(white, (-0.84, 0.38), (-0.72, 0.0), (0.66, 0.0), (0.98, 0.44)),
        mark(stripe, (-0.83, 0.36), (-0.79, 0.24), (0.86, 0.25), (0.95, 0.4)),
        mark(darker(white, 0.2), (-0.75, 0.08), (-0.72, 0.0), (0.66, 0.0), (0.72, 0.08)),
    ]
    shapes += [oval(darker(GLASS, 0.3), x, 0.49, 0.075, 0.075, solid=False) for x in (-0.33, -0.05, 0.23)]
    return tuple(shapes)


def bird(rng: random.Random) -> Sprite:
    """A dark bird in flight, wings up or down, orange beak; it flies to the right."""
    coat = pick(rng, ((38, 48, 84), (52, 44, 58), (88, 40, 40)))
    belly = pick(rng, ((246, 240, 226), (240, 150, 96)))
    up = rng.random() < 0.6
    tip = 1.0 if up else -0.02
    far = (
        ((-0.02, 0.46), (0.02, tip), (-0.28, tip), (-0.12, 0.46))
        if up
        else ((0.0, 0.4), (0.12, 0.1), (-0.1, 0.1), (-0.16, 0.4))
    )
    near = ((0.26, 0.5), (-0.02, tip), (-0.42, tip), (-0.34, 0.62 if up else 0.36), (-0.22, 0.46))
    return (
        soft(darker(coat), *[(x + 0.3, y) for x, y in far]),
        poly(coat, (-0.4, 0.46), (-0.86, 0.62), (-0.74, 0.46), (-0.88, 0.36), (-0.4, 0.34)),
        poly((250, 160, 40), (0.66, 0.56), (0.88, 0.46), (0.66, 0.42)),
        soft(coat, (-0.6, 0.42), (-0.1, 0.64), (0.44, 0.56), (0.5, 0.3), (-0.06, 0.2)),
        oval(coat, 0.54, 0.5, 0.18, 0.17),
        oval(belly, 0.16, 0.335, 0.27, 0.085, solid=False),
        soft(lighter(coat, 0.18), *near),
        oval((255, 255, 255), 0.6, 0.54, 0.05, 0.05, solid=False),
        oval(OUTLINE, 0.61, 0.54, 0.025, 0.025, solid=False),
    )


def dog(rng: random.Random) -> Sprite:
    """A dog seen from the side, looking to the right, with a red or blue collar."""
    coat = pick(rng, ((150, 88, 44), (176, 110, 54), (250, 242, 228), (110, 66, 40)))
    patch = (120, 70, 40) if coat[2] > 200 else darker(coat, 0.3)
    collar = pick(rng, ((224, 50, 56), (40, 96, 200)))
    leg = darker(coat, 0.18)
    return (
        soft(coat, (-0.52, 0.56), (-0.84, 0.9), (-0.7, 0.98), (-0.42, 0.66)),
        box(leg, -0.5, 0.0, -0.38, 0.4, solid=True),
        box(leg, 0.2, 0.0, 0.32, 0.4, solid=True),
        box(coat, -0.34, 0.0, -0.22, 0.4, solid=True),
        box(coat, 0.36, 0.0, 0.48, 0.4, solid=True),
        soft(coat, (-0.64, 0.26), (-0.62, 0.72), (0.4, 0.74), (0.62, 0.6), (0.5, 0.26)),
        oval(patch, -0.18, 0.56, 0.2, 0.11, solid=False),
        soft(coat, (0.3, 0.5), (0.3, 1.0), (0.72, 1.04), (0.84, 0.86), (1.02, 0.8), (1.0, 0.62), (0.66, 0.6)),
        mark(collar, (0.3, 0.62), (0.32, 0.7), (0.62, 0.62), (0.58, 0.55)),
        soft(patch, (0.28, 0.96), (0.5, 1.0), (0.46, 0.6), (0.3, 0.62)),
        oval(OUTLINE, 0.92, 0.79, 0.055, 0.05, solid=False),
        oval(OUTLINE, 0.66, 0.86, 0.04, 0.045, solid=False),
    )


# The unit circle in twelve steps, to three places: the same on every machine.
CIRCLE: tuple[Point, ...] = (
    (1.0, 0.0), (0.866, 0.5), (0.5, 0.866), (0.0, 1.0), (-0.5, 0.866), (-0.866, 0.5),
    (-1.0, 0.0), (-0.866, -0.5), (-0.5, -0.866), (0.0, -1.0), (0.5, -0.866), (0.866, -0.5),
)  # fmt: skip
BRIGHT: tuple[Colour, ...] = ((228, 40, 48), (30, 100, 214), (255, 196, 20), (20, 160, 96), (236, 84, 150))


def ball(rng: random.Random) -> Sprite:
    """A beach ball in white and one or two bright colors."""
    first, second = pick(rng, BRIGHT), pick(rng, BRIGHT)
    turn = pick(rng, (0, 1))
    shapes = [oval((255, 252, 244), 0.0, 0.5, 0.5, 0.5)]
    for i in range(turn, 12 + turn, 4):
        rim = [CIRCLE[(i + k) % 12] for k in (0, 1, 2)]
        colour = first if (i - turn) % 8 == 0 else second
        shapes.append(mark(colour, (-0.08, 0.58), *[(x * 0.49, 0.5 + y * 0.49) for x, y in rim]))
    shapes += [
        oval(first, -0.08, 0.58, 0.09, 0.08, solid=False),
        oval((255, 255, 255), -0.2, 0.75, 0.1, 0.06, solid=False),
    ]
    return tuple(shapes)


PROFILE: tuple[Point, ...] = (
    (0.09, 0.24), (0.2, 0.34), (0.31, 0.47), (0.38, 0.6), (0.4, 0.72), (0.36, 0.84), (0.25, 0.94), (0.1, 0.99),
)  # fmt: skip
GORES = (-1.0, -0.87, -0.5, 0.0, 0.5, 0.87, 1.0)  # six gores of a striped balloon, as seen from the side


def balloon(rng: random.Random) -> Sprite:
    """A hot-air balloon with colored gores and a basket."""
    first = pick(rng, BRIGHT)
    second = pick(rng, ((255, 250, 236), (255, 214, 80), (90, 200, 220)))
    skin = tuple(PROFILE) + tuple((-x, y) for x, y in reversed(PROFILE))
    shapes = [
        mark((110, 80, 60), (-0.09, 0.26), (-0.06, 0.12), (-0.045, 0.12), (-0.07, 0.26)),
        mark((110, 80, 60), (0.09, 0.26), (0.06, 0.12), (0.045, 0.12), (0.07, 0.26)),
        poly((168, 112, 62), (-0.08, 0.13), (-0.065, 0.0), (0.065, 0.0), (0.08, 0.13)),
        box((206, 150, 90), -0.08, 0.1, 0.08, 0.13),
        poly(first, *skin),
    ]
    for i in (1, 3, 5):
        left, right = GORES[i], GORES[i + 1]
        edge = [(left * x, y) for x, y in PROFILE] + [(right * x, y) for x, y in reversed(PROFILE)]
        shapes.append(mark(second, *edge))
    shapes.append(mark(lighter(first, 0.4), (-0.27, 0.62), (-0.27, 0.76), (-0.2, 0.86), (-0.22, 0.7)))
    return tuple(shapes)


LEAVES: tuple[Colour, ...] = ((24, 104, 62), (34, 118, 58), (20, 92, 78), (46, 110, 44))


def tree(rng: random.Random) -> Sprite:
    """A deep green tree: round, a fir, or one in blossom or with red leaves."""
    kind = rng.random()
    if kind < 0.3:
        return _fir(rng)
    leaf = pick(rng, LEAVES) if kind < 0.85 else pick(rng, ((232, 128, 160), (214, 96, 36)))
    return _round_tree(leaf, lighter(leaf, 0.11), apples=kind > 0.75 and kind < 0.85)


def _round_tree(leaf: Colour, light: Colour, apples: bool) -> Sprite:
    trunk = (112, 74, 48)
    shapes = [
        poly(trunk, (-0.08, 0.0), (-0.045, 0.42), (0.045, 0.42), (0.08, 0.0)),
        mark(darker(trunk, 0.35), (0.01, 0.0), (0.01, 0.4), (0.045, 0.4), (0.08, 0.0)),
        oval(leaf, -0.22, 0.52, 0.2, 0.18),
        oval(leaf, 0.22, 0.52, 0.2, 0.18),
        oval(leaf, 0.0, 0.46, 0.22, 0.16),
        oval(leaf, -0.14, 0.74, 0.22, 0.2),
        oval(leaf, 0.16, 0.74, 0.2, 0.19),
        oval(leaf, 0.0, 0.84, 0.18, 0.15),
        oval(darker(leaf, 0.3), 0.12, 0.43, 0.22, 0.1, solid=False),
        oval(leaf, 0.06, 0.53, 0.24, 0.12, solid=False),
        oval(light, -0.15, 0.77, 0.17, 0.15, solid=False),
        oval(light, -0.25, 0.55, 0.13, 0.11, solid=False),
        oval(light, 0.0, 0.86, 0.14, 0.1, solid=False),
        oval(lighter(light, 0.14), -0.18, 0.8, 0.09, 0.08, solid=False),
    ]
    if apples:
        shapes += [
            oval((226, 48, 44), x, y, 0.035, 0.035, solid=False)
            for x, y in ((-0.2, 0.5), (0.05, 0.72), (0.22, 0.56), (-0.08, 0.6))
        ]
    return tuple(shapes)


def _fir(rng: random.Random) -> Sprite:
    leaf = pick(rng, ((18, 86, 72), (22, 96, 60)))
    shapes = [box((104, 68, 46), -0.05, 0.0, 0.05, 0.2, solid=True)]
    for base, top, half in ((0.14, 0.52, 0.32), (0.36, 0.76, 0.26), (0.6, 1.0, 0.19)):
        shapes.append(poly(leaf, (-half, base), (0.0, top), (half, base), (0.0, base - 0.04)))
        shapes.append(mark(lighter(leaf, 0.16), (-half, base), (0.0, top), (-0.04, base - 0.03)))
    return tuple(shapes)


WALLS: tuple[Colour, ...] = ((250, 236, 206), (255, 250, 240), (248, 214, 176), (214, 228, 236), (250, 206, 200))
ROOFS: tuple[Colour, ...] = ((196, 64, 44), (176, 48, 44), (214, 96, 48))


def house(rng: random.Random, lit: bool) -> Sprite:
    """A house with pale walls and a warm roof, side-on or gable first; its windows glow when ``lit``."""
    wall, roof = pick(rng, WALLS), pick(rng, ROOFS)
    door = pick(rng, ((44, 110, 130), (120, 70, 44), (52, 120, 76)))
    pane = (255, 220, 110) if lit else (116, 168, 204)
    if rng.random() < 0.5:
        return _gabled(wall, roof, door, pane)
    shapes = [
        box(darker(roof), 0.26, 0.7, 0.38, 1.0, solid=True),
        box(wall, -0.54, 0.0, 0.54, 0.56, solid=True),
        box(darker(wall, 0.12), -0.54, 0.46, 0.54, 0.56),
        poly(roof, (-0.64, 0.5), (-0.44, 0.9), (0.44, 0.9), (0.64, 0.5)),
        mark(lighter(roof, 0.2), (-0.47, 0.84), (-0.44, 0.9), (0.44, 0.9), (0.47, 0.84)),
        mark(darker(roof, 0.2), (-0.56, 0.66), (-0.545, 0.69), (0.545, 0.69), (0.56, 0.66)),
        mark(darker(roof, 0.3), (-0.64, 0.5), (-0.62, 0.54), (0.62, 0.54), (0.64, 0.5)),
        box(darker(wall, 0.35), -0.11, 0.0, 0.11, 0.37),
        box(door, -0.09, 0.0, 0.09, 0.35),
        oval((255, 220, 120), 0.05, 0.17, 0.018, 0.018, solid=False),
    ]
    return (*shapes, *_window(-0.33, 0.28, pane), *_window(0.33, 0.28, pane))


def _gabled(wall: Colour, roof: Colour, door: Colour, pane: Colour) -> Sprite:
    shapes = [
        box(darker(roof), 0.18, 0.7, 0.29, 1.0, solid=True),
        poly(wall, (-0.4, 0.0), (-0.4, 0.55), (0.0, 0.94), (0.4, 0.55), (0.4, 0.0)),
        mark(darker(wall, 0.1), (0.16, 0.0), (0.16, 0.78), (0.4, 0.55), (0.4, 0.0)),
        poly(roof, (-0.52, 0.48), (-0.46, 0.42), (0.0, 0.86), (0.46, 0.42), (0.52, 0.48), (0.0, 1.0)),
        mark(lighter(roof, 0.2), (-0.52, 0.48), (-0.5, 0.46), (0.0, 0.95), (0.0, 1.0)),
        box(darker(wall, 0.35), -0.13, 0.0, 0.09, 0.34),
        box(door, -0.11, 0.0, 0.07, 0.32),
    ]
    return (
        *shapes,
        *_window(-0.26, 0.44, pane),
        *_window(0.26, 0.44, pane),
        *_window(0.0, 0.64, pane),
        *_window(0.26, 0.16, pane),
    )


def _window(x: float, y: float, pane: Colour) -> tuple[Shape, ...]:
    frame = (255, 254, 248)
    return (
        box((150, 128, 120), x - 0.105, y - 0.105, x + 0.105, y + 0.105),
        box(frame, x - 0.09, y - 0.09, x + 0.09, y + 0.09),
        box(pane, x - 0.07, y - 0.07, x + 0.07, y + 0.07),
        box(frame, x - 0.01, y - 0.07, x + 0.01, y + 0.07),
        box(frame, x - 0.07, y - 0.01, x + 0.07, y + 0.01),
    )
