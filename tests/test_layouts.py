"""The layouts of the usual tools are found as they are; what cannot be told is said."""

import json
import os
import shutil
from pathlib import Path

import pytest
from coco_folders import LAYOUTS, TRAIN, VAL, beside, coco, content, pictures, roboflow, write
from PIL import Image

from detr_mini.commands.cli import main
from detr_mini.data import CocoDetection, DataError, find_split, look_through, read_class_names
from detr_mini.data.layouts import find_layout, split_word
from detr_mini.errors import NotFoundError


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_accepted_as_found(tmp_path: Path, name: str) -> None:
    make, whose, train, val = LAYOUTS[name]
    make(tmp_path)
    report = look_through(tmp_path)
    assert not report.faults, [str(fault) for fault in report.faults]
    assert report.layout.startswith(whose)
    assert [split.images for split in report.splits] == [train, val]
    data = [CocoDetection(tmp_path, split) for split in ("train", "val")]
    assert [len(split) for split in data] == [train, val]
    for split in data:
        for image, target in (split[index] for index in range(len(split))):
            assert image.shape == (3, 48, 64)
            assert len(target["boxes"]) == 2
            assert {split.class_names[label] for label in target["labels"].tolist()} <= {
                "animals",
                "cat",
                "dog",
                "person",
            }
    assert data[0].class_names == data[1].class_names == read_class_names(tmp_path, "train")
    files = [{os.path.realpath(s.image_folder / i["file_name"]) for i in s.coco.imgs.values()} for s in data]
    assert not files[0] & files[1]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("instances_train2017", "train"), ("custom_train", "train"), ("valid", "val"), ("validation2014", "val")),
        *(("my_devset", "val"), ("TestImages", "test"), ("train/_annotations.coco", "train"), ("annotations", None)),
        *(("street", None), ("trained", None), ("restaurant", None), ("images/val2017", "val"), ("trainData", "train")),
    ],
)
def test_which_split_a_name_speaks_of(name: str, split: str | None) -> None:
    assert split_word(name) == split


def test_the_drawn_split_is_the_same_each_time_and_keeps_copies_together(tmp_path: Path) -> None:
    names = [f"photo_{n}.jpg" for n in range(30)]
    copies = [f"photo_{n} (1).jpg" for n in range(5)] + [f"photo_{n}_copy.jpg" for n in range(5, 10)]
    pictures(tmp_path / "images", names)
    pictures(tmp_path / "images", copies, 1)
    for n in range(10, 15):  # the same content under another name
        copies.append(f"other_{n}.jpg")
        shutil.copy(tmp_path / "images" / f"photo_{n}.jpg", tmp_path / "images" / copies[-1])
    write(tmp_path / "all.json", content([*names, *copies]))
    splits = [{i["file_name"] for i in CocoDetection(tmp_path, s).coco.imgs.values()} for s in ("train", "val") * 2]
    assert splits[:2] == splits[2:]
    train, val = splits[:2]
    assert train | val == {*names, *copies}
    assert not train & val
    assert 6 <= len(val) <= 12
    for original, copy in zip(names, copies, strict=False):
        assert (original in val) == (copy in val)
    (notice,) = [n for n in CocoDetection(tmp_path, "val").notices if "no validation split" in n]
    assert "20%" in notice


def test_one_picture_cannot_be_split(tmp_path: Path) -> None:
    pictures(tmp_path, ["a.jpg"])
    write(tmp_path / "all.json", content(["a.jpg"]))
    (fault,) = look_through(tmp_path).faults
    assert "no picture is left for val" in str(fault)


@pytest.mark.parametrize("named", ["annotations/instances_train2017.json", "annotations/instances_val2017.json"])
def test_one_file_tells_its_family(tmp_path: Path, named: str) -> None:
    coco(tmp_path, "2017", "images")
    shutil.copytree(tmp_path / "images" / "train2017", tmp_path / "images" / "train2014")
    write(tmp_path / "annotations" / "instances_train2014.json", content(TRAIN[:3]))
    write(tmp_path / "annotations" / "instances_val2014.json", content(VAL[:2]))
    assert len(CocoDetection(tmp_path / named, "train")) == 6
    assert len(CocoDetection(tmp_path / named, "val")) == 3


def test_one_roboflow_file_tells_its_family(tmp_path: Path) -> None:
    roboflow(tmp_path / "v1")
    roboflow(tmp_path / "v2")
    with pytest.raises(DataError, match=r"2 files could be the annotations of train: v1.*, v2.*\. Name one of them"):
        find_layout(tmp_path)
    file = tmp_path / "v2" / "train" / "_annotations.coco.json"
    assert find_split(file, "val") == (tmp_path / "v2" / "valid", tmp_path / "v2" / "valid" / "_annotations.coco.json")


def test_files_that_could_all_be_meant_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path, TRAIN)
    for name in ("a.json", "b.json"):
        write(tmp_path / name, content(TRAIN))
    assert main(["check-data", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "a.json, b.json" in said.out
    assert said.out.count("Name one of them") == 1
    assert main(["check-data", str(tmp_path / "b.json")]) == 0
    write(tmp_path / "a.json", content(["elsewhere.jpg"]))
    assert find_split(tmp_path, "train")[1].name == "b.json", "the one whose pictures are there"


def test_a_split_that_is_not_there_is_said(tmp_path: Path) -> None:
    coco(tmp_path, "2017")
    with pytest.raises(NotFoundError, match=r"no test annotations in .*: there is train .*, val"):
        find_split(tmp_path, "test")
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    with pytest.raises(NotFoundError, match=r"no train annotations in .*: there is val"):
        find_split(tmp_path, "train")
    assert find_split(tmp_path, "val")[0].name == "val2017"


def test_names_of_splits_may_be_those_of_the_folder(tmp_path: Path) -> None:
    roboflow(tmp_path)
    assert find_split(tmp_path, "valid") == find_split(tmp_path, "val")
    assert find_split(tmp_path, "test")[0].name == "test"


def test_a_missing_folder_of_pictures_is_one_fault_that_names_it(tmp_path: Path) -> None:
    beside(tmp_path, "annotations/instances_SPLIT.json", "SPLIT")
    shutil.rmtree(tmp_path / "val")
    (fault,) = look_through(tmp_path).faults
    assert f"none of the 3 pictures of this file are in {tmp_path}" in str(fault)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "the folder is empty. To make Tiny Town there"),
        ({"a.jpg": ""}, "there are pictures, but no annotation file"),
        ({"train2017.zip": "PK"}, "there are archives. Unpack"),
        ({"a.jpg": "", "a.txt": "0 0.5 0.5 0.2 0.2\n"}, "YOLO"),
        ({"images/a.jpg": "", "labels/a.txt": "3 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1"}, "YOLO"),
        ({"a.jpg": "", "a.xml": "<annotation><object><bndbox></bndbox></object></annotation>"}, "Pascal VOC"),
        ({"a.jpg": "", "a.json": '{"shapes": [], "imagePath": "a.jpg"}'}, "labelme"),
        ({"a.json": '{"a.jpg": {"regions": [{"shape_attributes": {}}]}}'}, "VIA"),
        ({"_annotations.createml.json": "[]"}, "CreateML"),
        ({"train.csv": "a,b"}, "CSV"),
        ({"train/x.tfrecord": ""}, "TFRecord"),
        ({"annotations/panoptic_train.json": '{"annotations": [{"segments_info": []}]}'}, "--panoptic"),
        ({"instances_train.json": '{"images": [], "annotations": []}'}, 'has no "categories"'),
        ({"notes.txt": "hello"}, "An annotation file has the lists"),
    ],
)
def test_what_else_there_is_is_said(
    tmp_path: Path, files: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        if name.endswith(".jpg"):
            Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert main(["check-data", str(tmp_path)]) == 2
    out = capsys.readouterr().out
    assert said in out
    assert ("make-data" in out) == (not files)
    assert out.count("\n") == 1


def test_a_folder_that_does_not_exist_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", str(tmp_path / "nowhere")]) == 2
    out = capsys.readouterr().out
    assert "no such file or folder" in out
    assert "make-data" not in out


@pytest.mark.parametrize("text", ["", "[]", "{", '{"images": [', '[{"image_id": 1, "score": 0.5}]'])
def test_what_is_no_annotation_file_is_not_taken_for_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(NotFoundError):
        find_layout(tmp_path / "x.json")


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    coco(tmp_path / "real", "2017", "images")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "pictures").symlink_to(tmp_path / "real" / "images")
    (tmp_path / "set" / "annotations").symlink_to(tmp_path / "real" / "annotations")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    assert find_split(tmp_path / "set", "val")[0] == tmp_path / "set" / "pictures" / "val2017"


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    roboflow(tmp_path)
    file = tmp_path / "train" / "_annotations.coco.json"
    for name in ("__MACOSX/train/_annotations.coco.json", ".cache/train.json", "train/._annotations.coco.json"):
        write(tmp_path / name, json.loads(file.read_text()))
    assert find_split(tmp_path, "train")[1] == file
