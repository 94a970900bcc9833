"""Matching: which query answers for which object, at the least total cost.

Chapter: *Matching*, ``book/11_matcher``.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detr_mini.boxes import generalized_box_iou_cxcywh
from detr_mini.class_terms import ClassTerm, SoftmaxTerm

Targets = Sequence[dict[str, Tensor]]

MATCHING_COSTS = {"cost_class": 1.0, "cost_bbox": 5.0, "cost_giou": 2.0}
MARGIN = 0.01  # of the picture, by which a target box may leave it: annotations and half precision are rounded


@dataclass(frozen=True)
class Matches:
    """Which query answers for which object, in L decoder layers: index arrays ``(L, M)``, int64, on the CPU.

    Pair m of layer l is ``query[l, m]`` of image ``image[l, m]`` with ``target[l, m]`` of that image. Queries and
    targets are numbered within their image, and ``layer[l, m]`` is l. Every layer matches the same number of pairs,
    M, the sum of the images' min(N, T): those of the first image come first, and their queries rise.
    """

    layer: np.ndarray
    image: np.ndarray
    query: np.ndarray
    target: np.ndarray


class HungarianMatcher(nn.Module):
    """One query for each object, chosen together so that the sum of their costs is least (DETR, section 3.1).

    The cost of a pair is ``cost_class * (class cost) + cost_bbox * |box - box'| - cost_giou * GIoU``, where the class
    cost is ``-p(class)`` with a softmax. As a probability, not a logarithm, it stays comparable with the box terms, and
    no pair can be ruled out by it alone.

    :meth:`forward` and :meth:`cost` take the logits that a model returned. All else takes ``scores``, what the class
    term makes of them.

    Args:
        cost_class, cost_bbox, cost_giou: the weights; the defaults are the published ones.
        class_term: how logits are read; a softmax with "no object" unless given.
    """

    def __init__(
        self,
        cost_class: float = MATCHING_COSTS["cost_class"],
        cost_bbox: float = MATCHING_COSTS["cost_bbox"],
        cost_giou: float = MATCHING_COSTS["cost_giou"],
        class_term: ClassTerm | None = None,
    ) -> None:
        super().__init__()
        if cost_class == cost_bbox == cost_giou == 0:
            raise ValueError("all three costs are 0, so every matching would be as good as any other")
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.class_term = SoftmaxTerm() if class_term is None else class_term

    def forward(self, outputs: dict[str, Any], targets: Targets) -> list[tuple[Tensor, Tensor]]:
        """Match the predictions of one decoder layer.

        Args:
            outputs: ``pred_logits`` ``(B, N, K + 1)`` and ``pred_boxes`` ``(B, N, 4)`` as cxcywh in [0, 1].
            targets: for each image ``labels`` ``(T,)`` int64 in 0..K-1 and ``boxes`` ``(T, 4)`` in the same form.

        Returns:
            For each image ``(query_idx, target_idx)``, two int64 tensors on the CPU of length min(N, T), ``query_idx``
            rising as scipy gives it. With more objects than queries the costliest objects stay unmatched, and a
            warning says so.

        Raises:
            ValueError: targets of a wrong shape, labels outside the classes, boxes that are not cxcywh in [0, 1] (they
                may reach out of the picture by ``MARGIN``), predictions that are not finite. The message names the
                image of the batch, the object or query, and the value.
        """
        scores = self.class_term.scores(at_least_float32(outputs["pred_logits"][None]))
        matches = self.match_layers(scores, outputs["pred_boxes"][None], targets)
        image, query, target = (torch.tensor(index[0]) for index in (matches.image, matches.query, matches.target))
        return [(query[image == i], target[image == i]) for i in range(len(targets))]

    @torch.no_grad()
    def match_layers(self, scores: Tensor, boxes: Tensor, targets: Targets) -> Matches:
        """:meth:`forward` for L decoder layers at once, ``(L, B, N, ...)``, with one copy to the host.

        ``scores`` ``(L, B, N, C)`` come from the class term; the loss has them at hand.
        """
        _, batch, queries, logits = scores.shape
        _check_shapes(batch, queries, targets)
        counts = count_objects(targets)
        labels, target_boxes = _join(targets)
        cost = self._cost(scores, boxes, labels, target_boxes, counts)
        costs, host_labels, host_boxes = _to_host(cost, labels, target_boxes)
        _check_objects(host_labels[:-1], host_boxes[:-1], counts, logits - self.class_term.no_object_logits)
        _check_predictions(costs)
        return _assign(costs, counts)

    def cost(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """Cost of every query against every object of its own image, ``(L, B, N, max(T_max, 1))``, float32 or wider.

        Columns beyond an image's own objects mean nothing.
        """
        scores = self.class_term.scores(at_least_float32(logits))
        return self._cost(scores, boxes, *_join(targets), count_objects(targets))

    def _cost(
        self, scores: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor, counts: Sequence[int]
    ) -> Tensor:
        """:meth:`cost`, given scores and the joined targets of images with so many objects."""
        boxes = at_least_float32(boxes)
        table = _padding_table(counts).to(scores.device, non_blocking=True)  # (B, T)
        # A wrong label must not read outside the classes, which would break a CUDA process; it is reported later.
        label = labels.clamp(0, scores.shape[-1] - 1)[table]  # (B, T)
        class_cost = self.class_term.cost(scores, label)  # (L, B, N, T)
        # One plane of memory for each coordinate: the inner loops of what follows run over the objects.
        target_box = target_boxes.T[:, table].movedim(0, -1)[:, None]  # (B, 1, T, 4)
        box = boxes[..., None, :]  # (L, B, N, 1, 4)
        distance = (box - target_box).abs_().sum(-1)  # (L, B, N, T)
        giou = generalized_box_iou_cxcywh(box, target_box)  # (L, B, N, T)
        return (self.cost_bbox * distance).add_(class_cost, alpha=self.cost_class).sub_(giou, alpha=self.cost_giou)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32, anything wider as it is."""
    return x.float() if x.dtype.itemsize < 4 else x


def count_objects(targets: Targets) -> list[int]:
    """Number of objects of each image."""
    return [len(target["labels"]) for target in targets]


def _join(targets: Targets) -> tuple[Tensor, Tensor]:
    """Labels ``(D + 1,)`` and boxes ``(D + 1, 4)`` of the D objects of the batch, and a last row to pad with."""
    labels, boxes = [t["labels"] for t in targets], [t["boxes"] for t in targets]
    joined_boxes = torch.cat([*boxes, boxes[0].new_zeros(1, 4)])
    return torch.cat([*labels, labels[0].new_zeros(1)]), at_least_float32(joined_boxes)


def _padding_table(counts: Sequence[int]) -> Tensor:
    """Row of each object in the joined targets, ``(B, max(T_max, 1))``; beyond an image's own, the row to pad with.

    Every image has a column, so predictions that are not finite show in the costs even where there is no object.
    """
    own = np.array(counts)[:, None]  # (B, 1)
    column = np.arange(max(*counts, 1))
    table = np.where(column < own, own.cumsum()[:, None] - own + column, own.sum())
    return torch.from_numpy(table)


def _to_host(*tensors: Tensor) -> list[np.ndarray]:
    """The tensors as arrays of their shapes, in one copy to the host, which waits for the device only once.

    They travel as the widest of their types; float32 holds every integer below 2^24 exactly.
    """
    packed = torch.cat([tensor.flatten() for tensor in tensors]).cpu().numpy()
    ends = np.cumsum([tensor.numel() for tensor in tensors])
    parts = np.split(packed, ends[:-1])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _assign(costs: np.ndarray, counts: Sequence[int]) -> Matches:
    """The pairs of the least sum in each layer and image of costs ``(L, B, N, T)``, for images with these objects."""
    from scipy.optimize import linear_sum_assignment

    layers, _, queries, _ = costs.shape
    matched = [min(queries, count) for count in counts]
    shape = (layers, sum(matched))
    query, target = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
    for layer in range(layers):
        end = 0
        for image, count in enumerate(counts):
            start, end = end, end + matched[image]
            pairs = linear_sum_assignment(costs[layer, image, :, :count])
            query[layer, start:end], target[layer, start:end] = pairs
    layer_of_pair = np.broadcast_to(np.arange(layers)[:, None], shape)
    image_of_pair = np.broadcast_to(np.repeat(np.arange(len(counts)), matched), shape)
    return Matches(layer_of_pair, image_of_pair, query, target)


def _check_shapes(batch: int, queries: int, targets: Targets) -> None:
    """What can be said about the targets without looking into them."""
    if len(targets) != batch:
        raise ValueError(
            f"{len(targets)} targets for a batch of {batch} images: give one for each image, with labels of shape (0,) "
            f"and boxes of shape (0, 4) where there is no object"
        )
    for image, target in enumerate(targets):
        labels, boxes = target["labels"], target["boxes"]
        if labels.ndim != 1 or labels.dtype != torch.int64 or boxes.shape != (len(labels), 4):
            raise ValueError(
                f"image {image} of the batch has labels of shape {tuple(labels.shape)} and type {labels.dtype} and "
                f"boxes of shape {tuple(boxes.shape)}: they must be (T,), torch.int64 and (T, 4) for T objects"
            )
        if len(labels) > queries:
            warnings.warn(
                f"image {image} of the batch has {len(labels)} objects, but the model has {queries} queries: "
                f"{len(labels) - queries} of them will stay unmatched. Raise num_queries "
                f"(--set config.num_queries={len(labels)} or more)",
                stacklevel=2,
            )


def _check_objects(labels: np.ndarray, boxes: np.ndarray, counts: Sequence[int], num_classes: int) -> None:
    """Labels ``(D,)`` within the classes, boxes ``(D, 4)`` as cxcywh in [0, 1]: what a data set may get wrong."""

    def show_label(number: int) -> str:
        return f"label {int(labels[number])}"

    def show_box(number: int) -> str:
        return f"box {[round(float(x), 4) for x in boxes[number]]}"

    def refuse(bad: Any, show: Callable[[int], str], why: str) -> None:
        if bad.any():
            first = int(bad.argmax())
            image = int(np.repeat(np.arange(len(counts)), counts)[first])
            number = first - sum(counts[:image])
            raise ValueError(f"image {image} of the batch has the {show(first)} (object {number}), but {why}")

    refuse(
        (labels < 0) | (labels >= num_classes),
        show_label,
        f"the model has classes 0 to {num_classes - 1}. num_classes must be the highest category id + 1",
    )
    not_finite = ~np.isfinite(boxes).all(-1)
    refuse(not_finite, show_box, "a box must be finite. Look for it in the annotations or the transforms")
    refuse(
        (np.abs(boxes) > 1 + 2 * MARGIN).any(-1),  # the size of a box that leaves the picture on two sides
        show_box,
        "the loss expects cxcywh in [0, 1]. This looks like pixels: divide by the width and height of the picture",
    )
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    outside = (half < 0) | (center - half < -MARGIN) | (center + half > 1 + MARGIN)
    refuse(
        outside.any(-1),
        show_box,
        "the loss expects cxcywh in [0, 1], and this one would reach out of the picture or have a negative size. "
        "It looks like xyxy (convert it with box_xyxy_to_cxcywh), or like COCO's xywh; or clip it to the picture",
    )


def _check_predictions(cost: np.ndarray) -> None:
    """Costs ``(L, B, N, T)`` of targets that are sound: finite unless the predictions are not."""
    finite = np.isfinite(cost)
    if finite.all():
        return
    layer, image, query, target = np.argwhere(~finite)[0]
    value = cost[layer, image, query, target]
    raise ValueError(
        f"image {image} of the batch: the matching cost of query {query} in decoder layer {layer} is {value}. The "
        f"targets are sound, so the prediction is not finite. The matching only shows what came before it: usually the "
        f"learning rate is too high, or half precision has overflowed"
    )
