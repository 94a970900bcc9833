"""The playground's engine, in JavaScript, says what the package says."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch.testing import assert_close

import detr_mini
from detr_mini import teaching
from detr_mini.data import draw_scene, eval_transforms
from detr_mini.data.image import image_to_tensor
from detr_mini.interpret import attention_maps, sampling_points
from detr_mini.loss import build_criterion
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.teaching import live
from detr_mini.teaching.live import ENGINE, FOLDER, MODELS, engine_script, weights_script
from detr_mini.teaching.notebook import sample
from detr_mini.weights import CHECKPOINTS

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs node")
SCENES = 100
CLOSE = {"rtol": 0, "atol": 1e-3}
MAPS = {
    "encoder": "encoder.layers.{}.self_attn",
    "slots": "decoder.layers.{}.self_attn",
    "cells": "decoder.layers.{}.multihead_attn",
}
POINTS = {"encoder": "encoder.layers.{}.self_attn", "cells": "decoder.layers.{}.cross_attn"}


def ask(name: str, questions: list[dict[str, Any]], script: str | None = None) -> list[dict[str, Any]]:
    """What the engine answers, in node."""
    file = base64.b64encode((CHECKPOINTS / f"{name}.safetensors").read_bytes()).decode()
    asked = json.dumps({"engine": script or engine_script(), "file": file, "questions": questions})
    program = Path(__file__).with_name("playground_node.js")
    done = subprocess.run([str(NODE), str(program)], input=asked, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@lru_cache(maxsize=SCENES)
def scene(index: int) -> tuple[Any, torch.Tensor, dict[str, torch.Tensor]]:
    """A scene's picture, and what the model gets of it: the normalized image and its target."""
    return (draw_scene(index).image, *sample(index))


def question(index: int, **more: Any) -> dict[str, Any]:
    image, _, target = scene(index)
    data = base64.b64encode(image.tobytes()).decode()
    picture = {"data": data, "height": image.height, "width": image.width, **more.pop("picture", {})}
    boxes = target["boxes"].as_subclass(torch.Tensor).tolist()
    return {"picture": picture, "targets": {"labels": target["labels"].tolist(), "boxes": boxes}, **more}


def of_layer(layer: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(layer["logits"]).view(25, -1), torch.tensor(layer["boxes"]).view(25, 4)


def layers_of(outputs: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
    return [*outputs["aux_outputs"], outputs]


def assert_same(told: dict[str, Any], outputs: dict[str, Any], image: int = 0) -> None:
    """Logits and boxes after each decoder layer."""
    for layer, expected in zip(told["layers"], layers_of(outputs), strict=True):
        logits, boxes = of_layer(layer)
        assert_close(logits, expected["pred_logits"][image], **CLOSE)
        assert_close(boxes, expected["pred_boxes"][image], **CLOSE)


@pytest.mark.slow
@needs_node
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_hundred_scenes_give_the_packages_logits_boxes_and_losses(name: str) -> None:
    model = detr_mini.load(name)
    criterion = build_criterion(model.config)
    for index, told in enumerate(ask(name, [question(index) for index in range(SCENES)])):
        _, image, target = scene(index)
        outputs = model([image])
        assert_same(told, outputs)
        losses = criterion(outputs, [target])
        for number, layer in enumerate(told["layers"]):
            ending = "" if number == len(told["layers"]) - 1 else f"_{number}"
            for term in ("ce", "bbox", "giou"):
                assert layer["losses"][term] == pytest.approx(losses[f"loss_{term}{ending}"].item(), abs=1e-3)


@needs_node
@torch.no_grad()
def test_matching_postprocessing_and_attention_are_the_packages() -> None:
    model = detr_mini.load("mini")
    matcher = build_criterion(model.config).matcher
    for index, told in zip((3, 88), ask("mini", [question(i, maps=True) for i in (3, 88)]), strict=True):
        picture, image, target = scene(index)
        outputs, maps = model([image]), attention_maps(model, [image])
        [(query, objects)] = matcher(outputs, [target])
        last = told["layers"][-1]
        pairs = sorted((pair["slot"], pair["object"]) for pair in last["pairs"])
        assert pairs == [*zip(query.tolist(), objects.tolist(), strict=True)]
        cost = matcher.cost(outputs["pred_logits"][None], outputs["pred_boxes"][None], [target])[0, 0]
        assert_close(torch.tensor(last["cost"]).T, cost, **CLOSE)
        [found] = model.postprocess(outputs, torch.tensor([[picture.height, picture.width]]))
        assert last["labels"] == found["labels"].tolist()
        assert_close(torch.tensor(last["scores"]), found["scores"], **CLOSE)
        for kind, weights in told["seen"].items():
            for number, layer in enumerate(weights):
                expected = maps[f"transformer.{MAPS[kind].format(number)}"][0]
                assert_close(torch.tensor(layer).view(expected.shape), expected, **CLOSE)


@needs_node
@torch.no_grad()
def test_a_deformable_model_is_matched_read_and_seen_into_as_the_package_does() -> None:
    model = detr_mini.load("deformable_nano")
    matcher = build_criterion(model.config).matcher
    for index, told in zip((3, 88), ask("deformable_nano", [question(i, maps=True) for i in (3, 88)]), strict=True):
        _, image, target = scene(index)
        outputs, points = model([image]), sampling_points(model, [image])
        last = told["layers"][-1]
        [(query, objects)] = matcher(outputs, [target])
        pairs = sorted((pair["slot"], pair["object"]) for pair in last["pairs"])
        assert pairs == [*zip(query.tolist(), objects.tolist(), strict=True)]
        cost = matcher.cost(outputs["pred_logits"][None], outputs["pred_boxes"][None], [target])[0, 0]
        assert_close(torch.tensor(last["cost"]).T, cost, **CLOSE)
        best = outputs["pred_logits"][0].sigmoid().max(-1)
        assert last["labels"] == best.indices.tolist()
        assert_close(torch.tensor(last["scores"]), best.values, **CLOSE)
        for kind, layers in told["seen"]["points"].items():
            for number, layer in enumerate(layers):
                places, weights = (one[0] for one in points[f"transformer.{POINTS[kind].format(number)}"])
                assert_close(torch.tensor(layer["places"]).view(places.shape), places, **CLOSE)
                assert_close(torch.tensor(layer["weights"]).view(weights.shape), weights, **CLOSE)
        maps = attention_maps(model, [image])
        for number, layer in enumerate(told["seen"]["slots"]):
            expected = maps[f"transformer.decoder.layers.{number}.self_attn"][0]
            assert_close(torch.tensor(layer).view(expected.shape), expected, **CLOSE)


def framed(image: torch.Tensor, height: int, width: int) -> NestedTensor:
    samples = NestedTensor.from_images([image, image.new_zeros(3, height, width)])
    return NestedTensor(samples.tensors[:1], samples.mask[:1])


Change = Callable[[Any], None]


@needs_node
@pytest.mark.parametrize("name", ["mini", "deformable_nano"])
@torch.no_grad()
def test_a_padded_frame_changes_nothing_unless_its_mask_is_forgotten(name: str) -> None:
    model = detr_mini.load(name)
    frame = {"frame": {"height": 144, "width": 168}}
    forgotten = {**SOUND, "forgetMask": True}
    asked = [question(88, picture=frame), question(88, picture=frame, switches=forgotten), question(88)]
    padded, without, alone = ask(name, asked)
    samples = framed(scene(88)[1], 144, 168)
    assert_same(padded, model(samples))
    assert_same(without, model(NestedTensor(samples.tensors)))
    assert_same(padded, model([scene(88)[1]]))
    difference = np.abs(np.array(without["layers"][-1]["boxes"]) - np.array(alone["layers"][-1]["boxes"]))
    assert difference.max() > 0.05


SOUND = {"noPositions": False, "noQueries": False, "noSelfAttention": False, "forgetMask": False, "order": None}


def drop_positions(model: Any) -> None:
    model.backbone[1].forward = lambda features: torch.zeros(1, 96, *features.tensors.shape[-2:])


def drop_queries(model: Any) -> None:
    model.query_embed.weight.zero_()


def drop_self_attention(model: Any) -> None:
    for layer in model.transformer.decoder.layers:
        layer.read_slots = lambda tgt, query_pos: torch.zeros_like(tgt)
        layer.read_queries = layer.read_slots  # as it is called in Deformable DETR


def turn_queries_round(model: Any) -> None:
    model.query_embed.weight.copy_(model.query_embed.weight.flip(0))


@needs_node
@pytest.mark.parametrize("name", ["mini", "deformable_nano"])
@pytest.mark.parametrize(
    ("switch", "change"),
    [
        ({"noPositions": True}, drop_positions),
        ({"noQueries": True}, drop_queries),
        ({"noSelfAttention": True}, drop_self_attention),
        ({"order": [*reversed(range(25))]}, turn_queries_round),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@torch.no_grad()
def test_a_switch_breaks_what_it_says(switch: dict[str, Any], change: Change, name: str) -> None:
    model = detr_mini.load(name)
    sound = model([scene(88)[1]])["pred_boxes"]
    change(model)
    assert (model([scene(88)[1]])["pred_boxes"] - sound).abs().max() > 0.05
    [told] = ask(name, [question(88, switches={**SOUND, **switch})])
    assert_same(told, model([scene(88)[1]]))


@needs_node
@pytest.mark.parametrize("name", ["nano", "deformable_nano"])
@pytest.mark.parametrize("size", [(17, 33), (96, 128), (136, 50), (8, 8)])
@torch.no_grad()
def test_every_size_of_picture(size: tuple[int, int], name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = {"data": base64.b64encode(noise.tobytes()).decode(), "height": size[0], "width": size[1]}
    [told] = ask(name, [{"picture": picture, "targets": {"labels": [], "boxes": []}}])
    image = eval_transforms(None)(image_to_tensor(Image.fromarray(noise)))
    assert_same(told, detr_mini.load(name)([image]))
    assert told["layers"][-1]["pairs"] == []


def within_engine(what: str, asked: Any) -> Any:
    """What a function of the engine, given as ``asked => ...``, makes of something."""
    script = engine_script().replace("return { readCheckpoint,", f"return {{ what: {what}, readCheckpoint,")
    program = "const { asked, script } = JSON.parse(require('fs').readFileSync(0)); const { what } = new Function("
    program += "script + 'return playgroundEngine()')(); console.log(JSON.stringify(what(asked)))"
    given = json.dumps({"asked": asked, "script": script})
    done = subprocess.run([str(NODE), "-e", program], input=given, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_the_hungarian_algorithm_finds_the_least_sum() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=(rng.integers(1, 31), 25)).round(int(rng.integers(0, 4))) for _ in range(200)]
    answers = within_engine("tables => tables.map(match)", [table.tolist() for table in tables])
    for table, pairs in zip(tables, answers, strict=True):
        assert len(pairs) == min(table.shape)
        assert len({p["slot"] for p in pairs}) == len({p["object"] for p in pairs}) == len(pairs)
        least = table[linear_sum_assignment(table)].sum()
        assert sum(table[p["object"], p["slot"]] for p in pairs) == pytest.approx(least)


@needs_node
def test_every_number_of_half_precision_is_read() -> None:
    bits = np.arange(2**16, dtype="<u2")
    numbers = bits.view("<f2")[np.isfinite(bits.view("<f2"))]
    read = within_engine("text => [...fromHalf(fromBase64(text))]", base64.b64encode(numbers.tobytes()).decode())
    assert np.array_equal(np.array(read), numbers.astype(float))


@pytest.mark.parametrize("name", MODELS)
def test_the_page_loads_the_very_file_that_the_package_ships(name: str) -> None:
    script = weights_script(name)
    start, _, text = script.partition(" = ")
    assert start == f'(window.playgroundModels ??= {{}})["{name}"]'
    assert base64.b64decode(json.loads(text.removesuffix(";\n"))) == (CHECKPOINTS / f"{name}.safetensors").read_bytes()
    assert len(script) < 4_000_000


def test_a_cell_and_a_page_load_four_megabytes_at_most_with_each_model(tmp_path: Path) -> None:
    live.write(tmp_path)
    sizes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    for name in MODELS:
        assert sum(size for file, size in sizes.items() if file == name or file not in MODELS) < 4_000_000
        assert len(teaching.playground(name).html) < 4_000_000
    assert teaching.playground().html == teaching.playground("mini").html


def test_a_model_that_the_playground_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match="no model 'maxi'; there are mini, nano, deformable_nano"):
        teaching.playground("mini", "maxi")


def test_every_file_of_the_engine_has_its_place() -> None:
    assert sorted(path.stem for path in (FOLDER / "engine").glob("*.js")) == sorted(ENGINE)
