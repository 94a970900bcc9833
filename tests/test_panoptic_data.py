"""The panoptic reader: segment ids in PNG files, targets of things and stuff, and what evaluation compares with."""

import io
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import panoptic_folder as by_hand
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as rle
from torchvision.ops import box_convert, masks_to_boxes

from detr_mini.data import (
    CocoDetection,
    CocoPanoptic,
    collate,
    denormalise,
    find_panoptic_split,
    is_panoptic,
    train_transforms,
)
from detr_mini.data.panoptic import read_segment_ids, segment_ids_to_image
from detr_mini.errors import DataError, ImageError, NotFoundError

STUFF_OF_TOWN = {15, 16, 17, 18}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    by_hand.write_folder(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def val(town: Path) -> CocoPanoptic:
    return CocoPanoptic(town, "val")


def decoded(annotation: dict[str, Any]) -> torch.Tensor:
    with warnings.catch_warnings():  # pycocotools has not caught up with NumPy 2
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.from_numpy(rle.decode(annotation["segmentation"])).bool()


# Segment ids in PNG files.


@given(
    ids=arrays.arrays(
        st.sampled_from([np.int32, np.int64]),
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.integers(0, 2**24 - 1) | st.sampled_from([0, 255, 256, 65_535, 65_536, 2**24 - 1]),
    )
)
def test_segment_ids_come_back_from_a_png(tmp_path_factory: pytest.TempPathFactory, ids: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "ids.png"
    image = segment_ids_to_image(ids)
    image.save(path)
    read = read_segment_ids(path)
    assert read.dtype == np.int64
    assert np.array_equal(read, ids)
    for (row, column), number in np.ndenumerate(ids):  # as COCO writes them: the lowest byte is red
        assert image.getpixel((column, row)) == (number % 256, number // 256 % 256, number // 65_536)


def test_a_broken_png_is_named(tmp_path: Path) -> None:
    (tmp_path / "ids.png").write_bytes(b"PNG")
    with pytest.raises(ImageError, match=r"cannot read the picture .*ids\.png: it is no picture"):
        read_segment_ids(tmp_path / "ids.png")


# Tiny Town, which has the same scenes as instances and as segments.


@pytest.mark.parametrize("split", ["train", "val"])
def test_things_are_those_of_the_instance_annotations(town: Path, split: str) -> None:
    panoptic, instances = CocoPanoptic(town, split), CocoDetection(town, split, masks=True)
    assert is_panoptic(panoptic)
    assert not is_panoptic(instances)
    assert panoptic.ids == instances.ids
    assert panoptic.sizes == instances.sizes
    assert panoptic.stuff == STUFF_OF_TOWN
    assert {n: name for n, name in panoptic.class_names.items() if n not in panoptic.stuff} == instances.class_names
    assert panoptic.num_classes == 19
    for (image, target), (same_image, things) in zip(panoptic, instances, strict=True):
        assert torch.equal(image, same_image)
        assert target.keys() == things.keys()
        is_thing = torch.tensor([label not in STUFF_OF_TOWN for label in target["labels"].tolist()])
        for name, values in things.items():
            per_object = name in ("boxes", "labels", "area", "iscrowd", "masks")
            assert torch.equal(target[name][is_thing] if per_object else target[name], values), name
            assert type(target[name]) is type(values)


def test_boxes_lie_around_masks(val: CocoPanoptic) -> None:
    count = 0
    for _, target in val:
        corners = masks_to_boxes(target["masks"]) + torch.tensor([0, 0, 1, 1])  # the last pixel is within its box
        assert torch.equal(target["boxes"].as_subclass(torch.Tensor), corners)
        assert torch.equal(target["area"], target["masks"].sum((1, 2)).float())
        count += sum(label in STUFF_OF_TOWN for label in target["labels"].tolist())
    assert count > len(val)


def test_every_pixel_has_one_segment_and_stuff_one_of_its_kind(val: CocoPanoptic) -> None:
    for index in range(len(val)):
        ids, segments = val.panoptic(index).values()
        assert ids.dtype == torch.int64
        assert ids.shape == val.sizes[index]
        assert sorted(segment["id"] for segment in segments) == ids.unique().tolist()
        for segment in segments:
            assert segment["area"] == int((ids == segment["id"]).sum())
            assert segment["isthing"] is (segment["category_id"] not in STUFF_OF_TOWN)
        kinds = [segment["category_id"] for segment in segments if not segment["isthing"]]
        assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("split", ["train", "val"])
def test_what_pycocotools_gets_is_the_instance_annotations(town: Path, split: str) -> None:
    ours = CocoPanoptic(town, split).coco
    theirs = CocoDetection(town, split).coco
    assert ours.cats == theirs.cats
    assert ours.imgs == theirs.imgs
    assert ours.dataset["info"] == theirs.dataset["info"] != {}
    assert ours.imgToAnns.keys() == theirs.imgToAnns.keys()
    for image_id, same in theirs.imgToAnns.items():
        for a, b in zip(ours.imgToAnns[image_id], same, strict=True):
            assert {k: a[k] for k in ("category_id", "bbox", "area", "iscrowd", "image_id")} == {
                k: b[k] for k in ("category_id", "bbox", "area", "iscrowd", "image_id")
            }
            assert torch.equal(decoded(a), decoded(b))
    numbers = [annotation["id"] for annotation in ours.dataset["annotations"]]
    assert 0 not in numbers  # pycocotools reads it as no match
    assert len(set(numbers)) == len(numbers)


# A folder in COCO 2017's layout.


def test_both_layouts_are_found(folder: Path, town: Path) -> None:
    annotations = folder / "annotations"
    found = (folder / "val2017", annotations / "panoptic_val2017.json", annotations / "panoptic_val2017")
    assert find_panoptic_split(folder, "val") == found
    annotations = town / "annotations"
    found = (town / "val", annotations / "panoptic_val.json", annotations / "panoptic_val")
    assert find_panoptic_split(town, "val") == found
    with pytest.raises(NotFoundError, match=r"panoptic_train\.json and panoptic_train2017\.json, each beside a folder"):
        CocoPanoptic(folder, "train")


def test_classes_of_a_file_like_cocos(folder: Path) -> None:
    dataset = CocoPanoptic(folder, "val")
    assert is_panoptic(dataset)
    assert "coco" not in vars(dataset), "which reads every PNG file"
    assert dataset.class_names == {1: "person", 17: "cat", 187: "sky-other-merged", 193: "grass-merged"}
    assert dataset.stuff == {187, 193}
    assert dataset.num_classes == 194
    assert dataset.ids == [139, 285, 632]
    assert dataset.sizes == [(30, 40), (50, 25), (21, 33)]
    assert dataset.coco.dataset["categories"] == [{"id": 1, "name": "person"}, {"id": 17, "name": "cat"}]


def test_objects_have_the_order_of_the_file(folder: Path) -> None:
    image, target = CocoPanoptic(folder, "val")[0]
    assert image.shape == (3, 30, 40)
    assert target["labels"].tolist() == [187, 17, 193, 1]
    assert target["boxes"].tolist() == [[0, 0, 40, 15], [2, 10, 12, 25], [0, 15, 40, 28], [20, 8, 26, 28]]
    assert target["area"].tolist() == target["masks"].sum((1, 2)).tolist()
    cat = torch.zeros(30, 40, dtype=torch.bool)
    cat[10:14, 2:12] = cat[16:25, 4:9] = True  # one mask, though in two pieces
    assert torch.equal(target["masks"][1].as_subclass(torch.Tensor), cat)
    assert not target["masks"][:, 28:].any()  # pixels of no segment
    assert int(target["image_id"]) == 139


def test_crowds_are_for_evaluation_alone(folder: Path) -> None:
    dataset = CocoPanoptic(folder, "val")
    _, target = dataset[1]
    assert target["labels"].tolist() == [17, 187]
    assert target["iscrowd"].tolist() == [0, 0]
    assert not target["masks"][:, 30:45].any()
    crowd = dataset.panoptic(1)["segments"][2]
    assert (crowd["id"], crowd["category_id"], crowd["iscrowd"], crowd["area"]) == (by_hand.CROWD, 1, 1, 375)
    assert int((dataset.panoptic(1)["ids"] == by_hand.CROWD).sum()) == 375
    cat, crowd = dataset.coco.imgToAnns[285]
    assert (cat["category_id"], cat["iscrowd"]) == (17, 0)
    assert (crowd["category_id"], crowd["iscrowd"], crowd["bbox"]) == (1, 1, [0, 30, 25, 15])
    assert decoded(crowd)[30:45].all()
    assert decoded(crowd).sum() == 375


def test_stuff_is_not_for_pycocotools(folder: Path) -> None:
    things = CocoPanoptic(folder, "val").coco.dataset["annotations"]
    assert [(thing["image_id"], thing["category_id"]) for thing in things] == [(139, 17), (139, 1), (285, 17), (285, 1)]


def test_segments_of_an_image(folder: Path) -> None:
    dataset = CocoPanoptic(folder, "val")
    ids, segments = dataset.panoptic(0).values()
    assert [(s["id"], s["category_id"], s["isthing"]) for s in segments] == [
        (by_hand.SKY, 187, False),
        (by_hand.CAT, 17, True),
        (by_hand.GRASS, 193, False),
        (by_hand.PERSON, 1, True),
    ]
    assert int(ids[0, 0]) == by_hand.SKY
    assert int(ids[20, 5]) == by_hand.CAT
    assert int(ids[29, 0]) == 0
    segments[0]["id"] = 3
    assert dataset.panoptic(0)["segments"][0]["id"] == by_hand.SKY


def without_annotation(root: Path) -> None:
    data = json.loads((root / "annotations" / "panoptic_val2017.json").read_text())
    del data["annotations"][2]
    by_hand.save(root, data)


@pytest.mark.parametrize("change", [lambda root: None, without_annotation])
def test_an_image_without_segments(folder: Path, change: Any) -> None:
    change(folder)
    dataset = CocoPanoptic(folder, "val")
    image, target = dataset[2]
    assert image.shape == (3, 21, 33)
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, 21, 33)
    ids, segments = dataset.panoptic(2).values()
    assert ids.dtype == torch.int64
    assert torch.equal(ids, torch.zeros(21, 33, dtype=torch.int64))
    assert segments == []
    assert 632 in dataset.coco.imgs
    assert 632 not in dataset.coco.imgToAnns
    samples, targets = collate(list(CocoPanoptic(folder, "val", train_transforms(None))))
    assert samples.tensors.shape == (3, 3, 50, 40)
    assert [len(target["masks"]) for target in targets] == [4, 2, 0]


@pytest.mark.parametrize("values", [(True, False), (1, 0)])
def test_things_may_be_true_or_one(folder: Path, values: tuple[Any, Any]) -> None:
    data = json.loads((folder / "annotations" / "panoptic_val2017.json").read_text())
    for category in data["categories"]:
        category["isthing"] = values[0] if category["id"] < 90 else values[1]
    by_hand.save(folder, data)
    dataset = CocoPanoptic(folder, "val")
    assert dataset.stuff == {187, 193}
    assert [segment["isthing"] for segment in dataset.panoptic(0)["segments"]] == [False, True, False, True]


def test_a_box_without_area_takes_its_mask_along(folder: Path) -> None:
    data = json.loads((folder / "annotations" / "panoptic_val2017.json").read_text())
    data["annotations"][1]["segments_info"][0]["bbox"][2] = 0
    by_hand.save(folder, data)
    _, target = CocoPanoptic(folder, "val")[0]
    assert target["labels"].tolist() == [17, 193, 1]
    assert torch.equal(masks_to_boxes(target["masks"])[0], torch.tensor([2.0, 10, 11, 24]))


def test_a_png_of_another_size_is_refused(folder: Path) -> None:
    path = by_hand.png(folder, 139)
    Image.new("RGB", (41, 30)).save(path)
    dataset = CocoPanoptic(folder, "val")
    for ask in (lambda: dataset[0], lambda: dataset.panoptic(0), lambda: dataset.coco):
        with pytest.raises(DataError, match=r"139\.png is 41 x 30, but its image 139 is 40 x 30 in .*val2017\.json"):
            ask()


def test_png_files_are_read_when_asked_for(folder: Path) -> None:
    dataset = CocoPanoptic(folder, "val")
    by_hand.png(folder, 139).unlink()
    assert len(dataset[1][1]["masks"]) == 2
    with pytest.raises(ImageError, match=r"139\.png: No such file"):
        dataset[0]


def test_a_dataset_goes_to_another_process(folder: Path) -> None:
    dataset = CocoPanoptic(folder, "val")
    buffer = io.BytesIO(pickle.dumps(dataset))
    copy = pickle.load(buffer)
    assert torch.equal(copy[0][1]["masks"], dataset[0][1]["masks"])
    assert copy.coco.anns.keys() == dataset.coco.anns.keys()


# Transforms.


def rectangles(root: Path) -> CocoPanoptic:
    """An image of rectangles far from each other, none over another: so that a crop of one is a rectangle, too."""
    data, kinds = by_hand.empty(), {5: 1, 300: 17, 70_000: 187, 2**24 - 1: 193}
    ids = np.zeros((90, 130), dtype=np.int64)
    ids[4:40, 6:50] = 5
    ids[50:84, 10:40] = 300
    ids[8:30, 70:120] = 70_000
    ids[44:86, 60:126] = 2**24 - 1
    by_hand.add_image(root, data, 1, ids, [by_hand.segment(ids, number, kind) for number, kind in kinds.items()])
    by_hand.save(root, data)
    return CocoPanoptic(root, "val")


@pytest.mark.parametrize("sizes", [None, (60, 80, 100)])
def test_mask_box_and_label_stay_together(tmp_path: Path, sizes: tuple[int, ...] | None) -> None:
    dataset = rectangles(tmp_path)
    dataset.transforms = train_transforms(sizes, max_size=140)
    seen, lost = set(), 0
    for seed in range(40):
        torch.manual_seed(seed)
        image, target = dataset[0]
        height, width = image.shape[1:]
        seen.add((height, width, len(target["labels"])))
        assert target["masks"].shape == (len(target["labels"]), height, width)
        assert target["masks"].dtype == torch.bool
        corners = box_convert(target["boxes"], "cxcywh", "xyxy") * torch.tensor([width, height, width, height])
        colors = torch.from_numpy(denormalise(image)).float()
        for box, mask, label in zip(corners, target["masks"], target["labels"].tolist(), strict=True):
            if (box[2:] - box[:2]).min() < 6:  # a sliver at the edge of a crop
                lost += 1
                continue
            around = masks_to_boxes(mask[None])[0] + torch.tensor([0, 0, 1, 1])
            assert (around - box).abs().max() <= 3
            x, y = ((box[:2] + box[2:]) / 2).int().tolist()
            assert (colors[y, x] - torch.tensor(by_hand.COLORS[label])).abs().max() < 25
    assert lost < 10
    assert len(seen) > 15 if sizes else len(seen) == 1


def test_flipped_half_of_the_time(tmp_path: Path) -> None:
    plain = rectangles(tmp_path)[0][1]["masks"]
    dataset = CocoPanoptic(tmp_path, "val", train_transforms(None))
    flipped = 0
    for seed in range(20):
        torch.manual_seed(seed)
        masks = dataset[0][1]["masks"]
        turned = torch.equal(masks, plain.flip(-1).as_subclass(torch.Tensor))
        assert turned or torch.equal(masks, plain.as_subclass(torch.Tensor))
        flipped += turned
    assert 5 <= flipped <= 15
