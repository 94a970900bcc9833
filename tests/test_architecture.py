"""What may import what, how long a file and a function may be, and which names are taken."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detr_mini.classroom.student_wheel import WITHHELD

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "detr_mini"
FILES = sorted(PACKAGE.rglob("*.py"))
# Long, since there is much to draw.
DRAWINGS = {"data/sprites.py", "data/scenery.py", "data/tiny_town.py", "data/night_scenery.py"}
# Of modeling/, in the order of the book: a module imports none that comes after it.
ORDER = [
    "config",
    "attention",
    "layer",
    "decoding",
    "seq2seq",
    "nested_tensor",
    "norm",
    "backbone",
    "position_encoding",
    "transformer",
    "export",
    "detr",
    "deformable_attention",
    "deformable_transformer",
    "deformable_detr",
    "mask_head",
    "segmentation",
    "build",
]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(tree: ast.AST, *, lazy: bool) -> Iterator[str]:
    """The modules that a file imports when it is imported; with ``lazy`` those of its functions, too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif not is_for_types_only(node) and (lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imports(node, lazy=lazy)


def graph(*, lazy: bool) -> dict[str, set[str]]:
    """Which modules of the package each of them imports."""
    trees = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
    return {name: set(imports(tree, lazy=lazy)) & set(MODULES) - {name} for name, tree in trees.items()}


def reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in edges[waiting.pop()] - found:
            found.add(name)
            waiting.append(name)
    return found


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_no_module_comes_back_to_itself() -> None:
    edges = graph(lazy=False)
    # A room's __init__ gathers what its modules hold, and imports of the package itself gather all.
    gathering = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    edges = {name: to - gathering for name, to in edges.items()}
    assert not [name for name in edges if name in reachable(name, edges)]


def test_nothing_in_the_product_stands_on_what_teaches() -> None:
    """The classroom stands on both, and one command opens it."""
    for name, to in graph(lazy=True).items():
        if room(name) not in ("teaching", "classroom"):
            allowed = {"classroom"} if name == "detr_mini.commands.course" else set()
            assert {room(one) for one in to} & {"teaching", "classroom"} <= allowed, name


def test_what_students_have_stands_on_nothing_that_is_withheld_from_them() -> None:
    withheld = {one.removesuffix(".py").replace("/", ".") for one in WITHHELD}

    def is_withheld(name: str) -> bool:
        return any(name == f"detr_mini.{one}" or name.startswith(f"detr_mini.{one}.") for one in withheld)

    for name, to in graph(lazy=True).items():
        if not is_withheld(name) and name != "detr_mini.commands.course":  # which says that it is not there
            assert not [one for one in to if is_withheld(one)], name


def test_nothing_stands_on_the_commands() -> None:
    for name, to in graph(lazy=True).items():
        if room(name) != "commands" and name != "detr_mini.__main__":
            assert not [one for one in to if room(one) == "commands"], name


def test_the_model_stands_on_nothing_that_asks_or_trains_it() -> None:
    allowed = {"modeling", "errors", "boxes", "distributed"}  # batch norms that learn ask for all processes
    for name, to in graph(lazy=False).items():
        if room(name) == "modeling":
            assert {room(one) for one in to} <= allowed, name


def test_a_part_of_the_model_imports_only_those_before_it() -> None:
    places = {f"detr_mini.modeling.{name}": place for place, name in enumerate(ORDER)}
    assert set(places) == {name for name in MODULES if name.startswith("detr_mini.modeling.")}
    for name, to in graph(lazy=False).items():
        for one in to & set(places):
            assert name not in places or places[one] < places[name], f"{name} imports {one}"


def test_a_config_is_read_without_torch() -> None:
    seen = {"detr_mini.modeling.config"} | reachable("detr_mini.modeling.config", graph(lazy=False))
    outside = {
        module.split(".")[0] for name in seen for module in imports(ast.parse(MODULES[name].read_text()), lazy=False)
    }
    assert outside <= sys.stdlib_module_names | {"detr_mini"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_short(path: Path) -> None:
    if str(path.relative_to(PACKAGE)) not in DRAWINGS:
        assert len(path.read_text("utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_function_is_short(path: Path) -> None:
    """At most forty lines, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            words = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) and first.end_lineno else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - words
            assert lines <= 40, f"{node.name} has {lines} lines"


def test_no_module_has_a_name_that_python_uses() -> None:
    tools = [path.stem for path in (ROOT / "tools").glob("*.py")]
    rooms = [path.stem for path in PACKAGE.iterdir() if not path.stem.startswith("__")]
    assert not sys.stdlib_module_names & {*tools, *rooms}
