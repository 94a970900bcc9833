"""How each thing of Night Harbor is drawn: a body that takes the light of the night, and what shines by itself.

A figure has its own units, as the sprites of Tiny Town do: x to the right, y up, the foot at y = 0, the top near
y = 1. It has no outline; what parts it from the night are its lamps, its windows and the moon on its upper edges.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from detr_mini.data.sprites import Colour, Point, Shape, Sprite, box, darker, lighter, mark, oval, pick, poly, soft

WARM: tuple[Colour, ...] = ((255, 214, 130), (255, 226, 158), (255, 196, 104))
COOL: Colour = (206, 232, 255)
WHITE: Colour = (255, 246, 224)
RED: Colour = (255, 70, 56)
GREEN: Colour = (76, 255, 150)
AMBER: Colour = (255, 178, 60)
DARK: Colour = (34, 36, 48)
PALE: Colour = (236, 234, 230)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light at (x, y) whose glow reaches ``reach`` units, and how bright it is, of 255."""

    x: float
    y: float
    reach: float
    colour: Colour
    power: int = 200


@dataclass(frozen=True, slots=True)
class Figure:
    """What is lit by the night, what shines, and the lamps whose glow goes beyond the figure."""

    body: Sprite
    lit: Sprite = ()
    lamps: tuple[Lamp, ...] = ()


def _windows(rng: random.Random, xs: list[float], y0: float, y1: float, wide: float, share: float) -> list[Shape]:
    """A row of windows, of which a share is lit; the others are dark."""
    glass = pick(rng, WARM)
    return [box(glass if rng.random() < share else (58, 62, 78), x, y0, x + wide, y1) for x in xs]


HULLS: tuple[Colour, ...] = ((36, 58, 112), (122, 34, 40), (28, 84, 78), (46, 48, 60), (214, 214, 216))
STACKS: tuple[Colour, ...] = ((206, 62, 48), (226, 160, 44), (46, 110, 170), (214, 214, 210))


def ferry(rng: random.Random) -> Figure:
    """A long ship with rows of lit windows; it sails to the right."""
    hull, stack = pick(rng, HULLS), pick(rng, STACKS)
    upper = rng.random() < 0.6
    body = [
        box(DARK, 0.6, 0.8, 0.625, 1.0),
        poly(stack, (-0.66, 0.5), (-0.6, 0.98), (-0.3, 0.98), (-0.24, 0.5)),
        mark(DARK, (-0.607, 0.92), (-0.6, 0.98), (-0.3, 0.98), (-0.293, 0.92)),
        mark(PALE, (-0.63, 0.74), (-0.62, 0.82), (-0.28, 0.82), (-0.27, 0.74)),
        poly(hull, (-1.64, 0.36), (-1.56, 0.0), (1.38, 0.0), (1.56, 0.18), (1.74, 0.4)),
        mark((130, 40, 38), (-1.575, 0.06), (-1.56, 0.0), (1.38, 0.0), (1.44, 0.06)),
        mark(lighter(hull, 0.5), (-1.63, 0.33), (-1.625, 0.3), (1.63, 0.3), (1.68, 0.34)),
        poly(PALE, (-1.5, 0.34), (-1.46, 0.54), (1.16, 0.54), (1.3, 0.36)),
        mark(darker(PALE, 0.3), (-1.5, 0.51), (-1.46, 0.54), (1.16, 0.54), (1.18, 0.51)),
        poly(PALE, (0.34, 0.5), (0.34, 0.84), (0.84, 0.84), (0.96, 0.5)),
        box(darker(PALE, 0.3), 0.28, 0.83, 0.9, 0.86),
    ]
    lit = _windows(rng, [-1.4 + 0.165 * i for i in range(15)], 0.395, 0.475, 0.105, 0.88)
    if upper:
        body += [box(PALE, -1.24, 0.54, 0.34, 0.7), box(darker(PALE, 0.3), -1.3, 0.68, 0.36, 0.71)]
        lit += _windows(rng, [-1.18 + 0.165 * i for i in range(9)], 0.575, 0.65, 0.105, 0.8)
    lit += [oval(pick(rng, WARM), -1.3 + 0.3 * i, 0.2, 0.035, 0.035) for i in range(9) if rng.random() < 0.6]
    lit += [mark(COOL, (0.42, 0.68), (0.42, 0.78), (0.82, 0.78), (0.87, 0.68))]
    lit += [oval(WHITE, 0.612, 0.98, 0.03, 0.03), oval(GREEN, 1.5, 0.43, 0.035, 0.035)]
    lamps = (
        Lamp(0.612, 0.98, 0.5, WHITE, 190),
        Lamp(1.5, 0.43, 0.34, GREEN, 170),
        Lamp(-1.5, 0.46, 0.34, WHITE, 130),
        Lamp(-0.8, 0.46, 0.75, WARM[0], 70),
        Lamp(0.2, 0.46, 0.75, WARM[0], 70),
    )
    return Figure(tuple(body), tuple(lit), lamps)


def tugboat(rng: random.Random) -> Figure:
    """A short, stout boat with a tall wheelhouse and tires along its side; it sails to the right."""
    hull, stack = pick(rng, HULLS[:4]), pick(rng, STACKS)
    cabin = pick(rng, (PALE, PALE, (222, 184, 128), (178, 78, 64)))
    side = pick(rng, (RED, GREEN))
    body = [
        box(DARK, 0.1, 0.7, 0.13, 1.0),
        box(DARK, 0.03, 0.88, 0.2, 0.905),
        poly(stack, (-0.5, 0.3), (-0.47, 0.84), (-0.25, 0.84), (-0.2, 0.3)),
        mark(DARK, (-0.475, 0.74), (-0.47, 0.84), (-0.25, 0.84), (-0.24, 0.74)),
        box(cabin, -0.26, 0.28, 0.42, 0.56),
        box(cabin, -0.08, 0.54, 0.36, 0.8),
        box(darker(cabin, 0.4), -0.13, 0.79, 0.42, 0.83),
        box(darker(cabin, 0.25), -0.26, 0.53, 0.42, 0.56),
        poly(hull, (-0.82, 0.34), (-0.74, 0.0), (0.66, 0.0), (0.8, 0.2), (0.9, 0.5), (0.5, 0.34)),
        mark((130, 40, 38), (-0.755, 0.07), (-0.74, 0.0), (0.66, 0.0), (0.71, 0.07)),
        mark(lighter(hull, 0.45), (-0.82, 0.34), (-0.81, 0.29), (0.52, 0.29), (0.88, 0.44), (0.9, 0.5), (0.5, 0.34)),
    ]
    for i in range(5):
        x = -0.6 + 0.28 * i
        body += [oval((22, 22, 28), x, 0.2, 0.085, 0.085), oval(lighter(hull, 0.1), x, 0.2, 0.035, 0.035)]
    lit = [
        *_windows(rng, [-0.03, 0.11, 0.24], 0.6, 0.74, 0.1, 0.9),
        *_windows(rng, [-0.2, 0.0, 0.22], 0.36, 0.47, 0.11, 0.75),
        oval(WHITE, 0.115, 0.985, 0.035, 0.035),
        oval(side, 0.76, 0.5, 0.045, 0.045),
        oval(AMBER, -0.35, 0.9, 0.035, 0.035),
    ]
    lamps = (
        Lamp(0.115, 0.985, 0.5, WHITE, 200),
        Lamp(0.76, 0.5, 0.4, side, 190),
        Lamp(0.12, 0.66, 0.6, WARM[0], 100),
        Lamp(-0.35, 0.9, 0.3, AMBER, 120),
    )
    return Figure(tuple(body), tuple(lit), lamps)


def lighthouse(rng: random.Random) -> Figure:
    """A tall, thin tower with bands or without, under a lamp."""
    band = pick(rng, ((196, 46, 48), (196, 46, 48), (40, 72, 130), (50, 52, 62), PALE))
    bands = pick(rng, (2, 3))
    body = [poly(PALE, (-0.125, 0.0), (-0.075, 0.78), (0.075, 0.78), (0.125, 0.0))]
    step = 0.78 / (2 * bands)
    for i in range(bands):
        low = step * (2 * i + 1)
        a, b = 0.125 - 0.064 * low, 0.125 - 0.064 * (low + step)
        body.append(mark(band, (-a, low), (-b, low + step), (b, low + step), (a, low)))
    body += [
        Shape(((0.04, 0.0), (0.03, 0.78), (0.075, 0.78), (0.125, 0.0)), darker(band if bands == 2 else PALE, 0.35)),
        box(DARK, -0.12, 0.77, 0.12, 0.8),
        box(DARK, -0.075, 0.8, 0.075, 0.92),
        poly(darker(band, 0.2), (-0.1, 0.91), (-0.03, 0.98), (0.0, 1.0), (0.03, 0.98), (0.1, 0.91)),
        box((70, 50, 44), -0.035, 0.0, 0.035, 0.08),
    ]
    lit = [box((255, 246, 206), -0.06, 0.815, 0.06, 0.905), box(DARK, -0.006, 0.81, 0.006, 0.91)]
    lit += [box(pick(rng, WARM), -0.018, y, 0.018, y + 0.035) for y in (0.24, 0.52) if rng.random() < 0.7]
    return Figure(tuple(body), tuple(lit), (Lamp(0.0, 0.86, 0.42, (255, 240, 190), 255),))


def buoy(rng: random.Random) -> Figure:
    """A float with an open cage and a lamp on top; it leans with the waves."""
    paint, lamp = pick(rng, (((214, 52, 48), RED), ((40, 150, 92), GREEN), ((226, 176, 48), AMBER)))
    lean = pick(rng, (-0.14, -0.06, 0.0, 0.08, 0.16))

    def leaning(*points: Point) -> tuple[Point, ...]:
        return tuple((x + lean * y, y) for x, y in points)

    body = [
        poly(paint, *leaning((-0.23, 0.18), (-0.1, 0.76), (0.1, 0.76), (0.23, 0.18))),
        mark((24, 28, 44), *leaning((-0.12, 0.26), (-0.08, 0.46), (0.08, 0.46), (0.12, 0.26))),
        mark((24, 28, 44), *leaning((-0.07, 0.54), (-0.05, 0.68), (0.05, 0.68), (0.07, 0.54))),
        poly(darker(paint, 0.3), *leaning((-0.13, 0.74), (-0.13, 0.79), (0.13, 0.79), (0.13, 0.74))),
        soft(paint, (-0.4, -0.04), (-0.42, 0.18), (-0.25, 0.26), (0.25, 0.26), (0.42, 0.18), (0.4, -0.04)),
        mark(PALE, (-0.36, 0.1), (-0.35, 0.16), (0.35, 0.16), (0.36, 0.1)),
    ]
    lit = (oval(lamp, lean * 0.88, 0.88, 0.1, 0.11), oval(lighter(lamp, 0.8), lean * 0.88, 0.88, 0.05, 0.055))
    return Figure(tuple(body), lit, (Lamp(lean * 0.88, 0.88, 1.1, lamp, 215),))


PAPER: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((214, 84, 34), (250, 150, 60), (255, 226, 146)),
    ((206, 60, 48), (246, 120, 72), (255, 212, 140)),
    ((222, 128, 40), (255, 186, 84), (255, 240, 178)),
)


def sky_lantern(rng: random.Random) -> Figure:
    """A paper lantern that rises with a flame below it."""
    rim, paper, core = pick(rng, PAPER)
    lit = (
        soft(rim, (-0.27, 0.05), (-0.4, 0.56), (-0.36, 0.98), (0.0, 1.06), (0.36, 0.98), (0.4, 0.56), (0.27, 0.05)),
        soft(paper, (-0.24, 0.05), (-0.34, 0.5), (-0.28, 0.82), (0.0, 0.9), (0.28, 0.82), (0.34, 0.5), (0.24, 0.05)),
        soft(core, (-0.2, 0.05), (-0.24, 0.34), (-0.14, 0.56), (0.0, 0.62), (0.14, 0.56), (0.24, 0.34), (0.2, 0.05)),
        mark(rim, (-0.24, 0.05), (-0.23, 0.1), (0.23, 0.1), (0.24, 0.05)),
        oval((255, 250, 226), 0.0, 0.12, 0.08, 0.1),
    )
    return Figure((), lit, (Lamp(0.0, 0.42, 1.5, paper, 130),))


def water_lantern(rng: random.Random) -> Figure:
    """A paper lantern on a small raft."""
    rim, paper, core = pick(rng, PAPER)
    body = (poly((96, 68, 48), (-0.44, 0.0), (-0.5, 0.14), (0.5, 0.14), (0.44, 0.0)),)
    lit = (
        poly(rim, (-0.34, 0.12), (-0.38, 1.0), (0.38, 1.0), (0.34, 0.12)),
        poly(paper, (-0.3, 0.14), (-0.33, 0.92), (0.33, 0.92), (0.3, 0.14)),
        soft(core, (-0.26, 0.14), (-0.3, 0.5), (0.0, 0.84), (0.3, 0.5), (0.26, 0.14)),
        box(rim, -0.02, 0.12, 0.02, 0.96),
        box(rim, -0.36, 0.52, 0.36, 0.56),
    )
    return Figure(body, lit, (Lamp(0.0, 0.46, 1.3, paper, 130),))


def gull(rng: random.Random) -> Figure:
    """A pale gull in flight, wings up, level or down; it flies to the right."""
    coat, wing = pick(rng, (((250, 250, 252), (186, 196, 216)), ((240, 240, 244), (160, 172, 196))))
    tip: Colour = (44, 48, 66)
    bend = pick(rng, (1.0, 0.86, 0.7))
    near = ((0.16, 0.42), (-0.1, 0.3), (-0.48, 0.3 + 0.38 * bend), (-0.98, bend), (-0.5, 0.42 + 0.5 * bend))
    far = ((0.22, 0.42), (0.02, 0.36), (0.26, 0.3 + 0.4 * bend), (0.86, bend), (0.44, 0.44 + 0.48 * bend))
    body = (
        poly(wing, *far),
        mark(tip, (0.86, bend), (0.62, 0.18 + 0.74 * bend), (0.6, 0.26 + 0.68 * bend)),
        poly(coat, (-0.3, 0.32), (-0.62, 0.34), (-0.6, 0.22), (-0.3, 0.22)),
        soft(coat, (-0.44, 0.26), (-0.1, 0.46), (0.3, 0.48), (0.52, 0.34), (0.3, 0.14), (-0.1, 0.12)),
        oval(coat, 0.44, 0.38, 0.14, 0.12),
        poly((240, 170, 60), (0.55, 0.42), (0.74, 0.33), (0.55, 0.34)),
        poly(lighter(wing, 0.25), *near),
        mark(tip, (-0.98, bend), (-0.72, 0.16 + 0.72 * bend), (-0.7, 0.26 + 0.68 * bend)),
        oval((20, 20, 26), 0.48, 0.41, 0.028, 0.03),
    )
    return Figure(body)


def islet(rng: random.Random) -> Figure:
    """The rock that a lighthouse stands on; its top is at y = 0.1."""
    stone = pick(rng, ((74, 78, 96), (84, 76, 84), (62, 74, 84)))
    left, right = 0.32 + 0.14 * rng.random(), 0.32 + 0.14 * rng.random()
    body = (
        poly(stone, (-left, -0.02), (-left + 0.08, 0.05), (-0.16, 0.09), (-0.12, 0.12), (0.12, 0.12), (0.18, 0.08),
             (right - 0.06, 0.05), (right, -0.02)),
        mark(darker(stone, 0.4), (-0.1, -0.02), (0.02, 0.06), (0.12, 0.1), (0.18, 0.08), (right - 0.06, 0.05),
             (right, -0.02)),
        mark(lighter(stone, 0.16), (-left + 0.08, 0.05), (-0.16, 0.09), (-0.12, 0.12), (0.02, 0.12), (-0.14, 0.06)),
    )  # fmt: skip
    return Figure(body)
