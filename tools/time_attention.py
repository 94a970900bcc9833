"""How long dense and deformable attention take as a map grows, for the chapter *Deformable attention*.

    OMP_NUM_THREADS=1 python tools/time_attention.py    writes book/data/attention_times.json

Every cell of a square map is a query, as in the encoder; width, heads and points are the published ones. Times are
seconds of one processor core, not of a clock, the median of rounds in which the three take turns.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from detr_mini.modeling.attention import MultiheadAttention
from detr_mini.modeling.deformable_attention import DeformableAttention

SIDES = (4, 8, 16, 32, 64, 96)
WIDTH, HEADS, POINTS = 256, 8, 4
ROUNDS = 9
FILE = Path(__file__).resolve().parent.parent / "book" / "data" / "attention_times.json"


def inputs(shapes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Random cells of maps of these shapes, ``(1, S, d)``, and where each of them looks from, ``(1, S, L, 2)``."""
    rng = torch.Generator().manual_seed(0)
    places = [torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w) for h, w in shapes]
    reference = torch.cat(places).flip(-1)  # (S, 2), x and y
    cells = torch.randn(1, len(reference), WIDTH, generator=rng)
    return cells, reference[None, :, None].expand(-1, -1, len(shapes), -1)


def dense(side: int) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    attention = MultiheadAttention(WIDTH, HEADS)
    cells, _ = inputs([(side, side)])
    return lambda: attention(cells, cells, cells)


def deformable(side: int, levels: int) -> Callable[[], Tensor]:
    """Every cell of all levels reads, each level with half the side of the one before."""
    torch.manual_seed(0)
    attention = DeformableAttention(WIDTH, HEADS, levels=levels, points=POINTS)
    torch.nn.init.normal_(
        attention.sampling_offsets.weight, std=WIDTH**-0.5
    )  # points between cells, as in a trained one
    shapes = [(max(1, side >> level),) * 2 for level in range(levels)]
    cells, reference = inputs(shapes)
    return lambda: attention(cells, reference, cells, shapes)


def seconds(run: Callable[[], Tensor], *, backward: bool) -> float:
    start = time.process_time()
    with torch.set_grad_enabled(backward):
        result = run()
        if backward:
            result.sum().backward()
    return time.process_time() - start


def measure(side: int) -> dict[str, dict[str, float]]:
    runs = {"dense": dense(side), "one level": deformable(side, 1), "four levels": deformable(side, 4)}
    found: dict[str, dict[str, float]] = {name: {} for name in runs}
    repeats = max(1, 64 // side)  # so that a short one is longer than the clock's step
    for way in ("forward", "forward and backward"):
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(ROUNDS + 1):
            for name, run in runs.items():
                took = sum(seconds(run, backward=way != "forward") for _ in range(repeats)) / repeats
                if number:  # the first round warms up
                    times[name].append(took)
        for name, all_of_it in times.items():
            found[name][way] = round(1000 * statistics.median(all_of_it), 3)
    return found


def main() -> None:
    torch.set_num_threads(1)
    milliseconds = {side: measure(side) for side in SIDES}
    record = {
        "with": {"torch": torch.__version__, "machine": platform.machine()},
        "width": WIDTH,
        "heads": HEADS,
        "points": POINTS,
        "milliseconds": milliseconds,
    }
    FILE.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
