"""Write a course folder for nbgrader: assignments, hidden cases, and what students install."""

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat
import torch

from detr_mini.classroom import chapters, exhibits, notebooks, student_wheel
from detr_mini.classroom.checks import Trial
from detr_mini.classroom.trials import draw_trial
from detr_mini.errors import ConfigError, FolderInUseError

CONFIG = '''"""How nbgrader runs this course. Made with --seed {seed}, which students must not know."""

import os

from detr_mini.classroom import kernels

kernels.use()  # autograding takes a fraction of the time
c = get_config()  # noqa: F821

c.CourseDirectory.root = os.path.dirname(os.path.abspath(__file__))
c.CourseDirectory.course_id = "detr-mini"
c.ClearSolutions.code_stub = {{"python": "return None  # your code here"}}
c.OverwriteCells.add_missing_cells = True  # a check that was deleted comes back
c.ExecutePreprocessor.timeout = 60  # seconds a cell
c.ExecutePreprocessor.interrupt_on_timeout = True
c.GenerateFeedback.exporter_class = "detr_mini.classroom.feedback.OfflinePage"  # needs no network
'''


def make(folder: Path, wanted: Sequence[str] = (), seed: int | None = None, book: Path = chapters.BOOK) -> int:
    """Write the folder; returns the seed.

    Args:
        folder: a new one, or an empty one.
        wanted: names of chapters, such as ``11_matcher``, or their numbers; all if there are none.
        seed: what the numbers of all cases are drawn from; None draws one.
        book: where the texts are.

    Raises:
        FolderInUseError: the folder holds something.
        ConfigError: there is no such chapter.
        NotFoundError: the texts are not there.
    """
    names = _chosen(wanted, chapters.names(book))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderInUseError(f"{folder} is not empty: name a new folder, so that no work of a class is lost")
    seed = secrets.randbelow(10**9) if seed is None else seed
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in names:
        _write_assignment(unfinished, chapters.read(name, book), seed, book)
    (unfinished / "nbgrader_config.py").write_text(CONFIG.format(seed=seed), encoding="utf-8")
    student_wheel.write(unfinished / "students")
    if folder.exists():
        folder.rmdir()
    unfinished.rename(folder)
    return seed


def _chosen(wanted: Sequence[str], names: list[str]) -> list[str]:
    """The chapters that were asked for, in the book's order."""
    found = {name for name in names for one in wanted if one == name or one.zfill(2) == name[:2]}
    unknown = [one for one in wanted if not any(one == name or one.zfill(2) == name[:2] for name in names)]
    if unknown:
        raise ConfigError(f"there is no chapter {' '.join(unknown)}; there are {', '.join(names)}")
    return sorted(found) if wanted else names


def _write_assignment(folder: Path, chapter: chapters.Chapter, seed: int, book: Path) -> None:
    source, hidden = folder / "source" / chapter.name, folder / "hidden"
    source.mkdir(parents=True)
    hidden.mkdir(exist_ok=True)
    nbformat.write(notebooks.notebook(chapter, book, seed), source / f"{chapter.name}.ipynb")
    for part, place in (("visible", source), ("hidden", hidden)):
        trials = _trials(chapter, f"{seed}/{part}")
        if part == "hidden" and chapter.name == exhibits.CHAPTER:
            trials |= exhibits.trials(seed)
        torch.save(trials, place / f"{chapter.name}.pt")


def _trials(chapter: chapters.Chapter, seed: str) -> dict[str, Trial]:
    return {task.exercise.name: draw_trial(chapter.topic, task.exercise, seed) for task in chapter.tasks}
