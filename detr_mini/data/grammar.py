"""A small language for scenes of Tiny Town: what is where, said in English and in Chinese.

A sentence is a tuple of phrases. A phrase has a count, perhaps a color, a kind of thing, perhaps a place, and perhaps
a relation to a landmark, which is a phrase again: "two red cars on the road left of a bus". Both languages are written
from the phrases, so neither is a translation of the other, and which word stands for which is known, not guessed.

What makes the pair worth translating:

* Word order. English names the thing first and then where it is; Chinese begins with the place, then the landmark,
  then its side, and names the thing at the end: 马路 上 ， 一 辆 公交车 的 左边 有 两 辆 红色 的 汽车.
  Landmarks of landmarks come out in reverse.
* Measure words. Between a count and its noun Chinese has a word that the noun asks for (两 辆 汽车, 两 棵 树), and
  that is said before the noun is. English has nothing in its place.
* Forms. English has a and an, is and are, person and people; Chinese has none of them, but two is 两 before a measure
  word, and 许多, many, takes none.

The sentences to learn from leave out some pairs of words on purpose (``HELD_OUT``): of a red car and of a blue ball
they speak, of a red ball never. The colors a kind may have, and the places, are those of the drawn town.

Chapter: *The Transformer of 2017*, ``book/03_seq2seq``.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from detr_mini.data.lexicon import CHINESE, COLOURS, COUNTS, ENGLISH, KINDS, MANY, PLACES, RELATIONS, relations_between
from detr_mini.data.sprites import pick

__all__ = [
    "CHINESE",
    "ENGLISH",
    "HELD_OUT",
    "SPLITS",
    "Link",
    "Phrase",
    "Sentence",
    "alignment",
    "chinese",
    "corpus",
    "english",
    "pairs",
    "split_of",
]


@dataclass(frozen=True)
class Phrase:
    """So many things of a kind, and where they are.

    Args:
        count: 1 to 6, or ``MANY`` for more.
        colour: a key of ``COLOURS``, of those that the kind may have, or None.
        kind: a key of ``KINDS``.
        place: a key of ``PLACES``, one where the kind may be, or None; a landmark has none.
        relation: one of :func:`.relations_between` the kind and the landmark's, or None.
        landmark: what the relation is to; None without a relation.
    """

    count: int
    colour: str | None
    kind: str
    place: str | None = None
    relation: str | None = None
    landmark: Phrase | None = None


Sentence = tuple[Phrase, ...]


# --- writing a sentence ----------------------------------------------------------------------------------------------


class Word(NamedTuple):
    """A word as it is written, what it does, and of which thing: number of its phrase, steps to the landmark."""

    text: str
    role: str = ""
    owner: tuple[int, int] = (0, 0)


class Link(NamedTuple):
    """The Chinese word at ``target`` says what the English word at ``source`` says.

    ``role`` is "count", "colour", "noun", "place" (the road), "on" (上, for on and in), "relation", or "measure", where
    the English word is the noun that the measure word belongs to.
    """

    target: int
    source: int
    role: str


def english(sentence: Sentence) -> tuple[str, ...]:
    """The sentence in English: there, are, two, red, cars, on, the, road, left, of, a, bus."""
    return tuple(word.text for word in english_words(sentence))


def chinese(sentence: Sentence) -> tuple[str, ...]:
    """The sentence in Chinese, word by word: 马路, 上, ，, 一, 辆, 公交车, 的, 左边, 有, 两, 辆, 红色, 的, 汽车."""
    return tuple(word.text for word in chinese_words(sentence))


def alignment(sentence: Sentence) -> list[Link]:
    """Which Chinese word stands for which English one, in the order of the Chinese words.

    Left out are the words that the other language has nothing for: there, is, of, and, the; 有, 的, the comma.
    """
    places = {(word.role, word.owner): at for at, word in enumerate(english_words(sentence))}
    links = []
    for at, word in enumerate(chinese_words(sentence)):
        wanted = "noun" if word.role == "measure" else word.role
        if wanted:
            links.append(Link(at, places[wanted, word.owner], word.role))
    return links


def english_words(sentence: Sentence) -> tuple[Word, ...]:
    """The words of :func:`english` with what they do."""
    words = [Word("there"), Word("is" if sentence[0].count == 1 else "are")]
    for number, phrase in enumerate(sentence):
        if number:
            words.append(Word("and"))
        words += _english(phrase, (number, 0))
    return tuple(words)


def _english(phrase: Phrase, owner: tuple[int, int]) -> Iterator[Word]:
    kind = KINDS[phrase.kind]
    count = (
        COUNTS[phrase.count][0] if phrase.count > 1 else "an" if (phrase.colour or phrase.kind)[0] in "aeiou" else "a"
    )
    yield Word(count, "count", owner)
    if phrase.colour:
        yield Word(phrase.colour, "colour", owner)
    yield Word(phrase.kind if phrase.count == 1 else kind.plural, "noun", owner)
    if phrase.place:
        on, the, place = phrase.place.split()
        yield from (Word(on, "on", owner), Word(the), Word(place, "place", owner))
    if phrase.relation and phrase.landmark:
        words = phrase.relation.split()
        for word in words:
            yield Word(word, "relation" if word not in ("in", "of", "to") else "", owner)
        yield from _english(phrase.landmark, (owner[0], owner[1] + 1))


def chinese_words(sentence: Sentence) -> tuple[Word, ...]:
    """The words of :func:`chinese` with what they do.

    A phrase is a clause of its own, "where, there is what". One that does not say where begins with 还, also, unless
    it is the first, as a list goes on.
    """
    words: list[Word] = []
    for number, phrase in enumerate(sentence):
        owner = (number, 0)
        if number:
            words.append(Word("，"))
        if phrase.place:
            words += [Word(PLACES[phrase.place], "place", owner), Word("上", "on", owner)]
        if phrase.place and phrase.landmark:
            words.append(Word("，"))
        if phrase.relation and phrase.landmark:
            words += [*_chinese(phrase.landmark, (number, 1)), Word("的")]
            words.append(Word(RELATIONS[phrase.relation], "relation", owner))
        elif number and not phrase.place:
            words.append(Word("还"))
        words += [Word("有"), *_chinese_thing(phrase, owner)]
    return tuple(words)


def _chinese(phrase: Phrase, owner: tuple[int, int]) -> Iterator[Word]:
    """A landmark, after its own one. Between a thing and its side 的 is said once, at the end, and not here."""
    if phrase.relation and phrase.landmark:
        yield from _chinese(phrase.landmark, (owner[0], owner[1] + 1))
        yield from (Word(RELATIONS[phrase.relation], "relation", owner), Word("的"))
    yield from _chinese_thing(phrase, owner)


def _chinese_thing(phrase: Phrase, owner: tuple[int, int]) -> Iterator[Word]:
    kind = KINDS[phrase.kind]
    yield Word(COUNTS[phrase.count][1] if phrase.count > 1 else "一", "count", owner)
    if phrase.count != MANY:
        yield Word(kind.measure, "measure", owner)
    if phrase.colour:
        yield from (Word(COLOURS[phrase.colour], "colour", owner), Word("的"))
    yield Word(kind.noun, "noun", owner)


# --- drawing sentences by lot ----------------------------------------------------------------------------------------

SPLITS = ("train", "seen", "held_out", "longer")
LONGEST = 24  # English words of the longest sentence to learn from
LONGER = 36  # and of the longest of the split "longer"
# Never together in the sentences to learn from: color and thing, count and thing, relation and landmark.
HELD_OUT: frozenset[tuple[str | int, str]] = frozenset(
    [
        *(("red", "ball"), ("blue", "car"), ("green", "balloon"), ("pink", "tree"), ("white", "dog")),
        *((2, "boat"), (3, "bus"), (3, "house"), (4, "tree"), (5, "dog")),
        *(("left of", "tree"), ("right of", "dog"), ("behind", "car"), ("in front of", "house"), ("above", "boat")),
    ]
)


def pairs(sentence: Sentence) -> set[tuple[str | int, str]]:
    """What is together in a sentence: color and kind, count and kind, relation and kind of the landmark."""
    found: set[tuple[str | int, str]] = set()
    for top in sentence:
        phrase: Phrase | None = top
        while phrase:
            found.add((phrase.count, phrase.kind))
            if phrase.colour:
                found.add((phrase.colour, phrase.kind))
            if phrase.relation and phrase.landmark:
                found.add((phrase.relation, phrase.landmark.kind))
            phrase = phrase.landmark
    return found


def corpus(split: str, count: int, seed: int = 0) -> list[Sentence]:
    """Draw ``count`` different sentences of a split by lot: the same arguments, the same sentences, on every machine.

    No two splits share a sentence, whatever their counts and seeds.

    * "train": one or two phrases with up to two landmarks each, at most ``LONGEST`` English words, none of the pairs
      of ``HELD_OUT``.
    * "seen": the same, from a sixteenth of all sentences that "train" never draws. Each pair has been seen.
    * "held_out": as long, with at least one pair of ``HELD_OUT``.
    * "longer": three or four phrases, or three landmarks in a row, and more than ``LONGEST`` English words, up to
      ``LONGER``; none of the pairs of ``HELD_OUT``.

    Raises:
        ValueError: there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; there are {', '.join(SPLITS)}")
    rng = random.Random(f"tiny-town-sentences/{seed}/{split}")
    found: dict[Sentence, None] = {}
    while len(found) < count:
        sentence = _draw(rng, longer=split == "longer")
        if split_of(sentence) == split:
            found[sentence] = None
    return list(found)


def split_of(sentence: Sentence) -> str | None:
    """The one split that a sentence may be drawn for; None for one that is in none."""
    words = english(sentence)
    held_out = not HELD_OUT.isdisjoint(pairs(sentence))
    if len(words) > LONGEST:
        return "longer" if not held_out and _is_deep(sentence) and len(words) <= LONGER else None
    if _is_deep(sentence):
        return None
    if held_out:
        return "held_out"
    return "seen" if zlib.crc32(" ".join(words).encode()) % 16 == 0 else "train"


def _is_deep(sentence: Sentence) -> bool:
    """Whether it has more phrases, or more landmarks in a row, than any to learn from."""
    return len(sentence) > 2 or any(_landmarks(phrase) > 2 for phrase in sentence)


def _landmarks(phrase: Phrase) -> int:
    return 1 + _landmarks(phrase.landmark) if phrase.landmark else 0


def _draw(rng: random.Random, *, longer: bool) -> Sentence:
    count = pick(rng, (1, 2, 3, 4) if longer else (1, 2))
    return tuple(_draw_phrase(rng, 3 if longer else 2) for _ in range(count))


def _draw_phrase(rng: random.Random, landmarks: int, *, at_top: bool = True) -> Phrase:
    """A phrase by lot, with at most so many landmarks in a row."""
    kind = pick(rng, tuple(KINDS))
    about = KINDS[kind]
    alone = rng.random() < (0.3 if at_top else 0.6)
    number = 1 if alone else pick(rng, (2, 2, 2, 3, 3, 3, 4, 5, 6, MANY))
    colour = pick(rng, about.colours) if about.colours and rng.random() < 0.6 else None
    place = pick(rng, about.places) if at_top and rng.random() < 0.5 else None
    if landmarks == 0 or rng.random() < 0.45:
        return Phrase(number, colour, kind, place)
    landmark = _draw_phrase(rng, landmarks - 1, at_top=False)
    relation = pick(rng, relations_between(kind, landmark.kind))
    return Phrase(number, colour, kind, place, relation, landmark)
