"""Several processes that train one model, each on its share of every batch.

``torchrun`` starts the processes and tells each its place. Everything here also works, and does nothing, in a process
of its own. Small numbers are exchanged on the host, so that no process waits for its GPU.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@contextlib.contextmanager
def processes(device: str) -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` started, for the length of a ``with`` block; alone, do nothing.

    Yields the device of this process: with several of them and ``device="cuda"``, the GPU of its local rank.
    """
    if not dist.is_torchelastic_launched():
        yield torch.device(device)
        return
    here = torch.device(device)
    if here.type == "cuda" and here.index is None:
        here = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if here.type == "cuda" else "gloo")
    try:
        yield here
    finally:
        _host_group.cache_clear()
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0; the first one writes the files."""
    return dist.get_rank() if world_size() > 1 else 0


def mean_over_processes(*values: float) -> tuple[float, ...]:
    """The mean of each number over the processes, the same everywhere."""
    if world_size() == 1:
        return values
    return tuple((_reduce(values, dist.ReduceOp.SUM) / world_size()).tolist())


def max_over_processes(*values: float) -> tuple[float, ...]:
    """The largest of each number over the processes, the same everywhere."""
    return values if world_size() == 1 else tuple(_reduce(values, dist.ReduceOp.MAX).tolist())


def all_gather(values: list[Any]) -> list[list[Any]]:
    """The lists of all processes, in the order of their ranks, in every process."""
    if world_size() == 1:
        return [values]
    lists: list[list[Any]] = [[] for _ in range(world_size())]
    dist.all_gather_object(lists, values, group=_host_group())
    return lists


def broadcast(value: Any) -> Any:
    """What the first process has, in every process."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, src=0, group=_host_group())
    return values[0]


def _reduce(values: tuple[float, ...], op: Any) -> Tensor:
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor, op, group=_host_group())
    return tensor


@functools.cache
def _host_group() -> Any:
    """A group that exchanges what lies in main memory, whatever the GPUs use among themselves."""
    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
