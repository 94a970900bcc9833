"""What a computation costs: its multiplications, and the bytes that it keeps until there are gradients.

Chapters: *Attention*, ``book/02_attention``, *The Transformer of 2017*, ``book/03_seq2seq``, and *Deformable
attention*, ``book/19_deformable_attention``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def multiplications(function: Callable[[], object]) -> int:
    """How many numbers are multiplied in the matrix products of ``function()``, without gradients.

    PyTorch's counter takes a multiplication and its addition for two, and cannot look into the fused kernel of a
    processor: attention is asked to take its plain form, which has the same products.
    """
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops()) // 2


def bytes_kept(function: Callable[[], Tensor]) -> int:
    """Bytes that ``function()`` keeps for the backward pass, what goes in and out included; each memory once."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = function()  # held while we count, so that no memory is used twice
    del result
    return sum(storages.values())
