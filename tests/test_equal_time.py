"""``tools/equal_time.py``: both models are measured at the same minutes of training, and their runs are stored."""

import json
import time

import equal_time

from detr_mini.modeling.build import build
from detr_mini.training.recipe import RECIPES
from detr_mini.weights import CHECKPOINTS


class Clock:
    """A processor's clock that goes on by a minute whenever it is said to."""

    def __init__(self) -> None:
        self.now = 0.0

    def process_time(self) -> float:
        return self.now


def test_looking_at_a_model_does_not_count(monkeypatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "process_time", clock.process_time)

    def evaluate(model: object, val: object) -> dict[str, float]:
        clock.now += 1000.0
        model.eval()
        return dict.fromkeys(equal_time.KEPT, 0.5)

    monkeypatch.setattr(equal_time, "evaluate", evaluate)
    watch, model = equal_time.Watch(None, (1, 3)), build("nano").train()
    for step in range(6):
        watch(step, model)
        assert model.training
        clock.now += 40.0
    assert [(point["step"], round(point["minutes"], 3)) for point in watch.points] == [(2, 1.333), (5, 3.333)]


def test_a_run_is_stored_with_its_end(town, tmp_path, monkeypatch) -> None:
    tiny = {"enc_layers": 1, "dec_layers": 1, "num_queries": 12}
    monkeypatch.setattr(equal_time, "get_config", lambda name: build(name, **tiny).config)
    monkeypatch.setattr(equal_time, "MINUTES", (0.0,))
    monkeypatch.setitem(RECIPES, "deformable_nano", RECIPES["deformable_nano"].with_lr(1e-4))
    line = equal_time.run("deformable_nano", 3, town, tmp_path / "runs", tmp_path / "stored")
    assert line.startswith("deformable_nano seed 3: AP ")
    kept = json.loads((tmp_path / "stored" / "deformable_nano-3.json").read_text())
    assert (kept["model"], kept["seed"], kept["epochs"]) == ("deformable_nano", 3, RECIPES["deformable_nano"].epochs)
    assert kept["points"][0]["step"] == 0
    assert kept["points"][-1]["step"] == kept["epochs"] * 4
    assert kept["points"][-1]["minutes"] > 0
    assert kept["points"][-1].keys() == {"step", "minutes", *equal_time.KEPT}


def test_every_run_that_the_book_shows_is_whole() -> None:
    stored = {path.stem: json.loads(path.read_text()) for path in equal_time.STORED.glob("*.json")}
    seeds = {kept["seed"] for kept in stored.values()}
    assert seeds <= set(equal_time.SEEDS)
    assert stored.keys() == {f"{name}-{seed}" for name in equal_time.MODELS for seed in seeds}, "always both models"
    for kept in stored.values():
        assert kept["epochs"] == RECIPES[kept["model"]].epochs
        *minutes, end = [point["minutes"] for point in kept["points"]]
        for mark, reached in zip(equal_time.MINUTES, minutes, strict=True):
            assert mark <= reached < mark + 0.1 < end


def test_the_shipped_model_is_that_of_the_first_run() -> None:
    run = json.loads((equal_time.STORED / "deformable_nano-0.json").read_text())
    shipped = json.loads((CHECKPOINTS / "deformable_nano.json").read_text())
    for key in equal_time.KEPT:
        assert abs(run["points"][-1][key] - shipped[key]) < 0.005, f"{key}: half precision changes more than rounding"
