"""Detections and segments drawn with Pillow: where they belong, in the color of their class, at any size."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor

from detr_mini.colours import COLOURS
from detr_mini.data.image import read_image
from detr_mini.data.panoptic import CocoPanoptic
from detr_mini.drawing import draw_detections, draw_panoptic

NAMES = {3: "dog", 7: "cat"}
NAMELESS = {3: "", 7: ""}


def found(*boxes, labels=None):
    return {
        "scores": torch.linspace(0.9, 0.5, len(boxes)),
        "labels": torch.tensor(labels or [3] * len(boxes)),
        "boxes": torch.tensor(boxes, dtype=torch.float).reshape(-1, 4),
    }


def colour_of(picture, x, y):
    """The color of the book's palette that a pixel has, if any."""
    pixel = picture.getpixel((x, y))
    return next((name for name, colour in COLOURS.items() if ImageColor.getrgb(colour) == pixel), None)


def test_a_box_is_drawn_on_its_edges_and_nowhere_else():
    gray = torch.full((3, 600, 1000), 128, dtype=torch.uint8)
    picture = draw_detections(gray, found([200, 150, 700, 500]), NAMES)
    assert picture.size == (1000, 600)
    for x, y in [(200, 300), (700, 300), (450, 150), (450, 500)]:
        assert colour_of(picture, x, y) == "blue"
    changed = (np.asarray(picture) != 128).any(-1)
    rows, columns = changed.nonzero()
    assert columns.min() >= 195
    assert columns.max() <= 705
    assert rows.max() <= 505
    assert rows.min() >= 110, "the label, above the box"
    assert not changed[160:490, 210:690].any()


def test_a_class_has_its_colour():
    boxes = [100, 100, 300, 300], [500, 100, 700, 300], [100, 400, 300, 550]
    picture = draw_detections(torch.zeros(3, 600, 900, dtype=torch.uint8), found(*boxes, labels=[3, 7, 3]), NAMES)
    assert [colour_of(picture, box[0], box[3] - 40) for box in boxes] == ["blue", "vermilion", "blue"]


def test_a_small_image_is_enlarged_with_its_boxes():
    picture = draw_detections(torch.zeros(3, 96, 128, dtype=torch.uint8), found([16, 32, 96, 64]), NAMES)
    assert picture.size == (800, 600)
    assert colour_of(picture, 100, 300) == "blue"
    assert colour_of(picture, 600, 300) == "blue"


@pytest.mark.parametrize("size", [(3000, 4000), (30, 4000), (2000, 3), (1, 1)])
def test_any_size_and_boxes_that_reach_out(size):
    height, width = size
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    boxes = [-0.2 * width, -0.1 * height, 0.5 * width, 1.2 * height], [0.9 * width, 0, 1.1 * width, 0.01 * height]
    picture = draw_detections(image, found(*boxes), NAMES)
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.3)
    assert np.asarray(picture).any()


def test_lines_and_text_follow_the_size():
    shares = []
    for scale in (1, 5):
        image = torch.zeros(3, 600 * scale, 800 * scale, dtype=torch.uint8)
        box = [200 * scale, 200 * scale, 600 * scale, 500 * scale]
        shares.append((np.asarray(draw_detections(image, found(box), NAMES)) > 0).any(-1).mean())
    assert shares[0] == pytest.approx(shares[1], rel=0.2)


def test_nothing_found_is_the_image_itself_which_stays_as_it_was():
    image = torch.randint(0, 255, (3, 600, 900), dtype=torch.uint8)
    before = image.clone()
    assert np.array_equal(np.asarray(draw_detections(image, found(), {})), before.permute(1, 2, 0).numpy())
    draw_detections(image, found([100, 100, 300, 300]), {})
    assert torch.equal(image, before)


def segments_of(ids, *classes, stuff=()):
    """Ids ``(H, W)`` with segments 1, 2, ... of these classes."""
    return {
        "ids": ids,
        "segments": [
            {"id": k, "category_id": c, "isthing": c not in stuff, "area": int((ids == k).sum())}
            for k, c in enumerate(classes, start=1)
        ],
    }


def halves(height, width, *, first=1, second=2):
    """Ids of which the left half is one and the right half the other."""
    ids = torch.full((height, width), first)
    ids[:, width // 2 :] = second
    return ids


def gray(height, width, value=128):
    return torch.full((3, height, width), value, dtype=torch.uint8)


def pixels(*arguments):
    return np.asarray(draw_panoptic(*arguments)).astype(int)


def marked(image, found, names):
    """Where names are written: what differs from a picture without them."""
    return (pixels(image, found, names) != pixels(image, found, dict.fromkeys(names, ""))).any(-1)


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    known=st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=6, unique=True),
    seed=st.integers(0, 1000),
)
def test_any_ids_give_the_same_picture_of_the_size_of_that_with_boxes(height, width, known, seed):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(0, 255, (3, height, width), dtype=np.uint8))
    ids = torch.from_numpy(rng.choice([*known, 7, 2**24 - 2], (height, width)))
    segments = [
        {"id": number, "category_id": int(rng.integers(0, 9)), "isthing": bool(rng.integers(2)), "area": 5}
        for number in known
    ]
    before = image.clone(), ids.clone()
    first = draw_panoptic(image, {"ids": ids, "segments": segments}, NAMES)
    again = draw_panoptic(image, {"ids": ids, "segments": segments}, NAMES)
    assert first.tobytes() == again.tobytes()
    assert first.size == draw_detections(image, found(), NAMES).size
    assert torch.equal(image, before[0])
    assert torch.equal(ids, before[1])


def test_a_segment_is_mixed_with_the_colour_of_its_class_and_stuff_less():
    ids = torch.zeros(600, 900, dtype=torch.int64)
    ids[:, 300:600], ids[:, 600:] = 1, 2
    image = gray(600, 900)
    image[:, :, :300] = torch.tensor([200, 40, 40])[:, None, None].to(torch.uint8)
    picture = pixels(image, segments_of(ids, 3, 7, stuff={7}), NAMELESS)
    blue, vermilion = (np.array(ImageColor.getrgb(COLOURS[name])) for name in ("blue", "vermilion"))
    assert picture[300, 150].tolist() == [200, 40, 40], "without a segment"
    assert picture[300, 450] == pytest.approx(0.62 * blue + 0.38 * 128, abs=1.5)
    assert picture[300, 750] == pytest.approx(0.34 * vermilion + 0.66 * 128, abs=1.5)


def test_a_segment_is_seen_through_its_colour():
    image = gray(600, 900)
    image[:, 250:350] = torch.tensor([200, 40, 40])[:, None, None].to(torch.uint8)
    picture = pixels(image, segments_of(torch.ones(600, 900, dtype=torch.int64), 3), NAMELESS)
    assert (picture[300, 450] - picture[100, 450])[0] > 10
    assert np.ptp(picture[300, 450] - picture[100, 450]) < 0.3 * 160, "and keeps little of its own"


def test_things_of_a_class_differ_and_are_nearest_to_its_colour():
    ids = torch.arange(1, 11).repeat_interleave(100).expand(600, 1000)
    picture = pixels(gray(600, 1000), segments_of(ids, *[3] * 5, *[7] * 5), NAMELESS)
    colours = picture[300, 50::100]
    for one, other in itertools.combinations(colours, 2):
        assert np.abs(one - other).max() > 8
    blue, vermilion = (np.array(ImageColor.getrgb(COLOURS[name])) for name in ("blue", "vermilion"))
    for k, colour in enumerate(colours):
        distances = [np.abs(colour - (0.62 * wanted + 0.38 * 128)).sum() for wanted in (blue, vermilion)]
        assert distances.index(min(distances)) == k // 5


def test_sixty_classes_have_colours_of_their_own():
    ids = torch.arange(1, 61).repeat_interleave(20).expand(600, 1200)
    names = dict.fromkeys(range(60), "")
    colours = pixels(gray(600, 1200), segments_of(ids, *range(60)), names)[300, 10::20]
    assert len({tuple(colour) for colour in colours}) == 60
    near = [np.abs(one - other).max() for one, other in itertools.pairwise(colours)]
    assert min(near) > 25, "of numbers side by side, which are often of one kind"


@pytest.mark.parametrize("ground", [0, 60, 128, 200, 255])
@pytest.mark.parametrize("others", [(), (3, 3), (3, 7), (7, 7)])
def test_the_line_between_segments_is_seen_on_any_ground(ground, others):
    """Also between what has no segment and what has one, and nowhere else: not at the edge of the picture."""
    found = segments_of(halves(600, 900, first=0, second=1), 3, stuff={7})
    if others:
        found = segments_of(halves(600, 900), *others, stuff={7})
    row = pixels(gray(600, 900, ground), found, NAMELESS)[300]
    light, dark = row.min(-1), row.max(-1)
    assert 1 <= (light[440:460] > 225).sum() <= 3 or ground == 255
    assert light[440:460].max() > 225
    assert dark[440:460].min() < 0.75 * min(dark[0], dark[-1]) or ground < 200, (
        "what a light line needs on light ground"
    )
    assert not np.ptp(row[:440], axis=0).any()
    assert not np.ptp(row[460:], axis=0).any()


def test_segments_of_a_small_image_stay_whole_pixels():
    found = segments_of(halves(96, 128, first=0, second=1), 3)
    found["ids"][:, :16] = 1
    picture = draw_panoptic(gray(96, 128), found, NAMELESS)
    assert picture.size == (800, 600)
    tinted = np.asarray(picture)[300, :, 2] > 140
    assert tinted[[5, 90, 410, 795]].all()
    assert not tinted[[110, 390]].any()


def test_an_enlarged_image_has_no_segment_between_two():
    ids = halves(96, 128, first=1, second=3)
    ids[:10] = 2
    row = pixels(gray(96, 128, 60), segments_of(ids, 3, 7, 5), NAMELESS | {5: ""})[400]
    assert (row.min(-1) > 225).sum() <= 3, "one line"


def test_the_order_of_the_segments_in_the_list_means_nothing():
    found = segments_of(halves(600, 900), 3, 7)
    turned = {**found, "segments": found["segments"][::-1]}
    assert (pixels(gray(600, 900), found, NAMES) == pixels(gray(600, 900), turned, NAMES)).all()


def test_a_name_prefers_a_place_where_all_of_it_fits():
    ids = torch.zeros(600, 900, dtype=torch.int64)
    ids[100:190, 100:190] = 1  # with more room around a point, but narrower than the name
    ids[400:440, 100:500] = 1
    rows, columns = marked(gray(600, 900), segments_of(ids, 3), {3: "a long-haired dog"}).nonzero()
    assert rows.min() > 400
    assert columns.max() < 500


@pytest.mark.parametrize("others", [(), (slice(100, 120), slice(50, 800)), (slice(100, 200), slice(700, 800))])
@pytest.mark.parametrize("part", [(slice(300, 500), slice(100, 300)), (slice(540, 600), slice(0, 900))])
def test_a_name_stands_where_its_segment_has_most_room(part, others):
    """In the middle of its largest part, be there thin or small ones too."""
    ids = torch.zeros(600, 900, dtype=torch.int64)
    ids[part] = 1
    if others and part[0].start == 300:
        ids[others] = 1
    for axis, place in enumerate(marked(gray(600, 900), segments_of(ids, 3), NAMES).nonzero()):
        middle = (part[axis].start + part[axis].stop) / 2
        assert (place.min() + place.max()) / 2 == pytest.approx(middle, abs=8)


def test_a_name_stays_out_of_a_hole():
    ids = torch.ones(600, 900, dtype=torch.int64)
    ids[200:400, 300:600] = 0
    where = marked(gray(600, 900), segments_of(ids, 3), NAMES)
    assert where.any()
    assert not where[(ids == 0).numpy()].any()


@pytest.mark.parametrize(("width", "named"), [(100, True), (36, True), (24, False), (4, False), (0, False)])
def test_a_name_that_does_not_fit_is_left_out(width, named):
    ids = torch.zeros(600, 900, dtype=torch.int64)
    ids[100:500, 400 : 400 + width] = 1
    assert marked(gray(600, 900), segments_of(ids, 3), NAMES).any() == named


def test_names_do_not_cover_each_other():
    """Each of these would reach a little into the other."""
    ids = torch.zeros(600, 900, dtype=torch.int64)
    ids[280:320, 400:436], ids[280:320, 436:472] = 1, 2
    assert marked(gray(600, 900), segments_of(ids.where(ids == 2, 0), 3, 3), NAMES)[:, 440:].any()
    assert not marked(gray(600, 900), segments_of(ids, 3, 3), NAMES)[:, 444:].any()
    ids[320:330, 436:472] = 2
    assert not marked(gray(600, 900), segments_of(ids, 3, 3), NAMES)[:, :428].any(), "the larger one has its name"
    ids[250:350, 436:466], ids[250:350, 466:] = 2, 0
    both = segments_of(ids, 3, 7, stuff={7})
    assert marked(gray(600, 900), {**both, "segments": both["segments"][1:]}, NAMES)[:, 440:].any()
    assert marked(gray(600, 900), both, NAMES)[:, :428].any(), "a thing has its name before stuff"
    assert not marked(gray(600, 900), both, NAMES)[:, 444:].any()


def test_the_name_of_stuff_is_quieter():
    thing, stuff = (
        marked(gray(600, 900), segments_of(torch.ones(600, 900, dtype=torch.int64), 3, stuff=stuff), NAMES)
        for stuff in ((), (3,))
    )
    assert 0.5 < stuff.sum() / thing.sum() < 0.9


def test_an_id_without_a_name_is_written_as_it_is():
    found = segments_of(torch.ones(600, 900, dtype=torch.int64), 3)
    names = dict.fromkeys(range(4), "")
    assert (
        pixels(gray(600, 900), found, {**names, 3: "3"}) == pixels(gray(600, 900), found, {0: "", 1: "", 2: ""})
    ).all()


@pytest.mark.parametrize("size", [(3000, 4000), (30, 4000), (2000, 3), (1, 1)])
def test_any_size_has_its_segments(size):
    height, width = size
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    picture = draw_panoptic(image, segments_of(halves(height, width), 3, 7), NAMES)
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.3)
    assert np.asarray(picture).any()


def test_lines_and_names_follow_the_size():
    shares = []
    for scale in (1, 4):
        picture = pixels(gray(600 * scale, 800 * scale, 0), segments_of(halves(600 * scale, 800 * scale), 3, 7), NAMES)
        shares.append((picture.min(-1) > 200).mean())
    assert shares[0] == pytest.approx(shares[1], rel=0.25)


def test_no_segments_are_the_image_itself():
    image = torch.randint(0, 255, (3, 600, 900), dtype=torch.uint8)
    nothing = {"ids": torch.zeros(600, 900, dtype=torch.int64), "segments": []}
    assert np.array_equal(np.asarray(draw_panoptic(image, nothing, {})), image.permute(1, 2, 0).numpy())


def test_annotated_scenes_are_drawn_with_a_name_for_what_is_large(town):
    dataset = CocoPanoptic(town, "val")
    for index in range(4):
        name = dataset.coco.loadImgs(dataset.ids[index])[0]["file_name"]
        image, found = read_image(town / "val" / name), dataset.panoptic(index)
        where = marked(image, found, dataset.class_names)
        rows = (np.arange(where.shape[0]) * found["ids"].shape[0] / where.shape[0]).astype(int)
        columns = (np.arange(where.shape[1]) * found["ids"].shape[1] / where.shape[1]).astype(int)
        ids = found["ids"].numpy()[rows][:, columns]
        for segment in found["segments"]:
            if segment["area"] > 0.1 * found["ids"].numel():
                assert where[ids == segment["id"]].any(), f"{dataset.class_names[segment['category_id']]} in {name}"
