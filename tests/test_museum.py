"""The museum of bugs: its stored runs, and what is said to a diagnosis."""

import json
import re
from dataclasses import fields
from pathlib import Path

import museum as tool
import museum_evidence
import pytest

from detr_mini.errors import ConfigError
from detr_mini.teaching import museum
from detr_mini.teaching.museum import Exhibit
from detr_mini.teaching.museum_causes import CAUSES
from detr_mini.teaching.museum_symptoms import SYMPTOMS

BOOK = Path(__file__).resolve().parent.parent / "book"
NUMBERS = [tool.number(name) for name in tool.FAULTS]
SEEDS = (0, 1)
MEASURED_ONLY = [name for name, fault in tool.FAULTS.items() if fault.measured != tool.Fault().measured]


@pytest.fixture(scope="module")
def rooms() -> dict[tuple[str, int], Exhibit]:
    return {(number, seed): museum.load(number, seed) for number in NUMBERS for seed in SEEDS}


def test_there_are_twelve_exhibits_beside_the_one_that_is_solved() -> None:
    for seed in SEEDS:
        assert [one.number for one in museum.exhibits(seed)] == NUMBERS[1:]
    assert len(NUMBERS) - 1 >= 12
    assert len(CAUSES) >= 20


@pytest.mark.parametrize("name", tool.FAULTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_cause_passes_and_says_what_it_leaves(
    name: str, seed: int, rooms: dict[tuple[str, int], Exhibit]
) -> None:
    exhibit = rooms[tool.number(name), seed]
    given = museum.verdict(exhibit, name)
    assert given.right
    assert given.text.startswith(f"{CAUSES[name].line} Here ")
    assert museum.answer(exhibit.number) == name
    missing = [symptom for symptom in CAUSES[name].would if symptom not in museum.seen(exhibit)]
    assert not missing


@pytest.mark.parametrize("name", tool.FAULTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_wrong_causes_get_answers_of_their_own_that_do_not_tell(
    name: str, seed: int, rooms: dict[tuple[str, int], Exhibit]
) -> None:
    exhibit = rooms[tool.number(name), seed]
    given = [museum.verdict(exhibit, cause) for cause in CAUSES if cause != name]
    assert not any(one.right for one in given)
    texts = [one.text for one in given]
    assert len(set(texts)) > 0.8 * len(texts)
    assert not any(CAUSES[name].line in text or name in text for text in texts)
    undecided = [text for text in texts if "do not speak against it" in text]
    assert len(undecided) <= 3
    assert all(re.search(r"\d", text) or text in undecided for text in texts)


def test_a_number_in_an_answer_is_that_of_the_run() -> None:
    number = tool.number("labels off by one")
    stored, twin = (
        json.loads((BOOK / "data" / "museum" / f"{name}-0.json").read_text()) for name in (number, "healthy-many")
    )
    text = museum.verdict(museum.load(number), "weight of no object is 0").text
    here, other = (one["numbers"]["detections per object"] for one in (stored, twin))
    assert f"there are {here:.2f} sure detections for each object, {other:.2f} in the twin" in text


def test_a_name_that_is_no_cause_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError, match=r"'boxes in miles' is none of the causes: .*boxes in corners"):
        museum.verdict(museum.load(1), "boxes in miles")


def test_no_stored_file_names_its_cause() -> None:
    for path in (BOOK / "data" / "museum").glob("*.json"):
        text = path.read_text("utf-8")
        assert not any(cause in text for cause in CAUSES), path.name


@pytest.mark.parametrize("name", MEASURED_ONLY)
def test_what_is_wrong_with_measuring_alone_leaves_the_training_as_it_is(name: str) -> None:
    one = museum.load(tool.number(name))
    assert one.healthy is not None
    assert one.log == one.healthy.log
    assert one.weights == one.healthy.weights
    assert one.numbers != one.healthy.numbers


def test_every_link_leads_to_a_cell() -> None:
    for name, cause in CAUSES.items():
        page, label = re.fullmatch(r"(\w+)\.ipynb#cell-([\w-]+)", cause.link).groups()  # type: ignore[union-attr]
        assert f":label: {label}\n" in (BOOK / "src" / f"{page}.md").read_text("utf-8"), name


def test_causes_know_their_symptoms() -> None:
    for cause in CAUSES.values():
        assert {*cause.would, *cause.may} <= {*SYMPTOMS}
    table = dict(museum.symptoms())
    assert len(table) == len(SYMPTOMS)
    assert "every object twice" in table["targets stand twice in the batch"]
    assert {cause for causes in table.values() for cause in causes} == {*tool.FAULTS}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of the log a step, and scenes that a small town has."""
    monkeypatch.setattr(tool, "EPOCH", 1)
    monkeypatch.setattr(museum_evidence, "SHOWN", (0, 5, 11))


@pytest.mark.usefixtures("quick")
def test_the_command_makes_a_run_of_the_stored_form(town: Path, tmp_path: Path) -> None:
    path = tool.train("labels off by one", 0, town, tmp_path, steps=2, measured=2)
    found = json.loads(path.read_text("utf-8"))
    assert path.name == f"{tool.number('labels off by one')}-0.json"
    assert {*found} | {"number", "healthy"} == {field.name for field in fields(Exhibit)}
    assert found["weights"].keys() == museum_evidence.PARTS.keys()
    assert found["log"]["step"] == [1, 2]
    assert 0 not in {kind for picture in found["pictures"] for kind, *_ in picture["objects"]}  # the right labels


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", [*tool.HEALTHY, *tool.FAULTS])
def test_every_fault_can_be_trained(name: str, town: Path, tmp_path: Path) -> None:
    path = tool.train(name, 1, town, tmp_path, steps=1, measured=1)
    assert json.loads(path.read_text("utf-8"))["seed"] == 1
