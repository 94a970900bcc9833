"""The class term, which the matcher's cost and the loss share: softmax with "no object", or sigmoid with focal loss.

A class term is a part that can be exchanged: :class:`~detr_mini.matcher.HungarianMatcher` and
:class:`~detr_mini.loss.SetCriterion` both take one and ask it everything that depends on how a logit is read.

Chapters: *Matching*, ``book/11_matcher``, *Loss*, ``book/12_loss``, and *Deformable DETR*, ``book/20_deformable_detr``.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class ClassTerm(Protocol):
    """What matcher and criterion ask; ``L`` decoder layers, ``B`` images, ``N`` queries, ``C`` logits a query."""

    no_object_logits: int  # C is K + no_object_logits

    def scores(self, logits: Tensor) -> Tensor:
        """What all other methods start from, computed once from logits ``(..., C)``: ``(..., C)``."""
        ...

    def cost(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Cost ``(L, B, N, T)`` of every query of scores ``(L, B, N, C)`` for the labels ``(B, T)`` of its image.

        Where a score of a query is not finite, so are its costs.
        """
        ...

    def loss(self, scores: Tensor, query: Tensor, labels: Tensor) -> Tensor:
        """Sum over all queries of each layer, ``(L,)``.

        Args:
            scores: ``(L, B, N, C)``.
            query, labels: ``(L, M)``, which of all L * B * N queries are matched, and the class of their objects.
        """
        ...

    def denominator(self, num_boxes: int, num_matched: int, num_queries: int) -> float:
        """What that sum is divided by; objects, matched queries and queries are counted over the batch."""
        ...

    def predicted(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The most probable class of each query ``(L, B, N)``, and whether the query sees an object at all."""
        ...


@dataclass(frozen=True)
class SoftmaxTerm:
    """K + 1 logits of which one class is true, the last being "no object" (DETR, section 3.1).

    The cost is minus the probability of the object's class; the loss is the mean of ``-log p``, weighted. A query sees
    an object if any class is more probable than "no object".

    Args:
        eos_coef: weight of "no object" in the mean, since most queries have none.
    """

    eos_coef: float = 0.1
    no_object_logits = 1

    def scores(self, logits: Tensor) -> Tensor:
        """Log-probabilities."""
        return logits.log_softmax(-1)

    def cost(self, scores: Tensor, labels: Tensor) -> Tensor:
        """``-p``: a probability and no logarithm, so that it stays comparable with the box terms."""
        return -_of_labels(scores, labels).exp_()

    def loss(self, scores: Tensor, query: Tensor, labels: Tensor) -> Tensor:
        """``-log p`` of the object's class; of "no object", times ``eos_coef``, for all other queries."""
        num_classes = scores.shape[-1] - 1
        flat = scores.flatten(0, 2)  # (L * B * N, K + 1)
        wanted = query.new_full(flat.shape[:1], num_classes)  # (L * B * N,)
        wanted[query] = labels
        weight = torch.from_numpy(np.append(np.ones(num_classes), self.eos_coef))  # (K + 1,)
        weight = weight.to(flat.device, flat.dtype, non_blocking=True)
        return F.nll_loss(flat, wanted, weight, reduction="none").view(len(scores), -1).sum(1)

    def denominator(self, num_boxes: int, num_matched: int, num_queries: int) -> float:
        """The sum of the queries' weights."""
        return num_matched + self.eos_coef * (num_queries - num_matched)

    def predicted(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`ClassTerm`."""
        classes = scores.max(-1).indices  # much faster than argmax on a CPU
        return classes, classes != scores.shape[-1] - 1


@dataclass(frozen=True)
class FocalTerm:
    """K logits, each a yes or no of its own (Lin et al. 2017; Deformable DETR, section 5).

    With p the sigmoid of a logit, it costs ``alpha (1 - p)^gamma (-log p)`` where the query should say this class, and
    ``(1 - alpha) p^gamma (-log(1 - p))`` where it should not. The cost of a match is the difference of the two, by
    which it would change the loss. The loss adds up all K N B logits and is divided by the number of objects. A query
    sees an object if it gives some class more than half: there is no "no object" that could be compared with.
    """

    alpha: float = 0.25
    gamma: float = 2.0
    no_object_logits = 0

    def scores(self, logits: Tensor) -> Tensor:
        """The logits themselves."""
        return logits

    def cost(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The difference as published, with an epsilon in the logarithms."""
        p = _of_labels(scores, labels).sigmoid()
        yes = self.alpha * (1 - p) ** self.gamma * -(p + 1e-8).log()
        no = (1 - self.alpha) * p**self.gamma * -(1 - p + 1e-8).log()
        return (yes - no).add_(scores.amax(-1, keepdim=True) * 0)  # the sigmoid alone would hide an infinite logit

    def loss(self, scores: Tensor, query: Tensor, labels: Tensor) -> Tensor:
        """All logits as if no object had their class, then corrected where one has."""
        matched = scores.flatten()[query * scores.shape[-1] + labels]  # (L, M)
        return self.no(scores).flatten(1).sum(1) + (self.yes(matched) - self.no(matched)).sum(1)

    def yes(self, logits: Tensor) -> Tensor:
        """The loss of each logit whose answer should be yes."""
        return self.alpha * (-logits).sigmoid() ** self.gamma * -F.logsigmoid(logits)

    def no(self, logits: Tensor) -> Tensor:
        """The loss of each logit whose answer should be no."""
        return (1 - self.alpha) * logits.sigmoid() ** self.gamma * -F.logsigmoid(-logits)

    def denominator(self, num_boxes: int, num_matched: int, num_queries: int) -> float:
        """The number of objects."""
        return num_boxes

    def predicted(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`ClassTerm`."""
        best = scores.max(-1)
        return best.indices, best.values > 0  # a logit of 0 is a probability of one half


def _of_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """The score that every query ``(L, B, N, C)`` gives each label ``(B, T)`` of its image, ``(L, B, N, T)``."""
    return scores.gather(-1, labels[:, None].expand(*scores.shape[:3], -1))
