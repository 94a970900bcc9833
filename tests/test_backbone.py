"""Backbones against torchvision and against convolutions written out."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from detr_mini import NestedTensor
from detr_mini.modeling.backbone import ResNetBackbone, SmallBackbone
from detr_mini.modeling.export import fold_batch_norms
from detr_mini.modeling.norm import FrozenBatchNorm2d


@pytest.fixture(scope="module")
def resnet18() -> ResNetBackbone:
    return random_statistics(ResNetBackbone("resnet18")).eval()


@pytest.fixture(scope="module")
def small() -> SmallBackbone:
    return random_statistics(SmallBackbone(16)).eval()


class EveryThirtySecond(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::32, ::32]


@pytest.fixture(scope="module")
def stride_only() -> ResNetBackbone:
    """The backbone with a body that costs nothing."""
    backbone = ResNetBackbone("resnet18")
    backbone.body = nn.ModuleDict({"layer4": EveryThirtySecond()})
    return backbone


def random_statistics(module: Any) -> Any:
    """Batch norms as after training, so that a test can see them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for norm in module.modules():
            if hasattr(norm, "running_var"):
                norm.weight.uniform_(0.5, 1.0)
                norm.bias.normal_(std=0.2)
                norm.running_mean.normal_(std=0.2)
                norm.running_var.uniform_(0.5, 1.5)
    return module


def images(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(3, h, w, generator=rng) for h, w in sizes]


def test_resnet_is_torchvisions_with_its_norms_frozen() -> None:
    ours = random_statistics(ResNetBackbone("resnet50")).eval()
    theirs = torchvision.models.resnet50(weights=None).eval()
    missing, unexpected = theirs.load_state_dict(ours.body.state_dict(), strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") or key.startswith("fc.") for key in missing)
    batch = torch.stack(images((32, 64), (32, 64)))
    wanted = nn.Sequential(*list(theirs.children())[:-2])(batch)
    (out,) = ours(NestedTensor.from_images(list(batch)))
    assert out.tensors.shape == (2, 2048, 1, 2)
    assert_close(out.tensors, wanted, rtol=1e-4, atol=1e-4)
    assert out.padding_mask is None
    assert_close(ours.train()(NestedTensor.from_images(list(batch)))[0].tensors, out.tensors)  # frozen in training too


def both_frozen_norms() -> tuple[FrozenBatchNorm2d, torchvision.ops.FrozenBatchNorm2d]:
    """Ours in one operation and torchvision's in two steps, with the same numbers."""
    one = random_statistics(FrozenBatchNorm2d(6))
    two = torchvision.ops.FrozenBatchNorm2d(6)
    two.load_state_dict(one.state_dict())
    return one, two


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_frozen_norm_in_one_operation_is_the_one_in_two_steps(memory_format: torch.memory_format) -> None:
    torch.manual_seed(1)
    x, grad = torch.randn(2, 2, 6, 5, 7)
    results = []
    for norm in both_frozen_norms():
        y = x.clone(memory_format=memory_format).requires_grad_()
        out = norm.train()(y)
        assert out.is_contiguous(memory_format=memory_format)
        results.append((out, *torch.autograd.grad(out, y, grad)))
    assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_frozen_norm_takes_half_precision_and_keeps_it() -> None:
    one, two = both_frozen_norms()
    x = torch.randn(2, 6, 5, 7)
    with torch.autocast("cpu", torch.bfloat16):
        out = one(x.bfloat16())
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), two(x), rtol=0.02, atol=0.02)


def test_frozen_norm_never_changes_and_loads_what_a_trained_one_saved() -> None:
    trained = random_statistics(nn.BatchNorm2d(6)).eval()
    frozen = FrozenBatchNorm2d(6)
    frozen.load_state_dict(trained.state_dict(), strict=True)  # its counter of batches is dropped
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    x = torch.randn(2, 6, 5, 7)
    assert_close(frozen.train()(x), trained(x))
    assert before.keys() == {"weight", "bias", "running_mean", "running_var"}
    assert all(torch.equal(before[key], value) for key, value in frozen.state_dict().items())
    assert not list(frozen.parameters())


@pytest.mark.parametrize("name", ["resnet18", "small"])
def test_folded_norms_change_nothing(name: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(name)
    folded = copy.deepcopy(backbone)
    fold_batch_norms(folded)
    assert any(isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d) for m in backbone.modules())
    assert not any(isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d) for m in folded.modules())
    for sizes in [((64, 96), (70, 50)), ((64, 64), (64, 64))]:
        batch = NestedTensor.from_images(images(*sizes))
        (wanted,), (out,) = backbone(batch), folded(batch)
        assert_close(out.tensors, wanted.tensors, rtol=1e-5, atol=1e-5)
        assert torch.equal(out.mask, wanted.mask)


def test_only_a_norm_right_after_a_convolution_and_with_statistics_is_folded() -> None:
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4, track_running_stats=False),
    )
    fold_batch_norms(body)
    assert [type(child).__name__ for child in body] == ["Conv2d", "ReLU", "BatchNorm2d", "Conv2d", "BatchNorm2d"]


def test_dilation_halves_the_stride_of_the_last_stage() -> None:
    dc5 = ResNetBackbone("resnet50", dilation=True).eval()
    theirs = torchvision.models.resnet50(
        weights=None, norm_layer=torchvision.ops.FrozenBatchNorm2d, replace_stride_with_dilation=[False, False, True]
    ).eval()
    theirs.load_state_dict(dc5.body.state_dict(), strict=False)
    batch = NestedTensor.from_images(images((32, 48)))
    (out,) = dc5(batch)
    assert out.tensors.shape == (1, 2048, 2, 3)
    assert out.mask.shape == (1, 2, 3)
    assert_close(out.tensors, nn.Sequential(*list(theirs.children())[:-2])(batch.tensors), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "channels"), [("resnet18", 512), ("resnet50", 2048)])
def test_channels_and_what_is_frozen(name: str, channels: int) -> None:
    backbone = ResNetBackbone(name)
    assert backbone.num_channels == [channels]
    for key, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (key.split(".")[1] in ("layer2", "layer3", "layer4")), key
        assert "bn" not in key  # weights of frozen norms are buffers
    assert any(key.endswith("bn1.running_var") for key, _ in backbone.named_buffers())


def test_an_unfrozen_resnet_is_trained_as_a_whole_and_its_norms_learn() -> None:
    torch.manual_seed(0)
    backbone = ResNetBackbone("resnet18", freeze=False)
    theirs = torchvision.models.resnet18(weights=None)
    assert backbone.body.state_dict().keys() == theirs.state_dict().keys() - {"fc.weight", "fc.bias"}
    theirs.load_state_dict(backbone.body.state_dict(), strict=False)
    batch = torch.stack(images((64, 64), (64, 64)))
    out = backbone.train()(NestedTensor.from_images(list(batch)))[0].tensors
    assert_close(out, nn.Sequential(*list(theirs.train().children())[:-2])(batch), rtol=1e-4, atol=1e-4)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())
    assert (backbone.body["bn1"].running_mean != 0).all()


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet34", [64, 128, 256, 512]), ("resnet101", [256, 512, 1024, 2048])]
)
def test_levels_of_a_resnet_are_its_last_stages(name: str, channels: list[int]) -> None:
    batch = NestedTensor.from_images(images((64, 96), (70, 50)))
    backbone = random_statistics(ResNetBackbone(name, num_levels=4)).eval()
    wanted = dict[str, Tensor]()
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        backbone.body[stage].register_forward_hook(lambda _, __, out, stage=stage: wanted.update({stage: out}))
    with torch.no_grad():
        levels = backbone(batch)
    assert backbone.num_channels == channels == [level.tensors.shape[1] for level in levels]
    for level, stride, features in zip(levels, (4, 8, 16, 32), wanted.values(), strict=True):
        assert torch.equal(level.tensors, features)
        h, w = -(-70 // stride), -(-96 // stride)
        assert level.tensors.shape[2:] == level.mask.shape[1:] == (h, w)
        rows, columns = torch.arange(h) * 70 // h, torch.arange(w) * 96 // w
        assert torch.equal(level.mask, batch.mask[:, rows][:, :, columns])
    for count in (1, 3):
        fewer = ResNetBackbone(name, num_levels=count).eval()
        fewer.load_state_dict(backbone.state_dict(), strict=True)
        assert fewer.num_channels == channels[-count:]
        with torch.no_grad():
            found = fewer(batch)
        assert len(found) == count
        assert all(torch.equal(a.tensors, b.tensors) for a, b in zip(found, levels[-count:], strict=True))


def test_levels_of_the_small_body_are_its_stages_each_free_of_padding() -> None:
    small = random_statistics(SmallBackbone(16, num_levels=3)).eval()
    first, second = images((45, 70), (61, 33))
    with torch.no_grad():
        together, alone = small(NestedTensor.from_images([first, second])), small(NestedTensor.from_images([first]))
    assert small.num_channels == [4, 8, 16]
    for level, single, channels, stride in zip(together, alone, small.num_channels, (4, 8, 8), strict=True):
        h, w = -(-45 // stride), -(-70 // stride)
        assert level.tensors.shape == (2, channels, -(-61 // stride), w)
        assert single.tensors.shape == (1, channels, h, w)
        assert_close(level.tensors[:1, :, :h], single.tensors, rtol=1e-4, atol=1e-5)
        assert torch.equal(level.tensors * ~level.mask[:, None], level.tensors)
        assert single.padding_mask is None
    last = SmallBackbone(16).eval()
    last.load_state_dict(small.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(last(NestedTensor.from_images([first]))[0].tensors, alone[-1].tensors)


@pytest.mark.parametrize("count", [0, -1, 5])
def test_levels_that_a_body_does_not_have(count: int) -> None:
    with pytest.raises(ValueError, match=rf"num_levels={count} must lie between 1 and 4"):
        ResNetBackbone("resnet18", num_levels=count)
    with pytest.raises(ValueError, match=rf"num_levels={count} must lie between 1 and 4"):
        SmallBackbone(8, num_levels=count)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=3))
def test_mask_takes_the_nearest_pixel_and_leaves_every_picture_a_cell(
    stride_only: ResNetBackbone, sizes: list[tuple[int, int]]
) -> None:
    batch = NestedTensor.from_images([torch.zeros(3, *size) for size in sizes])
    (out,) = stride_only(batch)
    h, w = out.tensors.shape[-2:]
    rows = torch.arange(h) * batch.mask.shape[1] // h
    columns = torch.arange(w) * batch.mask.shape[2] // w
    assert torch.equal(out.mask, batch.mask[:, rows][:, :, columns])
    assert (~out.mask).flatten(1).any(1).all()
    assert (out.padding_mask is None) == (batch.padding_mask is None)


def test_padding_leaks_into_a_resnet_as_in_the_published_one(resnet18: ResNetBackbone) -> None:
    """Batch norm turns the padding's zeros into other numbers, and the next convolution mixes them into the picture.

    The published models were trained so, and their weights expect it. This test says that it is known, not that it is
    good; the body for small pictures does not leak.
    """
    picture, larger = images((64, 64), (96, 128))
    (alone,) = resnet18(NestedTensor.from_images([picture]))
    (batch,) = resnet18(NestedTensor.from_images([picture, larger]))
    assert (batch.tensors[0, :, :2, :2] - alone.tensors[0]).abs().max() > 1e-3
    (same,) = resnet18(NestedTensor.from_images([picture, picture]))
    assert_close(same.tensors[:1], alone.tensors, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 45)] * 2), st.tuples(*[st.integers(1, 45)] * 2), st.integers(0, 1000))
def test_small_body_gives_the_same_features_alone_and_padded(
    small: SmallBackbone, first: tuple[int, int], second: tuple[int, int], seed: int
) -> None:
    pictures = images(first, second, seed=seed)
    with torch.no_grad():
        (batch,) = small(NestedTensor.from_images(pictures))
        for number, (h, w) in enumerate((first, second)):
            (alone,) = small(NestedTensor.from_images(pictures[number : number + 1]))
            rows, columns = -(-h // 8), -(-w // 8)
            assert alone.tensors.shape == (1, 16, rows, columns)
            assert_close(batch.tensors[number, :, :rows, :columns], alone.tensors[0], rtol=1e-4, atol=1e-4)
            wanted = torch.ones_like(batch.mask[number])
            wanted[:rows, :columns] = False
            assert torch.equal(batch.mask[number], wanted)


def test_small_body_written_out(small: SmallBackbone) -> None:
    weights = small.state_dict()

    def conv_norm(x: Tensor, conv: str, norm: str, stride: int, padding: int) -> Tensor:
        x = F.conv2d(x, weights[f"body.{conv}.weight"], stride=stride, padding=padding)
        mean, var, scale, shift = (
            weights[f"body.{norm}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    picture = images((40, 24))[0]
    x = conv_norm(picture[None], "conv1", "bn1", 2, 1).relu()
    for layer, stride in (("layer1", 2), ("layer2", 2), ("layer3", 1)):
        y = conv_norm(x, f"{layer}.conv1", f"{layer}.bn1", stride, 1).relu()
        y = conv_norm(y, f"{layer}.conv2", f"{layer}.bn2", 1, 1)
        x = (y + conv_norm(x, f"{layer}.downsample.0", f"{layer}.downsample.1", stride, 0)).relu()
    (out,) = small(NestedTensor.from_images([picture]))
    assert_close(out.tensors, x, rtol=1e-4, atol=1e-5)
    assert small.num_channels == [x.shape[1]] == [16]


def test_small_body_trains() -> None:
    body = SmallBackbone(8)
    body(NestedTensor.from_images(images((16, 24), (24, 16))))[0].tensors.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in body.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["resnet18", "small"])
def test_on_a_gpu_as_on_the_cpu(name: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(name)
    batch = NestedTensor.from_images(images((64, 96), (70, 50)))
    (wanted,) = backbone(batch)
    with torch.backends.cudnn.flags(allow_tf32=False):
        (out,) = backbone.cuda()(batch.to("cuda"))
    backbone.cpu()
    assert_close(out.tensors.cpu(), wanted.tensors, rtol=1e-3, atol=1e-3)
    assert torch.equal(out.mask.cpu(), wanted.mask)
