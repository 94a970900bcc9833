"""Exercises of the chapter *Matching*."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from detr_mini.boxes import generalized_box_iou_cxcywh
from detr_mini.teaching.exercises import draw, exercise

Pairs = tuple[Tensor, Tensor]


def _logits() -> list[tuple[Tensor, Tensor]]:
    logits = torch.randn(4, 4, generator=draw(0))
    return [(logits, torch.tensor([2, 0, 2])), (logits[:2] * 3, torch.zeros(0, dtype=torch.int64))]


@exercise(
    cases=_logits,
    mistakes={
        "A probable class should be cheap: the minus sign is missing.": lambda z, y: z.softmax(-1)[:, y],
        "This is 1 - p. It would give the same matching, but the 1 is not in the cost: -p is asked for.": (
            lambda z, y: 1 - z.softmax(-1)[:, y]
        ),
        "This is -log p. The matcher takes the probability itself, so that the class cannot overrule the boxes.": (
            lambda z, y: -z.log_softmax(-1)[:, y]
        ),
        "These are logits. Only after a softmax over the classes are they probabilities.": lambda z, y: -z[:, y],
        "The softmax ran over the queries. Each query shares its probability among the K + 1 classes: the last axis.": (
            lambda z, y: -z.softmax(0)[:, y]
        ),
        "No-object was cut off before the softmax. It takes its share of the probability, too: cut afterwards.": (
            lambda z, y: -z[:, :-1].softmax(-1)[:, y]
        ),
    },
)
def class_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """The class term of the cost: from logits (N, K + 1) and labels (T,) to (N, T)."""
    return -logits.softmax(-1)[:, labels]


def _tables() -> list[tuple[Tensor]]:
    trap = torch.tensor([[1.0, 2.0], [2.0, 9.0]])
    late = torch.tensor([[3.0, 6.0, 1.0], [5.0, 2.0, 4.0], [4.0, 9.0, 8.0], [7.0, 1.5, 9.0]])
    return [(trap,), (late,), (torch.rand(6, 4, generator=draw(2)),)]


def _object_by_object(cost: Tensor) -> Tensor:
    cost, queries = cost.clone(), []
    for column in range(cost.shape[1]):
        queries.append(int(cost[:, column].argmin()))
        cost[queries[-1]] = torch.inf
    return torch.tensor(queries)


def _query_by_query(cost: Tensor) -> Tensor:
    cost, queries = cost.clone(), torch.zeros(cost.shape[1], dtype=torch.int64)
    for row in range(cost.shape[1]):
        column = int(cost[row].argmin())
        queries[column] = row
        cost[:, column] = torch.inf
    return queries


def _least_sum(cost: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    row, column = linear_sum_assignment(cost.numpy())
    return torch.from_numpy(row[np.argsort(column)])


@exercise(
    cases=_tables,
    mistakes={
        "Each object took its own cheapest query, and some took the same one. A taken query has to leave the table.": (
            lambda cost: cost.argmin(0)
        ),
        "This goes through the objects in order. Greedy takes the cheapest pair of the whole table that is left.": (
            _object_by_object
        ),
        "This goes through the queries in order. Greedy takes the cheapest pair of the whole table that is left.": (
            _query_by_query
        ),
        "This is the matching of the least sum. Greedy never looks ahead, and here it should do worse.": _least_sum,
    },
)
def greedy_matching(cost: Tensor) -> Tensor:
    """Take the cheapest pair that is left, again and again: from (N, T), N >= T, to the query of each object, (T,)."""
    cost, queries = cost.clone(), torch.zeros(cost.shape[1], dtype=torch.int64)
    for _ in range(cost.shape[1]):
        row, column = divmod(int(cost.argmin()), cost.shape[1])
        queries[column] = row
        cost[row], cost[:, column] = torch.inf, torch.inf
    return queries


def _matchings() -> list[tuple[Pairs, Pairs]]:
    def pairs(query: list[int], target: list[int]) -> Pairs:
        return torch.tensor(query), torch.tensor(target)

    return [
        (pairs([1, 4, 7, 9], [2, 0, 1, 3]), pairs([1, 4, 7, 9], [0, 2, 1, 3])),
        (pairs([0, 3, 5], [1, 0, 2]), pairs([2, 3, 5], [2, 1, 0])),
        (pairs([0, 2, 5, 6], [1, 0, 2, 3]), pairs([2, 5, 6, 7], [0, 2, 1, 3])),
    ]


def _share(before: Tensor, after: Tensor) -> float:
    return (before != after).double().mean().item()


@exercise(
    cases=_matchings,
    mistakes={
        "The queries were compared place by place. They come in rising order, so equal places may be other objects.": (
            lambda before, after: _share(before[0], after[0])
        ),
        "The objects were compared place by place. The same place is another query where the set of queries differs.": (
            lambda before, after: _share(before[1], after[1])
        ),
        "This is the share that stayed; the share that changed is asked for.": (
            lambda before, after: 1 - changed(before, after)
        ),
        "This is a count; a share of the objects is asked for.": (
            lambda before, after: changed(before, after) * len(before[0])
        ),
        "This counts queries that got a partner or lost it. A query can stay matched and change its object.": (
            lambda before, after: float((~torch.isin(after[0], before[0])).double().mean())
        ),
    },
)
def changed(before: Pairs, after: Pairs) -> float:
    """Share of the objects that got another query, from two matchings (query_idx, target_idx) of one picture."""
    first, second = (query[target.argsort()] for query, target in (before, after))  # by object: (T,)
    return (first != second).double().mean().item()


def _proofs() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    cost = torch.tensor([[7.0, 1, 6, 4], [8, 1, 3, 2], [5, 8, 5, 4], [9, 1, 8, 3]])
    rows, columns = torch.tensor([4.0, 3, 5, 4]), torch.tensor([0.0, -3, 0, -1])
    best, worse = torch.tensor([1, 2, 0, 3]), torch.tensor([1, 3, 0, 2])
    tilted = torch.tensor([6.0, 3, 3, 4])  # the sum is right, but some amounts together are above a cost
    return [
        (cost, rows, columns, best),
        (cost, rows, columns, worse),
        (cost, tilted, columns, best),
        (cost, rows - 1, columns, best),
        (cost, _costs_of(cost, worse), torch.zeros(4), worse),  # pair by pair, but pairs outside cost less
    ]


def _costs_of(cost: Tensor, match: Tensor) -> Tensor:
    return cost[torch.arange(len(cost)), match]


def _sum_of(cost: Tensor, match: Tensor) -> Tensor:
    return _costs_of(cost, match).sum()


def _below(cost: Tensor, rows: Tensor, columns: Tensor) -> bool:
    return bool((rows[:, None] + columns <= cost).all())


@exercise(
    cases=_proofs,
    mistakes={
        "This asks only whether the amounts add up to the cost of the matching. They prove nothing where a pair "
        "costs less than its two amounts.": lambda c, u, v, m: bool(_sum_of(c, m) == u.sum() + v.sum()),
        "This asks only whether no pair costs less than its amounts. It is a bound, but does the matching reach it?": (
            lambda c, u, v, m: _below(c, u, v)
        ),
        "The amounts of rows and columns are swapped: u belongs to the rows, so it needs u[:, None].": (
            lambda c, u, v, m: _below(c, v, u) and bool(_sum_of(c, m) == u.sum() + v.sum())
        ),
        "This looks at the pairs of the matching only. If a pair outside of it costs less than its two amounts, "
        "nothing is proven.": lambda c, u, v, m: bool((_costs_of(c, m) == u + v[m]).all()),
        "Turn it round: these are the cases in which nothing is proven.": lambda c, u, v, m: not proves(c, u, v, m),
    },
)
def proves(cost: Tensor, u: Tensor, v: Tensor, match: Tensor) -> bool:
    """Do amounts for rows u (N,) and columns v (N,) prove that row i with column match[i] is the cheapest matching?"""
    bound = u[:, None] + v <= cost  # no pair costs less than its amounts, so no matching costs less than all of them
    total = cost[torch.arange(len(cost)), match].sum()
    return bool(bound.all()) and bool(total == u.sum() + v.sum())


Batch = tuple[Tensor, Tensor, list[dict[str, Tensor]]]


def _batches() -> list[Batch]:
    generator = draw(5)

    def boxes(*shape: int) -> Tensor:
        size = 0.05 + 0.4 * torch.rand(*shape, 2, generator=generator)
        return torch.cat([size / 2 + (1 - size) * torch.rand(*shape, 2, generator=generator), size], dim=-1)

    batches = []
    for counts in ([3, 0, 4], [5, 5]):
        logits = 3 * torch.randn(len(counts), 6, 4, generator=generator)
        targets = [{"labels": torch.randint(3, (t,), generator=generator), "boxes": boxes(t)} for t in counts]
        batches.append((logits, boxes(len(counts), 6), targets))
    return batches


def _match_each(pair_cost: Callable[..., Tensor]) -> Callable[..., list[Pairs]]:
    """A matcher of each picture alone, with the given cost of probabilities, boxes, labels and goals."""
    from scipy.optimize import linear_sum_assignment

    def match(logits: Tensor, boxes: Tensor, targets: list[dict[str, Tensor]]) -> list[Pairs]:
        result = []
        for p, box, target in zip(logits.softmax(-1), boxes, targets, strict=True):
            cost = pair_cost(p, box, target["labels"], target["boxes"])
            row, column = linear_sum_assignment(cost.numpy())
            result.append((torch.from_numpy(row), torch.from_numpy(column)))
        return result

    return match


def _terms(p: Tensor, box: Tensor, label: Tensor, goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    distance = (box[:, None] - goal).abs().sum(-1)
    return -p[:, label], distance, -generalized_box_iou_cxcywh(box[:, None], goal)


def _weighted(a: float, b: float, c: float) -> Callable[..., Tensor]:
    return lambda *pair: sum((w * t for w, t in zip((a, b, c), _terms(*pair), strict=True)), torch.zeros(()))


def _over_the_batch(logits: Tensor, boxes: Tensor, targets: list[dict[str, Tensor]]) -> list[Pairs]:
    first = np.cumsum([0] + [len(t["labels"]) for t in targets])
    return [(q, t + int(first[i])) for i, (q, t) in enumerate(match_batch(logits, boxes, targets))]


@exercise(
    cases=_batches,
    mistakes={
        "Queries and objects changed places: the costs are (N, T), so scipy's first array names the queries.": (
            lambda *batch: [(target, query) for query, target in match_batch(*batch)]
        ),
        "The objects are numbered over the whole batch. Each picture's begin at 0 again.": _over_the_batch,
        "The weights are missing: class 1, L1 5, GIoU 2.": _match_each(_weighted(1, 1, 1)),
        "GIoU has the wrong sign: a large overlap should be cheap.": _match_each(_weighted(1, 5, -2)),
        "The class has the wrong sign: a probable class should be cheap.": _match_each(_weighted(-1, 5, 2)),
        "The class came in as -log p, and overruled the boxes. The matcher takes the probability itself.": _match_each(
            lambda p, *rest: _weighted(1, 5, 2)(p.log(), *rest)
        ),
    },
)
def match_batch(logits: Tensor, boxes: Tensor, targets: list[dict[str, Tensor]]) -> list[Pairs]:
    """Match a batch: logits (B, N, K + 1), boxes (B, N, 4) cxcywh, B targets to B pairs (query_idx, target_idx)."""
    from scipy.optimize import linear_sum_assignment

    matches = []
    for p, box, target in zip(logits.softmax(-1), boxes, targets, strict=True):
        labels, true = target["labels"], target["boxes"]  # (T,), (T, 4)
        distance = (box[:, None] - true).abs().sum(-1)  # (N, T)
        giou = generalized_box_iou_cxcywh(box[:, None], true)  # (N, T)
        cost = -p[:, labels] + 5 * distance - 2 * giou  # (N, T)
        query, number = linear_sum_assignment(cost.numpy())
        matches.append((torch.from_numpy(query), torch.from_numpy(number)))
    return matches
