"""Colors and zoom of photographs: the size of a picture stays, and boxes stay on their objects."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors

from detr_mini.data.augmentation import RandomZoom, _seen, photo_augmentation
from detr_mini.data.transforms import train_transforms

SIZE = (60, 90)
CORNERS = (20.0, 15.0, 50.0, 40.0)


def example() -> tuple[Tensor, dict[str, Tensor]]:
    """A black picture with a white object, whose box it fills, and its mask."""
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    left, top, right, bottom = map(int, CORNERS)
    mask[:, top:bottom, left:right] = True
    image = tv_tensors.Image((255 * mask).byte().expand(3, -1, -1).clone())
    boxes = tv_tensors.BoundingBoxes([CORNERS], format="XYXY", canvas_size=SIZE)  # type: ignore[call-overload]
    target = {"boxes": boxes, "labels": torch.tensor([3]), "area": torch.tensor([750.0])}
    return image, target | {"iscrowd": torch.tensor([0]), "masks": tv_tensors.Mask(mask)}


@given(st.integers(0, 2**31))
def test_a_zoom_keeps_boxes_and_masks_on_their_objects(seed: int) -> None:
    torch.manual_seed(seed)
    before, known = example()
    image, target = RandomZoom()(*example())
    assert image.shape == (3, *SIZE)
    assert image.dtype == torch.uint8
    per_object = {name: len(target[name]) for name in ("labels", "area", "iscrowd", "masks", "boxes")}
    assert len(set(per_object.values())) == 1
    if not len(target["boxes"]):
        assert (image > 200).float().mean() < 0.25 * 750 * 1.7**2 / (60 * 90), "little of it is left"
        return
    box = target["boxes"][0].tolist()
    for seen in ((image > 180).all(0), target["masks"][0]):
        rows, columns = (seen.any(axis).nonzero().flatten() for axis in (1, 0))
        edges = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        assert box == pytest.approx(edges, abs=1.7)
    assert known["boxes"].tolist() == [list(CORNERS)], "what came in stays as it was"
    assert before.equal(example()[0])


def test_a_zoom_goes_both_ways_and_leaves_half_alone() -> None:
    sides, alone = [], 0
    for seed in range(200):
        torch.manual_seed(seed)
        _, target = RandomZoom()(*example())
        for x0, _, x1, _ in target["boxes"].tolist():
            alone += (x0, x1) == (CORNERS[0], CORNERS[2])
            if x0 > 0 and x1 < SIZE[1]:
                sides.append((x1 - x0) / 30)
    assert 80 < alone < 125
    assert min(sides) == pytest.approx(0.6, abs=0.03)
    assert max(sides) == pytest.approx(1.6, abs=0.1)


def test_an_object_that_is_cut_off_goes() -> None:
    gone = 0
    for seed in range(300):
        torch.manual_seed(seed)
        image, target = example()
        corner = torch.tensor([[0.0, 0.0, 8.0, 6.0]])
        target["boxes"] = tv_tensors.wrap(corner, like=target["boxes"])
        _, target = RandomZoom()(image, target)
        gone += not len(target["boxes"])
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
    assert 25 < gone < 150


def test_an_object_needs_a_quarter_of_its_box() -> None:
    boxes = torch.tensor([[0.0, 0.0, 100.0, 10.0], [30.0, 0.0, 130.0, 10.0], [60.0, 2.0, 70.0, 8.0]])
    seen, kept = _seen(boxes, top=0, left=74, height=20, width=40)  # 26, 40 and none of the widths of 100 and 10
    assert kept.tolist() == [True, True, False]
    assert seen[:2].tolist() == [[0, 0, 26, 10], [0, 0, 40, 10]]
    assert _seen(boxes, top=0, left=76, height=20, width=40)[1].tolist() == [False, True, False]


def test_a_picture_without_objects_can_be_varied() -> None:
    image, target = example()
    for name in target:
        target[name] = target[name][:0]
    for seed in range(8):
        torch.manual_seed(seed)
        x, y = image, target
        for part in photo_augmentation():
            x, y = part(x, y)
        assert len(y["boxes"]) == 0


def test_training_varies_colors_only_where_asked() -> None:
    def looks(augment: bool) -> set[float]:
        seen = set()
        for seed in range(12):
            torch.manual_seed(seed)
            image, target = example()
            image[:] = 100
            target.pop("masks")
            varied, _ = train_transforms(None, 200, augment=augment)(image, target)
            seen.add(round(float(varied[0, 30, 45]), 3))
        return seen

    assert len(looks(False)) == 1
    assert len(looks(True)) > 5
