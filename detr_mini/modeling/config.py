"""What a model is made of: one frozen dataclass, and a table of names.

Chapter: *DETR in one page*, ``book/13_one_page``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import Any, get_args, get_origin

from detr_mini.errors import ConfigError

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
BACKBONES = (*RESNETS, "small")
GROUPS = 32  # of the norms of a Deformable DETR's projections


class _Checked:
    """What a config of either kind refuses."""

    backbone: str
    dilation: bool
    position_temperature: float
    position_scale: float
    hidden_dim: int
    nheads: int
    enc_layers: int
    dropout: float
    image_size: int | None
    max_size: int

    def __post_init__(self) -> None:
        require_field_types(self)
        self._require("backbone", self.backbone in BACKBONES, f"is not known; use one of {', '.join(BACKBONES)}")
        if self.dilation and self.backbone not in ("resnet50", "resnet101"):
            raise ConfigError(
                f"dilation=True needs backbone='resnet50' or 'resnet101' (torchvision dilates bottleneck blocks only), "
                f"not {self.backbone!r}"
            )
        for field in ("hidden_dim", "nheads", "dec_layers", "dim_feedforward", "num_queries", "num_classes"):
            self._require(field, getattr(self, field) >= 1, "must be at least 1")
        self._require("enc_layers", self.enc_layers >= 0, "must not be negative")
        self._require("hidden_dim", self.hidden_dim % self.nheads == 0, f"must be a multiple of nheads={self.nheads}")
        self._require("hidden_dim", self.hidden_dim % 4 == 0, "must be a multiple of 4: two axes, a sine and a cosine")
        self._require("dropout", 0 <= self.dropout < 1, "must lie in [0, 1)")
        self._require("position_temperature", self.position_temperature > 0, "must be above 0")
        self._require("position_scale", self.position_scale > 0, "must be above 0")
        self._require_sizes()

    def _require_sizes(self) -> None:
        self._require("max_size", self.max_size >= 1, "must be at least 1 pixel")
        if self.image_size is not None:
            self._require("image_size", self.image_size >= 1, "must be at least 1 pixel, or None")
            self._require(
                "image_size",
                self.image_size <= self.max_size,
                f"is the short side of a picture and cannot exceed the long one, max_size={self.max_size}; set both",
            )

    def _require(self, field: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"{field}={getattr(self, field)!r} {rule}")


@dataclass(frozen=True)
class DETRConfig(_Checked):
    """The parts and sizes of a DETR. The defaults are the published DETR-R50.

    Raises:
        ConfigError: a value of the wrong type, out of its range, or one that does not go with another; also a
            ``ValueError``. The message says which and what would work.
    """

    backbone: str = "resnet50"  # a torchvision ResNet, or "small": a body for small pictures, stride 8
    dilation: bool = False  # DC5: stride 16 instead of 32
    # As published, the stem, first stage and batch norms of a ResNet stay as they came, so they need trained weights.
    # False trains all of it, with norms that learn: from scratch, too. The small body is always trained.
    freeze_resnet: bool = True
    position_embedding: str = "sine"  # or "learned"
    position_temperature: float = 10000.0  # of the sine encoding; on small feature maps most of its waves would be flat
    position_scale: float = 2 * math.pi  # of the sine encoding: positions run from 0 to this
    hidden_dim: int = 256  # width of the transformer, d
    nheads: int = 8  # attention heads, each of hidden_dim / nheads
    enc_layers: int = 6  # of the encoder; 0: none
    dec_layers: int = 6  # of the decoder
    dim_feedforward: int = 2048  # width inside of the feed-forward blocks
    dropout: float = 0.1  # share of values set to 0 in training
    pre_norm: bool = False  # layer norms before attention and feed-forward, not after
    num_queries: int = 100  # well above the most objects in one picture: COCO has up to 63
    num_classes: int = 91  # highest category id + 1: COCO's ids run from 1 to 90, with holes
    aux_loss: bool = True  # a loss on every decoder layer, not on the last alone
    masks: bool = False  # a mask for each query, beside its box
    image_size: int | None = 800  # short side of a picture at prediction, in pixels; None: its own size
    max_size: int = 1333  # long side at most

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.position_embedding in ("sine", "learned")
        self._require("position_embedding", known, "is not known; use 'sine' or 'learned'")
        wide = self.hidden_dim >= 16 or not self.masks
        self._require("hidden_dim", wide, "must be at least 16 with masks=True: the mask head ends with a sixteenth")


@dataclass(frozen=True)
class DeformableDETRConfig(_Checked):
    """The parts and sizes of a Deformable DETR. The defaults are the published model with four levels.

    Raises:
        ConfigError: as :class:`DETRConfig`.
    """

    backbone: str = "resnet50"  # a torchvision ResNet, or "small": a body for small pictures
    dilation: bool = False  # the last stage keeps the stride of the one before; published with a single level
    freeze_resnet: bool = True  # stem, first stage and batch norms of a ResNet stay as they came; False trains all
    num_feature_levels: int = 4  # maps read: a ResNet's last, up to three, or the small body's last; then strided ones
    enc_points: int = 4  # that a cell reads, for each head and level
    dec_points: int = 4  # that a query reads, likewise
    with_box_refine: bool = False  # every decoder layer corrects the boxes of the one before
    two_stage: bool = False  # queries start from the encoder's best boxes; needs with_box_refine
    position_temperature: float = 10000.0  # of the sine encoding
    position_scale: float = 2 * math.pi  # of the sine encoding: positions run from 0 to this
    hidden_dim: int = 256  # width of the transformer, d; a multiple of 32, the groups of its norms
    nheads: int = 8  # attention heads, each of hidden_dim / nheads
    enc_layers: int = 6  # of the encoder; 0: none
    dec_layers: int = 6  # of the decoder
    dim_feedforward: int = 1024  # width inside of the feed-forward blocks
    dropout: float = 0.1  # share of values set to 0 in training
    num_queries: int = 300  # well above the most objects in one picture
    num_classes: int = 91  # highest category id + 1
    aux_loss: bool = True  # a loss on every decoder layer, not on the last alone
    image_size: int | None = 800  # short side of a picture at prediction, in pixels; None: its own size
    max_size: int = 1333  # long side at most

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("num_feature_levels", "enc_points", "dec_points"):
            self._require(field, getattr(self, field) >= 1, "must be at least 1")
        groups = "must be a multiple of 32: a group norm of 32 groups follows each projection of the backbone's maps"
        self._require("hidden_dim", self.hidden_dim % GROUPS == 0, groups)
        refined = self.with_box_refine or not self.two_stage
        self._require("two_stage", refined, "needs with_box_refine=True: its queries start from boxes to be refined")


DetectorConfig = DETRConfig | DeformableDETRConfig


def kind_of(stored: Mapping[str, Any]) -> type[DETRConfig] | type[DeformableDETRConfig]:
    """The kind of config that has these fields."""
    return DeformableDETRConfig if "num_feature_levels" in stored else DETRConfig


_KINDS = {
    bool: "True or False",
    int: "an integer",
    float: "a finite number",
    str: "a text",
    NoneType: "None",
    tuple[int, ...]: "a tuple of integers",
}


def require_field_types(config: Any) -> None:
    """Check that every field of a dataclass holds what its annotation says; an integer is a number, too.

    Raises:
        ConfigError: one does not; the message names the field, its value and what it may be.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        kinds = get_args(field.type) if get_origin(field.type) is not tuple else ()
        kinds = kinds or (field.type,)
        if not any(_is_a(value, kind) for kind in kinds):
            wanted = " or ".join(_KINDS[kind] for kind in kinds)
            raise ConfigError(f"{field.name}={value!r} must be {wanted}")


def _is_a(value: Any, kind: Any) -> bool:
    if kind == tuple[int, ...]:
        return isinstance(value, tuple) and all(_is_a(item, int) for item in value)
    if kind is float:
        return _is_a(value, int) or (isinstance(value, float) and math.isfinite(value))
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


# The fastest wave of the small models has a period of two cells on a 16-cell side, which is too fast for a shorter one;
# the slowest spans 1.8 pictures.
_SMALL = DETRConfig(
    backbone="small",
    position_temperature=16.0,
    position_scale=16 * math.pi,
    hidden_dim=96,
    nheads=4,
    enc_layers=2,
    dec_layers=3,
    dim_feedforward=192,
    dropout=0.0,
    pre_norm=True,
    num_queries=25,
    num_classes=14,
    image_size=None,
    max_size=136,
)

_SMALL_DEFORMABLE = DeformableDETRConfig(
    backbone="small",
    num_feature_levels=2,
    with_box_refine=True,
    position_temperature=16.0,
    position_scale=16 * math.pi,
    hidden_dim=96,
    nheads=4,
    enc_layers=2,
    dec_layers=3,
    dim_feedforward=192,
    dropout=0.0,
    num_queries=25,
    num_classes=14,
    image_size=None,
    max_size=136,
)

_MINI = replace(_SMALL, enc_layers=3, dec_layers=6, dim_feedforward=256)

CONFIGS: dict[str, DetectorConfig] = {
    "nano": _SMALL,
    "mini": _MINI,
    "mini_panoptic": replace(_MINI, num_classes=19, masks=True),
    "detr_resnet50": DETRConfig(),
    "detr_resnet50_dc5": DETRConfig(dilation=True),
    "detr_resnet101": DETRConfig(backbone="resnet101"),
    "detr_resnet101_dc5": DETRConfig(backbone="resnet101", dilation=True),
    "deformable_nano": _SMALL_DEFORMABLE,
    "deformable_mini": replace(_SMALL_DEFORMABLE, enc_layers=3, dec_layers=6, dim_feedforward=256),
    # For photographs on a laptop; the data may ask for larger images and more queries.
    "photo": replace(_SMALL_DEFORMABLE, max_size=256),
    "deformable_detr_resnet50": DeformableDETRConfig(),
    "deformable_detr_resnet50_single_scale": DeformableDETRConfig(num_feature_levels=1),
    "deformable_detr_resnet50_single_scale_dc5": DeformableDETRConfig(num_feature_levels=1, dilation=True),
    "deformable_detr_resnet50_refine": DeformableDETRConfig(with_box_refine=True),
    "deformable_detr_resnet50_two_stage": DeformableDETRConfig(with_box_refine=True, two_stage=True),
}


def get_config(name_or_config: str | DetectorConfig, **overrides: object) -> DetectorConfig:
    """A config by name or as it is, with some fields changed.

    Raises:
        ConfigError: an unknown name or field, or values that do not fit together; the message says what would.
    """
    if not isinstance(name_or_config, str):
        config = name_or_config
    elif name_or_config in CONFIGS:
        config = CONFIGS[name_or_config]
    else:
        raise ConfigError(f"no config is called {name_or_config!r}; there are {', '.join(CONFIGS)}")
    kind, known = type(config).__name__, {field.name for field in fields(config)}
    if unknown := set(overrides) - known:
        raise ConfigError(f"{kind} has no {', '.join(sorted(unknown))}; its fields are {', '.join(sorted(known))}")
    return replace(config, **overrides)  # type: ignore[arg-type]
