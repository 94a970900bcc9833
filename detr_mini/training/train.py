"""Training: one loop, over batches that follow from a seed, which can be stopped and gone on with anywhere.

Chapter: *Training*, ``book/14_train``.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from detr_mini import distributed
from detr_mini.data import BucketSampler, DetectionDataset, SeededImages, collate, is_panoptic
from detr_mini.errors import ConfigError
from detr_mini.evaluation import evaluate
from detr_mini.modeling.build import Detector
from detr_mini.modeling.config import RESNETS, DetectorConfig
from detr_mini.modeling.export import Deployable
from detr_mini.training.checkpoint import WEIGHTS, CheckpointFolder
from detr_mini.training.interrupt import StopRequest, leave_to_the_trainer
from detr_mini.training.own_data import Figures
from detr_mini.training.pace import FITTED, measure_pace, within
from detr_mini.training.prepare import Data, fingerprint, open_data
from detr_mini.training.recipe import Recipe
from detr_mini.training.screen import first_screen, verdict
from detr_mini.training.trainer import Trainer
from detr_mini.weights import load

STOPPING = "finishing this step to save it; a second signal stops at once, at the last checkpoint"


def train(
    model: DetectorConfig | Detector,
    recipe: Recipe,
    data: Data,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    seed: int = 0,
    workers: int = 0,
    save_every: float = 600.0,
    progress: bool = True,
    callback: Callable[[int, Detector], None] | None = None,
    weights: str | None = None,
    panoptic: bool = False,
    minutes: float | None = None,
) -> Detector:
    """Train a model on one data set and measure it on another: ``train`` and ``val`` of a COCO folder, or two of yours.

    ``out`` receives ``log.jsonl`` (a JSON object a line), ``checkpoint-STEP-CHECKSUM.pth`` (all that ``resume`` needs,
    the newest two), ``model.safetensors`` (the weights alone, in half precision: the last, or with the recipe's
    ``keep_best`` the best) and ``config.json`` (config, recipe, seed, data and weights, to read). All random numbers
    follow from ``seed``, the epoch, the step and the picture, so a run that was stopped, whenever and however, goes on
    from its last checkpoint to the same weights as a run left alone.

    Within :func:`detr_mini.distributed.processes` every process takes its share of each batch, the loss is that of the
    whole batch, and the first process writes.

    Args:
        model: what to train: a config stands for a model with random weights, a model trains on from its own; see
            :func:`detr_mini.weights.load_to_train` and :func:`detr_mini.weights.load_backbone`.
        data: a folder in COCO format, whose images are resized in training as in evaluation, or a pair of data sets to
            train and to measure on, each a :class:`.DetectionDataset` with its own transforms.
        resume: go on with the run in ``out``; start it where there is none.
        device: of this process.
        workers: processes that read pictures, for each process that trains.
        save_every: seconds between checkpoints within an epoch; the end of an epoch always makes one.
        progress: show a bar, the result of each epoch, and at the start what might surprise: how images are resized,
            or that the run is too short for its recipe.
        callback: called with the number of finished steps and the model, at the start and after every step. It may look
            at the model, and put it in evaluation mode to do so.
        weights: a name for ``config.json`` of the weights that ``model`` began with.
        panoptic: read things and stuff of a folder, from its panoptic annotations.
        minutes: instead of the recipe's epochs as many as so many minutes hold, judged by a few steps that are timed. A
            run that goes on keeps the number that it began with.

    Returns:
        The model that ``model.safetensors`` holds, in evaluation mode.

    Raises:
        FolderInUseError: ``out`` holds a run already and ``resume`` is False.
        ConfigError: the run in ``out`` has another config, recipe, seed or training set; the model has too few classes
            for the data, or a frozen ResNet with random weights; sizes of recipe and config that do not go together.
        WeightsError: the checkpoints in ``out`` are damaged.
        StorageError: a file cannot be written, a picture not be read, or a worker died; the run can be resumed.
        DivergedError: the loss or the weights are not finite.
        MemoryFullError: the device's memory does not hold a step.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is finished and saved.
    """
    config = model.config if isinstance(model, Deployable) else model
    train_set, val_set = open_data(data, config, recipe, panoptic)
    _check(model, recipe, train_set, workers)
    batches = _batches(train_set, recipe, seed, workers, torch.device(device))
    if minutes is not None:
        recipe = _within(minutes, model, recipe, batches, val_set, torch.device(device), Path(out) if resume else None)
    origin = {"folder": None if isinstance(data, tuple) else os.fspath(data), "weights": weights}
    identity = fingerprint(train_set)
    run = Trainer(
        model, recipe, Path(out), len(train_set), device=device, seed=seed, resume=resume, data=identity, origin=origin
    )
    _name_classes(run.model, train_set)
    run.describe()
    progress = progress and distributed.rank() == 0
    told = {"trained": weights is not None}
    if progress:
        pace = measure_pace(run.model, recipe, batches, val_set, run.device)
        folder = not isinstance(data, tuple)
        _say(first_screen(train_set, val_set, config, recipe, pace, folder=folder, done=run.epoch, **told))
    _train_epochs(run, batches, val_set, save_every, progress, callback)
    if progress:
        _say(verdict(run.folder.lines(), Figures.of(train_set), config, recipe, **told))
    return _kept(run)


def _within(
    minutes: float,
    model: DetectorConfig | Detector,
    recipe: Recipe,
    batches: DataLoader[Any],
    val_set: DetectionDataset,
    device: torch.device,
    resumed: Path | None,
) -> Recipe:
    """The recipe for so many minutes; a run that goes on keeps what it was given at its start."""
    stored = CheckpointFolder(resumed).recipe() if resumed else None
    if stored is not None:
        return replace(recipe, **{name: getattr(stored, name) for name in FITTED})
    images = len(batches.dataset)  # type: ignore[arg-type]
    return within(recipe, minutes, measure_pace(model, recipe, batches, val_set, device), images)


def _kept(run: Trainer) -> Detector:
    """The model of a finished run, in evaluation mode: with the best weights, if those are kept."""
    if run.recipe.keep_best and distributed.rank() == 0:
        run.model.load_state_dict(load(run.folder.folder / WEIGHTS).state_dict())
    return run.model.eval()


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _check(model: DetectorConfig | Detector, recipe: Recipe, train_set: DetectionDataset, workers: int) -> None:
    """Refuse what cannot be trained, before anything is written."""
    config = model.config if isinstance(model, Deployable) else model
    if recipe.freeze_detector and not isinstance(model, Deployable):
        raise ConfigError(
            "freeze_detector=True trains the mask head alone, and the detector would keep its random weights: give a "
            "model with trained ones (load_to_train with masks=True)"
        )
    if workers < 0:
        raise ConfigError(f"workers={workers} must not be negative; 0 reads pictures in the process that trains")
    if train_set.num_classes > config.num_classes:
        raise ConfigError(
            f"the data has category ids up to {train_set.num_classes - 1}, so the model needs num_classes >= "
            f"{train_set.num_classes}, not {config.num_classes}"
        )
    if config.backbone in RESNETS and config.freeze_resnet and not _is_trained(model):
        raise ConfigError(
            f"the {config.backbone} has random weights, and its stem, first stage and batch norms would stay so: with "
            f"freeze_resnet=True they are not trained. Start from the weights of a whole DETR (load_to_train), or of a "
            f"ResNet trained on ImageNet (load_backbone); or train all of it, with norms that learn "
            f"(freeze_resnet=False), which takes many more images"
        )


def _name_classes(model: Detector, train_set: DetectionDataset) -> None:
    model.class_names = train_set.class_names
    model.stuff = train_set.stuff if is_panoptic(train_set) else frozenset()


def _is_trained(model: DetectorConfig | Detector) -> bool:
    """Whether a ResNet's batch norms, which are frozen, hold statistics of images; of a new one they are 0 and 1."""
    if not isinstance(model, Deployable):
        return False
    norm: Any = model.backbone[0].get_submodule("body.bn1")  # type: ignore[union-attr]
    return bool(norm.running_mean.ne(0).any() or norm.running_var.ne(1).any())


def _batches(
    train_set: DetectionDataset, recipe: Recipe, seed: int, workers: int, device: torch.device
) -> DataLoader[Any]:
    sampler = BucketSampler(
        train_set, recipe.batch_size, seed=seed, rank=distributed.rank(), world_size=distributed.world_size()
    )
    return DataLoader(
        SeededImages(train_set),
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=leave_to_the_trainer,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )


def _train_epochs(
    run: Trainer,
    batches: DataLoader[Any],
    val_set: DetectionDataset,
    save_every: float,
    progress: bool,
    callback: Callable[[int, Detector], None] | None,
) -> None:
    """The epochs that are not done yet, each measured at its end as often as the recipe says."""
    recipe = run.recipe
    if callback:
        callback(run.steps, run.model)
    with StopRequest(STOPPING if progress else "") as stop:
        while run.epoch < recipe.epochs:
            _train_epoch(run, batches, stop, save_every, progress, callback)
            results = {}
            if (run.epoch + 1) % recipe.eval_every == 0 or run.epoch + 1 == recipe.epochs:
                results = evaluate(run.model, val_set, workers=batches.num_workers)
            run.finish_epoch(results)
            if progress:
                tqdm.write(_summary(run, results))


def _train_epoch(
    run: Trainer,
    batches: DataLoader[Any],
    stop: StopRequest,
    save_every: float,
    progress: bool,
    callback: Callable[[int, Detector], None] | None,
) -> None:
    """The steps of an epoch that are not done yet, and their checkpoints."""
    batches.batch_sampler.set_epoch(run.epoch, first=run.batch)  # type: ignore[union-attr]
    title, total = f"epoch {run.epoch + 1}/{run.recipe.epochs}", run.steps_per_epoch
    bar = tqdm(run.read(batches), title, total, initial=run.batch, disable=not progress, leave=False)
    for samples, targets in bar:
        loss = run.step(samples, targets)
        if callback:
            callback(run.steps, run.model)
        if loss is not None:
            bar.set_postfix(loss=f"{loss:.2f}")
        (stopping,) = distributed.max_over_processes(stop.requested)
        if stopping or run.seconds_since_saving() > save_every or run.batch == total:
            run.save()
        if stopping:
            raise KeyboardInterrupt(f"step {run.steps} is finished and saved")


def _summary(run: Trainer, results: dict[str, float]) -> str:
    """A line on a finished epoch: the loss that was logged last, and the first three numbers of COCO's twelve."""
    numbers = {} if run.last_loss is None else {"loss": run.last_loss}
    numbers |= dict(list(results.items())[:3])
    return f"epoch {run.epoch}: " + "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
