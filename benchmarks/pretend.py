"""A device that is not there: counts the copies to the host that a GPU would make, on a machine without one.

Tensors of :data:`DEVICE` hold their values in main memory and say that they are elsewhere. Code that moves them, asks
for a value, or makes new ones beside them takes the way it would take on a GPU; each time something has to come back,
the host would have to wait, and it is counted.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
DEVICE = torch.device("meta")
# What returns a number, or a tensor whose size depends on values, has to ask the device for it.
ASKING = (
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.repeat_interleave.Tensor,
)
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)


class Elsewhere(Tensor):
    """A tensor of the pretended device; ``held`` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        return Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{func} was called on a pretended device outside CountHostCopies")


class CountHostCopies(TorchDispatchMode):
    """In its ``with`` block ``.to(DEVICE)`` works, and ``count`` says how often something came back."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.python = _PythonCalls(self)

    def __enter__(self) -> "CountHostCopies":
        self.python.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self.python.__exit__(*exception)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        inputs = tree_leaves((args, kwargs))
        was_there = any(isinstance(value, Elsewhere) for value in inputs)
        device = kwargs.get("device")
        comes_back = was_there and _comes_back(func, args, device)
        self.count += comes_back
        if device == DEVICE:
            kwargs["device"] = torch.device("cpu")
        args, kwargs = tree_map_only(Elsewhere, lambda value: value.held, (args, kwargs))
        result = func(*args, **kwargs)
        to_host = device is not None and device.type == "cpu"
        into_host = func is aten.copy_.default and comes_back
        if to_host or into_host or not (was_there or device == DEVICE):
            return result
        return tree_map_only(Tensor, Elsewhere, result)


def _comes_back(func: Any, args: Any, device: torch.device | None) -> bool:
    """Whether a call with a tensor from elsewhere makes the host wait for the device."""
    if func is aten.copy_.default:
        return not isinstance(args[0], Elsewhere)
    if func in INDEXING:  # a mask is turned into indices, and how many there are has to be known
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return func in ASKING or (device is not None and device.type == "cpu")


class _PythonCalls(TorchFunctionMode):
    """What never reaches the dispatcher: lists to tensors of the device, and tensors of the device to lists."""

    def __init__(self, copies: CountHostCopies) -> None:
        super().__init__()
        self.copies = copies

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == DEVICE:
            del kwargs["device"]
            return func(*args, **kwargs).to(DEVICE)
        if func in (Tensor.tolist, Tensor.numpy) and isinstance(args[0], Elsewhere):
            return func(args[0].cpu(), *args[1:], **kwargs)
        return func(*args, **kwargs)
