"""Configurations: the published ones, and what is refused."""

import dataclasses
import json
import math
import re
from typing import Any

import pytest

from detr_mini import CONFIGS, DeformableDETRConfig, DETRConfig
from detr_mini.errors import ConfigError
from detr_mini.modeling.config import get_config, kind_of, require_field_types


def test_the_defaults_are_detr_r50() -> None:
    config = DETRConfig()
    assert config == CONFIGS["detr_resnet50"]
    published = {
        "backbone": "resnet50",
        "dilation": False,
        "freeze_resnet": True,
        "position_embedding": "sine",
        "position_temperature": 10000,
        "hidden_dim": 256,
        "nheads": 8,
        "enc_layers": 6,
        "dec_layers": 6,
        "dim_feedforward": 2048,
        "dropout": 0.1,
        "pre_norm": False,
        "num_queries": 100,
        "num_classes": 91,
        "aux_loss": True,
        "masks": False,
        "image_size": 800,
        "max_size": 1333,
    }
    assert dataclasses.asdict(config) == published | {"position_scale": pytest.approx(6.2831853)}


def test_the_four_published_configs_differ_in_body_and_dilation() -> None:
    bodies = {
        "detr_resnet50": ("resnet50", False),
        "detr_resnet50_dc5": ("resnet50", True),
        "detr_resnet101": ("resnet101", False),
        "detr_resnet101_dc5": ("resnet101", True),
    }
    for name, (backbone, dilation) in bodies.items():
        assert CONFIGS[name] == DETRConfig(backbone=backbone, dilation=dilation)
    others = {name for name in CONFIGS if not name.startswith("deformable")} - bodies.keys()
    assert others == {"nano", "mini", "mini_panoptic", "photo"}


def test_the_deformable_defaults_are_the_published_ones() -> None:
    config = DeformableDETRConfig()
    assert config == CONFIGS["deformable_detr_resnet50"]
    published = {
        "backbone": "resnet50",
        "dilation": False,
        "freeze_resnet": True,
        "num_feature_levels": 4,
        "enc_points": 4,
        "dec_points": 4,
        "with_box_refine": False,
        "two_stage": False,
        "position_temperature": 10000,
        "hidden_dim": 256,
        "nheads": 8,
        "enc_layers": 6,
        "dec_layers": 6,
        "dim_feedforward": 1024,
        "dropout": 0.1,
        "num_queries": 300,
        "num_classes": 91,
        "aux_loss": True,
        "image_size": 800,
        "max_size": 1333,
    }
    assert dataclasses.asdict(config) == published | {"position_scale": pytest.approx(6.2831853)}
    variants: dict[str, dict[str, Any]] = {
        "single_scale": {"num_feature_levels": 1},
        "single_scale_dc5": {"num_feature_levels": 1, "dilation": True},
        "refine": {"with_box_refine": True},
        "two_stage": {"with_box_refine": True, "two_stage": True},
    }
    for name, changes in variants.items():
        assert CONFIGS[f"deformable_detr_resnet50_{name}"] == DeformableDETRConfig(**changes)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DETRConfig().nheads = 4  # type: ignore[misc]


def test_by_name_as_it_is_and_with_changes() -> None:
    assert get_config("nano") == CONFIGS["nano"]
    mine = DETRConfig(num_classes=7)
    assert get_config(mine) == mine
    assert get_config(mine, num_queries=5) == DETRConfig(num_classes=7, num_queries=5)
    assert get_config("nano", num_classes=3).num_classes == 3
    assert CONFIGS["nano"].num_classes == 14


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet51"}, r"backbone='resnet51'.*resnet18, resnet34, resnet50, resnet101, small"),
        ({"backbone": "resnet18", "dilation": True}, "dilation=True needs.*not 'resnet18'"),
        ({"backbone": "small", "dilation": True}, "dilation=True needs.*not 'small'"),
        ({"position_embedding": "rotary"}, "position_embedding='rotary' is not known; use 'sine' or 'learned'"),
        ({"position_temperature": 0}, "position_temperature=0 must be above 0"),
        ({"position_scale": -1.0}, "position_scale=-1.0 must be above 0"),
        ({"hidden_dim": 250}, "hidden_dim=250 must be a multiple of nheads=8"),
        ({"hidden_dim": 6, "nheads": 2}, "hidden_dim=6 must be a multiple of 4"),
        ({"hidden_dim": 8, "nheads": 2, "masks": True}, "hidden_dim=8 must be at least 16 with masks=True"),
        ({"nheads": 0}, "nheads=0 must be at least 1"),
        ({"hidden_dim": 0}, "hidden_dim=0 must be at least 1"),
        ({"dropout": 1.0}, r"dropout=1.0 must lie in \[0, 1\)"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dec_layers": 0}, "dec_layers=0 must be at least 1"),
        ({"dim_feedforward": 0}, "dim_feedforward=0"),
        ({"num_queries": 0}, "num_queries=0"),
        ({"num_classes": -3}, "num_classes=-3"),
        ({"enc_layers": -1}, "enc_layers=-1 must not be negative"),
        ({"image_size": 0}, "image_size=0 must be at least 1 pixel, or None"),
        ({"image_size": None, "max_size": 0}, "max_size=0 must be at least 1 pixel"),
        ({"max_size": 320}, "image_size=800 is the short side .* max_size=320; set both"),
        ({"hidden_dims": 64}, "no hidden_dims; its fields are.*hidden_dim"),
    ],
)
def test_what_is_refused_and_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        get_config("detr_resnet50", **changes)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"two_stage": True}, "two_stage=True needs with_box_refine=True"),
        ({"num_feature_levels": 0}, "num_feature_levels=0 must be at least 1"),
        ({"enc_points": 0}, "enc_points=0 must be at least 1"),
        ({"dec_points": -1}, "dec_points=-1 must be at least 1"),
        ({"hidden_dim": 48}, "hidden_dim=48 must be a multiple of 32"),
        ({"hidden_dim": 0}, "hidden_dim=0 must be at least 1"),
        ({"backbone": "resnet34", "dilation": True}, "dilation=True needs.*not 'resnet34'"),
        ({"pre_norm": True}, "DeformableDETRConfig has no pre_norm; its fields are.*two_stage"),
    ],
)
def test_what_a_deformable_config_refuses_and_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_config("deformable_detr_resnet50", **changes)


def test_stored_fields_show_their_kind() -> None:
    for name in ("nano", "deformable_nano"):
        config = CONFIGS[name]
        assert kind_of(dataclasses.asdict(config)) is type(config)
    assert kind_of({}) is DETRConfig


WRONG: dict[Any, tuple[list[Any], str]] = {
    str: ([None, 5, True, b"small"], "a text"),
    bool: ([None, 0, 1, "False", 0.0], "True or False"),
    int: ([None, True, 4.0, "4", math.nan], "an integer"),
    float: ([None, False, "0.1", math.nan, math.inf, -math.inf], "a finite number"),
    int | None: ([False, 800.0, "None", math.nan], "an integer or None"),
}


@pytest.mark.parametrize("kind", [DETRConfig, DeformableDETRConfig])
def test_every_field_takes_its_own_type_alone(kind: Any) -> None:
    for field in dataclasses.fields(kind):
        values, wanted = WRONG[field.type]
        for value in values:
            with pytest.raises(ConfigError, match=f"^{re.escape(f'{field.name}={value!r} must be {wanted}')}$"):
                kind(**{field.name: value})


def test_a_config_stored_before_a_field_existed_has_its_default() -> None:
    stored = dataclasses.asdict(CONFIGS["nano"])
    del stored["freeze_resnet"]
    assert DETRConfig(**json.loads(json.dumps(stored))) == CONFIGS["nano"]


def test_an_integer_is_a_number_and_none_is_no_size() -> None:
    assert DETRConfig(dropout=0, position_scale=6).dropout == 0
    assert DETRConfig(image_size=None, max_size=320).max_size == 320
    assert DETRConfig(image_size=320, max_size=320).image_size == 320
    assert DETRConfig(enc_layers=0).enc_layers == 0


def test_types_of_a_dataclass_with_tuples() -> None:
    @dataclasses.dataclass
    class Sizes:
        sizes: tuple[int, ...] | None = (480, 512)

    for good in ((480, 512), (), None):
        require_field_types(Sizes(good))
    for bad in ((480, 1.5), [480], 480):
        with pytest.raises(ConfigError, match="must be a tuple of integers or None"):
            require_field_types(Sizes(bad))  # type: ignore[arg-type]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'micro'; there are nano, mini, mini_panoptic, detr_resnet50"):
        get_config("micro")
