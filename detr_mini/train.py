"""Training: one loop, a log that plots read, checkpoints that survive a power cut."""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from detr_mini.config import DETRConfig
from detr_mini.data import CocoDetection, collate, eval_transforms, train_transforms
from detr_mini.data.transforms import PAPER_SIZES
from detr_mini.detr import DETR
from detr_mini.evaluate import evaluate
from detr_mini.files import atomic_file, write_atomically
from detr_mini.loss import SetCriterion
from detr_mini.matcher import HungarianMatcher
from detr_mini.pretrained import read_pickle, save

LOG_EVERY = 50  # steps


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. The defaults are the published ones (DETR, section 4 and A.4)."""

    lr: float = 1e-4
    lr_backbone: float = 1e-5  # a pre-trained backbone moves slowly
    weight_decay: float = 1e-4
    batch_size: int = 64  # over 16 GPUs in the paper
    epochs: int = 300
    warmup_steps: int = 0
    lr_drop: int | None = 200  # epoch after which the rates fall to a tenth; None: a cosine down to zero
    clip_max_norm: float = 0.1
    eos_coef: float = 0.1
    sizes: tuple[int, ...] | None = PAPER_SIZES  # short sides drawn in training; None: pictures as they are
    eval_every: int = 1  # epochs


# From scratch, many small steps beat few large ones: with batches of 8 the AP after as many pictures is far better than
# with batches of 16. With 25 queries for four or five objects, eos_coef=0.25 gives "no object" about the share of the
# class loss that 0.1 gives it with the published 100 queries for seven objects.
_FROM_SCRATCH = Recipe(
    lr=8e-4, lr_backbone=8e-4, batch_size=8, warmup_steps=200, lr_drop=None, eos_coef=0.25, sizes=None
)
RECIPES = {
    "nano": replace(_FROM_SCRATCH, epochs=7),
    "mini": replace(_FROM_SCRATCH, epochs=60, eval_every=5),
}


def train(
    config: DETRConfig,
    recipe: Recipe,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    device: torch.device | str = "cpu",
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> DETR:
    """Train a model on the ``train`` split of a COCO folder and measure it on ``val``.

    ``out`` receives ``log.jsonl`` (a JSON object a line), ``checkpoint.pth`` (all that ``resume`` needs, after every
    epoch) and ``model.safetensors`` (the weights alone, in half precision). The random numbers of an epoch depend on
    ``seed`` and the epoch alone, so a run resumed after an epoch goes on as if it had never stopped.

    Raises:
        FileExistsError: ``out`` holds a run already and ``resume`` is False.
        FileNotFoundError: ``resume`` is True and there is nothing to resume.
        ValueError: the run in ``out`` has another config, recipe or seed, or the data another number of classes.
    """
    run = Run(config, recipe, Path(out), torch.device(device), seed, resume=resume)
    train_set = CocoDetection(data, "train", train_transforms(recipe.sizes))
    val_set = CocoDetection(data, "val", eval_transforms(config.image_size, config.max_size))
    run.check_classes(train_set)
    run.model.class_names = train_set.class_names
    batches = DataLoader(
        train_set,
        batch_sampler=SimilarShapes(train_set, recipe.batch_size),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=run.device.type == "cuda",
        persistent_workers=workers > 0,
    )
    run.make_schedule(len(batches))
    for epoch in range(run.epoch, recipe.epochs):
        torch.manual_seed(seed * 100_003 + epoch)
        bar = tqdm(batches, desc=f"epoch {epoch + 1}/{recipe.epochs}", disable=not progress, leave=False)
        for samples, targets in bar:
            loss = run.step(samples, targets)
            if loss is not None:
                bar.set_postfix(loss=f"{loss:.2f}")
        run.epoch = epoch + 1
        run.save_checkpoint()
        if run.epoch % recipe.eval_every == 0 or run.epoch == recipe.epochs:
            results = evaluate(run.model, val_set, device=run.device)
            run.log(**results)
            if progress:
                tqdm.write(f"epoch {run.epoch}: " + "  ".join(f"{k} {v:.3f}" for k, v in list(results.items())[:3]))
    return run.model


class Run:
    """A training run: model, optimiser and schedule, their checkpoint and their log."""

    def __init__(
        self, config: DETRConfig, recipe: Recipe, out: Path, device: torch.device, seed: int, *, resume: bool
    ) -> None:
        self.recipe, self.out, self.device, self.seed = recipe, out, device, seed
        torch.manual_seed(seed)
        self.model = DETR(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.criterion = SetCriterion(config.num_classes, HungarianMatcher(), eos_coef=recipe.eos_coef).to(device)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), weight_decay=recipe.weight_decay, fused=True)
        self.scheduler: torch.optim.lr_scheduler.LambdaLR
        self.epoch = 0
        self.steps = 0
        self.images = 0
        self.seconds = 0.0
        self.clock = time.perf_counter()
        self.recent: list[dict[str, Tensor]] = []
        out.mkdir(parents=True, exist_ok=True)
        if resume:
            self._load_checkpoint()
        elif self.checkpoint.exists():
            raise FileExistsError(f"{out} holds a run already: resume it (--resume), or choose another folder (--out)")
        self._trim_log()

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pth"

    @property
    def log_file(self) -> Path:
        return self.out / "log.jsonl"

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Two learning rates: one for the backbone, one for everything else."""
        groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                groups[name.startswith("backbone.0")].append(parameter)
        return [
            {"params": groups[False], "lr": self.recipe.lr},
            {"params": groups[True], "lr": self.recipe.lr_backbone},
        ]

    def make_schedule(self, steps_per_epoch: int) -> None:
        """Warm up linearly, then follow the recipe's drop or cosine."""
        recipe, total = self.recipe, self.recipe.epochs * steps_per_epoch

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
            if recipe.lr_drop is not None:
                return warm * 0.1 ** (step // (recipe.lr_drop * steps_per_epoch))
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor, last_epoch=self.steps - 1)

    def step(self, samples: Any, targets: list[dict[str, Tensor]]) -> float | None:
        """One optimiser step; returns the mean loss when it was logged."""
        self.model.train()
        samples = samples.to(self.device)
        targets = [{k: t[k].to(self.device, non_blocking=True) for k in ("labels", "boxes")} for t in targets]
        with self._autocast():
            outputs = self.model(samples)
        losses = self.criterion(outputs, targets)
        total = self.criterion.total(losses)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_max_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.steps += 1
        self.images += len(samples)
        self.recent.append({"loss": total.detach()} | {k: v.detach() for k, v in losses.items()})
        return self._log_losses() if self.steps % LOG_EVERY == 0 else None

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()  # bf16 slows training on a CPU

    def _log_losses(self) -> float:
        """Log the means of the last steps: one wait for the device instead of one a step."""
        names = list(self.recent[0])
        means = torch.stack([torch.stack([losses[n] for n in names]) for losses in self.recent]).mean(0).tolist()
        self.recent.clear()
        if not math.isfinite(means[0]):
            raise FloatingPointError(
                f"the loss is {means[0]} after {self.steps} steps: lower the learning rate (--lr, now "
                f"{self.recipe.lr}); the last checkpoint in {self.out} is from before epoch {self.epoch + 1}"
            )
        self.log(lr=self.optimizer.param_groups[0]["lr"], **dict(zip(names, means, strict=True)))
        return means[0]

    def log(self, **values: float) -> None:
        """Append a line to the log."""
        now = time.perf_counter()
        self.seconds += now - self.clock
        self.clock = now
        where = {"epoch": self.epoch, "step": self.steps, "images": self.images, "seconds": round(self.seconds, 1)}
        line = where | {k: round(v, 5) for k, v in values.items()}
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _trim_log(self) -> None:
        """Drop the lines of steps that the checkpoint does not hold: they will be made again."""
        lines = self.log_file.read_text(encoding="utf-8").splitlines() if self.log_file.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= self.steps]
        write_atomically(self.log_file, "".join(line + "\n" for line in kept).encode())

    def save_checkpoint(self) -> None:
        """Write all that resuming needs, and the weights alone."""
        state = {
            "model": self.model.state_dict(),
            "config": asdict(self.model.config),
            "class_names": self.model.class_names,
            "recipe": asdict(self.recipe),
            "optimizer": self.optimizer.state_dict(),
            "seed": self.seed,
            "epoch": self.epoch,
            "steps": self.steps,
            "images": self.images,
            "seconds": self.seconds,
        }
        with atomic_file(self.checkpoint) as temporary:
            torch.save(state, temporary)
        save(self.model, self.out / "model.safetensors")

    def _load_checkpoint(self) -> None:
        if not self.checkpoint.exists():
            raise FileNotFoundError(f"nothing to resume: there is no {self.checkpoint}")
        state = read_pickle(self.checkpoint)
        if not isinstance(state, dict) or "optimizer" not in state:
            raise ValueError(f"{self.checkpoint} holds no training run to go on with")
        for name, mine in (
            ("config", asdict(self.model.config)),
            ("recipe", asdict(self.recipe)),
            ("seed", self.seed),
        ):
            if state[name] != mine:
                raise ValueError(f"{self.checkpoint} was made with {name} {_difference(state[name], mine)}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.steps, self.images = state["epoch"], state["steps"], state["images"]
        self.seconds = state["seconds"]

    def check_classes(self, dataset: CocoDetection) -> None:
        """Refuse data with category ids the model has no output for."""
        if dataset.num_classes > self.model.config.num_classes:
            raise ValueError(
                f"the data has category ids up to {dataset.num_classes - 1}, so the model needs num_classes >= "
                f"{dataset.num_classes} (--num-classes), not {self.model.config.num_classes}"
            )


class SimilarShapes(Sampler[list[int]]):
    """Random batches of pictures of similar shape, so that little is padded.

    The pictures are shuffled and cut into chunks of sixteen batches. In each chunk they are sorted by kind, from wide
    to tall, and within a kind by area. The batches of a chunk differ in shape, and any two pictures of a kind may meet.
    """

    def __init__(self, dataset: CocoDetection, batch_size: int) -> None:
        sizes = torch.tensor([(dataset.coco.imgs[i]["height"], dataset.coco.imgs[i]["width"]) for i in dataset.ids])
        kind = (2 * (sizes[:, 0] / sizes[:, 1]).log2()).round()  # -1 is 4:3 and its like, 0 a square, 1 is 3:4
        area = sizes.prod(1)
        self.order = kind * (area.max() + 1) + area
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        batches: list[list[int]] = []
        for chunk in torch.randperm(len(self.order)).split(16 * self.batch_size):
            ordered = chunk[self.order[chunk].argsort(stable=True)]
            batches += [batch.tolist() for batch in ordered.split(self.batch_size)]
        return iter([batches[i] for i in torch.randperm(len(batches))])


def _difference(stored: Any, mine: Any) -> str:
    if not isinstance(stored, dict):
        return f"{stored}, not {mine}"
    changed = [k for k in mine if stored.get(k) != mine[k]]
    return ", ".join(f"{k}={stored.get(k)} (now {mine[k]})" for k in changed)
