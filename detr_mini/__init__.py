"""The detection transformer, small enough to read and complete enough to use."""

from detr_mini.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, generalized_box_iou
from detr_mini.loss import SetCriterion
from detr_mini.matcher import HungarianMatcher
from detr_mini.modeling.config import CONFIGS, DETRConfig
from detr_mini.modeling.detr import DETR, build, postprocess
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.prediction import predict
from detr_mini.weights import load, save

__all__ = [
    "CONFIGS",
    "DETR",
    "DETRConfig",
    "HungarianMatcher",
    "NestedTensor",
    "SetCriterion",
    "box_cxcywh_to_xyxy",
    "box_xyxy_to_cxcywh",
    "build",
    "generalized_box_iou",
    "load",
    "postprocess",
    "predict",
    "save",
]
