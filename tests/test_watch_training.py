"""``tools/watch_training.py``: what it keeps of a training, and when."""

import json

import pytest
import torch
import watch_training as tool
from safetensors.torch import load_file

import detr_mini
from detr_mini.config import get_config
from detr_mini.data import CocoDetection, collate, eval_transforms, make_data
from detr_mini.detr import DETR, build
from detr_mini.evaluate import evaluate, layer_outputs
from detr_mini.matcher import HungarianMatcher
from detr_mini.pretrained import CHECKPOINTS
from detr_mini.recipe import RECIPES


@pytest.fixture
def model() -> DETR:
    torch.manual_seed(0)
    return build("nano", hidden_dim=16, nheads=2, num_queries=12)


def test_it_keeps_the_weights_at_the_chosen_steps(tmp_path, model):
    watcher = tool.Watcher([0, 20], tmp_path / "snapshots")
    for step in (0, 1, 20):
        watcher(step, model)
    assert [path.name for path in sorted(watcher.folder.iterdir())] == ["00000000.safetensors", "00000020.safetensors"]
    kept = detr_mini.load(tool.snapshot(watcher.folder, 20))
    for name, value in model.state_dict().items():
        assert kept.state_dict()[name].equal(value), name


def test_the_predictions_are_those_of_the_model(tmp_path, model):
    make_data(tmp_path, train=0, val=tool.SCENES.stop, workers=1, progress=False)
    val = CocoDetection(tmp_path, "val", eval_transforms(None))
    kept = tool.predictions(model.eval(), val)
    samples, _ = collate([val[i] for i in tool.SCENES])
    with torch.no_grad():
        outputs = model(samples)
    assert kept["boxes"].equal(outputs["pred_boxes"].half())
    assert kept["logits"].equal(outputs["pred_logits"].half())


def test_slots_are_what_each_query_does_on_every_scene(town, model):
    val = CocoDetection(town, "val", eval_transforms(None))
    kept = tool.slots(model.eval(), val)
    outputs, first = layer_outputs(model, val), 0
    assert kept["boxes"].equal(outputs["pred_boxes"][-1].half())
    for i in range(len(val)):
        _, target = val[i]
        for layer, mine in enumerate(kept["matched"][:, first : first + len(target["labels"])]):
            predicted = {name: outputs[name][layer, i, None] for name in ("pred_logits", "pred_boxes")}
            ((query, number),) = HungarianMatcher()(predicted, [target])
            assert mine[number].tolist() == query.tolist()
        first += len(target["labels"])
    assert first == kept["matched"].shape[1]
    assert kept["ap"][-1, 0].item() == pytest.approx(evaluate(model, val)["AP"])


def test_what_was_seen_is_stacked_and_kept(town, tmp_path, model, monkeypatch):
    monkeypatch.setitem(tool.STEPS, "mini", [0, 3])
    watcher = tool.Watcher([0, 3], tmp_path)
    watcher(0, model)
    model.query_embed.weight.data.add_(1)
    watcher(3, model)
    val = CocoDetection(town, "val", eval_transforms(None))
    once = tool.put_together("mini", tmp_path, val)
    assert once["steps"].tolist() == [0, 3]
    assert once["boxes"].shape == (2, len(val), 12, 4)
    assert not once["boxes"][0].equal(once["boxes"][1])
    monkeypatch.setattr(tool, "slots", None)  # what is kept is not looked at again
    again = tool.put_together("mini", tmp_path, val)
    assert again["boxes"].equal(once["boxes"])


@pytest.mark.parametrize("name", sorted(tool.STEPS))
def test_what_is_stored_has_its_steps(name):
    stored = load_file(CHECKPOINTS / "watched" / f"{name}.safetensors")
    assert stored["steps"].tolist() == tool.STEPS[name]


def test_phases_follow_each_other_and_all_of_it_is_shipped(town, tmp_path, monkeypatch, capsys):
    """A whole small run: two phases, a log that counts on, and the package's files."""
    from dataclasses import replace

    tiny = get_config("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=2, num_queries=12)
    phase = replace(RECIPES["nano"], epochs=1, warmup_steps=0)
    monkeypatch.setitem(tool.RECIPES, "mini", phase)
    monkeypatch.setitem(tool.RECIPES, "mini_settled", replace(phase, cost_class=4.0))
    monkeypatch.setitem(tool.STEPS, "mini", [0, 3, 4, 8])
    monkeypatch.setitem(tool.SHIPPED_STEPS, "mini", [3])
    monkeypatch.setattr(tool, "get_config", lambda name: tiny)
    run, package = tmp_path / "run", tmp_path / "package"
    (package / "watched").mkdir(parents=True)
    monkeypatch.setattr(tool.ship, "__defaults__", (package,))
    arguments = ["mini", "--data", str(town), str(town), "--out", str(run), "--ship"]
    monkeypatch.setattr("sys.argv", ["watch_training.py", *arguments])
    tool.main()

    weights = {"mini.safetensors", "watched/mini-00003.safetensors"}
    names = {str(path.relative_to(package)) for path in package.rglob("*.*")}
    assert names == weights | {"mini.jsonl", "mini.json", "watched/mini.safetensors"}
    last = detr_mini.load(tool.snapshot(run / "snapshots", 8)).query_embed.weight
    torch.testing.assert_close(detr_mini.load(package / "mini.safetensors").query_embed.weight, last.half().float())
    middle = [detr_mini.load(tool.snapshot(run / "snapshots", step)).query_embed.weight for step in (0, 4)]
    assert not middle[0].equal(middle[1])
    assert not middle[1].equal(last)
    lines = [json.loads(line) for line in (package / "mini.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"], line["images"]) for line in lines] == [(1, 4, 32), (2, 8, 64)]
    assert lines[1]["seconds"] > lines[0]["seconds"]
    val = CocoDetection(town, "val", eval_transforms(None))
    assert json.loads((package / "mini.json").read_text()) == evaluate(
        detr_mini.load(package / "mini.safetensors"), val
    )


def test_each_phase_needs_its_data(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["watch_training.py", "mini", "--data", "one", "--out", "run"])
    with pytest.raises(SystemExit):
        tool.main()
    assert "mini is trained in 2 phases: --data needs as many folders" in capsys.readouterr().err
