"""Exercises of the chapter *Data preparation*."""

from typing import Any

import torch
from torch import Tensor

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.teaching.exercises import exercise


def _boxes() -> list[tuple[Tensor, int, int]]:
    return [(torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.25, 0.75, 0.5, 0.1]]), 100, 200)]


@exercise(
    cases=_boxes,
    mistakes={
        "These are xyxy corners: COCO wants the width and height, not the right and bottom edges.": (
            lambda b, h, w: torch.cat([(xywh := to_xywh(b, h, w))[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1)
        ),
        "The center is still there: COCO's x and y are the top left corner, half a size further up and left.": (
            lambda b, h, w: b * torch.tensor([w, h, w, h])
        ),
        "This is xywh, but still as shares of the picture: multiply by width and height.": (
            lambda b, h, w: to_xywh(b, 1, 1)
        ),
        "x was scaled by the height and y by the width: they are swapped.": lambda b, h, w: to_xywh(b, w, h),
        "The corner lies half a size before the center, and this is half a size after it: subtract.": (
            lambda b, h, w: torch.cat([b[:, :2] + b[:, 2:] / 2, b[:, 2:]], dim=1) * torch.tensor([w, h, w, h])
        ),
        "The whole size was taken off the center: the corner is only half a size away.": (
            lambda b, h, w: torch.cat([b[:, :2] - b[:, 2:], b[:, 2:]], dim=1) * torch.tensor([w, h, w, h])
        ),
    },
)
def to_xywh(boxes: Tensor, height: int, width: int) -> Tensor:
    """Turn cxcywh boxes in [0, 1], (N, 4), into COCO's xywh in pixels, (N, 4)."""
    center, size = boxes.chunk(2, dim=-1)
    scale = torch.tensor([width, height, width, height])
    return torch.cat([center - size / 2, size], dim=-1) * scale


@exercise(
    cases=lambda: [(torch.tensor([[0.2, 0.3, 0.1, 0.4], [0.7, 0.6, 0.5, 0.2]]),)],
    mistakes={
        "cy has changed: a mirror from left to right leaves heights alone.": (
            lambda b: torch.cat([1 - b[:, :2], b[:, 2:]], dim=1)
        ),
        "The width has changed too: an object in the mirror is as wide as before.": (
            lambda b: torch.stack([1 - b[:, 0], b[:, 1], 1 - b[:, 2], b[:, 3]], dim=1)
        ),
        "This is the rule for a left edge. cx is the center, which the width has nothing to do with.": (
            lambda b: torch.stack([1 - b[:, 0] - b[:, 2], b[:, 1], b[:, 2], b[:, 3]], dim=1)
        ),
        "cx has changed its sign. The mirror's axis is the middle of the picture, and the picture ends at 1.": (
            lambda b: b * torch.tensor([-1, 1, 1, 1])
        ),
        "The picture was turned upside down: left and right are to be swapped, so cx is to change.": (
            lambda b: torch.stack([b[:, 0], 1 - b[:, 1], b[:, 2], b[:, 3]], dim=1)
        ),
    },
)
def flip_shares(boxes: Tensor) -> Tensor:
    """Boxes cxcywh in [0, 1], (T, 4), of a picture that is mirrored left to right."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack([1 - cx, cy, w, h], dim=-1)


def _labels() -> list[tuple[Tensor, list[int]]]:
    return [(torch.tensor([13, 1, 5, 5]), [1, 2, 3, 5, 9, 13]), (torch.tensor([4, 7]), [7, 0, 4])]


@exercise(
    cases=_labels,
    mistakes={
        "1 was taken off each id. That closes the hole at 0 and leaves the others.": (
            lambda labels, ids: (labels - 1, len(ids))
        ),
        "Only the ids of this picture were numbered: a class would have another number in every picture.": (
            lambda labels, ids: (labels.unique(return_inverse=True)[1], len(ids))
        ),
        "The labels are right. With the holes closed, num_classes is the number of categories.": (
            lambda labels, ids: (close_holes(labels, ids)[0], max(ids) + 1)
        ),
        "The new labels start at 1: they are to start at 0. The extra output for no object comes last.": (
            lambda labels, ids: (close_holes(labels, ids)[0] + 1, len(ids))
        ),
        "num_classes is one too high: the model adds the output for no object by itself.": (
            lambda labels, ids: (close_holes(labels, ids)[0], len(ids) + 1)
        ),
        "The ids were taken in the order of the list: sort them first.": (
            lambda labels, ids: (torch.tensor([ids.index(i) for i in labels.tolist()]), len(ids))
        ),
        "searchsorted finds places in a list that is sorted; this one need not be. Sort the ids first.": (
            lambda labels, ids: (torch.searchsorted(torch.tensor(ids), labels), len(ids))
        ),
    },
)
def close_holes(labels: Tensor, ids: list[int]) -> tuple[Tensor, int]:
    """Labels (T,) as ids, and all category ids, to labels (T,) from 0 without holes, and num_classes."""
    return torch.searchsorted(torch.tensor(sorted(ids)), labels), len(ids)


Window = tuple[int, int, int, int]  # top, left, height, width


Content = dict[str, list[dict[str, Any]]]
Targets = list[dict[str, Tensor]]


def _files() -> list[tuple[Content]]:
    def annotation(image: int, category: int, box: list[float], iscrowd: int = 0) -> dict[str, Any]:
        return {"image_id": image, "category_id": category, "bbox": box, "iscrowd": iscrowd}

    images = [
        {"id": 7, "width": 100, "height": 50},
        {"id": 4, "width": 40, "height": 80},
        {"id": 5, "width": 60, "height": 60},
    ]
    annotations = [
        annotation(7, 6, [80, 20, 30, 20]),  # reaches out of the picture
        annotation(4, 2, [10, 10, 20, 40]),
        annotation(7, 2, [0, 0, 60, 30], iscrowd=1),
        annotation(4, 6, [5, 5, 0, 10]),  # has no width
        annotation(7, 9, [10, 10, 20, 20]),
        annotation(4, 9, [-5, -10, 15, 30]),  # reaches out on the other sides
        annotation(7, 6, [100, 10, 20, 10]),  # has no part in the picture
    ]
    categories = [{"id": id, "name": name} for id, name in ((2, "cat"), (6, "kite"), (9, "cup"))]
    return [({"images": images, "annotations": annotations, "categories": categories},)]


def _with(change: Any) -> Any:
    """The solution, reading a file that was changed first."""
    return lambda instances: read_targets(change(instances))


def _without_crowds_marked(instances: Content) -> Content:
    return instances | {"annotations": [a | {"iscrowd": 0} for a in instances["annotations"]]}


def _without_empty_pictures(instances: Content) -> Targets:
    return [target for target in read_targets(instances) if len(target["labels"])]


def _in_the_order_of_the_file(instances: Content) -> Targets:
    targets = dict(zip(sorted(image["id"] for image in instances["images"]), read_targets(instances), strict=True))
    return [targets[image["id"]] for image in instances["images"]]


def _renumbered(instances: Content) -> Targets:
    ids = torch.tensor(sorted(category["id"] for category in instances["categories"]))
    return [t | {"labels": torch.searchsorted(ids, t["labels"])} for t in read_targets(instances)]


def _in_other_boxes(convert: Any) -> Any:
    """The solution with each box converted from cxcywh, given the scale (4,) of its picture."""

    def answer(instances: Content) -> Targets:
        images = sorted(instances["images"], key=lambda image: image["id"])
        scales = [torch.tensor([image["width"], image["height"]]).repeat(2) for image in images]
        targets = zip(read_targets(instances), scales, strict=True)
        return [target | {"boxes": convert(target["boxes"], scale)} for target, scale in targets]

    return answer


def _corner(boxes: Tensor, scale: Tensor) -> Tensor:
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], dim=1)


def _unclamped(instances: Content) -> Targets:
    targets = []
    for image in sorted(instances["images"], key=lambda image: image["id"]):
        mine = [a for a in instances["annotations"] if a["image_id"] == image["id"]]
        mine = [a for a in mine if not a["iscrowd"] and min(a["bbox"][2:]) > 0]
        xywh = torch.tensor([a["bbox"] for a in mine]).float().reshape(-1, 4)
        boxes = torch.cat([xywh[:, :2] + xywh[:, 2:] / 2, xywh[:, 2:]], dim=1)
        scale = torch.tensor([image["width"], image["height"]]).repeat(2)
        targets.append({"labels": torch.tensor([a["category_id"] for a in mine], dtype=torch.int64)})
        targets[-1]["boxes"] = boxes / scale
    return targets


def _with_empty_boxes(instances: Content) -> Targets:
    targets = read_targets(instances)
    for target, image in zip(targets, sorted(instances["images"], key=lambda image: image["id"]), strict=True):
        for a in instances["annotations"]:
            x, y, w, h = a["bbox"]
            if a["image_id"] == image["id"] and not a["iscrowd"] and min(w, h) == 0:
                scale = torch.tensor([image["width"], image["height"]]).repeat(2)
                box = torch.tensor([[x + w / 2, y + h / 2, w, h]]) / scale
                target["boxes"] = torch.cat([target["boxes"], box])
                target["labels"] = torch.cat([target["labels"], torch.tensor([a["category_id"]])])
    return targets


@exercise(
    cases=_files,
    mistakes={
        "The crowd is among the targets: leave out annotations with iscrowd 1.": _with(_without_crowds_marked),
        "A picture without objects is missing: it stays, with boxes (0, 4) and labels (0,).": _without_empty_pictures,
        "The pictures come in the order of the file: sort them by id.": _in_the_order_of_the_file,
        "The labels were renumbered: a label is the category id as it stands in the file, holes and all.": _renumbered,
        "The boxes are cxcywh in pixels: divide by the width and height of their picture.": (
            _in_other_boxes(lambda boxes, scale: boxes * scale)
        ),
        "The boxes begin with the top left corner: the loss expects the center.": _in_other_boxes(_corner),
        "The boxes are two corners: the loss expects the center, the width and the height.": (
            _in_other_boxes(lambda boxes, scale: box_cxcywh_to_xyxy(boxes))
        ),
        "A box that reaches out of its picture was not cut: clamp the corners before you convert.": _unclamped,
        "A box without width is among the targets: leave it out, and its label with it.": _with_empty_boxes,
    },
)
def read_targets(instances: Content) -> Targets:
    """The content of a COCO file to targets, ``labels`` (T,), ``boxes`` (T, 4) cxcywh in [0, 1], by image id."""
    targets = []
    for image in sorted(instances["images"], key=lambda image: image["id"]):
        labels, boxes = [], []
        for annotation in instances["annotations"]:
            if annotation["image_id"] != image["id"] or annotation["iscrowd"]:
                continue
            x, y, w, h = annotation["bbox"]
            left, top = max(x, 0), max(y, 0)
            right, bottom = min(x + w, image["width"]), min(y + h, image["height"])
            if right > left and bottom > top:
                labels.append(annotation["category_id"])
                boxes.append([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
        scale = torch.tensor([image["width"], image["height"]]).repeat(2)
        target = {
            "labels": torch.tensor(labels, dtype=torch.int64),
            "boxes": torch.tensor(boxes).reshape(-1, 4) / scale,
        }
        targets.append(target)
    return targets
