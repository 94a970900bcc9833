"""Pictures and objects: Tiny Town, the COCO reader, the transforms and the checker of annotation files.

Chapter: *Data preparation*, ``book/04_data``.
"""

from detr_mini.data.batches import BucketSampler, SeededImages
from detr_mini.data.check import DataError, Fault, check_data, require_sound
from detr_mini.data.coco import CocoDetection, Target, collate, find_split
from detr_mini.data.image import ImageError, read_image
from detr_mini.data.tiny_town import CATEGORIES, NUM_CLASSES, Scene, SceneObject, draw_scene, make_data
from detr_mini.data.transforms import (
    PAPER_SIZES,
    NormalizeBoxes,
    RandomSizeCrop,
    denormalise,
    eval_transforms,
    train_transforms,
)

__all__ = [
    "CATEGORIES",
    "NUM_CLASSES",
    "PAPER_SIZES",
    "BucketSampler",
    "CocoDetection",
    "DataError",
    "Fault",
    "ImageError",
    "NormalizeBoxes",
    "RandomSizeCrop",
    "Scene",
    "SceneObject",
    "SeededImages",
    "Target",
    "check_data",
    "collate",
    "denormalise",
    "draw_scene",
    "eval_transforms",
    "find_split",
    "make_data",
    "read_image",
    "require_sound",
    "train_transforms",
]
