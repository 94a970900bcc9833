"""Matching: which query answers for which object, at the least total cost."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detr_mini.boxes import box_cxcywh_to_xyxy, generalized_box_iou

Match = tuple[Tensor, Tensor]


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

    def forward(self, outputs: dict[str, Any], targets: Sequence[dict[str, Tensor]]) -> list[Match]:
        """Match the predictions of one decoder layer.

        Args:
            outputs: ``pred_logits`` ``(B, N, K + 1)`` and ``pred_boxes`` ``(B, N, 4)`` as cxcywh in [0, 1].
            targets: for each image ``labels`` ``(T,)`` and ``boxes`` ``(T, 4)`` in the same form.

        Returns:
            For each image ``(query_idx, target_idx)``, two int64 tensors on the CPU of length min(N, T), ``query_idx``
            rising as scipy gives it. With more objects than queries the costliest objects stay unmatched.

        Raises:
            ValueError: the costs of an image are not finite; the message names it.
        """
        return self.match_layers(outputs["pred_logits"][None], outputs["pred_boxes"][None], targets)[0]

    @torch.no_grad()
    def match_layers(self, logits: Tensor, boxes: Tensor, targets: Sequence[dict[str, Tensor]]) -> list[list[Match]]:
        """:meth:`forward` for all decoder layers at once, ``(layers, B, N, ...)``, with one copy to the host."""
        from scipy.optimize import linear_sum_assignment

        cost = self.cost(logits, boxes, targets).cpu()  # (layers, B, N, T_max)
        matches: list[list[Match]] = []
        for layer in cost:
            matches.append([])
            for image, target in enumerate(targets):
                block = layer[image, :, : len(target["labels"])]
                if not block.isfinite().all():
                    raise ValueError(_not_finite(image, block))
                rows, columns = linear_sum_assignment(block.numpy())
                matches[-1].append((torch.as_tensor(rows), torch.as_tensor(columns)))
        return matches

    def cost(self, logits: Tensor, boxes: Tensor, targets: Sequence[dict[str, Tensor]]) -> Tensor:
        """Cost of every query against every object of its own image, ``(layers, B, N, T_max)`` in float32.

        Columns beyond an image's own objects mean nothing.
        """
        labels = nn.utils.rnn.pad_sequence([t["labels"] for t in targets], batch_first=True)  # (B, T_max)
        goal = nn.utils.rnn.pad_sequence([t["boxes"] for t in targets], batch_first=True).float()  # (B, T_max, 4)
        layers, _, queries, _ = logits.shape
        probability = logits.float().softmax(-1)  # (layers, B, N, K + 1)
        of_label = labels[None, :, None].expand(layers, -1, queries, -1)  # (layers, B, N, T_max)
        cost_class = -probability.gather(-1, of_label)
        pairs, goal = (
            boxes.float()[:, :, :, None],
            goal[None, :, None],
        )  # (layers, B, N, 1, 4), (1, B, 1, T_max, 4)
        cost_bbox = (pairs - goal).abs().sum(-1)
        cost_giou = -generalized_box_iou(box_cxcywh_to_xyxy(pairs), box_cxcywh_to_xyxy(goal))
        return self.cost_class * cost_class + self.cost_bbox * cost_bbox + self.cost_giou * cost_giou


def _not_finite(image: int, block: Tensor) -> str:
    query, target = (~block.isfinite()).nonzero()[0].tolist()
    return (
        f"image {image} of the batch: the matching cost of query {query} and target {target} is "
        f"{block[query, target].item()}. The matching only shows what came before it: usually the learning rate is too "
        f"high, half precision has overflowed, or a target box is not finite"
    )
