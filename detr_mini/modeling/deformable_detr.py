"""Deformable DETR: maps of several levels, sparse attention, boxes relative to references.

Zhu et al. 2021, "Deformable DETR: Deformable Transformers for End-to-End Object Detection".

Chapter: *Deformable DETR*, ``book/20_deformable_detr``.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.modeling.backbone import build_backbone, every, nearest, zero_padding
from detr_mini.modeling.config import GROUPS, DeformableDETRConfig
from detr_mini.modeling.deformable_transformer import DeformableTransformer
from detr_mini.modeling.detr import MLP
from detr_mini.modeling.export import Deployable
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.modeling.norm import GroupNorm
from detr_mini.modeling.position_encoding import PositionEmbeddingSine

PRIOR = 0.01  # probability that every class has at the start: most queries see no object, and need not learn that first
DETECTIONS = 100  # of a picture, as many as COCO's evaluation looks at


class DeformableDETR(Deployable):
    """Deformable DETR (Zhu et al. 2021) in its four variants. Parameters have the published names and shapes.

    With a small body, what is padded has no influence on a picture. With a ResNet it has, as in the published model:
    through the convolutions, and through the group norms, whose statistics count padded cells.
    """

    example_size = (161, 225)  # more cells than a two-stage model has queries, as an exported one needs

    def __init__(self, config: DeformableDETRConfig) -> None:
        super().__init__()
        self.config = config
        self.class_names: dict[int, str] = {}  # category id to name, where the training data had them
        d = config.hidden_dim
        # The small body's maps have strides of 4, 8 and 8; with four times as many cells the first would cost too much.
        own_levels = 1 if config.backbone == "small" else 3
        features = build_backbone(config, num_levels=min(config.num_feature_levels, own_levels))
        positions = PositionEmbeddingSine(
            d, temperature=config.position_temperature, scale=config.position_scale, centered=True
        )
        self.backbone = nn.ModuleList([features, positions])  # a list: published as backbone.0 and backbone.1
        self.input_proj = _projections(features.num_channels, config)
        self.class_embed, self.bbox_embed = _heads(config)
        self.transformer = DeformableTransformer(
            d,
            config.nheads,
            levels=config.num_feature_levels,
            enc_layers=config.enc_layers,
            dec_layers=config.dec_layers,
            enc_points=config.enc_points,
            dec_points=config.dec_points,
            dim_feedforward=config.dim_feedforward,
            dropout=config.dropout,
            two_stage=config.two_stage,
        )
        # Published checkpoints have heads that the decoder needs under a second name, too.
        if config.with_box_refine:
            self.transformer.decoder.bbox_embed = self.bbox_embed
        if config.two_stage:
            self.transformer.decoder.class_embed = self.class_embed
        else:
            self.query_embed = nn.Embedding(config.num_queries, 2 * d)

    def forward(self, samples: NestedTensor | Sequence[Tensor] | Tensor) -> dict[str, Any]:
        """Detect objects.

        Args:
            samples: normalized images: a :class:`.NestedTensor`, a list of ``(3, H, W)``, or a tensor ``(B, 3, H, W)``.

        Returns:
            ``pred_logits`` ``(B, N, K)``, of which each says yes or no to a class of its own; ``pred_boxes``
            ``(B, N, 4)`` as cxcywh in [0, 1]; with ``aux_loss`` ``aux_outputs``, the same two of each earlier decoder
            layer; with ``two_stage`` ``enc_outputs``, the same two of every cell of the encoder.
        """
        if not isinstance(samples, NestedTensor):
            samples = NestedTensor.from_images(samples)
        config = self.config
        positions: Any = self.backbone[1]
        levels = self.feature_levels(samples)  # L of (B, d, h, w)
        pos = [positions(level).to(level.tensors.dtype) for level in levels]
        memory, grid = self.transformer.encode(levels, pos)  # (B, S, d)
        if config.two_stage:
            queries, proposals = self.transformer.propose(
                memory, grid, self.class_embed[-1], self.bbox_embed[-1], positions.waves, config.num_queries
            )
        else:
            queries = self.transformer.learned_queries(self.query_embed.weight, memory.shape[0])
        contents, boxes = self.transformer.decoder(
            queries, memory, grid, self.bbox_embed, refine=config.with_box_refine
        )
        layers: list[dict[str, Any]] = [
            {"pred_logits": head(x), "pred_boxes": box}
            for head, x, box in zip(self.class_embed, contents, boxes, strict=False)
        ]
        outputs = layers[-1] | ({"aux_outputs": layers[:-1]} if config.aux_loss else {})
        return outputs | {"enc_outputs": proposals} if config.two_stage else outputs

    def feature_levels(self, samples: NestedTensor) -> list[NestedTensor]:
        """The maps that attention reads, ``(B, d, h, w)``, the finest first (Deformable DETR, section A.2)."""
        images = samples.tensors.contiguous(memory_format=torch.channels_last)
        features = self.backbone[0](NestedTensor(images, samples.padding_mask))
        levels: list[NestedTensor] = []
        for number, projection in enumerate(self.input_proj):
            if number < len(features):
                source, mask = features[number], features[number].padding_mask
            else:  # beyond the backbone: the first from its last map, all others from the level before
                source = features[-1] if number == len(features) else levels[-1]
                mask = self._coarser(source, samples)
            levels.append(self._project(projection, source.tensors, mask))
        return levels

    def _coarser(self, source: NestedTensor, samples: NestedTensor) -> Tensor | None:
        """The mask of a map with half the height and width of ``source``."""
        if self.config.backbone == "small":
            return every(2, source.padding_mask)
        height, width = source.tensors.shape[-2:]
        return nearest(samples.padding_mask, ((height + 1) // 2, (width + 1) // 2))

    def _project(self, projection: nn.Module, x: Tensor, mask: Tensor | None) -> NestedTensor:
        """To the width of the transformer; with a small body, as if there were no padding."""
        convolution, norm = projection.children()
        if self.config.backbone != "small":
            return NestedTensor(norm(convolution(x)), mask)
        return NestedTensor(zero_padding(norm(convolution(x), mask), mask), mask)

    def postprocess(self, outputs: dict[str, Any], sizes: Tensor) -> list[dict[str, Tensor]]:
        """Turn outputs of this model into detections: see :func:`postprocess_best`."""
        return postprocess_best(outputs, sizes)


@torch.no_grad()
def postprocess_best(outputs: dict[str, Any], sizes: Tensor, count: int = DETECTIONS) -> list[dict[str, Tensor]]:
    """Turn a model's outputs into detections: the best of all pairs of a query and a class.

    A logit is a yes or no of its own, so a query may be found under several classes. Nothing is thresholded.

    Args:
        outputs: what the model returned.
        sizes: ``(B, 2)``, height and width of each original image in pixels.
        count: how many detections an image has, if there are so many pairs.

    Returns:
        For each image ``scores`` ``(count,)``, best first, ``labels`` ``(count,)`` and ``boxes`` ``(count, 4)`` as xyxy
        in pixels.
    """
    probability = outputs["pred_logits"].float().sigmoid()  # (B, N, K)
    num_classes = probability.shape[-1]
    scores, pair = probability.flatten(1).topk(min(count, probability[0].numel()), dim=1)  # (B, count)
    height, width = sizes.to(scores.device).unbind(-1)
    scale = torch.stack([width, height, width, height], dim=-1)[:, None]  # (B, 1, 4)
    boxes = box_cxcywh_to_xyxy(outputs["pred_boxes"].float())  # (B, N, 4)
    boxes = boxes.gather(1, (pair // num_classes)[..., None].expand(-1, -1, 4)) * scale  # (B, count, 4)
    labels = pair % num_classes
    return [{"scores": s, "labels": c, "boxes": b} for s, c, b in zip(scores, labels, boxes, strict=True)]


def _projections(channels: Sequence[int], config: DeformableDETRConfig) -> nn.ModuleList:
    """For each level a convolution and a group norm: 1x1 for the backbone's maps, 3x3 of stride 2 for more levels."""
    d, kind = config.hidden_dim, GroupNorm if config.backbone == "small" else nn.GroupNorm
    convolutions = [nn.Conv2d(width, d, 1) for width in channels]
    for level in range(len(channels), config.num_feature_levels):
        convolutions.append(nn.Conv2d(channels[-1] if level == len(channels) else d, d, 3, stride=2, padding=1))
    for convolution in convolutions:
        nn.init.xavier_uniform_(convolution.weight)
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
    return nn.ModuleList(nn.Sequential(convolution, kind(GROUPS, d)) for convolution in convolutions)


def _heads(config: DeformableDETRConfig) -> tuple[nn.ModuleList, nn.ModuleList]:
    """A class head and a box head for each decoder layer: with refinement each its own, otherwise the same for all.

    Two-stage models have one more of each, for the encoder.
    """
    d, count = config.hidden_dim, config.dec_layers + config.two_stage
    copies = count if config.with_box_refine else 1
    class_heads = [nn.Linear(d, config.num_classes) for _ in range(copies)]
    box_heads = [MLP(d, d, 4, num_layers=3) for _ in range(copies)]
    first: Any = box_heads[0].layers[-1]
    nn.init.zeros_(first.weight)  # at the start, a box is its reference
    nn.init.zeros_(first.bias)
    nn.init.constant_(class_heads[0].bias, -math.log((1 - PRIOR) / PRIOR))
    for class_head, box_head in zip(class_heads[1:], box_heads[1:], strict=True):
        class_head.load_state_dict(class_heads[0].state_dict())
        box_head.load_state_dict(box_heads[0].state_dict())
    if not config.two_stage:
        nn.init.constant_(first.bias[2:], -2.0)  # a point becomes a box of sides sigmoid(-2) = 0.12
    return nn.ModuleList(class_heads * (count // copies)), nn.ModuleList(box_heads * (count // copies))
