"""Models and losses on fake CUDA tensors, which have a device but no numbers: nothing may stay behind on the CPU.

No GPU is needed. PyTorch refuses an operation on tensors of two devices here as it does on a real GPU. A backward pass
and autocast do not run in this way; they are in the tests that are marked ``gpu``.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import detr_mini
from detr_mini import build_criterion, matcher
from detr_mini.modeling.export import fold_batch_norms

NAMES = ["nano", "detr_resnet50", "deformable_nano", "deformable_detr_resnet50"]
KINDS: dict[str, dict[str, object]] = {
    "nano": {},
    "mini": {"position_embedding": "learned", "pre_norm": False},
    "detr_resnet50": {},
    "detr_resnet50_dc5": {"backbone": "resnet50", "freeze_resnet": False},
    "deformable_nano": {},
    "deformable_detr_resnet50_two_stage": {"enc_layers": 1, "dec_layers": 2, "num_queries": 50},
}


@pytest.fixture(autouse=True)
def fake_tensors() -> Iterator[None]:
    with FakeTensorMode():
        yield


def build(name: str, **changes: object) -> Any:
    with torch.device("cuda"):  # for the weights alone: what a forward pass makes has to find the device by itself
        return detr_mini.build(name, **changes)


def images(padded: bool) -> list[Tensor]:
    return [torch.empty(3, *size, device="cuda") for size in ((64, 96), (70, 50) if padded else (64, 96))]


def devices(found: Any) -> set[str]:
    """The kinds of device of all tensors in what was found."""
    if isinstance(found, Tensor):
        return {found.device.type}
    values = found.values() if isinstance(found, dict) else found
    return set().union(*(devices(value) for value in values))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_and_its_detections_stay_on_the_device(kind: str) -> None:
    model = build(kind, **KINDS[kind])
    sizes = torch.empty(2, 2)  # as a loader gives them
    batches = [images(padded=True), images(padded=False), torch.stack(images(padded=False))]
    for training, batch in itertools.product([False, True], batches):
        outputs = model.train(training)(batch)
        found = model.postprocess(outputs, sizes)
        assert found[0]["boxes"].shape == (100 if "deformable" in kind else model.config.num_queries, 4)
        assert devices(outputs) == devices(found) == {"cuda"}


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_folded_batch_norms_stay_on_the_device(name: str) -> None:
    model = build(name).eval()
    fold_batch_norms(model)
    assert devices(model.state_dict()) == devices(model(images(padded=True))) == {"cuda"}


@pytest.mark.parametrize("name", NAMES)
def test_matching_costs_and_losses_stay_on_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(name)
    with torch.device("cuda"):
        targets = [{"labels": torch.empty(n, dtype=torch.int64), "boxes": torch.empty(n, 4)} for n in (3, 0)]
    costs: list[Tensor] = []

    def no_numbers(*tensors: Tensor) -> list[np.ndarray]:
        """What comes to the host, where fake tensors cannot come: labels and boxes that are right, any costs."""
        costs.append(tensors[0])
        shapes = [tuple(tensor.shape) for tensor in tensors]
        return [np.zeros(shapes[0]), np.ones(shapes[1], dtype=np.int64), np.full(shapes[2], 0.5)]

    monkeypatch.setattr(matcher, "_to_host", no_numbers)
    criterion = build_criterion(model.config)
    outputs = model(images(padded=True))
    losses = criterion(outputs, targets)
    assert devices(costs) == devices(losses) == devices(criterion.total(losses)) == {"cuda"}
    assert len(costs) == 1


def test_a_tensor_that_is_left_on_the_cpu_is_seen() -> None:
    """What these tests stand on: a constant of the CPU in the middle of a model fails here as on a GPU."""
    model = build("nano")
    model.query_embed.weight = torch.nn.Parameter(torch.empty(25, 96))
    with pytest.raises(RuntimeError, match="cpu"):
        model(images(padded=False))
