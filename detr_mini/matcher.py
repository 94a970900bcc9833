"""Matching: which query answers for which object, at the least total cost.

Chapter: *Matching*, ``book/11_matcher``.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detr_mini.boxes import generalized_box_iou_cxcywh

Match = tuple[Tensor, Tensor]
Targets = Sequence[dict[str, Tensor]]

MARGIN = 0.01  # of the picture, by which a target box may leave it: annotations and half precision are rounded


class HungarianMatcher(nn.Module):
    """One query for each object, chosen together so that the sum of their costs is least (DETR, section 3.1).

    The cost of a pair is ``-cost_class * p(class) + cost_bbox * |box - box'| - cost_giou * GIoU``. The class enters as
    a probability, not as a logarithm: it stays comparable with the box terms, and no pair can be ruled out by it alone.

    Args:
        cost_class, cost_bbox, cost_giou: the weights; the defaults are the published ones.
    """

    def __init__(self, cost_class: float = 1.0, cost_bbox: float = 5.0, cost_giou: float = 2.0) -> None:
        super().__init__()
        if cost_class == cost_bbox == cost_giou == 0:
            raise ValueError("all three costs are 0, so every matching would be as good as any other")
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou

    def forward(self, outputs: dict[str, Any], targets: Targets) -> list[Match]:
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
        queries = outputs["pred_logits"].shape[1]
        log_p = at_least_float32(outputs["pred_logits"][None]).log_softmax(-1)
        query, target = self.match_layers(log_p, outputs["pred_boxes"][None], targets)
        cuts = np.cumsum(matched_counts(targets, queries))[:-1]
        pairs = zip(np.split(query[0], cuts), np.split(target[0], cuts), strict=True)
        return [(torch.from_numpy(q), torch.from_numpy(t)) for q, t in pairs]

    @torch.no_grad()
    def match_layers(self, log_p: Tensor, boxes: Tensor, targets: Targets) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`forward` for L decoder layers at once, ``(L, B, N, ...)``, with one copy to the host.

        ``log_p`` ``(L, B, N, K + 1)`` are the log-probabilities, which the loss has at hand. Returns ``query_idx`` and
        ``target_idx``, both ``(L, M)`` int64: every layer matches the same number of pairs, M, those of the first image
        first (:func:`matched_counts`). Numbers count within their image.
        """
        from scipy.optimize import linear_sum_assignment

        layers, batch, queries, classes = log_p.shape
        _check_shapes(batch, queries, targets)
        labels, goals = _join(targets)
        cost = self._cost(log_p, boxes, labels, goals, targets)
        # What the checks need travels with the costs; float32 holds every label below 2^24 exactly.
        packed = torch.cat([cost.flatten(), goals.flatten(), labels]).cpu().numpy()
        costs, goal_boxes, goal_labels = np.split(packed, [cost.numel(), cost.numel() + goals.numel()])
        _check_objects(goal_labels[:-1], goal_boxes.reshape(-1, 4)[:-1], targets, classes - 1)
        costs = costs.reshape(cost.shape)
        _check_predictions(costs)

        matched = matched_counts(targets, queries)
        pairs = np.empty((2, layers, sum(matched)), dtype=np.int64)
        for layer in range(layers):
            end = 0
            for image, target in enumerate(targets):
                start, end = end, end + matched[image]
                own = costs[layer, image, :, : len(target["labels"])]
                pairs[:, layer, start:end] = linear_sum_assignment(own)
        return pairs[0], pairs[1]

    def cost(self, logits: Tensor, boxes: Tensor, targets: Targets) -> Tensor:
        """Cost of every query against every object of its own image, ``(L, B, N, max(T_max, 1))``, float32 or wider.

        Columns beyond an image's own objects mean nothing.
        """
        return self._cost(at_least_float32(logits).log_softmax(-1), boxes, *_join(targets), targets)

    def _cost(self, log_p: Tensor, boxes: Tensor, labels: Tensor, goals: Tensor, targets: Targets) -> Tensor:
        """:meth:`cost`, given log-probabilities and the joined targets."""
        boxes = at_least_float32(boxes)
        shape = log_p.shape[:3]  # (L, B, N)
        table = _padding_table(targets).to(log_p.device, non_blocking=True)  # (B, T)
        # A wrong label must not read outside the classes, which would break a CUDA process; it is reported later.
        label = labels.clamp(0, log_p.shape[-1] - 1)[table]  # (B, T)
        probability = log_p.gather(-1, label[:, None].expand(*shape, -1)).exp_()  # (L, B, N, T)
        # One plane of memory for each coordinate: the inner loops of what follows run over the objects.
        goal = goals.T[:, table].movedim(0, -1)[:, None]  # (B, 1, T, 4)
        pairs = boxes[..., None, :]  # (L, B, N, 1, 4)
        distance = (pairs - goal).abs_().sum(-1)  # (L, B, N, T)
        giou = generalized_box_iou_cxcywh(pairs, goal)  # (L, B, N, T)
        return (self.cost_bbox * distance).sub_(probability, alpha=self.cost_class).sub_(giou, alpha=self.cost_giou)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32, anything wider as it is."""
    return x.float() if x.dtype.itemsize < 4 else x


def matched_counts(targets: Targets, queries: int) -> list[int]:
    """Number of matched pairs of each image: ``min(N, T)``."""
    return [min(queries, len(target["labels"])) for target in targets]


def _join(targets: Targets) -> tuple[Tensor, Tensor]:
    """Labels ``(D + 1,)`` and boxes ``(D + 1, 4)`` of the D objects of the batch, and a last row to pad with."""
    labels, boxes = [t["labels"] for t in targets], [t["boxes"] for t in targets]
    joined_boxes = torch.cat([*boxes, boxes[0].new_zeros(1, 4)])
    return torch.cat([*labels, labels[0].new_zeros(1)]), at_least_float32(joined_boxes)


def _padding_table(targets: Targets) -> Tensor:
    """Row of each object in the joined targets, ``(B, max(T_max, 1))``; beyond an image's own, the row to pad with.

    Every image has a column, so predictions that are not finite show in the costs even where there is no object.
    """
    counts = np.array([len(target["labels"]) for target in targets])[:, None]  # (B, 1)
    column = np.arange(max(counts.max(), 1))
    table = np.where(column < counts, counts.cumsum()[:, None] - counts + column, counts.sum())
    return torch.from_numpy(table)


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
                f"{len(labels) - queries} of them will stay unmatched. Raise num_queries",
                stacklevel=2,
            )


def _check_objects(labels: np.ndarray, boxes: np.ndarray, targets: Targets, num_classes: int) -> None:
    """Labels ``(D,)`` within the classes, boxes ``(D, 4)`` as cxcywh in [0, 1]: what a data set may get wrong."""

    def refuse(bad: Any, what: str, why: str) -> None:
        if not bad.any():
            return
        first = int(bad.argmax())
        counts = [len(target["labels"]) for target in targets]
        image = int(np.repeat(np.arange(len(counts)), counts)[first])
        value = int(labels[first]) if what == "label" else [round(float(x), 4) for x in boxes[first]]
        number = first - sum(counts[:image])
        raise ValueError(f"image {image} of the batch has the {what} {value} (object {number}), but {why}")

    refuse(
        (labels < 0) | (labels >= num_classes),
        "label",
        f"the model has classes 0 to {num_classes - 1}. num_classes must be the highest category id + 1",
    )
    refuse(~np.isfinite(boxes).all(-1), "box", "a box must be finite. Look for it in the annotations or the transforms")
    refuse(
        (np.abs(boxes) > 1 + 2 * MARGIN).any(-1),  # the size of a box that leaves the picture on two sides
        "box",
        "the loss expects cxcywh in [0, 1]. This looks like pixels: divide by the width and height of the picture",
    )
    center, half = boxes[:, :2], boxes[:, 2:] / 2
    outside = (half < 0) | (center - half < -MARGIN) | (center + half > 1 + MARGIN)
    refuse(
        outside.any(-1),
        "box",
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
