"""The language of Tiny Town: what is said, which word stands for which, and what is kept from training."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detr_mini.data import CATEGORIES
from detr_mini.data.grammar import (
    HELD_OUT,
    LONGEST,
    SPLITS,
    Phrase,
    Sentence,
    alignment,
    chinese,
    chinese_words,
    corpus,
    english,
    english_words,
    pairs,
    split_of,
)
from detr_mini.data.lexicon import CHINESE, COLOURS, COUNTS, ENGLISH, KINDS, MANY, PLACES, RELATIONS, relations_between

SIZES = {"train": 6000, "seen": 300, "held_out": 300, "longer": 300}


@cache
def drawn(split: str) -> list[Sentence]:
    return corpus(split, SIZES[split])


# --- every sentence of the grammar, also those that no split draws


@st.composite
def phrases(draw: st.DrawFn, landmarks: int = 3, *, at_top: bool = True) -> Phrase:
    kind = draw(st.sampled_from(list(KINDS)))
    colour = draw(st.sampled_from([None, *KINDS[kind].colours]))
    place = draw(st.sampled_from([None, *KINDS[kind].places])) if at_top else None
    count = draw(st.integers(1, MANY))
    if landmarks == 0 or draw(st.booleans()):
        return Phrase(count, colour, kind, place)
    landmark = draw(phrases(landmarks - 1, at_top=False))
    return Phrase(count, colour, kind, place, draw(st.sampled_from(relations_between(kind, landmark.kind))), landmark)


sentences = st.lists(phrases(), min_size=1, max_size=4).map(tuple)


# --- read back


class Reader:
    """Reads a sentence back into its phrases, word by word, in either language."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)

    def take(self, *wanted: str) -> bool:
        if tuple(self.words[: len(wanted)]) != wanted:
            return False
        del self.words[: len(wanted)]
        return True

    def one_of(self, table: dict[str, str]) -> str | None:
        """What the next words say, by a table of words to meanings."""
        for words, meaning in table.items():
            if self.take(*words.split()):
                return meaning
        return None


def read_english(words: Sequence[str]) -> Sentence:
    reader = Reader(words)
    assert reader.take("there")
    one = reader.take("is")
    assert one or reader.take("are")
    sentence = [read_english_phrase(reader)]
    assert one == (sentence[0].count == 1)
    while reader.words:
        assert reader.take("and")
        sentence.append(read_english_phrase(reader))
    return tuple(sentence)


def read_english_phrase(reader: Reader) -> Phrase:
    an = reader.words[0] == "an"
    counts = {"a": "1", "an": "1", **{word: str(number) for number, (word, _) in COUNTS.items()}}
    count = int(reader.one_of(counts) or "0")
    assert an == (count == 1 and reader.words[0][0] in "aeiou")
    colour = reader.one_of({word: word for word in COLOURS})
    kind = reader.one_of({kind if count == 1 else about.plural: kind for kind, about in KINDS.items()})
    assert kind
    place = reader.one_of({words: words for words in PLACES})
    relation = reader.one_of({words: words for words in RELATIONS})
    landmark = read_english_phrase(reader) if relation else None
    return Phrase(count, colour, kind, place, relation, landmark)


def read_chinese(words: Sequence[str]) -> Sentence:
    reader = Reader(words)
    sentence: list[Phrase] = []
    while reader.words:
        assert not sentence or reader.take("，")
        sentence.append(read_clause(reader, first=not sentence))
    return tuple(sentence)


def read_clause(reader: Reader, *, first: bool) -> Phrase:
    place = reader.one_of({f"{noun} 上": words for words, noun in PLACES.items()})
    comma = bool(place) and reader.take("，")
    relation, landmark = None, None
    if reader.words[0] not in ("有", "还"):
        assert comma == bool(place)
        landmark, relation = read_landmarks(reader)
    else:
        assert not comma
    assert reader.take("还") == (not first and not place and not landmark)
    assert reader.take("有")
    thing = read_thing(reader)
    return Phrase(thing.count, thing.colour, thing.kind, place, relation, landmark)


def read_landmarks(reader: Reader) -> tuple[Phrase, str]:
    """The landmark before 有, read from the outermost inwards: what was read last is the landmark of the next."""
    sides = {side: words for words, side in RELATIONS.items()}
    landmark = read_thing(reader)
    while not reader.take("的"):
        relation = reader.one_of(sides)
        assert relation
        assert reader.take("的")
        thing = read_thing(reader)
        landmark = Phrase(thing.count, thing.colour, thing.kind, None, relation, landmark)
    relation = reader.one_of(sides)
    assert relation
    return landmark, relation


def read_thing(reader: Reader) -> Phrase:
    count = int(reader.one_of({"一": "1", **{word: str(number) for number, (_, word) in COUNTS.items()}}) or "0")
    measure = reader.words.pop(0) if count != MANY else None
    colour = reader.one_of({word: colour for colour, word in COLOURS.items()})
    assert reader.take("的") == (colour is not None)
    kind = reader.one_of({about.noun: kind for kind, about in KINDS.items()})
    assert kind
    assert measure in (None, KINDS[kind].measure)
    return Phrase(count, colour, kind)


@given(sentences)
def test_both_languages_say_all_of_it_and_can_be_read_back(sentence: Sentence) -> None:
    assert read_english(english(sentence)) == sentence
    assert read_chinese(chinese(sentence)) == sentence


# --- as it should read


def said(*sentence: Phrase) -> tuple[str, str]:
    return " ".join(english(sentence)), "".join(chinese(sentence))


def test_a_sentence_by_hand() -> None:
    bus, dog = Phrase(1, None, "bus"), Phrase(1, None, "dog", "on the grass")
    assert said(Phrase(2, "red", "car", "on the road", "left of", bus), dog) == (
        "there are two red cars on the road left of a bus and a dog on the grass",
        "马路上，一辆公交车的左边有两辆红色的汽车，草地上有一只狗",
    )
    assert said(Phrase(1, "orange", "tree"), Phrase(MANY, None, "person")) == (
        "there is an orange tree and many people",
        "有一棵橙色的树，还有许多人",
    )


def test_landmarks_come_out_in_reverse() -> None:
    house = Phrase(3, "white", "house")
    tree = Phrase(1, None, "tree", None, "right of", house)
    car = Phrase(1, None, "car", None, "in front of", tree)
    assert said(Phrase(1, None, "dog", None, "behind", car)) == (
        "there is a dog behind a car in front of a tree right of three white houses",
        "三栋白色的房子右边的一棵树前面的一辆汽车的后面有一只狗",
    )


def test_kinds_are_the_things_of_tiny_town() -> None:
    assert list(KINDS) == [category.name for category in CATEGORIES if category.isthing]
    assert {words.split()[-1] for words in PLACES} == {category.name for category in CATEGORIES if not category.isthing}


# --- which word stands for which

ENGLISH_BY_ROLE = {
    "count": {"a", "an", *(word for word, _ in COUNTS.values())},
    "colour": set(COLOURS),
    "noun": {form for kind, about in KINDS.items() for form in (kind, about.plural)},
    "place": {words.split()[-1] for words in PLACES},
    "on": {"on", "in"},
    "relation": {"left", "right", "front", "behind", "next", "above", "below"},
}
PARTNERS = {
    **{chinese: {english} for english, chinese in (*COLOURS.items(), *COUNTS.values())},
    **{about.noun: {kind, about.plural} for kind, about in KINDS.items()},
    **{noun: {words.split()[-1]} for words, noun in PLACES.items()},
    **{side: set(words.split()) - {"in", "of", "to"} for words, side in RELATIONS.items()},
    "一": {"a", "an"},
    "上": {"on", "in"},
}


@given(sentences)
def test_alignment_links_words_that_mean_the_same(sentence: Sentence) -> None:
    source, target = english(sentence), chinese(sentence)
    links = alignment(sentence)
    assert [link.target for link in links] == sorted({link.target for link in links})
    assert {word for at, word in enumerate(target) if at not in {link.target for link in links}} <= set("有还，的")
    for link in links:
        if link.role == "measure":
            assert source[link.source] in ENGLISH_BY_ROLE["noun"]
        else:
            assert source[link.source] in ENGLISH_BY_ROLE[link.role]
            assert source[link.source] in PARTNERS[target[link.target]]
    plain = [link.source for link in links if link.role != "measure"]
    assert len(plain) == len(set(plain))
    assert len(plain) == sum(word in set.union(*ENGLISH_BY_ROLE.values()) for word in source) - in_front(source)


def in_front(words: Sequence[str]) -> int:
    """How often "in" is part of a relation, not of a place."""
    return sum(pair == ("in", "front") for pair in itertools.pairwise(words))


@given(sentences)
def test_a_measure_word_is_that_of_its_noun(sentence: Sentence) -> None:
    source, target = english(sentence), chinese(sentence)
    nouns = {form: about.measure for kind, about in KINDS.items() for form in (kind, about.plural)}
    links = [link for link in alignment(sentence) if link.role == "measure"]
    for link in links:
        assert target[link.target] == nouns[source[link.source]]
    measures = {about.measure for about in KINDS.values()}
    assert len(links) == sum(word in measures for word in target)
    assert "二" not in target


def test_alignment_by_hand() -> None:
    sentence = (Phrase(2, "red", "car", "on the road", "left of", Phrase(1, None, "bus")),)
    source, target = english(sentence), chinese(sentence)
    named = [(target[link.target], source[link.source], link.role) for link in alignment(sentence)]
    assert named == [
        ("马路", "road", "place"),
        ("上", "on", "on"),
        ("一", "a", "count"),
        ("辆", "bus", "measure"),
        ("公交车", "bus", "noun"),
        ("左边", "left", "relation"),
        ("两", "two", "count"),
        ("辆", "cars", "measure"),
        ("红色", "red", "colour"),
        ("汽车", "cars", "noun"),
    ]


def test_words_know_their_thing() -> None:
    """Two things of one kind are told apart: each word is linked to its own."""
    sentence = (Phrase(1, "red", "car", None, "behind", Phrase(2, "red", "car")), Phrase(3, "red", "car"))
    source, target = english(sentence), chinese(sentence)
    reds = [(link.target, link.source) for link in alignment(sentence) if link.role == "colour"]
    assert [at for at, word in enumerate(target) if word == "红色"] == [at for at, _ in reds]
    first, second, third = (at for at, word in enumerate(source) if word == "red")
    assert [at for _, at in reds] == [second, first, third]
    assert {word.owner for word in english_words(sentence) if word.role} == {(0, 0), (0, 1), (1, 0)}
    assert {word.owner for word in chinese_words(sentence) if word.role} == {(0, 0), (0, 1), (1, 0)}


# --- the splits


@pytest.mark.parametrize("split", SPLITS)
def test_same_arguments_same_sentences(split: str) -> None:
    some = corpus(split, 50, seed=3)
    assert corpus(split, 50, seed=3) == some
    assert corpus(split, 20, seed=3) == some[:20]
    assert corpus(split, 50, seed=4) != some
    assert len(set(some)) == 50
    assert corpus(split, 0) == []


STORED = {
    "train": "881011ae3415aa64",
    "seen": "0c7c57600d2bbf64",
    "held_out": "d47228814dcb0244",
    "longer": "84587a1658061fda",
}


@pytest.mark.parametrize("split", SPLITS)
def test_sentences_are_the_same_everywhere(split: str) -> None:
    """In every version of Python, on every machine, and as long as the shipped translator is that of these."""
    lines = "\n".join(" ".join((*english(one), *chinese(one))) for one in drawn(split)[:300])
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == STORED[split]


def test_splits_share_no_sentence() -> None:
    said = [english(sentence) for split in SPLITS for sentence in drawn(split)]
    assert len(said) == len(set(said)) == sum(SIZES.values())
    others = [sentence for seed in (1, 2) for split in SPLITS for sentence in corpus(split, 200, seed)]
    for sentence in others:
        split = split_of(sentence)
        assert not any(sentence in drawn(other) for other in SPLITS if other != split)


def test_what_is_held_out_is_never_together_in_training() -> None:
    for split in ("train", "seen", "longer"):
        assert not [sentence for sentence in drawn(split) if pairs(sentence) & HELD_OUT]
    assert all(pairs(sentence) & HELD_OUT for sentence in drawn("held_out"))
    assert set.union(*(pairs(sentence) for sentence in drawn("held_out"))) >= HELD_OUT


def test_every_pair_of_the_other_splits_is_in_training() -> None:
    trained = set.union(*(pairs(sentence) for sentence in drawn("train")))
    for split in SPLITS:
        assert set.union(*(pairs(sentence) for sentence in drawn(split))) - HELD_OUT <= trained


def test_held_out_pairs_are_of_the_grammar() -> None:
    for first, kind in HELD_OUT:
        if isinstance(first, int):
            assert 1 <= first <= MANY
        elif first in COLOURS:
            assert first in KINDS[kind].colours
        else:
            assert any(first in relations_between(other, kind) for other in KINDS)
    seen = {pair for sentence in drawn("train") for pair in pairs(sentence)}
    for first, kind in HELD_OUT:  # each word of a pair is learned with at least two others
        assert len([other for word, other in seen if word == first]) >= 2
        assert len([word for word, other in seen if other == kind and type(word) is type(first)]) >= 2


def test_pairs_by_hand() -> None:
    landmark = Phrase(1, "green", "tree", None, "behind", Phrase(MANY, None, "person"))
    assert pairs((Phrase(2, None, "dog", "on the grass", "left of", landmark),)) == {
        *((2, "dog"), ("left of", "tree"), (1, "tree"), ("green", "tree"), ("behind", "person"), (MANY, "person"))
    }


def test_lengths() -> None:
    def lengths(split: str) -> list[int]:
        return [len(english(sentence)) for sentence in drawn(split)]

    assert max(lengths("train")) == LONGEST
    assert max(lengths("seen") + lengths("held_out")) <= LONGEST
    assert min(lengths("longer")) > LONGEST
    assert max(len(chinese(sentence)) for sentence in drawn("longer")) < 60  # what `generate` writes by default
    assert {len(sentence) for sentence in drawn("train")} == {1, 2}
    assert {len(sentence) for sentence in drawn("longer")} >= {3, 4}


def test_every_word_is_learned() -> None:
    sentences = drawn("train")
    assert {word for sentence in sentences for word in english(sentence)} == set(ENGLISH.words)
    assert {word for sentence in sentences for word in chinese(sentence)} == set(CHINESE.words)


@given(st.integers(0, 10**6))
def test_only_what_tiny_town_has_is_said(seed: int) -> None:
    (sentence,) = corpus(random.Random(seed).choice(SPLITS), 1, seed)
    assert read_english(english(sentence)) == sentence
    for top in sentence:
        phrase: Phrase | None = top
        while phrase:
            assert phrase.colour is None or phrase.colour in KINDS[phrase.kind].colours
            assert phrase.place is None or (phrase is top and phrase.place in KINDS[phrase.kind].places)
            assert (phrase.relation is None) == (phrase.landmark is None)
            if phrase.relation and phrase.landmark:
                assert phrase.relation in relations_between(phrase.kind, phrase.landmark.kind)
            phrase = phrase.landmark


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split is 'test'; there are train, seen, held_out, longer"):
        corpus("test", 1)
