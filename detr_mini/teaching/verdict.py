"""What is wrong with an answer to an exercise, in a sentence. Knows answers, not how to find them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def problem(
    results: Sequence[Any],
    right: Sequence[Any],
    wrong: Mapping[str, Callable[[int], Any]],
    cases: Sequence[tuple[Any, ...]],
) -> str | None:
    """What is wrong with the results of an answer, or None.

    Args:
        results: what the answer returned for each case.
        right: what it should have returned.
        wrong: messages about typical mistakes, with what each mistake returns for the case of a number.
        cases: the arguments that the answer was tried on, untouched.
    """
    problems = [difference(one, other) for one, other in zip(results, right, strict=True)]
    if not any(problems):
        return None
    for message, result_of in wrong.items():
        if all(difference(result, result_of(number)) is None for number, result in enumerate(results)):
            return message
    number = next(i for i, found in enumerate(problems) if found)
    return f"{problems[number]} This is for {words(cases[number])}."


def difference(answer: Any, right: Any) -> str | None:
    """How an answer differs from the right one, in a sentence, or None where it does not."""
    if isinstance(right, Tensor):
        return _tensor_difference(answer, right)
    if isinstance(right, Mapping):
        if not isinstance(answer, Mapping) or answer.keys() != right.keys():
            return f"A dict with the keys {', '.join(map(str, right))} is wanted, this is {words(answer)}."
        found = [(f"At {key!r}: ", difference(answer[key], right[key])) for key in right]
    elif isinstance(right, Sequence) and not isinstance(right, str):
        if not isinstance(answer, Sequence) or len(answer) != len(right):
            return f"A {type(right).__name__} of length {len(right)} is wanted, this is {words(answer)}."
        found = [(f"At number {i}: ", difference(a, b)) for i, (a, b) in enumerate(zip(answer, right, strict=True))]
    elif isinstance(right, float) and isinstance(answer, int | float | Tensor):
        return difference(torch.as_tensor(answer, dtype=torch.float64), torch.tensor(right, dtype=torch.float64))
    elif isinstance(answer, Tensor) and answer.numel() == 1:
        return difference(answer.item(), right)
    else:
        return None if answer == right else f"{words(right)} is expected, not {words(answer)}."
    return next((where + problem for where, problem in found if problem), None)


def _tensor_difference(answer: Any, right: Tensor) -> str | None:
    if isinstance(answer, int | float) and right.numel() == 1:
        answer = torch.tensor(answer).reshape(right.shape)
    if not isinstance(answer, Tensor):
        return f"A tensor is wanted, this is {words(answer)}."
    if answer.shape != right.shape:
        return f"The shape should be {tuple(right.shape)}, not {tuple(answer.shape)}."
    if torch.allclose(answer.double(), right.double(), rtol=1e-4, atol=1e-5, equal_nan=True):
        if answer.is_floating_point() and not right.is_floating_point():
            return f"The numbers are right, but their type should be {right.dtype}, not {answer.dtype}."
        return None
    wrong = ~torch.isclose(answer.double(), right.double(), rtol=1e-4, atol=1e-5, equal_nan=True)
    place = tuple(wrong.nonzero()[0].tolist())
    where = f" at {list(place)}" if place else ""
    values = f"{_number(right[place])} is expected{where}, not {_number(answer[place])}"
    return f"The shape is right, the numbers are not: {values}."


def _number(value: Tensor) -> str:
    return f"{value.item():.4g}" if value.is_floating_point() else str(value.item())


def words(value: Any) -> str:
    """A value in a few words: tensors by their shape."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" if value.numel() > 4 else f"tensor({value.tolist()})"
    if isinstance(value, tuple):
        return ", ".join(map(words, value)) or "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"a value of the type {type(value).__name__}"
