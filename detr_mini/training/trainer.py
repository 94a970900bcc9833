"""A training run: a step, its log and its checkpoints, and how to go on from one.

Chapter: *Training*, ``book/14_train``.
"""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from detr_mini import distributed
from detr_mini.loss import build_criterion, flatten_layers, name_layers
from detr_mini.modeling.config import DETRConfig
from detr_mini.modeling.detr import DETR
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.training.checkpoint import CheckpointFolder
from detr_mini.training.recipe import Recipe

LOG_EVERY = 50  # steps


class Trainer:
    """A training run: model, optimiser and schedule, where in the data it is, its checkpoints and its log.

    Args:
        model: what to train; a config gives a model with random weights.
        pictures: how many the training set has.
    """

    def __init__(
        self,
        model: DETRConfig | DETR,
        recipe: Recipe,
        out: Path,
        pictures: int,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        resume: bool = False,
    ) -> None:
        self.recipe, self.pictures, self.seed = recipe, pictures, seed
        self.folder = CheckpointFolder(out)
        self.device = torch.device(device)
        self.writes = distributed.rank() == 0
        self.steps_per_epoch = math.ceil(pictures / recipe.batch_size)
        torch.manual_seed(seed)
        model = model if isinstance(model, DETR) else DETR(model)
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.criterion = build_criterion(
            model.config,
            eos_coef=recipe.eos_coef,
            bbox_loss_coef=recipe.bbox_loss_coef,
            giou_loss_coef=recipe.giou_loss_coef,
        ).to(self.device)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), weight_decay=recipe.weight_decay, fused=True)
        self.epoch = 0  # finished ones
        self.batch = 0  # finished ones of this epoch
        self.seconds = 0.0
        self.sums: Tensor | None = None  # of the losses since the last line of the log
        self._open(resume)
        self.scheduler = self._schedule()
        self.parallel = self.model if distributed.world_size() == 1 else self._parallel()
        self.clock = self.saved = time.perf_counter()

    @property
    def steps(self) -> int:
        """Finished steps of the whole run."""
        return self.epoch * self.steps_per_epoch + self.batch

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

    def _schedule(self) -> torch.optim.lr_scheduler.LambdaLR:
        """Warm up linearly, then follow the recipe's drop or cosine."""
        recipe, total = self.recipe, self.recipe.epochs * self.steps_per_epoch

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
            if recipe.lr_drop is not None:
                return warm * 0.1 ** (step // (recipe.lr_drop * self.steps_per_epoch))
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor, last_epoch=self.steps - 1)

    def _parallel(self) -> nn.Module:
        """The model, its gradients averaged over the processes."""
        return DistributedDataParallel(self.model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def read(self, batches: DataLoader[Any]) -> Iterator[tuple[NestedTensor, list[dict[str, Tensor]]]]:
        """The batches. Where one cannot be read, what was trained so far is saved first.

        Raises:
            OSError: a picture cannot be read, or a worker died.
        """
        try:
            yield from batches
        except Exception as error:  # a damaged file, a dead worker, a full /dev/shm: they come as anything
            self.save()
            what = str(error).strip().splitlines()[-1:]  # of a worker's error, which comes with its traceback
            raise OSError(
                f"the batch after step {self.steps} cannot be read: {''.join(what) or repr(error)}. "
                f"If workers were killed, fewer of them need less memory (--workers). {self.folder.safe()}"
            ) from error

    def step(self, samples: NestedTensor, targets: list[dict[str, Tensor]]) -> float | None:
        """One optimiser step; returns the mean loss of the last steps when it was logged."""
        if not self.model.training:
            self.model.train()
        if self.model.config.dropout:  # the same numbers after a resumption, others in every process
            torch.manual_seed(self.seed + 1_000_003 * (self.steps * distributed.world_size() + distributed.rank()))
        samples = _common_size(samples).to(self.device)
        targets_here = [{k: t[k].to(self.device, non_blocking=True) for k in ("labels", "boxes")} for t in targets]
        with self._autocast():
            outputs = self.parallel(samples)
        try:
            losses = self.criterion.layer_losses(outputs, targets_here)
        except ValueError as error:
            ids = [int(t["image_id"]) for t in targets if "image_id" in t]
            raise ValueError(
                f"step {self.steps + 1}, pictures with the ids {ids}: {error}. {self.folder.safe()}"
            ) from None
        total = self.criterion.total(losses)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_max_norm, foreach=True)
        self.optimizer.step()
        self.scheduler.step()
        self.batch += 1
        return self._add_to_log({"loss": total[None]} | losses)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()  # bf16 slows training on a CPU

    @torch.no_grad()
    def _add_to_log(self, losses: dict[str, Tensor]) -> float | None:
        """Sum up on the device, and log the means of the last steps: one wait instead of one a step."""
        values = flatten_layers(losses)
        self.sums = values if self.sums is None else self.sums + values
        if self.steps % LOG_EVERY:
            return None
        means = distributed.mean_over_processes(*(self.sums / LOG_EVERY).tolist())
        self.sums = None
        if not math.isfinite(means[0]):
            raise FloatingPointError(
                f"the loss is {means[0]} in step {self.steps} or before: lower the learning rate "
                f"(--lr, now {self.recipe.lr}). {self.folder.safe()}"
            )
        self._log(lr=self.optimizer.param_groups[0]["lr"], **dict(zip(name_layers(losses), means, strict=True)))
        return means[0]

    def _log(self, **values: float) -> None:
        """Append a line to the log."""
        self._count_seconds()
        if not self.writes:
            return
        images = round(self.pictures * self.steps / self.steps_per_epoch)
        where = {"epoch": self.epoch, "step": self.steps, "images": images, "seconds": round(self.seconds, 1)}
        self.folder.append(where | {k: round(v, 5) for k, v in values.items()})

    def finish_epoch(self, results: dict[str, float]) -> None:
        """Count the epoch, and log what was measured after it, if anything."""
        self.epoch, self.batch = self.epoch + 1, 0
        if results:
            self._log(**results)

    def seconds_since_saving(self) -> float:
        """How long ago the last checkpoint was made."""
        return time.perf_counter() - self.saved

    def save(self) -> None:
        """Write all that resuming needs, and the weights alone. Only the first process writes.

        Raises:
            OSError: the disk is full or fails.
            FloatingPointError: a weight is not finite, so that nothing is worth keeping.
        """
        self._count_seconds()
        self.saved = self.clock
        if not self.writes:
            return
        for name, value in self.model.state_dict().items():
            if not value.isfinite().all():
                raise FloatingPointError(
                    f"{name} is not finite after step {self.steps}: lower the learning rate "
                    f"(--lr, now {self.recipe.lr}). {self.folder.safe()}"
                )
        state = {
            "model": self.model.state_dict(),
            "config": asdict(self.model.config),
            "class_names": self.model.class_names,
            "recipe": asdict(self.recipe),
            "optimizer": self.optimizer.state_dict(),
            "seed": self.seed,
            "pictures": self.pictures,
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.seconds,
            "sums": self.sums,
        }
        self.folder.save(self.steps, state, self.model)

    def _open(self, resume: bool) -> None:
        """Find out where the run is: at its start, or where its newest sound checkpoint says."""
        state: dict[str, Any] | None = None
        if self.writes:
            if not resume and self.folder.checkpoints():
                raise FileExistsError(
                    f"{self.folder.folder} holds a run already: resume it (--resume), or choose another folder (--out)"
                )
            if newest := self.folder.newest():
                self._require_same(*newest)
                state = newest[1]
            elif resume:
                print(f"there is no run in {self.folder.folder} yet: starting one", file=sys.stderr)
        state = distributed.broadcast(state)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch, self.batch, self.seconds = state["epoch"], state["batch"], state["seconds"]
            self.sums = None if state["sums"] is None else state["sums"].to(self.device)
        if self.writes:
            self.folder.tidy(self.epoch, self.steps)

    def _require_same(self, path: Path, state: Any) -> None:
        """Refuse to go on with another run."""
        if not isinstance(state, dict) or "optimizer" not in state:
            raise ValueError(f"{path} holds no training run to go on with")
        mine = {
            "config": asdict(self.model.config),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "pictures": self.pictures,
        }
        # What a checkpoint does not name had its default when it was made.
        defaults: dict[str, dict[str, Any]] = {"config": asdict(DETRConfig()), "recipe": asdict(Recipe())}
        for name, value in mine.items():
            stored = {**defaults[name], **state[name]} if name in defaults else state[name]
            if stored != value:
                raise ValueError(f"{path} was made with {name} {_difference(stored, value)}")

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.seconds, self.clock = self.seconds + now - self.clock, now


def _common_size(samples: NestedTensor) -> NestedTensor:
    """Pad a batch to the largest height and width among the processes, as one process would pad it."""
    if distributed.world_size() == 1:
        return samples
    height, width = samples.tensors.shape[-2:]
    tallest, widest = map(int, distributed.max_over_processes(height, width))
    missing = (0, widest - width, 0, tallest - height)
    return NestedTensor(
        nn.functional.pad(samples.tensors, missing),
        nn.functional.pad(samples.mask, missing, value=True),
        samples.padded or any(missing),
    )


def _difference(stored: Any, mine: Any) -> str:
    if not isinstance(stored, dict):
        return f"{stored}, not {mine}"
    changed = [k for k in mine if stored.get(k) != mine[k]]
    return ", ".join(f"{k}={stored.get(k)} (now {mine[k]})" for k in changed)
