"""The benchmarks as programs: what they compare is equal, what they count is counted. Nothing here is timed."""

import copy
import functools
import gc
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import __main__ as command
from benchmarks import course, deformable, loss, masks, measure, models, seq2seq, training
from benchmarks.measure import Quartiles, Settings, compare, sample
from benchmarks.plain import PlainTransformer
from benchmarks.pretend import DEVICE, CountHostCopies
from benchmarks.report import Row, table
from detr_mini import SetCriterion
from detr_mini.modeling.config import get_config
from detr_mini.modeling.seq2seq import Seq2SeqTransformer
from detr_mini.modeling.transformer import Transformer

ONCE = Settings(1, torch.device("cpu"))
SMALL = models.Widths(d=32, heads=4, layers=2, dim_feedforward=48, queries=7)
CONFIG = get_config("nano", hidden_dim=16, nheads=2, enc_layers=1, dec_layers=2, num_queries=15)
FEW = {"enc_layers": 1, "dec_layers": 2, "num_queries": 10}
pytest.importorskip("transformers")


# --- how things are measured


class FakeClock:
    """A clock that stands still but for what the functions add, in a machine that gets slower and faster."""

    def __init__(self, paces: list[float]) -> None:
        self.now, self.paces, self.calls = 0.0, paces, []

    def __call__(self) -> float:
        return self.now

    def takes(self, name: str, seconds: float) -> None:
        assert not gc.isenabled() or len(self.calls) < 4, "a garbage collection may fall into a sample"
        self.calls.append(name)
        self.now += seconds * self.paces[(len(self.calls) - 1) // 2]


def test_rounds_alternate_and_a_slow_machine_leaves_the_ratio_alone() -> None:
    clock = FakeClock([1, 1, 1, 10, 2, 1, 5])  # two rounds to warm up, five that count
    peer, ours = partial(clock.takes, "peer", 6.0), partial(clock.takes, "ours", 2.0)
    comparison = compare(peer, ours, Settings(5, torch.device("cpu")), clock)
    assert clock.calls[4:] == ["peer", "ours", "ours", "peer", "peer", "ours", "ours", "peer", "peer", "ours"]
    assert comparison.ratio == Quartiles(3, 3, 3)
    assert comparison.peer == Quartiles(6, 12, 30)
    assert comparison.ours == Quartiles(2, 4, 10)
    assert gc.isenabled()


def test_quick_functions_are_called_several_times_in_a_sample() -> None:
    clock = FakeClock([1] * 1000)
    compare(partial(clock.takes, "peer", 0.009), partial(clock.takes, "ours", 0.5), ONCE, clock)
    assert clock.calls[4:] == ["peer"] * 3 + ["ours"]


def test_a_sample_is_the_time_of_one_call() -> None:
    clock = FakeClock([1] * 10)
    assert sample(partial(clock.takes, "it", 3.0), 4, torch.device("cpu"), clock) == 3.0
    assert len(clock.calls) == 4


def test_quartiles() -> None:
    assert Quartiles.of([5, 1, 2, 4, 3]) == Quartiles(2, 3, 4)
    assert Quartiles.of([7.0]) == Quartiles(7, 7, 7)
    assert Quartiles(0.0012345, 0.0123456, 1.8).show(1e3, "ms") == "12.3 [1.23, 1800] ms"
    assert Quartiles(2, 3, 400).show() == "3.00 [2.00, 400]"


# --- deformable attention


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("queries", [None, 7])
def test_deformable_attention_is_compared_with_equal_results(queries: int | None, backward: bool) -> None:
    row = deformable.operator(ONCE, target=0.0, queries=queries, backward=backward, levels=((6, 8), (3, 4)))
    assert row.what.endswith("forward and backward" if backward else "forward")
    assert ("7 queries on 60 cells" if queries else "encoder, 60 cells") in row.what
    assert row.reached


def test_unequal_deformable_attention_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(deformable.FUNCTIONS, "ours", lambda *inputs: deformable.peer_function(*inputs) + 0.01)
    with pytest.raises(AssertionError):
        deformable.operator(ONCE, target=0.0, queries=5, backward=False, levels=((6, 8),))


@pytest.mark.slow
def test_memory_of_deformable_attention() -> None:
    row = deformable.memory(ONCE, target=0.0, levels=((40, 50), (20, 25)))
    assert row.ours.endswith("MiB")
    assert row.reached


# --- the plain transformer


def test_the_plain_transformer_is_the_same_function() -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"enc_layers": 2, "dec_layers": 3, "dim_feedforward": 48, "dropout": 0.0}
    ours, plain = Transformer(32, 4, **sizes, pre_norm=False), PlainTransformer(32, 4, **sizes)
    plain.load_state_dict(ours.state_dict(), strict=True)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[1, 3:] = mask[1, :, 3:] = True
    features, pos, queries = torch.randn(2, 32, 4, 5), torch.randn(2, 32, 4, 5), torch.randn(7, 32)
    for padding in (None, mask):
        found, wanted = ours(features, padding, queries, pos), plain(features, padding, queries, pos)
        assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        assert wanted[0].shape == (3, 2, 7, 32)


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor made."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            self.elements = max(self.elements, tensor.numel() if isinstance(tensor, Tensor) else 0)
        return result


def test_the_plain_transformer_stores_its_attention_weights_and_ours_does_not() -> None:
    inputs = models.make_inputs(SMALL, (12, 12), torch.device("cpu"))
    made = {}
    for name, model in models.make_transformers(SMALL).items():
        with Largest() as largest:
            model(*inputs)
        made[name] = largest.elements
    assert made["plain"] == SMALL.heads * 144**2
    assert made["ours"] < made["plain"] / 4


# --- matcher and loss


@pytest.mark.parametrize("name", ["loss-b2-t20", "loss-b16-t20", "loss-b16-t60"])
def test_loss_cases_agree_with_hugging_face(name: str) -> None:
    sizes = loss.CASES[name].keywords["sizes"]
    batch = loss.make_batch(sizes)
    assert batch.logits[0].shape == (sizes.batch, 100, 92)
    assert batch.boxes[0].shape == (sizes.batch, 100, 4)
    assert len(batch.logits) == len(batch.boxes) == 6
    assert len(batch.targets) == sizes.batch
    assert all(len(target["labels"]) == sizes.objects for target in batch.targets)
    theirs, _ = loss.both_steps(replace(sizes, batch=2), torch.device("cpu"))  # asserts that they agree
    assert theirs()[0] > 1


TINY = loss.Sizes(batch=2, objects=3, layers=2, queries=6, classes=5)


@pytest.mark.parametrize("make_step", [loss.our_step, loss.their_step])
def test_a_step_begins_anew(make_step: Any) -> None:
    batch = loss.make_batch(TINY).to(torch.device("cpu"))
    step = make_step(TINY, batch)
    (first, gradients), second = step(), step()
    assert len(gradients) == 2 * TINY.layers
    assert_close(second, (first, gradients), rtol=0, atol=0)


def test_another_loss_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loss.loss(ONCE, TINY, target=0).reached
    total = SetCriterion.total
    monkeypatch.setattr(SetCriterion, "total", lambda self, losses: total(self, losses) + 0.01)
    with pytest.raises(AssertionError):
        loss.loss(ONCE, TINY, target=0)


def test_another_gradient_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    total = SetCriterion.total

    def steeper(self: SetCriterion, losses: dict[str, Tensor]) -> Tensor:
        return total(self, losses) + 0.01 * (losses["loss_giou"] - losses["loss_giou"].detach())

    monkeypatch.setattr(SetCriterion, "total", steeper)
    with pytest.raises(AssertionError):
        loss.loss(ONCE, TINY, target=0)


def test_operators_are_counted_with_and_without_those_inside_others() -> None:
    x, y = torch.ones(2, 3), torch.ones(3, 2)

    def step() -> Tensor:
        return torch.matmul(x, y).relu()  # matmul calls mm, relu calls clamp_min or nothing

    outside, in_all = loss.count_operators(step)
    assert outside == 2
    assert in_all > 2
    row = loss.operators(ONCE, TINY, target=10)
    assert not row.reached
    assert int(row.theirs.split()[0]) > int(row.ours.split()[0]) > 10


def test_copies_to_the_host_are_counted_on_a_device_that_is_not_there() -> None:
    with CountHostCopies() as copies:
        x = torch.arange(6.0).to(DEVICE)
        labels = torch.tensor([0, 2], device=DEVICE)
        y = torch.full((2,), 3.0, device=x.device) + x[labels] + torch.as_tensor([1, 2]).to(x.device, non_blocking=True)
        y.requires_grad_().square().sum().backward()
        assert copies.count == 0
        assert y.device == DEVICE
        for reads, expected in (
            (lambda: y.grad.cpu().tolist(), [8.0, 14.0]),
            (lambda: x.to("cpu").numpy().tolist(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            (lambda: x.sum().item(), 15.0),
            (lambda: x.tolist(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            (lambda: bool((x > 3).any()), True),
            (lambda: int(x[3]), 3),
            (lambda: len(x[x > 3]), 2),
            (lambda: len((x > 3).nonzero()), 2),
            (lambda: torch.zeros(6).copy_(x).sum().item(), 15.0),
        ):
            before = copies.count
            assert reads() == expected
            assert copies.count == before + 1
    with pytest.raises(RuntimeError, match="outside CountHostCopies"):
        x + 1


def test_a_step_that_asks_the_device_more_often_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    row = loss.host_copies(ONCE, TINY)
    assert int(row.theirs) == 11  # five for each layer, and the number of boxes
    total = SetCriterion.total

    def curious(self: SetCriterion, losses: dict[str, Tensor]) -> Tensor:
        assert all(value.isfinite() for value in losses.values())
        return total(self, losses)

    monkeypatch.setattr(SetCriterion, "total", curious)
    assert int(loss.host_copies(ONCE, TINY).ours) == int(row.ours) + 9


# --- forward passes, memory, training


def test_the_transformer_case_runs_and_refuses_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    row = models.transformer(ONCE, (3, 4), target=0, widths=SMALL)
    assert "12 tokens" in row.what
    make = models.make_transformers

    def spoiled(widths: models.Widths) -> dict[str, torch.nn.Module]:
        made = make(widths)
        with torch.no_grad():
            made["ours"].decoder.norm.weight *= 1.01
        return made

    monkeypatch.setattr(models, "make_transformers", spoiled)
    with pytest.raises(AssertionError):
        models.transformer(ONCE, (3, 4), target=0, widths=SMALL)


def test_memory_is_that_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, device = (20, 20), torch.device("cpu")
    levels = iter([(100, 300), (150, 350)])
    monkeypatch.setattr(measure, "resident_memory", lambda: next(levels))
    used, plain_sum = models.training_memory("plain", cells, SMALL, device)
    assert used == 250
    monkeypatch.undo()
    call = "benchmarks.models", "training_memory"
    used, our_sum = models.in_fresh_process(call, f"'ours', {cells}, {SMALL!r}", device)
    assert our_sum == pytest.approx(plain_sum, rel=1e-3)
    assert 2**16 < used < 2**26
    sides = {"plain": (600, plain_sum), "ours": (100, our_sum)}
    monkeypatch.setattr(models, "in_fresh_process", lambda call, arguments, _: sides[arguments.split("'")[1]])
    row = models.memory(ONCE, cells, target=5, widths=SMALL)
    assert (row.ratio, row.reached) == ("6.00", True)
    sides["ours"] = (100, 1.1 * our_sum)
    with pytest.raises(AssertionError):
        models.memory(ONCE, cells, target=5, widths=SMALL)


def test_the_detector_cases_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "make_detectors", functools.cache(models.make_detectors))
    tolerances = []
    compare_outputs = models.compare_outputs

    def remember(found: Any, wanted: Any, tolerance: float) -> None:
        tolerances.append(tolerance)
        compare_outputs(found, wanted, tolerance)

    monkeypatch.setattr(models, "compare_outputs", remember)
    for bf16 in (False, True):
        row = models.detector(ONCE, 0, bf16, picture=(96, 130), **FEW)
        assert ("bf16" in row.what) == bf16
        assert row.reached
    assert tolerances == [1e-3, 0.25]


def test_other_outputs_are_told_from_equal_ones() -> None:
    torch.manual_seed(0)
    logits, boxes = torch.randn(1, 10, 4), torch.rand(1, 10, 4)
    wanted = SimpleNamespace(logits=logits, pred_boxes=boxes)
    models.compare_outputs({"pred_logits": logits + 1e-4, "pred_boxes": boxes}, wanted, tolerance=1e-3)
    with pytest.raises(AssertionError, match="pred_boxes: ours differs"):
        models.compare_outputs({"pred_logits": logits, "pred_boxes": boxes.flip(1)}, wanted, tolerance=0.25)
    alike = SimpleNamespace(logits=logits[:, :1].expand(1, 10, 4), pred_boxes=boxes)
    with pytest.raises(AssertionError, match="nothing to compare"):
        models.compare_outputs({"pred_logits": alike.logits, "pred_boxes": boxes}, alike, tolerance=0.25)


# --- masks

WITH_MASKS = {"enc_layers": 1, "dec_layers": 2, "num_queries": 23}  # of which 20 are matched


@pytest.fixture(scope="module")
def models_with_masks() -> masks.Models:
    return masks.make_models(**WITH_MASKS)


@pytest.fixture
def spoiled(models_with_masks: masks.Models) -> masks.Models:
    """Their model, and ours with something added to the bias of the head's last convolution."""
    theirs, ours = models_with_masks[0], copy.deepcopy(models_with_masks[1])
    with torch.no_grad():
        ours.mask_head.out_lay.bias += 0.01
    return theirs, ours


def test_the_cases_with_masks_run(models_with_masks: masks.Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "make_models", lambda: models_with_masks)
    rows = [case(ONCE, target=0, picture=(64, 97)) for case in (masks.forward, masks.train)]
    assert all(row.reached and "64x97" in row.what for row in rows)


@pytest.mark.parametrize(("case", "message"), [(masks.forward, "pred_masks: ours differs"), (masks.train, "close")])
def test_other_masks_are_not_timed(
    case: Any, message: str, spoiled: masks.Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "make_models", lambda: spoiled)
    with pytest.raises(AssertionError, match=message):
        case(ONCE, target=0, picture=(64, 97))


def test_a_step_of_the_mask_head_leaves_the_detector_alone(models_with_masks: masks.Models) -> None:
    steps = masks.training_steps(models_with_masks, (64, 97), ONCE.device)
    made = []
    head = models_with_masks[1].mask_head
    hook = head.register_forward_hook(lambda module, inputs, output: made.append(len(output)))
    found, wanted = steps["ours"](), steps["peer"]()
    hook.remove()
    assert made == [masks.OBJECTS]
    assert {name.split(".")[0] for name in wanted[1]} == {"mask_head", "bbox_attention"}
    masks.compare_gradients(found, wanted)
    name = "bbox_attention.k_linear.bias"
    with pytest.raises(AssertionError, match=f"{name}: gradients differ by"):
        masks.compare_gradients((found[0], found[1] | {name: 1.01 * found[1][name]}), wanted)
    with pytest.raises(AssertionError, match="nothing to compare"):
        masks.compare_gradients(found, (wanted[0], wanted[1] | {name: 0 * wanted[1][name]}))


@pytest.mark.parametrize("backward", [False, True])
def test_memory_with_masks_is_that_of_equal_results(
    backward: bool, models_with_masks: masks.Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "make_models", lambda: models_with_masks)
    picture = (64, 97)
    sides = {}
    for side, peak in (("peer", 800), ("ours", 300)):
        levels = iter([(200, 900), (250, peak)])
        monkeypatch.setattr(measure, "resident_memory", lambda levels=levels: next(levels))
        torch.manual_seed(1)
        sides[side] = masks.memory_of(side, backward, picture, {}, ONCE.device)
    assert (sides["peer"][0], sides["ours"][0]) == (600, 100)
    monkeypatch.setattr(masks, "in_fresh_process", lambda call, arguments, _: sides[arguments.split("'")[1]])
    row = masks.memory(ONCE, target=5, backward=backward, picture=picture)
    assert (row.ratio, row.reached, "train step" in row.what) == ("6.00", True, backward)
    sides["ours"] = (100, 1.1 * sides["ours"][1])
    with pytest.raises(AssertionError):
        masks.memory(ONCE, target=5, backward=backward, picture=picture)


@pytest.mark.slow
def test_memory_with_masks() -> None:
    row = masks.memory(ONCE, target=1.0, backward=True, picture=(128, 192), **WITH_MASKS)
    assert row.ours.endswith("MiB")
    assert row.reached


# --- training


def test_training_steps_agree_with_hugging_face() -> None:
    theirs, ours, _ = models.make_detectors((32, 32), **FEW)
    training.compare_steps(theirs.train(), ours.train(), torch.device("cpu"))
    with torch.no_grad():
        ours.bbox_embed.layers[-1].bias += 0.5
    with pytest.raises(AssertionError):
        training.compare_steps(theirs, ours, torch.device("cpu"))


def test_the_share_outside_is_what_no_piece_fills() -> None:
    starts = [10.0 * n for n in range(10)]  # steps of ten seconds
    calls = {
        "forward": [(t, t + 3) for t in starts],
        "loss": [(t + 3, t + 4) for t in starts],
        "total": [(t + 4, t + 4.5) for t in starts],
        "backward": [(t + 5, t + 9) for t in starts],
    }
    share, seconds = training.share_outside(calls)
    assert share == pytest.approx(0.15)
    assert seconds == pytest.approx(10)
    calls["backward"].pop()
    with pytest.raises(AssertionError, match="'backward': 9"):
        training.share_outside(calls)


def test_the_share_is_that_of_a_real_run(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[Any] = []
    measured = training.share_outside
    monkeypatch.setattr(training, "share_outside", lambda calls: shares.append(calls) or measured(calls))
    row = training.nano_step(ONCE, target=1.0, scenes=56, config=CONFIG)
    assert row.reached
    assert "%" in row.ours
    (calls,) = shares
    assert [len(times) for times in calls.values()] == [7] * 4  # the evaluation's forward passes do not count


@pytest.mark.slow
def test_the_clock_of_the_quick_recipe_stops_when_the_model_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.5, 0.91, 0.99])
    monkeypatch.setattr(training, "evaluate", lambda model, data: {"AP50": next(scores)})
    small = {"scenes": (48, 2), "every": 2, "first": 2}
    row = training.minutes_to_ap50(ONCE, target=5.0, **small)
    assert row.reached
    assert row.ours.endswith(" min, 4 steps")
    monkeypatch.setattr(training, "evaluate", lambda model, data: {"AP50": 0.1})
    row = training.minutes_to_ap50(ONCE, target=5.0, recipe=replace(training.RECIPES["quick"], epochs=1), **small)
    assert not row.reached
    assert row.ours.startswith("not in ")


def test_the_import_case_takes_what_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([(9.0, 9.0), (2.0, 0.25), (2.1, 0.35), (2.2, 0.27)])
    monkeypatch.setattr(training, "_seconds_to_import", lambda: next(seconds))
    row = training.import_time(replace(ONCE, rounds=3))
    assert row.reached
    assert row.ours.startswith("0.270 ")
    monkeypatch.undo()
    theirs, ours = training._seconds_to_import()
    assert theirs > ours > 0


# --- the command


def test_the_table_is_markdown() -> None:
    rows = [
        Row("this", "them", "2 ms", "1 ms", "2.0", "at least 3", False),
        Row("that", "", "", "5", "", "at most 9", True),
    ]
    lines = table(rows, torch.device("cpu"), 15).splitlines()
    assert "| this | them | 2 ms | 1 ms | 2.0 | at least 3 | **missed** |" in lines
    assert "| that |  |  | 5 |  | at most 9 | reached |" in lines
    assert not [line for line in lines if line.startswith("- Missed")]
    assert f"| torch | {torch.__version__.split('+')[0]}" in "\n".join(lines)
    assert all(line.count("|") in (0, 3, 8) for line in lines)


def test_a_target_that_is_missed_gets_its_reason() -> None:
    rows = [Row("this", "", "", "9", "", "at most 5", False, "hard."), Row("that", "", "", "1", "", "", True, "easy.")]
    assert table(rows, torch.device("cpu"), 15).endswith("\n\n- Missed, this: hard.\n")


@pytest.fixture
def fake_cases(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    for name in command.CASES:
        row = Row(name, "", "", "", "", "", True)
        monkeypatch.setitem(command.CASES, name, lambda settings, row=row: row)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return tmp_path


def test_the_command_writes_all_cases_and_prints_some(fake_cases: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--device", "cpu", "import"])
    assert "| import |" in capsys.readouterr().out
    assert not (fake_cases / "RESULTS.md").exists(), "a table of some cases must not replace that of all"
    command.main(["--device", "cpu"])
    text = (fake_cases / "RESULTS.md").read_text()
    assert all(f"| {name} |" in text for name in command.CASES)
    command.main(["--device", "cpu", "operators", "--out", str(fake_cases / "some.md")])
    assert "| operators |" in (fake_cases / "some.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lost"], "there is no case 'lost'; there are loss-b2-t20, "),
        (["detr-r50-train-cuda", "--device", "cpu"], "detr-r50-train-cuda needs CUDA"),
        (["--rounds", "0"], "'0' is not a whole number from 1 up"),
    ],
)
def test_a_wrong_command_says_what_would_be_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.parse(arguments)
    assert message in capsys.readouterr().err


def test_help_has_examples_and_the_cases(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parse(["--help"])
    text = capsys.readouterr().out
    assert "python -m benchmarks loss-b2-t20" in text
    assert all(name in text for name in (*command.CASES, *command.CUDA_CASES))


# --- the Transformer of 2017

FEW_WORDS = seq2seq.Sizes("a tiny one", 16, 2, 1, 32, sentences=5, words=6)


@pytest.mark.parametrize("backward", [False, True])
def test_the_seq2seq_cases_run_and_refuse_other_weights(backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    row = seq2seq.forward(ONCE, FEW_WORDS, 0.0, backward)
    assert row.reached
    assert ("backward" in row.what) == backward
    monkeypatch.setattr(seq2seq, "peer_logits", lambda ours, theirs, source, target: 1.1 * ours(source, target))
    with pytest.raises(AssertionError, match="not close"):
        seq2seq.forward(ONCE, FEW_WORDS, 0.0, backward)


@pytest.mark.parametrize("against_peer", [False, True])
def test_writing_is_timed_on_equal_sentences_alone(against_peer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    row = seq2seq.decoding(ONCE, FEW_WORDS, 0.0, against_peer, length=7)
    assert row.reached
    assert "7 words" in row.what
    generate = Seq2SeqTransformer.generate

    def other(self: Seq2SeqTransformer, source: torch.Tensor, length: int, use_cache: bool = True) -> torch.Tensor:
        return generate(self, source, length, use_cache=use_cache) + use_cache

    monkeypatch.setattr(Seq2SeqTransformer, "generate", other)
    with pytest.raises(AssertionError, match="not write the same words"):
        seq2seq.decoding(ONCE, FEW_WORDS, 0.0, against_peer, length=7)


# --- the classroom


@pytest.mark.slow
def test_the_course_case_runs() -> None:
    row = course.minutes_to_grade(ONCE, target=0, students=3, wanted=["10"])
    assert row.what == "minutes to make a course, nbgrader, 1 chapters, and grade 3 students, two processes"
    assert not row.reached


def test_other_grades_than_those_that_are_due_are_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = SimpleNamespace(find_submission=lambda name, student: SimpleNamespace(score=2.0))
    monkeypatch.setattr("nbgrader.api.Gradebook", lambda address: nullcontext(book))
    course._compare(tmp_path, {"10_detr": {"student-00": 2}})
    with pytest.raises(AssertionError, match=r"student-00 has 2\.0 points in 10_detr, not 4"):
        course._compare(tmp_path, {"10_detr": {"student-00": 4}})
