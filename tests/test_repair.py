"""What an annotation file leaves out, doubles or writes oddly is mended where it can mean one thing only, and said."""

import copy
import json
import math
import random
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_folders import Data, content, pictures, without, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detr_mini.data import CocoDetection, DataError, check_data, look_through, require_sound
from detr_mini.data.findings import Notes
from detr_mini.data.repair import mend

NAMES = [f"photo_{n}.jpg" for n in range(4)]
Damage = Callable[[Data], None]


def folder(root: Path, data: Data | bytes | str, val: Data | None = None) -> Path:
    """A data set whose training split has this annotation file."""
    for split, seed in (("train", 0), ("val", 1)):
        pictures(root / split, NAMES, seed)
    file = root / "annotations" / "instances_train.json"
    write(file, data if isinstance(data, dict) else {})
    if isinstance(data, (bytes, str)):
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
    write(root / "annotations" / "instances_val.json", val or content(NAMES))
    return root


def what_is_read(root: Path, split: str = "train") -> list[tuple[list[Any], list[str], Any]]:
    """Boxes, class names and size of each picture, in the order of their files."""
    dataset = CocoDetection(root, split)
    found = {}
    for index in range(len(dataset)):
        image, target = dataset[index]
        name = dataset.coco.imgs[dataset.ids[index]]["file_name"]
        labels = [dataset.class_names[label] for label in target["labels"].tolist()]
        found[Path(name).stem] = (target["boxes"].tolist(), labels, dataset.sizes[index], image.shape)
    return [found[name] for name in sorted(found)]


SOUND = [
    ([[30, 20, 42, 30], [31, 19, 44, 30]], ["cat", "dog"], (48, 64), (3, 48, 64)),
    ([[32, 18, 46, 30], [33, 20, 48, 33]], ["cat", "dog"], (48, 64), (3, 48, 64)),
    ([[34, 19, 50, 29], [30, 18, 47, 29]], ["cat", "dog"], (48, 64), (3, 48, 64)),
    ([[31, 20, 49, 32], [32, 19, 44, 32]], ["cat", "dog"], (48, 64), (3, 48, 64)),
]


def each(part: str, change: Callable[[Data], Any]) -> Damage:
    """A damage to every record of a list: what to put in place of it, or None if it was changed itself."""

    def damage(data: Data) -> None:
        data[part] = [record if (new := change(record)) is None else new for record in data[part]]

    return damage


def drop(part: str, *keys: str) -> Damage:
    def damage(data: Data) -> None:
        data[part] = without(data[part], *keys)

    return damage


def put(part: str, index: int, **fields: Any) -> Damage:
    def damage(data: Data) -> None:
        data[part][index] |= fields

    return damage


def both(*damages: Damage) -> Damage:
    def damage(data: Data) -> None:
        for one in damages:
            one(data)

    return damage


def image_ids(new: Callable[[int], Any], refer: Callable[[int], Any] | None = None) -> Damage:
    """Other ids of images, in their entries and in the annotations."""

    def damage(data: Data) -> None:
        for record in data["images"]:
            record["id"] = new(record["id"])
        for record in data["annotations"]:
            record["image_id"] = (refer or new)(record["image_id"])

    return damage


def category_ids(new: Callable[[int], Any]) -> Damage:
    def damage(data: Data) -> None:
        for record in data["categories"]:
            record["id"] = new(record["id"])
        for record in data["annotations"]:
            record["category_id"] = new(record["category_id"])

    return damage


def double_image(data: Data) -> None:
    """The first picture is listed a second time, and the second entry has the second of its objects."""
    data["images"].append(data["images"][0] | {"id": 77})
    data["annotations"][1]["image_id"] = 77


def double_image_and_objects(data: Data) -> None:
    data["images"].append(data["images"][0] | {"id": 77})
    data["annotations"] += [a | {"id": a["id"] + 70, "image_id": 77} for a in data["annotations"][:2]]


def points_of(outline: list[float]) -> list[list[float]]:
    return [outline[i : i + 2] for i in range(0, len(outline), 2)]


DAMAGES: dict[str, tuple[Damage, str]] = {  # a damage that changes no box and no class, and what is said of it
    "annotation ids from 0": (each("annotations", lambda a: a | {"id": a["id"] - 1}), "numbered anew"),
    "one annotation id 0": (put("annotations", 3, id=0), "numbered anew"),
    "annotation ids missing": (drop("annotations", "id"), "they have no id"),
    "annotation ids text": (each("annotations", lambda a: a | {"id": str(a["id"])}), "numbered anew"),
    "annotation ids null": (each("annotations", lambda a: a | {"id": None}), "numbered anew"),
    "annotation ids of hashes": (each("annotations", lambda a: a | {"id": f"x{a['id']}"}), "numbered anew"),
    "annotation ids doubled": (each("annotations", lambda a: a | {"id": 1 + a["id"] % 3}), "there twice"),
    "annotation ids negative": (each("annotations", lambda a: a | {"id": -a["id"]}), "numbered anew"),
    "annotation ids with a point": (each("annotations", lambda a: a | {"id": float(a["id"])}), "numbered anew"),
    "annotation ids beyond 64 bits": (each("annotations", lambda a: a | {"id": 10**25 + a["id"]}), "numbered anew"),
    "no iscrowd": (drop("annotations", "iscrowd"), 'no "iscrowd"'),
    "iscrowd null": (put("annotations", 0, iscrowd=None), 'no "iscrowd"'),
    "iscrowd false": (each("annotations", lambda a: a | {"iscrowd": False}), "read as 0 or 1"),
    "iscrowd text": (put("annotations", 0, iscrowd="0"), "read as 0 or 1"),
    "no area": (drop("annotations", "area"), "that of the outline"),
    "no area, no outline": (drop("annotations", "area", "segmentation"), "that of the box"),
    "area null": (put("annotations", 0, area=None), "that of the outline"),
    "area text": (put("annotations", 0, area="120.0"), "written as text"),
    "area negative": (put("annotations", 0, area=-1), "that of the outline"),
    "area NaN": (put("annotations", 0, area=math.nan), "that of the outline"),
    "no area, no iscrowd, no id": (drop("annotations", "area", "iscrowd", "id"), 'no "iscrowd"'),
    "no segmentation": (drop("annotations", "segmentation"), ""),
    "segmentation null": (each("annotations", lambda a: a | {"segmentation": None}), "is null"),
    "segmentation empty": (each("annotations", lambda a: a | {"segmentation": []}), ""),
    "segmentation flat": (each("annotations", lambda a: a | {"segmentation": a["segmentation"][0]}), "flat list"),
    "segmentation of points": (
        each("annotations", lambda a: a | {"segmentation": points_of(a["segmentation"][0])}),
        "flat list",
    ),
    "segmentation of lists of points": (
        each("annotations", lambda a: a | {"segmentation": [points_of(a["segmentation"][0])]}),
        "flat list",
    ),
    "segmentation text": (
        each("annotations", lambda a: a | {"segmentation": [[str(n) for n in a["segmentation"][0]]]}),
        "flat list",
    ),
    "no bbox": (drop("annotations", "bbox"), "around the outline"),
    "bbox null": (put("annotations", 0, bbox=None), "around the outline"),
    "bbox empty": (each("annotations", lambda a: a | {"bbox": []}), "around the outline"),
    "no bbox, flat outline": (
        each("annotations", lambda a: {"segmentation": a["segmentation"][0]} | without([a], "bbox", "segmentation")[0]),
        "around the outline",
    ),
    "bbox text": (each("annotations", lambda a: a | {"bbox": [str(n) for n in a["bbox"]]}), "written as text"),
    "bbox one text": (each("annotations", lambda a: a | {"bbox": json.dumps(a["bbox"])}), "written as text"),
    "bbox nested": (each("annotations", lambda a: a | {"bbox": [a["bbox"]]}), "written as text"),
    "sizes missing": (drop("images", "width", "height"), "from the picture"),
    "height missing": (drop("images", "height"), "from the picture"),
    "sizes null": (each("images", lambda i: i | {"width": None, "height": None}), "from the picture"),
    "sizes -1": (each("images", lambda i: i | {"width": -1, "height": -1}), "from the picture"),
    "sizes 0": (put("images", 2, width=0, height=0), "from the picture"),
    "sizes text": (each("images", lambda i: i | {"width": "64", "height": "48"}), "read as numbers"),
    "sizes floats": (each("images", lambda i: i | {"width": 64.0, "height": 48.0}), "read as numbers"),
    "sizes text with a point": (put("images", 0, width="64.0"), "read as numbers"),
    "sizes unknown text": (put("images", 0, width="?", height="?"), "from the picture"),
    "image ids text": (image_ids(str), "read as numbers"),
    "image ids text in annotations": (image_ids(int, str), "read as numbers"),
    "image ids text in images": (image_ids(str, int), "read as numbers"),
    "image ids floats": (image_ids(float), "read as numbers"),
    "image ids names": (image_ids(lambda n: f"IMG_{n}"), "that are names"),
    "image ids with zeros": (image_ids(lambda n: f"{n:012}"), "that are names"),
    "image ids with zeros, numbers in annotations": (image_ids(lambda n: f"{n:012}", int), "that are names"),
    "image ids file names": (image_ids(lambda n: NAMES[n - 1]), "that are names"),
    "image ids from 0": (image_ids(lambda n: n - 1), ""),
    "image ids negative": (image_ids(lambda n: -n), ""),
    "image ids beyond 64 bits": (image_ids(lambda n: 10**20 + n), "that are names"),
    "one image id a name": (image_ids(lambda n: "a" if n == 2 else n), "that are names"),
    "category ids text": (category_ids(str), "read as numbers"),
    "category ids floats": (category_ids(float), "read as numbers"),
    "category ids from 0": (category_ids(lambda n: n - 1), "other ids than in train"),
    "category ids of nine digits": (category_ids(lambda n: 123456789 + n), "numbered anew, by name"),
    "category ids negative": (category_ids(lambda n: -n), "numbered anew, by name"),
    "category ids names": (category_ids(lambda n: f"class-{n}"), "numbered anew, by name"),
    "category ids with holes": (category_ids(lambda n: 90 * n), "other ids than in train"),
    "categories twice": (lambda d: d["categories"].extend(copy.deepcopy(d["categories"])), "are joined"),
    "categories six times": (lambda d: d["categories"].extend(copy.deepcopy(d["categories"]) * 5), "are joined"),
    "no supercategory": (drop("categories", "supercategory"), ""),
    "a category without objects": (
        lambda d: d["categories"].append({"id": 3, "name": "hen"}),
        "no objects here of 1 of 3",
    ),
    "info null": (lambda d: d.update(info=None), '"info" is no object'),
    "info text": (lambda d: d.update(info="made by hand"), '"info" is no object'),
    "info a list": (lambda d: d.update(info=[1]), '"info" is no object'),
    "licenses null": (lambda d: d.update(licenses=None), ""),
    "a picture twice": (double_image, "listed twice"),
    "a picture and its objects twice": (double_image_and_objects, "listed twice"),
    "an entry twice": (lambda d: d["images"].append(copy.deepcopy(d["images"][1])), "listed twice"),
    "an annotation twice": (lambda d: d["annotations"].append(copy.deepcopy(d["annotations"][1])), "one is left out"),
    "backslashes": (each("images", lambda i: i | {"file_name": f".\\{i['file_name']}"}), "names have"),
    "capitals": (each("images", lambda i: i | {"file_name": i["file_name"].upper()}), "other capitals"),
    "other suffix": (each("images", lambda i: i | {"file_name": i["file_name"][:-3] + "png"}), "another suffix"),
    "JPEG for jpg": (each("images", lambda i: i | {"file_name": i["file_name"][:-3] + "JPEG"}), "another suffix"),
    "no suffix": (each("images", lambda i: i | {"file_name": i["file_name"][:-4]}), "another suffix"),
    "folder before": (each("images", lambda i: i | {"file_name": f"images/{i['file_name']}"}), "another folder"),
    "folders before": (each("images", lambda i: i | {"file_name": f"a/b/c/{i['file_name']}"}), "another folder"),
    "absolute": (each("images", lambda i: i | {"file_name": f"/home/me/{i['file_name']}"}), "another folder"),
    "absolute, Windows": (each("images", lambda i: i | {"file_name": f"C:\\me\\{i['file_name']}"}), "another folder"),
    "above": (each("images", lambda i: i | {"file_name": f"../images/{i['file_name']}"}), "another folder"),
    "address": (each("images", lambda i: i | {"file_name": f"http://x.org/up/{i['file_name']}?d=1"}), "names have"),
    "blanks": (each("images", lambda i: i | {"file_name": f" {i['file_name']} "}), "blanks"),
    "an image of no object": (lambda d: d["images"].append(None), "is left out"),
    "an image without name": (lambda d: d["images"].append({"id": 99}), "is left out"),
    "an annotation of no object": (lambda d: d["annotations"].append(7), "is left out"),
    "an annotation of no image": (
        lambda d: d["annotations"].append(d["annotations"][0] | {"id": 99, "image_id": 99}),
        "unknown image",
    ),
    "an annotation without image": (lambda d: d["annotations"].append({"id": 99, "bbox": [1, 2, 3, 4]}), "left out"),
    "NaN in a box": (
        lambda d: d["annotations"].append(d["annotations"][0] | {"id": 99, "bbox": [1, math.nan, 3, 4]}),
        "left out",
    ),
    "a negative side": (
        lambda d: d["annotations"].append(d["annotations"][0] | {"id": 99, "bbox": [9, 9, -3, 4]}),
        "negative width",
    ),
    "five numbers": (
        lambda d: d["annotations"].append(d["annotations"][0] | {"id": 99, "bbox": [9, 9, 3, 4, 1]}),
        "four finite numbers",
    ),
    "no side": (lambda d: d["annotations"].append(d["annotations"][0] | {"id": 99, "bbox": [9, 9, 0, 4]}), "area"),
    "outside": (
        lambda d: d["annotations"].append(d["annotations"][0] | {"id": 99, "bbox": [90, 9, 3, 4]}),
        "outside its picture",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_mended_and_said(tmp_path: Path, name: str) -> None:
    damage, said = DAMAGES[name]
    data = content(NAMES)
    damage(data)
    val = content(NAMES)
    if name.startswith("category ids"):  # so that the splits agree, or val follows train
        category_ids(lambda n: n)(val)
    folder(tmp_path, data, val)
    report = look_through(tmp_path)
    assert not report.faults, [str(fault) for fault in report.faults]
    told = [str(notice) for notice in report.notices]
    assert any(said in line for line in told) if said else not told
    assert len(told) <= 3
    assert all("\n" not in line for line in told)
    assert what_is_read(tmp_path) == SOUND
    assert what_is_read(tmp_path, "val") == SOUND
    dataset = CocoDetection(tmp_path, "train")
    assert dataset.num_classes == max(dataset.class_names) + 1
    assert dataset.class_names == CocoDetection(tmp_path, "val").class_names or "a category" in name
    assert sorted(dataset.coco.anns) == sorted(a["id"] for a in dataset.coco.anns.values())
    assert min(dataset.coco.anns) > 0


def test_a_sound_file_comes_through_as_it_is(tmp_path: Path) -> None:
    data = content(NAMES, info={"area_bins": [1, 2]}, licenses=[1])
    folder(tmp_path, data)
    notes = Notes(tmp_path)
    mended = mend(copy.deepcopy(data), tmp_path / "train", notes)
    assert mended == data
    assert json.dumps(mended) == json.dumps(data)
    assert not notes.notices
    assert not notes.faults


def test_mending_changes_nothing_in_what_it_is_given(tmp_path: Path) -> None:
    folder(tmp_path, {})
    for damage, _ in DAMAGES.values():
        data = content(NAMES)
        damage(data)
        before = repr(data)
        mend(data, tmp_path / "train", Notes(tmp_path))
        assert repr(data) == before


def test_tiny_town_comes_through_as_it_is(town: Path) -> None:
    for split in ("train", "val"):
        data = json.loads((town / "annotations" / f"instances_{split}.json").read_text())
        notes = Notes(town)
        assert mend(data, town / split, notes) == data
        assert not notes.notices
    assert not [n for n in look_through(town).notices if n.warning and "no object cannot" not in n.what]


MIXED = [name for name in DAMAGES if not name.startswith(("segmentation", "no bbox", "bbox", "category ids", "no seg"))]


@settings(deadline=None, max_examples=60)
@given(names=st.lists(st.sampled_from(MIXED), min_size=2, max_size=4, unique=True), seed=st.integers(0, 9))
def test_mixtures_of_damages_are_mended(names: list[str], seed: int) -> None:
    touched = [set(name.split()[:2]) for name in names]
    data = content(NAMES)
    try:
        for name in names:
            DAMAGES[name][0](data)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return  # this damage cannot be done to what another has left
    random.Random(seed).shuffle(data["annotations"])
    with tempfile.TemporaryDirectory() as place:
        root = folder(Path(place), data)
        report = look_through(root)
        if report.faults:  # several bad records at once may be too much, and names may be beyond recognition
            assert touched
            return
        found = [(sorted(boxes), sorted(labels)) for boxes, labels, _, _ in what_is_read(root)]
        assert found == [(sorted(boxes), sorted(labels)) for boxes, labels, _, _ in SOUND]


@pytest.mark.parametrize("ids", [name for name in DAMAGES if name.startswith("annotation ids")])
def test_what_is_there_twice_is_so_whatever_its_id(tmp_path: Path, ids: str) -> None:
    data = content(NAMES)
    DAMAGES["an annotation twice"][0](data)
    DAMAGES[ids][0](data)
    folder(tmp_path, data)
    report = look_through(tmp_path)
    assert not report.faults
    assert any("one is left out" in str(notice) for notice in report.notices)
    assert what_is_read(tmp_path) == SOUND


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path: Path, mark: bytes, encoding: str) -> None:
    data = json.dumps(content(NAMES)).encode(encoding)
    folder(tmp_path, mark + data if encoding == "utf-8" else data)
    report = look_through(tmp_path)
    assert not report.faults, report.faults
    assert what_is_read(tmp_path) == SOUND
    assert any("byte order mark" in str(n) for n in report.notices) == (encoding != "utf-8" or mark != b"")


def test_forms_of_unicode(tmp_path: Path) -> None:
    name = "Übung é 图.jpg"
    data = content(NAMES)
    data["images"][0]["file_name"] = unicodedata.normalize("NFC", name)
    folder(tmp_path, data)
    (tmp_path / "train" / NAMES[0]).rename(tmp_path / "train" / unicodedata.normalize("NFD", name))
    report = look_through(tmp_path)
    assert not report.faults
    assert "another form of Unicode" in str(report.notices[0])
    assert len(CocoDetection(tmp_path, "train")) == 4


def test_two_names_that_mean_one_picture_are_not_guessed(tmp_path: Path) -> None:
    data = content(NAMES)
    data["images"][0]["file_name"] = "cam1/x.jpg"
    data["images"][1]["file_name"] = "cam2/x.jpg"
    folder(tmp_path, data)
    (tmp_path / "train" / NAMES[0]).rename(tmp_path / "train" / "x.jpg")
    assert len(CocoDetection(tmp_path, "train")) == 2
    said = [str(n) for n in look_through(tmp_path).notices]
    assert any("pictures that are not in train are left out (2 times" in line for line in said)
    assert any("annotations of pictures that are not there are left out (4 times" in line for line in said)


@pytest.mark.parametrize(("absent", "usable"), [(1, True), (2, True), (3, True), (4, False)])
def test_absent_pictures(tmp_path: Path, absent: int, usable: bool) -> None:
    folder(tmp_path, content(NAMES))
    for name in NAMES[:absent]:
        (tmp_path / "train" / name).unlink()
    faults = check_data(tmp_path)
    assert (not faults) == usable
    if usable:
        assert what_is_read(tmp_path) == SOUND[absent:]
    else:
        assert "none of the 4 pictures of this file are in" in str(faults[0])
        with pytest.raises(DataError, match="none of the 4 pictures"):
            CocoDetection(tmp_path, "train")


TOO_MUCH: dict[str, Damage] = {
    "NaN": each("annotations", lambda a: a | {"bbox": [math.nan] * 4}),
    "five numbers": each("annotations", lambda a: a | {"bbox": [*a["bbox"], 1]}),
    "negative": each("annotations", lambda a: a | {"bbox": [40, 40, -5, -5]}),
    "no box, no outline": drop("annotations", "bbox", "segmentation"),
    "unknown images": each("annotations", lambda a: a | {"image_id": 99}),
    "unknown categories": each("annotations", lambda a: a | {"category_id": 99}),
    "one unknown category": put("annotations", 0, category_id=0),
    "no category": drop("annotations", "category_id"),
    "a third is bad": each("annotations", lambda a: a | {"bbox": "?"} if a["id"] % 3 == 0 else None),
    "no names": drop("images", "file_name"),
    "two images of one id": put("images", 1, id=1),
    "two categories of one id": put("categories", 1, id=1),
    "no lists": lambda d: d.clear(),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_cannot_be_mended_is_a_fault_and_no_traceback(tmp_path: Path, name: str) -> None:
    data = content(NAMES)
    TOO_MUCH[name](data)
    folder(tmp_path, data)
    faults = check_data(tmp_path)
    assert 1 <= len(faults) <= 3
    with pytest.raises(DataError, match="cannot use"):
        require_sound(tmp_path)
    with pytest.raises(DataError, match="cannot read train"):
        CocoDetection(tmp_path, "train")


def test_splits_with_other_ids_agree_by_name(tmp_path: Path) -> None:
    val = content(NAMES)
    category_ids(lambda n: 3 - n)(val)
    folder(tmp_path, content(NAMES), val)
    assert not check_data(tmp_path)
    assert CocoDetection(tmp_path, "val").class_names == {1: "cat", 2: "dog"}
    assert what_is_read(tmp_path, "val") == SOUND
    assert any("those of train are taken" in line for line in CocoDetection(tmp_path, "val").notices)
    assert not CocoDetection(tmp_path, "train").notices


def test_huge_category_ids_get_one_number_in_all_splits(tmp_path: Path) -> None:
    train, val = content(NAMES, categories=("dog", "cat")), content(NAMES)
    category_ids(lambda n: 900_000_000 + n)(train)
    category_ids(lambda n: 5_000_000_000 - n)(val)
    val["categories"] = val["categories"][:1]
    val["annotations"] = [a for a in val["annotations"] if a["category_id"] == 5_000_000_000 - 1]
    folder(tmp_path, train, val)
    assert not check_data(tmp_path)
    assert CocoDetection(tmp_path, "train").class_names == {1: "cat", 2: "dog"} | {2: "dog"}
    assert CocoDetection(tmp_path, "val").class_names == {1: "cat"}


def turned(path: Path, orientation: int) -> None:
    """Give a picture an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as picture:
        picture.save(path, exif=exif)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("case", ["as seen", "seen, sizes as stored", "as stored"])
def test_exif_that_turns_a_picture(tmp_path: Path, orientation: int, case: str) -> None:
    """Pictures are stored 64 x 48, and seen 48 x 64."""
    data = content(NAMES)
    if case != "as stored":
        data["annotations"] = [a | {"bbox": [5, 35, 10, 25], "segmentation": []} for a in data["annotations"]]
    if case == "as seen":
        data["images"] = [i | {"width": 48, "height": 64} for i in data["images"]]
    folder(tmp_path, data)
    for name in NAMES:
        turned(tmp_path / "train" / name, orientation)
    report = look_through(tmp_path)
    assert not report.faults
    said = " ".join(map(str, report.notices))
    image, target = CocoDetection(tmp_path, "train")[0]
    if case == "as stored":
        assert "they are read as stored" in said
        assert image.shape == (3, 48, 64)
        assert target["boxes"].tolist() == SOUND[0][0]
    else:
        assert ("width and height are exchanged" in said) == (case != "as seen")
        assert image.shape == (3, 64, 48)
        assert target["boxes"][0].tolist() == [5, 35, 15, 60]
    height, width = CocoDetection(tmp_path, "train").sizes[0]
    assert image.shape == (3, height, width)
    assert torch.equal(target["orig_size"], torch.tensor([height, width]))


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_exif_of_which_nothing_tells_when_boxes_were_drawn_is_said(tmp_path: Path, orientation: int) -> None:
    folder(tmp_path, content(NAMES))
    turned(tmp_path / "train" / NAMES[1], orientation)
    (notice,) = look_through(tmp_path).notices
    assert notice.warning
    assert notice.image_ids == (2,)
    assert "Look at one" in str(notice)


def test_exchanged_sizes_without_exif_are_a_fault(tmp_path: Path) -> None:
    data = content(NAMES)
    data["images"] = [i | {"width": 48, "height": 64} for i in data["images"]]
    data["annotations"] = [a | {"bbox": [30, 20, 8, 9]} for a in data["annotations"]]
    folder(tmp_path, data)
    faults = check_data(tmp_path)
    assert len(faults) == 4
    assert "width and height are exchanged" in str(faults[0])
