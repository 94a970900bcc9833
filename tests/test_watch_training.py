"""``tools/watch_training.py``: what it keeps of a training, and when."""

import json

import pytest
import torch
import watch_training as tool
from safetensors.torch import load_file, save_file

import detr_mini
from detr_mini.data import CocoDetection, collate, eval_transforms, make_data
from detr_mini.evaluation import evaluate, layer_outputs
from detr_mini.matcher import HungarianMatcher
from detr_mini.modeling.build import build
from detr_mini.modeling.detr import DETR


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
    stored = load_file(tool.BOOK_DATA / "watched" / f"{name}.safetensors")
    assert stored["steps"].tolist() == tool.STEPS[name]


def test_shipping_fills_the_package_and_the_book(town, tmp_path, model, monkeypatch):
    monkeypatch.setitem(tool.STEPS, "mini", [0, 500])
    monkeypatch.setitem(tool.SHIPPED_STEPS, "mini", [500])
    run, package, book = tmp_path / "run", tmp_path / "package", tmp_path / "book"
    package.mkdir()
    (book / "watched").mkdir(parents=True)
    watcher = tool.Watcher([0, 500], run / "snapshots")
    watcher(0, model)
    watcher(500, model)
    detr_mini.save(model, run / "model.safetensors")
    (run / "log.jsonl").write_text("{}\n")
    val = CocoDetection(town, "val", eval_transforms(None))
    save_file(tool.put_together("mini", run / "snapshots", val), run / "watched.safetensors")
    monkeypatch.setattr(tool.ship, "__defaults__", (package, book))
    monkeypatch.setattr(tool, "train", lambda *given, **options: None)  # it is finished
    arguments = ["mini", "--data", str(town), "--out", str(run), "--resume", "--ship"]
    monkeypatch.setattr("sys.argv", ["watch_training.py", *arguments])
    tool.main()
    assert {path.name for path in package.iterdir()} == {"mini.safetensors", "mini.json"}
    names = {str(path.relative_to(book)) for path in book.rglob("*.*")}
    assert names == {"mini.jsonl", "watched/mini.safetensors", "watched/mini-00500.safetensors"}
    for file in (package / "mini.safetensors", book / "watched" / "mini-00500.safetensors"):
        shipped = detr_mini.load(file)
        torch.testing.assert_close(shipped.query_embed.weight, model.query_embed.weight, rtol=1e-3, atol=1e-3)
    assert json.loads((package / "mini.json").read_text()) == evaluate(
        detr_mini.load(package / "mini.safetensors"), val
    )
