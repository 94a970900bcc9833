"""Data of your own: what it is trained with where nothing else is said, for how long, and what the user is told."""

import json
import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_prepare import TINY, write_folder

from detr_mini import load
from detr_mini.commands.cli import main
from detr_mini.data import CocoDetection, RememberedImages, eval_transforms
from detr_mini.data.transforms import Shrink
from detr_mini.errors import ConfigError, ImageError
from detr_mini.modeling.config import CONFIGS, get_config
from detr_mini.training import train as training
from detr_mini.training.own_data import Figures, describe, fitting
from detr_mini.training.pace import Pace, within
from detr_mini.training.prepare import open_data
from detr_mini.training.recipe import RECIPES, Recipe, recipe_for
from detr_mini.training.screen import verdict
from detr_mini.training.train import train
from detr_mini.training.trainer import Trainer

IMAGES = st.integers(1, 200_000)
SHORT = replace(recipe_for(8, 2), epochs=4, batch_size=2, warmup_steps=1, eval_every=1)
FIGURES = Figures(images=30, classes=3, objects=90, most=6, longest=320, smallest=0.1)


def steps_of(recipe: Recipe, images: int) -> int:
    return recipe.epochs * math.ceil(images / recipe.batch_size)


@given(IMAGES, st.integers(0, 50_000))
def test_a_recipe_for_any_number_of_images(images: int, val_images: int) -> None:
    recipe = recipe_for(images, val_images)
    steps = steps_of(recipe, images)
    assert steps >= 600
    assert recipe.epochs >= 2
    assert 0 < recipe.warmup_steps < steps / 2
    assert recipe.eval_every <= recipe.epochs
    measurements = math.ceil(recipe.epochs / recipe.eval_every)
    share = val_images * measurements / (3 * images * recipe.epochs)
    assert measurements == 1 or (share <= 0.2 and measurements <= 20)


@given(IMAGES, IMAGES)
def test_more_images_are_seen_less_often_and_trained_on_for_longer(one: int, other: int) -> None:
    few, many = sorted((one, other))
    a, b = recipe_for(few, 10), recipe_for(many, 10)
    assert a.epochs >= b.epochs
    assert steps_of(b, many) >= steps_of(a, few) - math.ceil(few / a.batch_size), "but for what fills an epoch"
    assert steps_of(b, many) * few <= steps_of(a, few) * many * 1.01 + many


def test_a_recipe_for_so_many_epochs() -> None:
    recipe = recipe_for(160, 40, epochs=40)
    assert (recipe.epochs, recipe.warmup_steps, recipe.eval_every) == (40, 80, 2)
    assert recipe_for(160, 40, epochs=1).warmup_steps == 2


def test_names_keep_their_recipes_and_no_published_one_changes_colors() -> None:
    assert not any(recipe.augment or recipe.keep_best for recipe in [*RECIPES.values(), Recipe()])


def test_a_warm_up_ends(tmp_path: Path) -> None:
    run = Trainer(TINY, replace(RECIPES["nano"], epochs=2, batch_size=2), tmp_path, 8)  # 200 steps of warm-up in 8
    rates = []
    for _ in range(8):
        rates.append(run.optimizer.param_groups[0]["lr"] / 8e-4)
        run.optimizer.step()
        run.scheduler.step()
    assert max(rates) > 0.6
    assert rates.index(max(rates)) < 4


@given(st.integers(0, 300), st.integers(1, 1000), st.integers(1, 8000))
def test_a_config_that_fits_the_data(most: int, parts: int, longest: int) -> None:
    smallest = 1 / parts
    fields = fitting(replace(FIGURES, most=most, smallest=smallest, longest=longest))
    config = get_config("photo", **fields)
    assert config.num_queries >= max(25, 1.5 * most)
    assert config.max_size <= 384
    assert config.max_size <= max(longest, 32)
    assert config.max_size >= min(256, longest)
    assert config.max_size * smallest >= 10 or config.max_size in (384, max(longest, 32))


def test_figures_count_what_is_trained_on(tmp_path: Path) -> None:
    root = write_folder(tmp_path, (320, 240), images=4)
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"] += [
        {"id": 10, "image_id": 2, "category_id": 3, "bbox": [0, 0, 16, 16], "area": 256, "iscrowd": 0},
        {"id": 11, "image_id": 3, "category_id": 3, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 1},
    ]
    file.write_text(json.dumps(content))
    figures = Figures.of(CocoDetection(root, "train"))
    assert (figures.images, figures.objects, figures.classes, figures.most, figures.longest) == (4, 5, 1, 2, 320)
    assert 16 / 320 < figures.smallest < 0.43


def started(options: list[str], root: Path, out: Path) -> dict[str, Any]:
    """What a run of one epoch is made of."""
    command = ["train", "--data", str(root), "--out", str(out), "--epochs", "1", "--device", "cpu", *options]
    assert main(command) == 0
    return json.loads((out / "config.json").read_text())  # type: ignore[no-any-return]


def test_pictures_of_your_own_begin_with_shipped_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path / "data", (320, 240))
    run = started([], root, tmp_path / "run")
    assert run["weights"] == "deformable_nano"
    wanted = {"num_classes": 4, "max_size": 256, "num_queries": 25}
    assert {name: run["config"][name] for name in wanted} == wanted
    assert run["config"] | {"num_classes": 14} == json.loads(json.dumps(vars(CONFIGS["photo"])))
    assert run["recipe"]["augment"]
    assert (run["recipe"]["epochs"], run["recipe"]["eval_every"]) == (1, 1)
    assert run["recipe"]["keep_best"]
    said = capsys.readouterr().err.splitlines()
    start = "starts from the weights of deformable_nano, as config photo (--weights or --config"
    assert any(line.startswith(start) for line in said)
    assert any("class head, for num_classes=4" in line for line in said)

    chosen = started(["--set", "config.max_size=64", "--set", "config.num_queries=9"], root, tmp_path / "chosen")
    assert (chosen["config"]["max_size"], chosen["config"]["num_queries"]) == (64, 9)
    small = ["--set", "config.hidden_dim=16"]
    nano = started(["--config", "nano", *small], root, tmp_path / "nano")
    assert (nano["weights"], nano["recipe"]["warmup_steps"], nano["recipe"]["augment"]) == (None, 200, False)
    tuned = started(["--weights", "nano"], root, tmp_path / "tuned")
    assert (tuned["weights"], tuned["config"]["max_size"], tuned["recipe"]["augment"]) == ("nano", 136, True)


def test_the_first_screen_says_what_then_happens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Trainer.step

    def slowly(run: Trainer, *batch: Any) -> float | None:
        time.sleep(0.1)
        return plain(run, *batch)

    monkeypatch.setattr(Trainer, "step", slowly)
    root = write_folder(tmp_path / "data", (320, 240), images=10)
    began = time.perf_counter()
    train(replace(TINY, max_size=32), replace(SHORT, epochs=8, eval_every=3), root, tmp_path / "run")
    took = time.perf_counter() - began
    said = capsys.readouterr().err
    assert "10 images with 10 objects of 1 class to train on, at most 1 in an image, for 5 queries" in said
    assert "10 images to measure on" in said
    assert "up to 320 pixels are shrunk to a long side of 32" in said
    found = re.search(
        r"(\d+) steps \((\d+) epochs of (\d+), 2 images each\): about (\d+) s .* measure on val, (\d) tim", said
    )
    assert found
    steps, epochs, per_epoch, seconds, measurements = map(int, found.groups())
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert (steps, epochs, per_epoch) == (log[-1]["step"], log[-1]["epoch"], 5)
    assert measurements == sum("AP" in line for line in log) == 3
    assert seconds == pytest.approx(took, rel=0.4)


def test_one_of_a_thing_is_said_in_the_singular() -> None:
    figures = Figures(images=1, classes=1, objects=1200, most=1200, longest=64, smallest=0.5)
    assert describe(figures, 2000)[0].startswith("1 image with 1,200 objects of 1 class to train on")
    pace = Pace(first=1.0, step=1.0, measuring=0.1, memory=None)
    assert pace.describe(replace(SHORT, epochs=1, batch_size=1), images=1).startswith(
        "1 step (1 epoch of 1, 1 image each)"
    )


def test_looking_ahead_changes_nothing(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", (64, 48), images=6)
    config = replace(TINY, dropout=0.1)
    states = []

    def note(step: int, _: Any) -> None:
        if step == 0:
            states.append(torch.get_rng_state())

    silent = train(config, SHORT, root, tmp_path / "silent", progress=False, callback=note).state_dict()
    told = train(config, SHORT, root, tmp_path / "told", callback=note).state_dict()
    assert states[0].equal(states[1]), "what a callback draws"
    assert all(value.equal(told[name]) for name, value in silent.items())
    assert not Path("never-written").exists()


def test_images_at_their_own_size_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(TINY, replace(SHORT, epochs=1), write_folder(tmp_path / "data", (64, 48)), tmp_path / "run")
    assert "images keep their size in training and evaluation, up to config.max_size=136" in capsys.readouterr().err


def test_minutes_become_epochs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "data", (64, 48), images=6)

    def with_pace(step: float, **options: Any) -> int:
        monkeypatch.setattr(training, "measure_pace", lambda *_: Pace(step, step, 0.0, None))
        train(TINY, SHORT, root, tmp_path / "run", minutes=1, progress=False, **options)
        return int(json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["epochs"])

    assert with_pace(6.0) == 3  # of three steps
    assert with_pace(10.0, resume=True) == 3, "what goes on keeps its length"


@given(st.floats(0.01, 3), st.floats(0, 30), IMAGES, st.floats(0.1, 100))
def test_minutes_are_kept(step: float, measuring: float, images: int, minutes: float) -> None:
    pace, recipe = Pace(step, step, measuring, None), recipe_for(images, 20)
    if pace.seconds(replace(recipe, epochs=1, eval_every=1), images) > 60 * minutes:
        with pytest.raises(ConfigError, match="do not hold one epoch"):
            within(recipe, minutes, pace, images)
        return
    fitted = within(recipe, minutes, pace, images)
    assert pace.seconds(fitted, images) <= 60 * minutes
    assert fitted.warmup_steps <= steps_of(fitted, images) / 2
    assert pace.seconds(replace(fitted, epochs=fitted.epochs + max(1, fitted.epochs // 4)), images) > 50 * minutes


@pytest.mark.parametrize(("keep_best", "kept"), [(True, 1), (False, 4)])
def test_the_best_weights_are_kept_where_the_recipe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_best: bool, kept: int
) -> None:
    root = write_folder(tmp_path / "data", (64, 48), images=4)
    weights: list[torch.Tensor] = []

    def measured(model: Any, *_: Any, **__: Any) -> dict[str, float]:
        weights.append(model.class_embed.weight.detach().half().float())
        number = [0.1, 0.3, 0.2, 0.2, 0.2][len(weights) - 1]  # the third epoch is measured twice
        return {"AP": number, "AP50": 0.4}

    monkeypatch.setattr(training, "evaluate", measured)
    recipe = replace(SHORT, keep_best=keep_best, eval_every=1)

    def stop(step: int, _: Any) -> None:
        if step == 7:  # in the fourth epoch, long after the best
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, recipe, root, tmp_path / "run", progress=False, callback=stop)
    model = train(TINY, recipe, root, tmp_path / "run", progress=False, resume=True)
    stored = load(tmp_path / "run" / "model.safetensors").state_dict()["class_embed.weight"]
    assert stored.equal(weights[kept])
    assert model.class_embed.weight.half().float().equal(stored)


def test_a_photograph_is_read_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path, (320, 240), images=3)
    shrunk = CocoDetection(root, "train", Shrink(64))
    images = RememberedImages(shrunk, eval_transforms(None, 64), room=2 * 3 * 48 * 64)
    first = [images[index] for index in range(3)]
    assert [tuple(image.shape) for image, _ in first] == [(3, 48, 64)] * 3
    for number in (1, 2, 3):
        (root / "train" / f"{number}.jpg").unlink()
    for index in (0, 1):
        image, target = images[index]
        assert image.equal(first[index][0])
        assert target["boxes"].equal(first[index][1]["boxes"])
    with pytest.raises(ImageError, match=r"3\.jpg"):
        images[2]  # there was room for two
    assert (len(images), images.num_classes, images.sizes) == (3, 4, shrunk.sizes)


def test_photographs_to_measure_on_are_those_of_evaluation(tmp_path: Path) -> None:
    config = replace(TINY, max_size=50)
    _, val = open_data(write_folder(tmp_path, (123, 77), images=2), config, SHORT)
    plain = CocoDetection(tmp_path, "val", eval_transforms(config.image_size, config.max_size))
    for _ in range(2):
        for index in range(2):
            image, target = val[index]
            assert image.equal(plain[index][0])
            assert all(target[name].equal(value) for name, value in plain[index][1].items())


def test_a_model_that_learned_nothing_gets_reasons() -> None:
    recipe = replace(SHORT, epochs=2, keep_best=False)
    losses = [{"step": n, "epoch": 0, "loss": 20.0 - n} for n in range(1, 11)]
    log = [*losses, {"step": 10, "epoch": 2, "AP": 0.001, "AP50": 0.004}]
    config = replace(TINY, max_size=64)
    said = verdict(log, replace(FIGURES, smallest=0.05), config, recipe, trained=False)
    beginnings = (
        "AP50 of 0.004: the model has learned next to nothing. What may help, first things first:",
        "  1. 10 steps are few: from random weights it takes some 1000 (epochs=200)",
        "  2. the loss still fell at the end, by 16 % in the last fifth",
        "  3. a tenth of the objects have a side below 3.2 pixels once images are resized to 64",
        "  4. 30 images are few for 3 classes",
        "  5. the boxes or classes may be wrong: look at some images",
    )
    assert [line for line, start in zip(said, beginnings, strict=True) if not line.startswith(start)] == []
    (sentence,) = verdict([log[-1] | {"AP": -1.0}], FIGURES, config, recipe, trained=True)
    assert "no object to measure with" in sentence
    assert verdict([log[-1] | {"AP": 0.4, "AP50": 0.6}], FIGURES, config, recipe, trained=True) == []
    (best,) = verdict(
        [{"step": 5, "epoch": e, "AP": ap, "AP50": 2 * ap} for e, ap in ((1, 0.2), (2, 0.3), (3, 0.25))],
        FIGURES,
        config,
        replace(recipe, keep_best=True),
        trained=True,
    )
    assert best.startswith("best: AP 0.300  AP50 0.600 after epoch 2, which is kept")


def test_a_rate_that_is_too_high_is_the_first_reason() -> None:
    """The loss rises from its first value on; one that wavers a little gives no such reason."""
    recipe = replace(SHORT, epochs=2, keep_best=False, lr=0.05)

    def reasons(*losses: float) -> list[str]:
        log = [{"step": 200 * n, "epoch": 0, "loss": loss} for n, loss in enumerate(losses, 1)]
        log.append({"step": 1000, "epoch": 2, "AP": 0.0, "AP50": 0.0})
        return verdict(log, FIGURES, TINY, recipe, trained=True)[1:]

    assert reasons(20.0, 40.7, 42.6, 25.3, 19.2)[0] == (
        "  1. the loss rose from 20.0 to 42.6: the learning rate is too high (--lr, now 0.05); try a tenth of it"
    )
    assert not any("learning rate" in reason for reason in reasons(20.0, 22.0, 21.0, 19.0, 18.0))
