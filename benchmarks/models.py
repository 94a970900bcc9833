"""Forward passes of the transformer and of the whole detector, and the memory of training."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks.measure import Settings, compare, peak_memory
from benchmarks.plain import PlainTransformer
from benchmarks.report import Case, Row, memory_row, timed_row
from detr_mini import DETR, DETRConfig, NestedTensor
from detr_mini.hugging_face import from_hugging_face
from detr_mini.modeling.transformer import Transformer

ROOT = Path(__file__).resolve().parent.parent
PLAIN = "plain form, `need_weights=True`"
HUGGING_FACE = "Hugging Face, fp32"


# --- the transformer alone


@dataclass(frozen=True)
class Widths:
    """Sizes of a transformer; the defaults are the published ones."""

    d: int = 256
    heads: int = 8
    layers: int = 6
    dim_feedforward: int = 2048
    queries: int = 100


PUBLISHED = Widths()


def make_transformers(widths: Widths) -> dict[str, nn.Module]:
    """The plain one and ours with the same weights, in evaluation mode: no dropout."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "enc_layers": widths.layers,
        "dec_layers": widths.layers,
        "dim_feedforward": widths.dim_feedforward,
        "dropout": 0.0,
    }
    ours = Transformer(widths.d, widths.heads, **sizes, pre_norm=False).eval()
    plain = PlainTransformer(widths.d, widths.heads, **sizes).eval()
    plain.load_state_dict(ours.state_dict(), strict=True)
    return {"plain": plain, "ours": ours}


def make_inputs(widths: Widths, cells: tuple[int, int], device: torch.device) -> tuple[Any, ...]:
    """One picture without padding: features, no mask, queries, positions."""
    rng = torch.Generator().manual_seed(0)
    features, pos = torch.randn(2, 1, widths.d, *cells, generator=rng).to(device)
    return features, None, torch.randn(widths.queries, widths.d, generator=rng).to(device), pos


@torch.no_grad()
def transformer(settings: Settings, cells: tuple[int, int], target: float, widths: Widths = PUBLISHED) -> Row:
    """Forward pass, nothing kept for a backward pass."""
    inputs = make_inputs(widths, cells, settings.device)
    models = {name: model.to(settings.device) for name, model in make_transformers(widths).items()}
    for theirs, ours in zip(models["plain"](*inputs), models["ours"](*inputs), strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    comparison = compare(lambda: models["plain"](*inputs), lambda: models["ours"](*inputs), settings)
    why = (
        "both sides make the same matrix products; with the fused attention they are nearly all of ours, so few cells "
    )
    why += "leave little to save."
    return timed_row(f"transformer forward, {cells[0] * cells[1]} tokens", PLAIN, comparison, target, why)


def memory(settings: Settings, cells: tuple[int, int], target: float, widths: Widths = PUBLISHED) -> Row:
    """Most memory that a forward and a backward pass hold, each in a fresh process."""
    (their_bytes, their_sum), (our_bytes, our_sum) = (
        in_fresh_process(("benchmarks.models", "training_memory"), f"{side!r}, {cells}, {widths!r}", settings.device)
        for side in ("plain", "ours")
    )
    assert_close(our_sum, their_sum, rtol=1e-3, atol=0)
    what = f"peak training memory, transformer of {cells[0] * cells[1]} tokens"
    return memory_row(what, PLAIN, their_bytes, our_bytes, target)


def in_fresh_process(function: tuple[str, str], arguments: str, device: torch.device) -> tuple[int, float]:
    """What a function of a module returns for these arguments and a device: bytes, and a number to compare."""
    module, name = function
    code = (
        f"import torch; from {module} import *; from {module} import {name}; "
        f"torch.set_num_threads({torch.get_num_threads()}); "
        f"print(*{name}({arguments}, torch.device({str(device)!r})))"
    )
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system at once
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that measures {name}({arguments}) failed:\n{done.stderr}")
    used, total = done.stdout.split()
    return int(used), float(total)


def training_memory(side: str, cells: tuple[int, int], widths: Widths, device: torch.device) -> tuple[int, float]:
    """Bytes that a training step takes beyond weights and gradients, and the size of its gradient.

    A step on few cells comes first, so that the gradients exist and libraries have made their work space.
    """
    models = make_transformers(widths)  # both stay: what was freed would be used again and not be seen
    model = models[side].to(device).train()

    def step(cells: tuple[int, int]) -> None:
        hs, _ = model(*make_inputs(widths, cells, device))
        hs.square().sum(-1).sin().mean().backward()  # the norm makes plainer sums the same whatever comes in

    step((5, 5))
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad.zero_()
    used, _ = peak_memory(partial(step, cells), device)
    return used, float(sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None))


# --- the whole detector


def make_detectors(picture: tuple[int, int], **small: Any) -> tuple[Any, DETR, Tensor]:
    """Hugging Face's DETR-R50, ours with its weights, and a picture ``(1, 3, H, W)``; ``small`` is for quick tests.

    Weights are random, and spread so that queries and pictures differ in what comes out of them.
    """
    import transformers

    config = DETRConfig(dropout=0.0, **small)
    resnet50 = transformers.ResNetConfig(out_features=["stage4"])  # type: ignore[call-arg]
    torch.manual_seed(0)
    theirs = transformers.DetrForObjectDetection(
        transformers.DetrConfig(  # type: ignore[call-arg]
            backbone_config=resnet50,
            num_labels=config.num_classes,
            num_queries=config.num_queries,
            encoder_layers=config.enc_layers,
            decoder_layers=config.dec_layers,
            dropout=0.0,
        )
    )
    spread(theirs)
    ours = DETR(config)
    ours.load_state_dict(from_hugging_face(theirs.state_dict()), strict=True)
    return theirs.eval(), ours.eval(), torch.randn(1, 3, *picture)


@torch.no_grad()
def spread(model: nn.Module) -> None:
    """Norms that do something; queries that read different cells, and little of each other, so that they stay apart."""
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.8, 1.2)
        elif name.endswith("running_mean"):
            value.normal_(std=0.2)
        elif "normalization.weight" in name:
            value.uniform_(0.5, 0.9)
        elif "query_position" in name:
            value.normal_()
        elif value.dim() == 2:
            sharp = "encoder_attn.q_proj" in name or "encoder_attn.k_proj" in name
            factor = 3.0 if sharp else 0.2 if "self_attn.o_proj" in name else 1.0
            value.normal_(std=factor * value.shape[1] ** -0.5)


@torch.no_grad()
def detector(
    settings: Settings, target: float, bf16: bool, picture: tuple[int, int] = (800, 1066), **small: Any
) -> Row:
    """Forward pass of DETR-R50 for one picture."""
    theirs, model, pixels = make_detectors(picture, **small)
    theirs, pixels = theirs.to(settings.device), pixels.to(settings.device)
    ours = model.to(settings.device).optimize_for_inference()
    samples = NestedTensor.from_images(list(pixels))
    autocast = partial(torch.autocast, settings.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext

    def our_forward() -> Any:
        with autocast():
            return ours(samples)

    wanted, found = theirs(pixel_values=pixels), our_forward()
    compare_outputs(found, wanted, tolerance=0.25 if bf16 else 1e-3)  # bf16 has eight bits, and 50 layers lose some
    comparison = compare(lambda: theirs(pixel_values=pixels), our_forward, settings)
    what = f"DETR-R50 forward, {picture[0]}x{picture[1]}, {'bf16 autocast' if bf16 else 'fp32'}"
    return timed_row(what, HUGGING_FACE, comparison, target)


def compare_outputs(found: dict[str, Any], wanted: Any, tolerance: float) -> None:
    """Assert that logits, boxes and masks differ by less than a share of how much they differ from query to query."""
    pairs = [("pred_logits", wanted.logits), ("pred_boxes", wanted.pred_boxes)]
    if "pred_masks" in found:
        pairs.append(("pred_masks", wanted.pred_masks))
    for name, theirs in pairs:
        spread = float(theirs.float().std(1).mean())
        error = float((found[name].float() - theirs.float()).square().mean().sqrt())
        assert spread > 1e-3, f"{name}: the queries differ by {spread:.1e} only, so there is nothing to compare"
        assert error <= tolerance * spread, (
            f"{name}: ours differs from theirs by {error:.2e}, root mean square; {tolerance:g} of the spread over "
            f"queries, {spread:.2e}, is allowed"
        )


CASES: dict[str, Case] = {
    "transformer-850": partial(transformer, cells=(25, 34), target=1.7),
    "transformer-3350": partial(transformer, cells=(50, 67), target=2.6),
    "memory-3350": partial(memory, cells=(50, 67), target=5),
    "detr-r50-fp32": partial(detector, target=1.4, bf16=False),
    "detr-r50-bf16": partial(detector, target=3.5, bf16=True),
}
