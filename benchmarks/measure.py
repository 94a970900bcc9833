"""How things are measured: interleaved rounds, paired ratios, quartiles."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

Function = Callable[[], Any]
Clock = Callable[[], float]

WARM_UP = 2  # rounds that are not counted
SHORTEST = 0.02  # seconds a sample should last at least, for the clock and the scheduler to be small beside it


@dataclass(frozen=True)
class Settings:
    """What a case is told: how many rounds to take, and where."""

    rounds: int
    device: torch.device


@dataclass(frozen=True)
class Quartiles:
    """The median of some samples, and the two values between which half of them lie."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Quartiles":
        return cls(*np.quantile(samples, [0.25, 0.5, 0.75]).tolist())

    def show(self, scale: float = 1.0, unit: str = "") -> str:
        """``median [low, high] unit``, each to three digits at least."""
        low, median, high = (_digits(scale * value) for value in (self.low, self.median, self.high))
        return f"{median} [{low}, {high}] {unit}".rstrip()


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


@dataclass(frozen=True)
class Comparison:
    """Seconds a call of each side, and how many times as long the peer took in the same round."""

    peer: Quartiles
    ours: Quartiles
    ratio: Quartiles


def compare(peer: Function, ours: Function, settings: Settings, clock: Clock = time.perf_counter) -> Comparison:
    """Time two functions in turn: peer first, ours first, peer first, ...

    What slows the machine for a while slows both samples of a round, and leaves their ratio alone. The garbage
    collector is off meanwhile. A function too quick for a sample is called several times in it.
    """
    functions = (peer, ours)
    repeats = [1, 1]
    for _ in range(WARM_UP):
        for side, function in enumerate(functions):
            seconds = sample(function, 1, settings.device, clock)
            repeats[side] = max(1, math.ceil(SHORTEST / max(seconds, 1e-9)))
    samples: tuple[list[float], list[float]] = ([], [])
    with no_garbage_collection():
        for number in range(settings.rounds):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                samples[side].append(sample(functions[side], repeats[side], settings.device, clock))
    ratios = [a / b for a, b in zip(*samples, strict=True)]
    return Comparison(Quartiles.of(samples[0]), Quartiles.of(samples[1]), Quartiles.of(ratios))


def sample(function: Function, repeats: int, device: torch.device, clock: Clock = time.perf_counter) -> float:
    """Seconds a call takes, mean of ``repeats`` calls; what they started on a GPU is waited for."""
    synchronize(device)
    start = clock()
    for _ in range(repeats):
        function()
    synchronize(device)
    return (clock() - start) / repeats


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now and not again before the end of the ``with`` block."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def peak_memory(function: Function, device: torch.device) -> tuple[int, Any]:
    """Bytes that a call takes at most beyond what was held before, on a GPU of its memory; and what it returns."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = function()
        return torch.cuda.max_memory_allocated(device) - before, result
    before, _ = resident_memory()
    result = function()
    return resident_memory()[1] - before, result


def resident_memory() -> tuple[int, int]:
    """Memory of this process in bytes: now, and at its peak.

    Linux tells both. Elsewhere the peak stands for both, which is right as long as nothing large was freed before.
    """
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: what it calls the peak of a process includes the process that started it.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) * 1024, int(lines["VmHWM"].split()[0]) * 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, peak
