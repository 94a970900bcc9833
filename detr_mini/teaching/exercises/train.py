"""Exercises of the chapter *Training*."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detr_mini.teaching.exercises import draw, exercise


def _matched() -> list[tuple[Tensor]]:
    rng = draw(0)
    return [(torch.randint(0, 3, (6, 20), generator=rng).to(torch.uint8),)]


@exercise(
    cases=_matched,
    mistakes={
        "This is the share that kept its query: the objects that changed are asked for.": (
            lambda matched: 1 - share_changed(matched)
        ),
        "Each snapshot is compared with the first one; it should be compared with the one just before it.": (
            lambda matched: (matched[1:] != matched[0]).float().mean(1)
        ),
        "Each snapshot is compared with the last one; it should be compared with its neighbor.": (
            lambda matched: (matched[:-1] != matched[-1]).float().mean(1)
        ),
        "These are numbers of objects: divide by how many there are.": (
            lambda matched: (matched[1:] != matched[:-1]).sum(1)
        ),
        "This compares the objects of one snapshot with each other: snapshots are the rows.": (
            lambda matched: (matched[:, 1:] != matched[:, :-1]).float().mean(1)
        ),
    },
)
def share_changed(matched: Tensor) -> Tensor:
    """The share of objects with another query than one snapshot before: ``(S, M)`` to ``(S - 1,)``."""
    return (matched[1:] != matched[:-1]).float().mean(1)


def _names() -> list[tuple[list[str]]]:
    body, encoder = "backbone.0.body", "transformer.encoder.layers"
    return [
        (
            [
                f"{body}.conv1.weight",
                f"{body}.layer1.0.conv1.weight",
                f"{body}.layer2.0.conv1.weight",
                f"{body}.layer3.5.conv3.weight",
                f"{body}.layer4.1.conv1.weight",
                "backbone.1.row_embed.weight",
                f"{encoder}.1.linear1.weight",
                "input_proj.weight",
                "class_embed.bias",
                f"{body}.bn1.weight",
            ],
        )
    ]


def _sort(names: list[str], frozen: Callable[[str], bool], slow: Callable[[str], bool]) -> list[list[str]]:
    groups: list[list[str]] = [[], [], []]
    for name in names:
        groups[0 if frozen(name) else 1 if slow(name) else 2].append(name)
    return groups


_BODY = "backbone.0.body."
_FROZEN = (f"{_BODY}conv1", f"{_BODY}bn1", f"{_BODY}layer1")


@exercise(
    cases=_names,
    mistakes={
        "The learned position table (backbone.1) got the backbone's rate: it starts from random numbers, and belongs "
        "to the others.": lambda names: _sort(
            names, lambda n: n.startswith(_FROZEN), lambda n: n.startswith("backbone")
        ),
        "Names like layer2.0.conv1 contain 'conv1' too, and are frozen here: the stem is body.conv1 alone.": (
            lambda names: _sort(
                names,
                lambda n: n.startswith(_BODY) and any(part in n for part in ("conv1", "bn1", "layer1")),
                lambda n: n.startswith(_BODY),
            )
        ),
        "The whole body is frozen; its stages 2 to 4 are trained.": (
            lambda names: _sort(names, lambda n: n.startswith(_BODY), lambda n: False)
        ),
        "Nothing is frozen: the stem (conv1 and bn1) and the first stage should be.": (
            lambda names: _sort(names, lambda n: False, lambda n: n.startswith(_BODY))
        ),
        "The stem is trained here; it is frozen together with the first stage.": (
            lambda names: _sort(names, lambda n: n.startswith(f"{_BODY}layer1"), lambda n: n.startswith(_BODY))
        ),
    },
)
def three_groups(names: list[str]) -> list[list[str]]:
    """Sort parameter names into those that stay frozen, those with the backbone's rate, and all others."""
    body = "backbone.0.body."
    stem_and_first_stage = (f"{body}conv1", f"{body}bn1", f"{body}layer1")
    frozen = [name for name in names if name.startswith(stem_and_first_stage)]
    slow = [name for name in names if name.startswith(body) and name not in frozen]
    others = [name for name in names if not name.startswith(body)]
    return [frozen, slow, others]


def _shares() -> list[tuple[Tensor, Tensor]]:
    return [
        (torch.tensor([6.0, 3.0, 0.0]), torch.tensor([12, 3, 0])),
        (torch.tensor([0.0, 0.0]), torch.tensor([0, 0])),
        (torch.tensor([2.5, 1.0]), torch.tensor([1, 0])),
    ]


@exercise(
    cases=_shares,
    mistakes={
        "Each process divides by its own number: an object in a share with few objects then weighs more.": (
            lambda sums, counts: sums / counts.clamp(min=1)
        ),
        "Divided by the total, the losses are too small: their mean is divided by the number of processes once more.": (
            lambda sums, counts: sums / counts.sum().clamp(min=1)
        ),
        "The mean number of objects is raised to 1 where it is lower, as in the published code; only a mean of 0 has "
        "to be replaced, else a batch with fewer objects than processes gets too small a loss.": (
            lambda sums, counts: sums / counts.float().mean().clamp(min=1)
        ),
        "Without any object this is 0 / 0, which is NaN.": lambda sums, counts: sums / counts.float().mean(),
        "This is one number, the loss of the whole batch; what each process reports is asked for.": (
            lambda sums, counts: sums.sum() / max(1, int(counts.sum()))
        ),
    },
)
def fair_losses(sums: Tensor, counts: Tensor) -> Tensor:
    """From each process's sum of losses and number of objects, ``(P,)``, to losses ``(P,)`` whose mean is right."""
    mean = counts.float().mean()
    return sums / (mean if mean > 0 else 1.0)


Batches = list[tuple[Tensor, Tensor]]


def _a_run() -> list[tuple[nn.Module, Batches, list[float], float]]:
    rng = draw(0)
    model = nn.Linear(3, 2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng))
    scales = (1.0, 50.0, 0.01, 5.0, 0.02, 8.0)
    batches = [(torch.randn(4, 3, generator=rng) * s, torch.randn(4, 2, generator=rng)) for s in scales]
    return [(model, batches, [0.02, 0.3, 0.3, 0.2, 0.1, 0.05], 0.1)]


def _steps(
    model: nn.Module,
    batches: Batches,
    rates: list[float],
    limit: float,
    *,
    forget: bool = True,
    clip: str = "before",
    rate: str = "own",
    decay: float = 0.0,
) -> list[float]:
    """:func:`train_steps`, with something wrong."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rates[0], weight_decay=decay)
    losses = []
    for number, ((x, y), own) in enumerate(zip(batches, rates, strict=True)):
        optimizer.param_groups[0]["lr"] = {"own": own, "first": rates[0], "late": rates[max(0, number - 1)]}[rate]
        loss = F.mse_loss(model(x), y)
        if forget:
            optimizer.zero_grad()
        loss.backward()
        if clip == "before":
            nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        losses.append(loss.item())
    return losses


def _mistaken(**wrong: Any) -> Callable[..., list[float]]:
    return lambda *arguments: _steps(*arguments, **wrong)


@exercise(
    cases=_a_run,
    mistakes={
        "Gradients pile up: PyTorch adds to what is there. Call zero_grad before backward.": _mistaken(forget=False),
        "The gradients are not clipped when the optimizer uses them: clip between backward and step.": (
            _mistaken(clip="never")
        ),
        "The rate stays at its first value: set it in optimizer.param_groups before each step.": _mistaken(
            rate="first"
        ),
        "Each step takes the rate of the step before: set it before optimizer.step, not after.": _mistaken(rate="late"),
        "This has AdamW's default weight decay of 0.01; none is asked for.": _mistaken(decay=0.01),
    },
)
def train_steps(model: nn.Module, batches: Batches, rates: list[float], limit: float) -> list[float]:
    """Train with AdamW, one rate a step, gradients clipped to ``limit``; returns the loss of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    losses = []
    for (x, y), rate in zip(batches, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        losses.append(loss.item())
    return losses
