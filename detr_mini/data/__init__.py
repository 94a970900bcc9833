"""Pictures and objects: Tiny Town, the COCO reader, the transforms and the checker of annotation files."""

from .coco import CocoDetection, Target, collate, find_split, read_image
from .transforms import (
    PAPER_SIZES,
    NormalizeBoxes,
    RandomSizeCrop,
    denormalise,
    eval_transforms,
    train_transforms,
)

__all__ = [
    "PAPER_SIZES",
    "CocoDetection",
    "NormalizeBoxes",
    "RandomSizeCrop",
    "Target",
    "collate",
    "denormalise",
    "eval_transforms",
    "find_split",
    "read_image",
    "train_transforms",
]
