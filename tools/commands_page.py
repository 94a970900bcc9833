"""Write book/commands.md, the page of the command line, from the parser and the dataclasses themselves.

``python tools/commands_page.py`` writes it; a test compares it with what would be written.
"""

import argparse
import ast
import inspect
import math
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from detr_mini.commands.cli import EXIT_CODES, make_parser
from detr_mini.modeling.config import CONFIGS, DeformableDETRConfig, DETRConfig
from detr_mini.training.pace import FITTED
from detr_mini.training.recipe import RECIPES, Recipe, published_recipe, recipe_for

PAGE = Path(__file__).resolve().parent.parent / "book" / "commands.md"

START = """# Commands

The package brings one program, `detr-mini`, with a command for each step from data to boxes. `detr-mini --help` lists
them, `detr-mini COMMAND --help` shows one, and `python -m detr_mini` is the same program under another name. This page
is made from the program itself, so it says what `--help` says.

## Install

With Python 3.11, 3.12 or 3.13, in a checkout of the repository, or with the path of a wheel in place of the dot:

```bash
pip install .
detr-mini --version
```

Where no GPU is wanted, install PyTorch without CUDA's gigabytes first:

```bash
pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu
```

To run the chapters or build this book, `make book` installs its exact versions into `.venv`; there the program is
`.venv/bin/detr-mini`. What goes wrong on the way is in [Troubleshooting](troubleshooting.md).

## From data to boxes

Five commands, from nothing to a trained model and what it finds. They take about 20 minutes on two cores, most of it
training; smaller numbers after `--train` and `--epochs` make a trial of it.

```bash
detr-mini make-data data/tiny_town
detr-mini check-data data/tiny_town
detr-mini train --data data/tiny_town --out runs/nano
detr-mini evaluate --data data/tiny_town \\
  --weights runs/nano/model.safetensors
detr-mini predict data/tiny_town/val \\
  --weights runs/nano/model.safetensors
```
"""

SETTINGS = """## Any field: `--set`

`train` builds a model from a *config* and trains it by a *recipe*. Their most used fields have options of their own,
and `--set` changes any of them: `--set config.dec_layers=3 --set recipe.lr_drop=none`. Lists are written with commas,
`480,512,544`. A text that cannot be read as what the field holds is refused, and so is a value that cannot work.
"""

CONFIG = """Published is `detr_resnet50`, the default of every field. A blank cell in the column of a small
model means: as published. {others} The chapters build the parts that the fields describe, and [DETR in one
page](13_one_page.ipynb) puts these together."""

DEFORMABLE = """A model whose name begins with `deformable`, and `photo`, is a Deformable DETR, and has these fields.
Published is `deformable_detr_resnet50`; a blank cell means: as published. {others}"""

RECIPE = """Published is the recipe of the paper; a blank cell means: as published. The configs {small} have recipes of
their own name, the published DETRs that of the paper. A published Deformable DETR has {deformable}. {more}
A small model that is trained on data of your own, not from a config with a recipe of its name, has a recipe that
follows from the number of images: {own}.
[Training](14_train.ipynb) builds the loop that a recipe steers, with AdamW; Muon and
`sampling_lr_factor` it does not show."""

ENDS = """## Exit codes

What the program returns to the shell, for scripts:
"""


def page() -> str:
    """The whole page."""
    root = make_parser()
    (commands,) = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    parts = [START]
    parts += [_command(name, command) for name, command in commands.choices.items()]
    parts += [SETTINGS, "### Fields of the config\n"]
    dense = {name: config for name, config in CONFIGS.items() if isinstance(config, DETRConfig)}
    sparse = {name: config for name, config in CONFIGS.items() if name not in dense}
    parts += [_wrapped(CONFIG.format(others=_others(dense, "detr_resnet50", "nano"))), _fields(DETRConfig, CONFIGS)]
    others = _others(sparse, "deformable_detr_resnet50", "deformable_nano")
    parts += ["### Fields of the config of a Deformable DETR\n", _wrapped(DEFORMABLE.format(others=others))]
    parts += [_fields(DeformableDETRConfig, CONFIGS, "deformable_nano")]
    *names, last = (f"`{name}`" for name in RECIPES if name in CONFIGS)
    small = f"{', '.join(names)} and {last}"
    parts += [
        "### Fields of the recipe\n",
        _wrapped(RECIPE.format(small=small, deformable=_of_deformable(), more=_further(), own=_for_own_data())),
        _fields(Recipe, RECIPES),
    ]
    codes = [(f"`{code}`", _escape(meaning)) for code, meaning in EXIT_CODES.items()]
    return "\n".join([*parts, ENDS, _table(("Code", "Meaning"), codes)])


def _command(name: str, command: argparse.ArgumentParser) -> str:
    """The section of a command: what it does, its options, its examples."""
    summary, *details = (command.description or "").split("\n\n")
    rows = _rows(command)
    notes = [_prose(block) for block in details]
    shown = _examples(command.epilog or "")
    section = [f"## `{name}`", "", _sentence(summary), "", *notes, _table(("Option", "Meaning"), rows), shown]
    return "\n".join(section)


def _rows(command: argparse.ArgumentParser, of: str = "") -> list[tuple[str, str]]:
    """Each option with what it means; of a command that has parts, each part with its own options."""
    rows = []
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            said = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, part in action.choices.items():
                rows += [(f"`{name}`", _escape(said[name])), *_rows(part, f"{name} ")]
        elif action.dest != "help":
            rows.append((_option(action).replace("`", f"`{of}", 1), _help(command, action)))
    return rows


def _option(action: argparse.Action) -> str:
    names = [*action.option_strings] or [str(action.metavar or action.dest)]
    value = f" {action.metavar or action.dest.upper()}" if action.option_strings and action.nargs != 0 else ""
    text = f"`{', '.join(names)}{value}`" + (" …" if action.nargs == "+" else "")
    return text.replace("|", r"\|") + (" (required)" if action.required and action.option_strings else "")


def _help(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": command.prog}
    return _escape(text)


def _prose(block: str) -> str:
    """A paragraph of a description; its indented lines are commands."""
    lines = block.splitlines()
    code = [line.strip() for line in lines if line.startswith("  ")]
    text = _escape(" ".join(line for line in lines if not line.startswith("  ")))
    return "\n".join([_wrapped(text), *(_bash(code) if code else [])])


def _examples(epilog: str) -> str:
    """The examples of a command, each broken into lines of a narrow page."""
    blocks = []
    for title, body in re.findall(r"^(\S[^\n]*):\n((?:  .*\n?)+)", epilog, re.MULTILINE):
        shown = [line for example in body.splitlines() for line in _broken(example.strip())]
        blocks += [f"{title[0].upper()}{title[1:]}:", "", *_bash(shown)]
    return "\n".join(blocks)


def _broken(command: str, width: int = 72) -> list[str]:
    """A command in lines that end in a backslash, broken before options only."""
    parts = re.split(r" (?=--)", command)
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" {part}"
        else:
            lines[-1] += " \\"
            lines.append(f"  {part}")
    return lines


def _bash(lines: Sequence[str]) -> list[str]:
    return ["```bash", *lines, "```", ""]


def _of_deformable() -> str:
    """What is different in the published recipe of a Deformable DETR."""
    recipe, usual = published_recipe(DeformableDETRConfig()), Recipe()
    changed = [f.name for f in fields(Recipe) if getattr(recipe, f.name) != getattr(usual, f.name)]
    return ", ".join(f"`{name}={_value(getattr(recipe, name))}`" for name in changed)


def _for_own_data() -> str:
    """The recipes for some numbers of images."""
    shown = []
    for images in (30, 300, 3000, 30_000):
        recipe = recipe_for(images, images // 5)
        steps = recipe.epochs * math.ceil(images / recipe.batch_size)
        shown.append(f"{images:,} images are trained on for {recipe.epochs} epochs, {steps:,} steps")
    changed = [f.name for f in fields(Recipe) if getattr(recipe, f.name) != getattr(RECIPES["nano"], f.name)]
    same = ", ".join(f"`{name}={_value(getattr(recipe, name))}`" for name in changed if name not in FITTED)
    return f"{'; '.join(shown)}. Otherwise it is that of `nano` with {same}"


def _further() -> str:
    """The recipes that the table does not show, each with what it changes of that of `nano`."""
    sentences = []
    for name, recipe in RECIPES.items():
        if name != "nano":
            changed = [f.name for f in fields(Recipe) if getattr(recipe, f.name) != getattr(RECIPES["nano"], f.name)]
            shown = ", ".join(f"`{field}={_value(getattr(recipe, field))}`" for field in changed)
            sentences.append(f"The recipe `{name}` is that of `nano` with {shown}.")
    return " ".join(sentences)


def _fields(kind: type, named: dict[str, Any], small: str = "nano") -> str:
    """A table of the fields of a dataclass: default, that of the small one where it differs, meaning."""
    defaults, nano = kind(), named[small]
    rows = []
    comments = dict(_comments(kind))
    for field in fields(kind):
        default, other = getattr(defaults, field.name), getattr(nano, field.name)
        shown = "" if other == default else f"`{_value(other)}`"
        rows.append((f"`{field.name}`", f"`{_value(default)}`", shown, _escape(comments.get(field.name, ""))))
    return _table(("Field", "Published", f"`{small}`", "Meaning"), rows)


def _comments(kind: type) -> Iterator[tuple[str, str]]:
    """Each field of a dataclass with the comments at the end of its line and on the lines above it."""
    lines = textwrap.dedent(inspect.getsource(kind)).splitlines()
    (body,) = ast.parse("\n".join(lines)).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        above: list[str] = []
        first = node.lineno - 2
        while lines[first].strip().startswith("#"):
            above.insert(0, lines[first].strip().lstrip("# "))
            first -= 1
        _, _, behind = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :].partition("#")
        yield node.target.id, " ".join(filter(None, [*above, behind.strip()]))


def _others(configs: dict[str, Any], published: str, small: str) -> str:
    """What sets the further configs apart from the two that have a column."""
    sentences = []
    for name, config in configs.items():
        if name in (published, small):
            continue
        base = small if config.backbone == configs[small].backbone else published
        changed = {f.name: getattr(config, f.name) for f in fields(config)}
        differs = [f"{k}={_value(v)}" for k, v in changed.items() if v != getattr(configs[base], k)]
        sentences.append(f"`{name}` is `{base}` with {', '.join(f'`{one}`' for one in differs)}.")
    return " ".join(sentences)


def _value(value: object) -> str:
    """A default as `--set` takes it; a long list is cut."""
    if isinstance(value, tuple):
        shown = [str(part) for part in value]
        return ",".join(shown if len(shown) < 6 else [*shown[:2], "...", shown[-1]])
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(" ".join(text.split()), 118, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*lines, ""])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, ""])


def _sentence(text: str) -> str:
    text = _escape(text[:1].upper() + text[1:])
    return text if text.endswith(".") else f"{text}."


def _escape(text: str) -> str:
    """Plain text as Markdown: what looks like code becomes it, and what has a meaning there loses it."""
    words = []
    for word in text.split(" "):
        core = word.strip(".,;:()'")
        code = bool(re.search(r"^--|_|\*|=|/|\.(json|jpg|png|safetensors|pth)$", core)) or core in CONFIGS
        words.append(word.replace(core, f"`{core}`") if code and len(core) > 1 else word)
    return " ".join(words).replace("'`", "`").replace("`'", "`").replace("|", r"\|").replace("<", r"\<")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE} is written", file=sys.stderr)
