"""The loss of a set: match first, then compare what was matched.

Chapter: *Loss*, ``book/12_loss``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.boxes import generalized_box_iou_cxcywh
from detr_mini.class_terms import ClassTerm, FocalTerm, SoftmaxTerm
from detr_mini.distributed import mean_over_processes
from detr_mini.mask_terms import MASK_WEIGHTS, mask_terms
from detr_mini.matcher import (
    MATCHING_COSTS,
    HungarianMatcher,
    Matches,
    Targets,
    at_least_float32,
    count_objects,
)
from detr_mini.modeling.config import DeformableDETRConfig, DetectorConfig, DETRConfig

EOS_COEF = 0.1  # weight of "no object" in the class loss, since most queries have none
LOSS_WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
FOCAL_WEIGHT = 2.0  # of a Deformable DETR's class loss and class cost; all its other weights are DETR's


def build_criterion(
    config: DetectorConfig,
    *,
    eos_coef: float = EOS_COEF,
    bbox_loss_coef: float = LOSS_WEIGHTS["loss_bbox"],
    giou_loss_coef: float = LOSS_WEIGHTS["loss_giou"],
    set_cost_bbox: float = MATCHING_COSTS["cost_bbox"],
    set_cost_giou: float = MATCHING_COSTS["cost_giou"],
) -> "SetCriterion":
    """The criterion for a kind of model with the published costs and weights, its matcher inside.

    DETR's reads logits with a softmax, Deformable DETR's with a sigmoid and focal loss.

    Args:
        config: says the kind of model, and its number of classes.
        eos_coef: weight of "no object", which a Deformable DETR does not have.
        bbox_loss_coef, giou_loss_coef: weights of the loss that a recipe may set otherwise.
        set_cost_bbox, set_cost_giou: likewise, of the matching cost.
    """
    weights = {**LOSS_WEIGHTS, "loss_bbox": bbox_loss_coef, "loss_giou": giou_loss_coef}
    if isinstance(config, DETRConfig) and config.masks:
        weights |= MASK_WEIGHTS
    if isinstance(config, DeformableDETRConfig):
        term = FocalTerm()
        focal = HungarianMatcher(FOCAL_WEIGHT, set_cost_bbox, set_cost_giou, term)
        return SetCriterion(config.num_classes, focal, weights | {"loss_ce": FOCAL_WEIGHT}, class_term=term)
    matcher = HungarianMatcher(cost_bbox=set_cost_bbox, cost_giou=set_cost_giou)
    return SetCriterion(config.num_classes, matcher, weights, eos_coef)


class SetCriterion(nn.Module):
    """The losses of DETR (sections 3.1 and A.2), for every decoder layer with a matching of its own.

    Args:
        num_classes: K, the highest category id + 1.
        matcher: says which query answers for which object.
        weight_dict: weight of each term; the defaults are the published ones. A term that is not named is not trained.
        eos_coef: weight of "no object" in the class loss, since most queries have none.
        class_term: how logits are read; a softmax with ``eos_coef`` unless given.

    Raises:
        ValueError: a weight for a term that this loss does not have, or a matcher that reads logits otherwise.
    """

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        weight_dict: dict[str, float] | None = None,
        eos_coef: float = EOS_COEF,
        class_term: ClassTerm | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.matcher = matcher
        self.class_term = SoftmaxTerm(eos_coef) if class_term is None else class_term
        if type(self.class_term) is not type(matcher.class_term):
            kinds = (type(term).__name__ for term in (self.class_term, matcher.class_term))
            raise ValueError("the criterion has a {}, but its matcher a {}: give both the same".format(*kinds))
        self.weight_dict = dict(LOSS_WEIGHTS if weight_dict is None else weight_dict)
        terms = LOSS_WEIGHTS | MASK_WEIGHTS
        if unknown := self.weight_dict.keys() - terms:
            raise ValueError(
                f"weight_dict has {', '.join(map(repr, sorted(unknown)))}; the terms are {', '.join(terms)}"
            )

    def forward(self, outputs: dict[str, Any], targets: Targets) -> dict[str, Tensor]:
        """Unweighted terms: ``loss_ce``, ``loss_bbox``, ``loss_giou``, ``class_error``, ``cardinality_error``.

        Of a model with masks also ``loss_mask`` and ``loss_dice``, of the last layer only.

        Those of the earlier decoder layers end in ``_0``, ``_1``, ..., those of a two-stage encoder in ``_enc``;
        ``class_error`` (in percent of the matched queries) is given for the last layer only. The last two are for the
        log and carry no gradient.

        ``cardinality_error`` is by how many the queries that see an object differ from the objects of a picture, on
        average. With a softmax those see one whose likeliest class is not "no object". With a sigmoid there is no such
        class, and those see one that give some class more than half.

        Of the encoder's boxes only is asked whether there is an object: all objects get the label 0 for them.

        Each term is a sum over the batch, divided by a number that is the same for all its layers. Of several
        processes, each divides its own sum by the mean of that number over the processes: so the mean of their terms,
        and of their gradients, is that of one process with the whole batch.

        Args:
            outputs: what the model returned; the auxiliary layers may be missing.
            targets: for each image ``labels`` ``(T,)`` int64 in 0..K-1, ``boxes`` ``(T, 4)`` as cxcywh in [0, 1], and
                for a model with masks ``masks`` ``(T, H, W)`` bool, of one size in the whole batch.

        Raises:
            ValueError: logits of another number of classes, targets without masks, or what the matcher refuses.
        """
        return name_layers(self.layer_losses(outputs, targets))

    def layer_losses(self, outputs: dict[str, Any], targets: Targets) -> dict[str, Tensor]:
        """:meth:`forward` before it gives names: for each term a tensor over the L decoder layers, ``(L,)``.

        ``class_error``, ``loss_mask`` and ``loss_dice`` are those of the last layer, ``(1,)``.
        """
        losses = self._losses([*outputs.get("aux_outputs", []), outputs], targets)
        if "enc_outputs" in outputs:
            objects = [{**target, "labels": torch.zeros_like(target["labels"])} for target in targets]
            encoder = self._losses([outputs["enc_outputs"]], objects)
            losses |= {f"{name}_enc": value for name, value in encoder.items() if name != "class_error"}
        return losses

    def _losses(self, layers: Sequence[dict[str, Tensor]], targets: Targets) -> dict[str, Tensor]:
        """The terms of some layers with as many queries each, ``(L,)``; ``class_error`` is that of the last."""
        logits = at_least_float32(torch.stack([layer["pred_logits"] for layer in layers]))  # (L, B, N, C)
        boxes = at_least_float32(torch.stack([layer["pred_boxes"] for layer in layers]))  # (L, B, N, 4)
        self._check_classes(logits.shape[-1])
        scores = self.class_term.scores(logits)  # (L, B, N, C)
        matches = self.matcher.match_layers(scores, boxes, targets)
        counts = count_objects(targets)
        query, target = _flat_indices(matches, logits.shape[:3], counts, logits.device)  # (L, M) each
        labels = gather_targets(targets, "labels", target)  # (L, M)
        target_boxes = gather_targets(targets, "boxes", target).to(boxes.dtype)  # (L, M, 4)
        matched_boxes = F.embedding(query, boxes.flatten(0, 2))  # (L, M, 4)

        num_boxes, num_matched, num_images, ce_denominator = self._denominators(logits.shape[:3], matches, counts)
        num_right, cardinality_difference = self._errors(scores, query, labels, counts)  # (1,), (L,)
        masks = {}
        if (predicted := layers[-1].get("pred_masks")) is not None:
            # The queries are numbered through all layers, of which the last alone has masks.
            index = query[-1] - (len(logits) - 1) * logits.shape[1:3].numel()
            of_slots = predicted.flatten(0, 1) if isinstance(predicted, Tensor) else predicted
            masks = _mask_losses(of_slots[index], targets, target[-1], num_boxes)
        return masks | {
            "class_error": 100 - num_right * (100 / num_matched),
            "loss_ce": self.class_term.loss(scores, query, labels) / ce_denominator,
            "loss_bbox": (matched_boxes - target_boxes).abs().sum((1, 2)) / num_boxes,
            "loss_giou": (1 - generalized_box_iou_cxcywh(matched_boxes, target_boxes)).sum(1) / num_boxes,
            "cardinality_error": cardinality_difference / num_images,
        }

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum that is trained, a scalar: every layer's terms with the same weights.

        ``losses`` are those of :meth:`forward` or of :meth:`layer_losses`: a name begins with its term's.
        """
        weight_of = {
            name: weight
            for name in losses
            for term, weight in self.weight_dict.items()
            if name == term or name.startswith(f"{term}_")
        }
        terms = flatten_layers({name: losses[name] for name in weight_of})
        weights = np.repeat([*weight_of.values()], [losses[name].numel() for name in weight_of])
        return terms.dot(torch.from_numpy(weights).to(terms.device, terms.dtype, non_blocking=True))

    def _check_classes(self, num_logits: int) -> None:
        no_object = self.class_term.no_object_logits
        if num_logits != self.num_classes + no_object:
            last = ", the last for no object" if no_object else ", one for each class"
            raise ValueError(
                f"the model gives {num_logits} logits a query, but num_classes is {self.num_classes}: "
                f"the loss needs {self.num_classes + no_object}{last}"
            )

    def _denominators(self, shape: Sequence[int], matches: Matches, counts: Sequence[int]) -> tuple[float, ...]:
        """Objects, matched queries, images and the class term's denominator: means over the processes.

        A 0 becomes 1: all that would be divided by it is 0 in every process.
        """
        _, batch, queries = shape
        num_boxes, num_matched = sum(counts), matches.query.shape[1]
        ce_denominator = self.class_term.denominator(num_boxes, num_matched, batch * queries)
        means = mean_over_processes(num_boxes, num_matched, batch, ce_denominator)
        return tuple(mean or 1.0 for mean in means)

    @torch.no_grad()
    def _errors(self, scores: Tensor, query: Tensor, labels: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What the log shows of the classes: two counts over the batch.

        How many matched queries of the last layer give their object's class, ``(1,)``, and by how many the queries
        that see an object differ from the objects, summed over the images, ``(L,)``.
        """
        classes, sees_object = self.class_term.predicted(scores)  # (L, B, N) each
        num_right = (classes.take(query) == labels).sum(1)[-1:]
        num_objects = torch.from_numpy(np.array(counts))  # (B,)
        difference = sees_object.sum(-1) - num_objects.to(scores.device, non_blocking=True)  # (L, B)
        return num_right, difference.abs().sum(1)


def name_layers(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """From tensors over the layers to scalars under the published names.

    The last layer's come first and have the plain name of the term; the earlier ones' end in ``_0``, ``_1``, ...
    """
    named: dict[str, Tensor] = {}
    for term, values in losses.items():
        *earlier, last = values.unbind()
        named |= {term: last} | {f"{term}_{layer}": value for layer, value in enumerate(earlier)}
    return named


def flatten_layers(losses: dict[str, Tensor]) -> Tensor:
    """All numbers as one vector in the order of their names, from the losses of either form."""
    values = list(losses.values())
    return torch.cat([layers.roll(1) for layers in values]) if values[0].ndim else torch.stack(values)


def gather_targets(targets: Targets, name: str, index: Tensor) -> Tensor:
    """What the objects of a batch have under ``name``, such as ``boxes`` or ``masks``, picked by ``index``.

    ``index`` ``(...)`` counts through the objects of all images; what an object has must be of one shape ``S`` in the
    whole batch, so masks have to be padded to one size. Gives ``(..., *S)``.
    """
    return torch.cat([target[name] for target in targets])[index]


def _mask_losses(logits: Tensor, targets: Targets, index: Tensor, num_boxes: float) -> dict[str, Tensor]:
    """The mask terms of the matched queries' masks ``(M, h, w)``, ``(1,)`` each."""
    if any("masks" not in target for target in targets):
        raise ValueError("the model gives masks, but the targets have none: read the data with masks=True")
    terms = mask_terms(at_least_float32(logits), gather_targets(targets, "masks", index))
    return {name: value[None] / num_boxes for name, value in terms.items()}


def _flat_indices(
    matches: Matches, shape: Sequence[int], counts: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The queries numbered through all L * B * N of ``shape``, the targets through the batch: ``(L, M)`` each."""
    first = np.cumsum([0, *counts])  # the first object of each image
    query = np.ravel_multi_index((matches.layer, matches.image, matches.query), shape)
    index = np.stack([query, first[matches.image] + matches.target])
    query_index, target_index = torch.from_numpy(index).to(device, non_blocking=True).unbind()
    return query_index, target_index
