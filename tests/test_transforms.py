"""The transforms: boxes and masks follow the picture, whatever is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from detr_mini.data import (
    PAPER_SIZES,
    NormalizeBoxes,
    RandomSizeCrop,
    Target,
    denormalise,
    eval_transforms,
    train_transforms,
)
from detr_mini.data.transforms import RandomFlip, ResizeShort, _crop_sizes

SIDES = st.integers(16, 700)
SEEDS = st.integers(0, 2**31)


def sample(size: tuple[int, int], boxes: list[list[int]]) -> tuple[Tensor, Target]:
    """A black picture of `size` (height, width) with a white rectangle, and a mask, for every box xyxy."""
    image = torch.zeros(3, *size, dtype=torch.uint8)
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        image[:, y0:y1, x0:x1] = 255
        mask[y0:y1, x0:x1] = True
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    target: Target = {
        "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size),  # type: ignore[call-overload]
        "labels": torch.arange(1, len(boxes) + 1),
        "area": torch.arange(1.0, len(boxes) + 1),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
        "image_id": torch.tensor(7),
        "orig_size": torch.tensor(size),
        "size": torch.tensor(size),
        "masks": tv_tensors.Mask(masks),
    }
    return tv_tensors.Image(image), target


def corners(target: Target, image: Tensor) -> Tensor:
    """The boxes of a transformed target as xyxy in the pixels of its picture, (T, 4)."""
    cx, cy, w, h = target["boxes"].unbind(1)
    height, width = image.shape[1:]
    x0, y0, x1, y1 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    return torch.stack([x0 * width, y0 * height, x1 * width, y1 * height], dim=1)


def extent(bright: Tensor) -> list[int]:
    """The corners, xyxy, of what is True in (H, W)."""
    rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def test_without_sizes_only_flip_and_normalize() -> None:
    image, target = sample((30, 40), [[4, 6, 14, 21]])
    image[0, 10, 5] = 51
    for seed in range(8):
        torch.manual_seed(seed)
        result, new = train_transforms(None)(image, target)
        x = 5 if new["boxes"][0, 0] < 0.5 else 34
        torch.testing.assert_close(result[0, 10, x], torch.tensor((51 / 255 - 0.485) / 0.229))
        cx = 9 / 40 if x == 5 else 1 - 9 / 40
        torch.testing.assert_close(new["boxes"], torch.tensor([[cx, 13.5 / 30, 10 / 40, 15 / 30]]))


def test_flips_half_of_the_time() -> None:
    image, target = sample((8, 8), [[0, 0, 2, 8]])
    torch.manual_seed(0)
    flipped = [train_transforms(None)(image, target)[1]["boxes"][0, 0].item() > 0.5 for _ in range(200)]
    assert 70 < sum(flipped) < 130


def test_two_flips_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_: torch.zeros(1))  # the draw that flips
    image, target = sample((31, 45), [[4, 6, 14, 21], [0, 0, 45, 31], [44, 30, 45, 31]])
    image[:, 2, 3] = 7
    once_image, once = RandomFlip()(image, target)
    assert once["boxes"].tolist()[0] == [31, 6, 41, 21]
    assert once_image[:, 2, 41].tolist() == [7, 7, 7]
    twice_image, twice = RandomFlip()(once_image, once)
    assert torch.equal(twice_image, image)
    assert torch.equal(twice["boxes"], target["boxes"])
    assert torch.equal(twice["masks"], target["masks"])


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, height=st.integers(100, 700), width=st.integers(100, 700), data=st.data())
def test_boxes_and_masks_follow_the_picture(seed: int, height: int, width: int, data: st.DataObject) -> None:
    x0 = data.draw(st.integers(0, width - 8))
    y0 = data.draw(st.integers(0, height - 8))
    x1 = data.draw(st.integers(x0 + 8, width))
    y1 = data.draw(st.integers(y0 + 8, height))
    torch.manual_seed(seed)
    image, target = train_transforms(PAPER_SIZES)(*sample((height, width), [[x0, y0, x1, y1]]))
    shown = torch.as_tensor(denormalise(image))[..., 0] > 127
    blur = 2 + 600 / min(height, width) * 800 / 384  # a pixel of the original, as large as the resizes can make it
    if min(shown.any(0).sum(), shown.any(1).sum()) <= 2 * blur:
        return  # the crop left a sliver
    found = torch.tensor([extent(shown)], dtype=torch.float32)
    torch.testing.assert_close(corners(target, image), found, rtol=0, atol=blur)
    seen = torch.tensor([extent(target["masks"][0])], dtype=torch.float32)
    torch.testing.assert_close(seen, found, rtol=0, atol=blur)


@given(seed=SEEDS, x0=st.integers(0, 49), y0=st.integers(0, 39), w=st.integers(1, 50), h=st.integers(1, 40))
def test_crop_is_exact_to_the_pixel(seed: int, x0: int, y0: int, w: int, h: int) -> None:
    torch.manual_seed(seed)
    image, target = RandomSizeCrop(10, 45)(*sample((40, 50), [[x0, y0, min(x0 + w, 50), min(y0 + h, 40)]]))
    assert torch.equal(target["masks"][0], image[0] == 255)
    if image.any():
        assert target["boxes"][0].tolist() == extent(image[0] == 255)
    else:
        left, top, right, bottom = target["boxes"][0].tolist()
        assert left == right or top == bottom


def test_boxes_at_the_border_survive_every_resize() -> None:
    torch.manual_seed(0)
    for side in range(97, 107):
        for size in (48, 63, 77, 480):
            transforms = train_transforms([size])
            assert len(transforms(*sample((side, side), [[0, 0, side, side]]))[1]["boxes"]) == 1


@settings(deadline=None, max_examples=40)
@given(
    seed=SEEDS,
    height=SIDES,
    width=SIDES,
    fractions=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=6),
)
def test_boxes_stay_sound_under_training(
    seed: int, height: int, width: int, fractions: list[tuple[float, float, float, float]]
) -> None:
    boxes = [
        [int(a * (width - 1)), int(b * (height - 1)), width - int(c * a * 5), height - int(d * b * 5)]
        for a, b, c, d in fractions
    ]
    boxes = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
    torch.manual_seed(seed)
    image, target = train_transforms(PAPER_SIZES)(*sample((height, width), boxes))
    kept = len(target["boxes"])
    assert len(target["labels"]) == len(target["area"]) == len(target["iscrowd"]) == len(target["masks"]) == kept
    assert target["area"].tolist() == target["labels"].tolist()  # those of the same objects
    assert target["boxes"].shape == (kept, 4)
    assert (target["boxes"][:, 2:] > 0).all()
    xyxy = corners(target, image) / torch.tensor([*image.shape[1:]]).flip(0).repeat(2)
    assert (xyxy >= -1e-6).all()
    assert (xyxy <= 1 + 1e-6).all()
    assert target["size"].tolist() == list(image.shape[1:])
    assert target["orig_size"].tolist() == [height, width]
    assert int(target["image_id"]) == 7


def test_result_is_plain_float_tensors() -> None:
    image, target = train_transforms([32])(*sample((40, 50), [[4, 4, 20, 20]]))
    assert type(image) is Tensor
    assert image.dtype == torch.float32
    assert all(type(value) is Tensor for value in target.values())
    assert target["labels"].dtype == torch.int64


def test_seed_fixes_the_result() -> None:
    transforms = train_transforms(PAPER_SIZES)
    inputs = sample((120, 160), [[10, 10, 90, 70], [100, 50, 150, 110]])

    def draw(seed: int) -> tuple[Tensor, Target]:
        torch.manual_seed(seed)
        return transforms(*inputs)

    first = [draw(seed) for seed in range(8)]
    again = [draw(seed) for seed in range(8)]
    for (image, target), (other_image, other) in zip(first, again, strict=True):
        assert torch.equal(image, other_image)
        assert torch.equal(target["boxes"], other["boxes"])
    assert len({tuple(image.shape) for image, _ in first}) > 4


def test_input_is_left_alone() -> None:
    image, target = sample((40, 50), [[4, 4, 20, 20]])
    before = {name: value.clone() for name, value in target.items()}
    train_transforms([32])(image, target)
    assert image.max() == 255
    assert all(torch.equal(value, target[name]) for name, value in before.items())


@pytest.mark.parametrize("size", [(100, 64), (700, 800), (900, 384)])
def test_crop_sides(size: tuple[int, int]) -> None:
    crop = RandomSizeCrop(384, 600)
    torch.manual_seed(0)
    drawn = []
    for _ in range(30):
        image = crop(tv_tensors.Image(torch.zeros(1, *size, dtype=torch.uint8)))
        drawn.append(image.shape[1:])
    for side, values in zip(size, zip(*drawn, strict=True), strict=True):
        assert min(side, 384) <= min(values)
        assert max(values) <= min(side, 600)
        assert side <= 384 or max(values) - min(values) > 100


def test_a_side_of_a_crop_has_every_length_between_its_ends() -> None:
    crop = RandomSizeCrop(5, 8)
    torch.manual_seed(0)
    drawn = [crop(tv_tensors.Image(torch.zeros(1, 6, 20, dtype=torch.uint8))).shape[1:] for _ in range(200)]
    heights, widths = map(set, zip(*drawn, strict=True))
    assert (heights, widths) == ({5, 6}, {5, 6, 7, 8})


def test_crop_window_is_drawn_over_the_whole_picture() -> None:
    pixels = torch.arange(12 * 20).reshape(1, 12, 20)
    torch.manual_seed(0)
    crops = [RandomSizeCrop(5, 5)(tv_tensors.Image(pixels)) for _ in range(400)]
    assert {int(crop[0, 0, 0]) // 20 for crop in crops} == set(range(8))
    assert {int(crop[0, 0, 0]) % 20 for crop in crops} == set(range(16))


def test_training_sizes() -> None:
    transforms = train_transforms([48, 64], max_size=100)
    torch.manual_seed(0)
    shapes = [transforms(*sample((60, 90), []))[0].shape[1:] for _ in range(60)]
    assert {min(shape) for shape in shapes if max(shape) < 100} == {48, 64}
    assert max(max(shape) for shape in shapes) <= 100
    assert len({max(shape) / min(shape) for shape in shapes}) > 5  # the crops change the proportions


@pytest.mark.parametrize(
    ("size", "expected"), [((480, 640), (800, 1066)), ((640, 480), (1066, 800)), ((300, 900), (444, 1333))]
)
def test_eval_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image, target = eval_transforms(800)(*sample(size, [[30, 60, 90, 120]]))
    assert tuple(image.shape[1:]) == expected
    h, w = size
    torch.testing.assert_close(target["boxes"], torch.tensor([[60 / w, 90 / h, 60 / w, 60 / h]]), rtol=0, atol=2e-3)
    assert target["size"].tolist() == list(expected)


def test_eval_without_size_keeps_the_picture() -> None:
    image, target = sample((30, 40), [[4, 6, 14, 21]])
    result, new = eval_transforms(None)(image, target)
    assert np.array_equal(denormalise(result), image.permute(1, 2, 0).numpy())
    torch.testing.assert_close(new["boxes"], torch.tensor([[9 / 40, 13.5 / 30, 10 / 40, 15 / 30]]))


@pytest.mark.parametrize("size", [0, -3, 101])
def test_size_beyond_the_maximum_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size {size} .*max_size 100"):
        eval_transforms(size, max_size=100)
    with pytest.raises(ValueError, match=f"size {size} .*max_size 100"):
        train_transforms([50, size], max_size=100)


def test_normalize_boxes_by_hand() -> None:
    _, target = NormalizeBoxes()(*sample((10, 20), [[0, 0, 20, 10], [5, 2, 10, 6]]))
    torch.testing.assert_close(target["boxes"], torch.tensor([[0.5, 0.5, 1, 1], [0.375, 0.4, 0.25, 0.4]]))


def test_denormalise_undoes_the_normalisation() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).reshape(3, 16, 16)
    image, _ = eval_transforms(None)(tv_tensors.Image(pixels), sample((16, 16), [])[1])
    shown = denormalise(image)
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, pixels.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("size", "expected"), [((100, 200), (50, 100)), ((90, 60), (90, 60)), ((1000, 3), (100, 1))])
def test_without_size_only_larger_pictures_shrink(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image, target = sample(size, [[0, 0, size[1] // 2, size[0]]])
    result, new = eval_transforms(None, max_size=100)(image, target)
    assert tuple(result.shape[1:]) == tuple(new["size"].tolist()) == tuple(new["masks"].shape[1:]) == expected
    torch.testing.assert_close(new["boxes"][0, 2:], torch.tensor([size[1] // 2 / size[1], 1.0]))


def test_an_image_alone_is_prepared_like_one_with_its_target() -> None:
    image, target = sample((60, 90), [[10, 20, 30, 50]])
    for transform in (eval_transforms(None, max_size=50), eval_transforms(48)):
        alone = transform(image)
        assert type(alone) is Tensor
        assert torch.equal(alone, transform(image, target)[0])


def plain_train_transforms(sizes: tuple[int, ...] | None, max_size: int) -> v2.Compose:
    """The same augmentation from torchvision's own parts: slower on small pictures, and unable to take thin strips."""
    steps = [v2.RandomHorizontalFlip()]
    if sizes is not None:
        resize = v2.RandomChoice([v2.Resize(size, max_size=max_size) for size in sizes])
        before_crop = v2.RandomChoice([v2.Resize(size) for size in (38, 48, 58)])  # 400, 500, 600 of 800, here of 77
        steps.append(v2.RandomChoice([resize, v2.Compose([before_crop, RandomSizeCrop(37, 58), resize])]))
        steps.append(v2.ClampBoundingBoxes())
        steps.append(v2.SanitizeBoundingBoxes(labels_getter=lambda s: [s[1][n] for n in ("labels", "area", "iscrowd")]))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    return v2.Compose([*steps, v2.ConvertBoundingBoxFormat("CXCYWH")])


@pytest.mark.parametrize("sizes", [None, (48, 77)])
@settings(max_examples=30)
@given(seed=SEEDS, height=st.integers(20, 90), width=st.integers(20, 90))
def test_fast_steps_give_what_torchvision_gives(
    sizes: tuple[int, ...] | None, seed: int, height: int, width: int
) -> None:
    inputs = sample((height, width), [[0, 0, width, height], [2, 3, 17, 19]])
    inputs[0][:, 5] = torch.arange(width, dtype=torch.uint8) * 2
    torch.manual_seed(seed)
    image, target = train_transforms(sizes, max_size=100)(*inputs)
    torch.manual_seed(seed)
    expected, plain = plain_train_transforms(sizes, 100)(*inputs)
    assert torch.equal(image, expected)
    scale = torch.tensor(image.shape[1:]).flip(0).repeat(2)
    assert torch.equal(target["boxes"], plain["boxes"].as_subclass(Tensor) / scale)
    for name in ("labels", "area", "iscrowd", "masks"):
        assert torch.equal(target[name], plain[name])


@given(size=st.integers(1, 900), more=st.integers(1, 900), height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_sizes_are_those_of_torchvision(size: int, more: int, height: int, width: int) -> None:
    from torchvision.transforms.functional import _compute_resized_output_size

    expected = _compute_resized_output_size((height, width), [size], size + more)
    assert list(ResizeShort(size, size + more).new_size(height, width)) == expected


def test_the_sides_of_a_crop_change_in_proportion() -> None:
    assert _crop_sizes(800) == ([400, 500, 600], 384, 600), "as published"
    assert _crop_sizes(400) == ([200, 250, 300], 192, 300)


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (3, 4000), (1, 1), (65_000, 20)])
def test_thin_strips_keep_their_boxes_and_fit_memory(size: tuple[int, int]) -> None:
    height, width = size
    inputs = sample(size, [[0, 0, width, height]])
    del inputs[1]["masks"]
    torch.manual_seed(0)
    for transforms in [eval_transforms(800), eval_transforms(None), train_transforms(None)] + [
        train_transforms(PAPER_SIZES) for _ in range(6)
    ]:
        image, target = transforms(*inputs)
        assert min(image.shape) > 0
        assert image.isfinite().all()
        torch.testing.assert_close(target["boxes"], torch.tensor([[0.5, 0.5, 1, 1]]))
