"""Boxes: two ways to write one down, and how much two of them overlap.

Inside the model and the loss a box is ``cxcywh``, center and size as a share of the picture, in [0, 1]. Outside it is
``xyxy``, left, top, right and bottom in pixels. Every function works on any leading dimensions.
"""

import torch
from torch import Tensor


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Center and size to corners: ``(..., 4)`` to ``(..., 4)``, in whatever unit came in."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def box_xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners to center and size: ``(..., 4)`` to ``(..., 4)``, in whatever unit came in."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Area of ``xyxy`` boxes: ``(..., 4)`` to ``(...)``. Corners the wrong way round count as an empty box."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """GIoU of ``xyxy`` boxes, element by element with broadcasting: ``(..., 4)`` and ``(..., 4)`` to ``(...)``.

    GIoU is the IoU less the empty share of the smallest box that holds both, so it lies in (-1, 1] and still says how
    far apart two boxes are when they do not touch (Rezatofighi et al. 2019; DETR, section A.2). For every pair of N and
    T boxes, pass ``boxes1[:, None]`` and ``boxes2[None]``. Two empty boxes have an IoU of 0, never NaN.
    """
    tiny = torch.finfo(boxes1.dtype).tiny
    low = torch.maximum(boxes1[..., :2], boxes2[..., :2])
    high = torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = box_area(boxes1) + box_area(boxes2) - intersection
    hull_low = torch.minimum(boxes1[..., :2], boxes2[..., :2])
    hull_high = torch.maximum(boxes1[..., 2:], boxes2[..., 2:])
    hull = (hull_high - hull_low).clamp(min=0).prod(-1)
    return intersection / union.clamp(min=tiny) - (hull - union) / hull.clamp(min=tiny)
