"""Batches for training: little padding, the same pictures whatever the number of processes, and a place to go on from.

Chapter: *Training*, ``book/14_train``.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from detr_mini.data.coco import CocoDetection, Target

CHUNK = 16  # batches
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
        ValueError: there are more processes than pictures in a batch.
    """

    def __init__(
        self, dataset: CocoDetection, batch_size: int, *, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        sizes = torch.tensor([(dataset.coco.imgs[i]["height"], dataset.coco.imgs[i]["width"]) for i in dataset.ids])
        kind = (2 * (sizes[:, 0] / sizes[:, 1]).log2()).round()  # -1 is 4:3 and its like, 0 a square, 1 is 3:4
        area = sizes.prod(1)
        self.order = kind * (area.max() + 1) + area
        self.batches = math.ceil(len(dataset) / batch_size)
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = self.first = 0
        if len(dataset) // self.batches < world_size:
            raise ValueError(
                f"batches of {len(dataset) // self.batches} pictures cannot be shared by {world_size} processes: "
                f"use larger batches (--batch-size, now {batch_size}) or fewer processes"
            )

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Set the epoch that comes next, and how many of its batches to leave out."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return self.batches - self.first

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        pictures = torch.randperm(len(self.order), generator=rng)
        seeds = torch.randint(2**62, (len(self.order),), generator=rng).tolist()
        batches: list[Tensor] = []
        parts = pictures.tensor_split(self.batches)
        for start in range(0, len(parts), CHUNK):
            chunk = parts[start : start + CHUNK]
            mixed = torch.cat(chunk)
            batches += mixed[self.order[mixed].argsort(stable=True)].split([len(part) for part in chunk])
        for number in torch.randperm(len(batches), generator=rng)[self.first :]:
            share = batches[number][self.rank :: self.world_size].tolist()
            yield [(picture, seeds[picture]) for picture in share]


class SeededImages(Dataset[tuple[Tensor, Target]]):
    """Pictures whose augmentation follows from a seed of their own, whichever process or worker reads them."""

    def __init__(self, dataset: CocoDetection) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Target]:
        picture, seed = draw
        torch.default_generator.manual_seed(seed)
        return self.dataset[picture]
