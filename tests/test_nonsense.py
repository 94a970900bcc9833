"""Boxes that are sound one by one and mean something else as a whole are said to; sound ones are left alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_folders import Data, content, pictures, write

from detr_mini.data import CocoDetection, look_through
from detr_mini.data.nonsense import boxes_of, nonsense

SIZE = (640, 480)


def objects(count: int = 60, seed: int = 0, within: float = 1.0) -> list[tuple[int, list[float]]]:
    """Sound boxes, x, y, width, height, with the picture of each; they keep to a part of it, ``within``."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        width, height = rng.uniform(8, 200 * within), rng.uniform(8, 150 * within)
        x, y = rng.uniform(0, SIZE[0] * within - width), rng.uniform(0, SIZE[1] * within - height)
        found.append((index // 4, [float(round(side, 2)) for side in (x, y, width, height)]))
    return found


def verdict(boxes: list[tuple[int, list[float]]], area: Any = None, outlines: Any = None) -> tuple[str, bool] | None:
    annotations = []
    for index, (image, box) in enumerate(boxes):
        annotation: Data = {"image_id": image, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        if area is not None:
            annotation["area"] = area[index]
        if outlines is not None:
            annotation["segmentation"] = outlines[index]
        annotations.append(annotation)
    return nonsense(boxes_of(annotations, {image: SIZE for image, _ in boxes}))


def corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def shares(box: list[float]) -> list[float]:
    return [side / whole for side, whole in zip(box, SIZE * 2, strict=True)]


def centers(box: list[float]) -> list[float]:
    x, y, width, height = shares(box)
    return [x + width / 2, y + height / 2, width, height]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("count", [1, 2, 5, 20, 200])
def test_sound_boxes_are_left_alone(seed: int, count: int) -> None:
    assert (verdict(objects(count, seed)) or ("", False))[1] is False


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shares, "shares of the picture, 0 to 1"),
        (centers, "shares of the picture, 0 to 1"),
        (lambda box: corners(shares(box)), "shares of the picture, 0 to 1"),
        (lambda box: [side * 100 for side in shares(box)], "percent"),
        (lambda box: [box[0], box[1], 1, 1], "one pixel or less"),
        (lambda box: [box[0], box[1], 0.5, 0.5], "one pixel or less"),
    ],
)
def test_nonsense_is_named(seed: int, change: Any, said: str) -> None:
    found = verdict([(image, change(box)) for image, box in objects(60, seed)])
    assert found is not None
    assert said in found[0]
    assert found[1]
    assert "x, y, width, height in pixels" in found[0]


@pytest.mark.parametrize("seed", range(5))
def test_centers_are_told_from_corners(seed: int) -> None:
    said = verdict([(image, centers(box)) for image, box in objects(60, seed)])
    assert said is not None
    assert "as YOLO has them, center and size" in said[0]
    assert "subtract half" in said[0]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("within", [0.5, 1.0])
def test_two_corners_are_told_by_their_areas(seed: int, within: float) -> None:
    boxes = objects(20, seed, within)
    said = verdict([(i, corners(box)) for i, box in boxes], area=[box[2] * box[3] for _, box in boxes])
    assert said is not None
    assert said[1]
    assert "two corners" in said[0]
    assert "areas" in said[0]


@pytest.mark.parametrize("seed", range(10))
def test_two_corners_are_told_by_their_outlines(seed: int) -> None:
    boxes = objects(20, seed, 0.5)
    outlines = []
    for _, box in boxes:
        x, y, right, down = corners(box)
        outlines.append([[x, y, right, y, right, down, x, down]])
    said = verdict([(i, corners(box)) for i, box in boxes], outlines=outlines)
    assert said is not None
    assert said[1]
    assert "outlines" in said[0]
    assert verdict(boxes, outlines=outlines) is None


@pytest.mark.parametrize("seed", range(20))
def test_two_corners_in_the_upper_left_quarter_are_told_alone(seed: int) -> None:
    said = verdict([(i, corners(box)) for i, box in objects(20, seed, 0.5)])
    assert said is not None
    assert said[1]


def test_one_large_object_in_the_middle_of_each_picture_is_a_doubt_only() -> None:
    rng = np.random.default_rng(0)
    boxes = []
    for image in range(40):
        width, height = rng.uniform(400, 500), rng.uniform(300, 400)
        boxes.append((image, [(640 - width) / 2, (480 - height) / 2, width, height]))
    said = verdict(boxes)
    assert said is not None
    assert not said[1]
    outlines = [[[x, y, x + w, y, x + w, y + h]] for _, (x, y, w, h) in boxes]
    assert verdict(boxes, outlines=outlines) is None


NAMES = [f"{n}.png" for n in range(4)]


def folder(root: Path, train: Data, val: Data | None = None) -> Path:
    for split, seed, data in (("train", 0, train), ("val", 1, val or content(NAMES))):
        pictures(root / split, NAMES, seed)
        write(root / "annotations" / f"instances_{split}.json", data)
    return root


def changed(**fields: Any) -> Data:
    data = content(NAMES)
    data["annotations"] = [a | fields for a in data["annotations"]]
    return data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (changed(iscrowd=1), "every object is a crowd"),
        (content(NAMES) | {"annotations": []}, "there are no objects"),
        (changed(bbox=[0.4, 0.4, 0.2, 0.3], area=0.06), "shares of the picture"),
        (changed(bbox=[10, 10, 1, 1], area=1), "one pixel or less"),
        (changed(bbox=[20, 20, 50, 40], area=600), "two corners"),
        (changed(bbox=[30, 30, 60, 44]), "look like x, y, x, y"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_check_data_says_it(tmp_path: Path, data: Data, said: str, split: str) -> None:
    folder(tmp_path, *((data, None) if split == "train" else (content(NAMES), data)))
    (fault,) = look_through(tmp_path).faults
    assert said in str(fault)
    assert fault.file.endswith(f"instances_{split}.json")


def test_a_picture_in_both_splits_is_said(tmp_path: Path) -> None:
    folder(tmp_path, content(NAMES))
    (tmp_path / "val" / "2.png").write_bytes((tmp_path / "train" / "0.png").read_bytes())
    (notice,) = look_through(tmp_path).notices
    assert notice.warning
    assert "pictures that are in train as well" in str(notice)
    assert "2.png = 0.png" in str(notice)
    assert notice.image_ids == (3,)


def test_classes_that_train_has_no_object_of_are_said(tmp_path: Path) -> None:
    train = content(NAMES)
    train["annotations"] = [a for a in train["annotations"] if a["category_id"] == 1]
    folder(tmp_path, train)
    of_train, of_val = look_through(tmp_path).notices
    assert "no objects here of 1 of 2 categories: dog" in str(of_train)
    assert "classes of which train has no object cannot be learned" in str(of_val)
    assert of_val.warning


def test_a_class_of_val_alone(tmp_path: Path) -> None:
    val = content(NAMES, categories=("cat", "dog", "hen"))
    folder(tmp_path, content(NAMES), val)
    assert not look_through(tmp_path).faults, "it has no objects"
    val["annotations"][0]["category_id"] = 3
    (fault,) = look_through(folder(tmp_path, content(NAMES), val)).faults
    assert "train has no such category" in str(fault)


def test_a_name_with_two_ids_is_said(tmp_path: Path) -> None:
    both = content(NAMES, categories=("cat", "dog", "cat"))
    folder(tmp_path, both, both)
    notices = [n for n in look_through(tmp_path).notices if n.warning]
    assert len(notices) == 2, "one for each split"
    assert "two ids, so the model learns two classes" in str(notices[0])
    assert "categories 1 and 3" in str(notices[0])
    assert CocoDetection(tmp_path, "train").class_names == {1: "cat", 2: "dog", 3: "cat"}
