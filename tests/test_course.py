"""Assignments: every exercise varies, its solution passes, and what students get is the text without solutions."""

from __future__ import annotations

import filecmp
import importlib
import pkgutil
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch

from detr_mini.classroom import chapters, checks, course, feedback, student_wheel, trials
from detr_mini.commands.cli import main
from detr_mini.errors import DataError
from detr_mini.teaching import exercises
from detr_mini.teaching.exercises import Exercise
from detr_mini.teaching.verdict import difference

SEED = 918273645
CHAPTERS = chapters.names()
each_chapter = pytest.mark.parametrize("name", CHAPTERS)


def exercises_of(topic: str) -> dict[str, Exercise]:
    module = importlib.import_module(f"{exercises.__name__}.{topic}")
    return {name: one for name, one in vars(module).items() if isinstance(one, Exercise)}


def same_case(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(difference(a, b) is None for a, b in zip(one, other, strict=True))


def test_every_chapter_with_exercises_has_an_assignment() -> None:
    topics = {name.partition("_")[2] for name in CHAPTERS}
    assert topics == {module.name for module in pkgutil.iter_modules(exercises.__path__)}


def test_the_page_for_teachers_counts_them() -> None:
    count = sum(len(exercises_of(name.partition("_")[2])) for name in CHAPTERS)
    page = (chapters.BOOK / "teaching.md").read_text("utf-8")
    assert f"made of its exercises: {count} in {len(CHAPTERS)} chapters." in page


@each_chapter
def test_an_assignment_has_all_exercises_of_its_chapter_and_their_solutions_pass(name: str) -> None:
    chapter = chapters.read(name)
    assert {task.exercise.name for task in chapter.tasks} == set(exercises_of(chapter.topic))
    known: dict[str, Any] = {}
    code = "\n".join([*chapter.imports, *(task.solved() for task in chapter.tasks)])
    exec(compile(code, name, "exec", dont_inherit=True), known)  # as a notebook would, annotations and all
    for task in chapter.tasks:
        given = [trials.draw_trial(chapter.topic, task.exercise, seed) for seed in ("one", "two")]
        for trial in given:
            checks.try_on(trial, task.exercise.name, known[task.exercise.name])
        for message, mistake in task.exercise.mistakes.items():
            with pytest.raises(checks.NotYet, match=re.escape(message)):
                checks.try_on(given[0], task.exercise.name, mistake)
        with pytest.raises(checks.NotYet, match="not solved yet"):
            checks.try_on(given[0], task.exercise.name, lambda *_: None)
        book = task.exercise.cases()
        assert not all(any(same_case(case, other) for other in book) for case in given[0]["cases"]), "as in the book"
        pairs = zip(given[0]["cases"], given[1]["cases"], strict=False)
        assert not all(same_case(one, other) for one, other in pairs), f"{task.exercise.name} does not vary"


@each_chapter
def test_prompts_read_well_outside_of_the_book(name: str) -> None:
    chapter = chapters.read(name)
    for task in chapter.tasks:
        text = task.prompt + task.hint
        assert task.prompt
        assert task.hint
        assert not any(sign in text for sign in ("{cite}", ".ipynb", ".md", "```", ":::", "](#")), text
        assert "return None  # your code here" in task.skeleton
        assert "exercises" not in task.skeleton
    assert all(question.rstrip(".?") != question and answer for question, answer in chapter.questions)
    texts = [*(task.prompt + task.hint for task in chapter.tasks), *map("".join, chapter.questions)]
    assert not [text for text in texts if "$" in feedback.drawn(text)], "a formula that cannot be drawn for feedback"


def test_formulas_are_drawn_and_code_is_left_alone() -> None:
    shown = feedback.drawn("of `$K$` and $K + 1$ it is $\\nosuch{1}$")
    assert re.fullmatch(
        r'of `\$K\$` and <img alt="K \+ 1" style="[a-z:;-]+[\d.]+pt" src="data:image/svg\+xml;base64,[\w+/=]+"> '
        r"it is \$\\nosuch\{1\}\$",
        shown,
    )


def test_a_typical_mistake_on_drawn_numbers_is_named() -> None:
    trial = trials.draw_trial("tour", exercises_of("tour")["to_pixels"], "any")
    with pytest.raises(checks.NotYet, match=r"to_pixels: on other numbers, not yet\. x was scaled by the height"):
        checks.try_on(trial, "to_pixels", lambda b, h, w: exercises_of("tour")["to_pixels"](b, w, h), secret=True)
    with pytest.raises(checks.NotYet) as caught:
        checks.try_on(trial, "to_pixels", lambda b, h, w: b + 0.125, secret=True)
    assert not re.search(r"\d", str(caught.value)), "no number of a hidden case"


def test_a_function_that_prints_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    trial = trials.draw_trial("detr", exercises_of("detr")["head_outputs"], "any")
    with pytest.raises(checks.NotYet, match="it prints something and returns None"):
        checks.try_on(trial, "head_outputs", lambda ids: print(max(ids) + 2))
    assert capsys.readouterr().out, "what it prints is still seen"


def test_an_answer_may_spoil_its_arguments() -> None:
    one = exercises_of("matcher")["greedy_matching"]
    trial = trials.draw_trial("matcher", one, "any")

    def careless(cost: torch.Tensor) -> Any:
        result = one(cost.clone())
        cost.zero_()
        return result

    for _ in range(2):
        checks.try_on(trial, "greedy_matching", careless)


def test_the_second_layer_keeps_its_old_gradient_when_it_is_stored(tmp_path: Path) -> None:
    torch.save(exercises_of("encoder")["without_gradient"].cases(), tmp_path / "cases.pt")
    ((network, _), _) = torch.load(tmp_path / "cases.pt", weights_only=False)
    assert network["overwritten"].weight.grad is not None
    assert network["first"].weight.grad is None


# --- the folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("courses") / "spring"
    assert main(["course", "make", str(made), "--chapters", "1", "11_matcher", "--seed", str(SEED)]) == 0
    return made


def test_the_folder_holds_what_nbgrader_wants(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"nbgrader_config.py", "source", "hidden", "students"}
    assert {path.name for path in (folder / "source").iterdir()} == {"01_tour", "11_matcher"}
    cells = nbformat.read(folder / "source" / "11_matcher" / "11_matcher.ipynb", as_version=4).cells
    about = [cell.metadata.get("nbgrader", {}) for cell in cells]
    names = [one["grade_id"] for one in about if one]
    assert len(set(names)) == len(names)
    assert sum(one.get("points", 0) for one in about if one.get("grade")) == 2 + 2 + 4 + 4 + 6
    assert [one["points"] for one in about if one.get("task")] == [2, 2]
    assert all(one["locked"] for one in about if one and not one["solution"])
    assert any(cell.get("attachments") for cell in cells)


def test_a_seed_makes_the_same_course_and_another_seed_another(folder: Path, tmp_path: Path) -> None:
    course.make(tmp_path / "same", ["01", "11"], SEED)
    course.make(tmp_path / "other", ["01", "11"], SEED + 1)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    _, different, odd = filecmp.cmpfiles(folder, tmp_path / "same", list(map(str, files)), shallow=False)
    assert (different, odd) == ([], [])
    _, different, _ = filecmp.cmpfiles(folder, tmp_path / "other", list(map(str, files)), shallow=False)
    assert {Path(one).suffix for one in different} == {".pt", ".py"}, "numbers, and the seed in the config"


def test_a_folder_with_work_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grades.csv").write_text("kim,18\n")
    assert main(["course", "make", str(tmp_path), "--chapters", "1"]) == 2
    assert "is not empty: name a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["grades.csv"]


def test_a_chapter_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["course", "make", str(tmp_path / "new"), "--chapters", "11", "99"]) == 2
    assert "there is no chapter 99; there are 01_tour, " in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_without_the_book_a_course_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["course", "make", str(tmp_path / "new"), "--book", str(tmp_path)]) == 2
    assert "Run this in a clone of the repository" in capsys.readouterr().err


def test_a_text_in_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "11_matcher.md").write_text("# Matching\n\n## Exercises\n\n**1. A** (easy).\n")
    with pytest.raises(DataError, match=r"11_matcher.md has no title, or no section"):
        chapters.read("11_matcher", tmp_path)


@pytest.mark.parametrize(("module", "part"), [("nbclient", "check"), ("nbformat", "make")])
def test_what_has_to_be_installed_is_named(
    module: str, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("detr_mini.classroom.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["course", part, "x"]) == 2
    assert f"{module} is missing: pip install" in capsys.readouterr().err


# --- what students install


def test_the_wheel_for_students_holds_neither_solutions_nor_the_making_of_cases(folder: Path) -> None:
    (wheel,) = (folder / "students").iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"detr_mini/classroom/checks.py", "detr_mini/teaching/verdict.py", "detr_mini/matcher.py"} <= names
    assert not [name for name in names if name.startswith("detr_mini/teaching/exercises")]
    for withheld in student_wheel.WITHHELD:
        assert (student_wheel.PACKAGE / withheld).exists(), f"{withheld} has moved"
        assert f"detr_mini/{withheld}" not in names
