"""The model compiled and exported: no graph breaks, few graphs for many sizes, and the same numbers."""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from detr_mini import NestedTensor, build

SMALL = {"hidden_dim": 16, "dim_feedforward": 24, "enc_layers": 1, "dec_layers": 1, "num_queries": 5, "dropout": 0.0}
DEFORMABLE: dict[str, dict[str, Any]] = {
    "deformable": {"hidden_dim": 32},
    "deformable, two-stage": {"hidden_dim": 32, "with_box_refine": True, "two_stage": True},
}
WITH_MASKS = "small, with masks"
BODIES = ["small", "resnet18", WITH_MASKS, *DEFORMABLE]
# Batches of one to four pictures, padded and not, hardly ever a multiple of a stride.
SIZES = [
    [(40, 50), (64, 33)],
    [(64, 64), (64, 64)],
    [(50, 70), (60, 61), (33, 90)],
    [(100, 80)] * 3,
    [(70, 71), (50, 99), (33, 34), (77, 78)],
    [(60, 61)],
    [(61, 70), (40, 90)],
]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counted:
    """A backend that runs a graph as it is, and counts how many it was given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.graphs += 1
        return graph.forward


def make(body: str) -> Any:
    """A DETR with this body, with masks or not, or a Deformable DETR with the small one."""
    torch.manual_seed(0)
    changes = SMALL | DEFORMABLE.get(body, {"masks": True} if body == WITH_MASKS else {"backbone": body})
    model: Any = build("deformable_nano" if body in DEFORMABLE else "nano", **changes)
    with torch.no_grad():
        for norm in model.backbone.modules():
            if hasattr(norm, "running_var"):
                norm.running_mean.normal_(std=0.2)
                norm.running_var.uniform_(0.5, 1.5)
    return model.eval()


def pictures(sizes: list[tuple[int, int]]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(3, h, w, generator=rng) for h, w in sizes]


@pytest.mark.slow
@pytest.mark.parametrize("body", ["small", WITH_MASKS, "deformable"])
@torch.no_grad()
def test_many_sizes_need_few_graphs(body: str) -> None:
    model, backend = make(body), Counted()
    compiled = torch.compile(model, fullgraph=True, backend=backend)  # type: ignore[arg-type]
    for sizes in SIZES:
        batch = NestedTensor.from_images(pictures(sizes))
        assert_close(compiled(batch), model(batch))
    # Padded or not, one picture or several, sizes first taken as fixed: each may need a graph of its own.
    assert backend.graphs <= 6


@torch.no_grad()
def test_a_list_of_pictures_compiles() -> None:
    model = make("small")
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert_close(compiled(pictures(SIZES[0])), model(pictures(SIZES[0])))


@torch.no_grad()
def test_a_tensor_of_pictures_compiles() -> None:
    model = make("small")
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for images in (torch.rand(2, 3, 64, 70), torch.rand(3, 3, 40, 50)):
        assert_close(compiled(images), model(images))


@pytest.mark.parametrize("body", BODIES)
@torch.no_grad()
def test_pytorchs_own_export_takes_the_model_with_a_tensor(body: str) -> None:
    model, images = make(body), torch.rand(2, 3, 65, 97)
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(model, (images,), dynamic_shapes=({0: free, 2: free, 3: free},)).module()
    for batch in (images, torch.rand(1, 3, 70, 40)):
        assert_close(program(batch), model(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("sizes", SIZES[:2])
def test_compiled_training_gives_the_same_gradients(body: str, sizes: list[tuple[int, int]]) -> None:
    batch = NestedTensor.from_images(pictures(sizes))
    results = []
    for compiled in (False, True):
        model = make(body).train()
        forward = torch.compile(model, fullgraph=True, backend="aot_eager") if compiled else model
        out = forward(batch)
        if "pred_masks" in out:
            out["pred_masks"] = out["pred_masks"].all()
        layers = [out, *out["aux_outputs"], *([out["enc_outputs"]] if "enc_outputs" in out else [])]
        loss = sum(layer[k].square().sum() for layer in layers for k in ("pred_logits", "pred_boxes"))
        if "pred_masks" in out:
            loss = loss + out["pred_masks"].square().mean()
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        statistics = {k: v for k, v in model.state_dict().items() if "running" in k}
        results.append((out, gradients, statistics))
    assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES)
@torch.no_grad()
def test_an_exported_model_takes_batches_and_pictures_of_any_size(body: str) -> None:
    model = make(body)
    file = io.BytesIO()
    torch.export.save(model.export(), file)
    file.seek(0)
    program = torch.export.load(file).module()
    for sizes in SIZES:
        batch = NestedTensor.from_images(pictures(sizes))
        assert_close(program(batch.tensors, batch.mask), model(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_exported_model_runs_without_this_package(tmp_path: Path) -> None:
    torch.export.save(make("small").export(), tmp_path / "model.pt2")
    code = """if True:
        import sys, torch
        sys.modules["detr_mini"] = None
        program = torch.export.load(sys.argv[1]).module()
        print(program(torch.rand(1, 3, 50, 70), torch.zeros(1, 50, 70, dtype=torch.bool))["pred_boxes"].shape)"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "model.pt2")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "torch.Size([1, 5, 4])", "")


@torch.no_grad()
def test_exporting_changes_nothing_and_an_optimized_model_exports_too() -> None:
    model = make("small").train()
    batch = NestedTensor.from_images(pictures(SIZES[2]))
    program = model.optimize_for_inference().export().module()
    assert model.training
    assert_close(program(batch.tensors, batch.mask), model.eval()(batch), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_picture_of_padding_alone_does_not_spoil_the_others_in_an_exported_model() -> None:
    program = make("small").export().module()
    batch = NestedTensor.from_images(pictures(SIZES[0]))
    wanted = program(batch.tensors, batch.mask)["pred_boxes"][0]
    batch.mask[1] = True
    found = program(batch.tensors, batch.mask)["pred_boxes"]
    assert found.isfinite().all()
    assert_close(found[0], wanted)
