"""The classroom: how long a class takes to grade, with nbgrader, on two processes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Settings
from benchmarks.report import Case, Row
from detr_mini.classroom import chapters, course

PROCESSES = 2
ROOT = Path(__file__).resolve().parent.parent


def minutes_to_grade(settings: Settings, target: float = 10.0, students: int = 20, wanted: Sequence[str] = ()) -> Row:
    """Minutes to make a course, generate its assignments, and autograde what a class hands in.

    Every third student has all right, every third has done half, the others nothing; each gets the points that are due.
    """
    with tempfile.TemporaryDirectory() as place:
        folder, start = Path(place) / "course", time.perf_counter()
        course.make(folder, wanted, seed=1)
        names = sorted(path.name for path in (folder / "source").iterdir())
        _run_all(folder, [["generate_assignment", name] for name in names])
        made = time.perf_counter() - start
        due = {name: _hand_in(folder, name, students) for name in names}
        start = time.perf_counter()
        _run_all(folder, [["autograde", name] for name in names])
        graded = time.perf_counter() - start
        _compare(folder, due)
    minutes = (made + graded) / 60
    return Row(
        f"minutes to make a course, nbgrader, {len(names)} chapters, and grade {students} students, two processes",
        "",
        "",
        f"{minutes:.1f} min, {made / 60:.1f} of them to make it",
        "",
        f"at most {target:g} min",
        minutes <= target,
    )


def _run_all(folder: Path, commands: list[list[str]]) -> None:
    """Run commands of nbgrader, some at a time."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": programs, "HOME": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment = os.environ | own
    running: list[tuple[list[str], subprocess.Popen[str]]] = []
    for command in [*commands, None]:
        while running and (command is None or len(running) == PROCESSES):
            done = [one for one in running if one[1].poll() is not None]
            for arguments, process in done:
                _, told = process.communicate()
                assert process.returncode == 0, f"{arguments}\n{told[-3000:]}"
            running = [one for one in running if one not in done]
            time.sleep(0.1)
        if command is not None:
            started = subprocess.Popen(
                [sys.executable, "-m", "nbgrader", *command, "--log-level=ERROR"],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            running.append((command, started))


def _hand_in(folder: Path, name: str, students: int) -> dict[str, int]:
    """Hand in for a class; returns the points that are due to each student."""
    tasks = chapters.read(name).tasks
    empty = (folder / "release" / name / f"{name}.ipynb").read_text("utf-8")
    due = {}
    for number in range(students):
        solved = tasks[: (len(tasks), len(tasks) // 2, 0)[number % 3]]
        notebook: dict[str, Any] = json.loads(empty)
        bodies = {task.exercise.name: "\n".join(chapters.solution_lines(task.exercise)) for task in solved}
        for cell in notebook["cells"]:
            body = bodies.get(cell["metadata"].get("nbgrader", {}).get("grade_id"))
            if body:
                cell["source"] = "".join(cell["source"]).replace("    return None  # your code here", body)
        place = folder / "submitted" / f"student-{number:02}" / name
        shutil.copytree(folder / "release" / name, place)
        (place / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        due[f"student-{number:02}"] = sum(task.points for task in solved)
    return due


def _compare(folder: Path, due: dict[str, dict[str, int]]) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        for name, points in due.items():
            for student, wanted in points.items():
                given = book.find_submission(name, student).score
                if given != wanted:
                    raise AssertionError(f"{student} has {given} points in {name}, not {wanted}")


CASES: dict[str, Case] = {"course": minutes_to_grade}
