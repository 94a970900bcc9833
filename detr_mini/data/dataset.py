"""What training and evaluation ask of a data set, so that one of your own can take the place of a COCO folder.

Chapter: *Data preparation*, ``book/04_data``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from pycocotools.coco import COCO


class DetectionDataset(Protocol):
    """Images with their objects, as :class:`.CocoDetection` has them.

    An item is ready for the model: a normalized image ``(3, H, W)``, and a target with ``labels`` ``(T,)`` int64 and
    ``boxes`` ``(T, 4)``, cxcywh in [0, 1]. Evaluation also needs ``image_id`` ``()`` and ``orig_size`` ``(2,)``, height
    and width in pixels; a model with masks needs ``masks`` ``(T, H, W)`` bool.
    """

    class_names: dict[int, str]  # category id to name
    num_classes: int  # highest category id + 1
    coco: "COCO | Any"  # the annotations, as pycocotools holds them: what evaluation compares with

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """Height and width of each image in pixels; images of similar shape are put into one batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]: ...


class PanopticDataset(DetectionDataset, Protocol):
    """Images with a segment for every pixel, as :class:`.CocoPanoptic` has them; targets have ``masks``."""

    stuff: frozenset[int]  # the category ids that are stuff; the others are things

    def panoptic(self, index: int) -> dict[str, Any]:
        """The segments of an image as annotated, at its original size.

        ``ids`` ``(H, W)`` int64, and ``segments``, with ``id``, ``category_id``, ``isthing``, ``area`` and ``iscrowd``.
        """


def is_panoptic(dataset: DetectionDataset) -> TypeGuard[PanopticDataset]:
    """Whether a data set has segments; none of its own are read to find out."""
    return hasattr(dataset, "panoptic")
