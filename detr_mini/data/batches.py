"""Batches for training: little padding, the same pictures whatever the number of processes, and a place to go on from.

Chapter: *Training*, ``book/14_train``.
"""

import math
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from detr_mini import distributed
from detr_mini.data.coco import Target
from detr_mini.data.dataset import DetectionDataset
from detr_mini.errors import ConfigError, StorageError, UserError
from detr_mini.modeling.nested_tensor import NestedTensor

CHUNK = 16  # batches
# What torch says when a worker has died, or cannot hand over a batch for want of shared memory.
WORKER_FAULTS = ("DataLoader worker", "shared memory", "unable to write to file", "ancdata")
FEWER_WORKERS = "If workers were killed, fewer of them need less memory"
Draw = tuple[int, int]  # which picture, and the seed of its augmentation


class BucketSampler(Sampler[list[Draw]]):
    """Random batches of pictures of similar shape, so that little is padded.

    The pictures are shuffled and cut into chunks of ``CHUNK`` batches. In each chunk they are sorted by kind, from wide
    to tall, and within a kind by area. The batches of a chunk differ in shape, and any two pictures of a kind may meet.
    All batches of an epoch have the same number of pictures, or one less.

    An epoch follows from ``seed`` and its number alone. Of several processes each takes its share of every batch, so
    that no picture is seen twice.

    Args:
        dataset: the pictures.
        batch_size: pictures of a batch, over all processes.
        seed: of order and augmentation.
        rank, world_size: which process this is, and of how many.

    Raises:
        ConfigError: there are more processes than pictures in a batch.
    """

    def __init__(
        self, dataset: DetectionDataset, batch_size: int, *, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        sizes = torch.tensor(dataset.sizes)  # (images, 2): height, width
        kind = (2 * (sizes[:, 0] / sizes[:, 1]).log2()).round()  # -1 is 4:3 and its like, 0 a square, 1 is 3:4
        area = sizes.prod(1)
        self.order = kind * (area.max() + 1) + area
        self.batches = math.ceil(len(dataset) / batch_size)
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = self.first = 0
        if len(dataset) // self.batches < world_size:
            raise ConfigError(
                f"batches of {len(dataset) // self.batches} pictures cannot be shared by {world_size} processes: "
                f"use larger batches (batch_size, now {batch_size}) or fewer processes"
            )

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch that comes next, and how many of its batches to leave out."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return self.batches - self.first

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        images = torch.randperm(len(self.order), generator=rng)
        seeds = torch.randint(2**62, (len(self.order),), generator=rng).tolist()
        batches: list[Tensor] = []
        parts = images.tensor_split(self.batches)
        for start in range(0, len(parts), CHUNK):
            chunk = parts[start : start + CHUNK]
            mixed = torch.cat(chunk)
            batches += mixed[self.order[mixed].argsort(stable=True)].split([len(part) for part in chunk])
        for number in torch.randperm(len(batches), generator=rng)[self.first :]:
            share = batches[number][self.rank :: self.world_size].tolist()
            yield [(image, seeds[image]) for image in share]


class SeededImages(Dataset[tuple[Tensor, Target]]):
    """Images whose augmentation follows from a seed of their own, whichever process or worker reads them.

    Torch's global generator is seeded while an image is read, and put back afterwards.
    """

    def __init__(self, dataset: DetectionDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Target]:
        image, seed = draw
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(seed)
        try:
            return self.dataset[image]
        finally:
            torch.default_generator.set_state(before)


def read_batches(batches: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader; what goes wrong with files and workers comes as an error that says so.

    A bug, in a transform for example, keeps its own error and traceback.

    Raises:
        StorageError: an image cannot be read, or a worker died.
    """
    try:
        yield from _start(batches)
    except (ConnectionError, EOFError) as error:  # a worker was killed while it handed over a batch
        raise StorageError(f"a DataLoader worker died ({_in_a_line(error)}). {FEWER_WORKERS}") from error
    except (UserError, OSError) as error:
        raise StorageError(_in_a_line(error)) from error
    except RuntimeError as error:
        if any(words in str(error) for words in WORKER_FAULTS):
            raise StorageError(f"{_in_a_line(error)}. {FEWER_WORKERS}") from error
        raise


def _start(batches: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers, whose deaths then show where a batch is asked for.

    A DataLoader handles SIGCHLD, and raises wherever the main thread is at that moment: in the middle of a step.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return iter(batches)
    before = signal.getsignal(signal.SIGCHLD)
    iterator = iter(batches)
    signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return iterator


def _in_a_line(error: Exception) -> str:
    """What an error says; of a worker's, which comes with its traceback, the end."""
    lines = str(error).strip().splitlines() or [repr(error)]
    kinds = "|".join(re.escape(f"{kind.__module__}.{kind.__name__}: ") for kind in type(error).__mro__)
    return re.sub(rf"^({kinds}|\w+Error: )", "", lines[-1])


def collate(batch: Sequence[tuple[Tensor, Target]]) -> tuple[NestedTensor, list[Target]]:
    """Pad the pictures of a batch, each (3, H, W) float, to a common size, and masks likewise; targets stay a list."""
    samples = NestedTensor.from_images([image for image, _ in batch])
    height, width = samples.tensors.shape[-2:]
    return samples, [pad_masks(target, height, width) for _, target in batch]


def common_size(samples: NestedTensor) -> NestedTensor:
    """Pad a batch to the largest height and width among the processes, as one process would pad it."""
    if distributed.world_size() == 1:
        return samples
    height, width = samples.tensors.shape[-2:]
    tallest, widest = map(int, distributed.max_over_processes(height, width))
    missing = (0, widest - width, 0, tallest - height)
    if not any(missing):
        return samples
    images, mask = samples.decompose()
    return NestedTensor(torch.nn.functional.pad(images, missing), torch.nn.functional.pad(mask, missing, value=True))


def pad_masks(target: Target, height: int, width: int) -> Target:
    """The target with masks ``(T, height, width)``, if it has any: of a batch they have to have one size."""
    if "masks" not in target or target["masks"].shape[-2:] == (height, width):
        return target
    h, w = target["masks"].shape[-2:]
    return target | {"masks": torch.nn.functional.pad(target["masks"], (0, width - w, 0, height - h))}
