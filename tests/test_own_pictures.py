"""``tools/own_pictures.py``: what its forms differ in, what is stored of a run, and that the stored files are whole."""

import json
from pathlib import Path
from typing import Any

import own_pictures
import pytest
import torch

from detr_mini.data import CocoDetection, Mistake, eval_transforms, make_night_data
from detr_mini.evaluation import evaluate
from detr_mini.weights import load

ALWAYS = ("weights-30", "weights-100", "mistakes-100")  # forms that the chapter needs three runs of
BOX = (40, 30, 20, 10)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps, few and small pictures."""
    for name, value in {"STEPS": 2, "VALID": 3, "TEST": 6, "SIDE": 64}.items():
        monkeypatch.setattr(own_pictures, name, value)


def test_starts_differ_in_what_they_say(short: None, tmp_path: Path) -> None:
    make_night_data(tmp_path, 4, 2, seed=0, test=0, progress=False)
    models = {start: own_pictures.begin(start, 5, tmp_path) for start in ("random", "weights", "frozen", "mistakes")}
    assert len({model.config for model in models.values()}) == 1
    states = {start: model.state_dict() for start, model in models.items()}
    assert all(
        w.equal(states["frozen"][name]) and w.equal(states["mistakes"][name]) for name, w in states["weights"].items()
    )
    known = load("deformable_nano").state_dict()
    body = "backbone.0.body.conv1.weight"
    assert states["weights"][body].equal(known[body])
    assert not states["random"][body].equal(known[body])
    fixed = {start: {n for n, w in model.named_parameters() if not w.requires_grad} for start, model in models.items()}
    assert {start for start, names in fixed.items() if names} == {"frozen"}
    assert {name.split(".")[0] for name in fixed["frozen"]} == {"backbone"}
    assert len(fixed["frozen"]) == len(list(models["frozen"].backbone.parameters()))


def test_a_run_is_stored_and_measured_on_pictures_of_its_own(short: None, tmp_path: Path) -> None:
    told = [
        own_pictures.run("frozen-8", 3, tmp_path / "data", tmp_path / f"runs{n}", tmp_path / f"stored{n}") for n in "ab"
    ]
    assert told[0].startswith("frozen-8 seed 3: AP 0.")
    one, other = (json.loads((tmp_path / f"stored{n}" / "frozen-8-3.json").read_text()) for n in "ab")
    assert one | {"minutes": 0} == other | {"minutes": 0}
    assert (one["form"], one["seed"], one["steps"]) == ("frozen-8", 3, 2)
    assert one["val"][-1][0] == 2
    model = load(tmp_path / "runsa" / "frozen-8-3" / "model.safetensors")
    found = evaluate(model, CocoDetection(tmp_path / "data" / "test", "test", eval_transforms(None, 64)))
    assert abs(found["AP50"] - one["AP50"]) < 2e-3  # the file is in half precision
    known, body = load("deformable_nano").state_dict(), "backbone.0.body.conv1.weight"
    assert torch.allclose(model.state_dict()[body], known[body], atol=1e-3)
    pictures = {path.name for path in (tmp_path / "data" / "test" / "test").glob("*.jpg")}
    assert len(pictures) == 6
    assert not pictures & {path.name for path in (tmp_path / "data" / "sound-8-3").rglob("*.jpg")}


def test_mistakes_are_in_the_annotations_alone(short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_pictures, "MISTAKES", 3)
    for form in ("mistakes-12", "weights-12"):
        own_pictures.run(form, 1, tmp_path / "data", tmp_path / "runs", tmp_path / "stored")
    wrong, sound = (tmp_path / "data" / f"{kind}-12-1" / "train" for kind in ("mistakes", "sound"))
    pictures = sorted(path.name for path in sound.glob("*.jpg"))
    assert all((wrong / name).read_bytes() == (sound / name).read_bytes() for name in pictures)
    assert (wrong / "_annotations.coco.json").read_bytes() != (sound / "_annotations.coco.json").read_bytes()
    ranks = json.loads((tmp_path / "stored" / "mistakes-12-1.json").read_text())["ranks"]
    assert ranks.keys() == {"box too large", "left out", "swapped classes", "listed"}
    assert "ranks" not in json.loads((tmp_path / "stored" / "weights-12-1.json").read_text())


def test_a_doubt_finds_a_mistake_if_it_says_what_would_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By picture, class and box; the surest first, whatever the order of the pictures."""

    def picture(name: str, *doubts: tuple[float, int, list[float]]) -> dict[str, Any]:
        detections = [[place, *box, 0.9, 0, -1, 0.0] for _, place, box in doubts]
        return {"name": name, "detections": detections, "doubts": [["label", d[0], n, 0] for n, d in enumerate(doubts)]}

    near, far = [42, 30, 20, 10], [52, 30, 20, 10]
    content = {
        "summary": {"classes": [{"id": 0}, {"id": 4}, {"id": 7}]},
        "pictures": [
            picture("a.jpg", (0.5, 1, near), (0.9, 2, near), (0.8, 1, far)),
            picture("b.jpg", (0.7, 2, near), (0.6, 2, near)),
        ],
    }
    monkeypatch.setattr(own_pictures, "browse", lambda *_, **__: content)
    planted = (
        Mistake("left out", "a.jpg", (), ((4, BOX),)),
        Mistake("swapped classes", "b.jpg", (1, 2), ((4, BOX), (7, BOX))),
        Mistake("swapped classes", "c.jpg", (5, 6), ((4, BOX), (7, BOX))),
    )
    found = own_pictures.ranks(load("nano"), tmp_path, planted, tmp_path / "page.html")
    assert found == {"left out": [5], "swapped classes": [3], "listed": [5]}


def test_every_form_is_stored() -> None:
    stored = {path.stem: json.loads(path.read_text()) for path in own_pictures.STORED.glob("*.json")}
    forms = {kept["form"] for kept in stored.values()}
    assert forms <= set(own_pictures.FORMS)
    assert {kept["seed"] for kept in stored.values()} <= set(own_pictures.SEEDS)
    assert stored.keys() >= {f"{form}-{seed}" for form in ALWAYS for seed in own_pictures.SEEDS}
    assert stored.keys() >= {f"{form}-0" for form in own_pictures.FORMS}
    for name, kept in stored.items():
        assert name == f"{kept['form']}-{kept['seed']}"
        assert max(ap for _, ap in kept["val"]) > 0
        wanted = own_pictures.LONG if kept["form"].startswith("long") else own_pictures.STEPS
        assert abs(kept["steps"] - wanted) <= 0.06 * wanted


def test_the_stored_weights_are_those_of_the_stored_run(tmp_path: Path) -> None:
    form, seed = own_pictures.SHOWN
    kept = json.loads((own_pictures.STORED / f"{form}-{seed}.json").read_text())
    model = load(own_pictures.STORED / f"{form}-{seed}.safetensors")
    planted = make_night_data(tmp_path, 100, own_pictures.VALID, seed, own_pictures.MISTAKES, test=0, progress=False)
    found = own_pictures.ranks(model, tmp_path, planted, tmp_path / "page.html")
    assert sum(map(len, found.values())) == pytest.approx(sum(map(len, kept["ranks"].values())), abs=1)
    val = CocoDetection(tmp_path, "val", eval_transforms(None, own_pictures.SIDE))
    assert evaluate(model, val)["AP"] == pytest.approx(max(ap for _, ap in kept["val"]), abs=5e-3)
