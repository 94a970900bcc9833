"""The exercises of the book: for each chapter a module with a check and a solution for every exercise.

A chapter shows the prompt and a skeleton that returns ``None``; the reader fills it in and calls the check, which says
at once what is right, or what seems to be wrong. The solution is the code that the tests run.
"""

import inspect
from collections.abc import Callable
from html import escape
from typing import Any


class Solution:
    """The source of a solution, folded away until the reader asks for it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.source = inspect.getsource(function)

    def _repr_html_(self) -> str:
        return (
            '<details class="solution"><summary>Show a solution</summary>'
            f'<div class="highlight"><pre>{escape(self.source)}</pre></div></details>'
        )

    def __repr__(self) -> str:
        return "Solution (folded: shown in Jupyter and in the rendered book)"


def report(exercise: str, problem: str | None, answer: Any) -> None:
    """Print the verdict on one exercise."""
    if answer is None:
        print(f"{exercise}: not solved yet")
    elif problem:
        print(f"{exercise}: not yet. {problem}")
    else:
        print(f"{exercise}: right")
