"""The playground's JavaScript: short functions, sound syntax, types that fit."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from detr_mini.teaching.live import DOORS, FOLDER

ROOT = Path(__file__).resolve().parent.parent

FILES = sorted(FOLDER.rglob("*.js"))
# A function begins with its name and ends with the brace that stands as far from the left as its beginning.
FUNCTION = re.compile(r"^(?P<indent> *)(?:async )?function (?P<name>\w+)\(.*\n(?:.*\n)*?(?P=indent)\}", re.M)


def functions(path: Path) -> list[tuple[str, int]]:
    """Each function of a file, and how many lines it has."""
    return [(found["name"], found[0].count("\n") + 1) for found in FUNCTION.finditer(path.read_text("utf-8"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 300
    assert all(len(line) <= 120 for line in text.splitlines())
    assert len(re.findall(r"^ *(?:async )?function \w+\(", text, re.M)) == len(functions(path)), "one is not found"
    assert not [(name, lines) for name, lines in functions(path) if lines > 40]


def test_half_of_the_functions_have_fewer_than_fifteen_lines() -> None:
    assert median(lines for path in FILES for _, lines in functions(path)) < 15


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_syntax_is_sound(path: Path) -> None:
    subprocess.run([str(shutil.which("node")), "--check", str(path)], check=True)


def checked_by(program: str, *arguments: str) -> str:
    """What a program of node_modules/ has to say of the JavaScript."""
    path = ROOT / "node_modules" / ".bin" / program
    if not path.exists():
        pytest.skip(f"there is no {program} in node_modules/: npm ci")
    done = subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_the_types_fit() -> None:
    assert not checked_by("tsc", "--project", ".")


def test_eslint_has_nothing_to_say() -> None:
    assert not checked_by("eslint", ".")


def test_every_function_is_used() -> None:
    """ESLint sees one file at a time, and the files are parts of one script."""
    called = {*DOORS, "playground"}
    texts = [re.sub(r"^function \w+", "", path.read_text("utf-8"), flags=re.M) for path in FILES]
    words = {word for text in texts for line in text.splitlines() for word in re.findall(r"\w+", without_comment(line))}
    assert not [name for path in FILES for name, _ in functions(path) if name not in words | called]


def without_comment(line: str) -> str:
    return "" if line.lstrip().startswith(("*", "/")) else line.partition(" // ")[0]


def test_where_there_is_no_node_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    command = [sys.executable, ROOT / "tools" / "lint_js.py"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        0,
        "JavaScript is not checked: there is no Node here (20 or later, with npm).\n",
    )
