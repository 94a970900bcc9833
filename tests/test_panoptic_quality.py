"""Panoptic quality by hand, told slowly, by its properties, and as torchmetrics has it."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.detection import PanopticQuality

from detr_mini.data import CATEGORIES, draw_scene
from detr_mini.panoptic_quality import Tally, add_tallies, compare_segments, panoptic_quality

CAR, DOG, SKY, GRASS = 1, 2, 3, 4
KINDS = {CAR, DOG, SKY, GRASS}
STUFF = {SKY, GRASS}

Segments = dict[str, Any]


def picture(rows: Sequence[Sequence[int]] | np.ndarray, kinds: dict[int, int], crowds: Sequence[int] = ()) -> Segments:
    """Segments of ids to categories; other ids are void."""
    segments = [{"id": k, "category_id": kind, "iscrowd": int(k in crowds)} for k, kind in kinds.items()]
    return {"ids": torch.from_numpy(np.array(rows)), "segments": segments}


def quality(*pairs: tuple[Segments, Segments]) -> dict[str, float]:
    return panoptic_quality([compare_segments(found, true) for found, true in pairs], KINDS, STUFF)


# --- by hand


def test_three_segments_by_hand() -> None:
    true = picture([[7, 7, 7, 7], [7, 7, 7, 7], [9, 9, 5, 5], [9, 9, 5, 5]], {5: CAR, 7: SKY, 9: GRASS})
    found = picture([[0, 0, 0, 0], [0, 0, 1, 1], [2, 2, 1, 1], [2, 2, 1, 1]], {0: SKY, 1: CAR, 2: DOG})
    assert compare_segments(found, true) == {
        CAR: Tally(matched=1, iou=4 / 6),
        SKY: Tally(matched=1, iou=6 / 8),
        GRASS: Tally(missed=1),
        DOG: Tally(wrong=1),
    }
    assert quality((found, true)) == pytest.approx(
        {
            "PQ": (4 / 6 + 6 / 8) / 4,
            "SQ": (4 / 6 + 6 / 8) / 4,
            "RQ": 2 / 4,
            "PQ_th": 4 / 6 / 2,
            "SQ_th": 4 / 6 / 2,
            "RQ_th": 1 / 2,
            "PQ_st": 6 / 8 / 2,
            "SQ_st": 6 / 8 / 2,
            "RQ_st": 1 / 2,
        }
    )


def test_the_numbers_of_a_category() -> None:
    tally = Tally(matched=3, wrong=1, missed=2, iou=2.4)
    assert (tally.sq, tally.rq, tally.pq) == pytest.approx((0.8, 3 / 4.5, 2.4 / 4.5))
    assert (Tally().pq, Tally(wrong=2).pq, Tally(missed=2).rq) == (0, 0, 0)


def test_half_is_no_match() -> None:
    """Two of four pixels; three of five would be one."""
    true = picture([[1, 1, 1, 1, 2]], {1: CAR, 2: SKY})
    assert compare_segments(picture([[1, 1, 0, 0, 2]], {1: CAR, 2: SKY}), true)[CAR] == Tally(wrong=1, missed=1)
    assert compare_segments(picture([[1, 1, 1, 0, 2]], {1: CAR, 2: SKY}), true)[CAR] == Tally(matched=1, iou=3 / 4)


def test_void_is_left_out_of_the_union() -> None:
    true = picture([[1, 1, 1, 0, 0, 0, 0, 2]], {1: CAR, 2: CAR})
    found = picture([[1, 1, 1, 1, 1, 1, 1, 2]], {1: CAR, 2: CAR})
    assert compare_segments(found, true) == {CAR: Tally(matched=2, iou=2)}


def test_what_a_prediction_leaves_open_stays_in_the_union() -> None:
    true = picture([[1, 1, 1, 1, 1]], {1: CAR})
    assert compare_segments(picture([[8, 1, 1, 1, 8]], {1: CAR}), true) == {CAR: Tally(matched=1, iou=3 / 5)}
    assert compare_segments(picture([[8, 8, 8, 8, 8]], {}), true) == {CAR: Tally(missed=1)}


@pytest.mark.parametrize(("in_void", "wrong"), [(3, True), (4, False)])  # of six pixels
def test_more_than_half_in_void_is_not_counted(in_void: int, wrong: bool) -> None:
    true = picture([[0] * in_void + [1] * (6 - in_void) + [1] * 9], {1: SKY})
    found = picture([[1] * 6 + [2] * 9], {1: CAR, 2: SKY})
    assert compare_segments(found, true)[CAR] == (Tally(wrong=1) if wrong else Tally())


@pytest.mark.parametrize(
    ("kind", "in_crowd", "in_void", "wrong"),
    [(CAR, 3, 0, True), (CAR, 4, 0, False), (CAR, 2, 1, True), (CAR, 2, 2, False), (DOG, 4, 0, True)],
)
def test_more_than_half_in_a_crowd_of_its_category_is_not_counted(
    kind: int, in_crowd: int, in_void: int, wrong: bool
) -> None:
    row = [5] * in_crowd + [0] * in_void + [1] * (6 - in_crowd - in_void) + [1] * 9
    found = picture([[1] * 6 + [2] * 9], {1: kind, 2: SKY})
    tallies = compare_segments(found, picture([row], {1: SKY, 5: CAR}, crowds=[5]))
    assert tallies[kind] == (Tally(wrong=1) if wrong else Tally())


def test_a_crowd_is_neither_found_nor_missed() -> None:
    true = picture([[5, 5, 5, 1]], {1: SKY, 5: CAR}, crowds=[5])
    for found in (picture([[1, 1, 1, 2]], {1: CAR, 2: SKY}), picture([[0, 0, 0, 2]], {2: SKY})):
        numbers = quality((found, true))
        assert (numbers["PQ"], numbers["PQ_th"], numbers["PQ_st"]) == (1, -1, 1), "cars do not occur"


def test_nothing_at_all() -> None:
    assert set(panoptic_quality([], KINDS, STUFF).values()) == {-1}
    assert compare_segments(picture([[0, 0]], {}), picture([[0, 0]], {})) == {}


def test_the_numbers_are_means_over_categories_and_not_over_segments() -> None:
    true = picture([[1, 2, 3, 4]], {1: CAR, 2: CAR, 3: CAR, 4: DOG})
    found = picture([[1, 2, 3, 4]], {1: CAR, 2: CAR, 3: CAR, 4: SKY})
    assert quality((found, true))["PQ_th"] == 1 / 2


def test_a_category_that_the_data_has_not_is_left_out() -> None:
    true = picture([[1, 2]], {1: CAR, 2: SKY})
    assert quality((picture([[1, 2]], {1: CAR, 2: 77}), true)) == {
        **dict.fromkeys(("PQ", "SQ", "RQ"), 1 / 2),
        **dict.fromkeys(("PQ_th", "SQ_th", "RQ_th"), 1),
        **dict.fromkeys(("PQ_st", "SQ_st", "RQ_st"), 0),
    }


def test_sums_are_the_same_to_the_last_digit_in_any_order() -> None:
    parts = [(2, 3), (3, 4), (4, 7)]  # pixels found and true of three cars; the sum has two values
    assert len({x + y + z for x, y, z in itertools.permutations(a / b for a, b in parts)}) == 2
    of_picture, of_pictures = set(), set()
    for order in itertools.permutations(parts):
        rows = [[k] * seen + [9] * (size - seen) for k, (seen, size) in enumerate(order)]  # 9: open
        kinds = dict.fromkeys(range(3), CAR)
        true = picture([[k for k, (_, pixels) in enumerate(order) for _ in range(pixels)]], kinds)
        of_picture.add(compare_segments(picture([[k for row in rows for k in row]], kinds), true)[CAR])
        of_pictures.add(add_tallies([{CAR: Tally(matched=1, iou=a / b)} for a, b in order])[CAR])
    assert of_picture == of_pictures == {Tally(matched=3, iou=math.fsum(a / b for a, b in parts))}


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="1 x 2 and 1 x 3 pixels"):
        compare_segments(picture([[0, 0]], {}), picture([[0, 0, 0]], {}))


def test_large_ids_of_a_short_type_are_told_apart() -> None:
    ids = np.array([[2**24 - 1, 2**24 - 2, 2**24 - 2]], dtype=np.int32)
    true = picture(ids, {2**24 - 1: CAR, 2**24 - 2: SKY})
    assert compare_segments(true, true) == {CAR: Tally(matched=1, iou=1), SKY: Tally(matched=1, iou=1)}


# --- told slowly, and properties


@st.composite
def drawn(draw: st.DrawFn, size: tuple[int, int] | None = None, crowds: bool = True, void: bool = True) -> Segments:
    """A picture of blocks, with up to six segments of the four categories."""
    height, width = size or (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    count = draw(st.integers(0 if void else 1, 6))
    ids = draw(st.lists(st.integers(0, 2**24 - 1), min_size=count, max_size=count, unique=True))
    kinds = dict(zip(ids, draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=count, max_size=count)), strict=True))
    pool = [*ids, 2**25] if void else ids  # 2 ** 25 is the id of no segment
    cells = draw(st.lists(st.sampled_from(pool), min_size=height * width, max_size=height * width))
    rows = np.array(cells).reshape(height, width).repeat(2, axis=1)
    return picture(rows, kinds, draw(st.sets(st.sampled_from(ids))) if ids and crowds else ())


@st.composite
def pairs(draw: st.DrawFn, **options: bool) -> tuple[Segments, Segments]:
    """What was found and what is true, of one size."""
    true = draw(drawn(**options))
    height, width = true["ids"].shape
    return draw(drawn(size=(height, width // 2), **options)), true


def told_slowly(found: Segments, true: Segments) -> dict[int, Tally]:
    """The rules of COCO, segment by segment with sets of pixels."""

    def pixels(of: Segments, segment: dict[str, int] | None) -> set[tuple[int, ...]]:
        known = {one["id"] for one in of["segments"]}
        where = np.ndenumerate(of["ids"].numpy())
        return {at for at, k in where if (k == segment["id"] if segment else k not in known)}

    void = pixels(true, None)
    tallies: dict[int, Tally] = {}

    def count(kind: int, **more: float) -> None:
        old = tallies.get(kind, Tally())
        tallies[kind] = old._replace(**{name: getattr(old, name) + value for name, value in more.items()})

    matched_true, matched_found = set(), set()
    for t in true["segments"]:
        for f in found["segments"]:
            a, b = pixels(true, t), pixels(found, f)
            if not t["iscrowd"] and t["category_id"] == f["category_id"] and 2 * len(a & b) > len((a | b) - void):
                count(t["category_id"], matched=1, iou=len(a & b) / len((a | b) - void))
                matched_true.add(t["id"])
                matched_found.add(f["id"])
    for t in true["segments"]:
        if t["id"] not in matched_true and not t["iscrowd"]:
            count(t["category_id"], missed=1)
    for f in found["segments"]:
        forgiven = set(void)
        for t in true["segments"]:
            if t["iscrowd"] and t["category_id"] == f["category_id"]:
                forgiven |= pixels(true, t)
        b = pixels(found, f)
        if f["id"] not in matched_found and not 2 * len(b & forgiven) > len(b):
            count(f["category_id"], wrong=1)
    return tallies


def counted(tallies: dict[int, Tally]) -> dict[int, Any]:
    return {kind: pytest.approx(tuple(tally)) for kind, tally in tallies.items() if any(tally)}


@settings(max_examples=300)
@given(pairs())
def test_it_is_what_the_rules_say(pair: tuple[Segments, Segments]) -> None:
    ours = {kind: tuple(tally) for kind, tally in compare_segments(*pair).items() if any(tally)}
    assert ours == counted(told_slowly(*pair))


@given(drawn(crowds=False))
def test_the_truth_is_perfect(true: Segments) -> None:
    """Segments without a pixel cannot be found."""
    seen = set(true["ids"].flatten().tolist())
    true["segments"] = [segment for segment in true["segments"] if segment["id"] in seen]
    numbers = quality((true, true))
    kinds = {segment["category_id"] for segment in true["segments"]}
    for ending, group in {"": kinds, "_th": kinds - STUFF, "_st": kinds & STUFF}.items():
        assert {numbers[f"{name}{ending}"] for name in ("PQ", "SQ", "RQ")} == {1.0 if group else -1.0}


@given(pairs(), st.randoms(use_true_random=False))
def test_names_and_order_of_segments_change_nothing(pair: tuple[Segments, Segments], rng: Any) -> None:
    def renamed(of: Segments) -> Segments:
        old = [segment["id"] for segment in of["segments"]]
        new = dict(zip(old, rng.sample(range(100), len(old)), strict=True))
        ids = of["ids"].clone().apply_(lambda k: new.get(k, 200))
        segments = [{**segment, "id": new[segment["id"]]} for segment in of["segments"]]
        return {"ids": ids, "segments": rng.sample(segments, len(segments))}

    assert compare_segments(renamed(pair[0]), renamed(pair[1])) == compare_segments(*pair)


@given(pairs(crowds=False, void=False))
def test_found_and_true_exchanged(pair: tuple[Segments, Segments]) -> None:
    found, true = pair
    exchanged = {kind: t._replace(wrong=t.missed, missed=t.wrong) for kind, t in compare_segments(true, found).items()}
    assert compare_segments(found, true) == exchanged


@given(st.lists(pairs(), max_size=6), st.integers(0, 6), st.randoms(use_true_random=False))
def test_two_processes_count_what_one_counts(images: list[tuple[Segments, Segments]], first: int, rng: Any) -> None:
    tallies = [compare_segments(*pair) for pair in images]
    numbers = panoptic_quality(tallies, KINDS, STUFF)
    assert panoptic_quality(rng.sample(tallies, len(tallies)), KINDS, STUFF) == numbers, "to the last digit"
    halves = [add_tallies(tallies[:first]), add_tallies(tallies[first:])]
    assert panoptic_quality(halves, KINDS, STUFF) == pytest.approx(numbers)


@given(pairs())
def test_pq_is_sq_times_rq_of_one_category(pair: tuple[Segments, Segments]) -> None:
    numbers = panoptic_quality([compare_segments(*pair)], {CAR}, ())
    assert numbers["PQ"] == pytest.approx(abs(numbers["SQ"] * numbers["RQ"]) * (1 if numbers["PQ"] >= 0 else -1))
    assert numbers["PQ_st"] == -1


# --- as torchmetrics has it
#
# Torchmetrics has no crowds: here they are void, for both. A segment is a pair of category and number there, and stuff
# has one segment for each category: so it is drawn here. And what a *prediction* leaves open is void there, too, left
# out of unions and of what was missed, where COCO's rule knows void in the annotation alone: here every pixel is in a
# predicted segment.


def colors(of: Segments, void: int) -> torch.Tensor:
    """Category and id of each pixel, ``(1, H, W, 2)``; ``void`` is a category of neither things nor stuff."""
    kind = torch.full_like(of["ids"], void)
    for segment in of["segments"]:
        kind[of["ids"] == segment["id"]] = segment["category_id"]
    return torch.stack([kind, of["ids"]], dim=-1)[None]


def assert_torchmetrics_agrees(
    images: list[tuple[Segments, Segments]], categories: Sequence[int], stuff: set[int]
) -> dict[str, float]:
    things = set(categories) - stuff
    metric = PanopticQuality(things, stuff, return_sq_and_rq=True, return_per_class=True, compute_with_cache=False)
    for found, true in images:
        metric.update(colors(found, 999), colors(true, 999))
    theirs = metric.compute().tolist()  # of each category, things before stuff, in the order of their ids
    tallies = [compare_segments(*pair) for pair in images]
    total = add_tallies(tallies)
    ours = [total.get(kind, Tally()) for kind in (*sorted(things), *sorted(stuff))]
    assert [(t.pq, t.sq, t.rq) for t in ours] == [pytest.approx(row, abs=1e-6) for row in theirs]
    numbers = panoptic_quality(tallies, categories, stuff)
    metric.return_per_class = False
    means = metric.compute().nan_to_num(-1).flatten().tolist()  # of no category: -1 here, nan there
    assert [numbers[name] for name in ("PQ", "SQ", "RQ")] == pytest.approx(means, abs=1e-6)
    return numbers


def merged_stuff(of: Segments, stuff: set[int]) -> Segments:
    """The same picture with one segment for each kind of stuff, and none without a pixel."""
    first: dict[int, int] = {}
    ids, seen = of["ids"].clone(), set(of["ids"].flatten().tolist())
    for segment in of["segments"]:
        if segment["category_id"] in stuff and segment["id"] in seen:
            ids[ids == segment["id"]] = first.setdefault(segment["category_id"], segment["id"])
    seen = set(ids.flatten().tolist())
    return {"ids": ids, "segments": [segment for segment in of["segments"] if segment["id"] in seen]}


@given(st.data())
def test_random_maps_as_torchmetrics_has_them(data: st.DataObject) -> None:
    images = []
    for _ in range(data.draw(st.integers(1, 4))):
        true = data.draw(drawn(crowds=False))
        height, width = true["ids"].shape
        found = data.draw(drawn(size=(height, width // 2), crowds=False, void=False))
        images.append((merged_stuff(found, STUFF), merged_stuff(true, STUFF)))
    assert_torchmetrics_agrees(images, sorted(KINDS), STUFF)


def spoiled(true: Segments, stuff: set[int], rng: np.random.Generator) -> Segments:
    """Segments moved by a pixel or two, some joined with another, some of another category, and some pixels astray."""
    ids = true["ids"].numpy()
    ids = np.roll(ids, rng.integers(-2, 3, size=2), axis=(0, 1))
    known = [segment["id"] for segment in true["segments"]]
    for k in known:
        if rng.random() < 0.1:
            ids = np.where(ids == k, rng.choice(known), ids)
    astray = rng.random(ids.shape) < 0.05
    ids = np.where(astray | ~np.isin(ids, known), rng.choice(known, ids.shape), ids)
    kinds = {
        segment["id"]: int(rng.choice([one.id for one in CATEGORIES])) if rng.random() < 0.1 else segment["category_id"]
        for segment in true["segments"]
    }
    return merged_stuff(picture(ids, kinds), stuff)


@pytest.mark.slow
def test_500_scenes_as_torchmetrics_has_them() -> None:
    """Tiny Town's validation scenes, against the same scenes spoiled. Their crowds are made void."""
    stuff = {one.id for one in CATEGORIES if not one.isthing}
    rng = np.random.default_rng(0)
    images = []
    for index in range(500):
        scene = draw_scene(index, "val")
        segments = [*scene.objects, *scene.stuff]
        kinds = {one.segment_id: one.category_id for one in segments if not one.iscrowd}
        true = picture(scene.segments.astype(np.int64), kinds)
        images.append((spoiled(true, stuff, rng), true))
    numbers = assert_torchmetrics_agrees(images, [one.id for one in CATEGORIES], stuff)
    assert 0.2 < numbers["PQ"] < numbers["SQ"] < 0.9
    assert 0.2 < numbers["PQ_th"] < numbers["PQ_st"] < 0.9
