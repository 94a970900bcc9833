"""Backbones: from a padded batch of pictures to a feature map and its mask.

Chapter: *Backbone*, ``book/06_backbone``.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

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
        freeze: keep the stem, the first stage and all batch norms as they come, as in the published training. Otherwise
            everything is trained, and the norms take their statistics from the batch.
    """

    def __init__(self, name: str, *, dilation: bool = False, freeze: bool = True) -> None:
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
        self.num_channels: int = resnet.fc.in_features
        self.body = IntermediateLayerGetter(resnet, return_layers={"layer4": "0"})

    def forward(self, samples: NestedTensor) -> NestedTensor:
        """``(B, 3, H, W)`` to features ``(B, C, h, w)``; the mask follows by taking the nearest pixel."""
        features = self.body(samples.tensors)["0"]
        mask = F.interpolate(samples.mask[:, None].float(), size=features.shape[-2:])[:, 0].bool()
        return NestedTensor(features, mask, samples.padded)


class SmallBackbone(nn.Module):
    """A ResNet for small pictures, trained from scratch: a stem and three residual blocks, stride 8.

    Unlike :class:`ResNetBackbone` it sets padded cells to zero after every convolution, just as the convolutions
    themselves pad. A picture gives the same features alone and in any batch.

    Args:
        num_channels: channels of the feature map; the two stages before it have a quarter and a half of them.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        widths = (num_channels // 4, num_channels // 2, num_channels)
        self.num_channels = num_channels
        self.body = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(3, widths[0], kernel_size=3, stride=2, padding=1, bias=False),
                "bn1": SyncBatchNorm2d(widths[0]),
                "layer1": ResidualBlock(widths[0], widths[0], stride=2),
                "layer2": ResidualBlock(widths[0], widths[1], stride=2),
                "layer3": ResidualBlock(widths[1], widths[2], stride=1),
            }
        )

    def forward(self, samples: NestedTensor) -> NestedTensor:
        """``(B, 3, H, W)`` to features ``(B, C, ceil(H / 8), ceil(W / 8))`` and their mask."""
        # What is picked by slices is made contiguous here and below: of other strides, an exported model would take for
        # granted what happened to hold for the sizes of its example.
        mask = samples.mask[:, ::2, ::2].contiguous()
        x = self.body["bn1"](self.body["conv1"](samples.tensors))
        x = zero_padding(x, mask, samples.padded).relu_()
        for layer in ("layer1", "layer2", "layer3"):
            block = self.body[layer]
            mask = mask[:, :: block.stride, :: block.stride].contiguous()
            x = block(x, mask, samples.padded)
        return NestedTensor(x, mask, samples.padded)


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

    def forward(self, x: Tensor, mask: Tensor, padded: bool) -> Tensor:
        """``(B, C_in, h, w)`` to ``(B, C_out, h / stride, w / stride)``; ``mask`` is that of the output."""
        y = zero_padding(self.bn1(self.conv1(x)), mask, padded).relu_()
        # Cells are picked here, not by a stride of the 1x1 convolution. The numbers are the same, but for few channels
        # in channels_last the backward pass of PyTorch 2.14 on a CPU writes outside its memory.
        picked = x[:, :, :: self.stride, :: self.stride].contiguous(memory_format=torch.channels_last)
        y = self.bn2(self.conv2(y)) + self.downsample(picked)
        return zero_padding(y, mask, padded).relu_()


def zero_padding(x: Tensor, mask: Tensor, padded: bool) -> Tensor:
    """Set the padded cells of ``x`` ``(B, C, h, w)`` to zero where ``mask`` ``(B, h, w)`` says so, in place."""
    # Not masked_fill, whose forward or (in place) backward turns channels_last into the usual layout.
    return x.mul_(~mask[:, None]) if padded else x
