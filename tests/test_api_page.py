"""The pages of the package list every name that a chapter uses, and tell what it is."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

BOOK = Path(__file__).resolve().parent.parent / "book"
PAGE = "".join((BOOK / f"{name}.md").read_text("utf-8") for name in ("api", "api_training", "api_chapters"))
VALUES = re.findall(r"^\| `(detr_mini[\w.]+)` \| (.+?) \| .+ \|$", PAGE, flags=re.MULTILINE)
CHAPTERS = sorted((BOOK / "src").glob("*.md"))
UNLISTED = {  # what a chapter imports that is told elsewhere
    "detr_mini.teaching.exercises": "the exercises of a chapter: their solutions stand in it",
}


SAME = {  # values that two modules have
    "detr_mini.data.grammar.CHINESE": "detr_mini.data.lexicon.CHINESE",
    "detr_mini.data.grammar.ENGLISH": "detr_mini.data.lexicon.ENGLISH",
}


def value_of(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def home(name: str) -> str:
    """Where the page has to have it: a class or function where it is defined, else as it is imported."""
    found = value_of(name)
    if inspect.isclass(found) or inspect.isfunction(found):
        return f"{found.__module__}.{found.__name__}"
    return SAME.get(name, name)


def listed() -> set[str]:
    """Names with their modules: those of ``:members:``, all of a module where it has none after it, and the values."""
    names = {name for name, _ in VALUES}
    for module, members in re.findall(r"^\.\. automodule:: (\S+)\n   :members:(.*)$", PAGE, flags=re.MULTILINE):
        known = vars(importlib.import_module(module))
        own = (k for k, v in known.items() if getattr(v, "__module__", None) == module and v.__doc__ and k[0] != "_")
        names |= {f"{module}.{name.strip()}" for name in (members.split(",") if members.strip() else own)}
    return {home(name) for name in names}


def is_module(name: str) -> bool:
    return (
        importlib.util.find_spec(name) is not None
        if hasattr(sys.modules[name.rpartition(".")[0]], "__path__")
        else False
    )


def used(text: str) -> set[str]:
    """Names of the package that a chapter's cells import, or take from a module of it."""
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    trees = [ast.parse(re.sub(r"^:[\w-]+:.*$", "", cell, flags=re.MULTILINE)) for cell in cells]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules, names = {"detr_mini": "detr_mini"}, set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "detr_mini":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                importlib.import_module(str(node.module))
                if is_module(whole):
                    modules[alias.asname or alias.name] = whole
                else:
                    names.add(whole)
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            whole = f"{modules[node.value.id]}.{node.attr}"
            importlib.import_module(modules[node.value.id])
            if not is_module(whole) and not node.attr.startswith("__"):
                names.add(whole)
    return {name for name in names if not name.startswith(tuple(UNLISTED))}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_name_that_a_chapter_uses_is_on_the_page(path: Path) -> None:
    assert {home(name) for name in used(path.read_text("utf-8"))} - listed() == set()


def test_what_the_page_names_is_there() -> None:
    """A name that moves to another module would be left out of the page without a word."""
    for name in listed():
        module, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(module), last), name


@pytest.mark.parametrize(("name", "told"), VALUES)
def test_values_are_those_of_the_package(name: str, told: str) -> None:
    value = value_of(name)
    if "..." in told:
        first, second, last = ast.literal_eval(told.strip("`").replace("..., ", ""))
        assert (value[0], value[1], value[-1]) == (first, second, last)
    elif told.startswith("`"):
        assert value == ast.literal_eval(told.strip("`"))
    elif told.startswith("a "):
        assert type(value).__name__ == {"a `Vocabulary`": "Vocabulary", "a folder": "PosixPath"}[told]
    else:
        assert len(value) > 1
