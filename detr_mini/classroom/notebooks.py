"""The notebook of an assignment, in the form that nbgrader reads: the teacher's, with solutions and hidden tests."""

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from detr_mini.classroom import exhibits
from detr_mini.classroom.chapters import FIGURES, Chapter, Task
from detr_mini.errors import DataError

QUESTION_POINTS = 2
ABOUT = """Write your code where it says *your code here*, and run the cell below it: it says whether your function is
right, or what looks wrong. Each function is tried on other numbers as well when it is graded, for half of the points.
A function hands its answer over with `return`; what it prints does not count. Leave the cells with checks as they are,
and run the whole notebook once more before you hand it in (*Kernel*, *Restart Kernel and Run All Cells*).

Where a text says *above* or names a figure, it means the chapter *{title}* of the book."""
RUBRIC = "{points} points for saying this in other words, 1 for a part of it, 0 for what contradicts it:\n\n{answer}"


def notebook(chapter: Chapter, book: Path, seed: int) -> NotebookNode:
    """The teacher's notebook of a chapter's assignment; the seed orders the exhibits of the museum of bugs."""
    cells = [new_markdown_cell(f"# {chapter.title}\n\n{ABOUT.format(title=chapter.title)}", id="about")]
    cells.append(new_code_cell("\n".join(chapter.imports), id="imports"))
    for task in chapter.tasks:
        cells += _exercise(chapter.name, task)
    if chapter.name == exhibits.CHAPTER:
        for cell, name, points in exhibits.cells(seed):
            solution = not name.startswith(("check-", "hidden-"))
            cells.append(_graded(cell, name, points=points, solution=solution) if name else cell)
    cells.append(new_markdown_cell("## Questions", id="questions"))
    cells += _questions(chapter, book)
    metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    made = new_notebook(cells=cells, metadata=metadata)
    nbformat.validate(made)
    return made


def _exercise(assignment: str, task: Task) -> list[NotebookNode]:
    name, half = task.exercise.name, task.points // 2
    call = f'("{assignment}", "{name}", {name})'
    about = f"{task.level}, about {task.minutes} minutes, {task.points} points"
    hint = f"<details><summary>Show a hint</summary>\n\n{task.hint}\n\n</details>"
    seen = [
        "from importlib import reload",
        "",
        "from detr_mini.classroom import checks",
        "",
        f"reload(checks).visible{call}",
    ]
    unseen = [
        f"# Graded on other numbers, for {half} more {'point' if half == 1 else 'points'}. Leave this cell as it is.",
        "### BEGIN HIDDEN TESTS",
        "from importlib import reload",
        "",
        "from detr_mini.classroom import checks",
        "",
        f"reload(checks).hidden{call}",
        "### END HIDDEN TESTS",
    ]
    return [
        new_markdown_cell(f"## {task.title}\n\n*{about}*\n\n{task.prompt}\n\n{hint}", id=f"prompt-{name}"),
        _graded(new_code_cell(task.solved(), id=name), name, solution=True),
        _graded(new_code_cell("\n".join(seen), id=f"check-{name}"), f"check-{name}", points=half),
        _graded(new_code_cell("\n".join(unseen), id=f"hidden-{name}"), f"hidden-{name}", points=half),
    ]


def _graded(cell: NotebookNode, name: str, points: int = 0, solution: bool = False, task: bool = False) -> NotebookNode:
    """Enter what nbgrader has to know of a cell."""
    about: dict[str, Any] = {"grade_id": name, "grade": bool(points) and not task, "solution": solution, "task": task}
    about |= {"locked": not solution, "schema_version": 3}
    if points:
        about["points"] = points
    cell.metadata["nbgrader"] = about
    if about["locked"]:
        cell.metadata |= {"editable": False, "deletable": False}
    return cell


def _questions(chapter: Chapter, book: Path) -> list[NotebookNode]:
    """Two questions that a person grades: about a figure, where there is one, and the last ones of the chapter."""
    cells, asked = [], chapter.questions[-2:]
    if chapter.name in FIGURES:
        picture, shown = _figure(chapter.name, book)
        drawn = new_markdown_cell("![The figure of the next question](attachment:figure.png)", id="figure")
        drawn["attachments"] = {"figure.png": {"image/png": picture}}
        cells.append(drawn)
        look = "What does this figure show? Name its axes or parts, and say in two sentences what is to be seen."
        asked = [(look, shown), asked[-1]]
    for number, (question, answer) in enumerate(asked, start=1):
        cells += _question(
            f"question-{number}", f"**Question {number}** ({QUESTION_POINTS} points). {question}", answer
        )
    return cells


def _question(name: str, text: str, answer: str) -> list[NotebookNode]:
    rubric = RUBRIC.format(points=QUESTION_POINTS, answer=answer)
    source = f"{text}\n\n=== BEGIN MARK SCHEME ===\n\n{rubric}\n\n=== END MARK SCHEME ==="
    cell = _graded(new_markdown_cell(source, id=name), name, points=QUESTION_POINTS, task=True)
    return [cell, new_markdown_cell("*Your answer, in place of this line:*", id=f"answer-{name}")]


def _figure(name: str, book: Path) -> tuple[str, str]:
    """A stored figure of a chapter, as base64, and what is to be seen in it."""
    for cell in nbformat.read(book / f"{name}.ipynb", as_version=4).cells:
        for output in cell.get("outputs", []) if cell.get("id") == FIGURES[name] else []:
            if "image/png" in output.get("data", {}):
                return str(output.data["image/png"]), str(output.metadata["image/png"]["alt"])
    raise DataError(f"{name}.ipynb has no figure {FIGURES[name]}: run it again, or name another in FIGURES")
