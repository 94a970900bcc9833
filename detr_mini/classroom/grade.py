"""Grade one notebook without nbgrader, in a process of its own and for a limited time."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from detr_mini.errors import DataError, NotFoundError


@dataclass(frozen=True)
class Grade:
    """What one check gave."""

    check: str  # the name of its cell
    points: int
    of: int
    message: str


def grade(path: Path, course: Path | None = None, seconds: float = 300.0) -> list[Grade]:
    """Run a notebook and grade its checks; those of questions are left to a person.

    Args:
        path: the notebook. It is not changed.
        course: the course folder, whose checks, seen and hidden, take the place of the notebook's. Without it only
            the checks in the notebook are run, as they stand there, with the cases beside it.
        seconds: how long the notebook may take; what it has not reached by then gets no points.

    Raises:
        NotFoundError: there is no such notebook, course, or file of cases.
        DataError: the file is no notebook, or none of an assignment.
    """
    notebook = _read(path)
    cases = [path.with_suffix(".pt")]
    if course is not None:
        source = course / "source" / path.stem
        original = _read(source / path.name)
        notebook = restored(notebook, original)
        cases = [source / f"{path.stem}.pt", course / "hidden" / f"{path.stem}.pt"]
    else:  # what is left of hidden checks in a student's copy would pass
        notebook.cells = [cell for cell in notebook.cells if not str(_name(cell)).startswith("hidden-")]
    if missing := [str(one) for one in cases if not one.is_file()]:
        raise NotFoundError(f"{missing[0]} is not there: an assignment is a notebook with the file of cases beside it")
    if not any(_points(cell) for cell in notebook.cells):
        raise DataError(f"{path} has no cell with points: it is no notebook of an assignment, or its checks are gone")
    with tempfile.TemporaryDirectory(prefix="detr-mini-grade-") as folder:
        work, hidden = Path(folder) / "work", Path(folder) / "hidden"
        for one, place in zip(cases, (work, hidden), strict=False):
            place.mkdir()
            shutil.copy(one, place)
        fault = _run(notebook, work, seconds)
    return [_grade(cell, fault) for cell in notebook.cells if _points(cell)]


def restored(notebook: NotebookNode, original: NotebookNode) -> NotebookNode:
    """The student's notebook with the teacher's locked cells: changed ones as they were, deleted ones put back."""
    mine = {_name(cell): cell for cell in original.cells if _about(cell).get("locked")}
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        cell.outputs = [] if cell.cell_type == "code" else cell.get("outputs")
        if _name(cell) not in mine:
            cells.append(cell)
    order = [_name(cell) for cell in original.cells]
    for name, cell in mine.items():  # each goes behind the last of those that come before it
        before = set(order[: order.index(name)]) - {None}
        at = max((place for place, one in enumerate(cells, start=1) if _name(one) in before), default=0)
        cells.insert(at, cell)
    result: NotebookNode = nbformat.from_dict({**notebook, "cells": cells})
    return result


def _read(path: Path) -> NotebookNode:
    if not path.is_file():
        raise NotFoundError(
            f"{path} is not there: the notebook has the name of its assignment, such as 11_matcher.ipynb"
        )
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise DataError(f"{path} is no notebook: {str(error).splitlines()[0]}") from None


def _run(notebook: NotebookNode, work: Path, seconds: float) -> str:
    """Run all cells; returns what stopped it, or nothing."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    end = time.monotonic() + seconds
    client = NotebookClient(
        notebook,
        timeout_func=lambda cell: max(1, int(end - time.monotonic())),
        allow_errors=True,
        extra_arguments=["--IPKernelApp.log_level=40"],  # it would warn that it talks to this process unencrypted
        kernel_name="python3",
        resources={"metadata": {"path": str(work)}},
    )
    try:
        client.execute()
    except CellTimeoutError:
        return f"the notebook was stopped after {seconds:g} seconds, before this check"
    except DeadKernelError:
        return "Python ended before this check was run"
    return ""


def _grade(cell: NotebookNode, fault: str) -> Grade:
    name, of = str(_name(cell)), _points(cell)
    errors = [output for output in cell.outputs if output.output_type == "error"]
    if errors:
        kind, text = errors[0].ename, str(errors[0].evalue).splitlines() or [""]
        return Grade(name, 0, of, text[0] if kind == "NotYet" else f"{kind}: {text[0]}")
    if cell.execution_count is None:
        return Grade(name, 0, of, fault or "it was not run")
    return Grade(name, of, of, "".join(output.get("text", "") for output in cell.outputs).strip())


def _about(cell: NotebookNode) -> dict[str, Any]:
    about: dict[str, Any] = cell.metadata.get("nbgrader", {})
    return about


def _name(cell: NotebookNode) -> str | None:
    return _about(cell).get("grade_id")


def _points(cell: NotebookNode) -> int:
    """The points of a check; 0 for all other cells."""
    about = _about(cell)
    return int(about.get("points", 0)) if about.get("grade") and about.get("locked") else 0
