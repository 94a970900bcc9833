"""Deformable DETR: counts and names of the published models, its start, padding, losses, detections."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from detr_mini import DeformableDETR, NestedTensor, build, build_criterion
from detr_mini.class_terms import FocalTerm
from detr_mini.errors import ConfigError
from detr_mini.modeling.deformable_detr import postprocess_best
from detr_mini.modeling.deformable_transformer import Grid, correct, inverse_sigmoid
from detr_mini.modeling.norm import GroupNorm

TINY: dict[str, Any] = {
    "hidden_dim": 32,
    "enc_layers": 1,
    "dec_layers": 2,
    "dim_feedforward": 24,
    "num_queries": 6,
    "num_classes": 5,
    "num_feature_levels": 4,
    "with_box_refine": False,
}
TWO_STAGE = {"with_box_refine": True, "two_stage": True}
PUBLISHED = {  # parameters, those that are trained, entries of the state_dict: counted in the published models
    "deformable_detr_resnet50_single_scale": (34_066_593, 33_844_193, 549),
    "deformable_detr_resnet50": (40_069_665, 39_847_265, 561),
    "deformable_detr_resnet50_refine": (40_849_660, 40_627_260, 597),
    "deformable_detr_resnet50_two_stage": (41_181_529, 40_959_129, 630),
}


def make(**changes: Any) -> DeformableDETR:
    torch.manual_seed(0)
    model = build("deformable_nano", **(TINY | changes))
    assert isinstance(model, DeformableDETR)
    return model


@torch.no_grad()
def randomize(model: DeformableDETR) -> DeformableDETR:
    """Weights as after training: norms and heads that do something, and offsets that depend on the query."""
    torch.manual_seed(1)
    for name, value in model.state_dict().items():
        if name.endswith("running_var") or (value.dim() == 1 and name.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif value.dim() == 1 and "sampling_offsets" not in name:
            value.normal_(std=0.2)
        elif value.dim() == 2:
            value.normal_(std=value.shape[1] ** -0.5)
    return model.eval()


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(3, h, w, generator=rng) for h, w in sizes]


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_entries_are_counted_as_in_the_published_models(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    assert (sum(p.numel() for p in parameters), trained, len(model.state_dict())) == PUBLISHED[name]


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = {
            key: tuple(value.shape) for key, value in build("deformable_detr_resnet50_two_stage").state_dict().items()
        }
    expected = {
        "transformer.level_embed": (4, 256),
        "transformer.encoder.layers.5.self_attn.sampling_offsets.weight": (256, 256),
        "transformer.encoder.layers.0.linear1.weight": (1024, 256),
        "transformer.decoder.layers.5.cross_attn.attention_weights.weight": (128, 256),
        "transformer.decoder.layers.0.self_attn.in_proj_weight": (768, 256),
        "transformer.decoder.layers.0.norm3.bias": (256,),
        "transformer.decoder.bbox_embed.6.layers.2.weight": (4, 256),
        "transformer.decoder.class_embed.6.weight": (91, 256),
        "transformer.enc_output.weight": (256, 256),
        "transformer.enc_output_norm.weight": (256,),
        "transformer.pos_trans.weight": (512, 512),
        "transformer.pos_trans_norm.weight": (512,),
        "class_embed.6.weight": (91, 256),
        "bbox_embed.0.layers.0.weight": (256, 256),
        "input_proj.0.0.weight": (256, 512, 1, 1),
        "input_proj.3.0.weight": (256, 2048, 3, 3),
        "input_proj.3.1.weight": (256,),
        "backbone.0.body.layer4.2.bn3.running_mean": (2048,),
    }
    assert {key: state.get(key) for key in expected} == expected
    assert not {"query_embed.weight", "transformer.reference_points.weight"} & state.keys()
    with torch.device("meta"):
        plain = build("deformable_detr_resnet50").state_dict()
    assert tuple(plain["query_embed.weight"].shape) == (300, 512)
    assert tuple(plain["transformer.reference_points.weight"].shape) == (2, 256)
    assert not any("decoder.bbox_embed" in key for key in plain)


@pytest.mark.parametrize("variant", [{}, {"with_box_refine": True}, TWO_STAGE])
def test_heads_are_shared_or_each_layers_own(variant: dict[str, Any]) -> None:
    model = make(**variant)
    count = 3 if variant.get("two_stage") else 2
    assert len(model.class_embed) == len(model.bbox_embed) == count
    assert (model.bbox_embed[0] is model.bbox_embed[1]) == (not variant)
    assert (model.class_embed[0] is model.class_embed[1]) == (not variant)
    sides = [head.layers[-1].bias[2:].tolist() for head in model.bbox_embed]  # type: ignore[union-attr, index]
    first = 0.0 if variant.get("two_stage") else -2.0
    assert sides == [[first] * 2, [first if not variant else 0.0] * 2, [0.0] * 2][:count]
    for head in model.class_embed:
        assert_close(head.bias.detach().sigmoid(), torch.full((5,), 0.01))


def test_at_the_start_a_box_is_its_reference() -> None:
    model = make().eval()
    out = model(pictures((64, 80)))
    with torch.no_grad():
        points = model.transformer.reference_points(model.query_embed.weight[:, :32]).sigmoid()
    assert_close(out["pred_boxes"][0, :, :2], points)
    assert_close(out["pred_boxes"][0, :, 2:], torch.full((6, 2), 1 / (1 + math.exp(2))))


@pytest.mark.parametrize("body", ["small", "resnet18", "resnet34", "resnet101"])
@pytest.mark.parametrize("levels", [1, 5])
def test_every_body_and_number_of_levels(body: str, levels: int) -> None:
    with torch.device("meta"):
        model = make(backbone=body, num_feature_levels=levels)
        maps = model.feature_levels(
            NestedTensor(torch.empty(2, 3, 130, 197), torch.empty(2, 130, 197, dtype=torch.bool))
        )
    own = [8] if body == "small" else [8, 16, 32]  # the small body's earlier maps are not read
    strides = own[-1:] if levels == 1 else [*own, *(own[-1] * 2**n for n in range(1, 1 + levels - len(own)))]
    expected = [(2, 32, math.ceil(130 / s), math.ceil(197 / s)) for s in strides]
    assert [tuple(level.tensors.shape) for level in maps] == expected
    assert [tuple(level.mask.shape) for level in maps] == [(b, h, w) for b, _, h, w in expected]


@pytest.mark.parametrize("variant", [{}, {"with_box_refine": True}, {"num_feature_levels": 1}])
@torch.no_grad()
def test_a_picture_is_the_same_alone_and_padded_with_the_small_body(variant: dict[str, Any]) -> None:
    model = randomize(make(**variant))
    images = pictures((53, 70), (96, 65), (40, 128))
    together = model(images)
    for number, image in enumerate(images):
        alone = model([image])
        for name in ("pred_logits", "pred_boxes"):
            assert_close(together[name][number], alone[name][0], rtol=1e-4, atol=1e-4)
    assert together["pred_logits"].std(0).max() > 0.1


@torch.no_grad()
def test_proposals_of_a_padded_picture_are_its_own() -> None:
    model = randomize(make(**TWO_STAGE))
    images = pictures((53, 70), (96, 65))
    together, alone = model(images)["enc_outputs"], model(images[:1])["enc_outputs"]
    shapes = [Grid.of(model.feature_levels(NestedTensor.from_images(batch))).shapes for batch in (images, images[:1])]
    first = 0
    both = _levels(together["pred_boxes"][0], shapes[0]), _levels(alone["pred_boxes"][0], shapes[1])
    for wide, narrow in zip(*both, strict=True):
        h, w = narrow.shape[:2]
        assert_close(wide[:h, :w], narrow, rtol=1e-4, atol=1e-5)
        assert (wide[h:] == 1).all()  # padding proposes nothing
        first += h * w
    assert first == alone["pred_boxes"].shape[1]


@torch.no_grad()
def test_a_picture_with_fewer_cells_than_queries_has_a_query_for_each_cell() -> None:
    model = randomize(make(**(TWO_STAGE | {"num_queries": 300, "num_feature_levels": 3})))
    outputs = model(pictures((40, 48)))
    cells = outputs["enc_outputs"]["pred_boxes"].shape[1]
    assert cells < 300
    assert outputs["pred_boxes"].shape == (1, cells, 4)
    assert outputs["pred_boxes"].isfinite().all()
    assert outputs["pred_logits"].isfinite().all()


def _levels(cells: Tensor, shapes: Any) -> list[Tensor]:
    return [
        part.unflatten(0, shape) for part, shape in zip(cells.split([h * w for h, w in shapes]), shapes, strict=True)
    ]


def test_a_group_norm_leaves_out_padding() -> None:
    torch.manual_seed(0)
    norm = GroupNorm(4, 8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x, mask = torch.randn(2, 8, 6, 7), torch.zeros(2, 6, 7, dtype=torch.bool)
    assert_close(norm(x, mask), nn.GroupNorm.forward(norm, x))
    mask[1, 4:], mask[1, :, 5:] = True, True
    x[mask[:, None].expand_as(x)] = 1e3
    assert_close(norm(x, mask)[1, :, :4, :5], norm(x[1:, :, :4, :5])[0])


def test_references_of_cells_are_their_centers_and_levels_are_shares_of_the_padded_map() -> None:
    mask = torch.ones(1, 4, 8, dtype=torch.bool)
    mask[:, :2, :6] = False
    grid = Grid.of([NestedTensor(torch.empty(1, 3, 4, 8), mask)])
    assert_close(grid.ratios, torch.tensor([[[0.75, 0.5]]]))
    centers = grid.centers(grid.real).view(4, 8, 2)
    assert_close(centers[0, :6, 0], (torch.arange(6) + 0.5) / 6)
    assert_close(centers[:2, 0, 1], torch.tensor([0.25, 0.75]))
    assert grid.padding is not None
    assert grid.padding.sum() == 32 - 12


def test_a_correction_of_nothing_gives_the_reference() -> None:
    box = torch.tensor([[[0.2, 0.6, 0.1, 0.9]]])
    assert_close(correct(box, torch.zeros(1, 1, 4)), box)
    assert_close(correct(box[..., :2], torch.zeros(1, 1, 4)), torch.tensor([[[0.2, 0.6, 0.5, 0.5]]]))
    assert_close(
        inverse_sigmoid(torch.tensor([-1.0, 0.0, 2.0])), torch.tensor([-1, -1, 1]) * math.log(1e5), atol=0.01, rtol=0
    )


@pytest.mark.parametrize("variant", [{}, TWO_STAGE])
def test_refined_boxes_carry_no_gradient_to_the_layer_before(variant: dict[str, Any]) -> None:
    model = randomize(make(with_box_refine=True) if not variant else make(**variant)).train()
    out = model(pictures((64, 80), (64, 80)))
    out["pred_boxes"].sum().backward()
    first, last = (model.bbox_embed[layer].layers[-1].weight.grad for layer in (0, 1))  # type: ignore[union-attr, index]
    assert first is None
    assert last is not None
    assert last.abs().sum() > 0


# --- losses


def targets(*counts: int) -> list[dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(2)
    return [
        {"labels": torch.randint(5, (n,), generator=rng), "boxes": torch.rand(n, 4, generator=rng) * 0.3 + 0.35}
        for n in counts
    ]


def published_focal(logits: Tensor, wanted: Tensor, num_boxes: int) -> Tensor:
    """As the published code has it."""
    p = logits.sigmoid()
    ce = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    p_t = p * wanted + (1 - p) * (1 - wanted)
    alpha = 0.25 * wanted + 0.75 * (1 - wanted)
    return (alpha * ce * (1 - p_t) ** 2).mean(1).sum() / num_boxes * logits.shape[1]


def test_losses_are_the_published_ones_for_every_layer_and_the_encoder() -> None:
    model = randomize(make(**TWO_STAGE))
    with torch.no_grad():
        out = model(pictures((64, 80), (60, 90), (50, 50)))
    objects = targets(3, 0, 2)
    criterion = build_criterion(model.config)
    losses = criterion(out, objects)
    zero = [target | {"labels": torch.zeros_like(target["labels"])} for target in objects]
    for ending, layer, wanted in (
        ("", out, objects),
        ("_0", out["aux_outputs"][0], objects),
        ("_enc", out["enc_outputs"], zero),
    ):
        matches = criterion.matcher(layer, wanted)
        hot = torch.zeros_like(layer["pred_logits"])
        distance = torch.zeros(())
        for image, (query, target) in enumerate(matches):
            hot[image, query, wanted[image]["labels"][target]] = 1.0
            distance += (layer["pred_boxes"][image, query] - wanted[image]["boxes"][target]).abs().sum()
        assert_close(losses[f"loss_ce{ending}"], published_focal(layer["pred_logits"], hot, 5), rtol=1e-5, atol=1e-6)
        assert_close(losses[f"loss_bbox{ending}"], distance / 5, rtol=1e-5, atol=1e-6)
        sees = (layer["pred_logits"] > 0).any(-1).sum(1)
        assert_close(losses[f"cardinality_error{ending}"], (sees - torch.tensor([3, 0, 2])).abs().float().mean())
    names = {name.removesuffix("_0").removesuffix("_enc") for name in losses}
    assert names == {"loss_ce", "loss_bbox", "loss_giou", "cardinality_error", "class_error"}
    weighed = sum(
        {"ce": 2, "bbox": 5, "giou": 2}[name.split("_")[1]] * v for name, v in losses.items() if name[0] == "l"
    )
    assert_close(criterion.total(losses), weighed)


def test_costs_and_weights_are_the_published_ones() -> None:
    criterion = build_criterion(make().config)
    matcher = criterion.matcher
    assert criterion.weight_dict == {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    assert (matcher.cost_class, matcher.cost_bbox, matcher.cost_giou) == (2.0, 5.0, 2.0)
    assert criterion.class_term == matcher.class_term == FocalTerm(alpha=0.25, gamma=2.0)
    changed = build_criterion(make().config, bbox_loss_coef=1.0, set_cost_giou=7.0)
    assert changed.weight_dict["loss_bbox"] == 1.0
    assert changed.matcher.cost_giou == 7.0


# --- detections


def test_detections_are_the_best_pairs_of_query_and_class() -> None:
    logits = torch.tensor([[[0.0, 3.0], [2.0, -1.0], [-5.0, 1.0]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.2, 0.2, 0.2, 0.2], [0.8, 0.6, 0.1, 0.2]]])
    (found,) = postprocess_best({"pred_logits": logits, "pred_boxes": boxes}, torch.tensor([[100, 200]]), count=4)
    assert found["labels"].tolist() == [1, 0, 1, 0]
    assert_close(found["scores"], torch.tensor([3.0, 2.0, 1.0, 0.0]).sigmoid())
    assert_close(found["boxes"][0], torch.tensor([80.0, 30.0, 120.0, 70.0]))
    assert_close(found["boxes"][3], found["boxes"][0])  # the first query is found under both classes
    (all_of_them,) = postprocess_best({"pred_logits": logits, "pred_boxes": boxes}, torch.tensor([[100, 200]]))
    assert len(all_of_them["scores"]) == 6


def test_a_model_gives_a_hundred_detections() -> None:
    model = make(num_queries=30).eval()
    outputs = model(pictures((64, 80)))
    (found,) = model.postprocess(outputs, torch.tensor([[64, 80]]))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "scores": (100,),
        "labels": (100,),
        "boxes": (100, 4),
    }


def test_build_takes_names_and_says_what_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="deformable_detr_resnet50_two_stage"):
        build("deformable_detr")
    with pytest.raises(ConfigError, match="DETRConfig has no num_feature_levels"):
        build("nano", num_feature_levels=4)
