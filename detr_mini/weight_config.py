"""Which config a file of weights has: what it says itself, what lies beside it, what names and shapes show.

Chapter: *DETR in one page*, ``book/13_one_page``.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detr_mini.errors import WeightsError
from detr_mini.modeling.config import CONFIGS, DeformableDETRConfig, DetectorConfig, get_config, kind_of
from detr_mini.weight_files import Notes, first_names

# The names of published files; what follows them is the checksum of the content, which reading compares.
_PUBLISHED = re.compile(r"detr-r(50|101)(-dc5)?(-panoptic)?-[0-9a-f]{8}")
_NO_NAME = re.compile(r"N/A|LABEL_\d+")  # what Hugging Face calls a class without a name


def config_of(
    path: Path, state: Mapping[str, Tensor], notes: Notes, overrides: Mapping[str, object]
) -> tuple[DetectorConfig, list[str]]:
    """The config of a file before ``overrides``, and a line on what had to be assumed.

    It is the one that the file says; else the one that names and shapes of its tensors show, with what they do not
    show from ``overrides``, from the options that a training program stored in the file, from Hugging Face's config
    beside it, or from the name of a published file.

    Raises:
        WeightsError: the config makes no sense, or these are no weights of a DETR.
    """
    if "config" in notes:
        if not isinstance(notes["config"], dict) or not all(isinstance(key, str) for key in notes["config"]):
            raise WeightsError(f"the stored config is {notes['config']!r}, not fields with values")
        return get_config(kind_of(notes["config"])(), **notes["config"]), []
    told = _sound(_told_by_name(path) | notes.get("told", {}) | dict(overrides))
    config = infer_config(state, told.get("nheads"))
    hidden = ["nheads"]
    if config.backbone in ("resnet50", "resnet101"):
        hidden.append("dilation")
    if isinstance(config, DeformableDETRConfig) and config.two_stage:
        hidden.append("num_queries")
    config = replace(config, **{field: told[field] for field in hidden if field in told}, **notes.get("sizes", {}))
    untold = [f"{field}={getattr(config, field)}" for field in hidden if field not in told]
    remark = (
        f"nothing in it or beside it says {' or '.join(one.split('=')[0] for one in untold)}; assumed: "
        f"{', '.join(untold)}. If that is wrong, so are the boxes: give --set config.FIELD=VALUE, or load(..., "
        f"FIELD=VALUE) in Python"
    )
    return config, [remark] if untold else []


def _sound(told: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the fields that shapes do not show, where their values can be."""
    kinds = {"nheads": int, "dilation": bool, "num_queries": int}
    return {key: told[key] for key, kind in kinds.items() if type(told.get(key)) is kind and told[key] >= 0}


def _told_by_name(path: Path) -> dict[str, Any]:
    if _PUBLISHED.fullmatch(path.stem):
        return {"nheads": 8, "dilation": "dc5" in path.stem}
    return {"dilation": True} if re.search(r"dc-?5", path.stem, re.IGNORECASE) else {}


def read_hugging_face_notes(path: Path) -> dict[str, Any]:
    """What ``save_pretrained`` wrote beside the weights ``path``: class names, heads, queries, sizes of pictures.

    Raises:
        WeightsError: a file there is damaged, or is that of another model.
    """
    config = _read_json(path.with_name("config.json"))
    if "model_type" not in config:
        return {}
    kind = config["model_type"]
    if kind not in ("detr", "deformable_detr"):
        raise WeightsError(f"{path.with_name('config.json')} is that of a model of the kind {kind!r}, which is no DETR")
    heads = {config.get(f"{side}_attention_heads", 8) for side in ("encoder", "decoder")}
    if len(heads) > 1:
        raise WeightsError(f"{path.with_name('config.json')}: encoder and decoder have different numbers of heads")
    body = config.get("backbone_config") or config.get("backbone_kwargs") or {}
    told = {"nheads": heads.pop(), "dilation": bool(config.get("dilation")) or body.get("output_stride") == 16}
    if "num_queries" in config or kind == "deformable_detr":
        told["num_queries"] = config.get("num_queries", 300)
    names = {
        str(number): name
        for number, name in (config.get("id2label") or {}).items()
        if not _NO_NAME.fullmatch(str(name))
    }
    notes: dict[str, Any] = {"told": told, "sizes": _sizes(_read_json(path.with_name("preprocessor_config.json")))}
    return notes | ({"class_names": names} if names else {})


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """The fields of ours that say what pictures are resized to, from those of Hugging Face's image processor."""
    size = config.get("size")
    if isinstance(size, dict):  # in files of before 2023 it is a number
        sides = {"image_size": size.get("shortest_edge"), "max_size": size.get("longest_edge")}
    else:
        sides = {"image_size": size, "max_size": config.get("max_size")}
    return {field: side for field, side in sides.items() if isinstance(side, int)} if None not in sides.values() else {}


def _read_json(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); copy or download it again") from None
    return content if isinstance(content, dict) else {}


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
