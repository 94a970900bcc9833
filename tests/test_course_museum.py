"""The museum of bugs as an assignment: a cause for each exhibit, and nothing of the answers in what students have."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from filelock import FileLock
from test_course_flow import answer, cell, nbgrader, read

from detr_mini.classroom import checks, course, exhibits
from detr_mini.classroom.grade import grade
from detr_mini.teaching import museum
from detr_mini.teaching.museum_causes import CAUSES

SEED = 918273645
NAME = exhibits.CHAPTER
COUNT = len(museum.exhibits(exhibits.SEED))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course with what students get. Of several processes the first one makes it."""
    shared = tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "museum_course.lock"):
        if not (shared / "museum_course").is_dir():
            course.make(shared / "museum_course.unfinished", [NAME], SEED)
            nbgrader("generate_assignment", NAME, folder=shared / "museum_course.unfinished")
            (shared / "museum_course.unfinished").rename(shared / "museum_course")
    return shared / "museum_course"


def causes(seed: int) -> list[str]:
    return [museum.answer(one.number) for one in exhibits.order(seed)]


def handed_in(folder: Path, tmp_path: Path, given: dict[str, str]) -> Path:
    """A student's notebook with the bodies of some functions, beside its cases."""
    notebook = read(folder / "release" / NAME / f"{NAME}.ipynb")
    for name, body in given.items():
        answer(notebook, name, body)
    (tmp_path / f"{NAME}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    shutil.copy(folder / "release" / NAME / f"{NAME}.pt", tmp_path)
    return tmp_path / f"{NAME}.ipynb"


def test_the_order_follows_from_the_seed_and_is_not_the_books() -> None:
    assert causes(1) == causes(1)
    assert causes(1) != causes(2)
    assert sorted(causes(1)) == sorted(museum.answer(one.number) for one in museum.exhibits())
    assert all(one.seed == exhibits.SEED != 0 for one in exhibits.order(1))


def test_each_exhibit_shows_its_evidence_and_has_a_hidden_check(folder: Path) -> None:
    notebook = nbformat.read(folder / "release" / NAME / f"{NAME}.ipynb", as_version=4)
    evidence = [one for one in notebook.cells if one.source.startswith("### Exhibit ")]
    assert len(evidence) == COUNT >= 12
    for one in evidence:
        assert len(one.attachments) == 7
        assert set(re.findall(r"attachment:([\w.]+)", one.source)) == {*one.attachments}
    points = {
        one.metadata["nbgrader"]["grade_id"]: one.metadata["nbgrader"]
        for one in notebook.cells
        if "nbgrader" in one.metadata
    }
    hidden = [name for name in points if name.startswith("hidden-exhibit_")]
    assert len(hidden) == COUNT
    assert all(points[name]["points"] == exhibits.POINTS and points[name]["locked"] for name in hidden)
    assert (folder / "release" / NAME / f"{NAME}.ipynb").stat().st_size < 4e6


def test_right_and_wrong_diagnoses_are_told_apart_and_the_right_one_is_not_told(folder: Path, tmp_path: Path) -> None:
    right = causes(SEED)
    wrong = next(cause for cause in CAUSES if cause not in right[:4])
    given = {f"exhibit_{place}": f'    return "{cause}"' for place, cause in enumerate(right, start=1)}
    given["exhibit_1"] = f'    return "{wrong}"'
    given["exhibit_2"] = '    return "boxes in miles"'
    del given["exhibit_3"]
    given["exhibit_4"] = f'    print("{right[3]}")'
    found = {one.check: one for one in grade(handed_in(folder, tmp_path, given), folder)}
    of = [found[f"hidden-exhibit_{place}"] for place in range(1, COUNT + 1)]
    assert [one.points for one in of] == [0, 0, 0, 0, *[exhibits.POINTS] * (COUNT - 4)]
    said = museum.verdict(exhibits.order(SEED)[0], wrong).text
    assert of[0].message == f"exhibit_1: on other numbers, not yet. {wrong}: {said}"
    assert right[0] not in of[0].message
    assert right[1] not in of[1].message
    assert of[2].message == "exhibit_3: on other numbers, not solved yet."
    assert "it prints something and returns None" in of[3].message


def test_the_check_that_students_see_knows_the_list_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for name in CAUSES:
        checks.cause("exhibit_1", lambda name=name: name)  # type: ignore[misc]
        assert capsys.readouterr().out == f"exhibit_1: {name}\n"
    with pytest.raises(checks.NotYet, match=r"exhibit_1: 'boxes in miles' is none of the causes: boxes in corners, "):
        checks.cause("exhibit_1", lambda: "boxes in miles")
    with pytest.raises(checks.NotYet, match="not solved yet"):
        checks.cause("exhibit_1", lambda: None)
    with pytest.raises(checks.NotYet, match="prints something"):
        checks.cause("exhibit_1", lambda: print("labels off by one"))


def test_no_answer_is_in_what_students_have(folder: Path) -> None:
    """Nor can a program find it: names of causes stand in one list, and nothing there goes with an exhibit."""
    (wheel,) = (folder / "students").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        installed = {name: archive.read(name) for name in archive.namelist()}
    notebook = (folder / "release" / NAME / f"{NAME}.ipynb").read_text("utf-8")
    seen = checks.load(folder / "release" / NAME / f"{NAME}.pt")
    assert not [name for name in seen if name.startswith("exhibit")]
    texts = {name: text.decode() for name, text in installed.items() if name.endswith(".py")}
    for number, cause in enumerate(causes(SEED), start=1):
        assert f'return \\"{cause}\\"' not in notebook
        prints = museum.fingerprint(exhibits.order(SEED)[number - 1].number, cause)
        assert not [name for name, text in texts.items() if prints in text]
    for cause in CAUSES:
        assert notebook.count(cause) <= 1, cause
        assert [name for name, text in texts.items() if f'"{cause}"' in text] == ["detr_mini/teaching/museum_causes.py"]


@pytest.mark.parametrize("part", ["release", "source"])
def test_only_the_teachers_notebook_has_the_causes(part: str, folder: Path) -> None:
    notebook: dict[str, Any] = read(folder / part / NAME / f"{NAME}.ipynb")
    bodies = ["".join(cell(notebook, f"exhibit_{place}")["source"]) for place in range(1, COUNT + 1)]
    expected = [f'return "{cause}"' in body for cause, body in zip(causes(SEED), bodies, strict=True)]
    assert expected == [part == "source"] * COUNT
