"""What the guide for instructors says of the book is what stands there."""

from __future__ import annotations

import functools
import json
import re

import pytest
from guide_page import PAGE, page

from detr_mini.classroom.chapters import BOOK, names, read

GUIDE = (BOOK / "guide.md").read_text("utf-8")
CELLS = re.findall(r"^- \[`([\w-]+)`\]\((\w+)\.ipynb#cell-([\w-]+)\): (.*)$", GUIDE, flags=re.M)


@functools.cache
def notebook(name: str) -> dict[str, str]:
    """All text of a chapter by the names of its cells: sources, outputs, and under "" the whole."""
    cells = json.loads((BOOK / f"{name}.ipynb").read_text("utf-8"))["cells"]
    found = {cell.get("id", ""): json.dumps(cell, ensure_ascii=False) for cell in cells}
    return {**found, "": "\n".join(found.values())}


def test_the_page_of_exercises_is_the_one_that_the_chapters_give() -> None:
    assert page() == PAGE.read_text("utf-8"), "python tools/guide_page.py writes it anew"


def test_there_are_cells_to_run_in_every_session() -> None:
    for part in GUIDE.split("**Run live.**")[1:]:
        bullets = part.split("**Exercises.**")[0].count("\n- ")
        assert 3 <= bullets == len(re.findall(r"#cell-", part.split("**Exercises.**")[0]))
    assert len(CELLS) == 31
    assert GUIDE.count("\n## Session ") == GUIDE.count("**Run live.**") == GUIDE.count("**Exam question.**") == 7
    assert GUIDE.count("*Key.*") == 7


@pytest.mark.parametrize(("shown", "name", "label", "said"), CELLS)
def test_a_cell_to_run_is_there_and_so_are_the_numbers_that_it_shows(
    shown: str, name: str, label: str, said: str
) -> None:
    assert shown == label
    assert label in notebook(name)
    for number in re.findall(r"\d[\d.]*\d|\d", said.replace(" %", "%")):
        if number != "1":  # of the session that a sentence points to
            assert number in notebook(name)[""], f"{number} is nowhere in {name}"


def test_minutes_of_exercises_are_those_of_the_chapters() -> None:
    minutes: dict[str, set[int]] = {}
    for task in (task for name in names() for task in read(name).tasks):
        minutes.setdefault(task.exercise.name, set()).add(task.minutes)
    told = re.findall(r"`(\w+)`(?: of \[Matching\]\([^)]*\))? \((\d+) minutes\)", GUIDE)
    assert len(told) > 40
    for exercise, number in told:
        assert int(number) in minutes[exercise], exercise


def test_minutes_to_read_are_those_of_the_first_page() -> None:
    index = (BOOK / "index.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| \[[^]]+\]\((\w+)\.ipynb\) \|.*\| (\d+) \| \d+ \|$", index, flags=re.M))
    told = re.findall(r"\]\((\w+)\.ipynb\), (\d+)(?: minutes|[;.])", GUIDE)
    assert len(told) == 16
    assert {name: rows[name] for name, _ in told} == dict(told)


def test_an_assignment_of_a_plan_has_chapters_that_exist() -> None:
    numbers = {name[:2] for name in names()}
    told = re.findall(r"--chapters ([\d ]+)`", GUIDE)
    assert len(told) == 11
    assert {number.zfill(2) for one in told for number in one.split()} <= numbers
