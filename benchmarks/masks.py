"""DETR with masks against Hugging Face's: a forward pass, a training step of the mask head, and the memory of both."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from benchmarks.loss import Sizes, make_batch
from benchmarks.measure import Settings, compare, peak_memory
from benchmarks.models import HUGGING_FACE, compare_outputs, in_fresh_process, spread
from benchmarks.report import Case, Row, memory_row, timed_row
from detr_mini import DETRConfig, DETRSegmentation, NestedTensor, build_criterion
from detr_mini.hugging_face import from_hugging_face

PICTURE = (480, 640)
OBJECTS = 20
Models = tuple[Any, DETRSegmentation]  # theirs and ours, on the CPU


def make_models(**small: Any) -> Models:
    """Hugging Face's DETR-R50 with masks and ours with its weights, detectors frozen; ``small`` is for quick tests.

    Weights are random, and spread so that the masks of the slots differ. There are no auxiliary losses: they train a
    detector.
    """
    import transformers

    config = DETRConfig(dropout=0.0, aux_loss=False, masks=True, **small)
    stages = ["stage1", "stage2", "stage3", "stage4"]
    torch.manual_seed(0)
    theirs = transformers.DetrForSegmentation(
        transformers.DetrConfig(  # type: ignore[call-arg]
            backbone_config=transformers.ResNetConfig(out_features=stages),  # type: ignore[call-arg]
            num_labels=config.num_classes,
            num_queries=config.num_queries,
            encoder_layers=config.enc_layers,
            decoder_layers=config.dec_layers,
            dropout=0.0,
            auxiliary_loss=False,
        )
    )
    spread(theirs)
    with torch.no_grad():
        theirs.bbox_attention.q_proj.weight *= 9  # slots look at different cells,
        theirs.mask_head.conv1.conv.weight[:, config.hidden_dim :] *= 100  # and where they look makes a difference
    ours = DETRSegmentation(config)
    ours.load_state_dict(from_hugging_face(theirs.state_dict()), strict=True)
    theirs.detr.requires_grad_(False)
    ours.freeze_detector()
    return theirs.eval(), ours.eval()


# --- a forward pass

Function = Callable[[], Any]


def forward_passes(models: Models, picture: tuple[int, int], device: torch.device) -> dict[str, Function]:
    """For each side a function that gives what its model makes of one picture."""
    theirs, ours = models[0].to(device).eval(), models[1].to(device).optimize_for_inference()
    pixels = torch.randn(1, 3, *picture, device=device)
    samples = NestedTensor.from_images(list(pixels))
    return {"peer": partial(theirs, pixel_values=pixels), "ours": partial(ours, samples)}


@torch.no_grad()
def forward(settings: Settings, target: float, picture: tuple[int, int] = PICTURE, **small: Any) -> Row:
    """Forward pass of DETR-R50 with the masks of all slots, for one picture."""
    passes = forward_passes(make_models(**small), picture, settings.device)
    compare_outputs(passes["ours"](), passes["peer"](), tolerance=1e-3)
    comparison = compare(passes["peer"], passes["ours"], settings)
    return timed_row(_predicting(picture), HUGGING_FACE, comparison, target)


# --- a training step of the head

Gradients = dict[str, Tensor]  # under our names
Step = Callable[[], tuple[Tensor, Gradients]]  # the loss comes first


def training_steps(models: Models, picture: tuple[int, int], device: torch.device) -> dict[str, Step]:
    """For each side a function that makes a forward pass, the loss, and the gradients of the mask head.

    The loss is the one that comes with each model: of classes, boxes and masks of the slots that are matched. Their
    model makes the masks of all slots for it, ours those of the matched ones.
    """
    theirs, ours = models[0].to(device), models[1].to(device).train()
    theirs.train().detr.eval()
    pixels = torch.randn(1, 3, *picture, device=device)
    samples = NestedTensor.from_images(list(pixels))
    (objects,) = make_batch(Sizes(1, OBJECTS)).to(device).targets
    objects["masks"] = torch.rand(OBJECTS, *picture, device=device) > 0.5
    labels = {"class_labels": objects["labels"], "boxes": objects["boxes"], "masks": objects["masks"]}
    criterion = build_criterion(ours.config).to(device)

    def their_step() -> tuple[Tensor, Gradients]:
        total = theirs(pixel_values=pixels, labels=[labels]).loss
        return total.detach(), from_hugging_face(_gradients(total, theirs))

    def our_step() -> tuple[Tensor, Gradients]:
        total = criterion.total(criterion(ours(samples), [objects]))
        return total.detach(), _gradients(total, ours)

    return {"peer": their_step, "ours": our_step}


def _gradients(total: Tensor, model: nn.Module) -> Gradients:
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(zip(trained, torch.autograd.grad(total, [*trained.values()]), strict=True))


def train(settings: Settings, target: float, picture: tuple[int, int] = PICTURE, **small: Any) -> Row:
    """A training step of the mask head, on a detector that stays as it is."""
    steps = training_steps(make_models(**small), picture, settings.device)
    compare_gradients(steps["ours"](), steps["peer"]())
    comparison = compare(steps["peer"], steps["ours"], settings)
    return timed_row(_training(picture), HUGGING_FACE, comparison, target)


def compare_gradients(found: tuple[Tensor, Gradients], wanted: tuple[Tensor, Gradients]) -> None:
    """Assert that losses are equal, and gradients, but for the few values so near 0 that rounding decides on a ReLU."""
    assert_close(found[0], wanted[0], rtol=1e-5, atol=0)
    assert found[1].keys() == wanted[1].keys()
    for name, theirs in wanted[1].items():
        size, error = theirs.norm(), (found[1][name] - theirs).norm()
        assert size > 1e-6, f"{name}: the gradient is {float(size):.1e}, so there is nothing to compare"
        assert error < 1e-3 * size, f"{name}: gradients differ by {float(error / size):.1e} of their size"


# --- memory


def memory(settings: Settings, target: float, backward: bool, picture: tuple[int, int] = PICTURE, **small: Any) -> Row:
    """Most memory that the forward pass or the training step holds, each side in a fresh process."""
    (their_bytes, their_sum), (our_bytes, our_sum) = (
        in_fresh_process(
            ("benchmarks.masks", "memory_of"), f"{side!r}, {backward}, {picture}, {small}", settings.device
        )
        for side in ("peer", "ours")
    )
    assert_close(our_sum, their_sum, rtol=1e-3, atol=0)
    what = f"peak memory, {_training(picture) if backward else _predicting(picture)}"
    return memory_row(what, HUGGING_FACE, their_bytes, our_bytes, target)


def memory_of(
    side: str, backward: bool, picture: tuple[int, int], small: dict[str, Any], device: torch.device
) -> tuple[int, float]:
    """Bytes that a call takes beyond models and inputs, and the size of the masks or gradients that it gives."""
    models = make_models(**small)  # both stay, as does what warms up: what was freed would be used again, unseen
    make = training_steps if backward else forward_passes
    warm_up, function = (make(models, size, device)[side] for size in ((64, 96), picture))
    with torch.set_grad_enabled(backward):
        warm_up()
        used, result = peak_memory(function, device)
    values = result[1].values() if backward else [result["pred_masks"]]
    return used, float(sum(value.abs().sum() for value in values))


def _predicting(picture: tuple[int, int]) -> str:
    return f"DETR-R50 with masks, forward, {picture[0]}x{picture[1]}"


def _training(picture: tuple[int, int]) -> str:
    return f"mask head of DETR-R50, train step, {picture[0]}x{picture[1]}, {OBJECTS} objects"


CASES: dict[str, Case] = {
    "masks": partial(forward, target=1.2),
    "masks-memory": partial(memory, target=1.2, backward=False),
    "masks-train": partial(train, target=1.2),
    "masks-train-memory": partial(memory, target=1.2, backward=True),
}
