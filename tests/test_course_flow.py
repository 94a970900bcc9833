"""A course as a class goes through it: nbgrader's own commands, five students, and the check of one notebook."""

from __future__ import annotations

import copy
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from filelock import FileLock  # comes with torch

from detr_mini.classroom import chapters, checks, course, student_wheel
from detr_mini.classroom.grade import grade
from detr_mini.commands.cli import main
from detr_mini.teaching.verdict import difference

ROOT = Path(__file__).resolve().parent.parent
SEED = 918273645
NAME = "11_matcher"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # nbgrader runs five notebooks

MISTAKES = {  # typical ones, and how each is told
    "class_cost": ("    return -logits[:, labels]", "These are logits."),
    "greedy_matching": ("    return cost.argmin(0)", "Each object took its own cheapest query"),
    "changed": (
        "    return (before[0] != after[0]).double().mean().item()",
        "The queries were compared place by place.",
    ),
    "proves": ("    return bool((u[:, None] + v <= cost).all())", "This asks only whether no pair costs less"),
    "match_batch": (
        """
    matches = []
    for p, box, target in zip(logits.softmax(-1), boxes, targets):
        near = (box[:, None] - target["boxes"]).abs().sum(-1)
        cost = near - p[:, target["labels"]] - generalized_box_iou_cxcywh(box[:, None], target["boxes"])
        matches.append(tuple(map(torch.from_numpy, linear_sum_assignment(cost.numpy()))))
    return matches""",
        "The weights are missing",
    ),
}


def nbgrader(*arguments: str, folder: Path) -> str:
    """Run a command of nbgrader, with the programs that it looks for, and settings of no one."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": programs, "HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "nbgrader", *arguments]
    environment = os.environ | own | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stderr


# --- five students


Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    notebook: Notebook = json.loads(path.read_text("utf-8"))
    return notebook


def cell(notebook: Notebook, name: str) -> dict[str, Any]:
    (found,) = (one for one in notebook["cells"] if one["metadata"].get("nbgrader", {}).get("grade_id") == name)
    assert isinstance(found, dict)
    return found


def answer(notebook: Notebook, name: str, body: str) -> None:
    """Fill in a function."""
    one = cell(notebook, name)
    source = "".join(one["source"])
    assert "    return None  # your code here" in source
    one["source"] = source.replace("    return None  # your code here", body)


def solve(notebook: Notebook, *names: str) -> None:
    for task in chapters.read(NAME).tasks:
        if task.exercise.name in names:
            answer(notebook, task.exercise.name, "\n".join(chapters.solution_lines(task.exercise)))


def submissions(folder: Path) -> dict[str, Notebook]:
    """What the five hand in; see the grades below."""
    empty = read(folder / "release" / NAME / f"{NAME}.ipynb")
    right, mistaken, failing, sly = (copy.deepcopy(empty) for _ in range(4))
    solve(right, *MISTAKES)
    for name, (body, _) in MISTAKES.items():
        answer(mistaken, name, body)
    solve(failing, *[name for name in MISTAKES if name != "greedy_matching"])
    answer(failing, "greedy_matching", "    return cost[len(cost)].argmin()")
    answer(sly, "class_cost", "    print(-logits.softmax(-1)[:, labels])")
    answer(sly, "greedy_matching", "    return 'right'")
    cell(sly, "check-greedy_matching")["source"] = "print('greedy_matching: right')"
    answer(
        sly,
        "changed",
        "    return 0.5\n\nfrom detr_mini.classroom import checks\nfrom detr_mini.teaching import verdict\n"
        "checks.visible = checks.hidden = print\nverdict.difference = lambda *given: None",
    )
    sly["cells"] = [
        one for one in sly["cells"] if one["metadata"].get("nbgrader", {}).get("grade_id") != "hidden-proves"
    ]
    cell(sly, "hidden-match_batch")["metadata"]["nbgrader"]["points"] = 100
    return {"right": right, "mistaken": mistaken, "empty": empty, "failing": failing, "sly": sly}


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course when everyone has handed in, with grades and feedback. Of several processes the first one makes it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / "course.lock"):
        if not (shared / "course").is_dir():
            graded_course(shared / "course.unfinished").rename(shared / "course")
    return shared / "course"


def graded_course(folder: Path) -> Path:
    course.make(folder, [NAME], SEED)
    nbgrader("generate_assignment", NAME, folder=folder)
    for student, notebook in submissions(folder).items():
        place = folder / "submitted" / student / NAME
        shutil.copytree(folder / "release" / NAME, place)
        (place / f"{NAME}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    (folder / "submitted" / "sly" / NAME / f"{NAME}.pt").write_bytes(b"nothing to check")
    nbgrader("autograde", NAME, folder=folder)
    nbgrader("generate_feedback", NAME, folder=folder)
    nbgrader("export", "--to", str(folder / "grades.csv"), folder=folder)
    return folder


def feedback(folder: Path, student: str) -> str:
    page = (folder / "feedback" / student / NAME / f"{NAME}.html").read_text("utf-8")
    return unescape(re.sub(r"<[^>]+>", "", page))


def scores(folder: Path, student: str) -> dict[str, float]:
    """The points of each check, as nbgrader has them."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        found = book.find_submission_notebook(NAME, NAME, student)
        return {one.name: one.score for one in found.grades if one.cell.cell_type == "code"}


def test_the_exported_grades(graded: Path) -> None:
    with (graded / "grades.csv").open() as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert {name: float(row["score"]) for name, row in rows.items()} == {
        "right": 18,
        "mistaken": 0,
        "empty": 0,
        "failing": 16,
        "sly": 0,
    }
    assert {float(row["max_score"]) for row in rows.values()} == {18 + 4}


def test_right_answers_are_called_right(graded: Path) -> None:
    text = feedback(graded, "right")
    for name in MISTAKES:
        assert f"{name}: right" in text
        assert f"{name}: on other numbers, right" in text


def test_a_typical_mistake_is_named_in_the_feedback(graded: Path) -> None:
    text = feedback(graded, "mistaken")
    for name, (_, message) in MISTAKES.items():
        assert f"{name}: not yet. {message}" in text
        assert f"{name}: on other numbers, not yet. {message}" in text


def test_an_empty_notebook_is_not_solved_yet(graded: Path) -> None:
    text = feedback(graded, "empty")
    assert all(f"{name}: not solved yet." in text for name in MISTAKES)
    assert set(scores(graded, "empty").values()) == {0}


def test_an_exception_costs_its_own_exercise(graded: Path) -> None:
    text = feedback(graded, "failing")
    assert "IndexError" in text
    assert "This is your greedy_matching, tried on a tensor of shape (2, 2)" in text or "tried on tensor(" in text
    lost = {name for name, score in scores(graded, "failing").items() if not score}
    assert lost == {"check-greedy_matching", "hidden-greedy_matching"}


def test_printing_and_tampering_get_nothing(graded: Path) -> None:
    text = feedback(graded, "sly")
    assert "class_cost: it prints something and returns None." in text
    assert "greedy_matching: not yet. A tensor is wanted, this is 'right'." in text
    assert "changed: not yet. " in text
    assert "proves: not solved yet." in text
    assert len(scores(graded, "sly")) == 10, "the deleted check is back"


def test_feedback_loads_nothing_and_tells_no_hidden_number(graded: Path) -> None:
    hidden = checks.load(graded / "hidden" / f"{NAME}.pt")
    for student in ("mistaken", "sly"):
        page = (graded / "feedback" / student / NAME / f"{NAME}.html").read_text("utf-8")
        assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?!data:)[^\"]*\"", page)
        assert "@import" not in page
        assert 'alt="K + 1"' in page, "a formula of the prompts, as a picture"
        assert "$K + 1$" not in page
        assert str(SEED) not in page
        told = re.findall(r"on other numbers, (.*)", unescape(re.sub(r"<[^>]+>", "", page)))
        assert len(told) >= 4
        numbers = {f"{value:.4g}" for value in hidden["changed"]["right"]}
        assert not any(f"{number} is expected" in line for number in numbers for line in told)
        assert not any("This is for" in line for line in told)


def test_questions_wait_for_a_person_who_sees_the_rubric(graded: Path) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{graded}/gradebook.db") as book:
        grades = book.find_submission_notebook(NAME, NAME, "right").grades
        assert {one.name for one in grades if one.needs_manual_grade} == {"question-1", "question-2"}
    seen = (graded / "autograded" / "right" / NAME / f"{NAME}.ipynb").read_text("utf-8")
    assert "points for saying this in other words" in seen
    assert "points for saying this in other words" not in (graded / "release" / NAME / f"{NAME}.ipynb").read_text()


# --- one notebook, without nbgrader


def test_one_notebook_gets_the_same_grade_without_nbgrader(graded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for student, status in (("sly", 2), ("right", 0)):
        path = graded / "submitted" / student / NAME / f"{NAME}.ipynb"
        assert main(["course", "check", str(path), "--course", str(graded)]) == status
        told = capsys.readouterr().out
        found = re.findall(r"^ ?(\d+) of \d+  (\S+)", told, flags=re.M)
        assert {name: float(points) for points, name in found} == scores(graded, student)
    assert "18 of 18 points; questions are graded by a person" in told


def test_a_student_checks_alone_with_what_was_handed_out(graded: Path) -> None:
    path = graded / "submitted" / "mistaken" / NAME / f"{NAME}.ipynb"
    grades = {one.check: one for one in grade(path)}
    assert set(grades) == {f"check-{name}" for name in MISTAKES}
    assert grades["check-changed"].message.startswith("changed: not yet. The queries were compared place by place.")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("while True: pass", "the notebook was stopped after 2 seconds, before this check"),
        ("import os; os._exit(1)", "Python ended before this check was run"),
    ],
)
def test_an_endless_loop_and_a_dead_kernel_cost_what_comes_after(body: str, told: str, tmp_path: Path) -> None:
    def check(name: str) -> nbformat.NotebookNode:
        about = {"grade_id": name, "grade": True, "locked": True, "points": 2}
        return nbformat.v4.new_code_cell("print('right')", metadata={"nbgrader": about})

    cells = [check("before"), nbformat.v4.new_code_cell(body), check("after"), check("last")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "loop.ipynb")
    (tmp_path / "loop.pt").touch()
    start = time.monotonic()
    before, *after = grade(tmp_path / "loop.ipynb", seconds=2)
    assert time.monotonic() - start < 60
    assert (before.points, before.message) == (2, "right")
    assert [(one.points, one.message) for one in after] == [(0, told)] * 2


def test_a_forked_kernel_is_interrupted_and_its_end_is_seen(tmp_path: Path) -> None:
    """Autograding starts kernels from a process that has PyTorch already; what goes wrong in them stays in them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import nbformat, sys\n"
        "from nbclient import NotebookClient\n"
        "from nbclient.exceptions import DeadKernelError\n"
        "from detr_mini.classroom import kernels\n"
        "if __name__ == '__main__':\n"
        "    kernels.use()\n"
        "    loaded = 'import sys; print(\"torch\" in sys.modules)'\n"
        "    for body in ('while True: pass', 'import os; os._exit(3)', loaded):\n"
        "        cells = [nbformat.v4.new_code_cell(one) for one in ('x = 1', body, 'print(x)')]\n"
        "        notebook = nbformat.v4.new_notebook(cells=cells)\n"
        "        client = NotebookClient(notebook, timeout=2, interrupt_on_timeout=True, allow_errors=True)\n"
        "        try:\n"
        "            client.execute()\n"
        "        except DeadKernelError:\n"
        "            print('dead')\n"
        "        else:\n"
        "            print([o.get('ename') or o['text'].strip() for c in cells for o in c.outputs])\n"
    )
    environment = os.environ | {"NBGRADER_EXECUTION": "autograde", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert result.stdout.splitlines() == ["['KeyboardInterrupt', '1']", "dead", "['True', '1']"], result.stderr[-2000:]


# --- what students have


def lines_of(text: str) -> set[str]:
    return {line.split("  #")[0].strip() for line in text.splitlines()}


def test_no_line_of_a_solution_and_no_hidden_case_is_in_what_students_have(tmp_path: Path) -> None:
    """Of the whole course: what is handed out, and what the wheel installs.

    A line says nothing if it is shorter than twenty letters, or stands in the library that the course is about, which
    students install and read: `weights.masked_fill(hidden, 0.0)` is how the package itself hides what is padding.
    """
    folder = tmp_path / "spring"
    course.make(folder, seed=SEED)
    release(folder)
    (wheel,) = (folder / "students").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        installed = {name: archive.read(name) for name in archive.namelist()}
    handed = {str(path): path.read_bytes() for path in (folder / "release").rglob("*") if path.is_file()}
    assert len(handed) == 2 * len(chapters.names())
    library = {name for name in installed if "/teaching/" not in name and "/classroom/" not in name}
    known = set().union(*(lines_of(installed[name].decode()) for name in library if name.endswith(".py")))
    searched = {name: installed[name] for name in installed.keys() - library} | handed
    everything = b"\n".join(searched.values()).decode("utf-8", errors="replace")
    count = 0
    for name in chapters.names():
        chapter = chapters.read(name)
        hidden, seen = (checks.load(folder / part / f"{name}.pt") for part in ("hidden", f"release/{name}"))
        for task in chapter.tasks:
            for line in lines_of("\n".join(chapters.solution_lines(task.exercise))):
                if len(line) >= 20 and line not in known:
                    count += 1
                    assert line not in everything, f"{task.exercise.name}: {line}"
                    assert json.dumps(line)[1:-1] not in everything, f"{task.exercise.name}: {line}"
            assert_other_cases(hidden[task.exercise.name], seen[task.exercise.name], task.exercise.name)
        assert (folder / "hidden" / f"{name}.pt").read_bytes() not in b"".join(searched.values())
        assert not any(answer in everything for _, answer in chapter.questions)
    assert count > 200
    assert str(SEED).encode() not in b"".join([*installed.values(), *handed.values()])


def release(folder: Path) -> None:
    """Make what students get of all assignments, in one process of nbgrader."""
    code = (
        "import os; from traitlets.config import Config; from nbgrader.apps import NbGraderAPI, NbGrader\n"
        "app = NbGrader(); app.load_config_file(); api = NbGraderAPI(config=app.config)\n"
        "for name in sorted(os.listdir('source')):\n"
        "    result = api.generate_assignment(name); assert result['success'], result\n"
    )
    environment = os.environ | {"HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]


def assert_other_cases(hidden: checks.Trial, seen: checks.Trial, name: str) -> None:
    """Hidden cases are others, but for those that are the same whatever is drawn, such as a batch without objects."""
    same = [
        case
        for case in hidden["cases"]
        for other in seen["cases"]
        if len(case) == len(other) and all(difference(a, b) is None for a, b in zip(case, other, strict=True))
    ]
    assert len(same) < len(hidden["cases"]), name
    assert len(same) <= 1, f"{name}: {same}"


def test_the_wheel_for_students_is_enough_to_solve_and_check(graded: Path, tmp_path: Path) -> None:
    (wheel,) = (graded / "students").iterdir()
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=200)
    work = tmp_path / "work"
    shutil.copytree(graded / "submitted" / "right" / NAME, work)
    environment |= {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def student(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=200, check=False
        )

    checked = student("-m", "detr_mini", "course", "check", f"{NAME}.ipynb")
    assert checked.returncode == 0, checked.stderr
    assert "9 of 9 points" in checked.stdout
    made = student("-m", "detr_mini", "course", "make", "spring")
    assert (made.returncode, "package for students" in made.stderr) == (2, True), made.stderr
    assert student("-c", "import detr_mini.teaching.exercises").returncode == 1
    assert len(student_wheel.packed()) > 50
