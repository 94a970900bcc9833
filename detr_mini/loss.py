"""The loss of a set: match first, then compare what was matched.

Chapter: *Loss*, ``book/12_loss``.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.boxes import generalized_box_iou_cxcywh
from detr_mini.distributed import mean_over_processes
from detr_mini.matcher import HungarianMatcher, Targets, at_least_float32, matched_counts

LOSS_WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


class SetCriterion(nn.Module):
    """The losses of DETR (sections 3.1 and A.2), for every decoder layer with a matching of its own.

    Args:
        num_classes: K, the highest category id + 1; index K stands for "no object".
        matcher: says which query answers for which object.
        weight_dict: weight of each term; the defaults are the published ones. A term that is not named is not trained.
        eos_coef: weight of "no object" in the class loss, since most queries have none.

    Raises:
        ValueError: a weight for a term that this loss does not have.
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
        self.eos_coef = eos_coef
        self.weight_dict = dict(LOSS_WEIGHTS if weight_dict is None else weight_dict)
        if unknown := self.weight_dict.keys() - LOSS_WEIGHTS:
            raise ValueError(
                f"weight_dict has {', '.join(map(repr, sorted(unknown)))}; the terms are {', '.join(LOSS_WEIGHTS)}"
            )
        class_weight = torch.ones(num_classes + 1)
        class_weight[-1] = eos_coef
        self.register_buffer("class_weight", class_weight, persistent=False)
        self.class_weight: Tensor

    def forward(self, outputs: dict[str, Any], targets: Targets) -> dict[str, Tensor]:
        """Unweighted terms: ``loss_ce``, ``loss_bbox``, ``loss_giou``, ``class_error``, ``cardinality_error``.

        Those of the earlier decoder layers end in ``_0``, ``_1``, ...; ``class_error`` (in percent of the matched
        queries) is given for the last layer only. The last two are for the log and carry no gradient.

        Each term is a sum over the batch, divided by a number that is known before anything is computed. Of several
        processes, each divides its own sum by the mean of that number over the processes: so the mean of their terms,
        and of their gradients, is that of one process with the whole batch.

        Args:
            outputs: what the model returned; the auxiliary layers may be missing.
            targets: for each image ``labels`` ``(T,)`` int64 in 0..K-1 and ``boxes`` ``(T, 4)`` as cxcywh in [0, 1].

        Raises:
            ValueError: logits of another number of classes, or what the matcher refuses.
        """
        layers = [*outputs.get("aux_outputs", []), outputs]
        logits = at_least_float32(torch.stack([layer["pred_logits"] for layer in layers]))  # (L, B, N, K + 1)
        boxes = at_least_float32(torch.stack([layer["pred_boxes"] for layer in layers]))  # (L, B, N, 4)
        if logits.shape[-1] != self.num_classes + 1:
            raise ValueError(
                f"the model gives {logits.shape[-1]} logits a query, but num_classes is {self.num_classes}: "
                f"the loss needs {self.num_classes + 1}, the last for no object"
            )
        objects, matched, images, weight = self._denominators(logits.shape[2], targets)
        log_p = logits.log_softmax(-1)  # (L, B, N, K + 1)
        query, label, goal = self._matched(log_p, boxes, targets)  # (L, M), (L, M), (L, M, 4)

        flat = log_p.flatten(0, 2)  # (L * B * N, K + 1)
        wanted = query.new_full(flat.shape[:1], self.num_classes)  # (L * B * N,)
        wanted[query] = label
        nll = F.nll_loss(flat, wanted, self.class_weight.to(flat.dtype), reduction="none")  # weighted
        found = F.embedding(query, boxes.flatten(0, 2))  # (L, M, 4)
        seen, right = _what_is_seen(log_p, wanted)
        there = torch.from_numpy(np.array([len(t["labels"]) for t in targets])).to(seen.device, non_blocking=True)
        per_layer = {
            "loss_ce": nll.view(len(layers), -1).sum(1) / weight,
            "loss_bbox": (found - goal).abs().sum((1, 2)) / objects,
            "loss_giou": (1 - generalized_box_iou_cxcywh(found, goal)).sum(1) / objects,
            "cardinality_error": (seen - there).abs().sum(1) / images,
        }
        losses = {"class_error": 100 - right * (100 / matched)}
        for name, values in per_layer.items():
            *earlier, last = values.unbind()
            losses |= {name: last} | {f"{name}_{i}": value for i, value in enumerate(earlier)}
        return losses

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum that is trained, a scalar: every layer's terms with the same weights."""
        name_of = {key: key.rstrip("0123456789").removesuffix("_") for key in losses}
        weights = {key: self.weight_dict[name] for key, name in name_of.items() if name in self.weight_dict}
        terms = torch.stack([losses[key] for key in weights])
        weight = torch.from_numpy(np.array([*weights.values()])).to(terms.device, terms.dtype, non_blocking=True)
        return terms.dot(weight)

    def _denominators(self, queries: int, targets: Targets) -> tuple[float, ...]:
        """Objects, matched queries, images and the sum of the queries' class weights: means over the processes.

        A 0 becomes 1: all that would be divided by it is 0 in every process.
        """
        matched = sum(matched_counts(targets, queries))
        weight = matched + self.eos_coef * (queries * len(targets) - matched)
        numbers = mean_over_processes(sum(len(t["labels"]) for t in targets), matched, len(targets), weight)
        return tuple(number or 1.0 for number in numbers)

    def _matched(self, log_p: Tensor, boxes: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """The matched pairs, layer after layer: which of all L * B * N queries, and its object's label and box."""
        layers, batch, queries = log_p.shape[:3]
        query, target = self.matcher.match_layers(log_p, boxes, targets)  # (L, M), numbered within each image
        image = np.repeat(np.arange(batch), matched_counts(targets, queries))  # (M,)
        first = np.cumsum([0] + [len(t["labels"]) for t in targets])  # the first object of each image
        query += (np.arange(layers)[:, None] * batch + image) * queries
        target += first[image]
        index = torch.from_numpy(np.stack([query, target])).to(log_p.device, non_blocking=True)
        query_index, target_index = index.unbind()
        labels, goals = (torch.cat([t[name] for t in targets])[target_index] for name in ("labels", "boxes"))
        return query_index, labels, goals.to(boxes.dtype)


@torch.no_grad()
def _what_is_seen(log_p: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Number of queries that see an object, ``(L, B)``, and of those of the last layer that see the right class."""
    best = log_p.max(-1).indices  # (L, B, N); much faster than argmax on a CPU
    sees = best != log_p.shape[-1] - 1
    right = sees & (best == wanted.view_as(best))
    return sees.sum(-1), right[-1].sum()
