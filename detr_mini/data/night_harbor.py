"""Night Harbor: ships, lights and gulls after dark, drawn by the package, in the layout that Roboflow exports.

It is a data set to be brought in from outside: pictures of another size than Tiny Town's, other classes, another
look, and files as an annotation tool writes them. Six classes: a ferry is large, a lighthouse tall and thin, a buoy
small; a tugboat is easily taken for a ferry far away, and a lantern for one of the town's lights. What is not
annotated can mislead as well: moon, stars, the town, and the reflection of everything in the water.

A scene is planned first (the night, the horizon, what stands where) and then painted from far to near;
``draw_night_scene`` is a pure function of (seed, split, index). Boxes are those of the pixels that can be seen.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from detr_mini.data import night_sprites
from detr_mini.data.night_scenery import MOODS, Mood, Night
from detr_mini.data.sprites import pick
from detr_mini.data.write_roboflow import SPLITS, Mistake, write_roboflow
from detr_mini.errors import ConfigError

__all__ = ["NIGHT_CLASSES", "Mistake", "NightObject", "NightScene", "draw_night_scene", "make_night_data"]

NIGHT_CLASSES = ("buoy", "ferry", "gull", "lantern", "lighthouse", "tugboat")  # ids 1 to 6, in Roboflow's order
BUOY, FERRY, GULL, LANTERN, LIGHTHOUSE, TUGBOAT = range(1, 7)
SIZES = ((320, 240), (320, 240), (320, 240), (240, 320), (320, 180))


@dataclass(frozen=True)
class NightObject:
    """Class and box (x, y, w, h), in pixels, of what can be seen of an object."""

    category_id: int
    bbox: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class NightScene:
    """A picture (H, W, 3) uint8 and its objects, from far to near."""

    image: np.ndarray
    objects: tuple[NightObject, ...]


@dataclass(frozen=True)
class Thing:
    """A planned object: its foot, its signed height in pixels, and half its width in heights."""

    category: int
    seed: float
    x: float
    y: float
    size: float
    half: float
    flies: bool = False

    @property
    def depth(self) -> float:
        """What is painted later hides what was painted before: lanterns in the sky are far, gulls near."""
        if not self.flies:
            return self.y
        return -1.0 if self.category == LANTERN else 1000.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """About where it will be (x0, y0, x1, y1)."""
        wide, tall = abs(self.size) * self.half, abs(self.size)
        return self.x - wide, self.y - tall, self.x + wide, self.y


@dataclass(frozen=True)
class Plan:
    """All that decides a scene."""

    width: int
    height: int
    horizon: int
    mood: Mood
    seed: float
    things: tuple[Thing, ...]


WEIGHTS = {BUOY: 5, FERRY: 4, GULL: 5, LANTERN: 4, LIGHTHOUSE: 5, TUGBOAT: 5}
METERS = {BUOY: 3.7, FERRY: 13.0, LANTERN: 2.8, LIGHTHOUSE: 27.0, TUGBOAT: 9.0}
HALF = {BUOY: 0.4, FERRY: 1.7, GULL: 0.95, LANTERN: 0.42, LIGHTHOUSE: 0.13, TUGBOAT: 0.88}
REACH = {  # shares of the way from the horizon to the viewer
    BUOY: (0.25, 0.9),
    FERRY: (0.1, 0.44),
    LANTERN: (0.3, 0.95),
    LIGHTHOUSE: (0.06, 0.3),
    TUGBOAT: (0.1, 0.62),
}
SMALLEST, LARGEST = 130, 24_000  # pixels that a box may have
MOST = 12  # objects


def _between(rng: random.Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _thing(rng: random.Random, category: int, plan: Plan) -> Thing:
    facing = pick(rng, (-1, 1))
    seed, x = rng.random(), plan.width * _between(rng, 0.02, 0.98)
    if category == GULL or (category == LANTERN and rng.random() < 0.65):
        share = rng.random()
        size = _between(rng, 11, 28) if category == GULL else 12 + 38 * share * share
        low, high = size + 3, plan.horizon * (1.15 if category == GULL else 0.9)
        return Thing(category, seed, x, _between(rng, low, max(low, high)), size * facing, HALF[category], True)
    low, high = REACH[category]
    share = rng.random()
    deep = plan.height - plan.horizon
    away = deep * (low + (high - low) * share * (0.4 + 0.6 * share))
    scale = away / (deep * 0.075) * deep / 130  # pixels a meter
    size = METERS[category] * scale * _between(rng, 0.9, 1.15)
    if category == LIGHTHOUSE:
        size = max(size, 0.26 * plan.height)
    return Thing(category, seed, x, plan.horizon + away, size * facing, HALF[category])


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _area(box: tuple[float, ...]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _fits(thing: Thing, others: list[Thing], plan: Plan, tolerance: float) -> bool:
    """Whether its size is in bounds, enough of it lies in the picture, and no box hides much of another."""
    shown = _overlap(thing.box, (0, 0, plan.width, plan.height))
    if not SMALLEST <= shown <= LARGEST or shown < 0.62 * _area(thing.box):
        return False
    for other in others:
        behind = thing if thing.depth < other.depth else other
        if _overlap(thing.box, other.box) > tolerance * _area(behind.box):
            return False
    return True


def _how_many(rng: random.Random) -> int:
    lot = rng.random()
    if lot < 0.08:
        return 0
    if lot < 0.2:
        return 8 + int(rng.random() * (MOST - 7))
    return pick(rng, (1, 2, 2, 3, 3, 4, 4, 5, 6, 7))


def _kind(rng: random.Random) -> int:
    lot = rng.random() * sum(WEIGHTS.values())
    for category, weight in WEIGHTS.items():
        lot -= weight
        if lot < 0:
            return category
    return category


def _plan(index: int, split: str, seed: int) -> Plan:
    rng = random.Random(f"night-harbor/{seed}/{split}/{index}")
    width, height = pick(rng, SIZES)
    plan = Plan(width, height, int(height * _between(rng, 0.42, 0.58)), pick(rng, MOODS), rng.random(), ())
    things: list[Thing] = []
    for _ in range(_how_many(rng)):
        category = _kind(rng)
        if category == LIGHTHOUSE and sum(t.category == LIGHTHOUSE for t in things) == 2:
            category = BUOY
        tolerance = 0.05 if rng.random() < 0.5 else 0.6
        for _ in range(20):
            thing = _thing(rng, category, plan)
            if _fits(thing, things, plan, tolerance):
                things.append(thing)
                break
    return replace(plan, things=tuple(sorted(things, key=lambda t: t.depth)))


FIGURES = {
    BUOY: night_sprites.buoy,
    FERRY: night_sprites.ferry,
    GULL: night_sprites.gull,
    LIGHTHOUSE: night_sprites.lighthouse,
    TUGBOAT: night_sprites.tugboat,
}


def _paint(plan: Plan) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The picture, which object each pixel shows (1 is the first, 0 none), and how many pixels each covers."""
    rng = random.Random(f"paint/{plan.seed!r}")
    night = Night(plan.width, plan.height, plan.horizon, plan.mood, rng)
    covered = []
    for number, thing in enumerate(plan.things, 1):
        dice = random.Random(f"figure/{thing.seed!r}")
        if thing.category == LANTERN:
            figure = night_sprites.sky_lantern(dice) if thing.flies else night_sprites.water_lantern(dice)
        else:
            figure = FIGURES[thing.category](dice)
        foot = thing.y
        if thing.category == LIGHTHOUSE:
            night.place(night_sprites.islet(dice), thing.x, foot, thing.size, 0.5, 0, True)
            foot -= 0.1 * abs(thing.size)
            night.beam(thing.x, foot - 0.86 * abs(thing.size), abs(thing.size) * 1.6, dice)
        covered.append(night.place(figure, thing.x, foot, thing.size, thing.half, number, not thing.flies))
    return night.result(rng), night.ids, covered


@lru_cache(maxsize=16)
def _settle(index: int, split: str, seed: int) -> tuple[Plan, np.ndarray, np.ndarray]:
    """The plan without what turned out to be too well hidden, and the picture."""
    plan = _plan(index, split, seed)
    while True:
        image, ids, covered = _paint(plan)
        seen = np.bincount(ids.ravel(), minlength=1 + len(covered))[1:]
        kept = tuple(
            t for t, n, whole in zip(plan.things, seen, covered, strict=True) if n >= 40 and 100 * n >= 45 * whole
        )
        if len(kept) == len(covered):
            return plan, image, ids
        plan = replace(plan, things=kept)


def draw_night_scene(index: int, seed: int = 0, split: str = "train") -> NightScene:
    """Draw scene ``index`` of a split: 320 x 240, 240 x 320 or 320 x 180 pixels, with 0 to 12 objects.

    The same arguments give the same pixels on every machine (with Pillow 11.3 or newer).

    Raises:
        ConfigError: ``split`` is none of "train", "valid" and "test", or ``index`` is negative.
    """
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; Night Harbor has {', '.join(map(repr, SPLITS))}")
    if index < 0:
        raise ConfigError(f"index is {index}; the first scene is number 0")
    plan, image, ids = _settle(index, split, seed)
    objects = []
    for number, thing in enumerate(plan.things, 1):
        mask = ids == number
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y = int(columns[0]), int(rows[0])
        objects.append(NightObject(thing.category, (x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)))
    return NightScene(image, tuple(objects))


def make_night_data(
    folder: str | os.PathLike[str],
    train: int = 300,
    valid: int = 100,
    seed: int = 0,
    mistakes: int = 0,
    *,
    test: int = 50,
    progress: bool = True,
) -> tuple[Mistake, ...]:
    """Draw Night Harbor and write it into a folder as Roboflow exports COCO, remaking what was written there before.

    Each split has a folder, ``train``, ``valid`` and ``test``, in which ``_annotations.coco.json`` lies beside the
    pictures. Ids of pictures and of boxes start at 0 in each; category 0 is the name of the whole and has no boxes.

    Args:
        folder: a new folder, or one that this function wrote.
        train, valid, test: number of scenes; a split of none has no folder.
        seed: same seed, same scenes.
        mistakes: so many training pictures are annotated as a tired person might: two objects with each other's
            class, a box far too large, an object left out, in turn. ``night_harbor.json`` records them.
        progress: show a bar.

    Returns:
        The mistakes that were planted, with what would be right.

    Raises:
        FolderInUseError: ``folder`` holds files of these names from elsewhere.
        ConfigError: a number of scenes is out of range, or the training pictures have no room for so many mistakes.
    """
    counts = {"train": train, "valid": valid, "test": test}
    return write_roboflow(folder, counts, seed, draw_night_scene, NIGHT_CLASSES, mistakes, progress)
