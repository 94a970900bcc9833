"""The exercises of the book: for each chapter a module, in it a solution, a check and the typical mistakes of each.

A chapter shows the prompt and a skeleton that returns ``None``; the reader fills it in and asks for the verdict, which
says at once that it is right, or what seems to be wrong::

    exercises.to_pixels.check(to_pixels)  # the verdict on the reader's function
    exercises.to_pixels.solution  # folded away until asked for
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from typing import Any

import torch

from detr_mini.teaching.verdict import problem, words

Function = Callable[..., Any]
Cases = Callable[[], list[tuple[Any, ...]]]

_variant = ContextVar("variant", default=0)


def draw(seed: int) -> torch.Generator:
    """The random numbers of some cases: those of the book, or inside of :func:`variant` others."""
    return torch.Generator().manual_seed(seed + 1_000_003 * _variant.get())


@contextmanager
def variant(number: int) -> Iterator[None]:
    """Inside of it, cases that draw their numbers draw others: the same for the same number. The book's have 0."""
    token = _variant.set(number)
    try:
        yield
    finally:
        _variant.reset(token)


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
        elif fault := self._problem(results):
            print(f"{self.name}: not yet. {fault}")
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
            error.add_note(f"This is your {self.name}, tried on {words(self.cases()[number])}.")
            raise

    def _problem(self, results: list[Any]) -> str | None:
        cases = self.cases()
        if self.judge is not None:
            found = [self.judge(result, *case) for result, case in zip(results, cases, strict=True)]
            return next((fault for fault in found if fault), None)
        right = [self.function(*case) for case in cases]
        wrong = {message: lambda i, m=mistake: m(*self.cases()[i]) for message, mistake in self.mistakes.items()}
        return problem(results, right, wrong, self.cases())


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
