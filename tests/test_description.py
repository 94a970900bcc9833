"""What is said of a drawn scene."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from detr_mini.data import CATEGORIES, Scene, SceneObject, draw_scene
from detr_mini.data.description import describe
from detr_mini.data.grammar import LONGEST, Phrase, chinese, english
from detr_mini.data.lexicon import CHINESE, ENGLISH, KINDS, MANY, relations_between

IDS = {category.name: category.id for category in CATEGORIES}
PAINT = {"red": (214, 40, 52), "blue": (36, 92, 200), "yellow": (250, 190, 30), "brown": (150, 88, 44)}


def scene(*things: tuple[str, str | None, tuple[int, int, int, int]], crowd: bool = False) -> Scene:
    """A scene of plain boxes x, y, w, h on grass, with a road from row 60 on; the first is a crowd if asked for."""
    pixels = np.full((100, 120, 3), (150, 192, 90), np.uint8)
    segments = np.full((100, 120), 2, np.int32)
    segments[60:] = 3
    found = []
    for number, (kind, colour, (x, y, w, h)) in enumerate(things):
        pixels[y : y + h, x : x + w] = PAINT[colour] if colour else (200, 200, 200)
        segments[y : y + h, x : x + w] = 5 + number
        found.append(SceneObject(5 + number, IDS[kind], (x, y, w, h), w * h, int(crowd and number == 0)))
    stuff = (SceneObject(2, IDS["grass"], (0, 0, 120, 60), 1), SceneObject(3, IDS["road"], (0, 60, 120, 40), 1))
    return Scene(Image.fromarray(pixels), segments, tuple(found), stuff)


def said(*things: tuple[str, str | None, tuple[int, int, int, int]], crowd: bool = False) -> str:
    return " ".join(english(describe(scene(*things, crowd=crowd))))


BUS = ("bus", "yellow", (50, 20, 40, 30))


def test_things_alike_are_counted() -> None:
    assert said(BUS, ("car", "red", (0, 30, 10, 10)), ("car", "red", (12, 30, 10, 10))) == (
        "there are two red cars on the road left of a yellow bus"
    )
    assert said(BUS, ("car", "red", (0, 30, 12, 12)), ("car", "blue", (0, 45, 10, 10))) == (
        "there is a red car on the road left of a yellow bus and a blue car on the road"
    )
    seven = [("car", "red", (5 * number, 90, 4, 4)) for number in range(7)]
    assert said(*seven) == "there are many red cars on the road"


@pytest.mark.parametrize(
    ("box", "where"),
    [
        ((5, 20, 10, 10), "left of"),
        ((100, 20, 10, 10), "right of"),
        ((60, 55, 10, 10), "in front of"),
        ((60, 5, 10, 35), "behind"),
    ],
)
def test_sides_of_what_stands(box: tuple[int, int, int, int], where: str) -> None:
    assert said(BUS, ("dog", "brown", box)) == f"there is a brown dog on the grass {where} a yellow bus"


def test_sides_of_what_flies() -> None:
    assert said(BUS, ("bird", None, (60, 5, 10, 10))) == "there is a bird in the sky above a yellow bus"
    assert said(("balloon", "red", (50, 0, 40, 30)), ("bus", "yellow", (55, 50, 20, 15))) == (
        "there is a yellow bus on the road below a red balloon"
    )
    assert said(BUS, ("bird", None, (60, 15, 10, 10))) == "there is a yellow bus on the road and a bird in the sky"


def test_a_relation_is_that_of_all() -> None:
    dogs = [("dog", "brown", (5, 20, 10, 10)), ("dog", "brown", (100, 20, 10, 10))]
    assert said(BUS, *dogs) == "there is a yellow bus on the road and two brown dogs on the grass"


def test_a_person_is_where_the_feet_are() -> None:
    people = [("person", None, (0, 35, 10, 20)), ("person", None, (20, 60, 10, 20)), ("person", None, (40, 60, 10, 20))]
    assert said(*people) == "there are two people on the road right of a person"
    assert said(people[0]) == "there is a person on the grass"
    assert said(("person", None, (0, 80, 10, 20))) == "there is a person on the road"  # cut by the picture's edge


def test_a_crowd_is_many_people() -> None:
    assert said(("person", None, (0, 40, 30, 10)), crowd=True) == "there are many people on the grass"


def test_an_empty_scene_has_no_phrases() -> None:
    assert describe(scene()) == ()


def test_a_colour_is_that_of_most_of_the_paint() -> None:
    one = scene(("car", "red", (0, 0, 10, 10)))
    pixels = np.asarray(one.image).copy()
    pixels[:3, :10] = PAINT["blue"]
    assert describe(Scene(Image.fromarray(pixels), one.segments, one.objects, one.stuff))[0].colour == "red"
    pixels[:5, :10] = PAINT["blue"]
    assert describe(Scene(Image.fromarray(pixels), one.segments, one.objects, one.stuff))[0].colour is None


def test_sentences_of_scenes_are_of_the_grammar() -> None:
    coloured: Counter[str] = Counter()
    for index in range(150):
        drawn = draw_scene(index)
        sentence = describe(drawn)
        assert (len(sentence) == 0) == (not drawn.objects)
        if not sentence:
            continue
        ENGLISH.encode(english(sentence))
        CHINESE.encode(chinese(sentence))
        assert len(sentence) <= 2
        assert len(english(sentence)) <= LONGEST
        phrases: list[Phrase] = [*sentence, *(one.landmark for one in sentence if one.landmark)]
        for phrase in phrases:
            assert 1 <= phrase.count <= MANY
            assert phrase.colour is None or phrase.colour in KINDS[phrase.kind].colours
            coloured[f"{phrase.colour} {phrase.kind}"] += 1
        for phrase in sentence:
            assert phrase.place in KINDS[phrase.kind].places
            if phrase.relation and phrase.landmark:
                assert phrase.relation in relations_between(phrase.kind, phrase.landmark.kind)
    assert len({name for name in coloured if "None" not in name}) >= 20


def test_counts_agree_with_the_annotation() -> None:
    """Without colors and places, no phrase says more of a kind than there are."""
    for index in range(60):
        drawn = draw_scene(index)
        kinds = Counter(thing.category_id for thing in drawn.objects for _ in range(MANY if thing.iscrowd else 1))
        for phrase in describe(drawn):
            assert phrase.count <= kinds[IDS[phrase.kind]]


def test_colours_are_those_that_the_town_was_painted_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cars are painted in one color each; what is said of them is compared with the paint that was drawn by lot."""
    from detr_mini.data import sprites, tiny_town

    names = dict(zip(sprites.CAR_PAINT, ("red", "blue", "white", "green", "purple", "red"), strict=True))
    with_cars = [
        index for index in range(60) if any(one.category_id == IDS["car"] for one in draw_scene(index).objects)
    ]
    found: Counter[str] = Counter()
    for paint, name in names.items():
        monkeypatch.setattr(sprites, "CAR_PAINT", (paint,))
        tiny_town._settle.cache_clear()
        for sentence in (describe(draw_scene(index)) for index in with_cars):
            for phrase in (*sentence, *(one.landmark for one in sentence if one.landmark)):
                if phrase.kind == "car":
                    found["right" if phrase.colour == name else "unnamed" if phrase.colour is None else "wrong"] += 1
    tiny_town._settle.cache_clear()
    assert found["wrong"] == 0
    assert found["right"] > 50
    assert found["unnamed"] <= 0.1 * found["right"]
