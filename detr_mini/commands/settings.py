"""``--set SECTION.FIELD=VALUE``: any field of a config or a recipe by command, read as the type that the field has."""

import argparse
import difflib
import types
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from detr_mini.errors import ConfigError

SECTIONS = ("config", "recipe")
_BOOLEANS = {"true": True, "false": False}
_WANTED = {int: "a whole number", float: "a number", bool: "true or false", tuple: "whole numbers with commas between"}


class Setting(NamedTuple):
    """One ``--set``, such as ``recipe.lr_drop=40``."""

    section: str
    field: str
    text: str


def add_option(command: argparse.ArgumentParser) -> None:
    """``--set`` for what is trained, to be read with :func:`overrides`."""
    _add(
        command,
        SECTIONS,
        "any field of the config or the recipe, such as recipe.lr_drop=40, config.pre_norm=true or recipe.sizes=none; "
        "may be given several times, and goes before the other options",
    )


def add_config_option(command: argparse.ArgumentParser) -> None:
    """``--set`` for what is loaded, to be read with :func:`overrides`."""
    _add(
        command,
        SECTIONS[:1],
        "a field of the config that the weights do not tell, such as config.dilation=true for published DC5 weights, "
        "or config.max_size=640; may be given several times",
    )


def setting(text: str, sections: Sequence[str] = SECTIONS) -> Setting:
    """``recipe.lr_drop=40`` in its three parts, as a type of argparse."""
    name, equals, value = text.partition("=")
    section, dot, field = name.partition(".")
    if not (equals and dot and section in sections):
        forms = " or ".join(f"{section}.FIELD=VALUE" for section in sections)
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form {forms}, such as config.dec_layers=3")
    return Setting(section, field, value)


def _add(command: argparse.ArgumentParser, sections: Sequence[str], meaning: str) -> None:
    command.add_argument(
        "--set",
        type=partial(setting, sections=sections),
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help=meaning,
    )


def config_overrides(settings: Sequence[Setting]) -> dict[str, Any]:
    """The fields of a config that the ``settings`` change; whether its kind has them is for the config to say."""
    from detr_mini.modeling.config import DeformableDETRConfig, DETRConfig

    return overrides((DETRConfig, DeformableDETRConfig), "config", settings)


def overrides(kinds: Sequence[type], section: str, settings: Sequence[Setting]) -> dict[str, Any]:
    """The fields of some dataclasses that the ``settings`` of this section change, with their values.

    Raises:
        ConfigError: none has such a field (the message names those that look like it), or the text cannot be
            read as its type. Whether a value makes sense is for the dataclass to say.
    """
    hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind).items()}
    known = list(dict.fromkeys(field.name for kind in kinds for field in fields(kind)))
    changed = {}
    for setting in settings:
        if setting.section != section:
            continue
        if setting.field not in known:
            near = difflib.get_close_matches(setting.field, known, n=3) or known
            raise ConfigError(f"--set: {section} has no field {setting.field!r}; there is {', '.join(near)}")
        changed[setting.field] = _read(setting, hints[setting.field])
    return changed


def _read(setting: Setting, hint: Any) -> Any:
    """The value of the type ``hint``: int, float, bool, str, a tuple of int, or one of these or None."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(None) in kinds and setting.text.lower() == "none":
        return None
    (kind,) = (kind for kind in kinds if kind is not type(None))
    try:
        if kind is bool:
            return _BOOLEANS[setting.text.lower()]
        if get_origin(kind) is tuple:
            return tuple(int(part) for part in setting.text.strip("()").rstrip(",").split(","))
        return kind(setting.text)
    except (ValueError, KeyError):
        wanted = _WANTED[get_origin(kind) or kind] + (" or none" if type(None) in kinds else "")
        raise ConfigError(f"--set {setting.section}.{setting.field}={setting.text}: {wanted} is wanted") from None
