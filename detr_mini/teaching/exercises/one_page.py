"""Exercises of the chapter *DETR in one page*."""

from typing import Any

import torch
from torch import Tensor

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.teaching.exercises import exercise

State = dict[str, Tensor]


def _state(d: int, queries: int, classes: int, layers: int) -> State:
    """Names and shapes as in a checkpoint, a few of each kind."""
    state = {
        "query_embed.weight": torch.zeros(queries, d),
        "class_embed.weight": torch.zeros(classes + 1, d),
        "class_embed.bias": torch.zeros(classes + 1),
        "bbox_embed.layers.2.weight": torch.zeros(4, d),
        "transformer.encoder.layers.0.norm1.weight": torch.zeros(d),
        "transformer.encoder.layers.1.norm1.weight": torch.zeros(d),
        "transformer.decoder.norm.weight": torch.zeros(d),
    }
    for layer in range(layers):
        state[f"transformer.decoder.layers.{layer}.linear1.weight"] = torch.zeros(2 * d, d)
        state[f"transformer.decoder.layers.{layer}.norm1.weight"] = torch.zeros(d)
    return state


@exercise(
    cases=lambda: [(_state(8, 5, 3, 2), "transformer.decoder."), (_state(8, 5, 3, 2), "class_embed.")],
    mistakes={
        "This counts tensors. Each holds many numbers: ask it for numel().": (
            lambda state, prefix: sum(name.startswith(prefix) for name in state)
        ),
        "This counts all tensors of the file; only those whose name begins with the prefix are asked for.": (
            lambda state, prefix: sum(tensor.numel() for tensor in state.values())
        ),
        "This adds up first dimensions. A matrix holds rows times columns numbers: ask it for numel().": (
            lambda state, prefix: sum(len(tensor) for name, tensor in state.items() if name.startswith(prefix))
        ),
    },
)
def count_numbers(state: State, prefix: str) -> int:
    """A dict of tensors and a prefix to an int."""
    return sum(tensor.numel() for name, tensor in state.items() if name.startswith(prefix))


def _named(parts: Any) -> State:
    return dict(zip("qkv", parts, strict=True))


@exercise(
    cases=lambda: [(torch.arange(12.0 * 4).view(12, 4),)],
    mistakes={
        "These are columns. The three matrices lie one below the other: split the rows.": (
            lambda weight: _named(w.T for w in weight.T.reshape(3, 4, 4))
        ),
        "The order is query, key, value: here key and value are swapped.": (
            lambda weight: _named([weight[:4], weight[8:], weight[4:8]])
        ),
        "These take every third row. The first d rows belong together: they make the queries.": (
            lambda weight: _named(weight[i::3] for i in range(3))
        ),
        "They are transposed. F.linear takes a weight as it lies here.": (
            lambda weight: _named(w.T for w in weight.chunk(3))
        ),
    },
)
def split_projection(in_proj_weight: Tensor) -> State:
    """(3d, d) to a dict of "q", "k" and "v", (d, d) each."""
    q, k, v = in_proj_weight.chunk(3)  # three blocks of d rows
    return {"q": q, "k": k, "v": v}


def _sizes_with(**changes: int) -> Any:
    def wrong(state: State) -> dict[str, int]:
        sizes = read_sizes(state)
        return sizes | {name: sizes[name] + change for name, change in changes.items()}

    return wrong


@exercise(
    cases=lambda: [(_state(8, 5, 3, 2),), (_state(16, 100, 91, 6),), (_state(4, 7, 10, 12),)],
    mistakes={
        "K is one too high: the last row of the class head stands for no object, which is no class.": _sizes_with(K=1),
        "dec_layers is the highest number of a layer; they are counted from 0.": _sizes_with(dec_layers=-1),
        "d and N are swapped: an embedding has a row for each query, and d columns.": (
            lambda state: read_sizes(state) | {"d": read_sizes(state)["N"], "N": read_sizes(state)["d"]}
        ),
        "These are the layers of the encoder; those of the decoder are asked for.": (
            lambda state: read_sizes(state) | {"dec_layers": 2}
        ),
    },
)
def read_sizes(state: State) -> dict[str, int]:
    """State dict to a dict of "d", "N", "K" and "dec_layers"."""
    queries, d = state["query_embed.weight"].shape
    prefix = "transformer.decoder.layers."
    layers = {int(name.removeprefix(prefix).split(".")[0]) for name in state if name.startswith(prefix)}
    return {"d": d, "N": queries, "K": len(state["class_embed.weight"]) - 1, "dec_layers": len(layers)}


Answers = list[tuple[int, float, list[int]]]


def _predictions() -> list[tuple[Tensor, Tensor, int, int, float]]:
    logits = torch.tensor(
        [[0.0, 4.0, 1.0, 0.0], [0.0, 0.0, 1.0, 9.0], [0.0, 0.5, 5.0, 1.0], [1.0, 0.0, 2.5, 2.6], [6.0, 0.0, 0.0, 1.0]]
    )
    boxes = torch.tensor(
        [
            [0.5, 0.5, 0.2, 0.4],
            [0.3, 0.3, 0.1, 0.1],
            [0.93, 0.1, 0.2, 0.3],
            [0.4, 0.6, 0.2, 0.2],
            [0.21, 0.37, 0.11, 0.13],
        ]
    )
    return [(logits, boxes, 100, 200, 0.4), (logits, boxes, 75, 50, 0.0), (logits, boxes, 100, 200, 0.999)]


def _answers(
    logits: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
    *,
    drop_last: bool = True,
    clip: bool = True,
    order: bool = True,
    swap: bool = False,
) -> Answers:
    """The solution with its steps as switches, to make mistakes with."""
    probabilities = logits.softmax(-1)
    scores, labels = (probabilities[:, :-1] if drop_last else probabilities).max(-1)
    side = torch.tensor([height, width] * 2 if swap else [width, height] * 2)
    corners = (box_cxcywh_to_xyxy(boxes) * side).round()
    if clip:
        corners = corners.clamp(min=0).minimum(side)
    rows = zip(labels.tolist(), scores.tolist(), corners.int().tolist(), strict=True)
    found = [row for row in rows if row[1] > threshold]
    return sorted(found, key=lambda row: -row[1]) if order else found


@exercise(
    cases=_predictions,
    mistakes={
        'Queries that say "no object" are among the answers: leave out the last class before you look for the best.': (
            lambda *case: _answers(*case, drop_last=False)
        ),
        "A box reaches out of the picture: clip it.": lambda *case: _answers(*case, clip=False),
        "All answers are there, but in the order of the queries: the best score comes first.": (
            lambda *case: _answers(*case, order=False)
        ),
        "x was scaled by the height and y by the width: they are swapped.": lambda *case: _answers(*case, swap=True),
    },
)
def answers(logits: Tensor, boxes: Tensor, height: int, width: int, threshold: float) -> Answers:
    """Logits (N, K + 1), boxes (N, 4) to [(int, float, list of int)]."""
    scores, labels = logits.softmax(-1)[:, :-1].max(-1)  # (N,) each
    center, size = boxes.chunk(2, dim=-1)
    side = torch.tensor([width, height, width, height])
    pixels = torch.cat([center - size / 2, center + size / 2], dim=-1) * side  # (N, 4)
    pixels = pixels.round().clamp(min=0).minimum(side).int()
    rows = zip(labels.tolist(), scores.tolist(), pixels.tolist(), strict=True)
    return sorted((row for row in rows if row[1] > threshold), key=lambda row: -row[1])
