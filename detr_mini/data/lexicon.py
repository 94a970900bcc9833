"""The words for scenes of Tiny Town in English and Chinese: things, counts, colors, places and relations.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

from __future__ import annotations

from typing import NamedTuple

from detr_mini.data.vocabulary import Vocabulary

__all__ = [
    "CHINESE",
    "COLOURS",
    "COUNTS",
    "ENGLISH",
    "KINDS",
    "MANY",
    "PLACES",
    "RELATIONS",
    "SKY",
    "relations_between",
]


class Kind(NamedTuple):
    """A noun: its plural, the Chinese noun with its measure word, and what Tiny Town has of it."""

    plural: str
    noun: str
    measure: str
    colours: tuple[str, ...]
    places: tuple[str, ...]


ROAD, GRASS, WATER, SKY = "on the road", "on the grass", "on the water", "in the sky"
BRIGHT = ("red", "blue", "yellow", "green", "pink")
KINDS = {
    "person": Kind("people", "人", "个", (), (GRASS, ROAD)),
    "car": Kind("cars", "汽车", "辆", ("red", "blue", "white", "green", "purple"), (ROAD,)),
    "bus": Kind("buses", "公交车", "辆", ("yellow", "orange"), (ROAD,)),
    "boat": Kind("boats", "船", "艘", ("white",), (WATER,)),
    "bird": Kind("birds", "鸟", "只", ("black", "brown"), (SKY,)),
    "dog": Kind("dogs", "狗", "只", ("brown", "white"), (GRASS,)),
    "ball": Kind("balls", "球", "个", BRIGHT, (GRASS,)),
    "balloon": Kind("balloons", "热气球", "个", BRIGHT, (SKY,)),
    "tree": Kind("trees", "树", "棵", ("green", "pink", "orange"), (GRASS,)),
    "house": Kind("houses", "房子", "栋", ("white", "pink"), (GRASS,)),
}
MANY = 7  # the count of more than six
COUNTS = {2: ("two", "两"), 3: ("three", "三"), 4: ("four", "四"), 5: ("five", "五"), 6: ("six", "六")}
COUNTS[MANY] = ("many", "许多")
COLOURS = {
    "red": "红色",
    "blue": "蓝色",
    "yellow": "黄色",
    "green": "绿色",
    "pink": "粉色",
    "white": "白色",
    "black": "黑色",
    "brown": "棕色",
    "purple": "紫色",
    "orange": "橙色",
}
PLACES = {ROAD: "马路", GRASS: "草地", WATER: "水面", SKY: "天"}  # each with 上 after it
RELATIONS = {
    "left of": "左边",
    "right of": "右边",
    "in front of": "前面",
    "behind": "后面",
    "next to": "旁边",
    "above": "上方",
    "below": "下方",
}

ENGLISH = Vocabulary(
    list(
        dict.fromkeys(
            ["there", "is", "are", "and", "a", "an", *(word for word, _ in COUNTS.values()), *COLOURS]
            + [form for kind, about in KINDS.items() for form in (kind, about.plural)]
            + [word for key in (*PLACES, *RELATIONS) for word in key.split()]
        )
    )
)
CHINESE = Vocabulary(
    ["有", "还", "，", "的", "一", *(word for _, word in COUNTS.values()), *COLOURS.values()]
    + list(dict.fromkeys(about.measure for about in KINDS.values()))
    + [about.noun for about in KINDS.values()]
    + [*PLACES.values(), "上", *RELATIONS.values()],
    joiner="",
)


def relations_between(kind: str, landmark: str) -> tuple[str, ...]:
    """The relations that a thing of one kind can have to another: what flies is above."""
    high, over = KINDS[kind].places == (SKY,), KINDS[landmark].places == (SKY,)
    if high and over:
        return "left of", "right of", "above", "below", "next to"
    if high or over:
        return "left of", "right of", "above" if high else "below"
    return "left of", "right of", "in front of", "behind", "next to"
