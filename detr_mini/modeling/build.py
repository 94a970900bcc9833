"""Every detector of this package by its name."""

from typing import overload

from detr_mini.modeling.config import DeformableDETRConfig, DetectorConfig, DETRConfig, get_config
from detr_mini.modeling.deformable_detr import DeformableDETR
from detr_mini.modeling.detr import DETR
from detr_mini.modeling.segmentation import DETRSegmentation

Detector = DETR | DETRSegmentation | DeformableDETR


@overload
def build(name_or_config: DeformableDETRConfig, **overrides: object) -> DeformableDETR: ...
@overload
def build(name_or_config: DETRConfig, **overrides: object) -> DETR | DETRSegmentation: ...
@overload
def build(name_or_config: str | DetectorConfig, **overrides: object) -> Detector: ...
def build(name_or_config: str | DetectorConfig, **overrides: object) -> Detector:
    """Make a model with random weights.

    Args:
        name_or_config: for the embedded data ``nano``, ``mini``, ``mini_panoptic``, ``deformable_nano`` and
            ``deformable_mini``; published are ``detr_resnet50``, ``detr_resnet50_dc5``, ``detr_resnet101``,
            ``detr_resnet101_dc5``, ``deformable_detr_resnet50`` and, with its ending, ``_single_scale``,
            ``_single_scale_dc5``, ``_refine`` and ``_two_stage``; or a :class:`.DETRConfig` or
            :class:`.DeformableDETRConfig`.
        overrides: fields of the config to change.

    Raises:
        ConfigError: a name, a field or a combination that does not exist; the message says what would work.
    """
    config = get_config(name_or_config, **overrides)
    if isinstance(config, DeformableDETRConfig):
        return DeformableDETR(config)
    return DETRSegmentation(config) if config.masks else DETR(config)
