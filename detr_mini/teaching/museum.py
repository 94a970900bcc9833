"""The museum of bugs: what can be seen of detectors with one fault each, and what to say to a diagnosis.

Chapter: *A museum of bugs*, ``book/23_museum``. The causes stand in :mod:`detr_mini.teaching.museum_causes`; the runs
are those of ``tools/museum.py``.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from detr_mini.errors import ConfigError
from detr_mini.teaching.museum_answers import ANSWERS, fingerprint
from detr_mini.teaching.museum_causes import CAUSES, Cause
from detr_mini.teaching.museum_symptoms import SYMPTOMS
from detr_mini.teaching.notebook import book_data

NO_QUESTION = ("sound losses", "low AP")  # what is sound asks for no cause, and a low AP fits nearly all


@dataclass(frozen=True)
class Exhibit:
    """What can be seen of one run. Boxes are xywh in pixels but in ``batch``; layers come in order, the last last.

    Attributes:
        number: of the exhibit, from "1"; "0" is the one that the chapter solves.
        seed: of the run.
        setting: "many" pictures to train on, or "few".
        steps: of the run.
        log: columns over K lines: ``step``, ``lr``, ``loss``, ``class_error`` (K,), and ``loss_ce``, ``loss_bbox``,
            ``loss_giou`` (K, L) of all decoder layers.
        numbers: what was measured after the last step: AP, AP50 and so on, by name.
        losses: by split, then by term, on right targets (L,).
        pictures: three scenes of the validation split: ``scene``, ``found`` (class, score, box) and ``objects`` (class,
            box).
        batch: four pictures as model and loss got them: ``image`` in its padded frame (WebP, base64), ``size`` of the
            picture in it (height, width), ``objects`` (label, cxcywh as shares).
        attention: ``scene``, and of its three surest ``slots`` the ``class``, ``score``, ``box`` and ``map`` (h, w),
            the last decoder layer's weights in thousandths, mean of the heads.
        weights: by part, how far it moved, as a share of its length.
        healthy: the same run without the fault, for which this is None.
    """

    number: str
    seed: int
    setting: str
    steps: int
    log: dict[str, list[Any]] = field(repr=False)
    numbers: dict[str, float] = field(repr=False)
    losses: dict[str, dict[str, list[float]]] = field(repr=False)
    pictures: list[dict[str, Any]] = field(repr=False)
    batch: list[dict[str, Any]] = field(repr=False)
    attention: dict[str, Any] = field(repr=False)
    weights: dict[str, float] = field(repr=False)
    healthy: "Exhibit | None" = field(repr=False)


@dataclass(frozen=True)
class Verdict:
    """What is said to a diagnosis."""

    right: bool
    text: str

    def __str__(self) -> str:
        return f"{'right' if self.right else 'not this one'}: {self.text}"


def load(number: str | int, seed: int = 0) -> Exhibit:
    """An exhibit with its healthy twin.

    Args:
        number: of the exhibit.
        seed: 0 for those of the book, 1 for those of assignments.

    Raises:
        FileNotFoundError: there is no such exhibit here, as where a notebook was taken away without the stored runs.
    """
    found = _read(f"{number}-{seed}")
    twin = _read(f"healthy-{found['setting']}-{seed}")
    return Exhibit(**found, number=str(number), healthy=Exhibit(**twin, number="healthy", healthy=None))


def exhibits(seed: int = 0) -> list[Exhibit]:
    """All exhibits but number 0, which the chapter solves, in order."""
    numbers = {int(path.stem.split("-")[0]) for path in book_data("museum").glob(f"[0-9]*-{seed}.json")}
    return [load(number, seed) for number in sorted(numbers - {0})]


def verdict(exhibit: Exhibit, cause: str) -> Verdict:
    """Whether a cause is the right one for an exhibit, and what speaks for it or against it.

    Args:
        exhibit: of any seed.
        cause: a name of ``CAUSES``.

    Raises:
        ConfigError: there is no such cause; the message lists them.
    """
    if cause not in CAUSES:
        raise ConfigError(f"{cause!r} is none of the causes: {', '.join(CAUSES)}")
    one = CAUSES[cause]
    if fingerprint(exhibit.number, cause) in ANSWERS:
        return Verdict(True, f"{one.line} {_readings(exhibit, one)}")
    return Verdict(False, _against(exhibit, one))


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(book_data(f"museum/{name}.json").read_text("utf-8"))
    return found


def answer(number: str) -> str:
    """The name of the cause of an exhibit."""
    return next(name for name in CAUSES if fingerprint(number, name) in ANSWERS)


def by_group() -> dict[str, list[str]]:
    """The names of all causes, by where they are made."""
    groups: dict[str, list[str]] = {}
    for name, cause in CAUSES.items():
        groups.setdefault(cause.group, []).append(name)
    return groups


def symptoms(seed: int = 0) -> list[tuple[str, list[str]]]:
    """For each symptom, in words, the causes whose exhibits show it, in the order of ``CAUSES``."""
    shown = {answer(one.number): seen(one) for one in [load(0, seed), *exhibits(seed)]}
    return [(one.words, [cause for cause in CAUSES if name in shown.get(cause, ())]) for name, one in SYMPTOMS.items()]


def seen(exhibit: Exhibit) -> list[str]:
    """The names of the symptoms that an exhibit shows, compared with its twin."""
    assert exhibit.healthy is not None
    return [name for name, one in SYMPTOMS.items() if one.shows(one.value(exhibit), one.value(exhibit.healthy))]


def _reading(exhibit: Exhibit, name: str) -> str:
    assert exhibit.healthy is not None
    one = SYMPTOMS[name]
    return one.reading.format(here=one.value(exhibit), twin=one.value(exhibit.healthy))


def _readings(exhibit: Exhibit, cause: Cause) -> str:
    return " ".join(f"Here {_reading(exhibit, name)}." for name in cause.would if name in seen(exhibit))


def _against(exhibit: Exhibit, cause: Cause) -> str:
    """The first trace that the cause would leave and that is missing; else what it would not explain."""
    there = seen(exhibit)
    for name in cause.would:
        if name not in there:
            return f"{cause.would[name]} Here {_reading(exhibit, name)}."
    for name in there:
        if name not in (*cause.would, *cause.may, *NO_QUESTION):
            return f"{cause.explains} But it would not explain this: {_reading(exhibit, name)}."
    return f"{cause.explains} The numbers alone do not speak against it here. {cause.ask}"
