"""Pictures and objects: Tiny Town, the COCO reader, the transforms and the checker of annotation files."""

from .check import DataError, Fault, check_data, require_sound
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
    "DataError",
    "Fault",
    "NormalizeBoxes",
    "RandomSizeCrop",
    "Target",
    "check_data",
    "collate",
    "denormalise",
    "eval_transforms",
    "find_split",
    "read_image",
    "require_sound",
    "train_transforms",
]
