"""From overlapping masks to one segment a pixel, against a slow telling of the published steps."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from detr_mini import postprocess_panoptic

IS_THING = {0: True, 1: True, 2: False, 3: False}


def outputs_of(masks: Tensor, classes: list[int], sure: float = 9.0) -> dict[str, Tensor]:
    """What a model says that gives one image these masks ``(N, h, w)`` and classes; 4 is "no object"."""
    logits = torch.zeros(1, len(classes), 5)
    logits[0, torch.arange(len(classes)), torch.tensor(classes, dtype=torch.long)] = sure
    return {"pred_logits": logits, "pred_masks": masks[None], "pred_boxes": torch.zeros(1, len(classes), 4)}


def resized(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(ids.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST))


def told_slowly(masks: Tensor, classes: list[int], seen: tuple[int, int], size: tuple[int, int]) -> Any:
    """The published steps, pixel by pixel, for one image whose slots are all sure of what they see."""
    chosen = [k for k, label in enumerate(classes) if label != 4]
    classes = [classes[k] for k in chosen]
    big = [torch.nn.functional.interpolate(masks[k][None, None], seen, mode="bilinear")[0, 0].numpy() for k in chosen]
    joins = True
    while True:
        ids = np.zeros(seen, dtype=int)
        for y in range(seen[0]):
            for x in range(seen[1]):
                if big:
                    ids[y, x] = max(range(len(big)), key=lambda k: (big[k][y, x], -k))
        if joins:
            for label in (2, 3):
                same = [k for k, other in enumerate(classes) if other == label]
                for k in same:
                    ids[ids == k] = same[0]
        joins = False
        final = resized(ids, size)
        areas = [int((final == k).sum()) for k in range(len(classes))]
        small = [area <= 4 for area in areas]
        if not any(small):
            return final, [(k, label, area) for k, (label, area) in enumerate(zip(classes, areas, strict=True))]
        big = [one for one, drop in zip(big, small, strict=True) if not drop]
        classes = [one for one, drop in zip(classes, small, strict=True) if not drop]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    classes=st.lists(st.integers(0, 4), max_size=7),
    seen=st.tuples(st.integers(3, 17), st.integers(3, 17)),
    size=st.tuples(st.integers(2, 29), st.integers(2, 29)),
)
def test_it_is_what_the_slow_telling_says(
    seed: int, classes: list[int], seen: tuple[int, int], size: tuple[int, int]
) -> None:
    masks = torch.randn(len(classes), 4, 5, generator=torch.Generator().manual_seed(seed))
    (found,) = postprocess_panoptic(
        outputs_of(masks, classes), torch.tensor([seen]), torch.tensor([size]), IS_THING, threshold=0.5
    )
    ids, segments = told_slowly(masks, classes, seen, size)
    assert (found["ids"].numpy() == ids).all()
    assert [(s["id"], s["category_id"], s["area"]) for s in found["segments"]] == segments
    assert all(s["isthing"] == IS_THING[s["category_id"]] for s in found["segments"])


def halves() -> Tensor:
    """Two masks: the left half and the right half of 4 x 6 cells."""
    masks = torch.full((2, 4, 6), -5.0)
    masks[0, :, :3] = masks[1, :, 3:] = 5.0
    return masks


def segments_of(found: dict[str, Any]) -> list[tuple[int, int]]:
    return [(s["category_id"], s["area"]) for s in found["segments"]]


def test_two_things_stay_two_and_a_slot_that_is_not_sure_has_none() -> None:
    size = torch.tensor([[4, 6]])
    (found,) = postprocess_panoptic(outputs_of(halves(), [1, 1]), size, size, IS_THING)
    assert segments_of(found) == [(1, 12), (1, 12)]
    assert found["ids"].dtype == torch.int64
    (found,) = postprocess_panoptic(outputs_of(halves(), [1, 1], sure=2.0), size, size, IS_THING)
    assert segments_of(found) == []
    assert found["ids"].shape == (4, 6)
    assert not found["ids"].any()


def test_masks_of_a_padded_batch_are_cut_out() -> None:
    masks = torch.full((2, 8, 8), -5.0)
    masks[0, :, :2] = masks[1, :, 2:] = 5.0
    outputs = {key: value.expand(2, *value.shape[1:]) for key, value in outputs_of(masks, [0, 1]).items()}
    sizes = torch.tensor([[8, 8], [4, 4]])
    whole, part = postprocess_panoptic(outputs, sizes, sizes, IS_THING, padded_size=(8, 8))
    assert segments_of(whole) == [(0, 16), (1, 48)]
    assert segments_of(part) == [(0, 8), (1, 8)]


def test_a_class_that_is_neither_thing_nor_stuff() -> None:
    size = torch.tensor([[4, 6]])
    with pytest.raises(ValueError, match="is_thing says of category 3 neither True nor False"):
        postprocess_panoptic(outputs_of(halves(), [1, 3]), size, size, {1: True})
