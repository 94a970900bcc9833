"""The detection transformer, small enough to read and complete enough to use.

The names below are imported when they are first asked for: the command's ``--help`` need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "CONFIGS",
    "DETR",
    "CocoDetection",
    "DETRConfig",
    "DETRSegmentation",
    "DeformableDETR",
    "DeformableDETRConfig",
    "HungarianMatcher",
    "NestedTensor",
    "Recipe",
    "SetCriterion",
    "box_cxcywh_to_xyxy",
    "box_xyxy_to_cxcywh",
    "build",
    "build_criterion",
    "evaluate",
    "generalized_box_iou",
    "load",
    "ms_deform_attn",
    "postprocess",
    "postprocess_panoptic",
    "predict",
    "predict_panoptic",
    "save",
    "train",
    "translate",
]
__version__ = "0.1.0"  # as in pyproject.toml, and known where the package only lies on the path, too

if TYPE_CHECKING:
    from detr_mini.boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, generalized_box_iou
    from detr_mini.data import CocoDetection
    from detr_mini.evaluation import evaluate
    from detr_mini.loss import SetCriterion, build_criterion
    from detr_mini.matcher import HungarianMatcher
    from detr_mini.modeling.build import build
    from detr_mini.modeling.config import CONFIGS, DeformableDETRConfig, DETRConfig
    from detr_mini.modeling.deformable_attention import ms_deform_attn
    from detr_mini.modeling.deformable_detr import DeformableDETR
    from detr_mini.modeling.detr import DETR, postprocess
    from detr_mini.modeling.nested_tensor import NestedTensor
    from detr_mini.modeling.segmentation import DETRSegmentation, postprocess_panoptic
    from detr_mini.prediction import predict, predict_panoptic
    from detr_mini.training.recipe import Recipe
    from detr_mini.training.train import train
    from detr_mini.translation import translate
    from detr_mini.weights import load, save
else:
    _HOMES = {
        "boxes": ("box_cxcywh_to_xyxy", "box_xyxy_to_cxcywh", "generalized_box_iou"),
        "data": ("CocoDetection",),
        "evaluation": ("evaluate",),
        "loss": ("SetCriterion", "build_criterion"),
        "matcher": ("HungarianMatcher",),
        "modeling.build": ("build",),
        "modeling.config": ("CONFIGS", "DETRConfig", "DeformableDETRConfig"),
        "modeling.deformable_attention": ("ms_deform_attn",),
        "modeling.deformable_detr": ("DeformableDETR",),
        "modeling.detr": ("DETR", "postprocess"),
        "modeling.nested_tensor": ("NestedTensor",),
        "modeling.segmentation": ("DETRSegmentation", "postprocess_panoptic"),
        "prediction": ("predict", "predict_panoptic"),
        "training.recipe": ("Recipe",),
        "training.train": ("train",),
        "translation": ("translate",),
        "weights": ("load", "save"),
    }

    def __getattr__(name: str) -> Any:
        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
