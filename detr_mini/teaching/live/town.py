"""Tiny Town for the playground: its things as shapes and its grounds as pictures, written for a page to compose.

Chapter: *Tiny Town*, ``book/tiny_town``.
"""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable
from typing import Any

from PIL import Image

from detr_mini.data import sprites, tiny_town
from detr_mini.data.scenery import DUSK, NOON, Ground, Mood, lay_ground, paint_scenery
from detr_mini.data.sprites import Canvas, Colour, Shape, Sprite

WIDTH, HEIGHT = 128, 96
SCALE = 6  # of the page's canvas: six of its pixels to one of the model's
HOURS = {"day": NOON, "dusk": DUSK}
# Seeds of grounds that leave room to play: see lay_ground.
GROUNDS = {"street": 5, "lake": 9, "avenue": 4, "meadow": 11}
LAYOUTS = {"meadow": "green"}  # names for readers that are others than the package's
# Each kind of thing: its class, half its width in units, its height in meters, how many looks, and who draws it.
Maker = Callable[[random.Random], Sprite]
KINDS: dict[str, tuple[int, float, float, int, Maker]] = {
    "person": (tiny_town.PERSON, 0.24, 1.75, 5, sprites.person),
    "car": (tiny_town.CAR, 1.4, 1.55, 4, sprites.car_side),
    "car from the front": (tiny_town.CAR, 0.66, 1.55, 3, lambda rng: sprites.car_end(rng, True)),
    "bus": (tiny_town.BUS, 1.23, 2.9, 3, sprites.bus_side),
    "bus from the front": (tiny_town.BUS, 0.46, 2.9, 2, lambda rng: sprites.bus_end(rng, True)),
    "sailing boat": (tiny_town.BOAT, 0.5, 5.0, 3, sprites.sailing_boat),
    "steamer": (tiny_town.BOAT, 0.98, 3.4, 2, sprites.steamer),
    "bird": (tiny_town.BIRD, 0.9, 0.0, 3, sprites.bird),
    "dog": (tiny_town.DOG, 0.92, 1.05, 3, sprites.dog),
    "ball": (tiny_town.BALL, 0.5, 0.85, 3, sprites.ball),
    "balloon": (tiny_town.BALLOON, 0.4, 0.0, 3, sprites.balloon),
    "tree": (tiny_town.TREE, 0.42, 5.2, 4, sprites.tree),
    "house": (tiny_town.HOUSE, 0.62, 5.2, 3, lambda rng: sprites.house(rng, False)),
}


def town_script() -> str:
    """All that scenes are composed of, as a script."""
    names = {category.id: category.name for category in tiny_town.CATEGORIES}
    town = {
        "width": WIDTH,
        "height": HEIGHT,
        "scale": SCALE,
        "hours": {name: {"light": mood.light} for name, mood in HOURS.items()},
        "grounds": {name: _ground(name) for name in (*GROUNDS, "sky")},
        "kinds": {
            name: {"category": category, "name": names[category], "half": half, "meters": meters, "looks": looks}
            for name, (category, half, meters, _, _) in KINDS.items()
            for looks in [[_packed(sprite) for sprite in looks_of(name)]]
        },
    }
    return f"window.playgroundTown = {json.dumps(town, separators=(',', ':'))};\n"


def lay(name: str) -> Ground:
    """The lie of the land of a ground; of "sky", the hills far below and no land."""
    if name == "sky":
        return Ground("sky", WIDTH, HEIGHT, HEIGHT * 1.05, 3.0, ())
    rng = random.Random(GROUNDS[name])
    while True:
        ground = lay_ground(rng, WIDTH, HEIGHT)
        if ground.name == LAYOUTS.get(name, name):
            return ground


def _ground(name: str) -> dict[str, Any]:
    ground = lay(name)
    pictures = {hour: _picture(ground, mood) for hour, mood in HOURS.items()}
    return {"horizon": round(ground.horizon, 2), "eye": round(ground.eye, 2), "pictures": pictures}


def _picture(ground: Ground, mood: Mood) -> str:
    """The scenery alone, at the size of the page's canvas, as an address that holds the picture."""
    canvas = Canvas(ground.width, ground.height, SCALE)
    paint_scenery(canvas, ground, mood, random.Random(1))
    file = io.BytesIO()
    Image.fromarray(canvas.result()[0]).save(file, "WEBP", quality=85, method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def looks_of(kind: str) -> list[Sprite]:
    """The sprites of a kind, no two alike."""
    _, _, _, count, make = KINDS[kind]
    drawn = (make(random.Random(seed)) for seed in range(100))
    return list(dict.fromkeys(drawn))[:count]


def _packed(sprite: Sprite) -> list[list[Any]]:
    """Each shape as its color, whether it is an oval, whether it is part of the outline, and its points in a row."""
    return [_packed_shape(shape) for shape in sprite]


def _packed_shape(shape: Shape) -> list[Any]:
    points = [round(one, 3) for point in shape.points for one in point]
    return [_hex(shape.colour), int(shape.oval), int(shape.solid), points]


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in colour)
