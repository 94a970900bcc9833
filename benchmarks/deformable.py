"""Deformable attention against Hugging Face's, on the four levels of a picture of 800x1066."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from benchmarks.measure import Settings, compare, peak_memory
from benchmarks.models import in_fresh_process
from benchmarks.report import Case, Row, memory_row, timed_row
from detr_mini.modeling.deformable_attention import ms_deform_attn

PEER = "Hugging Face's function, fp32"
LEVELS = ((100, 134), (50, 67), (25, 34), (13, 17))  # of 800x1066 at strides 8 to 64: 17,821 cells
QUERIES = 300


def peer_function(value: Tensor, shapes: Any, locations: Tensor, weights: Tensor) -> Tensor:
    """Theirs, called as ours is."""
    from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

    sizes = torch.tensor(shapes, device=value.device)
    return MultiScaleDeformableAttention()(value, sizes, shapes, None, locations, weights, 64)  # type: ignore[no-any-return]


FUNCTIONS = {"peer": peer_function, "ours": ms_deform_attn}


def make_inputs(
    levels: Sequence[tuple[int, int]], queries: int | None, device: torch.device, heads: int = 8, d: int = 32
) -> tuple[Tensor, Any, Tensor, Tensor]:
    """Values, shapes, places around each cell (or so many ``queries``), four points a level, and weights."""
    rng = torch.Generator().manual_seed(0)
    centers = [
        torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(-1) for h, w in levels
    ]
    reference = torch.cat(centers) if queries is None else torch.rand(queries, 2, generator=rng)
    shape = (len(reference), heads, len(levels), 4)
    sides = torch.tensor([(w, h) for h, w in levels])[:, None]
    locations = reference[:, None, None, None] + 2 * torch.randn(*shape, 2, generator=rng) / sides
    weights = torch.randn(*shape[:2], shape[2] * 4, generator=rng).softmax(-1).view(shape)
    value = torch.randn(1, sum(h * w for h, w in levels), heads, d, generator=rng)
    return value.to(device), [*levels], locations[None].to(device), weights[None].to(device)


def step(side: str, inputs: Any, backward: bool) -> list[Tensor]:
    """The result, and with ``backward`` the gradients of the sum of its squares."""
    value, shapes, locations, weights = inputs
    if not backward:
        with torch.no_grad():
            return [FUNCTIONS[side](value, shapes, locations, weights)]
    leaves = [x.detach().requires_grad_() for x in (value, locations, weights)]
    result = FUNCTIONS[side](leaves[0], shapes, *leaves[1:])
    result.square().sum().backward()
    return [result.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def operator(
    settings: Settings,
    target: float,
    queries: int | None,
    backward: bool,
    levels: Sequence[tuple[int, int]] = LEVELS,
) -> Row:
    """The operator, with every cell as a query as in the encoder, or with those of the decoder."""
    inputs = make_inputs(levels, queries, settings.device)
    peer, ours = (step(side, inputs, backward) for side in ("peer", "ours"))
    assert len(peer) == len(ours) == (4 if backward else 1)
    for theirs, mine in zip([peer[0], *peer[1::2]], [ours[0], *ours[1::2]], strict=True):
        assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    for theirs, mine in zip(peer[2::2], ours[2::2], strict=True):
        # The gradient to a place jumps where it passes a cell's center: among millions a few lie so near one that
        # rounding decides on which side.
        error = (mine - theirs).square().mean().sqrt() / theirs.square().mean().sqrt()
        assert error < 1e-3, f"gradients to the places differ by {float(error):.1e} of their size"
    comparison = compare(partial(step, "peer", inputs, backward), partial(step, "ours", inputs, backward), settings)
    cells = sum(h * w for h, w in levels)
    who = f"encoder, {cells} cells" if queries is None else f"decoder, {queries} queries on {cells} cells"
    return timed_row(f"deformable attention, {who}, forward{' and backward' * backward}", PEER, comparison, target)


def memory(settings: Settings, target: float, levels: Sequence[tuple[int, int]] = LEVELS) -> Row:
    """Most memory that a forward and a backward pass of the encoder's operator hold, each in a fresh process."""
    call = "benchmarks.deformable", "training_memory"
    (their_bytes, their_sum), (our_bytes, our_sum) = (
        in_fresh_process(call, f"{side!r}, {[*levels]}", settings.device) for side in ("peer", "ours")
    )
    assert_close(our_sum, their_sum, rtol=1e-3, atol=0)
    what = "peak memory of deformable attention in training, encoder"
    return memory_row(what, PEER, their_bytes, our_bytes, target)


def training_memory(side: str, levels: Sequence[tuple[int, int]], device: torch.device) -> tuple[int, float]:
    """Bytes that a forward and a backward pass take beyond their inputs, and the size of the gradients."""
    step(side, make_inputs([(5, 5)], None, device), backward=True)
    inputs = make_inputs(levels, None, device)
    used, found = peak_memory(partial(step, side, inputs, backward=True), device)
    return used, float(sum(gradient.abs().sum() for gradient in found[1:]))


CASES: dict[str, Case] = {
    "deformable-encoder": partial(operator, target=4.0, queries=None, backward=False),
    "deformable-encoder-train": partial(operator, target=1.5, queries=None, backward=True),
    "deformable-decoder": partial(operator, target=1.0, queries=QUERIES, backward=False),
    "deformable-decoder-train": partial(operator, target=1.0, queries=QUERIES, backward=True),
    "deformable-memory": partial(memory, target=2.0),
}
