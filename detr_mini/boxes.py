"""Boxes: two ways to write one down, and how much two of them overlap.

Inside the model and the loss a box is ``cxcywh``, center and size as a share of the picture, in [0, 1]. Outside it is
``xyxy``, left, top, right and bottom in pixels. Every function works on any leading dimensions.

Chapters: *Data preparation*, ``book/04_data``, and *Loss*, ``book/12_loss``.
"""

import torch
from torch import Tensor


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Center and size to corners: ``(..., 4)`` to ``(..., 4)``, in whatever unit came in."""
    center, size = boxes.chunk(2, dim=-1)
    half = size / 2
    return torch.cat([center - half, center + half], dim=-1)


def box_xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners to center and size: ``(..., 4)`` to ``(..., 4)``, in whatever unit came in."""
    low, high = boxes.chunk(2, dim=-1)
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Area of ``xyxy`` boxes: ``(..., 4)`` to ``(...)``. Corners the wrong way round count as an empty box."""
    low, high = boxes.chunk(2, dim=-1)
    return _area((high - low).relu())


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """GIoU of ``xyxy`` boxes, element by element with broadcasting: ``(..., 4)`` and ``(..., 4)`` to ``(...)``.

    GIoU is the IoU less the empty share of the smallest box that holds both, so it lies in [-1, 1] and still says how
    far apart two boxes are when they do not touch (Rezatofighi et al. 2019; DETR, section A.2). For every pair of N and
    T boxes, pass ``boxes1[:, None]`` and ``boxes2[None]``. Two empty boxes have an IoU of 0, never NaN.
    """
    low1, high1 = boxes1.chunk(2, dim=-1)
    low2, high2 = boxes2.chunk(2, dim=-1)
    return _giou(low1, high1, (high1 - low1).relu(), low2, high2, (high2 - low2).relu())


def generalized_box_iou_cxcywh(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """:func:`generalized_box_iou` of ``cxcywh`` boxes; sizes below 0 count as 0."""
    return _giou(*_corners_and_size(boxes1), *_corners_and_size(boxes2))


def _corners_and_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    center, size = boxes.chunk(2, dim=-1)
    size = size.relu()
    half = size / 2
    return center - half, center + half, size


def _giou(low1: Tensor, high1: Tensor, size1: Tensor, low2: Tensor, high2: Tensor, size2: Tensor) -> Tensor:
    """From corners and sizes, ``(..., 2)`` each. Works in place: fresh memory for all pairs costs more than the sums.

    With ``min(a, b) + max(a, b) = a + b``, the size of the hull is both sizes less the overlap, a negative overlap
    being the gap between two boxes. The empty share of the hull is ``1 - union / hull``.
    """
    overlap = torch.minimum(high1, high2).sub_(torch.maximum(low1, low2))
    hull = _area((size1 + size2).sub_(overlap))
    intersection = _area(overlap.relu_())
    union = (_area(size1) + _area(size2)).sub_(intersection)
    tiny = torch.finfo(union.dtype).tiny  # lost in any area but 0
    union, hull = union.add_(tiny), hull.add_(tiny)
    return intersection.div_(union).add_(union / hull).sub_(1)


def _area(size: Tensor) -> Tensor:
    width, height = size.unbind(-1)
    return width * height
