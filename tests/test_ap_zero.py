"""The list for an AP of 0 in *Your own pictures*: each cause, planted, is told by the command that the list names."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detr_mini.commands.cli import main
from detr_mini.data import make_night_data

CHAPTER = Path(__file__).resolve().parent.parent / "book" / "src" / "22_own_pictures.md"
ROWS = {
    cause: (asked, sentence)
    for cause, asked, sentence in re.findall(
        r"^\| ([^|]+) \| (`.+?`.*?) \| `(.+)` \|$",
        CHAPTER.read_text("utf-8").partition("\n## AP stays at 0\n")[2].partition("\n## ")[0],
        flags=re.M,
    )
}
Content = dict[str, Any]
QUICK = ("--set", "config.max_size=64")  # pixels: a step takes a tenth of a second


@pytest.fixture(scope="module")
def harbor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound folder: sixteen pictures to train on, eight to measure on."""
    folder = tmp_path_factory.mktemp("night") / "harbor"
    make_night_data(folder, 16, 8, seed=0, test=0, progress=False)
    return folder


def change_boxes(change: Callable[[list[float], int, int], list[float]]) -> Callable[[Content], None]:
    """Every box becomes ``change(box, width, height)`` of it and of its picture."""

    def everywhere(content: Content) -> None:
        images = {image["id"]: image for image in content["images"]}
        for one in content["annotations"]:
            image = images[one["image_id"]]
            one["bbox"] = change(one["bbox"], image["width"], image["height"])

    return everywhere


def change_all(kind: str, **changes: Callable[[Any], Any]) -> Callable[[Content], None]:
    """A field of every record of a list becomes something else."""

    def everywhere(content: Content) -> None:
        for one in content[kind]:
            one.update({field: change(one[field]) for field, change in changes.items()})

    return everywhere


def turn(kind: str, field: str, skip: int = 0) -> Callable[[Content], None]:
    """Each record of a list, but for the first ones, gets what the next one has."""

    def everywhere(content: Content) -> None:
        records = content[kind][skip:]
        values = [one[field] for one in records]
        for one, value in zip(records, values[1:] + values[:1], strict=True):
            one[field] = value

    return everywhere


BOTH = ("train", "valid")
IN_THE_FILES: dict[str, tuple[tuple[str, ...], Callable[[Content], None]]] = {
    "boxes are shares of the picture": (
        BOTH,
        change_boxes(lambda box, w, h: [box[0] / w, box[1] / h, box[2] / w, box[3] / h]),
    ),
    "boxes are two corners": (BOTH, change_boxes(lambda box, w, h: [*box[:2], box[0] + box[2], box[1] + box[3]])),
    "boxes begin at the center": (
        BOTH,
        change_boxes(lambda box, w, h: [box[0] + box[2] / 2, box[1] + box[3] / 2, *box[2:]]),
    ),
    "ids are one too high": (BOTH, change_all("annotations", category_id=lambda id: id + 1)),
    "ids of `train` alone are one too low": (("train",), change_all("annotations", category_id=lambda id: id - 1)),
    "`val` numbers the classes otherwise": (("valid",), turn("categories", "name", skip=1)),
    "pictures of other names": (("train",), change_all("images", file_name=lambda name: f"night-{name}")),
    "other pictures under these names": (("train",), turn("images", "file_name")),
    "every object is a crowd": (("train",), change_all("annotations", iscrowd=lambda _: 1)),
    "nothing is annotated in `val`": (("valid",), lambda content: content["annotations"].clear()),
}
IN_TRAINING = {
    "too few classes in the model": ("--num-classes", "6"),
    "random weights and few pictures": ("--config", "photo", "--epochs", "1", *QUICK),
    "too few steps": ("--epochs", "1", "--batch-size", "16", *QUICK),
    "a rate that is too high": ("--epochs", "8", "--lr", "0.05", *QUICK),
    "a rate that is far too high": ("--epochs", "4", "--lr", "100", *QUICK),
    "objects of a few pixels": ("--epochs", "1", "--batch-size", "16", "--set", "config.max_size=48"),
}
IN_EVALUATION = {
    "the model has other classes": ("--weights", "nano"),
    "pictures of another size": ("--weights", "nano", "--set", "config.max_size=64"),
}


def told(*words: str | Path) -> str:
    """All that a command says, in its order."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        main([str(word) for word in words])
    return said.getvalue()


def test_every_row_of_the_list_is_planted_here() -> None:
    assert len(ROWS) > 15
    assert ROWS.keys() == IN_THE_FILES.keys() | IN_TRAINING.keys() | IN_EVALUATION.keys()
    asked = {cause: words.split("`")[1] for cause, (words, _) in ROWS.items()}
    for command, causes in (("check-data", IN_THE_FILES), ("train", IN_TRAINING), ("evaluate", IN_EVALUATION)):
        assert {asked[cause] for cause in causes} == {command}


@pytest.mark.parametrize("cause", IN_THE_FILES)
def test_a_cause_in_the_files(cause: str, harbor: Path, tmp_path: Path) -> None:
    splits, spoil = IN_THE_FILES[cause]
    folder = shutil.copytree(harbor, tmp_path / "harbor")
    for split in splits:
        file = folder / split / "_annotations.coco.json"
        content = json.loads(file.read_text())
        spoil(content)
        file.write_text(json.dumps(content))
    sentence = ROWS[cause][1]
    assert sentence in told("check-data", folder)
    assert sentence not in told("check-data", harbor)


@pytest.mark.parametrize("cause", IN_TRAINING)
def test_a_cause_in_training(cause: str, harbor: Path, tmp_path: Path) -> None:
    """Said at its place: before the first step, instead of it, or at the end."""
    said = told("train", "--data", harbor, "--out", tmp_path / "run", *IN_TRAINING[cause])
    where, sentence = ROWS[cause]
    begun, _, end = said.partition("epoch 1: ")
    if where.endswith("last lines"):
        assert sentence in end
        assert "the model has learned next to nothing" in end
    else:
        assert sentence in begun
        assert bool(end) == where.endswith("first lines")


@pytest.mark.parametrize("cause", IN_EVALUATION)
def test_a_cause_in_evaluation(cause: str, harbor: Path) -> None:
    assert ROWS[cause][1] in told("evaluate", "--data", harbor, *IN_EVALUATION[cause])


def test_a_size_that_is_not_set_is_not_spoken_of(harbor: Path) -> None:
    assert ROWS["pictures of another size"][1] not in told("evaluate", "--data", harbor, "--weights", "nano")
