"""What is to be seen in a scene of Tiny Town, as the phrases of a sentence, from its pixels and segments.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detr_mini.data.grammar import Phrase, Sentence
from detr_mini.data.lexicon import KINDS, MANY, PLACES, SKY
from detr_mini.data.tiny_town import CATEGORIES, Scene, SceneObject

__all__ = ["describe"]

# What each kind is painted with: by the name of the color, under None what has no name that it may have, and under
# REST what says nothing of its color, as glass, tires and the outline.
REST = ""
DARK, GLASS, WHITE = (44, 38, 58), (178, 222, 240), (252, 250, 244)
HALF_WHITE = [(240, 145, 146), (141, 175, 229), (254, 223, 132), (136, 205, 170), (244, 167, 197)]  # at edges
BRIGHT: dict[str | None, list[tuple[int, int, int]]] = {
    "red": [(228, 40, 48)],
    "blue": [(30, 100, 214)],
    "yellow": [(255, 196, 20), (255, 214, 80)],
    "green": [(20, 160, 96)],
    "pink": [(236, 84, 150)],
    None: [(90, 200, 220)],
    REST: [WHITE, DARK, *HALF_WHITE, (206, 150, 90), (168, 112, 62)],
}
PAINT: dict[str, dict[str | None, list[tuple[int, int, int]]]] = {
    "car": {
        "red": [(214, 40, 52), (150, 26, 62)],
        "blue": [(36, 92, 200)],
        "white": [(238, 238, 242)],
        "green": [(20, 146, 140)],
        "purple": [(138, 62, 158)],
        REST: [DARK, GLASS],
    },
    "bus": {
        "yellow": [(250, 190, 30), (246, 206, 60)],
        "orange": [(255, 170, 20)],
        REST: [DARK, GLASS, WHITE, (196, 58, 40), (36, 84, 120)],
    },
    "boat": {
        "white": [WHITE, (208, 207, 208)],
        None: [(228, 84, 62), (255, 226, 190)],
        REST: [DARK, GLASS, (30, 70, 150), (20, 130, 120), (120, 84, 60)],
    },
    "bird": {"black": [(52, 44, 58)], "brown": [(88, 40, 40)], None: [(38, 48, 84)], REST: [WHITE, (246, 160, 70)]},
    "dog": {"brown": [(150, 88, 44), (176, 110, 54), (110, 66, 40)], "white": [(250, 242, 228)], REST: [DARK]},
    "ball": BRIGHT,
    "balloon": BRIGHT,
    "tree": {
        "green": [(24, 104, 62), (20, 92, 78), (46, 110, 44)],
        "pink": [(232, 128, 160)],
        "orange": [(214, 96, 36)],
        REST: [DARK, (112, 74, 48)],
    },
    "house": {
        "white": [(255, 250, 240), (250, 236, 206)],
        "pink": [(250, 206, 200)],
        None: [(248, 214, 176), (214, 228, 236)],
        REST: [DARK, (196, 64, 44), (176, 48, 44), (214, 96, 48), (116, 168, 204), (255, 220, 110), (150, 128, 120)],
    },
}
MOST = {"ball": 0.9, "balloon": 0.7}  # what share of the paint has to have the color, else 0.6
NAMES = {category.id: category.name for category in CATEGORIES}
STUFF = {words: words.split()[-1] for words in PLACES}


class Seen(NamedTuple):
    """A thing of the scene: what is said of it, and its box x0, y0, x1, y1 in pixels."""

    kind: str
    colour: str | None
    place: str
    number: int
    area: int
    box: tuple[int, int, int, int]


def describe(scene: Scene) -> Sentence:
    """One or two phrases about what is largest in a scene; none where it is empty.

    Things alike in kind, color and place are one phrase, with their number; a crowd is many people. The first phrase
    tells where its things are to the largest thing of all, if they all are on one side of it. A color is named if most
    pixels that show paint have it: a ball in two colors has none, nor has a thing whose color the grammar has no
    word for.
    """
    things = sorted((_seen(scene, thing) for thing in scene.objects), key=lambda one: -one.area)
    groups: dict[tuple[str, str | None, str], list[Seen]] = {}
    for thing in things:
        groups.setdefault((thing.kind, thing.colour, thing.place), []).append(thing)
    ordered = sorted(groups.values(), key=lambda group: -sum(thing.area for thing in group))
    others = [group for group in ordered if things[0] not in group]
    for first in others:
        relation = _relation(first, things[0])
        if relation:
            landmark = Phrase(_count([things[0]]), things[0].colour, things[0].kind)
            second = [_phrase(group) for group in others if group is not first][:1]
            return (_phrase(first, relation, landmark), *second)
    return tuple(_phrase(group) for group in ordered[:2])


def _phrase(group: Sequence[Seen], relation: str | None = None, landmark: Phrase | None = None) -> Phrase:
    return Phrase(_count(group), group[0].colour, group[0].kind, group[0].place, relation, landmark)


def _count(group: Sequence[Seen]) -> int:
    return min(MANY, sum(thing.number for thing in group))


def _seen(scene: Scene, thing: SceneObject) -> Seen:
    kind = NAMES[thing.category_id]
    x, y, w, h = thing.bbox
    pixels = np.asarray(scene.image)[scene.segments == thing.segment_id]
    number = MANY if thing.iscrowd else 1
    return Seen(kind, _colour(kind, pixels), _place(scene, kind, thing), number, thing.area, (x, y, x + w, y + h))


def _colour(kind: str, pixels: np.ndarray) -> str | None:
    """The name of most of the paint in pixels (n, 3) of one thing, each called by the nearest that its kind has."""
    paints = [(name, colour) for name, colours in PAINT.get(kind, {}).items() for colour in colours]
    if not paints:
        return None
    table = np.array([colour for _, colour in paints])
    nearest = ((pixels[:, None].astype(int) - table) ** 2).sum(-1).argmin(1)
    found = Counter(paints[at][0] for at in nearest.tolist())
    painted = sum(found.values()) - found.pop(REST, 0)
    name, most = max(found.items(), key=lambda item: item[1], default=(None, 0))
    return name if most >= MOST.get(kind, 0.6) * painted else None


def _place(scene: Scene, kind: str, thing: SceneObject) -> str:
    """Where it may be, and if there is a choice, what of it most pixels about its feet show."""
    places = KINDS[kind].places
    x, y, w, h = thing.bbox
    about = scene.segments[y + h - 2 : y + h + 1, max(0, x - 2) : x + w + 2]
    ids = {NAMES[stuff.category_id]: stuff.segment_id for stuff in scene.stuff}
    return max(places, key=lambda words: int((about == ids.get(STUFF[words], -1)).sum()))


def _relation(group: Sequence[Seen], landmark: Seen) -> str | None:
    """The relation that all of a group have to the landmark."""
    found = {_side(thing, landmark) for thing in group}
    return found.pop() if len(found) == 1 else None


def _side(thing: Seen, landmark: Seen) -> str | None:
    """Beside it if at most a quarter of the narrower one is at the same columns, before or over it if half of it is."""
    x0, y0, x1, y1 = thing.box
    left, top, right, bottom = landmark.box
    shared = (min(x1, right) - max(x0, left)) / min(x1 - x0, right - left)
    if shared <= 0.25:
        return "left of" if x0 + x1 < left + right else "right of"
    if shared < 0.5:
        return None
    high, over = KINDS[thing.kind].places == (SKY,), KINDS[landmark.kind].places == (SKY,)
    if high or over:
        return "above" if high and y1 <= top else "below" if over and y0 >= bottom else None
    return "in front of" if y1 > bottom + 2 else "behind" if y1 < bottom - 2 else None
