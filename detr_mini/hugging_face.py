"""Names of weights: the published ones, which are ours, and those of Hugging Face's models."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from detr_mini.errors import WeightsError

Pairs = tuple[tuple[str, str], ...]  # ours left, theirs right

_BEGINNINGS: Pairs = (
    ("backbone.0.body.", "model.backbone.model."),
    ("query_embed.", "model.query_position_embeddings."),
    ("transformer.encoder.layers.", "model.encoder.layers."),
    ("transformer.decoder.layers.", "model.decoder.layers."),
)
_LAYER_PARTS: Pairs = (
    (".out_proj.", ".o_proj."),
    (".linear1.", ".mlp.fc1."),
    (".linear2.", ".mlp.fc2."),
)


class _Names(NamedTuple):
    """How the names of one kind of model go together."""

    kind: str
    theirs: str  # the name of their class
    beginnings: Pairs
    encoder_parts: Pairs
    decoder_parts: Pairs


_ENCODER_PARTS = (*_LAYER_PARTS, (".norm1.", ".self_attn_layer_norm."), (".norm2.", ".final_layer_norm."))
_DETR = _Names(
    "DETR",
    "DetrForObjectDetection",
    (
        *_BEGINNINGS,
        ("backbone.1.row_embed.", "model.position_embedding.row_embeddings."),
        ("backbone.1.col_embed.", "model.position_embedding.column_embeddings."),
        ("input_proj.", "model.input_projection."),
        ("transformer.decoder.norm.", "model.decoder.layernorm."),
        ("class_embed.", "class_labels_classifier."),
        ("bbox_embed.", "bbox_predictor."),
    ),
    _ENCODER_PARTS,
    (
        *_LAYER_PARTS,
        (".multihead_attn.", ".encoder_attn."),
        (".norm1.", ".self_attn_layer_norm."),
        (".norm2.", ".encoder_attn_layer_norm."),
        (".norm3.", ".final_layer_norm."),
    ),
)
_DEFORMABLE = _Names(
    "Deformable DETR",
    "DeformableDetrForObjectDetection",
    (
        *_BEGINNINGS,
        ("input_proj.", "model.input_proj."),
        ("transformer.level_embed", "model.level_embed"),
        ("transformer.reference_points.", "model.reference_points."),
        ("transformer.enc_output", "model.enc_output"),
        ("transformer.pos_trans", "model.pos_trans"),
        ("transformer.decoder.bbox_embed.", "model.decoder.bbox_embed."),
        ("transformer.decoder.class_embed.", "model.decoder.class_embed."),
        ("class_embed.", "class_embed."),
        ("bbox_embed.", "bbox_embed."),
    ),
    _ENCODER_PARTS,
    (
        *_LAYER_PARTS,
        (".cross_attn.", ".encoder_attn."),
        (".norm1.", ".encoder_attn_layer_norm."),  # here the first norm is that of the cross-attention
        (".norm2.", ".self_attn_layer_norm."),
        (".norm3.", ".final_layer_norm."),
    ),
)

# Of a model with masks: the detector's names follow "detr." on both sides; those of the head, here, are ours in files
# of the years before transformers 5.
_DETECTOR = "detr."
_MASK_PARTS: Pairs = (
    ("bbox_attention.q_linear.", "bbox_attention.q_proj."),
    ("bbox_attention.k_linear.", "bbox_attention.k_proj."),
    ("mask_head.out_lay.", "mask_head.output_conv."),
    *((f"mask_head.lay{n}.", f"mask_head.conv{n}.conv.") for n in (1, 2)),
    *((f"mask_head.gn{n}.", f"mask_head.conv{n}.norm.") for n in (1, 2)),
    *((f"mask_head.adapter{n + 1}.", f"mask_head.fpn_stages.{n}.fpn_adapter.") for n in range(3)),
    *((f"mask_head.lay{n + 3}.", f"mask_head.fpn_stages.{n}.refine.conv.") for n in range(3)),
    *((f"mask_head.gn{n + 3}.", f"mask_head.fpn_stages.{n}.refine.norm.") for n in range(3)),
)


def from_hugging_face(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of Hugging Face's DETR, its ``DetrForSegmentation`` or Deformable DETR under the published names.

    Attention has its input projections stacked. Names of transformers 5 and the older ones of files on its hub are
    understood, and the ResNet may be timm's or transformers' own.

    Raises:
        WeightsError: a name that is not known.
    """
    detector, masks = _split(state_dict, theirs=1)
    if masks:
        return masks | {_DETECTOR + key: value for key, value in from_hugging_face(detector).items()}
    names = _DEFORMABLE if "model.level_embed" in state_dict else _DETR
    state: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        name = _rename(_modern(key), names, theirs=1)
        if match := re.fullmatch(r"(.*)\.([qkv])_proj\.(weight|bias)", name):
            if match[2] != "q":
                continue
            parts = [key.replace("q_proj", f"{letter}_proj") for letter in "qkv"]
            if absent := [part for part in parts if part not in state_dict]:
                raise WeightsError(f"{key} is there, but {', '.join(absent)} not")
            name, value = f"{match[1]}.in_proj_{match[3]}", torch.cat([state_dict[part] for part in parts])
        state[name] = value
    if names is _DEFORMABLE:
        _repeat_class_head(state)
    return state


def _repeat_class_head(state: dict[str, Tensor]) -> None:
    """Give each layer the one class head that all layers have in newer files, where it is stored once."""
    layers = {match[1] for key in state if (match := re.match(r"(?:transformer\.decoder\.)?bbox_embed\.(\d+)\.", key))}
    for layer in layers:
        for part in ("weight", "bias"):
            if (first := f"class_embed.0.{part}") in state:
                state.setdefault(f"class_embed.{layer}.{part}", state[first])


def to_hugging_face(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of transformers 5, whose class for this kind of model has a ResNet of timm.

    Raises:
        WeightsError: a name that has no counterpart there, such as a pre-norm encoder's last norm.
    """
    detector, masks = _split(state_dict, theirs=0)
    if masks:
        return masks | {_DETECTOR + key: value for key, value in to_hugging_face(detector).items()}
    names = _DEFORMABLE if "transformer.level_embed" in state_dict else _DETR
    state: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        name = _rename(key, names, theirs=0)
        if match := re.fullmatch(r"(.*)\.in_proj_(weight|bias)", name):
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                state[f"{match[1]}.{letter}_proj.{match[2]}"] = part.clone()
        else:
            state[name] = value
    return state


def _split(state_dict: Mapping[str, Tensor], *, theirs: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of a model with masks, the weights of its detector, and those of its mask head under the other names."""
    detector, masks = {}, {}
    for key, value in state_dict.items():
        if key.startswith(("mask_head.", "bbox_attention.")):
            columns = ((0, 0), (1, 0)) if theirs else ((0, 1),)  # their older files have our names
            pairs = [(pair[a], pair[b]) for a, b in columns for pair in _MASK_PARTS]
            names = [new + key.removeprefix(old) for old, new in pairs if key.startswith(old)]
            if not names:
                raise WeightsError(
                    f"the name {key!r} has no counterpart in DETR and Hugging Face's DetrForSegmentation"
                )
            masks[names[0]] = value
        else:
            detector[key.removeprefix(_DETECTOR)] = value
    return detector, masks


def _rename(key: str, names: _Names, *, theirs: int) -> str:
    """From column ``theirs`` of the tables above to the other one."""
    for pair in names.beginnings:
        if key.startswith(pair[theirs]):
            name = pair[1 - theirs] + key.removeprefix(pair[theirs])
            break
    else:
        raise WeightsError(
            f"the name {key!r} has no counterpart between {names.kind} and Hugging Face's {names.theirs}"
        )
    encoder, decoder = "encoder.layers." in name, "decoder.layers." in name
    for part in names.encoder_parts if encoder else names.decoder_parts if decoder else ():
        name = name.replace(part[theirs], part[1 - theirs])
    return name


def _modern(key: str) -> str:
    """A name of an older Hugging Face file, or of one with transformers' own ResNet, in the words of timm and today."""
    key = key.replace("model.backbone.conv_encoder.model.", "model.backbone.model.")
    key = key.replace("model.backbone.position_embedding.", "model.position_embedding.")
    if not key.startswith("model.backbone."):
        return re.sub(r"(?<!\.mlp)\.(fc[12])\.", r".mlp.\1.", key)  # out_proj is our word too
    for old, new in (
        (r"\.embedder\.embedder\.convolution\.", ".conv1."),
        (r"\.embedder\.embedder\.normalization\.", ".bn1."),
        (r"\.shortcut\.convolution\.", ".downsample.0."),
        (r"\.shortcut\.normalization\.", ".downsample.1."),
    ):
        key = re.sub(old, new, key)
    key = re.sub(r"\.encoder\.stages\.(\d+)\.layers\.", lambda stage: f".layer{int(stage[1]) + 1}.", key)
    key = re.sub(r"\.layer\.(\d+)\.convolution\.", lambda place: f".conv{int(place[1]) + 1}.", key)
    return re.sub(r"\.layer\.(\d+)\.normalization\.", lambda place: f".bn{int(place[1]) + 1}.", key)
