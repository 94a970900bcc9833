"""Files of weights: what is in a ``.safetensors`` or a ``.pth`` file, of whoever wrote it. Nothing in them is ever run.

Chapter: *DETR in one page*, ``book/13_one_page``.
"""

import argparse
import contextlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from detr_mini.errors import WeightsError
from detr_mini.files import require_named_checksum, write_atomically

# What else a file says about its model, any of which may be missing; the last two are those of a translator.
NOTES = ("config", "class_names", "stuff", "seq2seq", "languages")
OPTIONS = ("hyper_parameters", "args")  # under which training programs keep what they were called with
OWN_FIELDS = {"hidden_dim", "dec_layers", "max_size"}  # some of those that each config of ours has
Notes = Mapping[str, Any]


class Inert:
    """What a checkpoint has besides its weights, which are all that is read: it is made of nothing and does nothing."""

    def __new__(cls, *_: object, **__: object) -> Self:
        """One, whatever it should have been made of."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Take a state, and keep none of it."""


# Values that training programs store beside weights, by the names that pickles have for them.
_VALUES = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.ndarray", "numpy.dtype", "_codecs.encode"),  # the last is how the bytes of a number are written
    *(
        f"{module}.{pure}{system}Path"
        for module in ("pathlib", "pathlib._local")
        for pure in ("", "Pure")
        for system in ("", "Posix", "Windows")
    ),
)


def read_weights(path: Path) -> tuple[Any, Notes]:
    """What a file has, dicts in dicts of tensors and values, on the CPU; and what it says of them.

    Raises:
        WeightsError: the file is damaged, is of another kind or wants to run code; the message says what to do.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_pickle(path)
    notes: dict[str, Any] = {}
    if isinstance(content, dict):
        notes = {name: content[name] for name in ("config", "class_names", "stuff") if name in content}
        if not set(notes.get("config") or ()) >= OWN_FIELDS:
            notes.pop("config", None)  # of another program
        told = [vars(one) if isinstance(one, argparse.Namespace) else one for one in map(content.get, OPTIONS)]
        notes["told"] = {key: value for one in told if isinstance(one, dict) for key, value in one.items()}
    return content, notes


def read_pickle(path: Path) -> Any:
    """The tensors and plain values of a ``.pth`` file, on the CPU; see :func:`detr_mini.load`.

    Raises:
        WeightsError: the file is damaged or of another kind, or wants to run code.
    """
    require_named_checksum(path)
    _require_no_program(path)
    file = path.open("rb")  # what goes wrong from here on is the content's fault
    damaged = f"{path} is damaged or no PyTorch checkpoint; copy or download it again"
    # Published checkpoints carry the Namespace of their training options. It holds values and does nothing.
    allowed = torch.serialization.safe_globals([argparse.Namespace, *((Inert, name) for name in _VALUES)])
    try:
        with file, allowed:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise WeightsError(_refusal(path, refused[1])) from None
        raise WeightsError(damaged) from None
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, AttributeError, TypeError):
        # torch runs the instructions of the pickle: those of a damaged one end in any of these
        raise WeightsError(damaged) from None


def _refusal(path: Path, name: str) -> str:
    with contextlib.suppress(Exception):
        if any(one.startswith("torch.nn.modules.") for one in get_unsafe_globals_in_checkpoint(path)):
            return (
                f"{path} is a whole model, stored with torch.save(model): to read it would run its code ({name}), and "
                f"nothing in a checkpoint is ever run here. Where that code is, and if you trust the file, store its "
                f"weights alone: torch.save(torch.load('{path.name}', weights_only=False).state_dict(), 'weights.pth')"
            )
    return (
        f"{path} wants to run {name} while it is read, and nothing in a checkpoint is ever run here. If you trust "
        f"where it comes from, read it elsewhere and store its tensors alone, as .safetensors"
    )


def _require_no_program(path: Path) -> None:
    """Refuse what holds a program and not weights alone, in its own words: it is not damaged."""
    names: list[str] = []
    if zipfile.is_zipfile(path):
        with contextlib.suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
            names = [name.split("/", 1)[-1] for name in archive.namelist()]
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        raise WeightsError(
            f"{path} is a TorchScript archive, a program with its weights in it, and weights alone are read here. If "
            f"you trust it: torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pth')"
        )
    if "archive_format" in names and any(name.startswith("models/") for name in names):
        raise WeightsError(
            f"{path} is an exported program (torch.export), which predicts as it is and cannot be loaded or trained: "
            f"give the weights that it was made from"
        )
    if path.suffix == ".onnx":
        raise WeightsError(
            f"{path} is a graph in ONNX, which predicts as it is, by onnxruntime, and cannot be loaded or trained: "
            f"give the weights that it was made from"
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Notes]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file ({error}); copy or download it again") from None
    try:
        return state, {key: json.loads(notes[key]) for key in NOTES if key in notes}
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path}: the metadata is no JSON ({error})") from None


def write_weights(
    path: str | os.PathLike[str], state: Mapping[str, Tensor], notes: Notes, dtype: torch.dtype | None
) -> None:
    """Write tensors and notes as safetensors; the old file stays until the new one is complete.

    Args:
        path: the file to write.
        state: tensors by name, on any device.
        notes: what else to say, as JSON.
        dtype: of the stored numbers; None keeps every bit. A tensor with values too large for it stays as it is.
    """
    smaller = _apart({key: _compact(value.detach().cpu(), dtype) for key, value in state.items()})
    text = {"format": "pt", **{name: json.dumps(note) for name, note in notes.items()}}
    write_atomically(path, _in_order(safetensors.torch.save(smaller, text)))


def _in_order(file: bytes) -> bytes:
    """A safetensors file with its metadata sorted: they come in another order each time, but a model has one file."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[end:]


def _compact(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is not None and value.is_floating_point():
        smaller = value.to(dtype)
        value = smaller if smaller.isfinite().all() else value
    return value.contiguous()


def _apart(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """No two tensors in the same memory, which safetensors refuses: parts of a model may have several names."""
    seen: set[int] = set()
    for key, value in state.items():
        if value.data_ptr() in seen:
            state[key] = value.clone()
        seen.add(value.data_ptr())
    return state


def first_names(keys: Iterable[str]) -> str:
    """The first three of some names, and how many more there are."""
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
