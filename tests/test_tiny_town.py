"""Tiny Town: the same bytes everywhere, exact masks, scenes that make sense, and a folder that COCO's tools read."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from detr_mini.data.tiny_town import CATEGORIES, NUM_CLASSES, Scene, SceneObject, draw_scene, make_data

NAME = {category.id: category.name for category in CATEGORIES}
TRAIN, VAL = 6, 5  # images in the small folder


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def scene_digest(scene: Scene) -> str:
    return digest(scene.image.tobytes(), scene.segments.astype("<i4").tobytes())


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(index, "train") for index in range(150)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("town") / "data"
    make_data(root, TRAIN, VAL, seed=3, workers=1)
    return root


def kinds_below(scene: Scene, thing: SceneObject) -> set[str]:
    """Names of what touches the lowest visible row of a thing from below; empty at the border of the picture."""
    mask = scene.segments == thing.segment_id
    row = np.flatnonzero(mask.any(1))[-1]
    if row + 1 == mask.shape[0]:
        return set()
    name = {s.segment_id: NAME[s.category_id] for s in (*scene.objects, *scene.stuff)}
    return {name[int(segment)] for segment in scene.segments[row + 1, mask[row]]}


# --- the same scene everywhere ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "split", "seed", "scale", "expected"),
    [
        (0, "val", 0, 1, "a4c6d760433566946c59d1791e47d93d626734417190c6dbe1e97481aaeec29b"),
        (7, "train", 0, 1, "6ab613af565d531d687be250120b4e15de0380c8c70ef2b7b739bf292d4b7812"),
        (123_456, "train", 9, 1, "8805effbcac2cbaf8d764ea3ee694d9acbcfbe7a77a7ad0281730876ea2583cf"),
        (26, "val", 0, 2, "a8df0c536ff009c3922e3070d63590253556682ab60cd4ca6f4eac70b1a60a0a"),
    ],
)
def test_scenes_keep_their_bytes(index: int, split: str, seed: int, scale: int, expected: str) -> None:
    assert scene_digest(draw_scene(index, split, seed, scale)) == expected


def test_written_annotations_keep_their_bytes(folder: Path) -> None:
    names = ("instances_train", "instances_val", "panoptic_train", "panoptic_val")
    texts = [(folder / "annotations" / f"{name}.json").read_bytes() for name in names]
    assert digest(*texts) == "d85f7682c3f50436775bddb00171f752b64e7ef0e6110b46054981eccac3e289"


def test_index_split_and_seed_each_make_another_scene() -> None:
    drawn = [draw_scene(i, split, seed) for i in range(6) for split in ("train", "val") for seed in (0, 1)]
    assert len({scene_digest(scene) for scene in drawn}) == len(drawn)


def test_a_scene_does_not_depend_on_what_was_drawn_before() -> None:
    first = scene_digest(draw_scene(40))
    for index in range(41, 120):
        draw_scene(index)
    assert scene_digest(draw_scene(40)) == first


@pytest.mark.parametrize(
    ("arguments", "named"), [((0, "test"), "test"), ((-1, "val"), "-1"), ((0, "val", 0, 0), "scale 0")]
)
def test_bad_arguments_are_named(arguments: tuple, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        draw_scene(*arguments)


# --- masks, boxes, areas ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 10**7), split=st.sampled_from(["train", "val"]), scale=st.sampled_from([1, 1, 2]))
def test_boxes_and_areas_are_those_of_the_masks(index: int, split: str, scale: int) -> None:
    scene = draw_scene(index, split, scale=scale)
    segments = (*scene.objects, *scene.stuff)
    assert scene.image.size == scene.segments.shape[::-1]
    assert set(np.unique(scene.segments).tolist()) == {s.segment_id for s in segments}
    assert sum(s.area for s in segments) == scene.segments.size
    for s in segments:
        y, x = np.nonzero(scene.segments == s.segment_id)
        assert s.area == len(x)
        assert s.bbox == (x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1)
    assert all(thing.area >= 25 * (0.8 * scale) ** 2 for thing in scene.objects)


def test_things_and_stuff_are_told_apart(scenes: list[Scene]) -> None:
    things = {c.id for c in CATEGORIES if c.isthing}
    assert max(things) + 1 == NUM_CLASSES
    assert {o.category_id for s in scenes for o in s.objects} == things
    assert {o.category_id for s in scenes for o in s.stuff} == {c.id for c in CATEGORIES} - things


def test_what_is_hidden_too_well_is_left_out() -> None:
    """In these two scenes of nine things, one and two were placed so that others cover most of them."""
    assert [len(draw_scene(index, "train").objects) for index in (423, 482)] == [8, 7]


@pytest.mark.parametrize("index", [3, 20, 25, 26, 117])
def test_a_larger_scale_draws_the_same_scene(index: int) -> None:
    small, large = draw_scene(index), draw_scene(index, scale=2)
    assert large.image.size == (2 * small.image.width, 2 * small.image.height)
    assert [o.category_id for o in large.objects] == [o.category_id for o in small.objects]
    for a, b in zip(small.objects, large.objects, strict=True):
        corners_a = np.array([a.bbox[0], a.bbox[1], a.bbox[0] + a.bbox[2], a.bbox[1] + a.bbox[3]])
        corners_b = np.array([b.bbox[0], b.bbox[1], b.bbox[0] + b.bbox[2], b.bbox[1] + b.bbox[3]])
        assert np.abs(corners_b - 2 * corners_a).max() <= 3
    shrunk = np.asarray(large.image.reduce(2), dtype=float)
    assert np.abs(shrunk - np.asarray(small.image)).mean() < 6  # another scene: about 40


# --- scenes that make sense ------------------------------------------------------------------------------------------


def test_numbers_of_objects(scenes: list[Scene]) -> None:
    numbers = [len(scene.objects) for scene in scenes]
    assert 4 <= np.mean(numbers) <= 5
    assert 8 <= max(numbers) <= 15
    assert 0.02 <= np.mean([n == 0 for n in numbers]) <= 0.08
    assert np.mean([1 <= n <= 2 for n in numbers]) < 0.2


def test_classes_are_balanced(scenes: list[Scene]) -> None:
    count = Counter(NAME[o.category_id] for s in scenes for o in s.objects)
    shares = {name: n / count.total() for name, n in count.items()}
    assert 0.05 <= min(shares.values()) <= max(shares.values()) <= 0.2, shares


def test_crowds_are_groups_of_people_in_one_segment(scenes: list[Scene]) -> None:
    crowds = [o for s in scenes for o in s.objects if o.iscrowd]
    assert 2 <= len(crowds) <= 0.12 * len(scenes)
    assert {NAME[o.category_id] for o in crowds} == {"person"}
    assert np.median([o.bbox[2] / o.bbox[3] for o in crowds]) > 1.5


def test_sizes_and_areas_are_spread(scenes: list[Scene]) -> None:
    sizes = [scene.image.size for scene in scenes]
    assert all(112 <= max(size) <= 136 for size in sizes)
    assert 0.65 <= np.mean([w > h for w, h in sizes]) <= 0.85
    shares = [o.bbox[2] * o.bbox[3] / s.segments.size for s in scenes for o in s.objects]
    low, middle, high = np.percentile(shares, [10, 50, 90])
    assert min(shares) > 0.003
    assert 0.004 < low < 0.012 < middle < 0.05 < 0.09 < high < 0.2 < max(shares) < 0.38


def test_boats_float_and_wheels_are_on_the_road(scenes: list[Scene]) -> None:
    things = {category.name for category in CATEGORIES if category.isthing}
    for ground, classes in (("water", {"boat"}), ("road", {"car", "bus"})):
        below = [kinds_below(s, o) for s in scenes for o in s.objects if NAME[o.category_id] in classes]
        assert (
            np.mean([kinds <= {ground} | things for kinds in below]) > 0.98
        )  # a boat cut by the border may touch the bank
        assert np.mean([kinds == {ground} for kinds in below]) > 0.5


def test_birds_and_balloons_fly(scenes: list[Scene]) -> None:
    flying = [(s, o) for s in scenes for o in s.objects if NAME[o.category_id] in ("bird", "balloon")]
    for scene, thing in flying:
        assert "road" not in kinds_below(scene, thing)
        assert thing.bbox[1] + thing.bbox[3] / 2 < 0.5 * scene.image.height


def test_objects_stand_out_from_what_is_behind_them(scenes: list[Scene]) -> None:
    """Their outline is darker than the background next to it, by a margin that a detector and an eye can see."""
    steps = []
    for scene in scenes:
        gray = np.asarray(scene.image.convert("L"), dtype=float)
        thing = scene.segments > 4
        rim = thing[:, 1:-1] & (~thing[:, :-2] | ~thing[:, 2:])
        outside = ~thing[:, 1:-1] & (thing[:, :-2] | thing[:, 2:])
        if rim.any():
            steps.append(gray[:, 1:-1][outside].mean() - gray[:, 1:-1][rim].mean())
    assert np.mean(steps) > 25


# --- the written folder ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 under numpy 2
@pytest.mark.parametrize(("split", "count", "first"), [("train", TRAIN, 1), ("val", VAL, 1_000_001)])
def test_coco_reads_back_what_was_drawn(folder: Path, split: str, count: int, first: int) -> None:
    coco = COCO(folder / "annotations" / f"instances_{split}.json")
    assert coco.getImgIds() == list(range(first, first + count))
    assert coco.dataset["info"]["area_bins"] == [123, 737]
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == {
        c.id: c.name for c in CATEGORIES if c.isthing
    }
    for index, image_id in enumerate(coco.getImgIds()):
        scene, entry = draw_scene(index, split, 3), coco.imgs[image_id]
        assert entry["file_name"] == f"{image_id:012d}.jpg"
        with Image.open(folder / split / entry["file_name"]) as image:
            assert image.size == (entry["width"], entry["height"]) == scene.image.size
            assert np.abs(np.asarray(image, dtype=float) - np.asarray(scene.image)).mean() < 3
        annotations = coco.imgToAnns[image_id]
        assert len(annotations) == len(scene.objects)
        for annotation, thing in zip(annotations, scene.objects, strict=True):
            mask = coco.annToMask(annotation)
            assert np.array_equal(mask, scene.segments == thing.segment_id)
            assert annotation["area"] == mask.sum()
            assert tuple(annotation["bbox"]) == thing.bbox
            assert (annotation["category_id"], annotation["iscrowd"]) == (thing.category_id, thing.iscrowd)


@pytest.mark.parametrize("split", ["train", "val"])
def test_panoptic_maps_decode_to_the_segments(folder: Path, split: str) -> None:
    panoptic = json.loads((folder / "annotations" / f"panoptic_{split}.json").read_text(encoding="utf-8"))
    assert {c["id"]: (c["isthing"], tuple(c["color"])) for c in panoptic["categories"]} == {
        c.id: (c.isthing, c.colour) for c in CATEGORIES
    }
    for index, entry in enumerate(panoptic["annotations"]):
        scene = draw_scene(index, split, 3)
        with Image.open(folder / "annotations" / f"panoptic_{split}" / entry["file_name"]) as image:
            red, green, blue = np.moveaxis(np.asarray(image, dtype=np.int64), -1, 0)
        assert np.array_equal(red + 256 * green + 65536 * blue, scene.segments)
        assert {s["id"]: s["category_id"] for s in entry["segments_info"]} == {
            s.segment_id: s.category_id for s in (*scene.objects, *scene.stuff)
        }
        assert sum(s["area"] for s in entry["segments_info"]) == scene.segments.size


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for workers in (1, 2):
        make_data(tmp_path / str(workers), train=30, val=1, workers=workers)
    one, two = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "1", tmp_path / "2")
    )
    assert len(one) == 31 * 2 + 4 + 1
    assert one == two


@pytest.mark.parametrize(
    "name", ["val/holiday.jpg", "annotations/instances_train.json", "annotations/panoptic_val.json"]
)
def test_a_folder_from_elsewhere_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=foreign.parent.name):
        make_data(tmp_path, train=1, val=1, workers=1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [foreign]
    assert foreign.read_text(encoding="utf-8") == "mine"


def test_its_own_folder_is_remade_without_leftovers(tmp_path: Path) -> None:
    make_data(tmp_path / "a", train=4, val=2, workers=1)
    (tmp_path / "a" / "train" / "000000000001.jpg").write_bytes(b"cut short")
    make_data(tmp_path / "a", train=2, val=1, workers=1)
    make_data(tmp_path / "b", train=2, val=1, workers=1)
    again, fresh = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    )
    assert again == fresh


def test_a_number_out_of_range_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="-2"):
        make_data(tmp_path / "x", train=-2, val=1, workers=1)
    assert not (tmp_path / "x").exists()


def test_a_full_disk_leaves_the_annotations_as_they_were(tmp_path, monkeypatch):
    make_data(tmp_path, train=2, val=1, workers=1, progress=False)
    files = {path: path.read_bytes() for path in (tmp_path / "annotations").glob("*.json")}

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        make_data(tmp_path, train=3, val=1, workers=1, progress=False)
    assert {path: path.read_bytes() for path in (tmp_path / "annotations").glob("*.json")} == files
    assert not list(tmp_path.rglob("*.part"))
