"""The COCO reader: what it keeps and what it leaves out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from detr_mini.data import CocoDetection, collate, find_split, train_transforms

RED, BLUE = (220, 30, 40), (20, 60, 210)


def annotation(number: int, image: int, box: list[float], category: int = 3, **more: Any) -> dict[str, Any]:
    """One annotation entry whose mask is its whole box."""
    x, y, w, h = box
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    entry = {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": w * h, "iscrowd": 0}
    return entry | {"segmentation": [polygon]} | more


def write_folder(root: Path, annotations: list[dict[str, Any]]) -> Path:
    """Two pictures: number 4, 60 x 40, blue with a red rectangle; number 9, 30 x 50, without objects; twice."""
    for split in ("train", "val"):
        write_split(root, annotations, split)
    return root


def write_split(root: Path, annotations: list[dict[str, Any]], split: str) -> None:
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    pixels = np.full((40, 60, 3), BLUE, dtype=np.uint8)
    pixels[8:20, 10:40] = RED
    Image.fromarray(pixels).save(root / split / "a.png")
    Image.new("RGB", (30, 50), BLUE).save(root / split / "b.jpg")
    data = {
        "images": [
            {"id": 9, "file_name": "b.jpg", "width": 30, "height": 50},
            {"id": 4, "file_name": "a.png", "width": 60, "height": 40},
        ],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "red"}, {"id": 7, "name": "other"}],
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound folder with one object."""
    return write_folder(tmp_path, [annotation(1, 4, [10, 8, 30, 12])])


def test_item_without_transforms(folder: Path) -> None:
    dataset = CocoDetection(folder, "train")
    assert dataset.ids == [4, 9]
    assert len(dataset) == 2
    assert dataset.class_names == {3: "red", 7: "other"}
    assert dataset.num_classes == 8
    image, target = dataset[0]
    assert isinstance(image, tv_tensors.Image)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 40, 60)
    assert tuple(image[:, 10, 20].tolist()) == RED
    assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
    assert target["boxes"].canvas_size == (40, 60)
    assert target["boxes"].tolist() == [[10, 8, 40, 20]]
    assert target["labels"].tolist() == [3]
    assert target["labels"].dtype == torch.int64
    assert target["area"].tolist() == [360]
    assert target["iscrowd"].tolist() == [0]
    assert int(target["image_id"]) == 4
    assert target["orig_size"].tolist() == target["size"].tolist() == [40, 60]
    assert "masks" not in target


def test_picture_without_objects_is_kept(folder: Path) -> None:
    for dataset in (CocoDetection(folder, "train", masks=True), CocoDetection(folder, "train", train_transforms(None))):
        _, target = dataset[1]
        assert target["boxes"].shape == (0, 4)
        assert target["labels"].shape == target["area"].shape == target["iscrowd"].shape == (0,)
        assert target["labels"].dtype == torch.int64
    assert CocoDetection(folder, "train", masks=True)[1][1]["masks"].shape == (0, 50, 30)


def test_crowds_and_boxes_without_area_are_left_out(tmp_path: Path) -> None:
    entries = [
        annotation(1, 4, [0, 0, 20, 20], iscrowd=1),
        annotation(2, 4, [10, 8, 30, 12], category=7),
        annotation(3, 4, [10, 8, 0, 12]),
        annotation(4, 4, [10, 8, 30, 0]),
        annotation(5, 4, [70, 8, 30, 12]),
    ]
    _, target = CocoDetection(write_folder(tmp_path, entries), "train", masks=True)[0]
    assert target["labels"].tolist() == [7]
    assert target["boxes"].tolist() == [[10, 8, 40, 20]]
    assert len(target["area"]) == len(target["iscrowd"]) == len(target["masks"]) == 1


def test_boxes_are_clamped_to_the_picture(tmp_path: Path) -> None:
    root = write_folder(tmp_path, [annotation(1, 4, [-5, 30, 80, 40])])
    assert CocoDetection(root, "train")[0][1]["boxes"].tolist() == [[0, 30, 60, 40]]


def test_masks_cover_the_object(folder: Path) -> None:
    image, target = CocoDetection(folder, "train", masks=True)[0]
    assert isinstance(target["masks"], tv_tensors.Mask)
    assert torch.equal(target["masks"][0], torch.as_tensor(image[0] == RED[0]))


@pytest.mark.parametrize("side", [0.009, 1e-9, 1e-300])
def test_boxes_too_thin_for_single_precision_are_left_out(tmp_path: Path, side: float) -> None:
    entries = [annotation(1, 4, [59, 8, side, 12]), annotation(2, 4, [10, 39, 30, side])]
    assert len(CocoDetection(write_folder(tmp_path, entries), "train")[0][1]["boxes"]) == 0


def test_each_picture_gets_its_own_objects(tmp_path: Path) -> None:
    entries = [annotation(1, 9, [1, 2, 3, 4]), annotation(2, 4, [5, 6, 7, 8]), annotation(3, 9, [2, 2, 4, 4], 7)]
    dataset = CocoDetection(write_folder(tmp_path, entries), "train")
    assert [target["boxes"].tolist() for _, target in (dataset[0], dataset[1])] == [
        [[5, 6, 12, 14]],
        [[1, 2, 4, 6], [2, 2, 6, 6]],
    ]
    assert dataset[1][1]["labels"].tolist() == [3, 7]
    assert dataset[1][1]["area"].tolist() == [12, 16]
    dataset[0][1]["labels"][0] = 44
    assert dataset[0][1]["labels"].tolist() == [3]


def test_reading_prints_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CocoDetection(folder, "train")
    assert capsys.readouterr().out == ""


def test_find_split_knows_both_layouts(tmp_path: Path) -> None:
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    (tmp_path / "val2017").mkdir()
    (tmp_path / "train").mkdir()
    (annotations / "instances_val2017.json").touch()
    (annotations / "instances_train.json").touch()
    assert find_split(tmp_path, "val") == (tmp_path / "val2017", annotations / "instances_val2017.json")
    assert find_split(tmp_path, "train") == (tmp_path / "train", annotations / "instances_train.json")


def test_find_split_of_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder is empty.*make-data") as raised:
        find_split(tmp_path, "val")
    assert str(tmp_path) in str(raised.value)


def test_collate_pads_the_batch(folder: Path) -> None:
    dataset = CocoDetection(folder, "train", train_transforms(None))
    samples, targets = collate([dataset[0], dataset[1]])
    assert samples.tensors.shape == (2, 3, 50, 60)
    assert not samples.mask[0, :40, :60].any()
    assert samples.mask[0, 40:].all()
    assert samples.mask[1, :, 30:].all()
    assert [len(target["boxes"]) for target in targets] == [1, 0]
