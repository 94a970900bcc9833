"""The exercises of the book: for each chapter a module, in it a solution, a check and the typical mistakes of each.

A chapter shows the prompt and a skeleton that returns ``None``; the reader fills it in and asks for the verdict, which
says at once that it is right, or what seems to be wrong::

    exercises.to_pixels.check(to_pixels)  # the verdict on the reader's function
    exercises.to_pixels.solution  # folded away until asked for
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]
Cases = Callable[[], list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Exercise:
    """One exercise. :func:`exercise` makes it from the function that solves it.

    Args:
        function: the solution.
        cases: makes the arguments that an answer is tried on, anew at each call.
        mistakes: what to tell a reader, with a function that makes the mistake it is about.
        judge: says what is wrong with the result of an answer, or None. It stands in for the comparison with the
            solution's result where there is more than one right answer.
    """

    function: Function
    cases: Cases
    mistakes: Mapping[str, Function]
    judge: Callable[..., str | None] | None = None

    @property
    def name(self) -> str:
        return self.function.__name__

    def check(self, answer: Function) -> None:
        """Print the verdict on an answer."""
        results = [self._try(answer, number) for number in range(len(self.cases()))]
        if all(result is None for result in results):
            print(f"{self.name}: not solved yet")
        elif problem := self._problem(results):
            print(f"{self.name}: not yet. {problem}")
        else:
            print(f"{self.name}: right")

    @property
    def solution(self) -> "Solution":
        """The solution, folded."""
        return Solution(self.function)

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def _try(self, answer: Function, number: int) -> Any:
        try:
            return answer(*self.cases()[number])
        except Exception as error:
            error.add_note(f"This is your {self.name}, tried on {_words(self.cases()[number])}.")
            raise

    def _problem(self, results: list[Any]) -> str | None:
        cases = self.cases()
        if self.judge is not None:
            found = [self.judge(result, *case) for result, case in zip(results, cases, strict=True)]
            return next((problem for problem in found if problem), None)
        problems = [difference(result, self.function(*case)) for result, case in zip(results, cases, strict=True)]
        if not any(problems):
            return None
        for message, mistake in self.mistakes.items():
            if all(self._is(result, mistake, number) for number, result in enumerate(results)):
                return message
        number = next(i for i, problem in enumerate(problems) if problem)
        return f"{problems[number]} This is for {_words(self.cases()[number])}."

    def _is(self, result: Any, mistake: Function, number: int) -> bool:
        """Does the mistake lead to this result?"""
        return difference(result, mistake(*self.cases()[number])) is None


def exercise(
    *, cases: Cases = lambda: [()], mistakes: Mapping[str, Function], judge: Callable[..., str | None] | None = None
) -> Callable[[Function], Exercise]:
    """Make an :class:`Exercise` of the function that solves it. With a ``judge``, it finds the mistakes itself."""
    return lambda function: Exercise(function, cases, mistakes, judge)


class Solution:
    """The source of a solution, folded away until the reader asks for it."""

    def __init__(self, function: Function) -> None:
        source = inspect.getsource(function)
        self.source = source[re.search(r"^def |^class ", source, flags=re.M).start() :]  # type: ignore[union-attr]

    def _repr_html_(self) -> str:
        return (
            '<details class="solution"><summary>Show a solution</summary>'
            f'<div class="highlight"><pre>{escape(self.source)}</pre></div></details>'
        )

    def __repr__(self) -> str:
        return "Solution (folded: shown in Jupyter and in the rendered book)"


def difference(answer: Any, right: Any) -> str | None:
    """How an answer differs from the right one, in a sentence, or None where it does not."""
    if isinstance(right, Tensor):
        return _tensor_difference(answer, right)
    if isinstance(right, Mapping):
        if not isinstance(answer, Mapping) or answer.keys() != right.keys():
            return f"A dict with the keys {', '.join(map(str, right))} is wanted, this is {_words(answer)}."
        found = [(f"At {key!r}: ", difference(answer[key], right[key])) for key in right]
    elif isinstance(right, Sequence) and not isinstance(right, str):
        if not isinstance(answer, Sequence) or len(answer) != len(right):
            return f"A {type(right).__name__} of length {len(right)} is wanted, this is {_words(answer)}."
        found = [(f"At number {i}: ", difference(a, b)) for i, (a, b) in enumerate(zip(answer, right, strict=True))]
    elif isinstance(right, float) and isinstance(answer, int | float | Tensor):
        return difference(torch.as_tensor(answer, dtype=torch.float64), torch.tensor(right, dtype=torch.float64))
    elif isinstance(answer, Tensor) and answer.numel() == 1:
        return difference(answer.item(), right)
    else:
        return None if answer == right else f"{_words(right)} is expected, not {_words(answer)}."
    return next((where + problem for where, problem in found if problem), None)


def _tensor_difference(answer: Any, right: Tensor) -> str | None:
    if isinstance(answer, int | float) and right.numel() == 1:
        answer = torch.tensor(answer).reshape(right.shape)
    if not isinstance(answer, Tensor):
        return f"A tensor is wanted, this is {_words(answer)}."
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


def _words(value: Any) -> str:
    """A value in a few words: tensors by their shape."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}" if value.numel() > 4 else f"tensor({value.tolist()})"
    if isinstance(value, tuple):
        return ", ".join(map(_words, value)) or "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"a value of the type {type(value).__name__}"
