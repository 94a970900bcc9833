"""How much boxes overlap, in NumPy: IoU, and the share of one that lies in another."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating[Any]]


def areas(boxes: Boxes) -> NDArray[np.floating[Any]]:
    """Of boxes xyxy ``(N, 4)``, their areas ``(N,)``; 0 where a side is negative."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1))


def intersections(first: Boxes, second: Boxes) -> NDArray[np.floating[Any]]:
    """Of boxes xyxy ``(N, 4)`` and ``(M, 4)``, the area that each pair shares, ``(N, M)``."""
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.asarray((end - start).clip(0).prod(axis=2))


def ious(first: Boxes, second: Boxes) -> NDArray[np.floating[Any]]:
    """Of boxes xyxy ``(N, 4)`` and ``(M, 4)``, the intersection over union of each pair, ``(N, M)``."""
    shared = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def shares_inside(first: Boxes, second: Boxes) -> NDArray[np.floating[Any]]:
    """Of boxes xyxy ``(N, 4)`` and ``(M, 4)``, which share of the first lies in the second, ``(N, M)``."""
    shared, whole = intersections(first, second), areas(first)[:, None]
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))
