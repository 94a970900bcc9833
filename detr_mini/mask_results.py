"""What a model with masks found, made ready to be compared: masks as run lengths, segments counted.

Chapter: *Panoptic segmentation*, ``book/21_panoptic``.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detr_mini.data import PanopticDataset
from detr_mini.data.rules import is_polygon
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.modeling.segmentation import DETRSegmentation, postprocess_panoptic
from detr_mini.panoptic_quality import Tally, compare_segments


def detections_with_masks(
    model: DETRSegmentation, samples: NestedTensor, outputs: dict[str, Any], sizes: Tensor
) -> Iterator[dict[str, Tensor]]:
    """The detections of each image of a batch with their masks, at its size of ``sizes`` ``(B, 2)``.

    Masks are made when an image is asked for, so that those of one are in memory and not those of a batch.
    """
    padded = _padded_size(samples)
    for index, (seen, size) in enumerate(zip(processed_sizes(samples), sizes, strict=True)):
        image = {name: outputs[name][index, None] for name in ("pred_logits", "pred_boxes", "pred_masks")}
        yield model.postprocess(image, size[None], seen[None], padded)[0]


def tallies_of_segments(
    model: DETRSegmentation,
    samples: NestedTensor,
    outputs: dict[str, Any],
    dataset: PanopticDataset,
    indices: Sequence[int],
) -> list[dict[int, Tally]]:
    """The segments of a batch, compared with those of images ``indices`` of the data set.

    Where the model does not know which of its categories are stuff, the data says so.
    """
    stuff = model.stuff or dataset.stuff
    is_thing = {number: number not in stuff for number in range(model.config.num_classes)}
    true = [dataset.panoptic(index) for index in indices]
    sizes = torch.tensor([one["ids"].shape for one in true])
    found = postprocess_panoptic(outputs, processed_sizes(samples), sizes, is_thing, padded_size=_padded_size(samples))
    return [compare_segments(*pair) for pair in zip(found, true, strict=True)]


def processed_sizes(samples: NestedTensor) -> Tensor:
    """Height and width of each picture of a batch, without what is padded, ``(B, 2)`` on the CPU."""
    image = ~samples.mask.cpu()
    return torch.stack([image[:, :, 0].sum(1), image[:, 0].sum(1)], dim=1)


def has_mask(annotation: Mapping[str, Any]) -> bool:
    """Whether an object is annotated with a mask, as polygons or run lengths."""
    mask = annotation.get("segmentation")
    if isinstance(mask, dict):
        return "counts" in mask
    return isinstance(mask, list) and mask != [] and all(map(is_polygon, mask))


def run_lengths(masks: Tensor) -> list[dict[str, Any]]:
    """Masks ``(N, H, W)`` bool as COCO stores them: the lengths of their runs, column by column."""
    from pycocotools import mask

    columns = masks.mT.contiguous().cpu().numpy().view(np.uint8)  # (N, W, H)
    return mask.encode(columns.T)  # type: ignore[no-any-return]  # takes (H, W, N), the height varying fastest


def _padded_size(samples: NestedTensor) -> tuple[int, int]:
    height, width = samples.tensors.shape[-2:]
    return height, width
