"""Masks and segments of a model are compared with those of the data: by a model that knows the answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from torch import Tensor

from detr_mini import DETRSegmentation, NestedTensor, distributed, evaluate
from detr_mini.data import CocoDetection, CocoPanoptic, eval_transforms, is_panoptic
from detr_mini.evaluation import COCO_NAMES, coco_metrics, detect
from detr_mini.mask_results import detections_with_masks, has_mask, processed_sizes, run_lengths
from detr_mini.modeling.config import get_config

MASK_NAMES = [f"mask_{name}" for name in COCO_NAMES]
PQ_NAMES = [f"{name}{ending}" for ending in ("", "_th", "_st") for name in ("PQ", "SQ", "RQ")]
SMALL: dict[str, Any] = {
    "masks": True, "hidden_dim": 16, "nheads": 2, "num_queries": 20, "num_classes": 19,
    "enc_layers": 1, "dec_layers": 1, "dim_feedforward": 16,
}  # fmt: skip


class Knowing(DETRSegmentation):
    """Says of each picture of a data set what is annotated there, one after the other.

    Args:
        dataset: with masks.
        scale: the model sees the pictures so many times as large as they are.
        spoil: what to do with the masks ``(T, H, W)`` bool of each picture.
    """

    def __init__(self, dataset: Any, scale: int = 1, spoil: Any = lambda masks: masks) -> None:
        super().__init__(get_config("nano", **SMALL))
        self.answers = [with_crowds(dataset, index) for index in range(len(dataset))]
        self.scale, self.spoil, self.next = scale, spoil, 0

    def forward(self, samples: Any) -> dict[str, Any]:
        assert isinstance(samples, NestedTensor)
        answers = self.answers[self.next : self.next + len(samples)]
        self.next += len(samples)
        n, (height, width) = self.config.num_queries, samples.tensors.shape[-2:]
        logits = torch.full((len(answers), n, 20), -20.0)
        logits[:, :, 19] = 0  # no object
        boxes = torch.full((len(answers), n, 4), 0.5)
        masks = torch.full((len(answers), n, height, width), -9.0)
        for k, answer in enumerate(answers):
            count = len(answer["labels"])
            logits[k, torch.arange(count), answer["labels"]] = 20
            boxes[k, :count] = answer["boxes"]
            known = self.spoil(answer["masks"].clone())
            large = known.repeat_interleave(self.scale, 1).repeat_interleave(self.scale, 2)
            for slot, mask in enumerate(large):  # where masks overlap the later slot wins
                masks[k, slot, : large.shape[1], : large.shape[2]][mask] = 9 + slot / 10
            masks[k, :count, large.shape[1] :] = 99  # padding has to be cut off
            masks[k, :count, :, large.shape[2] :] = 99
        return {"pred_logits": logits, "pred_boxes": boxes, "pred_masks": masks}


def with_crowds(dataset: Any, index: int) -> dict[str, Tensor]:
    """The target of a picture with its crowds, whose pixels would go to other segments if nothing was said of them."""
    target = dataset[index][1]
    height, width = target["orig_size"].tolist()
    for segment in dataset.panoptic(index)["segments"] if isinstance(dataset, CocoPanoptic) else []:
        if segment["iscrowd"]:
            x, y, w, h = segment["bbox"]
            box = torch.tensor([[(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]])
            mask = dataset.panoptic(index)["ids"] == segment["id"]
            target["labels"] = torch.cat([target["labels"], torch.tensor([segment["category_id"]])])
            target["boxes"] = torch.cat([target["boxes"], box])
            target["masks"] = torch.cat([target["masks"], mask[None]])
    return target


class Enlarged:
    """A data set whose pictures come twice as large as they are."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.coco, self.class_names, self.stuff = dataset.coco, dataset.class_names, dataset.stuff
        self.num_classes, self.sizes, self.panoptic = dataset.num_classes, dataset.sizes, dataset.panoptic

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image, target = self.dataset[index]
        return image.repeat_interleave(2, 1).repeat_interleave(2, 2), target


def things(town: Path) -> CocoDetection:
    return CocoDetection(town, "val", eval_transforms(None), masks=True)


def segments(town: Path) -> CocoPanoptic:
    return CocoPanoptic(town, "val", eval_transforms(None))


# --- evaluation


def test_the_true_masks_have_ap_1(town: Path) -> None:
    dataset = things(town)
    numbers = evaluate(Knowing(dataset), dataset, batch_size=5)
    assert list(numbers) == [*COCO_NAMES, *MASK_NAMES]
    for name in ("AP", "mask_AP", "mask_AP75", "mask_APs", "mask_AR100"):
        assert numbers[name] == pytest.approx(1), name


@pytest.mark.parametrize("scale", [1, 2])
def test_the_true_segments_are_perfect(town: Path, scale: int) -> None:
    """In padded batches; at twice the size they come down to single pixels again."""
    dataset: Any = segments(town)
    model = Knowing(dataset, scale)
    numbers = evaluate(model, dataset if scale == 1 else Enlarged(dataset), batch_size=5)
    assert list(numbers) == [*COCO_NAMES, *MASK_NAMES, *PQ_NAMES]
    for name in ("AP", "mask_AP", *PQ_NAMES):
        assert numbers[name] == pytest.approx(1), name
    assert is_panoptic(Enlarged(dataset))


def test_masks_that_are_wrong_cost_mask_ap_alone(town: Path) -> None:
    """Each mask a half of the true one: 0.5 of the union, which is no match of segments."""

    def halved(masks: Tensor) -> Tensor:
        return masks & (masks.flatten(1).cumsum(1).view_as(masks) <= masks.sum((1, 2))[:, None, None] // 2)

    dataset = segments(town)
    numbers = evaluate(Knowing(dataset, spoil=halved), dataset)
    assert numbers["AP"] == pytest.approx(1)
    assert 0 <= numbers["mask_AP"] < 0.1
    assert numbers["mask_AP75"] == 0
    assert 0 <= numbers["PQ_th"] < 0.5


def test_a_model_that_knows_its_stuff_joins_that_alone(town: Path) -> None:
    """Where the sky is said to be a thing, and another slot shows the left half of it, it is found in two parts."""

    class TwoSkies(CocoPanoptic):
        def __getitem__(self, index: int) -> Any:
            image, target = super().__getitem__(index)
            (sky,) = (target["labels"] == 15).nonzero()[0].tolist()
            left = target["masks"][sky].clone()
            left[:, left.shape[1] // 2 :] = False
            target["masks"] = torch.cat([target["masks"], left[None]])
            target["labels"] = torch.cat([target["labels"], torch.tensor([15])])
            target["boxes"] = torch.cat([target["boxes"], target["boxes"][sky, None]])
            return image, target

    dataset = TwoSkies(town, "val", eval_transforms(None))
    by_the_data = evaluate(Knowing(dataset), dataset)
    assert by_the_data["PQ_st"] == pytest.approx(1), "the model does not know its stuff: the data says"
    model = Knowing(dataset)
    model.stuff = frozenset({16, 17, 18})
    assert evaluate(model, dataset)["PQ_st"] < 0.9
    model = Knowing(dataset)
    model.stuff = frozenset({15, 16, 17, 18})
    assert evaluate(model, dataset) == by_the_data


def test_slots_that_are_not_sure_have_no_segment(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = segments(town)
    for chance, found in ((0.84, 0), (0.86, 1)):
        model = Knowing(dataset)
        told = model.forward

        def unsure(samples: Any, told: Any = told, chance: float = chance) -> dict[str, Any]:
            outputs = told(samples)
            outputs["pred_logits"][outputs["pred_logits"] == 20] = float(np.log(chance / (1 - chance)))
            return outputs

        monkeypatch.setattr(model, "forward", unsure)
        numbers = evaluate(model, dataset)
        assert numbers["PQ"] == pytest.approx(found)
        assert numbers["mask_AP"] == pytest.approx(1)


def test_two_processes_count_the_segments_that_one_counts(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blurred(masks: Tensor) -> Tensor:
        return masks.roll((3, 3), (1, 2))

    dataset = segments(town)
    expected = evaluate(Knowing(dataset, spoil=blurred), dataset, batch_size=5)
    assert 0 < expected["PQ_th"] < 1
    shares: list[list[Any]] = []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "broadcast", lambda value: value)
    for rank in (1, 0):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        sent: list[Any] = []

        def gather(values: list[Any], sent: list[Any] = sent) -> list[list[Any]]:
            sent.append(values)
            return [values, shares[0][len(sent) - 1]] if shares else [values]

        monkeypatch.setattr(distributed, "all_gather", gather)
        model = Knowing(dataset, spoil=blurred)
        mine = [k for first in range(5 * rank, len(dataset), 10) for k in range(first, min(first + 5, len(dataset)))]
        model.answers = [model.answers[k] for k in mine]
        numbers = evaluate(model, dataset, batch_size=5)
        shares.append(sent)
    assert numbers == expected


@pytest.mark.parametrize("segmentation", ["none", [], None, [[1, 2, 3, 4]], {"size": [3, 3]}])
def test_objects_without_masks_are_compared_by_boxes(town_copy: Path, segmentation: Any) -> None:
    file = town_copy / "annotations" / "instances_val.json"
    model = Knowing(things(town_copy))
    content = json.loads(file.read_text())
    content["annotations"][3]["segmentation"] = segmentation
    if segmentation == "none":
        del content["annotations"][3]["segmentation"]
    file.write_text(json.dumps(content))
    numbers = evaluate(model, CocoDetection(town_copy, "val", eval_transforms(None)))
    assert list(numbers) == list(COCO_NAMES)
    assert numbers["AP"] == pytest.approx(1)


@pytest.mark.parametrize("kind", ["polygons", "run lengths"])
def test_masks_may_be_polygons_or_run_lengths_in_numbers(tmp_path: Path, kind: str) -> None:
    square = np.zeros((90, 120), dtype=np.uint8)
    square[10:30, 40:60] = 1
    polygons, runs = [[40, 10, 60, 10, 60, 30, 40, 30]], [40 * 90 + 10, *[20, 70] * 19, 20, 60 + 60 * 90]
    mask: Any = polygons if kind == "polygons" else {"size": [90, 120], "counts": runs}
    dataset = one_cat(tmp_path, [40, 10, 20, 20], mask)
    assert has_mask(dataset.coco.anns[1])
    results = [cat([40, 10, 20, 20], square, 0.9)]
    assert coco_metrics(dataset, results, masks=True)["AP"] == pytest.approx(1)


def one_cat(root: Path, box: list[int], mask: Any) -> CocoDetection:
    """A picture of 90 x 120 with one object."""
    (root / "val").mkdir()
    (root / "annotations").mkdir()
    Image.new("RGB", (120, 90)).save(root / "val" / "1.png")
    thing = {"id": 1, "image_id": 7, "category_id": 2, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
    content = {
        "images": [{"id": 7, "file_name": "1.png", "width": 120, "height": 90}],
        "annotations": [{**thing, "segmentation": mask}],
        "categories": [{"id": 2, "name": "cat"}],
    }
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return CocoDetection(root, "val")


def cat(box: list[int], mask: np.ndarray, score: float) -> dict[str, Any]:
    """A result of COCO."""
    code = rle.encode(np.asfortranarray(mask))
    return {"image_id": 7, "category_id": 2, "bbox": box, "segmentation": code, "score": score}


def test_the_size_of_an_object_is_that_of_its_mask(tmp_path: Path) -> None:
    """A ring has a large box. Found in error, it counts among objects of the size of its mask."""
    ring, square = np.zeros((2, 90, 120), dtype=np.uint8)
    ring[10:80, 10:80] = 1
    ring[11:79, 11:79] = 0
    square[:20, 90:110] = 1
    dataset = one_cat(tmp_path, [90, 0, 20, 20], [[90, 0, 110, 0, 110, 20, 90, 20]])
    results = [cat([90, 0, 20, 20], square, 0.8), cat([10, 10, 70, 70], ring, 0.9)]
    assert coco_metrics(dataset, results)["APs"] == pytest.approx(1), "the large box counts among large ones"
    assert coco_metrics(dataset, results, masks=True)["APs"] == pytest.approx(0.5), "276 pixels are a small mask"


# --- parts


def test_detect_gives_masks_as_run_lengths(town: Path) -> None:
    dataset = things(town)
    results = detect(Knowing(dataset), dataset, batch_size=5)
    assert len(results) == 20 * len(dataset)
    target = dataset[6][1]
    for k, mask in enumerate(target["masks"]):
        result = results[20 * 6 + k]
        assert result["image_id"] == int(target["image_id"])
        assert result["segmentation"] == rle.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1, 1), (2, 9, 4)])
def test_run_lengths_are_those_of_pycocotools(shape: tuple[int, int, int]) -> None:
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    assert run_lengths(masks) == [rle.encode(np.asfortranarray(mask.numpy().astype(np.uint8))) for mask in masks]
    assert run_lengths(masks[:0]) == []


def test_sizes_are_read_from_the_mask_of_a_batch() -> None:
    sizes = [(4, 9), (6, 2), (1, 1)]
    assert processed_sizes(NestedTensor.from_images([torch.zeros(3, *size) for size in sizes])).tolist() == [
        list(size) for size in sizes
    ]
    assert processed_sizes(NestedTensor(torch.zeros(2, 3, 4, 5))).tolist() == [[4, 5], [4, 5]]


def test_one_image_has_its_masks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = DETRSegmentation(get_config("nano", **SMALL)).eval()
    samples = NestedTensor.from_images([torch.zeros(3, 32, 40), torch.zeros(3, 40, 32), torch.zeros(3, 20, 20)])
    sizes = torch.tensor([[64, 80], [40, 32], [10, 10]])
    images: list[int] = []
    postprocess = model.postprocess

    def counted(outputs: dict[str, Tensor], *rest: Any) -> Any:
        images.append(len(outputs["pred_masks"]))
        return postprocess(outputs, *rest)

    monkeypatch.setattr(model, "postprocess", counted)
    with torch.no_grad():
        outputs = model(samples)
    found = detections_with_masks(model, samples, outputs, sizes)
    assert next(iter(found))["masks"].shape == (20, 64, 80)
    assert images == [1]
    assert [one["masks"].shape[1:] for one in found] == [(40, 32), (10, 10)]
    assert images == [1, 1, 1]
