"""What a model is made of: one frozen dataclass, and a table of names.

Chapter: *DETR in one page*, ``book/13_one_page``.
"""

import math
from dataclasses import dataclass, fields, replace

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")


@dataclass(frozen=True)
class DETRConfig:
    """The parts and sizes of a DETR. The defaults are the published DETR-R50."""

    backbone: str = "resnet50"  # a torchvision ResNet, or "small": a body for small pictures, stride 8
    dilation: bool = False  # DC5: stride 16 instead of 32
    position_embedding: str = "sine"  # or "learned"
    position_temperature: float = 10000.0  # of the sine encoding; on small feature maps most of its waves would be flat
    position_scale: float = 2 * math.pi
    hidden_dim: int = 256
    nheads: int = 8
    enc_layers: int = 6
    dec_layers: int = 6
    dim_feedforward: int = 2048
    dropout: float = 0.1
    pre_norm: bool = False
    num_queries: int = 100  # well above the most objects in one picture: COCO has up to 63
    num_classes: int = 91  # highest category id + 1: COCO's ids run from 1 to 90, with holes
    aux_loss: bool = True
    image_size: int | None = 800  # short side of a picture at prediction, in pixels; None: its own size
    max_size: int = 1333  # long side at most

    def __post_init__(self) -> None:
        names = (*RESNETS, "small")
        if self.backbone not in names:
            raise ValueError(f"backbone={self.backbone!r} is not known; use one of {', '.join(names)}")
        if self.dilation and self.backbone not in ("resnet50", "resnet101"):
            raise ValueError(
                f"dilation=True needs backbone='resnet50' or 'resnet101' (torchvision dilates bottleneck blocks only), "
                f"not {self.backbone!r}"
            )
        if self.position_embedding not in ("sine", "learned"):
            raise ValueError(f"position_embedding={self.position_embedding!r}; use 'sine' or 'learned'")
        for field in ("hidden_dim", "nheads", "dec_layers", "dim_feedforward", "num_queries", "num_classes"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)} must be at least 1")
        if self.hidden_dim % self.nheads:
            raise ValueError(f"hidden_dim={self.hidden_dim} must be a multiple of nheads={self.nheads}")
        if self.hidden_dim % 4:
            raise ValueError(
                f"hidden_dim={self.hidden_dim} must be a multiple of 4: two axes, a sine and a cosine each"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        if self.enc_layers < 0:
            raise ValueError(f"enc_layers={self.enc_layers} must not be negative")


# The fastest wave of the small models has a period of two cells on a 16-cell side, the slowest spans two pictures.
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

CONFIGS: dict[str, DETRConfig] = {
    "nano": _SMALL,
    "mini": replace(_SMALL, enc_layers=3, dec_layers=6, dim_feedforward=256),
    "detr_resnet50": DETRConfig(),
    "detr_resnet50_dc5": DETRConfig(dilation=True),
    "detr_resnet101": DETRConfig(backbone="resnet101"),
    "detr_resnet101_dc5": DETRConfig(backbone="resnet101", dilation=True),
}


def get_config(name_or_config: str | DETRConfig, **overrides: object) -> DETRConfig:
    """A config by name or as it is, with some fields changed.

    Raises:
        ValueError: an unknown name or field, or values that do not fit together; the message says what would.
    """
    if isinstance(name_or_config, DETRConfig):
        config = name_or_config
    elif name_or_config in CONFIGS:
        config = CONFIGS[name_or_config]
    else:
        raise ValueError(f"no config is called {name_or_config!r}; there are {', '.join(CONFIGS)}")
    known = {field.name for field in fields(DETRConfig)}
    if unknown := set(overrides) - known:
        raise ValueError(f"DETRConfig has no {', '.join(sorted(unknown))}; its fields are {', '.join(sorted(known))}")
    return replace(config, **overrides)  # type: ignore[arg-type]
