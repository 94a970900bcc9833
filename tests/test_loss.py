"""The losses against a slow loop written from the paper: per layer, per image, per pair."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import sigmoid_focal_loss

from detr_mini import HungarianMatcher, SetCriterion, build_criterion
from detr_mini.class_terms import FocalTerm, SoftmaxTerm
from detr_mini.loss import flatten_layers, gather_targets, name_layers
from detr_mini.modeling.config import get_config

CLASSES = 4
crowded = pytest.mark.filterwarnings("ignore:image . of the batch has .* objects")
Scene = tuple[dict[str, Any], list[dict[str, Tensor]]]


def scene(n: int, counts: list[int], layers: int = 3, seed: int = 0) -> Scene:
    rng = torch.Generator().manual_seed(seed)

    def boxes(*shape: int) -> Tensor:
        size = 0.1 + 0.4 * torch.rand(*shape, 2, generator=rng)
        return torch.cat([size / 2 + (1 - size) * torch.rand(*shape, 2, generator=rng), size], dim=-1)

    made = [
        {
            "pred_logits": (2 * torch.randn(len(counts), n, CLASSES + 1, generator=rng)).requires_grad_(),
            "pred_boxes": boxes(len(counts), n).requires_grad_(),
        }
        for _ in range(layers)
    ]
    targets = [{"labels": torch.randint(CLASSES, (t,), generator=rng), "boxes": boxes(t)} for t in counts]
    return {**made[-1], "aux_outputs": made[:-1]}, targets


def criterion(**changes: Any) -> SetCriterion:
    return SetCriterion(CLASSES, HungarianMatcher(), **changes)


def slow_giou(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.unbind(), b.unbind()

    def span(p: Tensor, q: Tensor, r: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Length that two intervals share, and length of the interval around both."""
        first, second = (p - q / 2, p + q / 2), (r - s / 2, r + s / 2)
        shared = (torch.min(first[1], second[1]) - torch.max(first[0], second[0])).clamp(min=0)
        return shared, torch.max(first[1], second[1]) - torch.min(first[0], second[0])

    (shared_x, around_x), (shared_y, around_y) = span(ax, aw, bx, bw), span(ay, ah, by, bh)
    shared, hull = shared_x * shared_y, around_x * around_y
    union = aw * ah + bw * bh - shared
    return shared / union - (hull - union) / hull


def slow_losses(outputs: dict[str, Any], targets: list[dict[str, Tensor]], eos_coef: float) -> dict[str, Tensor]:
    """Section 3.1 of the paper with the weights of A.4, in double precision, one pair at a time."""
    result: dict[str, Tensor] = {}
    boxes_in_batch = max(sum(len(t["labels"]) for t in targets), 1)
    numbered = [(f"_{i}", layer) for i, layer in enumerate(outputs["aux_outputs"])] + [("", outputs)]
    for suffix, layer in numbered:
        log_p = layer["pred_logits"].double().log_softmax(-1)
        nll, weight, l1, giou, cardinality = (torch.zeros((), dtype=torch.float64) for _ in range(5))
        right = matched = 0
        for image, (query, target) in enumerate(HungarianMatcher()(layer, targets)):
            answer = dict(zip(query.tolist(), target.tolist(), strict=True))
            seen = 0
            for q in range(log_p.shape[1]):
                best = log_p[image, q].argmax().item()
                seen += best != CLASSES
                if q not in answer:
                    nll, weight = nll - eos_coef * log_p[image, q, CLASSES], weight + eos_coef
                    continue
                label = targets[image]["labels"][answer[q]].item()
                goal, box = targets[image]["boxes"][answer[q]].double(), layer["pred_boxes"][image, q].double()
                nll, weight = nll - log_p[image, q, int(label)], weight + 1
                l1 = l1 + sum((x - y).abs() for x, y in zip(box, goal, strict=True))
                giou = giou + 1 - slow_giou(box, goal)
                matched, right = matched + 1, right + (best == label)
            cardinality = cardinality + abs(seen - len(targets[image]["labels"])) / len(targets)
        result[f"loss_ce{suffix}"] = nll / weight
        result[f"loss_bbox{suffix}"] = l1 / boxes_in_batch
        result[f"loss_giou{suffix}"] = giou / boxes_in_batch
        result[f"cardinality_error{suffix}"] = cardinality
    result["class_error"] = torch.tensor(100 - 100 * right / max(matched, 1), dtype=torch.float64)
    return result


def check(outputs: dict[str, Any], targets: list[dict[str, Tensor]], eos_coef: float = 0.1) -> None:
    ours, slow = criterion(eos_coef=eos_coef)(outputs, targets), slow_losses(outputs, targets, eos_coef)
    assert ours.keys() == slow.keys()
    assert_close({name: value.double() for name, value in ours.items()}, slow, rtol=1e-4, atol=1e-5)


@crowded
@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 6),
    counts=st.lists(st.integers(0, 8), min_size=1, max_size=3),
    layers=st.integers(1, 3),
    eos_coef=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 100_000),
)
def test_as_the_slow_loop(n: int, counts: list[int], layers: int, eos_coef: float, seed: int) -> None:
    check(*scene(n, counts, layers, seed), eos_coef)


@crowded
@pytest.mark.parametrize("counts", [[3, 2], [0, 3], [0, 0], [9, 1], [9, 0, 12]])
def test_as_the_slow_loop_with_empty_and_crowded_images(counts: list[int]) -> None:
    check(*scene(6, counts))


@crowded
def test_gradients_as_the_slow_loop() -> None:
    outputs, targets = scene(6, [3, 0, 8])
    layers = [*outputs["aux_outputs"], outputs]
    leaves = [layer[name] for layer in layers for name in ("pred_logits", "pred_boxes")]
    weights = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    total = criterion().total(criterion()(outputs, targets))
    slow = slow_losses(outputs, targets, 0.1)
    slow_total = torch.zeros((), dtype=torch.float64)
    for name, value in slow.items():
        slow_total = slow_total + weights.get(name.rstrip("_01"), 0.0) * value
    assert_close(total.double(), slow_total, rtol=1e-5, atol=1e-5)
    ours, wanted = torch.autograd.grad(total, leaves), torch.autograd.grad(slow_total, leaves)
    assert_close(ours, wanted, rtol=1e-4, atol=1e-6)
    assert all(grad.abs().sum() > 0 for grad in ours)


def focal_criterion() -> SetCriterion:
    """The published one of Deformable DETR."""
    weights = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    return SetCriterion(CLASSES, HungarianMatcher(2, 5, 2, FocalTerm()), weights, class_term=FocalTerm())


@crowded
@pytest.mark.parametrize("counts", [[3, 0, 8], [0, 0]])
def test_with_focal_loss_as_the_slow_loop(counts: list[int]) -> None:
    outputs, targets = scene(6, counts)
    outputs = changed(outputs, lambda value: value.detach()[..., :CLASSES].requires_grad_())  # K logits
    num_boxes = max(sum(counts), 1)
    losses = focal_criterion()(outputs, targets)
    for suffix, layer in zip(("_0", "_1", ""), layers_of(outputs), strict=True):
        one_hot, l1 = torch.zeros_like(layer["pred_logits"]), torch.zeros(())
        right, cardinality_error = [], 0.0
        for image, (query, target) in enumerate(focal_criterion().matcher(layer, targets)):
            logits, labels = layer["pred_logits"][image], targets[image]["labels"]
            for q, t in zip(query.tolist(), target.tolist(), strict=True):
                one_hot[image, q, labels[t]] = 1
                l1 = l1 + (layer["pred_boxes"][image, q] - targets[image]["boxes"][t]).abs().sum()
                right.append(float(logits[q].argmax() == labels[t]))
            cardinality_error += abs(sum(float(row.sigmoid().max() > 0.5) for row in logits) - len(labels))
        focal = sigmoid_focal_loss(layer["pred_logits"], one_hot, alpha=0.25, gamma=2, reduction="sum")
        assert_close(losses[f"loss_ce{suffix}"], focal / num_boxes)
        assert_close(losses[f"loss_bbox{suffix}"], l1 / num_boxes)
        assert losses[f"cardinality_error{suffix}"].item() == pytest.approx(cardinality_error / len(counts))
    assert losses["class_error"].item() == pytest.approx(100 - 100 * sum(right) / max(len(right), 1))
    total = focal_criterion().total(losses)
    total.backward()
    assert all(layer["pred_logits"].grad.abs().sum() > 0 for layer in layers_of(outputs))


def test_perfect_predictions() -> None:
    _, targets = scene(5, [3, 0])
    logits = torch.full((2, 5, CLASSES + 1), -50.0)
    boxes = torch.rand(2, 5, 4)
    logits[..., -1] = 50
    for query, label in enumerate(targets[0]["labels"]):
        logits[0, 4 - query] = -50
        logits[0, 4 - query, label] = 50
        boxes[0, 4 - query] = targets[0]["boxes"][query]
    losses = criterion()({"pred_logits": logits, "pred_boxes": boxes}, targets)
    assert losses.keys() == {"loss_ce", "loss_bbox", "loss_giou", "class_error", "cardinality_error"}
    for name, value in losses.items():
        assert value.abs() < 1e-5, name


def test_weights_of_a_batch_that_sees_nothing() -> None:
    """Two objects, three queries left over: equal logits cost log 5 whatever the weights; a sure "nothing" does not."""
    _, targets = scene(5, [2])
    outputs = {"pred_logits": torch.zeros(1, 5, CLASSES + 1), "pred_boxes": 0.1 + 0.8 * torch.rand(1, 5, 4)}
    assert_close(criterion()(outputs, targets)["loss_ce"], torch.tensor(5.0).log())
    outputs["pred_logits"][..., -1] = 20.0
    assert_close(criterion()(outputs, targets)["loss_ce"], torch.tensor(20 * 2 / (2 + 0.3)), rtol=1e-4, atol=1e-4)


def test_images_without_objects() -> None:
    outputs, targets = scene(5, [0, 0])
    losses = criterion()(outputs, targets)
    assert losses["class_error"] == 100
    for suffix in ("", "_0", "_1"):
        assert losses[f"loss_bbox{suffix}"] == 0
        assert losses[f"loss_giou{suffix}"] == 0
        assert losses[f"loss_ce{suffix}"] > 0
    criterion().total(losses).backward()
    assert outputs["pred_logits"].grad.isfinite().all()


def test_class_error_is_a_percentage_of_the_matched() -> None:
    _, targets = scene(4, [4])
    logits = torch.full((1, 4, CLASSES + 1), -9.0)
    for query, label in enumerate(targets[0]["labels"]):
        logits[0, query, label if query else (label + 1) % CLASSES] = 9  # the first one is wrong
    outputs = {"pred_logits": logits, "pred_boxes": targets[0]["boxes"][None]}
    assert criterion()(outputs, targets)["class_error"] == 25


def test_names_of_the_layers() -> None:
    losses = criterion()(*scene(4, [2], layers=6))
    per_layer = {f"{t}_{i}" for t in ("loss_ce", "loss_bbox", "loss_giou", "cardinality_error") for i in range(5)}
    last = {"loss_ce", "loss_bbox", "loss_giou", "cardinality_error", "class_error"}
    assert losses.keys() == per_layer | last


def test_total_weighs_every_layer_alike() -> None:
    names = ("loss_ce", "loss_bbox", "loss_giou")
    losses = {f"{name}{suffix}": torch.tensor(1.0) for name in names for suffix in ("", "_0", "_1", "_10")}
    logged = {"class_error": torch.tensor(77.0), "cardinality_error_0": torch.tensor(99.0)}
    assert criterion().total(losses | logged) == 4 * (1 + 5 + 2)
    mine = criterion(weight_dict={"loss_ce": 3.0, "loss_giou": 0.5})
    assert mine.total(losses | logged) == 4 * 3.5
    single = {"loss_ce": torch.tensor(1.0), "loss_bbox": torch.tensor(10.0), "loss_giou_3": torch.tensor(100.0)}
    assert criterion().total(single) == 1 + 50 + 200


@crowded
def test_a_tensor_over_the_layers_is_what_has_the_names() -> None:
    outputs, targets = scene(6, [3, 0, 8])
    ours = criterion()
    over_layers, named = ours.layer_losses(outputs, targets), ours(outputs, targets)
    assert {term: values.shape for term, values in over_layers.items()} == {
        "class_error": (1,),
        "loss_ce": (3,),
        "loss_bbox": (3,),
        "loss_giou": (3,),
        "cardinality_error": (3,),
    }
    for term, values in over_layers.items():
        names = [f"{term}_0", f"{term}_1", term] if len(values) == 3 else [term]
        assert values.tolist() == [named[name].item() for name in names]
    assert ours.total(over_layers).item() == ours.total(named).item()
    assert list(name_layers(over_layers)) == list(named)
    assert flatten_layers(over_layers).tolist() == flatten_layers(named).tolist() == [v.item() for v in named.values()]


def test_the_published_defaults() -> None:
    ours = criterion()
    assert ours.class_term == SoftmaxTerm(eos_coef=0.1)
    assert ours.weight_dict == {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2}


def test_build_criterion_puts_the_published_one_together() -> None:
    config = get_config("nano", num_classes=7)
    ours = build_criterion(config)
    assert ours.num_classes == 7
    assert (ours.matcher.cost_class, ours.matcher.cost_bbox, ours.matcher.cost_giou) == (1, 5, 2)
    assert ours.class_term == SoftmaxTerm(eos_coef=0.1)
    assert ours.weight_dict == {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2}
    ours = build_criterion(config, eos_coef=0.3, bbox_loss_coef=4.0, giou_loss_coef=1.5)
    assert ours.class_term == SoftmaxTerm(eos_coef=0.3)
    assert ours.weight_dict == {"loss_ce": 1, "loss_bbox": 4, "loss_giou": 1.5}
    assert (ours.matcher.cost_class, ours.matcher.cost_bbox, ours.matcher.cost_giou) == (1, 5, 2)
    ours = build_criterion(config, set_cost_bbox=0.5, set_cost_giou=3.0)
    assert (ours.matcher.cost_class, ours.matcher.cost_bbox, ours.matcher.cost_giou) == (1, 0.5, 3)
    assert ours.weight_dict == {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2}


def test_a_matcher_that_reads_logits_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="the criterion has a FocalTerm, but its matcher a SoftmaxTerm"):
        criterion(class_term=FocalTerm())


def test_masks_travel_with_their_objects() -> None:
    outputs, targets = scene(6, [2, 0, 3])
    without = criterion()(outputs, targets)
    masks = torch.eye(5, dtype=torch.bool).view(5, 1, 5).split([2, 0, 3])  # (T, H, W), each object's own
    targets = [target | {"masks": mask} for target, mask in zip(targets, masks, strict=True)]
    assert_close(criterion()(outputs, targets), without, rtol=0, atol=0)
    index = torch.tensor([[4, 0], [1, 2]])
    gathered = gather_targets(targets, "masks", index)
    assert gathered.shape == (2, 2, 1, 5)
    assert gathered.int().argmax(-1).squeeze(-1).tolist() == index.tolist()


def test_what_the_matcher_refuses_is_refused() -> None:
    outputs, targets = scene(4, [2, 2])
    targets[1]["labels"][1] = CLASSES
    with pytest.raises(ValueError, match=f"image 1 of the batch has the label {CLASSES} .*highest category id"):
        criterion()(outputs, targets)
    outputs, targets = scene(4, [2, 2])
    with torch.no_grad():
        outputs["aux_outputs"][0]["pred_boxes"][1, 2] = float("nan")
    with pytest.raises(
        ValueError, match="image 1 of the batch: the matching cost of query 2 in decoder layer 0 is nan"
    ):
        criterion()(outputs, targets)


def test_a_criterion_for_another_number_of_classes_is_named() -> None:
    with pytest.raises(ValueError, match=f"{CLASSES + 1} logits a query, but num_classes is 90: the loss needs 91"):
        SetCriterion(90, HungarianMatcher())(*scene(4, [2]))
    with pytest.raises(ValueError, match=f"{CLASSES + 1} logits .* num_classes is {CLASSES}: .* needs {CLASSES}, one"):
        focal_criterion()(*scene(4, [2]))


def test_half_precision_is_computed_in_float32() -> None:
    outputs, targets = scene(6, [3, 2])
    half = {
        "pred_logits": outputs["pred_logits"].detach().bfloat16(),
        "pred_boxes": outputs["pred_boxes"].detach().bfloat16(),
    }
    wide = {name: value.float() for name, value in half.items()}
    assert_close(criterion()(half, targets), criterion()(wide, targets))
    assert criterion()(half, targets)["loss_giou"].dtype == torch.float32


def test_large_logits_in_float16_are_computed_in_float32() -> None:
    outputs, targets = scene(6, [3, 2], layers=1)
    half = {name: outputs[name].detach().half() for name in ("pred_logits", "pred_boxes")}
    half["pred_logits"] *= 5_000  # sums and exponentials of these are beyond float16
    half = {name: value.requires_grad_() for name, value in half.items()}
    losses = criterion()(half, targets)
    assert_close(losses, criterion()({name: value.float() for name, value in half.items()}, targets))
    criterion().total(losses).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in half.values())


def test_autocast_changes_nothing() -> None:
    outputs, targets = scene(6, [3, 2])
    with torch.autocast("cpu", torch.bfloat16):
        losses = criterion()(outputs, targets)
        total = criterion().total(losses)
    wanted = criterion()(outputs, targets)
    assert_close(losses, wanted, rtol=0, atol=0)
    assert_close(total, criterion().total(wanted), rtol=0, atol=0)


def layers_of(outputs: dict[str, Any]) -> list[dict[str, Tensor]]:
    layers = (*outputs["aux_outputs"], outputs)
    return [{name: layer[name] for name in ("pred_logits", "pred_boxes")} for layer in layers]


def changed(outputs: dict[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The outputs with every tensor put through ``change``."""
    *earlier, last = ({name: change(value) for name, value in layer.items()} for layer in layers_of(outputs))
    return {**last, "aux_outputs": earlier}


def in_double(outputs: dict[str, Any]) -> dict[str, Any]:
    return changed(outputs, lambda value: value.detach().double().requires_grad_())


def test_double_precision_stays() -> None:
    outputs, targets = scene(6, [3, 0, 2])
    outputs = in_double(outputs)
    wanted = slow_losses(outputs, targets, 0.5)  # a weight that float32 holds exactly
    for name, value in criterion(eos_coef=0.5)(outputs, targets).items():
        assert_close(value.double(), wanted[name], rtol=1e-5 if "error" in name else 1e-12, atol=1e-12)


@crowded
@pytest.mark.parametrize("counts", [[4, 0, 2, 9, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [7, 8, 9, 1, 2]])
@pytest.mark.parametrize("eos_coef", [0.1, 0.0])
def test_the_mean_over_processes_is_one_process_with_the_whole_batch(
    counts: list[int], eos_coef: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, targets = scene(6, counts)
    outputs = in_double(outputs)
    leaves = [value for layer in layers_of(outputs) for value in layer.values()]
    ours = criterion(eos_coef=eos_coef)
    wanted = ours(outputs, targets)
    wanted_grads = torch.autograd.grad(ours.total(wanted), leaves)

    told: list[tuple[float, ...]] = []
    shares = [
        (changed(outputs, lambda value: value[:3]), targets[:3]),
        (changed(outputs, lambda value: value[3:]), targets[3:]),
    ]
    monkeypatch.setattr("detr_mini.loss.mean_over_processes", lambda *values: told.append(values) or values)
    for share in shares:
        ours(*share)
    assert len(told) == 2  # one exchange a step
    means = tuple(sum(column) / 2 for column in zip(*told, strict=True))
    monkeypatch.setattr("detr_mini.loss.mean_over_processes", lambda *values: means)
    first, second = (ours(*share) for share in shares)
    for name, value in wanted.items():
        mean = (first[name] + second[name]) / 2
        assert_close(mean.double(), value.double(), rtol=1e-5 if "error" in name else 1e-10, atol=1e-10)
    total = (ours.total(first) + ours.total(second)) / 2
    assert_close(torch.autograd.grad(total, leaves), wanted_grads, rtol=1e-9, atol=1e-12)


class Calls(TorchDispatchMode):
    """Notes the operators that run, and which of them would wait for the device to learn a value."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    @property
    def waits(self) -> list[str]:
        return [name for name in self.names if name.startswith(self.WAITING)]


@crowded
@pytest.mark.parametrize("counts", [[3, 2], [0, 0], [9, 0]])
def test_a_step_is_few_operators_and_copies_once_to_the_host(
    counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, targets = scene(6, counts, layers=6)
    copies = []
    cpu = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: copies.append(self.shape) or cpu(self))
    leaves = [value for layer in layers_of(outputs) for value in layer.values()]
    ours = criterion()
    with Calls() as calls:
        torch.autograd.grad(ours.total(ours(outputs, targets)), leaves)
    assert len(copies) == 1
    assert not calls.waits
    assert len(calls.names) <= 250


def test_a_weight_for_an_unknown_term_is_refused() -> None:
    with pytest.raises(ValueError, match="weight_dict has 'loss_labels'; the terms are loss_ce, loss_bbox, loss_giou"):
        criterion(weight_dict={"loss_labels": 1.0, "loss_bbox": 5.0})


def test_the_weights_of_classes_are_not_in_checkpoints() -> None:
    assert not criterion().state_dict()


@crowded
@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu() -> None:
    outputs, targets = scene(20, [7, 0, 25])
    wanted = criterion()(outputs, targets)

    def move(layer: dict[str, Any]) -> dict[str, Any]:
        return {name: layer[name].detach().cuda().requires_grad_() for name in ("pred_logits", "pred_boxes")}

    there = {**move(outputs), "aux_outputs": [move(layer) for layer in outputs["aux_outputs"]]}
    ours = criterion().cuda()
    losses = ours(there, [{name: value.cuda() for name, value in target.items()} for target in targets])
    assert losses.keys() == wanted.keys()
    for name, value in losses.items():
        assert value.is_cuda
        assert_close(value.cpu(), wanted[name], rtol=1e-4, atol=1e-5)
    ours.total(losses).backward()
    assert there["pred_boxes"].grad.isfinite().all()


@pytest.mark.gpu
def test_a_step_waits_for_the_gpu_once() -> None:
    outputs, targets = scene(20, [7, 0, 12])
    there = changed(outputs, lambda value: value.detach().cuda().requires_grad_())
    goals = [{name: value.cuda() for name, value in target.items()} for target in targets]
    ours = criterion().cuda()
    ours.total(ours(there, goals)).backward()  # the first step loads the kernels
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ours.total(ours(there, goals)).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in caught if "synchronizing" in str(w.message)]) == 1
