"""What the cells of an assignment call. Students have this module; it holds no case, answer or solution.

An assignment has two files of cases. One lies beside the notebook, for the checks that students see. The other lies in
the teacher's course folder, in ``hidden``, and is found only while their work is graded there.
"""

import contextlib
import copy
import io
import sys
from collections.abc import Callable, Sequence
from importlib import reload
from pathlib import Path
from typing import Any, TypedDict

import torch

from detr_mini.errors import NotFoundError
from detr_mini.teaching import verdict
from detr_mini.teaching.museum_causes import CAUSES

reload(verdict)  # cells load this module anew, and so all of what they stand on: a notebook may have replaced parts


class Trial(TypedDict):
    """One exercise as data: arguments, right answers, and what each typical mistake answers, by its message."""

    cases: list[tuple[Any, ...]]
    right: list[Any]
    wrong: dict[str, list[Any]]


class NotYet(AssertionError):
    """An answer that is not right yet. Jupyter shows the sentence alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def visible(assignment: str, name: str, answer: Callable[..., Any]) -> None:
    """Try an answer on the cases beside the notebook.

    Args:
        assignment: the name of the notebook, such as ``11_matcher``.
        name: the name of the exercise.
        answer: the student's function.

    Raises:
        NotYet: it is not right; the message says what is wrong.
        NotFoundError: the file of cases is not beside the notebook.
    """
    try_on(load(Path(f"{assignment}.pt"))[name], name, answer)


def hidden(assignment: str, name: str, answer: Callable[..., Any]) -> None:
    """Try an answer on the cases in the course folder, as :func:`visible` does, and name none of their numbers."""
    here = Path.cwd()
    places = [folder / "hidden" / f"{assignment}.pt" for folder in (here, *here.parents)]
    path = next((place for place in places if place.is_file()), places[0])
    try_on(load(path)[name], name, answer, secret=True)


def cause(name: str, answer: Callable[[], Any]) -> None:
    """Whether a diagnosis of an exhibit is the name of a cause; not whether it is the right one.

    Raises:
        NotYet: it is not; the message lists them.
    """
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        given = answer()
    sys.stdout.write(told.getvalue())
    if given is None:
        raise NotYet(f"{name}: {_nothing(told.getvalue())}")
    if given not in CAUSES:
        raise NotYet(f"{name}: {verdict.words(given)} is none of the causes: {', '.join(CAUSES)}")
    print(f"{name}: {given}")


def load(path: Path) -> dict[str, Trial]:
    """The trials of an assignment by the names of its exercises. The file is a pickle: load the teacher's alone.

    Raises:
        NotFoundError: it is not there.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} is not there: it belongs to the assignment, beside its notebook")
    trials: dict[str, Trial] = torch.load(path, weights_only=False)
    return trials


def try_on(trial: Trial, name: str, answer: Callable[..., Any], *, secret: bool = False) -> None:
    """Print that an answer is right.

    Args:
        trial: what to try it on.
        name: what to call it.
        answer: the function.
        secret: say nothing of the numbers that it is tried on.

    Raises:
        NotYet: it is not right.
    """
    title, told = f"{name}: on other numbers," if secret else f"{name}:", io.StringIO()
    with contextlib.redirect_stdout(told):
        results = [_result(answer, name, case, secret) for case in trial["cases"]]
    sys.stdout.write(told.getvalue())
    if all(result is None for result in results):
        raise NotYet(f"{title} {_nothing(told.getvalue())}")
    fault = fault_of(trial, results)
    if fault is not None:
        known = fault in trial["wrong"] or not secret
        raise NotYet(f"{title} not yet. {fault if known else 'Does it hold for the numbers of the other check alone?'}")
    print(f"{title} right")


def fault_of(trial: Trial, results: Sequence[Any]) -> str | None:
    """What is wrong with results for a trial's cases, or None."""
    wrong = {message: given.__getitem__ for message, given in trial["wrong"].items()}
    return verdict.problem(results, trial["right"], wrong, trial["cases"])


def _nothing(printed: str) -> str:
    if printed.strip():
        return "it prints something and returns None. The answer is what a function returns."
    return "not solved yet."


def _result(answer: Callable[..., Any], name: str, case: tuple[Any, ...], secret: bool) -> Any:
    try:
        return answer(*copy.deepcopy(case))
    except Exception as error:
        error.add_note(f"This is your {name}, tried on {'other numbers' if secret else verdict.words(case)}.")
        raise
