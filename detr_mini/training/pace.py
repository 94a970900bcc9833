"""How long a run will take and how much memory: a few steps are timed before it starts.

Chapter: *Training*, ``book/14_train``.
"""

import bisect
import copy
import itertools
import math
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from detr_mini import distributed
from detr_mini.data import DetectionDataset, collate
from detr_mini.errors import ConfigError
from detr_mini.evaluation import evaluation_mode
from detr_mini.modeling.build import Detector
from detr_mini.modeling.config import DetectorConfig
from detr_mini.modeling.export import Deployable
from detr_mini.training.interrupt import StopRequest
from detr_mini.training.own_data import several
from detr_mini.training.recipe import MEASUREMENTS, Recipe
from detr_mini.training.trainer import Trainer

STEPS = 3  # that are timed, after one to warm up
LONG_ENOUGH = 20.0  # seconds; then no further step is timed
STOPPING = "stopping after this step, which is timed; a second signal stops at once"
NOWHERE = "never-written"  # a run of a few steps leaves nothing on the disk
FITTED = ("epochs", "eval_every", "lr_drop", "warmup_steps")  # what a time to train for changes in a recipe
EVALUATED = 16  # images of a batch in evaluation


@dataclass(frozen=True)
class Pace:
    """What a step and an evaluation take here."""

    first: float  # seconds of a step with images that are read for the first time
    step: float  # seconds of a later one
    measuring: float  # seconds of an evaluation
    memory: int | None  # bytes in use at most, where the system tells

    def seconds(self, recipe: Recipe, images: int, done: int = 0) -> float:
        """Of a run on so many images, of which ``done`` epochs are over."""
        per_epoch, left = math.ceil(images / recipe.batch_size), recipe.epochs - done
        measurements = math.ceil(left / recipe.eval_every)
        return per_epoch * (self.first + self.step * (left - 1)) + self.measuring * measurements

    def describe(self, recipe: Recipe, images: int, done: int = 0) -> str:
        """A line on steps, time and memory."""
        per_epoch, left = math.ceil(images / recipe.batch_size), recipe.epochs - done
        seconds, measurements = self.seconds(recipe, images, done), math.ceil(left / recipe.eval_every)
        memory = "" if self.memory is None else f"; {self.memory / 1e9:.1f} GB of memory"
        return (
            f"{several(left * per_epoch, 'step')} ({several(left, 'epoch')} of {per_epoch:,}, "
            f"{several(recipe.batch_size, 'image')} each): about "
            f"{_time(seconds)} at {self.step:.2f} s a step, {100 * self.measuring * measurements / seconds:.0f} % of "
            f"it to measure on val, {'once' if measurements == 1 else f'{measurements} times'}{memory}"
        )


def measure_pace(
    model: DetectorConfig | Detector,
    recipe: Recipe,
    batches: DataLoader[Any],
    val_set: DetectionDataset,
    device: torch.device,
) -> Pace | None:
    """Time a few steps on a copy of the model, and an evaluation; nothing is kept or written.

    Nothing comes back where there are several processes, or where a step fails: the run itself will say why.
    """
    if distributed.world_size() > 1:
        return None
    model = copy.deepcopy(model) if isinstance(model, Deployable) else model
    try:
        with torch.random.fork_rng(devices=[]):
            run = Trainer(model, recipe, Path(NOWHERE), 10**9, device=device)
            with StopRequest(STOPPING) as stop:
                first, step = _time_steps(run, batches, stop)
            measuring = _time_evaluation(run.model, val_set, device)
    except Exception:
        return None
    return Pace(first, step, measuring, _memory(device))


def within(recipe: Recipe, minutes: float, pace: Pace | None, images: int) -> Recipe:
    """The recipe with as many epochs as so many minutes hold; what counts in epochs or steps changes in proportion.

    Raises:
        ConfigError: they do not hold one; the message says how many would.
    """
    if pace is None:
        raise ConfigError(
            "no step could be timed (of several processes none is), so minutes cannot be turned into epochs: set epochs"
        )
    per_epoch = pace.seconds(_with_epochs(recipe, 1, images), images)
    if per_epoch > 60 * minutes:
        raise ConfigError(
            f"minutes={minutes:g} do not hold one epoch, which takes about {_time(per_epoch)} here: give more, or "
            f"train on fewer images, or on smaller ones (config.max_size)"
        )

    def seconds(epochs: int) -> float:
        return pace.seconds(_with_epochs(recipe, epochs, images), images)

    most = math.ceil(60 * minutes / per_epoch * (1 + pace.measuring / pace.step))
    epochs = max(1, bisect.bisect_right(range(1, most + 1), 60 * minutes, key=seconds))
    while seconds(epochs) > 60 * minutes:  # where measuring less often makes a longer run shorter
        epochs -= 1
    return _with_epochs(recipe, epochs, images)


def _with_epochs(recipe: Recipe, epochs: int, images: int) -> Recipe:
    """The recipe with another length, and ``FITTED`` in proportion."""
    steps = epochs * math.ceil(images / recipe.batch_size)
    return replace(
        recipe,
        epochs=epochs,
        eval_every=min(max(recipe.eval_every, math.ceil(epochs / MEASUREMENTS)), epochs),
        lr_drop=None if recipe.lr_drop is None else max(1, round(recipe.lr_drop * epochs / recipe.epochs)),
        warmup_steps=min(recipe.warmup_steps, steps // 10),
    )


def _time_steps(run: Trainer, batches: DataLoader[Any], stop: StopRequest) -> tuple[float, float]:
    """Seconds of a step whose images are new, and of a later one."""
    firsts, steps, start = [], [], time.perf_counter()
    for draws in itertools.islice(itertools.cycle(iter(batches.batch_sampler)), 1 + STEPS):  # type: ignore[arg-type]
        clock = [time.perf_counter()]
        for _ in range(2):  # once from the disk, once perhaps from memory
            batch = collate([batches.dataset[draw] for draw in draws])
            clock.append(time.perf_counter())
        run.step(*batch)
        if stop.requested:
            raise KeyboardInterrupt("nothing is trained yet")
        if run.device.type == "cuda":
            torch.cuda.synchronize(run.device)
        clock.append(time.perf_counter())
        anew, again, training = (end - begin for begin, end in itertools.pairwise(clock))
        if workers := batches.num_workers:  # they read while the model is trained
            anew, again = (max(0.0, reading / workers - training) for reading in (anew, again))
        firsts.append(anew + training)
        steps.append(again + training)
        if clock[-1] - start > LONG_ENOUGH:
            break
    return statistics.median(firsts[1:] or firsts), statistics.median(steps[1:] or steps)


@torch.no_grad()
def _time_evaluation(model: Detector, val_set: DetectionDataset, device: torch.device) -> float:
    """Seconds for all of a data set, judged by its first batch."""
    some = range(min(EVALUATED, len(val_set)))
    start = time.perf_counter()
    with evaluation_mode(model):
        samples, _ = collate([val_set[index] for index in some])
        model.postprocess(model(samples.to(device)), torch.ones(len(some), 2))
    return (time.perf_counter() - start) * len(val_set) / len(some)


def _memory(device: torch.device) -> int | None:
    """The most bytes that were in use so far: of a GPU's memory, or of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _time(seconds: float) -> str:
    """Rounded, and in the unit that people use."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
