"""The loss of a set: match first, then compare what was matched."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.boxes import box_cxcywh_to_xyxy, generalized_box_iou
from detr_mini.matcher import HungarianMatcher

LOSS_WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


class SetCriterion(nn.Module):
    """The losses of DETR (sections 3.1 and A.2), for every decoder layer with a matching of its own.

    Args:
        num_classes: K, the highest category id + 1; index K stands for "no object".
        matcher: says which query answers for which object.
        weight_dict: weight of each term; the defaults are the published ones.
        eos_coef: weight of "no object" in the class loss, since most queries have none.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        weight_dict: dict[str, float] | None = None,
        eos_coef: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher
        self.weight_dict = dict(LOSS_WEIGHTS if weight_dict is None else weight_dict)
        class_weight = torch.ones(num_classes + 1)
        class_weight[-1] = eos_coef
        self.register_buffer("class_weight", class_weight, persistent=False)
        self.class_weight: Tensor

    def forward(self, outputs: dict[str, Any], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Unweighted terms: ``loss_ce``, ``loss_bbox``, ``loss_giou``, ``class_error``, ``cardinality_error``.

        Those of the earlier decoder layers end in ``_0``, ``_1``, ...; ``class_error`` (in percent of the matched
        queries) is given for the last layer only. The last two are for the log and carry no gradient.

        Args:
            outputs: what the model returned; the auxiliary layers may be missing.
            targets: for each image ``labels`` ``(T,)`` int64 in 0..K-1 and ``boxes`` ``(T, 4)`` as cxcywh in [0, 1].

        Raises:
            ValueError: labels outside the classes, or outputs from which no matching can be made.
        """
        self._check_labels(targets)
        layers = [*outputs.get("aux_outputs", []), outputs]
        logits = torch.stack([layer["pred_logits"] for layer in layers]).float()  # (L, B, N, K + 1), L layers
        boxes = torch.stack([layer["pred_boxes"] for layer in layers]).float()  # (L, B, N, 4)
        layer, image, query, label, goal = self._matched(logits, boxes, targets)  # (M,) each, goal (M, 4)

        wanted = logits.new_full(logits.shape[:3], self.num_classes, dtype=torch.int64)  # (L, B, N)
        wanted[layer, image, query] = label
        found = boxes[layer, image, query]  # (M, 4)
        num_boxes = max(sum(len(t["labels"]) for t in targets), 1)
        per_layer = {
            "loss_ce": self._class_loss(logits, wanted),
            "loss_bbox": _sum_by(layer, (found - goal).abs().sum(-1), len(layers)) / num_boxes,
            "loss_giou": _sum_by(layer, _giou_loss(found, goal), len(layers)) / num_boxes,
            "cardinality_error": _cardinality_error(logits.detach(), targets),
        }
        losses = {"class_error": _class_error(logits[-1].detach(), wanted[-1], self.num_classes)}
        for name, values in per_layer.items():
            *earlier, last = values.unbind()
            losses |= {name: last} | {f"{name}_{i}": value for i, value in enumerate(earlier)}
        return losses

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum that is trained, a scalar: every layer's terms with the same weights."""
        terms = [
            self.weight_dict[name] * value
            for key, value in losses.items()
            if (name := key.rstrip("0123456789").removesuffix("_")) in self.weight_dict
        ]
        return torch.stack(terms).sum()

    def _matched(self, logits: Tensor, boxes: Tensor, targets: Sequence[dict[str, Tensor]]) -> list[Tensor]:
        """All matched pairs of all layers in one list: layer, image, query, label and target box."""
        rows: list[tuple[Tensor, ...]] = []
        offset = torch.tensor([0] + [len(t["labels"]) for t in targets]).cumsum(0)
        for layer, matches in enumerate(self.matcher.match_layers(logits, boxes, targets)):
            for image, (query, target) in enumerate(matches):
                rows.append(
                    (
                        query.new_full(query.shape, layer),
                        query.new_full(query.shape, image),
                        query,
                        target + offset[image],
                    )
                )
        index = torch.stack([torch.cat(column) for column in zip(*rows, strict=True)])  # (4, M)
        layer, image, query, target = index.to(logits.device, non_blocking=True)
        labels = torch.cat([t["labels"] for t in targets])
        goals = torch.cat([t["boxes"] for t in targets]).float()
        return [layer, image, query, labels[target], goals[target]]

    def _class_loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Weighted mean of the negative log-likelihood over the queries of each layer, ``(L,)``."""
        nll = F.cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none").view_as(wanted)
        weight = self.class_weight[wanted]
        return (nll * weight).sum((1, 2)) / weight.sum((1, 2))

    def _check_labels(self, targets: Sequence[dict[str, Tensor]]) -> None:
        for image, target in enumerate(targets):
            for label in target["labels"].tolist():
                if not 0 <= label < self.num_classes:
                    raise ValueError(
                        f"image {image} of the batch has the label {label}, but the model has classes 0 to "
                        f"{self.num_classes - 1}. num_classes must be the highest category id + 1"
                    )


def _giou_loss(found: Tensor, goal: Tensor) -> Tensor:
    return 1 - generalized_box_iou(box_cxcywh_to_xyxy(found), box_cxcywh_to_xyxy(goal))


def _sum_by(layer: Tensor, values: Tensor, layers: int) -> Tensor:
    """Sum ``values`` ``(M,)`` over the pairs of each layer: ``(layers,)``."""
    return values.new_zeros(layers).index_add(0, layer, values)


def _cardinality_error(logits: Tensor, targets: Sequence[dict[str, Tensor]]) -> Tensor:
    """How far the number of queries that see an object is from the number of objects, mean over images: ``(L,)``."""
    seen = (logits.argmax(-1) != logits.shape[-1] - 1).sum(-1).float()  # (L, B)
    there = torch.tensor([len(t["labels"]) for t in targets], dtype=torch.float32).to(seen.device, non_blocking=True)
    return (seen - there).abs().mean(1)


def _class_error(logits: Tensor, wanted: Tensor, no_object: int) -> Tensor:
    """Percent of matched queries whose best class is not the object's; 100 where nothing was matched, as published."""
    matched = wanted != no_object
    wrong = (logits.argmax(-1) != wanted) & matched
    right = matched.sum() - wrong.sum()
    return 100 - 100 * right / matched.sum().clamp(min=1)
