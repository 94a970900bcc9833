"""Night Harbor: the same pixels everywhere, boxes that fit, and files as Roboflow exports them."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detr_mini.commands.cli import main
from detr_mini.data import make_data
from detr_mini.data.night_harbor import NIGHT_CLASSES, NightScene, _plan, _settle, draw_night_scene, make_night_data

COUNTS = {"train": 24, "valid": 6, "test": 3}


@pytest.fixture(scope="module")
def scenes() -> list[NightScene]:
    return [draw_night_scene(index) for index in range(120)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("night") / "data"
    make_night_data(root, 24, 6, seed=3, test=3, progress=False)
    return root


def read(folder: Path, split: str) -> dict:
    return json.loads((folder / split / "_annotations.coco.json").read_text(encoding="utf-8"))


def boxes_of(content: dict, file_name: str) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Class and box of each annotation of a picture, by annotation id."""
    image = next(one["id"] for one in content["images"] if one["file_name"] == file_name)
    own = [a for a in content["annotations"] if a["image_id"] == image]
    return {a["id"]: (a["category_id"], tuple(a["bbox"])) for a in own}


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# --- scenes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "seed", "split", "expected"),
    [
        (0, 0, "train", "fefe632276b93b7e737b2ec14cebe87e17c2dcd51b66320202c1aea4a60f349b"),
        (15, 0, "train", "2234e41ab28e1c45c7a06302cd60b02e6eb24b9bf4fe5233d60cd163294be302"),
        (66, 0, "train", "f794a131896af15a436260b091a0acdce046e1eec87322ed426dee783b08d31b"),
        (3, 7, "valid", "039fc9a8aaf3eb80989a37383063d9ed9ea12e7d5d2f741313a941742f3c1d19"),
    ],
)
def test_scenes_keep_their_bytes(index: int, seed: int, split: str, expected: str) -> None:
    scene = draw_night_scene(index, seed, split)
    assert hashlib.sha256(scene.image.tobytes() + repr(scene.objects).encode()).hexdigest() == expected


def test_index_split_and_seed_each_make_another_scene() -> None:
    drawn = {
        draw_night_scene(i, seed, split).image.tobytes()
        for i in (0, 1)
        for seed in (0, 1)
        for split in ("train", "valid")
    }
    assert len(drawn) == 8


@pytest.mark.parametrize(("arguments", "named"), [((0, 0, "val"), "'val'"), ((-1, 0, "train"), "-1")])
def test_bad_arguments_are_named(arguments: tuple, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        draw_night_scene(*arguments)


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 10**7), split=st.sampled_from(["train", "valid", "test"]))
def test_boxes_fit_what_can_be_seen(index: int, split: str) -> None:
    scene = draw_night_scene(index, split=split)
    plan, _, ids = _settle(index, split, 0)
    assert set(np.unique(ids).tolist()) - {0} == set(range(1, len(scene.objects) + 1))
    for number, (thing, planned) in enumerate(zip(scene.objects, plan.things, strict=True), 1):
        y, x = np.nonzero(ids == number)
        assert thing.bbox == (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)
        assert thing.category_id == planned.category
        assert len(x) >= 40


def test_a_hidden_object_is_left_out() -> None:
    """In this scene an object was planned of which others hide more than the half."""
    assert len(_plan(134, "train", 0).things) > len(draw_night_scene(134).objects)


def test_sizes_and_numbers_of_objects(scenes: list[NightScene]) -> None:
    shapes = Counter(scene.image.shape for scene in scenes)
    assert set(shapes) == {(240, 320, 3), (320, 240, 3), (180, 320, 3)}
    assert 0.45 <= shapes[240, 320, 3] / len(scenes) <= 0.75
    numbers = [len(scene.objects) for scene in scenes]
    assert min(numbers) == 0 < numbers.count(0) < 0.12 * len(scenes)
    assert 9 <= max(numbers) <= 12
    assert 3.5 <= np.mean(numbers) <= 5.5


def test_classes_are_balanced_and_of_different_shape(scenes: list[NightScene]) -> None:
    count = Counter(o.category_id for s in scenes for o in s.objects)
    assert set(count) == set(range(1, len(NIGHT_CLASSES) + 1))
    assert 0.08 <= min(count.values()) / count.total() <= max(count.values()) / count.total() <= 0.28
    sides = {
        name: np.median([o.bbox[2:] for s in scenes for o in s.objects if o.category_id == i], axis=0)
        for i, name in enumerate(NIGHT_CLASSES, 1)
    }
    area = {name: w * h for name, (w, h) in sides.items()}
    assert sides["lighthouse"][1] > 3 * sides["lighthouse"][0]
    assert sides["ferry"][0] > 2.5 * sides["ferry"][1]
    assert area["ferry"] > 3 * area["buoy"]
    assert max(area["gull"], area["lantern"], area["buoy"]) < 0.015 * 320 * 240


def test_it_is_night_and_lamps_shine(scenes: list[NightScene]) -> None:
    for scene in scenes:
        gray = scene.image.mean(-1)
        assert gray.mean() < 120
        for thing in scene.objects:
            x, y, w, h = thing.bbox
            name = NIGHT_CLASSES[thing.category_id - 1]
            if name in ("lantern", "lighthouse") and w * h > 300:
                assert scene.image[y : y + h, x : x + w].max() > 180, name


# --- the folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", COUNTS)
def test_the_layout_is_roboflows(folder: Path, split: str) -> None:
    content = read(folder, split)
    assert list(content) == ["info", "licenses", "categories", "images", "annotations"]
    assert set(content["info"]) == {"year", "version", "description", "contributor", "url", "date_created"}
    assert content["licenses"][0]["id"] == 1
    assert content["categories"] == [
        {"id": 0, "name": "night-harbor", "supercategory": "none"},
        *({"id": i, "name": name, "supercategory": "night-harbor"} for i, name in enumerate(NIGHT_CLASSES, 1)),
    ]
    assert [image["id"] for image in content["images"]] == list(range(COUNTS[split]))
    assert {path.name for path in (folder / split).iterdir()} == {
        "_annotations.coco.json",
        *(image["file_name"] for image in content["images"]),
    }
    for image in content["images"]:
        assert list(image) == ["id", "license", "file_name", "height", "width", "date_captured", "extra"]
        named = re.fullmatch(r"(harbor-\d{4})_jpg\.rf\.[0-9a-f]{32}\.jpg", image["file_name"])
        assert named
        assert image["extra"] == {"name": f"{named[1]}.jpg"}
    assert [a["id"] for a in content["annotations"]] == list(range(len(content["annotations"])))
    for a in content["annotations"]:
        assert list(a) == ["id", "image_id", "category_id", "bbox", "area", "segmentation", "iscrowd"]
        assert a["area"] == a["bbox"][2] * a["bbox"][3]
        assert (a["segmentation"], a["iscrowd"]) == ([], 0)


def test_names_differ_between_splits(folder: Path) -> None:
    names = [image["extra"]["name"] for split in COUNTS for image in read(folder, split)["images"]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("split", COUNTS)
def test_what_was_drawn_is_written(folder: Path, split: str) -> None:
    content = read(folder, split)
    for index, entry in enumerate(content["images"]):
        scene = draw_night_scene(index, 3, split)
        with Image.open(folder / split / entry["file_name"]) as image:
            assert image.format == "JPEG"
            assert image.size == (entry["width"], entry["height"])
            assert np.abs(np.asarray(image, dtype=float) - scene.image).mean() < 6
        written = list(boxes_of(content, entry["file_name"]).values())
        assert written == [(o.category_id, o.bbox) for o in scene.objects]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 under numpy 2
def test_pycocotools_finds_every_box_once_ids_start_at_one(folder: Path, tmp_path: Path) -> None:
    """COCOeval takes a match with annotation 0 for none, so Roboflow's ids cost it one object."""
    content = read(folder, "train")
    recall = []
    for first in (0, 1):
        annotations = [{**a, "id": first + i} for i, a in enumerate(content["annotations"])]
        (tmp_path / "ids.json").write_text(json.dumps({**content, "annotations": annotations}), encoding="utf-8")
        truth = COCO(str(tmp_path / "ids.json"))
        found = [{**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 1.0} for a in annotations]
        run = COCOeval(truth, truth.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        recall.append(run.eval["recall"][:, 1:, 0, -1])
    assert recall[0].min() < 1
    assert recall[1].min() == 1


def test_a_split_of_none_has_no_folder(tmp_path: Path) -> None:
    make_night_data(tmp_path, 2, 0, test=0, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night_harbor.json", "train"]


@pytest.mark.parametrize("name", ["train/holiday.jpg", "valid/_annotations.coco.json", "test/x.txt"])
def test_a_folder_from_elsewhere_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name
    foreign.parent.mkdir()
    foreign.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=foreign.parent.name):
        make_night_data(tmp_path, 1, 1, progress=False)
    assert files(tmp_path) == {name: b"mine"}


def test_a_split_that_someone_put_beside_ours_is_left_alone(tmp_path: Path) -> None:
    make_night_data(tmp_path, 1, 1, test=0, progress=False)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "_annotations.coco.json").write_text("mine", encoding="utf-8")
    before = files(tmp_path)
    with pytest.raises(FileExistsError, match="test exists"):
        make_night_data(tmp_path, 1, 1, test=1, progress=False)
    assert files(tmp_path) == before


def test_neither_set_writes_over_the_other(tmp_path: Path) -> None:
    make_data(tmp_path / "town", train=1, val=1, workers=1, progress=False)
    make_night_data(tmp_path / "night", 1, 1, test=1, progress=False)
    with pytest.raises(FileExistsError, match="train"):
        make_night_data(tmp_path / "town", 1, 1, progress=False)
    with pytest.raises(FileExistsError, match="train"):
        make_data(tmp_path / "night", train=1, val=1, workers=1, progress=False)


def test_its_own_folder_is_remade_without_leftovers(tmp_path: Path) -> None:
    make_night_data(tmp_path / "a", 4, 2, seed=1, test=2, mistakes=1, progress=False)
    for root in (tmp_path / "a", tmp_path / "b"):
        make_night_data(root, 3, 1, seed=2, test=0, progress=False)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert not (tmp_path / "a" / "test").exists()


@pytest.mark.parametrize(
    ("numbers", "named"),
    [((-2, 1), "-2 scenes for train"), ((1, 2001), "2001 scenes for valid"), ((2, 1, 0, 3), "mistakes is 3")],
)
def test_a_number_out_of_range_is_named(tmp_path: Path, numbers: tuple[int, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_night_data(tmp_path / "x", *numbers)
    assert not (tmp_path / "x").exists()


def test_a_full_disk_leaves_the_annotations_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_night_data(tmp_path, 2, 1, test=0, progress=False)
    before = {name: data for name, data in files(tmp_path).items() if name.endswith(".json")}

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        make_night_data(tmp_path, 3, 1, test=0, progress=False)
    assert {name: data for name, data in files(tmp_path).items() if name.endswith(".json")} == before


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_are_planted_and_recorded(folder: Path, tmp_path: Path) -> None:
    planted = make_night_data(tmp_path, 24, 6, seed=3, mistakes=6, test=3, progress=False)
    assert [one.kind for one in sorted(planted, key=lambda one: one.kind)] == [
        kind for kind in ("box too large", "left out", "swapped classes") for _ in range(2)
    ]
    marked = json.loads((tmp_path / "night_harbor.json").read_text(encoding="utf-8"))["mistakes"]
    assert [one["file_name"] for one in marked] == [one.file_name for one in planted]
    right, wrong = read(folder, "train"), read(tmp_path, "train")
    spoiled = {one.file_name: one for one in planted}
    assert len(spoiled) == 6
    for image in right["images"]:
        good, bad = boxes_of(right, image["file_name"]), boxes_of(wrong, image["file_name"])
        if image["file_name"] not in spoiled:
            assert list(good.values()) == list(bad.values())
            continue
        one = spoiled[image["file_name"]]
        differs = set(good.values()) - set(bad.values())
        assert differs == set(one.truth)
        new = [bad[i] for i in one.annotation_ids]
        assert set(new) == set(bad.values()) - set(good.values())
        if one.kind == "left out":
            assert len(bad) == len(good) - 1
        elif one.kind == "swapped classes":
            assert [box for _, box in new] == [box for _, box in one.truth]
            assert [c for c, _ in new] == [c for c, _ in reversed(one.truth)]
        else:
            ((category, (x, y, w, h)),) = one.truth
            ((same, (bx, by, bw, bh)),) = new
            assert same == category
            assert 0 <= bx <= x < x + w <= bx + bw <= image["width"]
            assert 0 <= by <= y < y + h <= by + bh <= image["height"]
            assert bw * bh >= 2 * w * h
    for split in ("valid", "test"):
        assert read(folder, split) == read(tmp_path, split)


def test_too_many_mistakes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="6 mistakes do not fit into 6"):
        make_night_data(tmp_path, 6, 0, seed=8, mistakes=6, test=0, progress=False)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_draws_a_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "harbor")
    made = main(["make-data", target, "--scenes", "night", "--train", "2", "--val", "1", "--test", "1"])
    assert made == 0
    assert "2 training, 1 validation and 1 test scenes are in" in capsys.readouterr().out
    assert [len(read(tmp_path / "harbor", split)["images"]) for split in COUNTS] == [2, 1, 1]


@pytest.mark.parametrize("options", [["--test", "3"], ["--scenes", "night", "--workers", "2"]])
def test_an_option_of_the_other_set_is_refused(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make-data", str(tmp_path / "data"), *options]) == 2
    assert "--scenes" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
