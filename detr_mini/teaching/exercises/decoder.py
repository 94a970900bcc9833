"""Exercises of the chapter *Decoder*."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from detr_mini.modeling.transformer import DecoderLayer, TransformerDecoder
from detr_mini.teaching.exercises import draw, exercise
from detr_mini.teaching.specimens import Decode, Linear

Head = Callable[[Tensor], Tensor]
Triple = tuple[Tensor, Tensor, Tensor]


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=draw(seed))


def _stacks() -> list[tuple[Tensor, Head]]:
    weight = _random(6, 4, seed=0)
    return [(_random(3, 2, 5, 6, seed=1), Linear(weight)), (_random(2, 2, 3, 6, seed=2), Linear(weight))]


@exercise(
    cases=_stacks,
    mistakes={
        "These are the boxes of the first decoder layer: hs[0] has the right shape, but the answer is the last.": (
            lambda hs, head: head(hs[0]).sigmoid()
        ),
        "These are all layers' boxes, (layers, B, N, 4): only the last layer's answer counts.": (
            lambda hs, head: head(hs).sigmoid()
        ),
        "The numbers leave [0, 1]: the box head ends in a linear layer, and a sigmoid has to follow.": (
            lambda hs, head: head(hs[-1])
        ),
        "This takes the last picture of the batch: the layers come first, then the batch.": (
            lambda hs, head: head(hs[:, -1]).sigmoid()
        ),
        "This is the mean over the layers. The earlier layers' answers are for training alone.": (
            lambda hs, head: head(hs.mean(0)).sigmoid()
        ),
    },
)
def final_boxes(hs: Tensor, box_head: Head) -> Tensor:
    """The model's boxes (B, N, 4), cxcywh in [0, 1], from the results of all decoder layers (layers, B, N, d)."""
    return box_head(hs[-1]).sigmoid()


def _tensors() -> list[tuple[Tensor, ...]]:
    slots = [_random(2, 3, 4, seed=seed) for seed in range(3)]
    return [(*slots, _random(2, 5, 4, seed=3), _random(2, 5, 4, seed=4))]


def _swap(inputs: tuple[Triple, Triple], **changed: Tensor) -> tuple[Triple, Triple]:
    """The right six tensors with some of them changed: names such as self_k, cross_q."""
    names = ("q", "k", "v")
    first, second = (
        tuple(changed.get(f"{kind}_{name}", x) for name, x in zip(names, triple, strict=True))
        for kind, triple in zip(("self", "cross"), inputs, strict=True)
    )
    return first, second  # type: ignore[return-value]


@exercise(
    cases=_tensors,
    mistakes={
        "In self-attention you gave the values a position, and not the queries. It goes to queries and keys.": (
            lambda t, after, qp, m, pos: _swap(attention_inputs(t, after, qp, m, pos), self_q=t, self_v=t + qp)
        ),
        "Self-attention's values have a position. Positions say where to look; what is read is content.": (
            lambda t, after, qp, m, pos: _swap(attention_inputs(t, after, qp, m, pos), self_v=t + qp)
        ),
        "In cross-attention the values have a position. Only the keys do: the values are the memory as it is.": (
            lambda t, after, qp, m, pos: _swap(attention_inputs(t, after, qp, m, pos), cross_v=m + pos)
        ),
        "The keys of cross-attention have no position: a slot could not look for a place.": (
            lambda t, after, qp, m, pos: _swap(attention_inputs(t, after, qp, m, pos), cross_k=m)
        ),
        "The query of cross-attention has no position: without query_pos slots of the same content ask the same.": (
            lambda t, after, qp, m, pos: _swap(attention_inputs(t, after, qp, m, pos), cross_q=after)
        ),
        "These are six tensors in a row: two groups of three are wanted, one for each attention.": (
            lambda *case: sum(attention_inputs(*case), ())
        ),
        "Cross-attention asks with the content from before self-attention: what that found would be ignored.": (
            lambda t, after, qp, m, pos: _swap(attention_inputs(t, after, qp, m, pos), cross_q=t + qp)
        ),
    },
)
def attention_inputs(
    tgt: Tensor, tgt_after: Tensor, query_pos: Tensor, memory: Tensor, pos: Tensor
) -> tuple[Triple, Triple]:
    """Query, key and value of a decoder layer's self-attention and of its cross-attention."""
    here = tgt + query_pos
    return (here, here, tgt), (tgt_after + query_pos, memory + pos, memory)


Answers = dict[str, Any]


def _stacks_and_heads() -> list[tuple[Tensor, Head, Head]]:
    to_classes, to_boxes = _random(6, 5, seed=7), _random(6, 4, seed=8)
    return [(_random(layers, 2, 3, 6, seed=layers), Linear(to_classes), Linear(to_boxes)) for layers in (3, 4)]


def _answer(state: Tensor, class_head: Head, box_head: Head) -> Answers:
    return {"pred_logits": class_head(state), "pred_boxes": box_head(state).sigmoid()}


def _from(states: Callable[[Tensor], Tensor], last: int = -1) -> Callable[..., Answers]:
    """A mistake in what the list holds, or in which layer is the answer."""
    return lambda hs, *heads: _answer(hs[last], *heads) | {"aux_outputs": [_answer(x, *heads) for x in states(hs)]}


def _without_sigmoid(hs: Tensor, class_head: Head, box_head: Head) -> Answers:
    def raw(state: Tensor) -> Answers:
        return {"pred_logits": class_head(state), "pred_boxes": box_head(state)}

    return raw(hs[-1]) | {"aux_outputs": [raw(state) for state in hs[:-1]]}


def _with_softmax(hs: Tensor, class_head: Head, box_head: Head) -> Answers:
    return all_answers(hs, lambda x: class_head(x).softmax(-1), box_head)


def _whole_stack(hs: Tensor, class_head: Head, box_head: Head) -> Answers:
    return all_answers(hs, class_head, box_head) | {"aux_outputs": _answer(hs[:-1], class_head, box_head)}


@exercise(
    cases=_stacks_and_heads,
    mistakes={
        "The last layer is in the list, too: its loss would count twice. The list is for the earlier layers.": (
            _from(lambda hs: hs)
        ),
        "The first layer is taken for the answer, and the list holds the others: it is the other way round.": (
            _from(lambda hs: hs[1:], last=0)
        ),
        "The answer is the first layer's: hs[0] has the right shape, but the last layer's counts.": (
            _from(lambda hs: hs[:-1], last=0)
        ),
        "The list holds layer 2 and later ones: the first layer has a loss as well, and the last is no auxiliary.": (
            _from(lambda hs: hs[1:])
        ),
        "The list runs backwards: the first layer comes first.": _from(lambda hs: hs[:-1].flip(0)),
        "The boxes leave [0, 1]: a sigmoid has to follow the box head.": _without_sigmoid,
        "The boxes in aux_outputs leave [0, 1]: there, too, a sigmoid has to follow the box head.": (
            lambda hs, *heads: _without_sigmoid(hs, *heads) | _answer(hs[-1], *heads)
        ),
        "The earlier layers are missing: they belong in a list under aux_outputs.": (
            lambda hs, *heads: _answer(hs[-1], *heads)
        ),
        "These are probabilities: the loss wants logits, without a softmax.": _with_softmax,
        "aux_outputs is to be a list with a dictionary for each layer, not one dictionary of stacked layers.": (
            _whole_stack
        ),
    },
)
def all_answers(hs: Tensor, class_head: Head, box_head: Head) -> Answers:
    """The last layer's answer, and those of the earlier ones under ``aux_outputs``, from hs (layers, B, N, d)."""
    logits, boxes = class_head(hs), box_head(hs).sigmoid()  # (layers, B, N, ...)
    layers = [{"pred_logits": c, "pred_boxes": b} for c, b in zip(logits, boxes, strict=True)]
    return {**layers[-1], "aux_outputs": layers[:-1]}


def _decoders() -> list[tuple[Callable[[Tensor], Tensor], Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw(0).initial_seed())
        layers = [DecoderLayer(8, 2, dim_feedforward=16, dropout=0.0, pre_norm=True) for _ in range(2)]
        decoder = TransformerDecoder(layers, nn.LayerNorm(8)).requires_grad_(False)
        memory, pos, query_pos = torch.randn(1, 6, 8), torch.randn(1, 6, 8), torch.randn(1, 4, 8)
        for parameter in decoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # the biases, too, are not 0
    return [(Decode(decoder, memory, pos), query_pos)]


def _table(
    decode: Callable[[Tensor], Tensor], query_pos: Tensor, *, layer: int = -1, by_zero: bool = False, order: int = 2
) -> Tensor:
    """:func:`missed_by` with a choice of mistakes."""
    n = query_pos.shape[1]
    full, table = decode(query_pos)[layer, 0], torch.zeros(n, n)
    for gone in range(n):
        left = [i for i in range(n) if i != gone]
        if by_zero:
            some = query_pos.clone()
            some[:, gone] = 0
            rest = decode(some)[layer, 0, left]
        else:
            rest = decode(query_pos[:, left])[layer, 0]
        table[gone, left] = (rest - full[left]).norm(p=order, dim=-1)
    return table


def _rows_slipped(decode: Callable[[Tensor], Tensor], query_pos: Tensor) -> Tensor:
    n = query_pos.shape[1]
    full, table = decode(query_pos)[-1, 0], torch.zeros(n, n)
    for gone in range(n):
        left = [i for i in range(n) if i != gone]
        table[gone, left] = (decode(query_pos[:, left])[-1, 0] - full[:-1]).norm(dim=-1)
    return table


@exercise(
    cases=_decoders,
    mistakes={
        "The table is transposed: the row is the query that was removed, the column the one whose output moves.": (
            lambda decode, query_pos: _table(decode, query_pos).T
        ),
        "The query was set to zero, not removed: its slot can still be read by the others.": (
            lambda decode, query_pos: _table(decode, query_pos, by_zero=True)
        ),
        "This is the first layer's output, where no query can miss another: take the last.": (
            lambda decode, query_pos: _table(decode, query_pos, layer=0)
        ),
        "The outputs slipped: after query j is gone, output j belongs to query j + 1.": _rows_slipped,
        "This adds up absolute differences. The Euclidean distance is asked for.": (
            lambda decode, query_pos: _table(decode, query_pos, order=1)
        ),
    },
)
def missed_by(decode: Callable[[Tensor], Tensor], query_pos: Tensor) -> Tensor:
    """How far each query's final output moves when another is removed: (N, N), [removed, observed]."""
    n = query_pos.shape[1]
    full = decode(query_pos)[-1, 0]  # (N, d)
    table = torch.zeros(n, n)
    for gone in range(n):
        left = [i for i in range(n) if i != gone]
        rest = decode(query_pos[:, left])[-1, 0]  # (N - 1, d)
        table[gone, left] = (rest - full[left]).norm(dim=-1)
    return table
