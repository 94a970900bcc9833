"""The page of the commands is what the program says of itself."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import fields

import pytest
from commands_page import PAGE, _broken, page

from detr_mini.commands.cli import make_parser
from detr_mini.modeling.config import DeformableDETRConfig, DETRConfig
from detr_mini.training.recipe import Recipe

TEXT = PAGE.read_text("utf-8")


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (action for action in make_parser()._actions if action.dest == "command")
    return dict(found.choices or {})  # type: ignore[arg-type]


def test_the_page_is_the_one_that_the_program_gives():
    assert page() == TEXT, "python tools/commands_page.py writes it anew"


def words(command: argparse.ArgumentParser, of: str = "") -> Iterator[str]:
    """What a command takes, by the words that the page has for it; parts of a command go before their options."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, part in action.choices.items():
                yield f"{name}`"
                yield from words(part, f"{name} ")
        elif action.dest != "help":
            yield f"{of}{action.option_strings[0] if action.option_strings else action.metavar}"


def test_every_option_has_a_row_with_a_meaning():
    for name, command in commands().items():
        section = TEXT.split(f"\n## `{name}`\n")[1].split("\n## ")[0]
        for word in words(command):
            (row,) = re.findall(rf"^\| `{re.escape(word)}(?!\w).*$", section, re.MULTILINE)
            assert not row.endswith("|  |"), f"{name} {word} says nothing"
            assert "%(" not in row


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        (DETRConfig, "config"),
        (DeformableDETRConfig, "config of a Deformable DETR"),
        (Recipe, "recipe"),
    ],
)
def test_every_field_has_a_row_with_its_default_and_a_meaning(kind, section):
    table = TEXT.split(f"### Fields of the {section}\n")[1].split("\n#")[0]
    for field in fields(kind):
        (row,) = re.findall(rf"^\| `{field.name}` \| `(.*?)` \| .*? \| (.*) \|$", table, re.MULTILINE)
        if isinstance(field.default, float):
            assert float(row[0]) == pytest.approx(field.default, rel=1e-5)
        elif not isinstance(field.default, tuple):
            assert row[0] == (field.default if isinstance(field.default, str) else str(field.default).lower())
        assert row[1], f"{field.name} has no comment in its dataclass"


def test_commands_fit_a_page_and_parse_when_put_together():
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL):
        assert max(map(len, block.splitlines())) <= 80
        for line in block.replace("\\\n", "").splitlines():
            if line.startswith("detr-mini ") and line != "detr-mini --version":
                make_parser().parse_args(line.split()[1:])


def test_a_command_is_broken_before_its_options():
    line = "detr-mini train --data some/where --config detr_resnet50 --out runs/one --workers 8 --lr 1e-4"
    broken = _broken(line, 40)
    assert all(part.startswith("  --") for part in broken[1:])
    assert all(part.endswith(" \\") for part in broken[:-1])
    assert " ".join(part.strip().rstrip(" \\") for part in broken) == line
