"""Looking inside a trained model: its attention, and the slot each query owns.

Nothing here changes the model or its forward pass: what is wanted is recomputed from the inputs that hooks saw.

Chapters: *What queries learn*, ``book/16_slots``, *Attention maps*, ``book/17_attention_maps``, and *Deformable
attention*, ``book/19_deformable_attention``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detr_mini.data import CocoDetection
from detr_mini.evaluation import layer_outputs
from detr_mini.modeling.attention import MultiheadAttention
from detr_mini.modeling.build import Detector
from detr_mini.modeling.deformable_attention import DeformableAttention
from detr_mini.modeling.nested_tensor import NestedTensor


def attention_maps(model: Detector, samples: NestedTensor | Sequence[Tensor] | Tensor) -> dict[str, Tensor]:
    """The attention weights of every layer for one batch.

    Returns:
        From the name of each attention module, such as ``transformer.decoder.layers.2.multihead_attn``, to its weights
        ``(B, heads, Lq, Lk)``. Rows sum to 1; padded cells get 0.
    """

    def weights(module: MultiheadAttention, query: Tensor, key: Tensor, _: Tensor, *mask: Tensor) -> Tensor:
        return module.attention_weights(query, key, *mask)

    return _recomputed(model, samples, MultiheadAttention, weights)


def sampling_points(
    model: Detector, samples: NestedTensor | Sequence[Tensor] | Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Where each query of a Deformable DETR reads, in every layer, and with which weights, for one batch.

    Returns:
        From the name of each deformable attention, such as ``transformer.encoder.layers.0.self_attn``, to its sampling
        points ``(B, Q, M, L, P, 2)``, x and y as shares of each padded map, and their weights ``(B, Q, M, L, P)``,
        which sum to 1 over the points of all levels. Empty for a model that has none.
    """

    def points(module: DeformableAttention, query: Tensor, reference: Tensor, _: Tensor, shapes: Any, *__: Any) -> Any:
        return module.sampling(query, reference, shapes)

    return _recomputed(model, samples, DeformableAttention, points)


@torch.no_grad()
def _recomputed(
    model: Detector, samples: NestedTensor | Sequence[Tensor] | Tensor, kind: type[nn.Module], what: Callable[..., Any]
) -> dict[str, Any]:
    """For each module of a ``kind``, by name, ``what`` comes of the module and its inputs in one forward pass."""
    found: dict[str, Any] = {}

    def recompute(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            found[name] = what(module, *inputs)

        return hook

    modules = [(name, module) for name, module in model.named_modules() if isinstance(module, kind)]
    hooks = [module.register_forward_pre_hook(recompute(name)) for name, module in modules]
    try:
        model(samples)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def slot_boxes(model: Detector, dataset: CocoDetection | Sequence[Any], *, batch_size: int = 16) -> Tensor:
    """Every query's box on every image of a data set, object or not: ``(images, N, 4)`` as cxcywh in [0, 1].

    This is what figure 7 of the DETR paper shows. A list of ``(image, target)`` pairs will do for a data set.
    """
    return layer_outputs(model, dataset, batch_size=batch_size)["pred_boxes"][-1]


def explained_variance(values: Tensor) -> float:
    """How much of the variance of ``values`` ``(images, N)`` is explained by knowing the query, from 0 to 1.

    One minus the variance that is left around each query's own mean, as a share of the variance around the mean of all
    (eta squared of a one-way analysis of variance). 1: each query always says the same. 0: queries are alike.
    """
    left = (values - values.mean(0)).square().mean()
    return 1 - (left / values.var(correction=0)).item()
