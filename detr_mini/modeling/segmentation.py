"""Masks for DETR: where each slot looks in the encoder's memory, made finer with the backbone's maps.

Carion et al. 2020, section 4.4 and figure 8. Chapter: *Panoptic segmentation*, ``book/21_panoptic``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from detr_mini.modeling.config import DETRConfig
from detr_mini.modeling.detr import DETR, Seen, postprocess
from detr_mini.modeling.export import Deployable
from detr_mini.modeling.mask_head import AttentionMap, MaskHead
from detr_mini.modeling.nested_tensor import NestedTensor

THRESHOLD = 0.85  # a slot that is less sure of its class has no segment
SMALLEST = 4  # a segment of so many pixels or fewer is dropped


class DETRSegmentation(Deployable):
    """DETR with a mask for each slot. Parameters have the published names and shapes.

    With a small body, what is padded has no influence on a picture. With a ResNet it has, as in the published model:
    through the convolutions, and through the head's group norms, whose statistics count padded cells.
    """

    def __init__(self, config: DETRConfig) -> None:
        super().__init__()
        self.config = config
        self.class_names: dict[int, str] = {}  # category id to name, where the training data had them
        self.detr = DETR(config)
        d, channels = config.hidden_dim, cast(list[int], self.detr.backbone[0].num_channels)
        self.bbox_attention = AttentionMap(d, config.nheads)
        self.mask_head = MaskHead(d, config.nheads, channels[-2::-1])

    @property
    def backbone(self) -> nn.ModuleList:
        """The detector's."""
        return self.detr.backbone

    def freeze_detector(self) -> None:
        """Let the mask head alone learn, as published: the detector keeps its weights, and evaluation mode."""
        self.detr.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; a frozen detector stays in evaluation mode."""
        super().train(mode)
        self.detr.train(mode and self.detr.query_embed.weight.requires_grad)
        return self

    def forward(self, samples: NestedTensor | Sequence[Tensor] | Tensor) -> dict[str, Any]:
        """Detect objects and their masks.

        Args:
            samples: normalized images: a :class:`.NestedTensor`, a list of ``(3, H, W)``, or a tensor ``(B, 3, H, W)``.

        Returns:
            What :class:`.DETR` returns, and ``pred_masks`` ``(B, N, h, w)``: a logit for each cell of the finest map,
            of stride 4 with a ResNet and 2 with the small body. In training mode they are :class:`SlotMasks`.
        """
        if not isinstance(samples, NestedTensor):
            samples = NestedTensor.from_images(samples)
        outputs, seen = self.detr.detect(samples)
        masks = SlotMasks(self, seen)
        return outputs | {"pred_masks": masks if self.training else masks.all()}

    @torch.no_grad()
    def postprocess(
        self,
        outputs: dict[str, Any],
        sizes: Tensor,
        processed_sizes: Tensor | None = None,
        padded_size: tuple[int, int] | None = None,
    ) -> list[dict[str, Tensor]]:
        """Turn outputs of this model into detections: see :func:`.detr.postprocess`.

        A pixel is in a mask if the probability there is above one half, once the logits were resized to the original
        image. Published is the other order: a threshold at the size of the batch, then the nearest pixel.

        Args:
            outputs: what the model returned.
            sizes: ``(B, 2)``, height and width of each original image in pixels.
            processed_sizes: ``(B, 2)``, those of each image as the model saw it, without padding. None: no masks.
            padded_size: height and width of the batch; None where nothing is padded.

        Returns:
            For each image ``scores`` ``(N,)``, ``labels`` ``(N,)``, ``boxes`` ``(N, 4)`` as xyxy in pixels, and with
            ``processed_sizes`` ``masks`` ``(N, H, W)`` bool at the size of the original image.
        """
        found = postprocess(outputs, sizes)
        if processed_sizes is None:
            return found
        for one, logits, seen, size in zip(
            found, outputs["pred_masks"].float(), processed_sizes.tolist(), sizes.tolist(), strict=True
        ):
            one["masks"] = at_size(at_size(logits, seen, padded_size), size) > 0  # a logit of 0 is one half
        return found


class SlotMasks:
    """The masks of a batch, made when they are asked for.

    Most slots see no object, and their masks are not trained. A step that makes the others alone takes a third of the
    time.
    """

    def __init__(self, model: DETRSegmentation, seen: Seen) -> None:
        *finer, last = seen.levels
        h, w = last.tensors.shape[-2:]
        memory = seen.memory.transpose(1, 2).unflatten(2, (h, w))  # (B, d, h, w)
        self.maps = model.bbox_attention(seen.slots, memory, last.padding_mask)  # (B, N, M, h, w)
        self.head = model.mask_head
        self.cells = seen.cells
        self.finer = [level.tensors for level in reversed(finer)]
        clean = model.config.backbone == "small"
        self.masks = [level.padding_mask if clean else None for level in (last, *reversed(finer))]

    def all(self) -> Tensor:
        """Those of every slot, ``(B, N, h, w)``."""
        masks = self.head(self.cells, self.maps.flatten(0, 1), None, self.finer, self.masks)
        return masks.unflatten(0, self.maps.shape[:2])  # type: ignore[no-any-return]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Those of some slots, ``(S, h, w)``, which ``index`` ``(S,)`` counts through the batch: image * N + slot."""
        image = index // self.maps.shape[1]
        return self.head(self.cells, self.maps.flatten(0, 1)[index], image, self.finer, self.masks)  # type: ignore[no-any-return]


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
