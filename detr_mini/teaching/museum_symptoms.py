"""What can be seen of a detector with a fault, beside its healthy twin.

Chapter: *A museum of bugs*, ``book/23_museum``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detr_mini.teaching.museum import Exhibit


@dataclass(frozen=True)
class Symptom:
    """Something to be seen in a run, as a number that is compared with the healthy twin's.

    Attributes:
        words: for the table.
        value: the number.
        shows: whether it is there, from the exhibit's number and the twin's.
        reading: a clause with both numbers, ``{here}`` and ``{twin}``.
    """

    words: str
    value: Callable[[Exhibit], float]
    shows: Callable[[float, float], bool]
    reading: str


def _end(exhibit: Exhibit, term: str) -> float:
    return float(exhibit.log[term][-1][-1])


def _val(exhibit: Exhibit, term: str) -> float:
    return exhibit.losses["val"][term][-1]


def _repeated(exhibit: Exhibit) -> float:
    """The share of the batch's targets that stand there twice."""
    objects = [(number, *one) for number, picture in enumerate(exhibit.batch) for one in picture["objects"]]
    return 1 - len(set(objects)) / max(1, len(objects))


def _peak(exhibit: Exhibit) -> float:
    """The largest share that a cell gets, mean of the slots, in percent."""
    slots = exhibit.attention["slots"]
    return sum(max(max(row) for row in slot["map"]) for slot in slots) / len(slots) / 10


SYMPTOMS = {
    "names": Symptom(
        "AP50 is far higher once classes are not looked at",
        lambda e: e.numbers["AP50, any class"] - e.numbers["AP50"],
        lambda here, twin: here > twin + 0.15,
        "AP50 rises by {here:.2f} where classes are not looked at, {twin:.2f} in the healthy twin",
    ),
    "boxes": Symptom(
        "no slot's box fits an object (best IoU)",
        lambda e: e.numbers["best IoU"],
        lambda here, twin: here < twin - 0.15,
        "the best box for an object has an IoU of {here:.2f} on average, {twin:.2f} in the twin",
    ),
    "box loss": Symptom(
        "the box terms of the training stay high",
        lambda e: _end(e, "loss_giou"),
        lambda here, twin: here > twin + 0.1,
        "the GIoU term of the training ends at {here:.2f}, {twin:.2f} in the twin",
    ),
    "huge L1": Symptom(
        "the L1 term of the training is in the tens",
        lambda e: _end(e, "loss_bbox"),
        lambda here, twin: here > 5,
        "the L1 term of the training ends at {here:.2f}, {twin:.2f} in the twin",
    ),
    "class loss": Symptom(
        "the class term of the training stays high",
        lambda e: _end(e, "loss_ce"),
        lambda here, twin: here > 1.4 * twin,
        "the class term of the training ends at {here:.2f}, {twin:.2f} in the twin",
    ),
    "box gap": Symptom(
        "the box terms are low in training and high on right targets",
        lambda e: _val(e, "loss_giou") - _end(e, "loss_giou"),
        lambda here, twin: here > twin + 0.1,
        "on validation pictures, with right targets, the GIoU term is {here:.2f} above that of the training, "
        "{twin:.2f} in the twin",
    ),
    "class gap": Symptom(
        "the class term is low in training and high on right targets",
        lambda e: _val(e, "loss_ce") / _end(e, "loss_ce"),
        lambda here, twin: here > 1.3 * twin,
        "on validation pictures, with right targets, the class term is {here:.1f} times that of the training, "
        "{twin:.1f} in the twin",
    ),
    "sound losses": Symptom(
        "losses on right targets are as low as they should be",
        lambda e: _val(e, "loss_giou") + _val(e, "loss_ce"),
        lambda here, twin: here < 1.1 * twin,
        "on right targets the class term and the GIoU term are {here:.2f} together, {twin:.2f} in the twin",
    ),
    "low AP": Symptom(
        "AP is lower than it should be",
        lambda e: e.numbers["AP"],
        lambda here, twin: here < twin - 0.02,
        "AP is {here:.2f}, {twin:.2f} in the twin",
    ),
    "flattered": Symptom(
        "AP is far higher than losses on validation pictures let one hope",
        lambda e: e.numbers["AP"],
        lambda here, twin: here > twin + 0.1,
        "AP is {here:.2f}, {twin:.2f} in the twin, whose losses on validation pictures are no higher",
    ),
    "too many": Symptom(
        "far more detections than objects",
        lambda e: e.numbers["detections per object"],
        lambda here, twin: here > twin + 0.4,
        "there are {here:.2f} sure detections for each object, {twin:.2f} in the twin",
    ),
    "pairs": Symptom(
        "pairs of detections on one place",
        lambda e: e.numbers["pairs per object"],
        lambda here, twin: here > twin + 0.3,
        "there are {here:.2f} pairs of sure detections on one place for each object, {twin:.2f} in the twin",
    ),
    "too few": Symptom(
        "far fewer sure detections",
        lambda e: e.numbers["detections per object"],
        lambda here, twin: here < 0.7 * twin,
        "there are {here:.2f} sure detections for each object, {twin:.2f} in the twin",
    ),
    "seen only": Symptom(
        "losses on training pictures are far lower than on validation pictures",
        lambda e: _val(e, "loss_giou") - e.losses["train"]["loss_giou"][-1],
        lambda here, twin: here > 0.1,
        "on right targets the GIoU term is {here:.2f} higher on validation than on training pictures",
    ),
    "still backbone": Symptom(
        "the backbone does not move",
        lambda e: e.weights["backbone"],
        lambda here, twin: here < 0.1 * twin,
        "the backbone moved by {here:.3f} of its length, {twin:.3f} in the twin",
    ),
    "still queries": Symptom(
        "the object queries do not move",
        lambda e: e.weights["queries"],
        lambda here, twin: here < 0.1 * twin,
        "the queries moved by {here:.4f} of their length, {twin:.4f} in the twin",
    ),
    "still head": Symptom(
        "the class head does not move",
        lambda e: e.weights["class head"],
        lambda here, twin: here < 0.1 * twin,
        "the class head moved by {here:.2f} of its length, {twin:.2f} in the twin",
    ),
    "early layers": Symptom(
        "the first decoder layer is far worse than the last",
        lambda e: e.losses["val"]["loss_giou"][0] - e.losses["val"]["loss_giou"][-1],
        lambda here, twin: here > twin + 0.1,
        "the GIoU term of the first layer is {here:.2f} higher than the last one's, {twin:.2f} in the twin",
    ),
    "far": Symptom(
        "weights move many times too far",
        lambda e: e.weights["encoder"],
        lambda here, twin: here > 5 * twin,
        "the encoder moved by {here:.2f} of its length, {twin:.2f} in the twin",
    ),
    "still loss": Symptom(
        "the loss stops falling while it is still high",
        lambda e: e.log["loss"][-1] / e.log["loss"][len(e.log["loss"]) // 3],
        lambda here, twin: 1 - here < 0.5 * (1 - twin),
        "the loss ends at {here:.0%} of what it was after a third of the run, {twin:.0%} in the twin",
    ),
    "no rate": Symptom(
        "the learning rate is 0 long before the end",
        lambda e: e.log["lr"][len(e.log["lr"]) // 2] / max(e.log["lr"]),
        lambda here, twin: here < 0.1 * twin,
        "half-way the learning rate is {here:.2f} of its highest, {twin:.2f} in the twin",
    ),
    "flat": Symptom(
        "attention has no peak",
        _peak,
        lambda here, twin: here < 0.5 * twin,
        "the brightest cell gets {here:.0f} % of a slot's attention, {twin:.0f} % in the twin",
    ),
    "repeated": Symptom(
        "targets stand twice in the batch",
        _repeated,
        lambda here, twin: here > 0.2,
        "{here:.0%} of the batch's targets are repeats, {twin:.0%} in the twin",
    ),
}
