"""Matcher, loss and backward pass against those of Hugging Face."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close

from benchmarks.measure import Settings, compare
from benchmarks.pretend import DEVICE, CountHostCopies
from benchmarks.report import Row, timed_row
from detr_mini import HungarianMatcher, SetCriterion

PEER = "Hugging Face"


@dataclass(frozen=True)
class Sizes:
    """Of what a model returns, and of what there is to find."""

    batch: int
    objects: int
    layers: int = 6
    queries: int = 100
    classes: int = 91

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.objects} objects an image"


@dataclass(frozen=True)
class Batch:
    """The predictions of each layer, leaves of the graph, and the targets."""

    logits: list[Tensor]  # (B, N, K + 1)
    boxes: list[Tensor]  # (B, N, 4)
    targets: list[dict[str, Tensor]]
    device: torch.device

    @property
    def leaves(self) -> list[Tensor]:
        return [*self.logits, *self.boxes]

    def to(self, device: torch.device) -> "Batch":
        """A copy with leaves of its own."""
        logits, boxes = (
            [layer.detach().clone().to(device).requires_grad_() for layer in layers]
            for layers in (self.logits, self.boxes)
        )
        return Batch(logits, boxes, [{k: v.to(device) for k, v in t.items()} for t in self.targets], device)


def make_batch(sizes: Sizes) -> Batch:
    rng = torch.Generator().manual_seed(0)

    def draw_boxes(*shape: int) -> Tensor:
        center, size = torch.rand(2, *shape, 2, generator=rng)
        return torch.cat([0.2 + 0.6 * center, 0.02 + 0.36 * size], dim=-1)

    logits = [torch.randn(sizes.batch, sizes.queries, sizes.classes + 1, generator=rng) for _ in range(sizes.layers)]
    boxes = [draw_boxes(sizes.batch, sizes.queries) for _ in range(sizes.layers)]
    targets = [
        {"labels": torch.randint(sizes.classes, (sizes.objects,), generator=rng), "boxes": draw_boxes(sizes.objects)}
        for _ in range(sizes.batch)
    ]
    return Batch(logits, boxes, targets, torch.device("cpu"))


Results = tuple[Tensor, tuple[Tensor, ...]]  # the total loss, and its gradient to every leaf
Step = Callable[[], Results]


def our_step(sizes: Sizes, batch: Batch) -> Step:
    """A function that computes the total loss and its gradients."""
    criterion = SetCriterion(sizes.classes, HungarianMatcher()).to(batch.device)
    layers = [{"pred_logits": c, "pred_boxes": b} for c, b in zip(batch.logits, batch.boxes, strict=True)]
    outputs = {**layers[-1], "aux_outputs": layers[:-1]}

    def step() -> Results:
        total = criterion.total(criterion(outputs, batch.targets))
        return total.detach(), torch.autograd.grad(total, batch.leaves)

    return step


def their_step(sizes: Sizes, batch: Batch) -> Step:
    """The same with the loss that ``DetrForObjectDetection`` calls."""
    import transformers
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    config = transformers.DetrConfig(  # type: ignore[call-arg]
        num_labels=sizes.classes, decoder_layers=sizes.layers, auxiliary_loss=True
    )
    labels = [{"class_labels": t["labels"], "boxes": t["boxes"]} for t in batch.targets]

    def step() -> Results:
        total, _, _ = ForObjectDetectionLoss(
            batch.logits[-1], labels, batch.device, batch.boxes[-1], config, batch.logits, batch.boxes
        )
        return total.detach(), torch.autograd.grad(total, batch.leaves)

    return step


def both_steps(sizes: Sizes, device: torch.device) -> tuple[Step, Step]:
    """Their step and ours on copies of one batch, after a look that they agree."""
    batch = make_batch(sizes)
    their_batch, our_batch = batch.to(device), batch.to(device)
    theirs, ours = their_step(sizes, their_batch), our_step(sizes, our_batch)
    (their_total, their_gradients), (our_total, our_gradients) = theirs(), ours()
    assert_close(our_total, their_total, rtol=1e-5, atol=0)
    assert_close(our_gradients, their_gradients, rtol=1e-4, atol=1e-7)
    assert all(gradient.abs().max() > 1e-4 for gradient in their_gradients)
    return theirs, ours


def loss(settings: Settings, sizes: Sizes, target: float) -> Row:
    """Time of the whole step."""
    comparison = compare(*both_steps(sizes, settings.device), settings)
    return timed_row(f"matcher + loss + backward, {sizes.layers} layers, {sizes}", PEER, comparison, target)


def operators(settings: Settings, sizes: Sizes, target: int = 250) -> Row:
    """Operator calls of the step."""
    (their_calls, their_nested), (our_calls, our_nested) = map(count_operators, both_steps(sizes, settings.device))
    return Row(
        f"operator calls of that step, {sizes} (with those inside other operators)",
        PEER,
        f"{their_calls} ({their_nested})",
        f"{our_calls} ({our_nested})",
        f"{their_calls / our_calls:.1f}",
        f"ours at most {target}",
        our_calls <= target,
    )


def count_operators(step: Step) -> tuple[int, int]:
    """How many ``aten`` operators are called by something that is none, and how many in all."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = [event for event in profiler.events() if event.name.startswith("aten::")]
    parents = (event.cpu_parent for event in events)
    outside = sum(parent is None or not parent.name.startswith("aten::") for parent in parents)
    return outside, len(events)


def host_copies(settings: Settings, sizes: Sizes, target: int = 1) -> Row:
    """Copies from the device to the host in that step, each of which the host waits for."""
    both_steps(sizes, settings.device)
    count = count_cuda_copies if settings.device.type == "cuda" else count_pretended_copies
    theirs, ours = (count(sizes, side) for side in (their_step, our_step))
    return Row(
        f"copies to the host in that step, {sizes}",
        PEER,
        str(theirs),
        str(ours),
        f"{theirs / ours:.1f}" if ours else "",
        f"ours at most {target}",
        ours <= target,
    )


def count_pretended_copies(sizes: Sizes, make_step: Callable[[Sizes, Batch], Step]) -> int:
    """Count on a device that is not there."""
    with CountHostCopies() as copies:
        step = make_step(sizes, make_batch(sizes).to(DEVICE))
        step()
        before = copies.count
        step()
        return copies.count - before


def count_cuda_copies(sizes: Sizes, make_step: Callable[[Sizes, Batch], Step]) -> int:
    """Count what the profiler saw."""
    step = make_step(sizes, make_batch(sizes).to(torch.device("cuda")))
    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    return sum("Memcpy DtoH" in event.name for event in profiler.events())


CASES = {
    "loss-b2-t20": partial(loss, sizes=Sizes(2, 20), target=3.8),
    "loss-b16-t20": partial(loss, sizes=Sizes(16, 20), target=13),
    "loss-b16-t60": partial(loss, sizes=Sizes(16, 60), target=20),
    "operators": partial(operators, sizes=Sizes(16, 20)),
    "host-copies": partial(host_copies, sizes=Sizes(16, 20)),
}
