"""Weights on disk: our files, the published ones and those of Hugging Face."""

import argparse
import json
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from detr_mini.files import require_named_checksum, write_atomically
from detr_mini.hugging_face import from_hugging_face, to_hugging_face
from detr_mini.modeling.config import CONFIGS, DETRConfig, get_config
from detr_mini.modeling.detr import DETR

__all__ = ["from_hugging_face", "load", "save", "to_hugging_face"]

CHECKPOINTS = Path(__file__).parent / "checkpoints"

# What else a checkpoint says about its model: "config" and "class_names", either may be missing.
Notes = Mapping[str, Any]


def load(path_or_name: str | os.PathLike[str], *, device: torch.device | str = "cpu", **overrides: object) -> DETR:
    """A model with its weights, in evaluation mode and float32.

    Args:
        path_or_name: a model shipped with the package (``"nano"``); a ``.safetensors`` file of ours or of Hugging
            Face's DETR; a ``.pth`` file, published or written by training. ``.pth`` files are pickles, of which only
            tensors and plain values are read: nothing in a file is ever run.
        device: where the model goes.
        overrides: fields of :class:`.DETRConfig` that the file does not tell. A file without a config shows all sizes
            in the shapes of its tensors, but neither ``nheads`` (8 if not given) nor ``dilation`` (False).

    Raises:
        FileNotFoundError: there is no such file and no such model.
        ValueError: the file is damaged (or its name ends in the first digits of its SHA-256, as published files do, and
            that is another one), is not a DETR checkpoint, wants to run code, or does not fit the config; the
            message names the file and says what to do.
    """
    path = _find(path_or_name)
    state, notes = _read(path)
    try:
        if any(key.startswith(("model.encoder.", "class_labels_classifier.")) for key in state):
            state = from_hugging_face(state)
        config = get_config(DETRConfig(**notes["config"]) if "config" in notes else _infer_config(state), **overrides)
        with torch.device("meta"):  # no random weights that are thrown away, and no random numbers used up
            model = DETR(config)
        _check_fit(model, state)
        model.class_names = {int(number): str(name) for number, name in notes.get("class_names", {}).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from None
    wanted = {key: state[key] for key in model.state_dict()}
    model.load_state_dict({key: v.float() if v.is_floating_point() else v for key, v in wanted.items()}, assign=True)
    return model.to(device).eval()


def save(model: DETR, path: str | os.PathLike[str], dtype: torch.dtype | None = torch.float16) -> None:
    """Write a model as safetensors, with its config and class names; the old file stays until the new one is complete.

    Args:
        model: on any device.
        path: the file to write.
        dtype: of the stored weights; float16 halves the file, None keeps every bit. A tensor with values too large for
            ``dtype`` stays as it is.

    Raises:
        ValueError: the model comes from ``optimize_for_inference``, which no longer has the weights of a checkpoint.
    """
    if model.optimized:
        raise ValueError("a model optimized for inference cannot be saved; save the one it was made from")
    state = {key: _compact(value.detach().cpu(), dtype) for key, value in model.state_dict().items()}
    notes = {"format": "pt", "config": json.dumps(asdict(model.config)), "class_names": json.dumps(model.class_names)}
    write_atomically(path, _in_order(safetensors.torch.save(state, notes)))


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


def _find(path_or_name: str | os.PathLike[str]) -> Path:
    shipped = {file.stem: file for file in sorted(CHECKPOINTS.glob("*.safetensors"))}
    if path_or_name in shipped:
        return shipped[str(path_or_name)]
    path = Path(path_or_name)
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a folder; name the weights in it, a .safetensors or .pth file")
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file {path} and no shipped model of that name (shipped: {', '.join(shipped) or 'none'})"
        )
    return path


def _read(path: Path) -> tuple[dict[str, Tensor], Notes]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_pickle(path)
    notes: dict[str, Any] = {}
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        notes = {key: content[key] for key in ("config", "class_names") if key in content}
        content = content["model"]
    if not (isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values())):
        raise ValueError(
            f"{path} is not a checkpoint: it needs names with tensors, or a dict that has them under 'model'"
        )
    return content, notes


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Notes]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}); copy or download it again") from None
    try:
        return state, {key: json.loads(notes[key]) for key in ("config", "class_names") if key in notes}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the metadata is no JSON ({error})") from None


def read_pickle(path: Path) -> Any:
    """The tensors and plain values of a ``.pth`` file, on the CPU; see :func:`load`."""
    require_named_checksum(path)
    file = path.open("rb")  # what goes wrong from here on is the content's fault
    damaged = f"{path} is damaged or no PyTorch checkpoint; copy or download it again"
    # Published checkpoints carry the Namespace of their training options. It holds values and does nothing.
    allowed = torch.serialization.safe_globals([argparse.Namespace])
    try:
        with file, allowed:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"{path} wants to run {refused[1]} while it is read, and nothing in a checkpoint is ever run here. If "
                f"you trust where it comes from, read it elsewhere and store its tensors alone, as .safetensors"
            ) from None
        raise ValueError(damaged) from None
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, AttributeError, TypeError):
        raise ValueError(damaged) from None


def _infer_config(state: Mapping[str, Tensor]) -> DETRConfig:
    """The config whose model has these tensors, as far as names and shapes show it."""
    try:
        body = _infer_backbone(state)
        num_queries, hidden_dim = state["query_embed.weight"].shape
        return replace(
            CONFIGS["nano"] if body == "small" else DETRConfig(),
            backbone=body,
            position_embedding="learned" if "backbone.1.row_embed.weight" in state else "sine",
            hidden_dim=hidden_dim,
            enc_layers=_count(state, "transformer.encoder.layers."),
            dec_layers=_count(state, "transformer.decoder.layers."),
            dim_feedforward=state["transformer.decoder.layers.0.linear1.weight"].shape[0],
            pre_norm="transformer.encoder.norm.weight" in state,
            num_queries=num_queries,
            num_classes=state["class_embed.weight"].shape[0] - 1,
        )
    except KeyError as error:
        raise ValueError(
            f"not a checkpoint of DETR: no tensor is called {error.args[0]!r}, but there are {_first(state)}"
        ) from None


def _infer_backbone(state: Mapping[str, Tensor]) -> str:
    body = "backbone.0.body."
    if f"{body}layer4.0.conv1.weight" not in state:
        return "small"
    bottleneck = f"{body}layer1.0.conv3.weight" in state
    known = {
        (False, 2): "resnet18",
        (False, 6): "resnet34",
        (True, 6): "resnet50",
        (True, 23): "resnet101",
    }
    blocks = _count(state, f"{body}layer3.")
    if (bottleneck, blocks) not in known:
        raise ValueError(f"a ResNet with {blocks} blocks in its third stage is not known")
    return known[bottleneck, blocks]


def _count(state: Iterable[str], prefix: str) -> int:
    """How many different numbers follow ``prefix``."""
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})


def _check_fit(model: DETR, state: Mapping[str, Tensor]) -> None:
    wanted = model.state_dict()
    surplus = [key for key in state if key not in wanted and not key.endswith("num_batches_tracked")]
    faults = [
        f"{what} {_first(keys)}" for what, keys in (("missing", wanted.keys() - state), ("unknown", surplus)) if keys
    ]
    for key in wanted.keys() & state.keys():
        if (here := tuple(state[key].shape)) != (there := tuple(wanted[key].shape)):
            faults.append(f"{key} is {here}, the model has {there}")
    if faults:
        raise ValueError(f"the weights do not fit the config: {'; '.join(faults[:5])}")


def _first(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
