"""The assembled model: published names, counts and outputs, and the same answer for a picture in any batch."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_backbone import random_statistics
from torch import Tensor
from torch.testing import assert_close

import detr_mini
from detr_mini import DETR, NestedTensor, build, postprocess

d, wide = 256, 2048
ATTENTION = {"in_proj_weight": (3 * d, d), "in_proj_bias": (3 * d,), "out_proj.weight": (d, d), "out_proj.bias": (d,)}
FEED_FORWARD = {
    "linear1.weight": (wide, d),
    "linear1.bias": (wide,),
    "linear2.weight": (d, wide),
    "linear2.bias": (d,),
}
HEADS = {
    "class_embed.weight": (92, d),
    "class_embed.bias": (92,),
    "bbox_embed.layers.0.weight": (d, d),
    "bbox_embed.layers.0.bias": (d,),
    "bbox_embed.layers.1.weight": (d, d),
    "bbox_embed.layers.1.bias": (d,),
    "bbox_embed.layers.2.weight": (4, d),
    "bbox_embed.layers.2.bias": (4,),
    "query_embed.weight": (100, d),
    "input_proj.weight": (d, 2048, 1, 1),
    "input_proj.bias": (d,),
    "transformer.decoder.norm.weight": (d,),
    "transformer.decoder.norm.bias": (d,),
}


def published_transformer() -> dict[str, tuple[int, ...]]:
    """Names and shapes in a published DETR-R50 checkpoint, without its backbone."""
    table: dict[str, tuple[int, ...]] = dict(HEADS)
    for n in range(6):
        for stack, attentions, norms in (
            ("encoder", ["self_attn"], 2),
            ("decoder", ["self_attn", "multihead_attn"], 3),
        ):
            layer = f"transformer.{stack}.layers.{n}."
            table |= {layer + key: shape for key, shape in FEED_FORWARD.items()}
            for attention in attentions:
                table |= {f"{layer}{attention}.{key}": shape for key, shape in ATTENTION.items()}
            for norm in range(1, norms + 1):
                table |= {f"{layer}norm{norm}.weight": (d,), f"{layer}norm{norm}.bias": (d,)}
    return table


def published_resnet(blocks: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The same of its ResNet of bottlenecks: four numbers a norm, no counters, no classifier."""
    table: dict[str, tuple[int, ...]] = {}

    def add(conv: str, norm: str, *shape: int) -> None:
        table[f"backbone.0.body.{conv}.weight"] = shape
        for name in ("weight", "bias", "running_mean", "running_var"):
            table[f"backbone.0.body.{norm}.{name}"] = shape[:1]

    add("conv1", "bn1", 64, 3, 7, 7)
    channels = 64
    for stage, count in enumerate(blocks):
        narrow = 64 * 2**stage
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            add(f"{name}.conv1", f"{name}.bn1", narrow, channels, 1, 1)
            add(f"{name}.conv2", f"{name}.bn2", narrow, narrow, 3, 3)
            add(f"{name}.conv3", f"{name}.bn3", 4 * narrow, narrow, 1, 1)
            if block == 0:
                add(f"{name}.downsample.0", f"{name}.downsample.1", 4 * narrow, channels, 1, 1)
            channels = 4 * narrow
    return table


def shapes(model: DETR) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def on_meta(name: str, **overrides: object) -> DETR:
    with torch.device("meta"):
        return build(name, **overrides)


@pytest.mark.parametrize(
    ("name", "blocks", "parameters", "trainable", "entries"),
    [
        ("detr_resnet50", (3, 4, 6, 3), 41_524_768, 41_302_368, 458),
        ("detr_resnet50_dc5", (3, 4, 6, 3), 41_524_768, 41_302_368, 458),
        ("detr_resnet101", (3, 4, 23, 3), 60_464_672, 60_242_272, 713),
        ("detr_resnet101_dc5", (3, 4, 23, 3), 60_464_672, 60_242_272, 713),
    ],
)
def test_published_names_shapes_and_counts(
    name: str, blocks: tuple[int, ...], parameters: int, trainable: int, entries: int
) -> None:
    model = on_meta(name, num_classes=91)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trainable
    assert len(model.state_dict()) == entries
    assert shapes(model) == published_transformer() | published_resnet(blocks)


def test_an_unfrozen_resnet_trains_every_parameter_and_keeps_the_published_names() -> None:
    plain, unfrozen = on_meta("detr_resnet50"), on_meta("detr_resnet50", freeze_resnet=False)
    assert all(p.requires_grad for p in unfrozen.parameters())
    counters = {key: shape for key, shape in shapes(unfrozen).items() if key.endswith("num_batches_tracked")}
    assert shapes(unfrozen) == shapes(plain) | counters
    unfrozen.to_empty(device="cpu").load_state_dict(plain.to_empty(device="cpu").state_dict(), strict=True)


def test_published_names_of_learned_positions_and_pre_norm() -> None:
    plain = shapes(on_meta("detr_resnet50"))
    changed = shapes(on_meta("detr_resnet50", position_embedding="learned", pre_norm=True))
    assert changed == plain | {
        "backbone.1.row_embed.weight": (50, 128),
        "backbone.1.col_embed.weight": (50, 128),
        "transformer.encoder.norm.weight": (256,),
        "transformer.encoder.norm.bias": (256,),
    }


def test_small_models_use_the_same_names() -> None:
    published = {key for key in published_transformer() if ".layers." not in key}
    assert published <= shapes(on_meta("nano")).keys()
    names = {key.split(".")[0] for key in shapes(on_meta("nano"))}
    assert names == {key.split(".")[0] for key in shapes(on_meta("detr_resnet50"))}


TINY = {"hidden_dim": 16, "dim_feedforward": 24, "num_queries": 5, "num_classes": 3}


def tiny(**overrides: object) -> DETR:
    """A small model whose norms have seen data and whose weights are large enough for every piece to leave a trace."""
    torch.manual_seed(0)
    model = build("nano", **(TINY | overrides)).train()
    with torch.no_grad():
        model.backbone[0](NestedTensor.from_images([torch.randn(3, 64, 64) for _ in range(4)]))
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif parameter.dim() == 2:
                parameter.mul_(2.5)
    return model.eval()


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(3, h, w, generator=rng) for h, w in sizes]


def test_outputs() -> None:
    out = tiny()(pictures((24, 40), (40, 24)))
    assert out.keys() == {"pred_logits", "pred_boxes", "aux_outputs"}
    for layer in [out, *out["aux_outputs"]]:
        assert layer["pred_logits"].shape == (2, 5, 4)
        assert layer["pred_boxes"].shape == (2, 5, 4)
        assert (layer["pred_boxes"] > 0).all()
        assert (layer["pred_boxes"] < 1).all()
    assert len(out["aux_outputs"]) == 2
    assert tiny(aux_loss=False)(pictures((24, 40))).keys() == {"pred_logits", "pred_boxes"}


def test_a_list_of_pictures_is_a_batch() -> None:
    model, batch = tiny(), pictures((24, 40), (40, 24))
    assert_close(model(batch), model(NestedTensor.from_images(batch)))


@pytest.mark.parametrize("kind", ["nano", "resnet18"])
def test_a_tensor_is_a_batch_without_padding(kind: str) -> None:
    model, images = trained(kind), torch.stack(pictures((64, 70), (64, 70)))
    assert_close(model(images), model(NestedTensor.from_images(list(images))), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"shape \(3, 64, 70\) is one image; .* image\[None\]"):
        model(images[0])


@pytest.mark.parametrize("pre_norm", [False, True])
def test_auxiliary_outputs_are_those_of_a_shallower_decoder(pre_norm: bool) -> None:
    model, batch = tiny(pre_norm=pre_norm), pictures((24, 40), (40, 24))
    out = model(batch)
    for layers in (2, 1):
        del model.transformer.decoder.layers[layers:]
        shallow = model(batch)
        for name in ("pred_logits", "pred_boxes"):
            assert_close(shallow[name], out["aux_outputs"][layers - 1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["nano", "mini", "post_norm"])
@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.tuples(*[st.integers(9, 90)] * 2), min_size=2, max_size=3), seed=st.integers(0, 999))
def test_a_picture_gets_the_same_boxes_alone_and_in_any_batch(
    kind: str, sizes: list[tuple[int, int]], seed: int
) -> None:
    model, batch = MODELS[kind], pictures(*sizes, seed=seed)
    with torch.no_grad():
        together = model(batch)
        for number, picture in enumerate(batch):
            alone = model([picture])
            for name in ("pred_logits", "pred_boxes"):
                assert_close(together[name][number], alone[name][0], rtol=1e-4, atol=2e-5)


MODELS = {
    "nano": tiny(hidden_dim=32, nheads=4),
    "mini": tiny(nheads=8, dec_layers=6),
    "post_norm": tiny(pre_norm=False),
}


def test_pictures_differ_and_the_model_sees_it() -> None:
    model = tiny()
    first, second = model(pictures((40, 40))), model(pictures((40, 40), seed=1))
    assert (first["pred_logits"] - second["pred_logits"]).abs().max() > 0.1


def test_positions_matter() -> None:
    model = tiny()
    (picture,) = pictures((40, 40))
    straight, mirrored = model([picture]), model([picture.flip(2)])
    assert (straight["pred_boxes"] - mirrored["pred_boxes"]).abs().max() > 0.02


def test_learned_positions_and_resnets_run() -> None:
    out = tiny(position_embedding="learned")(pictures((24, 40), (40, 24)))
    assert out["pred_boxes"].isfinite().all()
    model = build("nano", backbone="resnet18", **TINY).eval()
    with torch.no_grad():
        assert model(pictures((40, 70), (64, 33)))["pred_boxes"].isfinite().all()


def test_everything_gets_a_gradient() -> None:
    model = tiny().train()
    out = model(pictures((40, 24), (24, 40)))
    sum(
        layer[name].square().sum() for layer in [out, *out["aux_outputs"]] for name in ("pred_logits", "pred_boxes")
    ).backward()
    silent = {name for name, p in model.named_parameters() if p.grad is None}
    assert silent == set()


KINDS: dict[str, dict[str, object]] = {
    "nano": {},
    "post_norm": {"pre_norm": False},
    "resnet18": {"backbone": "resnet18", "position_embedding": "learned"},
}


def trained(kind: str) -> DETR:
    """A small model whose norms are far from what they start with."""
    return random_statistics(tiny(**KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_an_optimized_copy_predicts_the_same_and_the_model_stays_as_it_was(kind: str) -> None:
    model = trained(kind).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast = model.optimize_for_inference()
    assert model.training
    assert not model.optimized
    assert any(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert fast.optimized
    assert not fast.training
    assert not any(p.requires_grad for p in fast.parameters())
    assert not any("running_mean" in key for key in fast.state_dict())
    for batch in (pictures((64, 90), (70, 33)), pictures((64, 64), (64, 64))):
        wanted, out, again = model.eval()(batch), fast(batch), fast.optimize_for_inference()(batch)
        assert_close(out, wanted, rtol=1e-5, atol=2e-5)
        assert_close(again, out)


def test_an_optimized_copy_cannot_be_trained() -> None:
    fast = tiny().optimize_for_inference()
    with pytest.raises(RuntimeError, match=r"optimized for inference .* train the original"):
        fast.train()
    assert not fast.eval().train(False).training
    assert tiny().train().training


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_bf16_autocast_on_a_cpu_is_close_to_float32(kind: str) -> None:
    """Boxes to 0.03 of the picture and logits to 5 % of their range, with and without padding."""
    model = trained(kind)
    for batch in (pictures((64, 90), (70, 33)), pictures((64, 64), (64, 64))):
        exact = model(batch)
        for other in (model, model.optimize_for_inference()):
            with torch.autocast("cpu", torch.bfloat16):
                out = other(batch)
            assert out["pred_logits"].dtype == torch.bfloat16
            assert_close(out["pred_boxes"].float(), exact["pred_boxes"], rtol=0, atol=0.03)
            span = (exact["pred_logits"].max() - exact["pred_logits"].min()).item()
            assert_close(out["pred_logits"].float(), exact["pred_logits"], rtol=0, atol=0.05 * span)


@torch.no_grad()
def test_positions_are_computed_in_float32_and_rounded_once() -> None:
    model, seen = tiny(), []
    model.transformer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[3]))
    for batch in (pictures((64, 90), (70, 33)), pictures((64, 64))):
        with torch.autocast("cpu", torch.bfloat16):
            model(batch)
        model(batch)
        low, exact = seen[-2:]
        assert low.dtype == torch.bfloat16
        assert torch.equal(low, exact.bfloat16())


def test_training_under_bf16_autocast_on_a_cpu() -> None:
    model = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(pictures((40, 24), (24, 40)))
    (out["pred_logits"].float().square().sum() + out["pred_boxes"].float().sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_a_picture_that_is_all_padding_does_not_spoil_the_others(kind: str, training: bool) -> None:
    model = trained(kind).train(training)
    batch = NestedTensor.from_images(pictures((64, 64), (40, 50), (64, 64)))
    batch.mask[1] = True
    out = model(batch)
    assert all(out[name].isfinite().all() for name in ("pred_logits", "pred_boxes"))
    (out["pred_logits"].square().sum() + out["pred_boxes"].sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    if not training:
        alone = model(NestedTensor(batch.tensors[:1], batch.mask[:1]))
        assert_close(out["pred_boxes"][:1], alone["pred_boxes"], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_features_are_channels_last_and_enter_the_transformer_without_a_copy() -> None:
    for kind in ("nano", "resnet18"):
        model, seen = trained(kind), []
        model.transformer.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        model(pictures((64, 90), (70, 33)))
        (features,) = seen
        assert features.is_contiguous(memory_format=torch.channels_last)
        assert features.flatten(2).transpose(1, 2).is_contiguous()


def test_build_changes_what_it_is_told() -> None:
    model = build("nano", num_classes=3, num_queries=7, dec_layers=1)
    assert model.class_embed.out_features == 4
    assert model.query_embed.num_embeddings == 7
    assert len(model.transformer.decoder.layers) == 1
    assert model.config == detr_mini.modeling.config.get_config("nano", num_classes=3, num_queries=7, dec_layers=1)
    with pytest.raises(ValueError, match="no config is called 'nanoo'"):
        build("nanoo")
    with pytest.raises(ValueError, match="DETRConfig has no classes"):
        build("nano", classes=3)


@pytest.mark.parametrize("changes", [{"position_temperature": 50.0}, {"position_scale": 3.0}])
def test_positions_follow_the_config(changes: dict[str, float]) -> None:
    batch = pictures((40, 24))
    plain, changed = tiny()(batch), tiny(**changes)(batch)
    assert (plain["pred_boxes"] - changed["pred_boxes"]).abs().max() > 1e-3


def test_dilation_follows_the_config() -> None:
    with torch.no_grad():
        (features,) = build("detr_resnet50_dc5").backbone[0](NestedTensor.from_images(pictures((32, 48))))
    assert features.tensors.shape == (1, 2048, 2, 3)


def test_public_names() -> None:
    for name in detr_mini.__all__:
        assert getattr(detr_mini, name) is not None
    assert {"DETR", "build", "load", "save", "postprocess", "NestedTensor", "SetCriterion"} <= set(detr_mini.__all__)


def test_postprocess_by_hand() -> None:
    logits = torch.tensor(
        [
            [[2.0, 1.0, 0.0, 5.0], [0.0, 3.0, 0.0, -9.0]],  # the best class of a slot that sees nothing still counts
            [[0.0, 0.0, 1.0, 0.0], [9.0, 0.0, 0.0, 0.0]],
        ]
    )
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 1.0, 1.0]], [[0.25, 0.75, 0.5, 0.5], [0.1, 0.2, 0.2, 0.4]]])
    sizes = torch.tensor([[100, 200], [40, 10]])  # height, width
    first, second = postprocess({"pred_logits": logits, "pred_boxes": boxes}, sizes)
    assert first["labels"].tolist() == [0, 1]
    assert second["labels"].tolist() == [2, 0]
    assert_close(first["boxes"], torch.tensor([[80.0, 30.0, 120.0, 70.0], [0.0, 0.0, 200.0, 100.0]]))
    assert_close(second["boxes"], torch.tensor([[0.0, 20.0, 5.0, 40.0], [0.0, 0.0, 2.0, 16.0]]))
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    assert_close(first["scores"], torch.stack([probabilities[0, 0, 0], probabilities[0, 1, 1]]))
    assert_close(second["scores"], torch.stack([probabilities[1, 0, 2], probabilities[1, 1, 0]]))


def test_a_model_postprocesses_its_own_outputs() -> None:
    model = tiny()
    outputs, sizes = model(pictures((24, 40))), torch.tensor([[48, 80]])
    assert_close(model.postprocess(outputs, sizes), postprocess(outputs, sizes), rtol=0, atol=0)
    assert_close(model.optimize_for_inference().postprocess(outputs, sizes), postprocess(outputs, sizes))


def test_postprocess_takes_half_precision() -> None:
    logits, boxes = torch.randn(1, 5, 4), torch.rand(1, 5, 4)
    half: dict[str, Any] = {"pred_logits": logits.bfloat16(), "pred_boxes": boxes.bfloat16()}
    (found,) = postprocess(half, torch.tensor([[480, 640]]))
    assert found["scores"].dtype == found["boxes"].dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_on_a_gpu_as_on_the_cpu(backbone: str) -> None:
    torch.manual_seed(0)
    model = tiny() if backbone == "small" else build("nano", backbone="resnet18", **TINY).eval()
    batch = NestedTensor.from_images(pictures((64, 96), (80, 50)))
    with torch.no_grad():
        wanted = model(batch)
        with torch.backends.cudnn.flags(allow_tf32=False):
            out = model.cuda()(batch.to("cuda"))
    for name in ("pred_logits", "pred_boxes"):
        assert_close(out[name].cpu(), wanted[name], rtol=1e-3, atol=1e-3)
    found = postprocess(out, torch.tensor([[64, 96], [80, 50]]))
    assert found[0]["boxes"].is_cuda
    again = postprocess(wanted, torch.tensor([[64, 96], [80, 50]]))
    assert_close(found[1]["boxes"].cpu(), again[1]["boxes"], rtol=1e-3, atol=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_on_a_gpu(dtype: torch.dtype) -> None:
    model = tiny().cuda()
    batch = NestedTensor.from_images(pictures((64, 96), (80, 50))).to("cuda")
    with torch.no_grad():
        exact = model(batch)
    with torch.autocast("cuda", dtype):
        out = model(batch)
    assert_close(out["pred_boxes"].float(), exact["pred_boxes"], rtol=0, atol=0.05)
    out["pred_logits"].float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
