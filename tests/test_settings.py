"""``--set``: every field of a config and a recipe by command, as its own type."""

import argparse
from dataclasses import dataclass, fields, replace

import pytest

from detr_mini.commands.settings import add_option, overrides, setting
from detr_mini.errors import ConfigError
from detr_mini.modeling.config import DeformableDETRConfig, DETRConfig
from detr_mini.training.recipe import Recipe


@dataclass(frozen=True)
class Sample:
    """One field of each type."""

    whole: int = 1
    real: float = 1.0
    flag: bool = False
    name: str = "a"
    perhaps: int | None = None
    sizes: tuple[int, ...] | None = None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("whole=7", 7),
        ("real=7", 7.0),
        ("real=1e-4", 1e-4),
        ("flag=true", True),
        ("flag=False", False),
        ("name=resnet18", "resnet18"),
        ("name=a=b", "a=b"),
        ("perhaps=40", 40),
        ("perhaps=None", None),
        ("sizes=480,512", (480, 512)),
        ("sizes=(480, 512)", (480, 512)),
        ("sizes=480", (480,)),
        ("sizes=none", None),
    ],
)
def test_a_value_is_read_as_the_type_of_its_field(text, value):
    found = overrides([Sample], "recipe", [setting(f"recipe.{text}")])
    assert found == {text.split("=")[0]: value}
    assert type(found.popitem()[1]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whole=7.5", "whole=7.5: a whole number is wanted"),
        ("whole=none", "whole=none: a whole number is wanted"),
        ("real=fast", "real=fast: a number is wanted"),
        ("flag=yes", "flag=yes: true or false is wanted"),
        ("perhaps=", "perhaps=: a whole number or none is wanted"),
        ("sizes=480;512", "sizes=480;512: whole numbers with commas between or none is wanted"),
        ("wohle=7", "no field 'wohle'; there is whole"),
        ("zzz=7", "no field 'zzz'; there is whole, real, flag"),
    ],
)
def test_what_cannot_be_read_is_said(text, message):
    with pytest.raises(ConfigError, match="--set") as error:
        overrides([Sample], "recipe", [setting(f"recipe.{text}")])
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["lr=1", "recipe.lr", "recipe", "recipes.lr=1", "=", "recipe=1.5"])
def test_another_form_is_a_wrong_command(text, capsys):
    command = argparse.ArgumentParser()
    add_option(command)
    with pytest.raises(SystemExit) as stop:
        command.parse_args(["--set", text])
    assert stop.value.code == 2
    assert "config.FIELD=VALUE or recipe.FIELD=VALUE" in capsys.readouterr().err


def test_sections_do_not_mix_and_the_last_word_counts():
    settings = [setting(text) for text in ("config.real=2", "recipe.real=3", "recipe.real=4")]
    assert overrides([Sample], "config", settings) == {"real": 2.0}
    assert overrides([Sample], "recipe", settings) == {"real": 4.0}


@pytest.mark.parametrize(
    ("kind", "section"), [(DETRConfig, "config"), (DeformableDETRConfig, "config"), (Recipe, "recipe")]
)
def test_every_field_can_be_set_to_what_it_is(kind, section):
    """No field has a type that cannot be written."""
    settings = [setting(f"{section}.{field.name}={field.default}") for field in fields(kind)]
    assert replace(kind(), **overrides([kind], section, settings)) == kind()
