"""Masks for DETR: where each slot looks in the encoder's memory, made finer with the backbone's maps.

Carion et al. 2020, section 4.4 and figure 8.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from detr_mini.modeling.config import DETRConfig
from detr_mini.modeling.detr import DETR, postprocess
from detr_mini.modeling.export import Deployable
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.modeling.norm import GroupNorm

THRESHOLD = 0.85  # a slot that is less sure of its class has no segment
SMALLEST = 4  # a segment of so many pixels or fewer is dropped
GROUPS = 8  # of the head's norms, or as many as divide their channels


class DETRSegmentation(Deployable):
    """DETR with a mask for each slot. Parameters have the published names and shapes.

    With a small body, what is padded has no influence on a picture. With a ResNet it has, as in the published model:
    through the convolutions, and through the head's group norms, whose statistics count padded cells.
    """

    def __init__(self, config: DETRConfig) -> None:
        super().__init__()
        self.config = config
        self.detr = DETR(config)
        d, channels = config.hidden_dim, cast(list[int], self.detr.backbone[0].num_channels)
        self.bbox_attention = AttentionMap(d, config.nheads)
        self.mask_head = MaskHead(d, config.nheads, channels[-2::-1])

    @property
    def class_names(self) -> dict[int, str]:
        """Category id to name, where the training data had them."""
        return self.detr.class_names

    @class_names.setter
    def class_names(self, names: dict[int, str]) -> None:
        self.detr.class_names = names

    @property
    def backbone(self) -> nn.ModuleList:
        """The detector's."""
        return self.detr.backbone

    def forward(self, samples: NestedTensor | Sequence[Tensor] | Tensor) -> dict[str, Any]:
        """Detect objects and their masks.

        Args:
            samples: normalized images: a :class:`.NestedTensor`, a list of ``(3, H, W)``, or a tensor ``(B, 3, H, W)``.

        Returns:
            What :class:`.DETR` returns, and ``pred_masks`` ``(B, N, h, w)``: a logit for each cell of the finest map,
            of stride 4 with a ResNet and 2 with the small body.
        """
        if not isinstance(samples, NestedTensor):
            samples = NestedTensor.from_images(samples)
        outputs, seen = self.detr.detect(samples)
        *finer, last = seen.levels
        h, w = last.tensors.shape[-2:]
        memory = seen.memory.transpose(1, 2).unflatten(2, (h, w))  # (B, d, h, w)
        maps = self.bbox_attention(seen.slots, memory, last.padding_mask)  # (B, N, M, h, w)
        clean = self.config.backbone == "small"
        masks = [level.padding_mask if clean else None for level in (last, *reversed(finer))]
        return outputs | {"pred_masks": self.mask_head(seen.cells, maps, [x.tensors for x in reversed(finer)], masks)}

    def postprocess(self, outputs: dict[str, Any], sizes: Tensor) -> list[dict[str, Tensor]]:
        """Turn outputs of this model into detections, without their masks: see :func:`.detr.postprocess`."""
        return postprocess(outputs, sizes)


class AttentionMap(nn.Module):
    """How much each slot attends to each cell: queries and keys of attention with several heads, and no values."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(d, d)
        self.k_linear = nn.Linear(d, d)
        for linear in (self.q_linear, self.k_linear):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, slots: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Slots ``(B, N, d)`` and memory ``(B, d, h, w)`` to maps ``(B, N, M, h, w)``.

        The maps of a slot's M heads together sum to 1, as published. ``mask`` ``(B, h, w)`` is True at padding, or
        None where nothing is padded; padding gets 0.
        """
        q = self.q_linear(slots).unflatten(-1, (self.heads, -1))  # (B, N, M, D)
        k = F.conv2d(memory, self.k_linear.weight[..., None, None], self.k_linear.bias)
        k = k.unflatten(1, (self.heads, -1))  # (B, M, D, h, w)
        scores = torch.einsum("bnmd,bmdhw->bnmhw", q * q.shape[-1] ** -0.5, k)
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None], -torch.inf)
        return scores.flatten(2).softmax(-1).view_as(scores)


class MaskHead(nn.Module):
    """From a slot's attention maps to its mask: five convolutions, and the backbone's maps on the way up.

    Args:
        d: width of the cells.
        heads: attention heads, M.
        channels: of the three maps of the backbone before its last, the coarsest first.
    """

    def __init__(self, d: int, heads: int, channels: Sequence[int]) -> None:
        super().__init__()
        widths = [d + heads, d + heads, d // 2, d // 4, d // 8, d // 16]
        layers = itertools.starmap(_convolution, itertools.pairwise(widths))
        self.lay1, self.lay2, self.lay3, self.lay4, self.lay5 = layers
        norms = (GroupNorm(math.gcd(GROUPS, width), width) for width in widths[1:])
        self.gn1, self.gn2, self.gn3, self.gn4, self.gn5 = norms
        self.out_lay = _convolution(widths[-1], 1)
        adapters = (_convolution(a, b, size=1) for a, b in zip(channels, widths[2:5], strict=True))
        self.adapter1, self.adapter2, self.adapter3 = adapters

    def forward(self, cells: Tensor, maps: Tensor, finer: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Tensor:
        """A logit for every cell of the finest map, ``(B, N, H, W)``.

        Args:
            cells: ``(B, d, h, w)``, the last map of the backbone at the transformer's width.
            maps: ``(B, N, M, h, w)``, where the slots attend.
            finer: the three maps of the backbone before its last, ``(B, C, h, w)``, the coarsest first.
            masks: of all four maps, ``(B, h, w)``, True at padding that is to be kept at 0; or None.
        """
        b, n = maps.shape[:2]
        cells = _cleared(cells, masks[0])
        masks = [None if mask is None else mask.repeat_interleave(n, dim=0) for mask in masks]  # (B * N, h, w)
        x = _normed(self.gn1, self._first(cells, maps), masks[0])  # (B * N, C, h, w)
        x = _normed(self.gn2, self.lay2(x), masks[0])
        steps = (
            (self.adapter1, self.lay3, self.gn3),
            (self.adapter2, self.lay4, self.gn4),
            (self.adapter3, self.lay5, self.gn5),
        )
        for (adapter, layer, norm), level, mask in zip(steps, finer, masks[1:], strict=True):
            detail = adapter(level)  # (B, C, h, w), once and not for each slot
            x = F.interpolate(x, size=detail.shape[-2:], mode="nearest").unflatten(0, (b, n))
            x = _cleared((x + detail[:, None]).flatten(0, 1), mask)
            x = _normed(norm, layer(x), mask)
        return self.out_lay(x).view(b, n, *x.shape[-2:])  # type: ignore[no-any-return]

    def _first(self, cells: Tensor, maps: Tensor) -> Tensor:
        """The first convolution over cells and maps, ``(B * N, C, h, w)``.

        A convolution adds up over its inputs. What it adds of the cells is the same for all slots of an image, and is
        made once.
        """
        shared, weight = cells.shape[1], self.lay1.weight
        of_cells = F.conv2d(cells, weight[:, :shared], self.lay1.bias, padding=1)  # (B, C, h, w)
        of_maps = F.conv2d(maps.flatten(0, 1), weight[:, shared:], padding=1)  # (B * N, C, h, w)
        return (of_cells[:, None] + of_maps.unflatten(0, maps.shape[:2])).flatten(0, 1)


def _convolution(a: int, b: int, size: int = 3) -> nn.Conv2d:
    convolution = nn.Conv2d(a, b, size, padding=size // 2)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


def _normed(norm: GroupNorm, x: Tensor, mask: Tensor | None) -> Tensor:
    """Norm and ReLU of ``(B * N, C, h, w)``, with padding at 0."""
    return _cleared(norm(x, mask).relu(), mask)


def _cleared(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` ``(B, C, h, w)`` with zeros where ``mask`` ``(B, h, w)`` is True."""
    return x if mask is None else x * ~mask[:, None]


@torch.no_grad()
def postprocess_panoptic(
    outputs: dict[str, Any],
    processed_sizes: Tensor,
    sizes: Tensor,
    is_thing: Mapping[int, bool],
    threshold: float = THRESHOLD,
    padded_size: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Turn masks that overlap into one segment for every pixel (DETR, section 4.4), as published.

    Of the slots that are sure of a class, each pixel goes to that whose mask has the highest logit there. Slots of the
    same kind of stuff become one segment. Segments of at most 4 pixels are dropped, and their pixels go to the others;
    this joins no stuff any more, so that a slot of stuff that was joined counts as dropped.

    Args:
        outputs: what the model returned.
        processed_sizes: ``(B, 2)``, height and width of each image as the model saw it, without padding.
        sizes: ``(B, 2)``, those of each original image.
        is_thing: for each category id, whether its objects are counted (a thing) or not (stuff).
        threshold: a slot that is less sure of its class has no segment.
        padded_size: height and width of the batch, of which the masks of smaller images are cut out. None, as
            published: the masks show the image alone.

    Returns:
        For each image ``ids`` ``(H, W)`` int64, the segment of every pixel, and ``segments``, for each ``id``,
        ``isthing``, ``category_id`` and ``area`` in pixels. Where no slot is sure, all ids are 0 and there is no
        segment.

    Raises:
        ValueError: a class that ``is_thing`` does not know.
    """
    scores, labels = outputs["pred_logits"].float().softmax(-1).max(-1)  # (B, N)
    kept = (labels != outputs["pred_logits"].shape[-1] - 1) & (scores > threshold)
    results = []
    for mask, label, keep, seen, size in zip(
        outputs["pred_masks"].float(), labels, kept, processed_sizes.tolist(), sizes.tolist(), strict=True
    ):
        classes = label[keep].tolist()
        if unknown := set(classes) - is_thing.keys():
            raise ValueError(f"is_thing says of category {min(unknown)} neither True nor False")
        logits = at_size(mask[keep], seen, padded_size)  # (n, h, w)
        results.append(_segments(logits, classes, size, is_thing))
    return results


def at_size(masks: Tensor, size: Sequence[int], padded_size: Sequence[int] | None = None) -> Tensor:
    """Masks ``(n, h, w)`` at the height and width of their image, ``(n, H, W)``, cut out of those of a padded batch."""
    if not len(masks):
        return masks.new_zeros(0, *size)
    whole = F.interpolate(masks[None], tuple(padded_size or size), mode="bilinear", align_corners=False)[0]
    return whole[:, : size[0], : size[1]]


def _segments(logits: Tensor, classes: list[int], size: Sequence[int], is_thing: Mapping[int, bool]) -> dict[str, Any]:
    """The segments of one image, from the logits ``(n, h, w)`` of those slots that are sure of a class."""
    first: dict[int, int] = {}  # of each kind of stuff, the slot that stands for all
    owner = [k if is_thing[label] else first.setdefault(label, k) for k, label in enumerate(classes)]
    while True:
        ids = _best(logits, owner, size)
        areas = torch.bincount(ids.flatten(), minlength=len(classes)).tolist() if classes else []
        keep = [k for k, area in enumerate(areas) if area > SMALLEST]
        if len(keep) == len(classes):
            break
        logits, classes = logits[keep], [classes[k] for k in keep]
        owner = list(range(len(keep)))
    segments = [
        {"id": k, "isthing": is_thing[label], "category_id": label, "area": areas[k]} for k, label in enumerate(classes)
    ]
    return {"ids": ids, "segments": segments}


def _best(logits: Tensor, owner: Sequence[int], size: Sequence[int]) -> Tensor:
    """For every pixel of the original image, the slot with the highest logit or who stands for it, ``(H, W)``."""
    if not len(logits):
        return torch.zeros(tuple(size), dtype=torch.int64, device=logits.device)
    ids = torch.tensor(owner, device=logits.device)[logits.argmax(0)]  # (h, w)
    # By Pillow, as published: where a pixel lies just between two others, PyTorch takes the other one.
    image = Image.fromarray(ids.cpu().numpy().astype(np.int32)).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(image)).long().to(ids.device)
