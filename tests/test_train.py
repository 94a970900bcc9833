"""Training: schedules, batches, checkpoints, and that a run which stops loses nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detr_mini.config import get_config
from detr_mini.data import CocoDetection
from detr_mini.nested_tensor import NestedTensor
from detr_mini.train import RECIPES, Recipe, Run, SimilarShapes, train

CONFIG = get_config("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=2, num_queries=15)
RECIPE = replace(RECIPES["nano"], lr=1e-3, lr_backbone=1e-3, epochs=2, batch_size=8, warmup_steps=2, eval_every=2)


def run_in(folder: Path, recipe: Recipe = RECIPE, **options: object) -> Run:
    return Run(CONFIG, recipe, folder, torch.device("cpu"), 0, resume=False, **options)


def read_log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_batches_hold_every_picture_once_and_pad_little(town):
    dataset = CocoDetection(town, "train")
    sampler = SimilarShapes(dataset, 4)
    torch.manual_seed(0)
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(dataset)))
    assert len(batches) == len(sampler)
    areas = [float(sampler.order[batch].mean()) for batch in batches]
    assert areas not in (sorted(areas), sorted(areas, reverse=True)), "batches must come in random order"
    assert batches != list(sampler), "a second epoch must not repeat the first one's batches"
    torch.manual_seed(0)
    assert batches == list(sampler)

    def padding(batches: list[list[int]]) -> float:
        return sum(float(NestedTensor.from_images([dataset[i][0] for i in b]).mask.float().mean()) for b in batches)

    shuffled = [batch.tolist() for batch in torch.randperm(len(dataset)).split(4)]
    assert padding(batches) < 0.6 * padding(shuffled)


def test_cosine_schedule_warms_up_and_ends_near_zero(tmp_path):
    run = run_in(tmp_path, replace(RECIPE, warmup_steps=10, epochs=4, lr=1.0, lr_backbone=0.5))
    run.make_schedule(steps_per_epoch=25)
    rates = []
    for _ in range(100):
        rates.append([group["lr"] for group in run.optimizer.param_groups])
        run.optimizer.step()
        run.scheduler.step()
    head = [rate for rate, _ in rates]
    assert head[0] == pytest.approx(0.1, rel=0.01)
    assert max(head) == head[9] > 0.97
    assert head[50] == pytest.approx(0.5)
    assert head[99] < 0.001
    assert all(backbone == pytest.approx(rate / 2) for rate, backbone in rates)


def test_step_schedule_drops_to_a_tenth(tmp_path):
    run = run_in(tmp_path, replace(RECIPE, warmup_steps=0, epochs=3, lr=1.0, lr_drop=2))
    run.make_schedule(steps_per_epoch=5)
    rates = []
    for _ in range(15):
        rates.append(run.optimizer.param_groups[0]["lr"])
        run.optimizer.step()
        run.scheduler.step()
    assert rates == pytest.approx([1.0] * 10 + [0.1] * 5)


def test_every_trainable_parameter_has_one_learning_rate(tmp_path):
    run = run_in(tmp_path)
    rest, backbone = (group["params"] for group in run.optimizer.param_groups)
    assert {id(p) for p in rest + backbone} == {id(p) for p in run.model.parameters()}
    assert len(rest + backbone) == len(list(run.model.parameters()))
    assert {id(p) for p in backbone} == {id(p) for p in run.model.backbone[0].parameters()}


def test_the_published_recipe():
    recipe = Recipe()
    assert (recipe.lr, recipe.lr_backbone, recipe.weight_decay, recipe.clip_max_norm) == (1e-4, 1e-5, 1e-4, 0.1)
    assert (recipe.epochs, recipe.lr_drop, recipe.batch_size, recipe.eos_coef) == (300, 200, 64, 0.1)
    assert recipe.sizes == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)


def test_the_loss_falls_on_one_batch(tmp_path):
    run = run_in(tmp_path, replace(RECIPE, epochs=1, warmup_steps=0))
    run.make_schedule(steps_per_epoch=1000)
    images = NestedTensor.from_images(
        [torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    )
    boxes = torch.tensor([[0.3, 0.4, 0.2, 0.3], [0.7, 0.6, 0.3, 0.5]])
    targets = [{"labels": torch.tensor([2, 5]), "boxes": boxes}, {"labels": torch.tensor([1]), "boxes": boxes[:1]}]
    losses = [loss for _ in range(150) if (loss := run.step(images, targets)) is not None]
    assert len(losses) == 3
    assert losses[2] < 0.5 * losses[0]


def test_a_step_after_an_evaluation_trains_again(tmp_path):
    run = run_in(tmp_path)
    run.make_schedule(steps_per_epoch=10)
    run.model.eval()
    before = run.model.backbone[0].body["bn1"].running_mean.clone()
    images = NestedTensor.from_images([torch.rand(3, 40, 40)])
    run.step(images, [{"labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}])
    assert not torch.equal(run.model.backbone[0].body["bn1"].running_mean, before)


def test_a_run_that_stops_resumes_to_the_same_weights(town, tmp_path, monkeypatch):
    whole = train(CONFIG, RECIPE, town, tmp_path / "whole", progress=False)

    steps = 0
    original = Run.step

    def stop_in_the_second_epoch(self, *args):
        nonlocal steps
        steps += 1
        if steps == 6:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(Run, "step", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, RECIPE, town, tmp_path / "stopped", progress=False)
    assert steps == 6
    assert torch.load(tmp_path / "stopped" / "checkpoint.pth", weights_only=True)["epoch"] == 1
    monkeypatch.undo()
    resumed = train(CONFIG, RECIPE, town, tmp_path / "stopped", resume=True, progress=False)

    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "stopped")


def test_log_lines_of_lost_steps_are_dropped_on_resume(town, tmp_path):
    train(CONFIG, replace(RECIPE, epochs=2), town, tmp_path, progress=False)
    log = tmp_path / "log.jsonl"
    before = log.read_text()
    log.write_text(before + json.dumps({"step": 10_000, "loss": 1.0}) + "\n")
    Run(CONFIG, replace(RECIPE, epochs=2), tmp_path, torch.device("cpu"), 0, resume=True)
    assert log.read_text() == before


def test_same_seed_same_weights_and_another_seed_others(town, tmp_path):
    once = {}
    recipe = replace(RECIPE, epochs=1)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model = train(CONFIG, recipe, town, tmp_path / name, seed=seed, progress=False)
        once[name] = model.query_embed.weight
    assert torch.equal(once["a"], once["b"])
    assert not torch.equal(once["a"], once["c"])


def test_a_finished_run_is_not_overwritten(town, tmp_path):
    run_in(tmp_path).save_checkpoint()
    with pytest.raises(FileExistsError, match="--resume"):
        train(CONFIG, RECIPE, town, tmp_path, progress=False)


def test_resuming_nothing_says_so(town, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoint\.pth"):
        train(CONFIG, RECIPE, town, tmp_path, resume=True, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": replace(CONFIG, num_queries=16)}, "config num_queries=15 .now 16."),
        ({"recipe": replace(RECIPE, lr=0.5)}, "recipe lr=0.001 .now 0.5."),
        ({"seed": 3}, "seed 0, not 3"),
    ],
)
def test_resuming_another_run_says_what_differs(town, tmp_path, change, message):
    run_in(tmp_path).save_checkpoint()
    wanted = {"config": CONFIG, "recipe": RECIPE, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        train(wanted["config"], wanted["recipe"], town, tmp_path, resume=True, seed=wanted["seed"], progress=False)


def test_too_few_classes_for_the_data(town, tmp_path):
    with pytest.raises(ValueError, match=r"num_classes >= 14 \(--num-classes\), not 5"):
        train(replace(CONFIG, num_classes=5), RECIPE, town, tmp_path, progress=False)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    run = run_in(tmp_path, replace(RECIPE, lr=7.0))
    run.recent = [{"loss": torch.tensor(float("nan"))}]
    with pytest.raises(FloatingPointError, match=r"--lr, now 7\.0"):
        run._log_losses()


def test_a_damaged_checkpoint_is_named(town, tmp_path):
    run_in(tmp_path).save_checkpoint()
    checkpoint = tmp_path / "checkpoint.pth"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"checkpoint\.pth is damaged"):
        train(CONFIG, RECIPE, town, tmp_path, resume=True, progress=False)
    torch.save({"model": {}}, checkpoint)
    with pytest.raises(ValueError, match=r"checkpoint\.pth holds no training run"):
        train(CONFIG, RECIPE, town, tmp_path, resume=True, progress=False)
