"""A training run: a step, its log and its checkpoints, and how to go on from one.

Chapter: *Training*, ``book/14_train``.
"""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from detr_mini import distributed
from detr_mini.data import read_batches
from detr_mini.data.batches import common_size, pad_masks
from detr_mini.errors import DataError, DivergedError, FolderInUseError, MemoryFullError, StorageError, UserError
from detr_mini.loss import build_criterion, flatten_layers, name_layers
from detr_mini.modeling.build import Detector, build
from detr_mini.modeling.config import DetectorConfig
from detr_mini.modeling.export import Deployable
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.training.checkpoint import CheckpointFolder, require_same_run
from detr_mini.training.optimization import freeze_detector, make_optimizer, make_schedule
from detr_mini.training.recipe import Recipe

LOG_EVERY = 50  # steps
COEFFICIENTS = ("eos_coef", "bbox_loss_coef", "giou_loss_coef", "set_cost_bbox", "set_cost_giou")  # of the criterion
FOR_THE_LOSS = ("labels", "boxes", "masks")  # what is moved to the device, where a target has it
MEMORY_FULL = ("out of memory", "can't allocate memory")  # what torch says, of a GPU and of a CPU


class Trainer:
    """A training run: model, optimizer and schedule, where in the data it is, its checkpoints and its log.

    Args:
        model: what to train; a config gives a model with random weights.
        out: the folder of the run. It is made when there is something to write, by the first process.
        num_images: how many the training set has.
        origin: where data and weights came from, for people to read; it is not compared when a run goes on.
        data: what tells the training set from others, as :func:`.fingerprint` gives it; compared when a run goes on.

    Raises:
        FolderInUseError: ``out`` holds a run already and ``resume`` is False.
        ConfigError: the run in ``out`` was made with something else.
        WeightsError: its checkpoints are damaged.
    """

    def __init__(
        self,
        model: DetectorConfig | Detector,
        recipe: Recipe,
        out: Path,
        num_images: int,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        resume: bool = False,
        data: str | None = None,
        origin: Mapping[str, str | None] | None = None,
    ) -> None:
        self.recipe = recipe
        self.folder = CheckpointFolder(out)
        self.device = torch.device(device)
        self.steps_per_epoch = math.ceil(num_images / recipe.batch_size)
        self.epoch = 0  # finished ones
        self.batch = 0  # finished ones of this epoch
        self.last_loss: float | None = None  # the mean that was logged last
        self.best: float | None = None  # the highest AP so far
        torch.manual_seed(seed)
        model = model if isinstance(model, Deployable) else build(model)
        if recipe.freeze_detector:
            freeze_detector(model)
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        coefficients = {name: getattr(recipe, name) for name in COEFFICIENTS}
        self.criterion = build_criterion(model.config, **coefficients).to(self.device)
        self.optimizer = make_optimizer(self.model, recipe)
        # What has to be the same when the run goes on.
        identity = {"config": asdict(model.config), "recipe": asdict(recipe), "seed": seed, "pictures": num_images}
        self._identity: dict[str, Any] = identity | ({} if data is None else {"data": data})
        self._origin = dict(origin or {})
        self._writes = distributed.rank() == 0
        self._seconds = 0.0  # of training, earlier processes of this run included
        self._sums: Tensor | None = None  # of the losses since the last line of the log
        self._open(resume)
        self.scheduler = make_schedule(self.optimizer, recipe, self.steps_per_epoch, self.steps)
        self._replica = self._parallel() if distributed.world_size() > 1 else self.model
        self._clock = self._saved_at = time.perf_counter()

    @property
    def steps(self) -> int:
        """Finished steps of the whole run."""
        return self.epoch * self.steps_per_epoch + self.batch

    def _parallel(self) -> nn.Module:
        """The model, its gradients averaged over the processes."""
        return DistributedDataParallel(self.model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def read(self, batches: DataLoader[Any]) -> Iterator[tuple[NestedTensor, list[dict[str, Tensor]]]]:
        """The batches. Where one cannot be read, what was trained so far is saved first.

        Raises:
            StorageError: a picture cannot be read, or a worker died.
        """
        try:
            yield from read_batches(batches)
        except StorageError as error:
            self.save()
            raise StorageError(
                f"the batch after step {self.steps} cannot be read: {error}. {self.folder.safe()}"
            ) from error
        except Exception:  # a bug keeps its traceback, but should not cost what was trained
            self.save()
            raise

    def step(self, samples: NestedTensor, targets: list[dict[str, Tensor]]) -> float | None:
        """One optimizer step.

        Args:
            samples: a batch of normalized images, on any device.
            targets: for each image ``labels`` ``(T,)``, ``boxes`` ``(T, 4)`` as cxcywh in [0, 1], and ``masks``
                ``(T, H, W)`` where the criterion wants them.

        Returns:
            The mean loss of the last steps when it was logged, else None.

        Raises:
            DataError: targets that the criterion refuses; the message names step and images.
            DivergedError: the loss is not finite.
            MemoryFullError: the device's memory does not hold the step.
        """
        if not self.model.training:
            self.model.train()
        if self.model.config.dropout:  # the same numbers after a resumption, others in every process
            where = self.steps * distributed.world_size() + distributed.rank()
            torch.manual_seed(self._identity["seed"] + 1_000_003 * where)
        with self._room():
            samples = common_size(samples).to(self.device)
            here = [self._for_the_loss(target, *samples.tensors.shape[-2:]) for target in targets]
            with self._autocast():
                outputs = self._replica(samples)
            losses = self._losses(outputs, here, targets)
            total = self.criterion.total(losses)
            self.optimizer.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_max_norm, foreach=True)
            self.optimizer.step()
        self.scheduler.step()
        self.batch += 1
        return self._add_to_log({"loss": total[None]} | losses)

    def _for_the_loss(self, target: dict[str, Tensor], height: int, width: int) -> dict[str, Tensor]:
        """What the criterion needs of a target, on the device; masks have the size of the batch."""
        target = pad_masks(target, height, width)
        return {name: target[name].to(self.device, non_blocking=True) for name in FOR_THE_LOSS if name in target}

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()  # bf16 slows training on a CPU

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        """Say what can be done where the memory of the device is full."""
        try:
            yield
        except RuntimeError as error:
            if not any(words in str(error) for words in MEMORY_FULL):
                raise
            config = self.model.config
            raise MemoryFullError(
                f"step {self.steps + 1}: the memory of {self.device} is full. Smaller batches (batch_size, now "
                f"{self.recipe.batch_size} over {distributed.world_size()} processes) or smaller images (max_size, now "
                f"{config.max_size}) need less, and more processes share a batch. {self.folder.safe()}"
            ) from error

    def _losses(self, outputs: dict[str, Any], here: list[dict[str, Tensor]], targets: Any) -> dict[str, Tensor]:
        """The criterion's terms; what it refuses gets the step and the ids of the images."""
        try:
            return self.criterion.layer_losses(outputs, here)
        except ValueError as error:
            kind = type(error) if isinstance(error, UserError) else DataError
            ids = [int(t["image_id"]) for t in targets if "image_id" in t]
            raise kind(f"step {self.steps + 1}, pictures with the ids {ids}: {error}. {self.folder.safe()}") from None

    @torch.no_grad()
    def _add_to_log(self, losses: dict[str, Tensor]) -> float | None:
        """Sum up on the device, and log the means of the last steps: one wait instead of one a step."""
        values = flatten_layers(losses)
        self._sums = values if self._sums is None else self._sums + values
        count = min(LOG_EVERY, self.steps_per_epoch)  # once an epoch at least
        if self.steps % count:
            return None
        means = distributed.mean_over_processes(*(self._sums / count).tolist())
        self._sums = None
        if not math.isfinite(means[0]):
            raise DivergedError(f"the loss is {means[0]} in step {self.steps} or before: {self._lower_rate()}")
        self._log(lr=self.optimizer.param_groups[0]["lr"], **dict(zip(name_layers(losses), means, strict=True)))
        self.last_loss = means[0]
        return means[0]

    def _lower_rate(self) -> str:
        return (
            f"lower the learning rate (lr, now {self.recipe.lr}) in a new run, which can begin with the weights of "
            f"this one. {self.folder.safe()}"
        )

    def _log(self, **values: float) -> None:
        """Append a line to the log."""
        self._count_seconds()
        if not self._writes:
            return
        images = round(self._identity["pictures"] * self.steps / self.steps_per_epoch)
        where = {"epoch": self.epoch, "step": self.steps, "images": images, "seconds": round(self._seconds, 1)}
        self.folder.append(where | {k: round(v, 5) for k, v in values.items()})

    def finish_epoch(self, results: dict[str, float]) -> None:
        """Count the epoch, log what was measured after it, if anything, and store the weights if they are the best."""
        self.epoch, self.batch = self.epoch + 1, 0
        if not results:
            return
        self._log(**results)
        if self.recipe.keep_best and (self.best is None or results["AP"] > self.best):
            self.best = results["AP"]
            if self._writes:
                self.folder.save_weights(self.model)

    def seconds_since_saving(self) -> float:
        """How long ago the last checkpoint was made."""
        return time.perf_counter() - self._saved_at

    def describe(self) -> None:
        """Write what the run is made of to ``config.json``. Only the first process writes."""
        if self._writes:
            self.folder.describe(self._identity | self._origin)

    def save(self) -> None:
        """Write all that resuming needs, and the weights alone. Only the first process writes.

        Raises:
            StorageError: the disk is full or fails.
            DivergedError: a weight is not finite, so that nothing is worth keeping.
        """
        self._count_seconds()
        self._saved_at = self._clock
        if not self._writes:
            return
        for name, value in self.model.state_dict().items():
            if not value.isfinite().all():
                raise DivergedError(f"{name} is not finite after step {self.steps}: {self._lower_rate()}")
        state = self._identity | {
            "model": self.model.state_dict(),
            "class_names": self.model.class_names,
            "stuff": sorted(self.model.stuff),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self._seconds,
            "sums": self._sums,
            "best": self.best,
        }
        better = self.best is not None and self.recipe.keep_best  # than these weights, perhaps
        self.folder.save(self.steps, state, None if better else self.model)

    def _open(self, resume: bool) -> None:
        """Find out where the run is: at its start, or where its newest sound checkpoint says."""
        state: dict[str, Any] | None = None
        if self._writes:
            if not resume and self.folder.checkpoints():
                raise FolderInUseError(f"{self.folder.folder} holds a run already: resume it, or choose another folder")
            if newest := self.folder.newest():
                require_same_run(*newest, self._identity)
                state = newest[1]
            elif resume:
                print(f"there is no run in {self.folder.folder} yet: starting one", file=sys.stderr)
        state = distributed.broadcast(state)
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch, self.batch, self._seconds = state["epoch"], state["batch"], state["seconds"]
            self._sums = None if state["sums"] is None else state["sums"].to(self.device)
            self.best = state.get("best")
        if self._writes:
            self.folder.tidy(self.epoch, self.steps)

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self._seconds, self._clock = self._seconds + now - self._clock, now
