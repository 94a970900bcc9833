"""Tiny Town: small street scenes that the package draws itself, annotated in full as COCO annotates photographs.

A scene is made in three steps: a lie of the land (street, avenue, green, lake, river, shore) with the light of an
hour; objects placed in it, each where it belongs and as large as its distance asks; and the drawing, once in color
and once into a buffer of segment ids. Boxes, areas and masks are read from that buffer, so they are those of what
can be seen. ``draw_scene`` is a pure function of (seed, split, index, scale).

What makes it learnable in minutes by a detection transformer trained from scratch:

* Cues in color. Buses are amber, cars never are; boats have white hulls; houses pale walls under warm roofs; trees
  are deep green, pink or orange on a light meadow; birds are dark with orange beaks; balls and balloons bright.
* Cues in place. Boats float, birds and balloons fly, cars and buses keep to the road, houses stand near the horizon;
  size follows height in the picture.
* Only what can be seen is annotated, and all of it: boxes fit the visible pixels, nothing is placed that would show
  too little of itself, and the background holds no look-alikes.
* Contrast. A thin dark outline parts every object from what is behind it, and backgrounds are paler than objects.

Chapter: *Data preparation*, ``book/04_data``.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from detr_mini.data import sprites
from detr_mini.data.scenery import GRASS, MOODS, ROAD, SKY, WATER, Ground, Mood, grain, lay_ground, paint_scenery
from detr_mini.data.sprites import Canvas, Sprite, pick
from detr_mini.data.write_coco import write_coco

__all__ = ["CATEGORIES", "NUM_CLASSES", "Category", "Scene", "SceneObject", "draw_scene", "make_data"]


@dataclass(frozen=True)
class Category:
    """A class of things (countable) or stuff (the rest), with its color in panoptic pictures."""

    id: int
    name: str
    supercategory: str
    isthing: int
    colour: tuple[int, int, int]


CATEGORIES: tuple[Category, ...] = (
    Category(1, "person", "person", 1, (220, 20, 60)),
    Category(2, "car", "vehicle", 1, (0, 0, 142)),
    Category(3, "bus", "vehicle", 1, (250, 170, 30)),
    Category(5, "boat", "vehicle", 1, (160, 90, 200)),
    Category(6, "bird", "animal", 1, (60, 60, 90)),
    Category(7, "dog", "animal", 1, (150, 90, 40)),
    Category(9, "ball", "toy", 1, (255, 100, 170)),
    Category(10, "balloon", "toy", 1, (255, 70, 0)),
    Category(12, "tree", "outdoor", 1, (20, 110, 50)),
    Category(13, "house", "outdoor", 1, (190, 80, 60)),
    Category(15, "sky", "outdoor-stuff", 0, (120, 190, 240)),
    Category(16, "grass", "ground-stuff", 0, (150, 210, 90)),
    Category(17, "road", "ground-stuff", 0, (128, 118, 138)),
    Category(18, "water", "ground-stuff", 0, (50, 130, 190)),
)
NUM_CLASSES = 14  # the highest thing id + 1: `num_classes` of a detector trained on Tiny Town
PERSON, CAR, BUS, BOAT, BIRD, DOG, BALL, BALLOON, TREE, HOUSE = (c.id for c in CATEGORIES if c.isthing)
STUFF = {SKY: 15, GRASS: 16, ROAD: 17, WATER: 18}  # segment id of the scenery -> category id
FIRST_THING = 5  # segment ids 1 to 4 are stuff; things follow in the order of `Scene.objects`


@dataclass(frozen=True)
class SceneObject:
    """One segment: box (x, y, w, h) and area of its visible pixels, in pixels."""

    segment_id: int
    category_id: int
    bbox: tuple[int, int, int, int]
    area: int
    iscrowd: int = 0


@dataclass(frozen=True, eq=False)
class Scene:
    """An RGB image, the segment id of each of its pixels (H, W) int32, and its things and stuff."""

    image: Image.Image
    segments: np.ndarray
    objects: tuple[SceneObject, ...]
    stuff: tuple[SceneObject, ...]


@dataclass(frozen=True)
class Thing:
    """A placed object before it is drawn. A crowd is one thing with many feet."""

    category: int
    seed: int
    feet: tuple[tuple[float, float, float], ...]  # x, y, signed size of one unit: negative is mirrored
    half: float  # half its width, in units
    view: str = "side"

    @property
    def depth(self) -> float:
        """Height of the foot in the picture: what stands lower is nearer and is drawn later."""
        return -1.0 if self.category in (BIRD, BALLOON) else max(y for _, y, _ in self.feet)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """About where it will be drawn (x0, y0, x1, y1), in scene pixels."""
        left = min(x - abs(s) * self.half for x, _, s in self.feet)
        right = max(x + abs(s) * self.half for x, _, s in self.feet)
        return left, min(y - abs(s) for _, y, s in self.feet), right, max(y for _, y, _ in self.feet)


METERS = {PERSON: 1.75, CAR: 1.55, BUS: 2.9, DOG: 1.05, BALL: 0.85, TREE: 5.2, HOUSE: 5.2}
HALF = {PERSON: 0.24, BIRD: 0.9, DOG: 0.92, BALL: 0.5, BALLOON: 0.4, TREE: 0.42, HOUSE: 0.62}
HALF_VIEW = {
    (CAR, "side"): 1.4,
    (CAR, "end"): 0.66,
    (BUS, "side"): 1.23,
    (BUS, "end"): 0.46,
    (BOAT, "sail"): 0.5,
    (BOAT, "steam"): 0.98,
}
SMALLEST, LARGEST = 0.0042, 0.31  # share of the picture that a box may take
WEIGHTS: dict[str, dict[int, float]] = {
    "street": {PERSON: 4, CAR: 3, BUS: 4, BIRD: 1.5, DOG: 2, BALL: 2, BALLOON: 1.5, TREE: 3, HOUSE: 3},
    "avenue": {PERSON: 4, CAR: 3.5, BUS: 4, BIRD: 1.5, DOG: 1.5, BALL: 1.5, BALLOON: 1.5, TREE: 3.5, HOUSE: 3},
    "green": {PERSON: 4, BIRD: 1.5, DOG: 2, BALL: 2, BALLOON: 2, TREE: 4, HOUSE: 4},
    "lake": {PERSON: 2.5, BOAT: 4, BIRD: 1.5, DOG: 1.5, BALL: 1.5, BALLOON: 1.5, TREE: 1.5},
    "river": {PERSON: 2.5, BOAT: 4, BIRD: 1.5, DOG: 1.5, BALL: 1.5, BALLOON: 1.2, TREE: 3, HOUSE: 3},
    "shore": {PERSON: 2, CAR: 3, BUS: 4, BOAT: 4, BIRD: 1.2, DOG: 1, BALL: 1, BALLOON: 1.2},
}


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    """Log-uniform between two bounds, rounded so that the last bit of the power decides no pixel."""
    return round(low * (high / low) ** rng.random(), 2) if high > low else low


def _fly(rng: random.Random, category: int, ground: Ground) -> Thing:
    small, large = (0.2, 0.42) if category == BIRD else (0.33, 1.02)
    size = _log_uniform(rng, ground.horizon * small, ground.horizon * large)
    x, y = ground.width * rng.uniform(0.03, 0.97), rng.uniform(size * 0.94, max(ground.horizon * 0.96, size))
    return Thing(category, rng.getrandbits(32), ((x, y, size * pick(rng, (-1, 1))),), HALF[category])


def _drive(rng: random.Random, category: int, ground: Ground) -> Thing:
    road = ground.patches[-1]
    if ground.name != "avenue":
        lane = pick(rng, (0, 1))
        y = road.top + (road.bottom - road.top) * ((0.42, 0.84)[lane] + rng.uniform(-0.05, 0.03))
        size = METERS[category] * ground.meter(y) * (1 if lane else -1)
        foot = (ground.width * rng.uniform(-0.02, 1.02), y, size)
        return Thing(category, rng.getrandbits(32), (foot,), HALF_VIEW[category, "side"])
    coming = rng.random() < 0.5
    deep = ground.height - ground.horizon
    y = ground.horizon + _log_uniform(rng, deep * 0.14, deep * 0.92)
    left, right = road.span(y)
    x = left + (right - left) * (0.26 if coming else 0.74)
    foot = (x, y, METERS[category] * ground.meter(y))
    return Thing(category, rng.getrandbits(32), (foot,), HALF_VIEW[category, "end"], "front" if coming else "back")


def _stand(rng: random.Random, category: int, ground: Ground) -> Thing | None:
    """Something that stands on the grass, or someone crossing the road; None where the ground is of another kind."""
    low, high = {HOUSE: (0.12, 0.5), TREE: (0.1, 0.8)}.get(category, (0.2, 1.03))
    crossing = category == PERSON and rng.random() < 0.15
    x, y, size = _spot(rng, ground, low, high, METERS[category])
    if not _stands_on(
        ground, ROAD if crossing else GRASS, x, y, HALF[category] * size * (0.3 if category == TREE else 0.8)
    ):
        return None
    facing = pick(rng, (-1, 1)) if category in (DOG, BALL) else 1
    return Thing(category, rng.getrandbits(32), ((x, y, size * facing),), HALF[category])


def _float(rng: random.Random, category: int, ground: Ground) -> Thing | None:
    view, meters = pick(rng, (("sail", 5.0), ("sail", 5.0), ("steam", 3.4)))
    x, y, size = _spot(rng, ground, 0.06, 0.7, meters)
    half = HALF_VIEW[category, view]
    if not _stands_on(ground, WATER, x, y, 0.9 * half * size):
        return None
    return Thing(category, rng.getrandbits(32), ((x, y, size * pick(rng, (-1, 1))),), half, view)


def _spot(rng: random.Random, ground: Ground, low: float, high: float, meters: float) -> tuple[float, float, float]:
    """A place (x, y) between two shares of the way from the horizon to the viewer, and the size in pixels there."""
    deep = ground.height - ground.horizon
    y = ground.horizon + _log_uniform(rng, deep * low, deep * high)
    return ground.width * rng.random(), y, meters * ground.meter(y) * rng.uniform(0.85, 1.15)


def _stands_on(ground: Ground, kind: int, x: float, y: float, reach: float) -> bool:
    """Whether the foot rests on one kind of ground from end to end, and a little in front of it as well."""
    feet = [foot for foot in (x - reach, x, x + reach) if 0 <= foot <= ground.width]
    depths = [min(depth, ground.height - 0.5) for depth in (y, y + 1.5)]
    return all(ground.kind_at(foot, depth) == kind for foot in feet for depth in depths)


def _crowd(rng: random.Random, ground: Ground) -> Thing | None:
    """A far-off group of small people, to be annotated as one segment with ``iscrowd``."""
    y = ground.horizon + (ground.height - ground.horizon) * rng.uniform(0.1, 0.2)
    size = ground.height * rng.uniform(0.075, 0.1)
    x, feet = ground.width * rng.uniform(0.05, 0.75), []
    for _ in range(6 + int(rng.random() * 6)):
        feet.append((x, y + rng.uniform(-0.12, 0.12) * size, size * rng.uniform(0.85, 1.1)))
        x += size * rng.uniform(0.22, 0.36)
    if feet[-1][0] > ground.width or any(ground.kind_at(fx, fy) != GRASS for fx, fy, _ in feet):
        return None
    return Thing(PERSON, rng.getrandbits(32), tuple(sorted(feet, key=lambda f: f[1])), HALF[PERSON], "crowd")


MAKERS = {BIRD: _fly, BALLOON: _fly, CAR: _drive, BUS: _drive, BOAT: _float}


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _fits(thing: Thing, others: list[Thing], ground: Ground, tolerance: float) -> bool:
    """Whether its size is in bounds, enough of it lies in the picture, and no box hides much of another."""
    x0, y0, x1, y1 = thing.box
    area, picture = (x1 - x0) * (y1 - y0), ground.width * ground.height
    shown = _overlap(thing.box, (0, 0, ground.width, ground.height))
    if not SMALLEST * picture <= shown <= LARGEST * picture or shown < 0.62 * area:
        return False
    for other in others:
        ox0, oy0, ox1, oy1 = other.box
        behind = area if thing.depth < other.depth else (ox1 - ox0) * (oy1 - oy0)
        if _overlap((x0 - 1, y0 - 1, x1 + 1, y1 + 1), other.box) > tolerance * behind:
            return False
    return True


def _how_many(rng: random.Random) -> int:
    lot = rng.random()
    if lot < 0.04:
        return 0
    if lot < 0.13:
        return 8 + int(rng.random() * 7)
    return pick(rng, (2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 7))


def _place(rng: random.Random, ground: Ground) -> list[Thing]:
    wanted, things = _how_many(rng), []
    weights = WEIGHTS[ground.name]
    if wanted and rng.random() < 0.13 and (crowd := _crowd(rng, ground)) and _fits(crowd, [], ground, 0.0):
        things.append(crowd)
    for _ in range(wanted):
        category = _draw_category(rng, weights)
        for _ in range(20):
            thing = MAKERS.get(category, _stand)(rng, category, ground)
            if thing and _fits(thing, things, ground, 0.05 if rng.random() < 0.6 else 0.34):
                things.append(thing)
                break
    return sorted(things, key=lambda t: t.depth)


def _draw_category(rng: random.Random, weights: dict[int, float]) -> int:
    lot = rng.random() * sum(weights.values())
    for category, weight in weights.items():
        lot -= weight
        if lot < 0:
            return category
    return category


DRAWERS = {
    PERSON: sprites.person,
    BIRD: sprites.bird,
    DOG: sprites.dog,
    BALL: sprites.ball,
    BALLOON: sprites.balloon,
    TREE: sprites.tree,
}


def _sprite(thing: Thing, rng: random.Random, mood: Mood) -> Sprite:
    if thing.category == CAR:
        return sprites.car_side(rng) if thing.view == "side" else sprites.car_end(rng, thing.view == "front")
    if thing.category == BUS:
        return sprites.bus_side(rng) if thing.view == "side" else sprites.bus_end(rng, thing.view == "front")
    if thing.category == BOAT:
        return sprites.sailing_boat(rng) if thing.view == "sail" else sprites.steamer(rng)
    if thing.category == HOUSE:
        return sprites.house(rng, mood.lit)
    return DRAWERS[thing.category](rng)


@dataclass(frozen=True)
class Plan:
    """All that decides a scene, in scene pixels: drawing it adds nothing but the scale."""

    ground: Ground
    mood: Mood
    seed: int
    things: tuple[Thing, ...]


def _plan(index: int, split: str, seed: int) -> Plan:
    rng = random.Random(f"tiny-town/{seed}/{split}/{index}")
    long = 112 + int(rng.random() * 25)
    lot = rng.random()
    short = long if lot < 0.12 else round(long / pick(rng, (4 / 3, 4 / 3, 1.4, 1.5)))
    width, height = (short, long) if lot > 0.87 else (long, short)
    ground = lay_ground(rng, width, height)
    return Plan(ground, pick(rng, MOODS), rng.getrandbits(32), tuple(_place(rng, ground)))


def _shadows(canvas: Canvas, plan: Plan) -> None:
    """Darkens the ground under everything that stands, a little to the right: the light comes from the left."""
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    for thing in plan.things:
        if thing.category in (BIRD, BALLOON):
            continue
        for x, y, s in thing.feet:
            rx = abs(s) * thing.half * (0.95 if thing.category != TREE else 0.8)
            ry = min(0.07 * abs(s), 0.16 * rx) if thing.category != BOAT else 0.03 * abs(s)
            x += 0.25 * rx if thing.category != BOAT else 0.0
            draw.ellipse([c for p in canvas.place([(x - rx, y - ry), (x + rx, y + ry)]) for c in p], 84)
    canvas.image.paste((26, 24, 62), (0, 0, *canvas.size), mask)


def _render(plan: Plan, scale: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Image (H, W, 3), segment ids (H, W) and, for each thing, the drawn pixels that nothing hid when it was drawn."""
    canvas = Canvas(plan.ground.width, plan.ground.height, scale)
    paint_scenery(canvas, plan.ground, plan.mood, random.Random(plan.seed))
    _shadows(canvas, plan)
    whole = []
    for segment, thing in enumerate(plan.things, FIRST_THING):
        rng = random.Random(thing.seed)
        for x, y, size in thing.feet:
            canvas.sprite(_sprite(thing, rng, plan.mood), x, y, size, plan.mood.light, segment)
        whole.append(canvas.ids.histogram()[segment] / sprites.SUPERSAMPLE**2)
    image, ids = canvas.result()
    return grain(image, random.Random(plan.seed + 1)), ids, whole


@lru_cache(maxsize=64)
def _settle(index: int, split: str, seed: int) -> tuple[Plan, np.ndarray, np.ndarray, tuple[float, ...]]:
    """The plan without what turned out to be too well hidden, drawn at scale 1, and the hidden share of each thing."""
    plan = _plan(index, split, seed)
    while True:
        image, ids, whole = _render(plan, 1)
        count = np.bincount(ids.ravel(), minlength=FIRST_THING + len(whole))[FIRST_THING:]
        kept = tuple(t for t, n, full in zip(plan.things, count, whole, strict=True) if n >= 25 and n >= 0.4 * full)
        if len(kept) == len(whole):
            return plan, image, ids, tuple(max(0.0, 1 - n / full) for n, full in zip(count, whole, strict=True))
        plan = replace(plan, things=kept)


def _measure(ids: np.ndarray, segment: int, category: int, iscrowd: int = 0) -> SceneObject:
    mask = ids == segment
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    bbox = (x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)
    return SceneObject(segment, category, bbox, int(mask.sum()), iscrowd)


def draw_scene(index: int, split: str = "val", seed: int = 0, scale: int = 1) -> Scene:
    """Draw scene ``index`` of a split, at ``scale`` times its size of 112 to 136 pixels on the longer side.

    The same arguments give the same pixels on every machine (with Pillow 11.3 or newer: before, polygons were filled a
    little differently). A larger scale draws the very same scene, the same objects in the same order, with more detail.
    Every pixel belongs to exactly one segment.

    Raises ValueError when ``split`` is neither "train" nor "val", ``index`` is negative or ``scale`` is below 1.
    """
    if split not in ("train", "val"):
        raise ValueError(f"split is {split!r}; Tiny Town has 'train' and 'val'")
    if index < 0 or scale < 1:
        raise ValueError(f"index is {index} and scale {scale}; index starts at 0 and scale at 1")
    plan, image, ids, _ = _settle(index, split, seed)
    if scale > 1:
        image, ids, _ = _render(plan, scale)
    present = Counter(np.unique(ids).tolist())
    objects = tuple(
        _measure(ids, segment, thing.category, int(thing.view == "crowd"))
        for segment, thing in enumerate(plan.things, FIRST_THING)
    )
    stuff = tuple(_measure(ids, segment, category) for segment, category in STUFF.items() if present[segment])
    return Scene(Image.fromarray(image), ids.astype(np.int32), objects, stuff)


def make_data(
    root: str | os.PathLike[str],
    train: int = 12_000,
    val: int = 500,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Draw Tiny Town and write it under ``root`` in COCO format, remaking what this command wrote there before.

    There will be ``train/*.jpg`` and ``val/*.jpg``, ``annotations/instances_{train,val}.json`` with things and
    ``annotations/panoptic_{train,val}.json`` with things and stuff, whose maps lie in the folders of the same name.
    The annotation files' ``info`` holds ``area_bins``, the areas in pixels that part small from medium from large
    objects: 1 % and 6 % of a nominal 128 x 96 picture. COCO's own bins (32^2 and 96^2 pixels) would call everything
    small at this size.

    Args:
        train, val: number of scenes.
        seed: same seed, same bytes; they do not depend on ``workers``.
        workers: processes that draw, by default one for each core. In a script that is run as a file, more than one
            needs the usual ``if __name__ == "__main__":``.
        progress: show a bar.

    Raises:
        FileExistsError: ``root`` holds files of these names from elsewhere.
        ValueError: a number of scenes out of range.
    """
    write_coco(root, {"train": train, "val": val}, seed, draw_scene, CATEGORIES, workers, progress)
