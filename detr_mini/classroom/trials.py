"""Cases for an exercise, drawn from a seed, with right and wrong answers: what checks are made of."""

import copy
import hashlib
from random import Random
from typing import Any

from torch import Tensor

from detr_mini.classroom import more_variants  # noqa: F401  (enters its variants)
from detr_mini.classroom.checks import Trial, fault_of
from detr_mini.classroom.variants import VARIANTS, Cases
from detr_mini.teaching.exercises import Exercise, variant

TRIES = 500  # how often cases are drawn that do not tell every mistake apart
BAD_LUCK = (ArithmeticError, LookupError, ValueError, TypeError, RuntimeError)  # cases without sense, such as 0 objects


def draw_trial(topic: str, one: Exercise, seed: str) -> Trial:
    """The first cases of a seed on which the solution, and every typical mistake, is told apart from all others.

    Args:
        topic: the module of the exercise, such as ``matcher``.
        one: the exercise.
        seed: any text.

    Raises:
        RuntimeError: no such cases are found.
    """
    for attempt in range(TRIES):
        number = int(hashlib.sha256(f"{seed}/{topic}.{one.name}/{attempt}".encode()).hexdigest()[:8], 16)
        try:
            with variant(number):
                trial = answered(one, drawn(topic, one, number))
            if tells_apart(trial):
                return trial
        except BAD_LUCK:
            continue
    raise RuntimeError(f"{topic}.{one.name}: in {TRIES} tries from {seed!r} no cases tell all mistakes apart")


def drawn(topic: str, one: Exercise, number: int) -> Cases:
    """Cases of the exercise; call it inside of ``variant``."""
    make = VARIANTS.get(f"{topic}.{one.name}")
    return make(Random(number)) if make else one.cases()


def answered(one: Exercise, cases: Cases) -> Trial:
    """The cases with what the solution and every typical mistake make of them."""
    wrong = {message: [_plain(mistake(*copy.deepcopy(c))) for c in cases] for message, mistake in one.mistakes.items()}
    return {"cases": cases, "right": [_plain(one.function(*copy.deepcopy(c))) for c in cases], "wrong": wrong}


def tells_apart(trial: Trial) -> bool:
    """Does each mistake get its own message?"""
    return all(fault_of(trial, given) == message for message, given in trial["wrong"].items())


def _plain(result: Any) -> Any:
    """Tensors that own their memory and know nothing of how they came about."""
    if isinstance(result, Tensor):
        return result.detach().clone()
    if isinstance(result, dict):
        return {key: _plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return type(result)(map(_plain, result))
    return result
