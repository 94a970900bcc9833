"""Files of weights: what is in a ``.safetensors`` or a ``.pth`` file, of whoever wrote it. Nothing in them is ever run.

Chapter: *DETR in one page*, ``book/13_one_page``.
"""

import argparse
import json
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from detr_mini.errors import WeightsError
from detr_mini.files import require_named_checksum, write_atomically
from detr_mini.modeling.config import CONFIGS, DetectorConfig, get_config, kind_of

# What else a file says about its model, any of which may be missing; the last two are those of a translator.
NOTES = ("config", "class_names", "stuff", "seq2seq", "languages")
Notes = Mapping[str, Any]

# What wraps a model puts before its names: DistributedDataParallel, torch.compile, Lightning's module.
_WRAPPERS = r"(?:(?:module|_orig_mod|model)\.)+"


def read_weights(path: Path) -> tuple[dict[str, Tensor], Notes]:
    """The tensors of a file by name, on the CPU, and what else it says.

    A ``.pth`` file has the tensors themselves, or a dict that has them under ``model`` or ``state_dict``.

    Raises:
        WeightsError: the file is damaged, wants to run code or holds no weights; the message says what to do.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_pickle(path)
    notes: dict[str, Any] = {}
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            notes = {name: content[name] for name in ("config", "class_names", "stuff") if name in content}
            content = content[key]
    sound = isinstance(content, dict) and content and all(isinstance(key, str) for key in content)
    if not (sound and all(isinstance(value, Tensor) for value in content.values())):
        raise WeightsError(
            f"{path} is not a checkpoint: it needs names with tensors, or a dict that has them under 'model'"
        )
    return content, notes


def read_pickle(path: Path) -> Any:
    """The tensors and plain values of a ``.pth`` file, on the CPU; see :func:`detr_mini.load`.

    Raises:
        WeightsError: the file is damaged, or wants to run code.
    """
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
            raise WeightsError(
                f"{path} wants to run {refused[1]} while it is read, and nothing in a checkpoint is ever run here. If "
                f"you trust where it comes from, read it elsewhere and store its tensors alone, as .safetensors"
            ) from None
        raise WeightsError(damaged) from None
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, AttributeError, TypeError):
        # torch runs the instructions of the pickle: those of a damaged one end in any of these
        raise WeightsError(damaged) from None


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


def unwrapped(state: dict[str, Tensor], landmark: str) -> dict[str, Tensor]:
    """The weights without what a wrapper put before their names, found by the name ``landmark``; else as they are.

    A Lightning module also has weights of its own, such as those of its criterion; they are left out.
    """
    for key in state:
        if match := re.fullmatch(rf"({_WRAPPERS}){re.escape(landmark)}", key):
            return {k.removeprefix(match[1]): value for k, value in state.items() if k.startswith(match[1])}
    return state


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


def config_of(path: Path, state: Mapping[str, Tensor], notes: Notes, nheads: object = None) -> DetectorConfig:
    """The config that a file says, or the one that names and shapes of its tensors and ``nheads`` show.

    Raises:
        WeightsError: the config makes no sense, or these are no weights of a DETR.
    """
    if "config" not in notes:
        config = infer_config(state, nheads)
        dilated = "dc5" in path.stem.lower() and config.backbone in ("resnet50", "resnet101")
        return replace(config, dilation=dilated)
    if not isinstance(notes["config"], dict) or not all(isinstance(key, str) for key in notes["config"]):
        raise WeightsError(f"the stored config is {notes['config']!r}, not fields with values")
    return get_config(kind_of(notes["config"])(), **notes["config"])


def infer_config(state: Mapping[str, Tensor], nheads: object = None) -> DetectorConfig:
    """The config whose model has these tensors, as far as names and shapes show it.

    Of a Deformable DETR they show the product of heads and points, so ``nheads`` (8 if not given) tells the points.
    """
    if "mask_head.lay1.weight" in state:
        detector = {key.removeprefix("detr."): value for key, value in state.items() if key.startswith("detr.")}
        return get_config(infer_config(detector, nheads), masks=True)
    deformable = "transformer.level_embed" in state
    try:
        sizes = _infer_deformable(state, nheads) if deformable else _infer_detr(state)
        sizes |= {
            "backbone": _infer_backbone(state),
            "enc_layers": _count(state, "transformer.encoder.layers."),
            "dec_layers": _count(state, "transformer.decoder.layers."),
            "dim_feedforward": _shape(state, "transformer.decoder.layers.0.linear1.weight", 2)[0],
        }
    except KeyError as error:
        raise WeightsError(
            f"not a checkpoint of DETR: no tensor is called {error.args[0]!r}, but there are {first_names(state)}"
        ) from None
    small, published = ("deformable_nano", "deformable_detr_resnet50") if deformable else ("nano", "detr_resnet50")
    return replace(CONFIGS[small if sizes["backbone"] == "small" else published], **sizes)


def _infer_detr(state: Mapping[str, Tensor]) -> dict[str, Any]:
    num_queries, hidden_dim = _shape(state, "query_embed.weight", 2)
    return {
        "position_embedding": "learned" if "backbone.1.row_embed.weight" in state else "sine",
        "hidden_dim": hidden_dim,
        "pre_norm": "transformer.encoder.norm.weight" in state,
        "num_queries": num_queries,
        "num_classes": _shape(state, "class_embed.weight", 2)[0] - 1,
    }


def _infer_deformable(state: Mapping[str, Tensor], nheads: object) -> dict[str, Any]:
    heads = nheads if isinstance(nheads, int) and nheads > 0 else 8
    levels, hidden_dim = _shape(state, "transformer.level_embed", 2)
    two_stage = "transformer.enc_output.weight" in state

    def points(attention: str) -> int:
        return _shape(state, f"transformer.{attention}.attention_weights.bias", 1)[0] // (heads * levels)

    sizes = {
        "hidden_dim": hidden_dim,
        "nheads": heads,
        "num_feature_levels": levels,
        "two_stage": two_stage,
        "with_box_refine": two_stage or _has_heads_of_its_own(state),
        "dec_points": points("decoder.layers.0.cross_attn"),
        "num_classes": _shape(state, "class_embed.0.weight", 2)[0],
    }
    if "transformer.encoder.layers.0.linear1.weight" in state:
        sizes["enc_points"] = points("encoder.layers.0.self_attn")
    return sizes if two_stage else sizes | {"num_queries": _shape(state, "query_embed.weight", 2)[0]}


def _has_heads_of_its_own(state: Mapping[str, Tensor]) -> bool:
    """Whether each decoder layer has a box head of its own, or all have the same one."""
    if any(key.startswith("transformer.decoder.bbox_embed.") for key in state):
        return True
    first, second = (state.get(f"bbox_embed.{layer}.layers.0.weight") for layer in range(2))
    return first is not None and second is not None and not torch.equal(first, second)


def _shape(state: Mapping[str, Tensor], key: str, dimensions: int) -> tuple[int, ...]:
    shape = tuple(state[key].shape)
    if len(shape) != dimensions:
        raise WeightsError(f"not a checkpoint of DETR: {key} is {shape}, and needs {dimensions} dimensions")
    return shape


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
        raise WeightsError(f"a ResNet with {blocks} blocks in its third stage is not known")
    return known[bottleneck, blocks]


def _count(state: Iterable[str], prefix: str) -> int:
    """How many different numbers follow ``prefix``."""
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})


def first_names(keys: Iterable[str]) -> str:
    """The first three of some names, and how many more there are."""
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
