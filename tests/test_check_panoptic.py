"""The checker of panoptic data: each fault by itself, in two layouts, and what it passes is what the reader reads."""

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import panoptic_folder as by_hand
import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st
from PIL import Image
from test_fuzz import JSON, LIMIT, changed, damaged, damaged_text, require_well_said, share, with_right_checksums

from detr_mini.commands import options
from detr_mini.commands.cli import main
from detr_mini.data import (
    CocoPanoptic,
    DataError,
    Fault,
    check_data,
    eval_transforms,
    make_data,
    require_sound,
    train_transforms,
)
from detr_mini.data.panoptic import read_segment_ids, segment_ids_to_image
from detr_mini.errors import UserError
from detr_mini.evaluation import coco_metrics

Data = dict[str, Any]


@dataclass
class Folder:
    """A sound folder of two splits, to be spoiled in the second one, val."""

    root: Path
    split: str  # what its files are called
    data: Data  # of the annotation file

    def __post_init__(self) -> None:
        self.file = self.root / "annotations" / f"panoptic_{self.split}.json"
        self.segment_folder = self.file.with_suffix("")
        numbered = enumerate(self.data["annotations"])
        self.number = next(i for i, entry in numbered if {0, 1} <= {map_isthing(self, s) for s in segments_of(entry)})
        self.annotation = self.data["annotations"][self.number]  # one that has things and stuff
        self.image_id = self.annotation["image_id"]
        self.segments: list[Data] = self.annotation["segments_info"]
        self.stuff = next(s for s in self.segments if not map_isthing(self, s))
        self.thing = next(s for s in self.segments if map_isthing(self, s))
        self.image = next(image for image in self.data["images"] if image["id"] == self.image_id)
        self.png = self.segment_folder / self.annotation["file_name"]
        self.where = f"annotation of image {self.image_id}"
        self.segment_is = f"{self.where}, segment"

    def save(self) -> None:
        self.file.write_text(json.dumps(self.data))

    def repaint(self, ids: np.ndarray) -> None:
        segment_ids_to_image(ids).save(self.png)

    def faults(self, images: bool = True) -> list[Fault]:
        return check_data(self.root, images=images, panoptic=True)

    def only_fault(self, images: bool = True) -> Fault:
        faults = self.faults(images)
        assert len(faults) == 1, [str(fault) for fault in faults]
        assert faults[0].file == str(self.file)
        return faults[0]


def map_isthing(folder: Folder, segment: Data) -> int:
    (category,) = (c for c in folder.data["categories"] if c["id"] == segment["category_id"])
    return category["isthing"]


def segments_of(entry: Data) -> list[Data]:
    return entry["segments_info"]


@pytest.fixture(scope="module")
def sound_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny Town of a few scenes, and a folder in COCO 2017's layout."""
    base = tmp_path_factory.mktemp("sound")
    make_data(base / "town", train=2, val=4, workers=1, progress=False)
    for split in ("train2017", "val2017"):
        by_hand.write_folder(base / "by_hand", split)
    return {"val": base / "town", "val2017": base / "by_hand"}


@pytest.fixture(params=["val", "val2017"])
def folder(request: pytest.FixtureRequest, sound_folders: dict[str, Path], tmp_path: Path) -> Folder:
    root = Path(shutil.copytree(sound_folders[request.param], tmp_path / "folder"))
    data = json.loads((root / "annotations" / f"panoptic_{request.param}.json").read_text())
    return Folder(root, request.param, data)


def read_everything(root: Path, split: str = "val") -> CocoPanoptic:
    """All that training and evaluation read, and whether it fits together."""
    torch.manual_seed(0)
    for transforms in (None, train_transforms(None), train_transforms((48, 64), max_size=80), eval_transforms(48)):
        dataset = CocoPanoptic(root, split, transforms)
        for index in range(len(dataset)):
            image, target = dataset[index]
            objects = len(target["labels"])
            assert target["boxes"].shape == (objects, 4)
            assert target["boxes"].isfinite().all()
            assert target["masks"].shape == (objects, *image.shape[1:])
            assert len(target["area"]) == len(target["iscrowd"]) == objects
            assert all(label in dataset.class_names for label in target["labels"].tolist())
    for index, size in enumerate(dataset.sizes):
        ids, segments = dataset.panoptic(index).values()
        assert ids.shape == size
        assert all(segment["isthing"] == (segment["category_id"] not in dataset.stuff) for segment in segments)
    things = dataset.class_names.keys() - dataset.stuff
    assert dataset.coco.cats.keys() == things
    results = [
        {"image_id": image_id, "category_id": kind, "bbox": [1.0, 2.0, 9.0, 9.0], "score": 0.5}
        for image_id in dataset.ids
        for kind in things
    ]
    assert all(-1 <= value <= 1 for value in coco_metrics(dataset, results).values())
    return dataset


def ends_as_it_should(folder: Folder, faults: list[Fault], capsys: pytest.CaptureFixture[str]) -> None:
    """The command lists the faults and ends with 2; training goes on exactly where all of them are usable."""
    capsys.readouterr()
    assert main(["check-data", str(folder.root), "--panoptic"]) == 2
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if line.startswith("fault: ")] == [f"fault: {f}" for f in faults]
    assert f"{len(faults)} fault" in printed.err
    if all(fault.usable for fault in faults):
        assert require_sound(folder.root, images=True, panoptic=True).faults == faults
        read_everything(folder.root)
    else:
        with pytest.raises(DataError, match="cannot use") as raised:
            require_sound(folder.root, images=True, panoptic=True)
        assert f"`detr-mini check-data {folder.root} --panoptic`" in str(raised.value)


# Sound folders.


def test_sound_folders_have_no_fault(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.faults() == []
    assert folder.faults(images=False) == []
    assert require_sound(folder.root, images=True, panoptic=True).faults == []
    assert main(["check-data", str(folder.root), "--panoptic"]) == 0
    assert capsys.readouterr().out.endswith(f"\nno faults in {folder.root}\n")
    read_everything(folder.root)


def test_a_larger_tiny_town_is_sound(town: Path) -> None:
    assert check_data(town, panoptic=True) == []


def without_fields(folder: Folder) -> None:
    """What the reader does not need: most of real files."""
    del folder.data["info"]
    folder.data.pop("licenses")
    for category in folder.data["categories"]:
        del category["color"], category["supercategory"]


def with_more_fields(folder: Folder) -> None:
    folder.data["annotations"].reverse()
    for entry in folder.data["annotations"]:
        entry["coco_url"] = None
        for segment in entry["segments_info"]:
            segment |= {"segmentation": 3, "isthing": None, "area": float(segment["area"])}


def with_a_palette(folder: Folder) -> None:
    with Image.open(folder.png) as image:
        as_palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(np.array(as_palette.convert("RGB")), np.array(Image.open(folder.png)))
    as_palette.save(folder.png)


def with_pixels_of_no_segment(folder: Folder) -> None:
    ids = read_segment_ids(folder.png)
    folder.segments.remove(folder.thing)
    ids[ids == folder.thing["id"]] = 0
    folder.repaint(ids)


@pytest.mark.parametrize("change", [without_fields, with_more_fields, with_a_palette, with_pixels_of_no_segment])
def test_harmless_differences_are_none(folder: Folder, change: Callable[[Folder], None]) -> None:
    change(folder)
    folder.save()
    assert folder.faults() == []
    read_everything(folder.root)


# Fields.

MISSING = object()
NO_NUMBERS: list[Any] = [MISSING, None, "7", [7], True, float("nan"), float("inf"), 10**400]
NO_IDS = [*NO_NUMBERS, 7.0]
FIELDS: list[tuple[str, str, list[Any]]] = [
    ("category", "isthing", [MISSING, None, True, False, "1", 1.0, 2, -1]),
    ("annotation", "image_id", NO_IDS),
    ("annotation", "file_name", [MISSING, None, "", 3, ["a.png"]]),
    ("annotation", "segments_info", [MISSING, None, {}, "x", 3]),
    ("stuff", "id", [*NO_IDS, 0, -1, 2**24]),
    ("thing", "category_id", NO_IDS),
    ("stuff", "bbox", [*NO_NUMBERS, [], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, None], [1, 2, float("nan"), 4]]),
    ("thing", "area", [*NO_NUMBERS, -1]),
    ("thing", "iscrowd", [MISSING, None, True, False, "0", 0.0, 2, -1]),
]


@pytest.mark.parametrize(("part", "key", "values"), FIELDS, ids=[f"{part} {key}" for part, key, _ in FIELDS])
def test_fields(folder: Folder, part: str, key: str, values: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    record = folder.data["categories"][0] if part == "category" else getattr(folder, part)
    number = record.get("id")
    places = {
        "category": f"category {number}",
        "annotation": f"annotations[{folder.number}]" if key == "image_id" else folder.where,
    }
    where = places.get(part, f"{folder.segment_is} {number}")
    if key == "id":
        where = f"{folder.where}, segments_info[{folder.segments.index(record)}]"
    for value in values:
        record.pop(key, None)
        if value is not MISSING:
            record[key] = value
        folder.save()
        faults = folder.faults()
        (fault,) = (fault for fault in faults if not fault.usable)
        assert fault.file == str(folder.file)
        shown = where if type(value) is not int or key != "id" or abs(value) > 2**63 else f"{folder.segment_is} {value}"
        assert fault.where == shown
        assert fault.problem.startswith(f'has no "{key}", which must' if value is MISSING else f'"{key}" must')
        assert fault.value.startswith(repr(sorted(record) if value is MISSING else value)[:20])
        if key == "image_id":  # and so its image has none
            assert [f.where for f in faults if f.usable] == [f"image {folder.image_id}"]
        else:
            assert len(faults) == 1
    ends_as_it_should(folder, faults, capsys)


@pytest.mark.parametrize("value", [None, 3, "x", []])
def test_records_must_be_objects(folder: Folder, value: Any) -> None:
    for records, place in (
        (folder.data["annotations"], "annotations"),
        (folder.data["categories"], "categories"),
        (folder.segments, f"{folder.where}, segments_info"),
    ):
        records.append(value)
        folder.save()
        fault = folder.only_fault()
        assert (fault.where, fault.value) == (f"{place}[{len(records) - 1}]", repr(value))
        assert fault.problem == "must be an object"
        records.pop()


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"{}", b'{"images": 3}', b"[" * 100_000])
def test_what_is_no_annotation_file(folder: Folder, text: bytes) -> None:
    folder.file.write_bytes(text)
    assert all(fault.file == str(folder.file) and not fault.usable for fault in folder.faults())
    assert folder.faults() != []


# What does not fit together. Each change returns where the fault is, its value, and words of the problem.

Expected = tuple[str, Any, str]
FATAL: list[Callable[[Folder], Expected]] = []
USABLE: list[Callable[[Folder], Expected]] = []


def fatal(change: Callable[[Folder], Expected]) -> Callable[[Folder], Expected]:
    FATAL.append(change)
    return change


def usable(change: Callable[[Folder], Expected]) -> Callable[[Folder], Expected]:
    USABLE.append(change)
    return change


@usable
def image_without_annotation(folder: Folder) -> Expected:
    folder.data["annotations"].remove(folder.annotation)
    return f"image {folder.image_id}", folder.image_id, "has no annotation"


@fatal
def two_annotations_of_one_image(folder: Folder) -> Expected:
    folder.data["annotations"].append(copy.deepcopy(folder.annotation))
    pair = f"annotations[{folder.number}] and annotations[{len(folder.data['annotations']) - 1}]"
    return folder.where, folder.image_id, f"two of one image_id: {pair}"


@fatal
def two_segments_of_one_id(folder: Folder) -> Expected:
    folder.segments.append(copy.deepcopy(folder.thing))
    first, last = folder.segments.index(folder.thing), len(folder.segments) - 1
    place = f"{folder.segment_is} {folder.thing['id']}"
    return place, folder.thing["id"], f"two of one id: segments_info[{first}] and segments_info[{last}]"


@fatal
def unknown_category(folder: Folder) -> Expected:
    folder.thing["category_id"] = 44
    return f"{folder.segment_is} {folder.thing['id']}", 44, "unknown category"


@fatal
def two_images_of_one_id(folder: Folder) -> Expected:
    folder.data["images"].append(copy.deepcopy(folder.image))
    return f"image {folder.image_id}", folder.image_id, "two of one id: images["


@fatal
def category_of_another_name(folder: Folder) -> Expected:
    category = folder.data["categories"][0]
    before, category["name"] = category["name"], "ghost"
    return f"category {category['id']}", "ghost", f'the first split has {before!r} as "name" of this id'


@fatal
def category_that_was_stuff(folder: Folder) -> Expected:
    folder.data["categories"][-1]["isthing"] = 1
    return f"category {folder.data['categories'][-1]['id']}", 1, 'the first split has 0 as "isthing" of this id'


@fatal
def category_of_this_split_alone(folder: Folder) -> Expected:
    folder.data["categories"].append({"id": 300, "name": "fog", "isthing": 0})
    return "category 300", "fog", "the first split has no such id"


@fatal
def box_outside(folder: Folder) -> Expected:
    folder.stuff["bbox"] = [0, 0, 4000, 2]
    width, height = folder.image["width"], folder.image["height"]
    place = f"{folder.segment_is} {folder.stuff['id']}"
    return place, folder.stuff["bbox"], f"a box outside its picture of {width} x {height}"


@fatal
def box_of_negative_width(folder: Folder) -> Expected:
    folder.thing["bbox"] = [9, 9, -2, 2]
    return f"{folder.segment_is} {folder.thing['id']}", [9, 9, -2, 2], "a box of negative width or height"


@usable
def box_without_area(folder: Folder) -> Expected:
    folder.thing["bbox"][3] = 0
    return f"{folder.segment_is} {folder.thing['id']}", folder.thing["bbox"], "a box without area"


@usable
def stuff_in_two_segments(folder: Folder) -> Expected:
    ids, number = read_segment_ids(folder.png), folder.stuff["id"]
    flat = np.flatnonzero(ids == number)
    ids.flat[flat[: len(flat) // 2]] = 2000
    folder.repaint(ids)
    folder.stuff["area"] = len(flat) - len(flat) // 2
    folder.segments.append(folder.stuff | {"id": 2000, "area": len(flat) // 2})
    return f"{folder.segment_is} 2000", folder.stuff["category_id"], f"segment {number} is of this kind"


@fatal
def png_missing(folder: Folder) -> Expected:
    folder.png.unlink()
    return folder.where, folder.png.name, f"there is no such picture in {folder.segment_folder}"


@fatal
def png_of_0_bytes(folder: Folder) -> Expected:
    folder.png.write_bytes(b"")
    return folder.where, folder.png.name, f"the picture in {folder.segment_folder} is empty (0 bytes)"


@fatal
def png_is_a_folder(folder: Folder) -> Expected:
    folder.png.unlink()
    folder.png.mkdir()
    return folder.where, folder.png.name, f"is no file in {folder.segment_folder}"


@fatal
def png_is_a_pipe(folder: Folder) -> Expected:
    folder.png.unlink()
    os.mkfifo(folder.png)  # opening it would wait without end
    return folder.where, folder.png.name, f"is no file in {folder.segment_folder}"


@fatal
def png_outside(folder: Folder) -> Expected:
    folder.annotation["file_name"] = f"../{folder.segment_folder.name}/{folder.png.name}"
    return folder.where, folder.annotation["file_name"], f'"file_name" must stay within {folder.segment_folder}'


@fatal
def png_with_an_absolute_path(folder: Folder) -> Expected:
    folder.annotation["file_name"] = "/etc/hostname"
    return folder.where, "/etc/hostname", f'"file_name" must stay within {folder.segment_folder}'


@fatal
def picture_missing(folder: Folder) -> Expected:
    (folder.root / folder.split / folder.image["file_name"]).unlink()
    return f"image {folder.image_id}", folder.image["file_name"], "there is no such picture in"


# From here on seen only where pictures are decoded.


@fatal
def png_is_text(folder: Folder) -> Expected:
    folder.png.write_text("a letter")
    return folder.where, folder.png.name, f"cannot read the picture {folder.png}: it is no picture"


@fatal
def png_cut_short(folder: Folder) -> Expected:
    folder.png.write_bytes(folder.png.read_bytes()[:90])
    return folder.where, folder.png.name, f"cannot read the picture {folder.png}: "


@fatal
def png_of_another_size(folder: Folder) -> Expected:
    width, height = folder.image["width"], folder.image["height"]
    with Image.open(folder.png) as image:
        image.resize((height, width), Image.Resampling.NEAREST).save(folder.png)
    return folder.where, folder.png.name, f"is {height} x {width}, this file says {width} x {height}"


@fatal
def id_without_segment(folder: Folder) -> Expected:
    folder.segments.remove(folder.thing)
    return folder.where, [folder.thing["id"]], "its PNG file has ids that no segment has"


@fatal
def gray_png(folder: Folder) -> Expected:
    """A common mistake: the ids as shades of gray."""
    ids = read_segment_ids(folder.png)
    found, shades = np.unique(ids, return_inverse=True)
    shades = shades.reshape(ids.shape).astype(np.uint8) + 1
    Image.fromarray(shades).save(folder.png)
    del folder.segments[1:]
    number = folder.segments[0]["id"] = 0x010101 * (1 + int(np.searchsorted(found, folder.segments[0]["id"])))
    others = [0x010101 * shade for shade in range(1, len(found) + 1) if 0x010101 * shade != number]
    return folder.where, others, "its PNG file has ids that no segment has"


@fatal
def segment_without_pixels(folder: Folder) -> Expected:
    ids = read_segment_ids(folder.png)
    ids[ids == folder.thing["id"]] = 0
    folder.repaint(ids)
    return f"{folder.segment_is} {folder.thing['id']}", folder.thing["id"], "no pixel of the PNG file has this id"


@usable
def another_area(folder: Folder) -> Expected:
    pixels = folder.stuff["area"]
    folder.stuff["area"] = pixels + 1
    return f"{folder.segment_is} {folder.stuff['id']}", pixels + 1, f"the number of pixels in the PNG file, {pixels};"


DECODED = {png_is_text, png_cut_short, png_of_another_size, id_without_segment, gray_png, segment_without_pixels}
DECODED |= {another_area}


@pytest.mark.parametrize("change", [*FATAL, *USABLE], ids=lambda change: change.__name__)
def test_what_does_not_fit(
    folder: Folder, change: Callable[[Folder], Expected], capsys: pytest.CaptureFixture[str]
) -> None:
    where, value, words = change(folder)
    folder.save()
    fault = folder.only_fault()
    assert fault.where == where
    assert fault.value == repr(value)
    assert words in fault.problem
    assert fault.usable == (change in USABLE)
    assert folder.faults(images=False) == ([] if change in DECODED else [fault])
    ends_as_it_should(folder, [fault], capsys)


def test_unknown_image(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.annotation["image_id"] = 55
    folder.save()
    unknown, left = folder.faults()
    assert (unknown.where, unknown.value) == ("annotation of image 55", "55")
    assert unknown.problem == 'unknown image: no such id in "images"'
    assert not unknown.usable
    assert (left.where, left.usable) == (f"image {folder.image_id}", True)
    ends_as_it_should(folder, [unknown, left], capsys)


def test_a_box_may_overshoot_by_rounding(folder: Folder) -> None:
    folder.stuff["bbox"] = [-0.9, 0, folder.image["width"] + 1.5, folder.image["height"] + 0.9]
    folder.save()
    assert folder.faults() == []
    read_everything(folder.root)


def test_png_files_that_were_not_unpacked_are_one_fault(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder.segment_folder)
    (fault,) = folder.faults()
    assert (fault.file, fault.where) == (str(folder.segment_folder), "the folder of PNG files")
    assert "unpack" in fault.problem
    assert folder.faults(images=False) == [fault]
    ends_as_it_should(folder, [fault], capsys)


def test_a_photograph_in_place_of_ids_is_one_short_fault(folder: Folder) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (folder.image["height"], folder.image["width"], 3))
    Image.fromarray(noise.astype(np.uint8)).save(folder.png)
    unknown, *others = folder.faults()
    assert unknown.where == folder.where
    assert len(str(unknown)) < 500
    assert [fault.where for fault in others] == [f"{folder.segment_is} {s['id']}" for s in folder.segments]


def test_one_pass_reports_every_fault(folder: Folder) -> None:
    del folder.data["categories"][0]["isthing"]
    folder.thing["bbox"] = [0, 0, -1, 5]
    folder.stuff |= {"area": None, "iscrowd": 5}
    folder.png.unlink()
    folder.save()
    segment_ids = (folder.thing["id"], *[folder.stuff["id"]] * 2)
    wheres = [f"category {folder.data['categories'][0]['id']}", folder.where]
    wheres += [f"{folder.segment_is} {number}" for number in segment_ids]
    assert sorted(fault.where for fault in folder.faults()) == sorted(wheres)


def test_faults_of_both_splits_are_reported(folder: Folder) -> None:
    folder.thing["category_id"] = 44
    folder.save()
    train = folder.file.with_name(folder.file.name.replace("val", "train"))
    data = json.loads(train.read_text())
    data["annotations"][0]["segments_info"][0]["category_id"] = 45
    train.write_text(json.dumps(data))
    first, second = folder.faults()
    assert (first.file, first.value) == (str(train), "45")
    assert (second.file, second.value) == (str(folder.file), "44")


# Which annotations there are.


def test_the_other_kind_of_annotations_is_left_alone(folder: Folder) -> None:
    if folder.split == "val2017":  # has no instance annotations
        (fault,) = check_data(folder.root)
        assert fault.problem.endswith("there is panoptic_train2017.json, which is read with --panoptic")
        with pytest.raises(DataError, match=r"no annotations.*panoptic_train2017.json, which is read with --panoptic"):
            require_sound(folder.root, ["val"])
        return
    folder.file.write_text("{")
    assert check_data(folder.root) == []
    assert main(["check-data", str(folder.root)]) == 0
    (folder.root / "annotations" / "instances_val.json").write_text("{")
    assert [Path(fault.file).name for fault in check_data(folder.root)] == ["instances_val.json"]
    assert [Path(fault.file).name for fault in folder.faults()] == ["panoptic_val.json"]


def test_no_annotation_file(folder: Folder) -> None:
    folder.file.unlink()
    (fault,) = folder.faults()
    assert (fault.file, fault.where) == (str(folder.root), "split val")
    assert "panoptic_val.json and panoptic_val2017.json" in fault.problem
    assert len(check_data(folder.root / "nowhere", panoptic=True)) == 2


# What commands ask for before they train.


def test_what_does_no_harm_is_told_before_training(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    another_area(folder)
    folder.save()
    options.require_sound(folder.root, ("train", "val"), panoptic=True)
    error = capsys.readouterr().err
    assert "1 of its faults do no harm" in error
    assert f"'detr-mini check-data {folder.root} --panoptic' lists them" in error
    options.require_sound(folder.root, ("train",), panoptic=True)
    assert capsys.readouterr().err == ""


def test_small_folders_are_decoded_before_training(folder: Folder) -> None:
    png_is_text(folder)
    folder.save()
    with pytest.raises(DataError, match=r"it is no picture.*\n.*--panoptic"):
        options.require_sound(folder.root, ("train", "val"), panoptic=True)


def test_large_folders_are_not(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    png_is_text(folder)
    folder.save()
    images = folder.root / folder.split
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["x"] * 20_001 if Path(path) == images else listed(path))
    options.require_sound(folder.root, ("train", "val"), panoptic=True)


# Any damage at all.


@pytest.fixture(scope="module")
def spoiled(sound_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose annotation file or PNG each example writes anew; what is larger than a megapixel is refused."""
    root = Path(shutil.copytree(sound_folders["val2017"], tmp_path_factory.mktemp("spoiled") / "folder"))
    shutil.copy(by_hand.png(root, 139), root / "sound.png")
    shutil.copy(root / "annotations" / "panoptic_val2017.json", root / "sound.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", LIMIT)
        yield root


def verdict_is_right(root: Path) -> bool:
    """Hold the checker's word against what training and evaluation make of the folder."""
    for images in (False, True):
        faults = check_data(root, ["val"], images=images, panoptic=True)
        require_well_said(faults)
        accepted = all(fault.usable for fault in faults)
        if not accepted:
            with pytest.raises(DataError, match="cannot use"):
                require_sound(root, ["val"], images=images, panoptic=True)
        elif images:
            read_everything(root)
        else:
            with contextlib.suppress(UserError):  # in words, of pictures that were not looked into
                read_everything(root)
    return accepted


def restore(root: Path, png: bytes | None = None, text: bytes | None = None) -> None:
    by_hand.png(root, 139).write_bytes((root / "sound.png").read_bytes() if png is None else png)
    file = root / "annotations" / "panoptic_val2017.json"
    file.write_bytes((root / "sound.json").read_bytes() if text is None else text)


@pytest.mark.timeout(3000)
@share(0.5)
@given(data=st.data())
def test_changed_annotations_are_judged_right(spoiled: Path, data: st.DataObject) -> None:
    restore(spoiled, text=data.draw(changed(json.loads((spoiled / "sound.json").read_text()))))
    event("accepted" if verdict_is_right(spoiled) else "refused")


@pytest.mark.timeout(3000)
@share(0.3)
@given(data=st.data())
def test_damaged_annotation_files_are_judged_right(spoiled: Path, data: st.DataObject) -> None:
    text = damaged_text((spoiled / "sound.json").read_text()) | JSON.map(lambda value: json.dumps(value).encode())
    restore(spoiled, text=data.draw(text))
    event("accepted" if verdict_is_right(spoiled) else "refused")


@pytest.mark.timeout(3000)
@share(0.3)
@given(data=st.data())
def test_damaged_png_files_are_judged_right(spoiled: Path, data: st.DataObject) -> None:
    png = data.draw(damaged((spoiled / "sound.png").read_bytes()))
    restore(spoiled, png=with_right_checksums(png) if data.draw(st.booleans()) else png)
    event("accepted" if verdict_is_right(spoiled) else "refused")


@pytest.mark.timeout(3000)
@share(0.3)
@given(data=st.data())
def test_repainted_png_files_are_judged_right(spoiled: Path, data: st.DataObject) -> None:
    """Pixels of the PNG get other ids, known and unknown."""
    ids = read_segment_ids(spoiled / "sound.png")
    before = set(np.unique(ids).tolist())
    known = st.sampled_from(sorted(before))
    for _ in range(data.draw(st.integers(1, 3))):
        y, x = data.draw(st.integers(0, 29)), data.draw(st.integers(0, 39))
        height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 40))
        ids[y : y + height, x : x + width] = data.draw(known | st.integers(0, 2**24 - 1))
    restore(spoiled)
    segment_ids_to_image(ids).save(by_hand.png(spoiled, 139))
    accepted = verdict_is_right(spoiled)
    assert accepted == (set(np.unique(ids).tolist()) - {0} == before - {0})
    event("accepted" if accepted else "refused")
