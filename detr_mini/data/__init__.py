"""Pictures and objects: Tiny Town, Night Harbor, the COCO reader, the transforms and the checker of annotation files.

Chapter: *Data preparation*, ``book/04_data``.
"""

from detr_mini.data.batches import BucketSampler, SeededImages, collate, read_batches
from detr_mini.data.check import Report, check_data, look_through, require_sound
from detr_mini.data.coco import CocoDetection, Target, find_split, read_class_names
from detr_mini.data.dataset import DetectionDataset, PanopticDataset, is_panoptic
from detr_mini.data.findings import Fault, Notice
from detr_mini.data.image import read_image
from detr_mini.data.night_harbor import (
    NIGHT_CLASSES,
    Mistake,
    NightObject,
    NightScene,
    draw_night_scene,
    make_night_data,
)
from detr_mini.data.opened import split_names
from detr_mini.data.panoptic import CocoPanoptic, find_panoptic_split
from detr_mini.data.remembered import RememberedImages
from detr_mini.data.tiny_town import CATEGORIES, NUM_CLASSES, Scene, SceneObject, draw_scene, make_data
from detr_mini.data.transforms import (
    PAPER_SIZES,
    NormalizeBoxes,
    RandomSizeCrop,
    denormalise,
    eval_transforms,
    train_transforms,
)
from detr_mini.errors import DataError, ImageError

__all__ = [
    "CATEGORIES",
    "NIGHT_CLASSES",
    "NUM_CLASSES",
    "PAPER_SIZES",
    "BucketSampler",
    "CocoDetection",
    "CocoPanoptic",
    "DataError",
    "DetectionDataset",
    "Fault",
    "ImageError",
    "Mistake",
    "NightObject",
    "NightScene",
    "NormalizeBoxes",
    "Notice",
    "PanopticDataset",
    "RandomSizeCrop",
    "RememberedImages",
    "Report",
    "Scene",
    "SceneObject",
    "SeededImages",
    "Target",
    "check_data",
    "collate",
    "denormalise",
    "draw_night_scene",
    "draw_scene",
    "eval_transforms",
    "find_panoptic_split",
    "find_split",
    "is_panoptic",
    "look_through",
    "make_data",
    "make_night_data",
    "read_batches",
    "read_class_names",
    "read_image",
    "require_sound",
    "split_names",
    "train_transforms",
]
