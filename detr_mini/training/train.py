"""Training: one loop, over batches that follow from a seed, which can be stopped and gone on with anywhere.

Chapter: *Training*, ``book/14_train``.
"""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from detr_mini import distributed
from detr_mini.data import BucketSampler, CocoDetection, SeededImages, collate, eval_transforms, train_transforms
from detr_mini.evaluation import evaluate
from detr_mini.modeling.config import DETRConfig
from detr_mini.modeling.detr import DETR
from detr_mini.training.interrupt import StopRequest, leave_to_the_trainer
from detr_mini.training.recipe import Recipe
from detr_mini.training.trainer import Trainer


def train(
    model: DETRConfig | DETR,
    recipe: Recipe,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    seed: int = 0,
    workers: int = 0,
    save_every: float = 600.0,
    progress: bool = True,
    watch: Callable[[int, DETR], None] | None = None,
) -> DETR:
    """Train a model on the ``train`` split of a COCO folder and measure it on ``val``.

    ``out`` receives ``log.jsonl`` (a JSON object a line), ``checkpoint-STEP-CHECKSUM.pth`` (all that ``resume`` needs,
    the newest two) and ``model.safetensors`` (the weights alone, in half precision). All random numbers follow from
    ``seed``, the epoch, the step and the picture, so a run that was stopped, whenever and however, goes on from its
    last checkpoint to the same weights as a run left alone.

    Within :func:`detr_mini.distributed.processes` every process takes its share of each batch, the loss is that of the
    whole batch, and the first process writes.

    Args:
        model: what to train: a config stands for a model with random weights, a model trains on from its own.
        resume: go on with the run in ``out``; start it where there is none.
        device: of this process.
        workers: processes that read pictures, for each process that trains.
        save_every: seconds between checkpoints within an epoch; the end of an epoch always makes one.
        watch: called with the number of finished steps and the model, at the start and after every step. It may look
            at the model, and put it in evaluation mode to do so.

    Raises:
        FileExistsError: ``out`` holds a run already and ``resume`` is False.
        ValueError: the run in ``out`` has another config, recipe, seed or number of pictures, its checkpoints are
            damaged, or the model has too few classes for the data.
        OSError: a file cannot be written, a picture not be read, or a worker died; the run can be resumed.
        FloatingPointError: the loss or the weights are not finite.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is finished and saved.
    """
    config = model.config if isinstance(model, DETR) else model
    train_set = CocoDetection(data, "train", train_transforms(recipe.sizes))
    val_set = CocoDetection(data, "val", eval_transforms(config.image_size, config.max_size))
    _check_classes(config, train_set)
    run = Trainer(model, recipe, Path(out), len(train_set), device=torch.device(device), seed=seed, resume=resume)
    run.model.class_names = train_set.class_names
    sampler = BucketSampler(
        train_set, recipe.batch_size, seed=seed, rank=distributed.rank(), world_size=distributed.world_size()
    )
    batches = DataLoader(
        SeededImages(train_set),
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=leave_to_the_trainer,
        pin_memory=run.device.type == "cuda",
        persistent_workers=workers > 0,
    )
    progress = progress and run.writes
    if watch:
        watch(run.steps, run.model)
    with StopRequest() as stop:
        while run.epoch < recipe.epochs:
            sampler.set_epoch(run.epoch, first=run.batch)
            title = f"epoch {run.epoch + 1}/{recipe.epochs}"
            total = run.steps_per_epoch
            bar = tqdm(run.read(batches), title, total, initial=run.batch, disable=not progress, leave=False)
            for samples, targets in bar:
                loss = run.step(samples, targets)
                if watch:
                    watch(run.steps, run.model)
                if loss is not None:
                    bar.set_postfix(loss=f"{loss:.2f}")
                (stopping,) = distributed.max_over_processes(stop.requested)
                if stopping or run.seconds_since_saving() > save_every or run.batch == total:
                    run.save()
                if stopping:
                    raise KeyboardInterrupt(f"step {run.steps} is finished and saved")
            results = {}
            if (run.epoch + 1) % recipe.eval_every == 0 or run.epoch + 1 == recipe.epochs:
                results = evaluate(run.model, val_set, workers=workers)
            run.finish_epoch(results)
            if progress:
                tqdm.write(f"epoch {run.epoch}: " + "  ".join(f"{k} {v:.3f}" for k, v in list(results.items())[:3]))
    return run.model.eval()


def _check_classes(config: DETRConfig, dataset: CocoDetection) -> None:
    """Refuse data with category ids the model has no output for."""
    if dataset.num_classes > config.num_classes:
        raise ValueError(
            f"the data has category ids up to {dataset.num_classes - 1}, so the model needs num_classes >= "
            f"{dataset.num_classes} (--num-classes), not {config.num_classes}"
        )
