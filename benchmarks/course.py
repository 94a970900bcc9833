"""``python -m benchmarks.course``: how long a class takes to grade, with nbgrader, on two processes.

It makes a course, hands in for a class of which every third has all right, every third has done half, and the others
nothing, grades it, and looks that each has the points that are due.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from detr_mini.classroom import chapters, course

PROCESSES = 2
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure, and print a line for each step."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.course", description=__doc__)
    parser.add_argument("--students", type=int, default=20, metavar="N", help="default %(default)s")
    parser.add_argument("--chapters", nargs="+", default=[], metavar="N", help="default all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, start = Path(place) / "course", time.perf_counter()
        course.make(folder, options.chapters, seed=1)
        names = sorted(path.name for path in (folder / "source").iterdir())
        _tell("made", start)
        _run_all(folder, [["generate_assignment", name] for name in names])
        _tell("generated", start)
        due = {name: _hand_in(folder, name, options.students) for name in names}
        _run_all(folder, [["autograde", name] for name in names])
        _tell(f"{options.students} x {len(names)} notebooks graded", start)
        _compare(folder, due)


def _tell(what: str, start: float) -> None:
    print(f"{what}: {time.perf_counter() - start:.0f} s since the start", flush=True)


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
                assert given == wanted, f"{student} has {given} points in {name}, not {wanted}"
    print(f"all {sum(map(len, due.values()))} have the points that are due")


if __name__ == "__main__":
    main()
