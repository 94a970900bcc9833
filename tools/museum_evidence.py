"""What a visitor of the museum of bugs may ask for: everything that can be seen of a run without its code."""

import base64
import io
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.data import CocoDetection, collate
from detr_mini.data.coco import to_coco
from detr_mini.data.transforms import denormalise
from detr_mini.evaluation import coco_metrics, coco_results, evaluation_mode
from detr_mini.interpret import attention_maps
from detr_mini.loss import build_criterion
from detr_mini.modeling.build import Detector
from detr_mini.modeling.nested_tensor import NestedTensor

SHOWN = (3, 88, 17)  # scenes of the validation split
SURE, SEEN = 0.5, 0.3  # scores from which a detection is counted, and shown
ALIKE = 0.7  # IoU of two detections that may be of one object
LAYER = "transformer.decoder.layers.{}.multihead_attn"
PARTS = {
    "backbone": "backbone.0",
    "encoder": "transformer.encoder",
    "decoder": "transformer.decoder",
    "queries": "query_embed",
    "class head": "class_embed",
    "box head": "bbox_embed",
}
TERMS = ("loss_ce", "loss_bbox", "loss_giou")
Batch = tuple[NestedTensor, list[dict[str, Tensor]]]


def evidence(
    model: Detector,
    log: Sequence[dict[str, float]],
    seen: Batch,
    sets: dict[str, CocoDetection],
    split: str,
    count: int,
    measured: Callable[[Detector], object],
) -> dict[str, Any]:
    """All evidence of a run that has ended.

    Args:
        model: after its last step.
        log: its lines.
        seen: the last batch, as model and loss got it.
        sets: pictures by split, with ``eval_transforms``.
        split: the one that the run measures AP on.
        count: pictures to measure on.
        measured: changes the model as its measuring does.
    """
    measured(model)
    with evaluation_mode(model), torch.no_grad():
        numbers = scores(model, sets[split], range(count))
        losses = {name: loss(model, sets[name], range(count)) for name in ("train", "val")}
        pictures = [picture(model, sets["val"], index) for index in SHOWN]
        attention = looks(model, sets["val"], SHOWN[0])
    return {
        "log": curves(log),
        "numbers": numbers,
        "losses": losses,
        "pictures": pictures,
        "batch": [given(seen, number) for number in range(4)],
        "attention": attention,
    }


def curves(log: Sequence[dict[str, float]]) -> dict[str, list[Any]]:
    """The log by column: step, lr, loss and class_error (K,), and each term of all decoder layers (K, L), last last."""
    layers = sum(name.startswith("loss_ce_") for name in log[0])
    found: dict[str, list[Any]] = {name: [line[name] for line in log] for name in ("step", "lr", "loss", "class_error")}
    for term in TERMS:
        names = [f"{term}_{layer}" for layer in range(layers)] + [term]
        found[term] = [[round(line[name], 3) for name in names] for line in log]
    return found


def scores(model: Detector, dataset: CocoDetection, indices: Sequence[int]) -> dict[str, float]:
    """AP and its like on some pictures, with the postprocessing that the run measures with."""
    results, sure, alike, best = [], 0, 0, []
    for index in indices:
        _, target, found = detections(model, dataset, index)
        results += coco_results(int(target["image_id"]), found)
        boxes = found["boxes"][found["scores"] > SURE]
        sure, alike = sure + len(boxes), alike + int((box_iou(boxes, boxes) > ALIKE).triu(1).sum())
        best += box_iou(pixels(target), found["boxes"]).amax(1).tolist() if len(target["boxes"]) else []
    part = subset(dataset, indices)
    numbers = coco_metrics(part, results)  # type: ignore[arg-type]
    blind = coco_metrics(subset(dataset, indices, blind=True), [r | {"category_id": 1} for r in results])  # type: ignore[arg-type]
    objects = max(1, len(best))
    return {name: round(numbers[name], 3) for name in ("AP", "AP50", "APs", "APm", "APl")} | {
        "AP50, any class": round(blind["AP50"], 3),
        "detections per object": round(sure / objects, 2),
        "pairs per object": round(alike / objects, 2),
        "best IoU": round(sum(best) / objects, 3),
    }


def subset(dataset: CocoDetection, indices: Sequence[int], *, blind: bool = False) -> SimpleNamespace:
    """The annotations of some pictures, in COCO's form; ``blind`` calls everything category 1."""
    ids = {dataset.ids[index] for index in indices}
    whole = dataset.coco.dataset
    kept = [one | ({"category_id": 1} if blind else {}) for one in whole["annotations"] if one["image_id"] in ids]
    images = [image for image in whole["images"] if image["id"] in ids]
    return SimpleNamespace(coco=to_coco(whole | {"images": images, "annotations": kept}))


def detections(
    model: Detector, dataset: CocoDetection, index: int
) -> tuple[Batch, dict[str, Tensor], dict[str, Tensor]]:
    """A picture as a batch of one, its target, and what the run's postprocessing makes of it."""
    batch = collate([dataset[index]])
    target = batch[1][0]
    return batch, target, model.postprocess(model(batch[0]), target["orig_size"][None])[0]


def pixels(target: dict[str, Tensor]) -> Tensor:
    """Boxes of a target as xyxy in pixels of the original picture (T, 4)."""
    height, width = target["orig_size"].tolist()
    return box_cxcywh_to_xyxy(target["boxes"]) * torch.tensor([width, height, width, height])


def loss(model: Detector, dataset: CocoDetection, indices: Sequence[int]) -> dict[str, list[float]]:
    """The terms of the loss on some pictures and their right targets, (L,) each, the last decoder layer last."""
    criterion = build_criterion(model.config)
    sums: dict[str, Tensor] = {}
    for start in range(0, len(indices), 8):
        samples, targets = collate([dataset[index] for index in indices[start : start + 8]])
        for name, value in criterion.layer_losses(model(samples), targets).items():
            sums[name] = sums.get(name, 0) + value * len(targets)  # type: ignore[assignment]
    return {name: [round(value / len(indices), 3) for value in sums[name].tolist()] for name in TERMS}


def picture(model: Detector, dataset: CocoDetection, index: int) -> dict[str, Any]:
    """A scene, what was found in it (class, score, xywh in pixels), and what is there (class, xywh)."""
    _, target, found = detections(model, dataset, index)
    kept = found["scores"] > SEEN
    labels, confidence = found["labels"][kept].tolist(), found["scores"][kept].tolist()
    boxes = box_convert(found["boxes"][kept], "xyxy", "xywh").round().int().tolist()
    there = box_convert(pixels(target), "xyxy", "xywh").round().int().tolist()
    return {
        "scene": index,
        "found": [[c, round(s, 2), *b] for c, s, b in zip(labels, confidence, boxes, strict=True)],
        "objects": [[c, *b] for c, b in zip(target["labels"].tolist(), there, strict=True)],
    }


def given(seen: Batch, number: int) -> dict[str, Any]:
    """A picture of the batch in its frame, as WebP, and the labels and boxes (cxcywh) that the loss got for it."""
    samples, targets = seen
    image, content = Image.fromarray(denormalise(samples.tensors[number])), io.BytesIO()
    image.save(content, "webp", quality=70)
    boxes = [[round(value, 3) for value in box] for box in targets[number]["boxes"].tolist()]
    objects = [[c, *b] for c, b in zip(targets[number]["labels"].tolist(), boxes, strict=True)]
    size = (~samples.mask[number]).nonzero().amax(0).add(1).tolist()
    return {"image": base64.b64encode(content.getvalue()).decode(), "size": size, "objects": objects}


def looks(model: Detector, dataset: CocoDetection, index: int) -> dict[str, Any]:
    """The last decoder layer's attention of the three surest slots, in thousandths of the whole, mean of the heads."""
    (samples, _), _, found = detections(model, dataset, index)
    maps = attention_maps(model, samples)[LAYER.format(model.config.dec_layers - 1)][0].mean(0)  # (N, hw)
    rows = model.detect(samples)[1].cells.shape[-2]
    slots = found["scores"].topk(3).indices.tolist()
    shown = [
        {
            "class": int(found["labels"][slot]),
            "score": round(float(found["scores"][slot]), 2),
            "box": box_convert(found["boxes"][slot], "xyxy", "xywh").round().int().tolist(),
            "map": (1000 * maps[slot]).round().int().reshape(rows, -1).tolist(),
        }
        for slot in slots
    ]
    return {"scene": index, "slots": shown}


@torch.no_grad()
def relative_changes(model: Detector, before: dict[str, Tensor]) -> dict[str, float]:
    """How far the parameters of each part moved in training, as a share of their length."""
    found = {}
    for part, prefix in PARTS.items():
        after = {name: value for name, value in model.named_parameters() if name.startswith(prefix)}
        moved = sum(float((value - before[name]).square().sum()) for name, value in after.items()) ** 0.5
        length = sum(float(before[name].square().sum()) for name in after) ** 0.5
        found[part] = round(moved / length, 4) if length else 0.0
    return found
