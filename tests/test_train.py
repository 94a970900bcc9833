"""Training: schedules, batches, checkpoints, and that a run which stops loses nothing."""

import contextlib
import io
import json
import math
import multiprocessing
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from pycocotools.coco import COCO
from torch import Tensor

from detr_mini.data import CocoDetection, SeededImages, eval_transforms, train_transforms
from detr_mini.errors import MemoryFullError, StorageError
from detr_mini.loss import SetCriterion
from detr_mini.matcher import HungarianMatcher
from detr_mini.modeling.config import get_config
from detr_mini.modeling.detr import DETR
from detr_mini.modeling.nested_tensor import NestedTensor
from detr_mini.training.checkpoint import CheckpointFolder
from detr_mini.training.recipe import RECIPES, Recipe
from detr_mini.training.train import train
from detr_mini.training.trainer import Trainer

CONFIG = get_config("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=2, num_queries=15)
RECIPE = replace(RECIPES["nano"], lr=1e-3, lr_backbone=1e-3, epochs=2, batch_size=8, warmup_steps=2, eval_every=2)


def run_in(folder: Path, recipe: Recipe = RECIPE, num_images: int = 32, **options: object) -> Trainer:
    return Trainer(CONFIG, recipe, folder, num_images, **options)


def a_batch(count: int = 2) -> tuple[NestedTensor, list[dict]]:
    rng = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 48, 64 + 8 * i, generator=rng) for i in range(count)]
    boxes = torch.tensor([[0.3, 0.4, 0.2, 0.3], [0.7, 0.6, 0.3, 0.5]])
    targets = [{"labels": torch.tensor([2, 5]), "boxes": boxes, "image_id": torch.tensor(40 + i)} for i in range(count)]
    return NestedTensor.from_images(images), targets


def read_log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_cosine_schedule_warms_up_and_ends_near_zero(tmp_path):
    run = run_in(tmp_path, replace(RECIPE, warmup_steps=10, epochs=4, lr=1.0, lr_backbone=0.5), num_images=25 * 8)
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
    run = run_in(tmp_path, replace(RECIPE, warmup_steps=0, epochs=3, lr=1.0, lr_drop=2), num_images=5 * 8 - 7)
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


def steps_by_hand(recipe: Recipe, batches: list[tuple[NestedTensor, list[dict]]], total: int) -> DETR:
    """What a run does, written out: published losses with the recipe's weights, clipping, AdamW, warm-up and cosine."""
    torch.manual_seed(0)
    model = DETR(CONFIG)
    weights = {"loss_ce": 1.0, "loss_bbox": recipe.bbox_loss_coef, "loss_giou": recipe.giou_loss_coef}
    matcher = HungarianMatcher(cost_bbox=recipe.set_cost_bbox, cost_giou=recipe.set_cost_giou)
    criterion = SetCriterion(CONFIG.num_classes, matcher, weights, recipe.eos_coef)
    named = [(name.startswith("backbone.0"), weight) for name, weight in model.named_parameters()]
    means = {weight: (torch.zeros_like(weight), torch.zeros_like(weight)) for _, weight in named}
    for t, (samples, targets) in enumerate(batches, start=1):
        loss = criterion.total(criterion(model(samples), targets))
        gradients = torch.autograd.grad(loss, [weight for _, weight in named])
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        factor = min(1.0, t / recipe.warmup_steps) * 0.5 * (1 + math.cos(math.pi * (t - 1) / total))
        for (in_backbone, weight), gradient in zip(named, gradients, strict=True):
            g = gradient * min(1.0, recipe.clip_max_norm / (float(norm) + 1e-6))
            lr = factor * (recipe.lr_backbone if in_backbone else recipe.lr)
            m, v = means[weight]
            m.lerp_(g, 0.1)
            v.lerp_(g * g, 0.001)
            # Of AdamW with a large eps, as here, a step is as long as the gradient: what clipping does can be seen.
            step = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + EPS)
            with torch.no_grad():
                weight -= lr * (step + recipe.weight_decay * weight)
    return model


EPS = 1.0
UNLIKE = replace(
    RECIPE,
    lr=0.02,
    lr_backbone=0.004,
    weight_decay=3.0,
    warmup_steps=2,
    clip_max_norm=5.0,
    eos_coef=0.7,
    bbox_loss_coef=1.5,
    giou_loss_coef=4.0,
    set_cost_bbox=0.0,
    set_cost_giou=0.1,
)


def test_a_step_is_that_of_the_loop_written_out(tmp_path):
    """Every number of the recipe is used: clipping, decay, rates, schedule, weights of loss and of matching cost."""
    run = run_in(tmp_path, UNLIKE, num_images=8 * 4)
    for group in run.optimizer.param_groups:
        group["eps"] = EPS
    batches = [a_batch(2), a_batch(1), a_batch(3)]
    for samples, targets in batches:
        run.step(samples, targets)
    by_hand = steps_by_hand(UNLIKE, batches, total=2 * 4)
    torch.manual_seed(0)
    start = DETR(CONFIG)
    for (name, here), there, before in zip(
        run.model.named_parameters(), by_hand.parameters(), start.parameters(), strict=True
    ):
        way = (there - before).abs().max()
        assert (here - there).abs().max() < 1e-3 * way + 1e-6, name
        assert way > 1e-3 or name.endswith("bias"), name


def flips_and_order(town: Path, out: Path, seed: int) -> list[tuple[int, float]]:
    """Which images a run sees in its two epochs, in their order, each with its first pixel."""
    seen: list[tuple[int, float]] = []

    def note(self, samples, targets):
        pixels = samples.tensors[:, 0, 0, 0].tolist()
        seen.extend(zip([int(target["image_id"]) for target in targets], pixels, strict=True))
        self.batch += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", note)
        train(CONFIG, replace(RECIPE, epochs=4, eval_every=9), town, out, seed=seed, progress=False)
    return seen


def test_order_and_flips_follow_from_the_seed(town, tmp_path):
    first = flips_and_order(town, tmp_path / "a", seed=0)
    assert len(first) == 4 * 32
    assert first == flips_and_order(town, tmp_path / "b", seed=0)
    other = flips_and_order(town, tmp_path / "c", seed=1)
    assert [image for image, _ in first[:32]] != [image for image, _ in other[:32]]
    assert sorted(image for image, _ in first[:32]) == sorted(image for image, _ in other[:32])
    pixels: dict[int, set[float]] = {}
    for image, pixel in first:
        pixels.setdefault(image, set()).add(pixel)
    assert sum(len(values) > 1 for values in pixels.values()) > 16, "an image is flipped half of the time"


def test_masks_come_to_the_criterion(town, tmp_path, monkeypatch):
    """From the file through transforms, batches and step; a batch's masks have the size of its images."""
    sets = [
        CocoDetection(town, "train", train_transforms(None), masks=True),
        CocoDetection(town, "val", eval_transforms(None)),
    ]
    seen = []
    original = SetCriterion.layer_losses

    def look(self, outputs, targets):
        seen.extend((target["masks"].shape, target["masks"].dtype, len(target["boxes"])) for target in targets)
        return original(self, outputs, targets)

    monkeypatch.setattr(SetCriterion, "layer_losses", look)
    train(CONFIG, replace(RECIPE, epochs=1), (sets[0], sets[1]), tmp_path, progress=False)
    assert len(seen) == 32
    assert all(shape[0] == boxes and dtype == torch.bool for shape, dtype, boxes in seen)
    for start in range(0, 32, 8):
        assert len({shape[1:] for shape, _, _ in seen[start : start + 8]}) == 1


class Discs(torch.utils.data.Dataset):
    """A data set of one's own: bright discs on black, made when asked for."""

    class_names: ClassVar = {1: "disc"}
    num_classes = 2

    def __init__(self, count: int) -> None:
        self.sizes = [(48, 64)] * count
        self.coco = COCO()
        box = {"category_id": 1, "bbox": [16, 12, 32, 24], "area": 768, "iscrowd": 0}
        self.coco.dataset = {
            "info": {},
            "images": [{"id": i, "height": 48, "width": 64} for i in range(count)],
            "annotations": [{"id": i + 1, "image_id": i} | box for i in range(count)],
            "categories": [{"id": 1, "name": "disc"}],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco.createIndex()

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = torch.zeros(3, 48, 64)
        image[:, 12:36, 16:48] = 1
        target = {"labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.5, 0.5]])}
        return image, target | {"image_id": torch.tensor(index), "orig_size": torch.tensor([48, 64])}


def test_data_sets_of_ones_own(tmp_path, capsys):
    model = train(replace(CONFIG, num_classes=2), replace(RECIPE, epochs=1), (Discs(20), Discs(3)), tmp_path)
    assert model.class_names == {1: "disc"}
    lines = read_log(tmp_path)
    assert "loss" in lines[0]
    assert 0 <= lines[-1]["AP"] <= 1
    out, err = capsys.readouterr()
    assert re.search(r"epoch 1: loss \d+\.\d+  AP ", out)
    assert "3 steps in all" in err


def test_a_loss_is_logged_in_every_epoch(town, tmp_path):
    train(CONFIG, replace(RECIPE, eval_every=9), town, tmp_path, progress=False)
    lines = [line for line in read_log(tmp_path) if "loss" in line]
    assert [line["step"] for line in lines] == [4, 8]


def test_reading_an_image_leaves_the_generator_alone(town, tmp_path):
    seeded = SeededImages(CocoDetection(town, "train", train_transforms(None)))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    seeded[2, 77]
    assert torch.rand(4).equal(expected)


def test_a_full_memory_says_what_needs_less(tmp_path, monkeypatch):
    run = run_in(tmp_path)
    run.save()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(run.model, "forward", full)
    with pytest.raises(
        MemoryFullError, match=r"step 1: the memory of cpu is full.*batch_size, now 8.*max_size, now 136"
    ):
        run.step(*a_batch())


def test_the_loss_falls_on_one_batch(tmp_path):
    run = run_in(tmp_path, replace(RECIPE, epochs=1, warmup_steps=0), num_images=1000 * 8)
    samples, targets = a_batch()
    losses = [loss for _ in range(150) if (loss := run.step(samples, targets)) is not None]
    assert len(losses) == 3
    assert losses[2] < 0.5 * losses[0]


def test_dropout_follows_from_the_seed_and_the_step(tmp_path, monkeypatch):
    monkeypatch.setattr("detr_mini.training.trainer.LOG_EVERY", 1)

    def losses(seed: int) -> list[float | None]:
        torch.manual_seed(5)
        model = DETR(replace(CONFIG, dropout=0.1))
        run = Trainer(model, replace(RECIPE, lr=0.0, lr_backbone=0.0), tmp_path, 32, seed=seed)
        return [run.step(*a_batch()) for _ in range(2)]

    first = losses(0)
    assert first == losses(0)
    assert len({*first, *losses(1)}) == 4


def test_a_step_after_an_evaluation_trains_again(tmp_path):
    run = run_in(tmp_path)
    run.model.eval()
    before = run.model.backbone[0].body["bn1"].running_mean.clone()
    run.step(*a_batch(1))
    assert not torch.equal(run.model.backbone[0].body["bn1"].running_mean, before)


@pytest.mark.parametrize("steps", [3, 5, 6, 8])  # within an epoch, at its end, before and within the next
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_stops_anywhere_resumes_to_the_same_weights(town, tmp_path, monkeypatch, steps, workers):
    monkeypatch.setattr("detr_mini.training.trainer.LOG_EVERY", 3)
    config, recipe = replace(CONFIG, dropout=0.1), replace(RECIPE, eval_every=1)
    whole = train(config, recipe, town, tmp_path / "whole", progress=False)

    original = Trainer.step

    def interrupted_step(self, *args):
        if self.steps == steps - 1:
            signal.raise_signal(signal.SIGINT)
        return original(self, *args)

    monkeypatch.setattr(Trainer, "step", interrupted_step)
    with pytest.raises(KeyboardInterrupt, match=f"step {steps} is finished and saved"):
        train(config, recipe, town, tmp_path / "stopped", progress=False, workers=workers)
    monkeypatch.setattr(Trainer, "step", original)
    resumed = train(config, recipe, town, tmp_path / "stopped", resume=True, progress=False, workers=workers)

    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "stopped")
    assert len(read_log(tmp_path / "whole")) == 4


@pytest.fixture
def interrupts():
    """Interrupts as a terminal sends them: what runs in the background may begin with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_the_second_interrupt_stops_at_once(town, tmp_path, monkeypatch):
    def step(self, *args):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt) as stop:
        train(CONFIG, RECIPE, town, tmp_path, progress=False)
    assert not stop.value.args
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_time_between_checkpoints(town, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Trainer, "save", lambda self: saved.append(self.steps))
    train(CONFIG, RECIPE, town, tmp_path / "seldom", progress=False)
    assert saved == [4, 8]
    saved.clear()
    train(CONFIG, RECIPE, town, tmp_path / "often", save_every=0.0, progress=False)
    assert saved == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_picture_that_cannot_be_read_costs_nothing(town_copy, tmp_path):
    pictures = sorted((town_copy / "train").iterdir())
    content = pictures[7].read_bytes()
    pictures[7].write_bytes(content[:100])
    for workers in (0, 1):
        out = tmp_path / f"run{workers}"
        with pytest.raises(
            OSError, match=rf"the batch after step \d+ cannot be read: .*{pictures[7].name}.*safe up to step \d+"
        ) as e:
            train(CONFIG, RECIPE, town_copy, out, workers=workers, progress=False)
        assert "\n" not in str(e.value)
        assert len(list(out.glob("checkpoint-*.pth"))) == 1
    pictures[7].write_bytes(content)
    resumed = train(CONFIG, RECIPE, town_copy, tmp_path / "run0", resume=True, progress=False)
    whole = train(CONFIG, RECIPE, town_copy, tmp_path / "whole", progress=False)
    assert torch.equal(resumed.query_embed.weight, whole.query_embed.weight)


def test_a_bug_in_a_transform_keeps_its_traceback(town, tmp_path, monkeypatch):
    def misspelled(self, draw):
        return draw.colour

    monkeypatch.setattr(SeededImages, "__getitem__", misspelled)
    for workers in (0, 1):
        out = tmp_path / f"run{workers}"
        with pytest.raises(AttributeError, match="'tuple' object has no attribute 'colour'"):
            train(CONFIG, RECIPE, town, out, workers=workers, progress=False)
        assert len(list(out.glob("checkpoint-*.pth"))) == 1, "what was trained is saved all the same"


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing(town, tmp_path, monkeypatch):
    original = SeededImages.__getitem__

    def die_of_one_picture(self, draw):
        if draw[0] == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, draw)

    monkeypatch.setattr(SeededImages, "__getitem__", die_of_one_picture)
    with pytest.raises(OSError, match=r"cannot be read: .*worker.*fewer of them.*safe up to step \d+$"):
        train(CONFIG, RECIPE, town, tmp_path, workers=1, progress=False)
    monkeypatch.setattr(SeededImages, "__getitem__", original)
    resumed = train(CONFIG, RECIPE, town, tmp_path, resume=True, progress=False)
    whole = train(CONFIG, RECIPE, town, tmp_path / "whole", progress=False)
    assert torch.equal(resumed.query_embed.weight, whole.query_embed.weight)


def test_a_worker_that_dies_during_a_step_costs_nothing(town, tmp_path, monkeypatch):
    """In ``backward()``, where torch's own handler would raise; the step is finished, and saved."""
    original, others = Tensor.backward, set(multiprocessing.active_children())

    def kill_the_worker(self):
        original(self)
        for worker in set(multiprocessing.active_children()) - others:
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
        for _ in range(100):  # instructions between which a handler would run
            time.sleep(0.001)

    monkeypatch.setattr(Tensor, "backward", kill_the_worker)
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(StorageError, match=r"after step (\d+) cannot be read: .*worker.*safe up to step \1$"):
        train(CONFIG, replace(RECIPE, epochs=9), town, tmp_path, workers=1, progress=False)
    assert signal.getsignal(signal.SIGCHLD) is handler
    assert CheckpointFolder(tmp_path).newest()[1]["batch"] > 0


def test_same_seed_same_weights_and_another_seed_others(town, tmp_path):
    once = {}
    recipe = replace(RECIPE, epochs=1)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model = train(CONFIG, recipe, town, tmp_path / name, seed=seed, progress=False)
        once[name] = model.query_embed.weight
    assert torch.equal(once["a"], once["b"])
    assert not torch.equal(once["a"], once["c"])


def test_a_run_that_is_watched_trains_to_the_same_weights(town, tmp_path):
    seen = []

    def callback(step, model):
        model.eval()(a_batch()[0])
        seen.append(step)

    alone = train(CONFIG, RECIPE, town, tmp_path / "alone", progress=False)
    watched = train(CONFIG, RECIPE, town, tmp_path / "watched", progress=False, callback=callback)
    assert seen == list(range(len(seen)))
    assert len(seen) > 3
    for name, value in alone.state_dict().items():
        assert watched.state_dict()[name].equal(value), name


def test_a_model_trains_on_from_its_own_weights(town, tmp_path):
    torch.manual_seed(5)
    start = DETR(CONFIG)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    recipe = replace(RECIPE, epochs=1, lr=0.0, lr_backbone=0.0)
    trained = train(start, recipe, town, tmp_path, progress=False)
    for name, parameter in trained.named_parameters():
        assert parameter.equal(before[name]), name


def test_a_checkpoint_from_before_a_field_had_its_default(tmp_path):
    """A recipe grows; a run that was begun earlier can still be gone on with."""
    run_in(tmp_path).save()
    (path,) = tmp_path.glob("checkpoint-*.pth")
    state = torch.load(path, weights_only=True)
    del state["recipe"]["giou_loss_coef"]
    path.unlink()
    torch.save(state, tmp_path / "checkpoint-00000001-x.pth")
    with pytest.raises(ValueError, match="giou_loss_coef=2"):
        run_in(tmp_path, replace(RECIPE, giou_loss_coef=1.0), resume=True)
    run_in(tmp_path, resume=True)


def test_a_finished_run_is_not_overwritten(town, tmp_path):
    run_in(tmp_path).save()
    with pytest.raises(FileExistsError, match="holds a run already: resume it"):
        train(CONFIG, RECIPE, town, tmp_path, progress=False)


def test_resuming_nothing_starts_and_says_so(town, tmp_path, capsys):
    train(CONFIG, replace(RECIPE, epochs=1), town, tmp_path, resume=True, progress=False)
    assert f"no run in {tmp_path} yet" in capsys.readouterr().err
    assert list(tmp_path.glob("checkpoint-*.pth"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": replace(CONFIG, num_queries=16)}, "config num_queries=15 .now 16."),
        ({"recipe": replace(RECIPE, lr=0.5)}, "recipe lr=0.001 .now 0.5."),
        ({"seed": 3}, "seed 0, not 3"),
        ({"pictures": 31}, "pictures 32, not 31"),
    ],
)
def test_resuming_another_run_says_what_differs(tmp_path, change, message):
    run_in(tmp_path).save()
    wanted = {"config": CONFIG, "recipe": RECIPE, "seed": 0, "pictures": 32} | change
    with pytest.raises(ValueError, match=message):
        Trainer(wanted["config"], wanted["recipe"], tmp_path, wanted["pictures"], seed=wanted["seed"], resume=True)


def test_too_few_classes_for_the_data(town, tmp_path):
    with pytest.raises(ValueError, match="num_classes >= 14, not 5"):
        train(replace(CONFIG, num_classes=5), RECIPE, town, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_negative_number_of_workers(town, tmp_path):
    with pytest.raises(ValueError, match="workers=-1 must not be negative"):
        train(CONFIG, RECIPE, town, tmp_path / "run", workers=-1, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("detr_mini.training.trainer.LOG_EVERY", 1)
    run = run_in(tmp_path, replace(RECIPE, lr=7.0))
    monkeypatch.setattr(run.criterion, "total", lambda losses: losses["loss_ce"].sum() * float("nan"))
    with pytest.raises(FloatingPointError, match=r"the loss is nan in step 1 .*lr, now 7\.0.*Nothing is saved yet"):
        run.step(*a_batch())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    run = run_in(tmp_path)
    run.save()
    with torch.no_grad():
        run.model.class_embed.bias[3] = float("inf")
    with pytest.raises(FloatingPointError, match=r"class_embed\.bias is not finite.*safe up to step 0"):
        run.save()
    assert len(list(tmp_path.glob("checkpoint-*"))) == 1


def test_an_error_of_the_loss_names_the_pictures(tmp_path):
    run = run_in(tmp_path)
    samples, targets = a_batch()
    targets[1]["labels"] = torch.tensor([2, 99])
    with pytest.raises(ValueError, match=r"step 1, pictures with the ids \[40, 41\]: image 1 .*99"):
        run.step(samples, targets)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(town, tmp_path, capsys):
    whole = train(CONFIG, RECIPE, town, tmp_path / "whole", progress=False)
    train(CONFIG, RECIPE, town, tmp_path / "run", save_every=0.0, progress=False)
    _, newest = sorted((tmp_path / "run").glob("checkpoint-*.pth"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 3] ^= 1  # a single bit
    newest.write_bytes(content)
    resumed = train(CONFIG, RECIPE, town, tmp_path / "run", resume=True, progress=False)
    assert f"{newest} is damaged" in capsys.readouterr().err
    assert torch.equal(resumed.query_embed.weight, whole.query_embed.weight)
    assert read_log(tmp_path / "run") == read_log(tmp_path / "whole")
    for checkpoint in (tmp_path / "run").glob("checkpoint-*.pth"):
        checkpoint.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint in .* is sound.*remove them"):
        train(CONFIG, RECIPE, town, tmp_path / "run", resume=True, progress=False)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save({"model": {}}, tmp_path / "checkpoint-00000003-x.pth")
    with pytest.raises(ValueError, match=r"checkpoint-00000003-x\.pth holds no training run"):
        run_in(tmp_path, resume=True)
