"""Training: where the time of a real run goes, the step of DETR-R50 on a GPU, and how long the import takes."""

import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks.loss import PEER, Sizes, make_batch
from benchmarks.measure import Quartiles, Settings, compare, no_garbage_collection
from benchmarks.models import make_detectors
from benchmarks.report import Case, Row, timed_row
from detr_mini import CONFIGS, DETR, DETRConfig, HungarianMatcher, NestedTensor, SetCriterion
from detr_mini.data import CocoDetection, eval_transforms, make_data
from detr_mini.evaluation import evaluate
from detr_mini.training.recipe import RECIPES, Recipe
from detr_mini.training.train import train

# --- where the time of a run goes


def nano_step(
    settings: Settings, target: float = 0.10, scenes: int = 560, config: DETRConfig = CONFIGS["nano"], rounds: int = 5
) -> Row:
    """The share of a run's time that is not the model, the loss or their backward pass, on the CPU.

    The run is a real one of :func:`detr_mini.training.train.train`: its first epoch, from the start of the sixth step
    to that of the last, so that what is read, moved, clipped, stepped, scheduled and logged between them is in it.
    """
    measured = []
    recipe = replace(RECIPES["nano"], epochs=1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "tiny_town"
        make_data(data, train=scenes, val=4, workers=1, progress=False)
        for number in range(min(settings.rounds, rounds)):
            with no_garbage_collection(), record_calls() as calls:
                train(config, recipe, data, Path(folder) / f"run{number}", progress=False)
            measured.append(share_outside(calls))
    share, seconds = (Quartiles.of(values) for values in zip(*measured, strict=True))
    return Row(
        "train step of `nano`, share spent outside forward, loss and backward",
        "",
        "",
        f"{share.show(100, '%')} of {seconds.show(1e3, 'ms')}",
        "",
        f"at most {100 * target:g} %",
        share.median <= target,
        "reading and decoding pictures is most of it, in the same process; a worker (`--workers 1`) does it beside.",
    )


Calls = dict[str, list[tuple[float, float]]]  # name to start and end, in seconds
PIECES = {"forward": (DETR, "forward"), "loss": (SetCriterion, "layer_losses"), "total": (SetCriterion, "total")}
PIECES["backward"] = (Tensor, "backward")


@contextmanager
def record_calls(clock: Callable[[], float] = time.perf_counter) -> Iterator[Calls]:
    """Write down when the model in training, the loss and ``backward`` were called, and when they were done."""
    calls: Calls = {name: [] for name in PIECES}

    def recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(self, nn.Module) and not self.training:
                return function(self, *args, **kwargs)
            start = clock()
            result = function(self, *args, **kwargs)
            calls[name].append((start, clock()))
            return result

        return call

    with ExitStack() as patches:
        for name, (owner, attribute) in PIECES.items():
            patches.enter_context(patch.object(owner, attribute, recorded(name, getattr(owner, attribute))))
        yield calls


def share_outside(calls: Calls, skipped: int = 5) -> tuple[float, float]:
    """The share of the time between calls of the model that none of the calls fills, and the seconds of a step."""
    counts = {name: len(times) for name, times in calls.items()}
    if len(set(counts.values())) != 1 or counts["forward"] <= skipped + 1:
        raise AssertionError(f"a step should call each piece once, more than {skipped + 1} times in all, not {counts}")
    first, last = calls["forward"][skipped][0], calls["forward"][-1][0]
    inside = sum(end - start for times in calls.values() for start, end in times[skipped:-1])
    return 1 - inside / (last - first), (last - first) / (counts["forward"] - 1 - skipped)


# --- how soon a model is good


class _GoodEnough(Exception):
    """Ends a training whose question is answered."""


def minutes_to_ap50(
    settings: Settings,
    goal: float = 0.90,
    target: float = 6.0,
    scenes: tuple[int, int] = (12_000, 500),
    recipe: Recipe = RECIPES["quick"],
    every: int = 250,
    first: int = 3000,
) -> Row:
    """Minutes of training until a model of `nano`'s config, measured every ``every`` steps from ``first`` on, is good.

    The clock stands still while it is measured; the recipe is the one of ``train --recipe quick``.
    """
    trained, began = 0.0, time.perf_counter()

    def measure(step: int, model: DETR) -> None:
        nonlocal trained, began
        if step == 0:
            began = time.perf_counter()
        if step < first or step % every:
            return
        trained += time.perf_counter() - began
        reached = evaluate(model, val)["AP50"]
        if reached >= goal:
            raise _GoodEnough(step)
        began = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "tiny_town"
        make_data(data, train=scenes[0], val=scenes[1], progress=False)
        config = CONFIGS["nano"]
        val = CocoDetection(data, "val", eval_transforms(config.image_size, config.max_size))
        step = None
        try:
            recipe = replace(recipe, eval_every=recipe.epochs)
            train(config, recipe, data, Path(folder) / "run", device=settings.device, progress=False, callback=measure)
        except _GoodEnough as end:
            (step,) = end.args
    minutes = trained / 60
    return Row(
        f"minutes of training to AP50 {goal:.2f} on Tiny Town, `nano` under the recipe `quick`",
        "",
        "",
        f"{minutes:.1f} min, {step} steps" if step else f"not in {minutes:.1f} min",
        "",
        f"at most {target:g} min",
        step is not None and minutes <= target,
    )


# --- the step of DETR-R50


def detector_step(
    settings: Settings, target: float, batch: int = 16, objects: int = 20, picture: tuple[int, int] = (800, 1066)
) -> Row:
    """Forward pass in bf16, loss, backward pass, clipping and AdamW for DETR-R50 with all auxiliary losses.

    With these Hugging Face's decoder feeds its normalized output to the next layer, which DETR does not. The sides are
    therefore compared without them and in fp32, on small pictures; then both get them.
    """
    theirs, ours, _ = make_detectors((32, 32))
    theirs = theirs.to(settings.device).train()
    ours = ours.to(settings.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    compare_steps(theirs, ours, settings.device)
    inputs = (torch.randn(batch, 3, *picture, device=settings.device), _targets(batch, objects, settings.device))
    their_step, our_step = _their_step(theirs, *inputs, auxiliary=True), _our_step(ours, *inputs, auxiliary=True)
    comparison = compare(partial(their_step, torch.bfloat16), partial(our_step, torch.bfloat16), settings)
    what = f"DETR-R50 train step, bf16 autocast, batch {batch}, {picture[0]}x{picture[1]}"
    return timed_row(what, PEER, comparison, target)


def compare_steps(theirs: nn.Module, ours: DETR, device: torch.device) -> None:
    """Train the same parameters on both sides, and assert that a step has the same loss and norm of the gradient."""
    _freeze_as_ours(theirs, ours)
    inputs = (torch.randn(2, 3, 64, 96, device=device), _targets(2, 5, device))
    their_step, our_step = _their_step(theirs, *inputs, auxiliary=False), _our_step(ours, *inputs, auxiliary=False)
    for mine, other in zip(our_step(torch.float32), their_step(torch.float32), strict=True):
        assert_close(mine, other, rtol=2e-2 if device.type == "cuda" else 1e-3, atol=0)  # TF32 has three digits


def _targets(batch: int, objects: int, device: torch.device) -> list[dict[str, Tensor]]:
    return make_batch(Sizes(batch, objects)).to(device).targets


def _freeze_as_ours(theirs: nn.Module, ours: nn.Module) -> None:
    """Train on both sides what the paper trains; Hugging Face looks for names that its own ResNet has not."""
    frozen = ("model.backbone.model.embedder.", "model.backbone.model.encoder.stages.0.")
    for name, parameter in theirs.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    trained, wanted = (sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (theirs, ours))
    if trained != wanted:
        raise AssertionError(f"Hugging Face's model has {trained} trained parameters, ours {wanted}")


Step = Callable[[torch.dtype], tuple[Tensor, Tensor]]  # how precise, to loss and norm of the gradient


def _their_step(model: Any, pictures: Tensor, targets: list[dict[str, Tensor]], auxiliary: bool) -> Step:
    labels = [{"class_labels": t["labels"], "boxes": t["boxes"]} for t in targets]

    def loss(dtype: torch.dtype) -> Tensor:
        model.config.auxiliary_loss = auxiliary
        with torch.autocast(pictures.device.type, dtype, enabled=dtype != torch.float32):
            return model(pixel_values=pictures, labels=labels).loss

    return _with_optimizer(model, loss)


def _our_step(model: DETR, pictures: Tensor, targets: list[dict[str, Tensor]], auxiliary: bool) -> Step:
    samples = NestedTensor.from_images(list(pictures))
    criterion = SetCriterion(model.config.num_classes, HungarianMatcher()).to(pictures.device)

    def loss(dtype: torch.dtype) -> Tensor:
        with torch.autocast(pictures.device.type, dtype, enabled=dtype != torch.float32):
            outputs = model(samples)
        if not auxiliary:
            del outputs["aux_outputs"]
        return criterion.total(criterion(outputs, targets))

    return _with_optimizer(model, loss)


def _with_optimizer(model: nn.Module, loss: Callable[[torch.dtype], Tensor]) -> Step:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-7, weight_decay=1e-4, fused=True)  # slow: the sides stay alike

    def step(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad(set_to_none=True)
        total = loss(dtype)
        total.backward()
        norm = nn.utils.clip_grad_norm_(parameters, 0.1)
        optimizer.step()
        return total.detach(), norm

    return step


# --- the import


def import_time(settings: Settings, target: float = 0.3, rounds: int = 11) -> Row:
    """Seconds that importing all names of ``detr_mini`` takes after torch and torchvision, in fresh processes."""
    _seconds_to_import()  # fills the caches of the file system
    rows = [_seconds_to_import() for _ in range(min(settings.rounds, rounds))]
    theirs, ours = (Quartiles.of(column) for column in zip(*rows, strict=True))
    return Row(
        "all names of `detr_mini`, beyond torch and torchvision",
        "`import torch, torchvision`",
        theirs.show(1, "s"),
        ours.show(1, "s"),
        "",
        f"ours at most {target} s",
        ours.median <= target,
    )


def _seconds_to_import() -> tuple[float, float]:
    """Of torch and torchvision, and then of detr_mini."""
    code = """if True:
        from time import perf_counter
        start = perf_counter()
        import torch, torchvision
        between = perf_counter()
        import detr_mini
        for name in detr_mini.__all__:  # each is imported when it is first asked for
            getattr(detr_mini, name)
        print(between - start, perf_counter() - between)
    """
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    theirs, ours = map(float, done.stdout.split())
    return theirs, ours


CASES: dict[str, Case] = {"nano-step": nano_step, "quick": minutes_to_ap50, "import": import_time}
CUDA_CASES: dict[str, Case] = {"detr-r50-train-cuda": partial(detector_step, target=1.5)}
