"""Backbones: from a padded batch of pictures to feature maps and their masks.

Chapter: *Backbone*, ``book/06_backbone``.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from detr_mini.modeling.config import DetectorConfig
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.modeling.norm import FrozenBatchNorm2d, SyncBatchNorm2d


class ResNetBackbone(nn.Module):
    """A torchvision ResNet: stride 32, or 16 with ``dilation`` (DETR, sections 3.2 and 4).

    Parameters are ``body.<torchvision name>``. Weights are random here; they come with a checkpoint.

    The convolutions see the zeros of the padding, and what they make of them reaches the cells along the edge: the
    published models were trained like that. A picture padded in a batch therefore differs slightly from the same
    picture alone.

    Args:
        name: one of ``RESNETS`` in :mod:`detr_mini.modeling.config`.
        dilation: replace the stride of the last stage by dilation (DC5); resnet50 and resnet101 only.
        num_levels: how many feature maps to return, of the last stages: of layer4 for 1, of layer2 to layer4 for 3.
        freeze: keep the stem, the first stage and all batch norms as they come, as in the published training. Otherwise
            everything is trained, and the norms take their statistics from the batch.
    """

    def __init__(self, name: str, *, dilation: bool = False, num_levels: int = 1, freeze: bool = True) -> None:
        super().__init__()
        resnet = torchvision.models.get_model(
            name,
            weights=None,
            norm_layer=FrozenBatchNorm2d if freeze else SyncBatchNorm2d,
            replace_stride_with_dilation=[False, False, dilation] if dilation else None,
        )
        if freeze:
            for key, parameter in resnet.named_parameters():
                parameter.requires_grad_(key.startswith(("layer2", "layer3", "layer4")))
        self.body = nn.ModuleDict({key: part for key, part in resnet.named_children() if key not in ("avgpool", "fc")})
        self.stages = _last(num_levels, ("layer1", "layer2", "layer3", "layer4"))
        widest: int = resnet.fc.in_features  # each stage has twice the channels of the one before
        self.num_channels = [widest // 2**n for n in reversed(range(num_levels))]

    def forward(self, samples: NestedTensor) -> list[NestedTensor]:
        """``(B, 3, H, W)`` to features ``(B, C, h, w)``, the coarsest last; masks take the nearest pixel."""
        x, levels = samples.tensors, []
        for name, part in self.body.items():
            x = part(x)
            if name in self.stages:
                levels.append(NestedTensor(x, nearest(samples.padding_mask, x.shape[-2:])))
        return levels


class SmallBackbone(nn.Module):
    """A ResNet for small pictures, trained from scratch: a stem and three residual blocks, stride 8.

    Unlike :class:`ResNetBackbone` it sets padded cells to zero after every convolution, just as the convolutions
    themselves pad. A picture gives the same features alone and in any batch.

    Args:
        width: channels of the last feature map; the one before it has a half of them, all others a quarter.
        num_levels: how many feature maps to return, of the stem and the stages, whose strides are 2, 4, 8 and 8.
    """

    def __init__(self, width: int, *, num_levels: int = 1) -> None:
        super().__init__()
        widths = (width // 4, width // 2, width)
        self.body = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(3, widths[0], kernel_size=3, stride=2, padding=1, bias=False),
                "bn1": SyncBatchNorm2d(widths[0]),
                "layer1": ResidualBlock(widths[0], widths[0], stride=2),
                "layer2": ResidualBlock(widths[0], widths[1], stride=2),
                "layer3": ResidualBlock(widths[1], widths[2], stride=1),
            }
        )
        self.stages = _last(num_levels, ("stem", "layer1", "layer2", "layer3"))
        self.num_channels = [widths[0], *widths][-num_levels:]

    def forward(self, samples: NestedTensor) -> list[NestedTensor]:
        """``(B, 3, H, W)`` to features, the coarsest last: ``(B, C, ceil(H / 8), ceil(W / 8))``, and their masks."""
        mask = every(2, samples.padding_mask)
        x = self.body["bn1"](self.body["conv1"](samples.tensors))
        features = NestedTensor(zero_padding(x, mask).relu_(), mask)
        levels = [features] if "stem" in self.stages else []
        for name in ("layer1", "layer2", "layer3"):
            features = self.body[name](features)
            if name in self.stages:
                levels.append(features)
        return levels


def build_backbone(config: DetectorConfig, num_levels: int = 1) -> ResNetBackbone | SmallBackbone:
    """The body that a config names, with random weights; see the two classes for ``num_levels``."""
    if config.backbone == "small":
        return SmallBackbone(config.hidden_dim, num_levels=num_levels)
    return ResNetBackbone(config.backbone, dilation=config.dilation, num_levels=num_levels, freeze=config.freeze_resnet)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016, figure 2), with padded cells kept at zero."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = SyncBatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = SyncBatchNorm2d(channels_out)
        self.downsample = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, bias=False), SyncBatchNorm2d(channels_out)
        )

    def forward(self, features: NestedTensor) -> NestedTensor:
        """``(B, C_in, h, w)`` and its mask to ``(B, C_out, h / stride, w / stride)`` and its mask, sides rounded up."""
        x, mask = features.tensors, every(self.stride, features.padding_mask)
        y = zero_padding(self.bn1(self.conv1(x)), mask).relu_()
        # Cells are picked here, not by a stride of the 1x1 convolution. The numbers are the same, but for few channels
        # in channels_last the backward pass of PyTorch 2.14 on a CPU writes outside its memory.
        picked = x[:, :, :: self.stride, :: self.stride].contiguous(memory_format=torch.channels_last)
        y = self.bn2(self.conv2(y)) + self.downsample(picked)
        return NestedTensor(zero_padding(y, mask).relu_(), mask)


def zero_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set the padded cells of ``x`` ``(B, C, h, w)`` to zero, in place, where ``mask`` ``(B, h, w)`` is True."""
    # Not masked_fill, whose forward or (in place) backward turns channels_last into the usual layout.
    return x if mask is None else x.mul_(~mask[:, None])


def nearest(mask: Tensor | None, size: Sequence[int]) -> Tensor | None:
    """A mask ``(B, H, W)`` at the size ``(h, w)`` of a feature map."""
    return None if mask is None else F.interpolate(mask[:, None].float(), size=tuple(size))[:, 0].bool()


def every(stride: int, mask: Tensor | None) -> Tensor | None:
    """The pixels of a mask ``(B, H, W)`` on which the windows of a 3x3 convolution of this stride are centered."""
    # What slices pick is made contiguous here and above: of other strides, an exported model would take for granted
    # what happened to hold for the sizes of its example.
    return None if mask is None else mask[:, ::stride, ::stride].contiguous()


def _last(count: int, stages: Sequence[str]) -> Sequence[str]:
    if not 1 <= count <= len(stages):
        raise ValueError(f"num_levels={count} must lie between 1 and {len(stages)}, the stages of this backbone")
    return stages[-count:]
