"""DETR: backbone, projection, transformer, two heads.

Chapter: *Object queries and heads*, ``book/10_detr``.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.modeling.backbone import build_backbone
from detr_mini.modeling.config import DETRConfig
from detr_mini.modeling.export import Deployable
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.modeling.position_encoding import PositionEmbeddingLearned, PositionEmbeddingSine
from detr_mini.modeling.transformer import Transformer


class Seen(NamedTuple):
    """What a DETR saw on the way to its outputs."""

    levels: list[NestedTensor]  # of the backbone, (B, C, h, w), the coarsest last
    cells: Tensor  # (B, d, h, w), the coarsest at the transformer's width
    memory: Tensor  # (B, hw, d), what the encoder made of it
    slots: Tensor  # (B, N, d), of the last decoder layer


class DETR(Deployable):
    """The detection transformer (Carion et al. 2020). Parameters have the published names and shapes."""

    def __init__(self, config: DETRConfig) -> None:
        super().__init__()
        self.config = config
        self.class_names: dict[int, str] = {}  # category id to name, where the training data had them
        d = config.hidden_dim
        features = build_backbone(config, num_levels=4 if config.masks else 1)
        # A list of two, since the published checkpoints call them backbone.0 and backbone.1.
        self.backbone = nn.ModuleList([features, _position_embedding(config)])
        self.input_proj = nn.Conv2d(features.num_channels[-1], d, kernel_size=1)
        self.transformer = Transformer(
            d,
            config.nheads,
            enc_layers=config.enc_layers,
            dec_layers=config.dec_layers,
            dim_feedforward=config.dim_feedforward,
            dropout=config.dropout,
            pre_norm=config.pre_norm,
        )
        self.query_embed = nn.Embedding(config.num_queries, d)
        self.class_embed = nn.Linear(d, config.num_classes + 1)  # the last class is "no object"
        self.bbox_embed = MLP(d, d, 4, num_layers=3)

    def forward(self, samples: NestedTensor | Sequence[Tensor] | Tensor) -> dict[str, Any]:
        """Detect objects.

        Args:
            samples: normalized images: a :class:`.NestedTensor`, a list of ``(3, H, W)``, or a tensor ``(B, 3, H, W)``.

        Returns:
            ``pred_logits`` ``(B, N, K + 1)``, ``pred_boxes`` ``(B, N, 4)`` as cxcywh in [0, 1], and with ``aux_loss``
            ``aux_outputs``, the same two of each earlier decoder layer.
        """
        if not isinstance(samples, NestedTensor):
            samples = NestedTensor.from_images(samples)
        return self.detect(samples)[0]

    def detect(self, samples: NestedTensor) -> tuple[dict[str, Any], Seen]:
        """:meth:`forward`, and what was seen on the way."""
        backbone, position_embedding = self.backbone
        # Channels last: convolutions are faster so, and the transformer's (B, hw, d) needs no copy of their result.
        images = samples.tensors.contiguous(memory_format=torch.channels_last)
        maps = backbone(NestedTensor(images, samples.padding_mask))
        features = maps[-1]  # (B, C, h, w)
        pos = position_embedding(features).to(features.tensors.dtype)  # (B, d, h, w)
        x = self.input_proj(features.tensors)  # (B, d, h, w)
        hs, memory = self.transformer(x, features.padding_mask, self.query_embed.weight, pos)  # (layers, B, N, d)
        logits = self.class_embed(hs)  # (layers, B, N, K + 1)
        boxes = self.bbox_embed(hs).sigmoid()  # (layers, B, N, 4)
        layers: list[dict[str, Any]] = [{"pred_logits": c, "pred_boxes": b} for c, b in zip(logits, boxes, strict=True)]
        outputs = {**layers[-1], "aux_outputs": layers[:-1]} if self.config.aux_loss else layers[-1]
        return outputs, Seen(maps, x, memory, hs[-1])

    def postprocess(self, outputs: dict[str, Any], sizes: Tensor) -> list[dict[str, Tensor]]:
        """Turn outputs of this model into detections: see :func:`postprocess`."""
        return postprocess(outputs, sizes)


class MLP(nn.Module):
    """Linear layers with ReLU between them; the box head is one of three layers."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int, *, num_layers: int) -> None:
        super().__init__()
        widths = [d_in] + [d_hidden] * (num_layers - 1) + [d_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """``(..., d_in)`` to ``(..., d_out)``."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


@torch.no_grad()
def postprocess(outputs: dict[str, Any], sizes: Tensor) -> list[dict[str, Tensor]]:
    """Turn a model's outputs into detections, one per query and image.

    The class "no object" is dropped and each query gives its best other class, as in the published evaluation (DETR,
    section 4.1). Nothing is thresholded.

    Args:
        outputs: what the model returned.
        sizes: ``(B, 2)``, height and width of each original image in pixels.

    Returns:
        For each image ``scores`` ``(N,)``, ``labels`` ``(N,)`` and ``boxes`` ``(N, 4)`` as xyxy in pixels.
    """
    scores, labels = outputs["pred_logits"].float().softmax(-1)[..., :-1].max(-1)  # (B, N)
    height, width = sizes.to(scores.device).unbind(-1)
    scale = torch.stack([width, height, width, height], dim=-1)[:, None]  # (B, 1, 4)
    boxes = box_cxcywh_to_xyxy(outputs["pred_boxes"].float()) * scale  # (B, N, 4)
    return [{"scores": s, "labels": c, "boxes": b} for s, c, b in zip(scores, labels, boxes, strict=True)]


def _position_embedding(config: DETRConfig) -> PositionEmbeddingSine | PositionEmbeddingLearned:
    if config.position_embedding == "learned":
        return PositionEmbeddingLearned(config.hidden_dim)
    return PositionEmbeddingSine(
        config.hidden_dim, temperature=config.position_temperature, scale=config.position_scale
    )
