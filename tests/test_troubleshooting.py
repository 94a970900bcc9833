"""The page on troubleshooting: the messages that it quotes are the real ones."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment

import detr_mini
from detr_mini.data.check import require_sound
from detr_mini.modeling.config import get_config
from detr_mini.training.checkpoint import CheckpointFolder
from detr_mini.training.recipe import RECIPES
from detr_mini.training.train import train
from detr_mini.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "book" / "troubleshooting.md").read_text("utf-8")
QUOTED = {line for block in re.findall(r"^```text\n(.*?)^```", PAGE, flags=re.M | re.S) for line in block.splitlines()}
SMALL = get_config("nano", hidden_dim=32, enc_layers=1, dec_layers=1, dim_feedforward=32, num_queries=5)
RECIPE = RECIPES["nano"]
WEIGHTS = Path("weights.pth")


def write_data(bbox: tuple[float, ...] = (10, 20, 30, 40), category: int = 90) -> None:
    """A COCO folder, data/mine: one picture in each split, with one object, of 90 categories."""
    for split in ("train", "val"):
        picture = Path("data/mine", split, "one.jpg")
        picture.parent.mkdir(parents=True)
        picture.write_bytes(b"never decoded")
        box = {"id": 1, "image_id": 1, "category_id": category, "bbox": bbox, "area": 1200, "iscrowd": 0}
        content = {
            "images": [{"id": 1, "file_name": "one.jpg", "width": 640, "height": 480}],
            "annotations": [box],
            "categories": [{"id": number, "name": f"thing {number}"} for number in range(1, 91)],
        }
        file = Path(f"data/mine/annotations/instances_{split}.json")
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))


def an_empty_folder() -> str:
    Path("data/mine").mkdir(parents=True)
    return "data/mine"


def check(*changes: Any) -> None:
    write_data(*changes)
    require_sound("data/mine")


def train_on_90_classes() -> None:
    write_data()
    train(SMALL, RECIPE, "data/mine", "runs/mine")


def loss(label: int = 1, box: tuple[float, ...] = (0.5, 0.5, 0.2, 0.2), predicted: float = 0.5) -> None:
    outputs = {"pred_logits": torch.zeros(1, 5, 15), "pred_boxes": torch.full((1, 5, 4), predicted)}
    criterion = detr_mini.SetCriterion(14, detr_mini.HungarianMatcher())
    criterion(outputs, [{"labels": torch.tensor([label]), "boxes": torch.tensor([box])}])


def run(lr: float = RECIPE.lr, *, resume: bool = False) -> Trainer:
    return Trainer(SMALL, replace(RECIPE, lr=lr), Path("runs/mine"), num_images=80, resume=resume)


def run_again(lr: float = RECIPE.lr, *, resume: bool = False) -> None:
    run().save()
    run(lr, resume=resume)


def lose_a_picture() -> None:
    def batches() -> Iterator[Any]:
        yield from ()
        raise FileNotFoundError("one.jpg")

    begun = run()
    begun.batch = 8
    list(begun.read(batches()))  # type: ignore[arg-type]


def fail_to_write() -> None:
    folder = CheckpointFolder(Path("runs/mine"))
    folder.log.mkdir(parents=True)
    folder.append({})


def save_nan() -> None:
    broken = run()
    torch.nn.init.constant_(broken.model.class_embed.bias, torch.nan)
    broken.save()


def load(content: Any, name: Path = WEIGHTS, **overrides: int) -> None:
    torch.save(content, name)
    detr_mini.load(name, **overrides)


def load_damaged() -> None:
    WEIGHTS.write_bytes(b"<html>")
    detr_mini.load(WEIGHTS)


def weights(prefix: str = "", leave_out: str = "?", **changes: int) -> dict[str, torch.Tensor]:
    state = detr_mini.DETR(replace(SMALL, **changes)).state_dict()  # type: ignore[arg-type]
    return {prefix + key: value for key, value in state.items() if not key.startswith(leave_out)}


def load_other_classes() -> None:
    detr_mini.DETR(SMALL).load_state_dict(weights(num_classes=91))


# A quoted line, and what brings it about in an empty folder.
PROVOKED: dict[str, Callable[[], object]] = {
    "cannot use data/mine: 1 fault": lambda: require_sound("data/mine"),
    "no annotations in COCO's format in data/mine": lambda: require_sound(an_empty_folder()),
    'unknown category: no such id in "categories"': lambda: check((10, 20, 30, 40), 91),
    "a box outside its picture of 640 x 480": lambda: check((600, 400, 630, 470)),
    "the data has category ids up to 90, so the model needs num_classes >= 91": train_on_90_classes,
    "has the label 14 (object 0), but the model has classes 0 to 13": lambda: loss(label=14),
    "the loss expects cxcywh in [0, 1]. This looks like pixels": lambda: loss(box=(50, 50, 20, 20)),
    "the loss expects cxcywh in [0, 1], and this one would reach out": lambda: loss(box=(0.1, 0.1, 0.9, 0.9)),
    "runs/mine holds a run already: resume it": run_again,
    "was made with recipe lr=0.0008 (now 0.0001)": lambda: run_again(0.0001, resume=True),
    "the batch after step 8 cannot be read": lose_a_picture,
    "cannot write runs/mine/log.jsonl": fail_to_write,
    "matrix contains invalid numeric entries": lambda: linear_sum_assignment([[float("nan")]]),
    "so the prediction is not finite": lambda: loss(predicted=float("nan")),
    "is not finite after step": save_nan,
    "wants to run shutil.move while it is read": lambda: load({"weights": shutil.move}),
    "is damaged: the SHA-256 of its content begins with": lambda: load(weights(), Path("detr-r50-e632da11.pth")),
    "is damaged or no PyTorch checkpoint; copy or download it again": load_damaged,
    "the weights do not fit the config: missing": lambda: load(weights(leave_out="bbox_embed"), nheads=4),
    "not a checkpoint of DETR: no tensor is called 'query_embed.weight'": lambda: load(
        weights(leave_out="query_embed")
    ),
    "class_embed.weight is (92, 256), the model has (15, 256)": lambda: load(
        weights(hidden_dim=256, num_classes=91), num_classes=14
    ),
    "there are several models in it, under student, teacher": lambda: load(
        {"student": weights(), "teacher": weights()}
    ),
    "is a whole model, stored with torch.save(model)": lambda: load(detr_mini.DETR(SMALL)),
    "size mismatch for class_embed.weight: copying a param with shape": load_other_classes,
}
# A part of a quoted line, and the file of this repository that prints it.
PRINTED_BY = {
    "This needs Python 3.11, 3.12 or 3.13; '": "Makefile",
    "' here. Install Python 3.11, 3.12 or 3.13": "Makefile",
    "No virtual environment could be made.": "Makefile",
    "nothing in it or beside it says ": "detr_mini/weight_config.py",
    "is a TorchScript archive": "detr_mini/weight_files.py",
    "Installing the pinned packages into .venv: a few minutes and 7 GB": "Makefile",
    "is not to be had here:": "detr_mini/commands/options.py",
    "--nbval-current-env": "pyproject.toml",
    "knows a drawn town only (": "detr_mini/commands/predict.py",
    "has random weights, and its stem, first stage and batch norms": "detr_mini/training/train.py",
    "there is no matplotlib here, which figures need:": "detr_mini/plots.py",
    "is not the stored one: ": "conftest.py",
    "this cell has no stored run: python tools/nb.py build": "conftest.py",
    "is not what its text says": "tools/nb.py",
    "needs a CUDA device": "tests/conftest.py",
}
# The words of other programs.
FOREIGN = {
    "OSError: [Errno 28] No space left on device",
    "Read timed out.",
    "WARNING: 'myst' cross-reference target not found: '05_nope.ipynb'",
    "WARNING: local id not found in doc 'book/04_data': 'cell-nope'",
    "Building your book, returns a non-zero exit code (1).",
    "'make' is not recognized as an internal or external command",
    "ModuleNotFoundError: No module named 'detr_mini'",
    "ImportError: cannot import name",
    "appears to have died. It will restart automatically.",
    "Notebook cell execution failed",
    "Cell 3: Cell outputs differ",
    "CUDA error: device-side assert triggered",
    "CUDA out of memory. Tried to allocate",
    "AP     0.000",
}


@pytest.mark.parametrize("message", PROVOKED)
def test_the_package_says_what_the_page_quotes(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=re.escape(message)):
        PROVOKED[message]()


@pytest.mark.parametrize("part", PRINTED_BY)
def test_the_repository_prints_what_the_page_quotes(part: str) -> None:
    assert any(part in line for line in QUOTED)
    assert part in (ROOT / PRINTED_BY[part]).read_text("utf-8")


def test_every_quoted_line_is_accounted_for() -> None:
    printed = {line for line in QUOTED if any(part in line for part in PRINTED_BY)}
    assert PROVOKED.keys() | printed | FOREIGN == QUOTED


def test_messages_fit_a_narrow_page() -> None:
    assert max(map(len, QUOTED)) <= 76
