"""The playground's JavaScript: short functions, sound syntax, types that fit."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from statistics import median

import pytest

from detr_mini.teaching.live import FOLDER

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


@pytest.mark.skipif(shutil.which("tsc") is None, reason="needs TypeScript's tsc, which reads the types in comments")
def test_the_types_fit() -> None:
    strict = [
        "--noUnusedLocals",
        "--noUnusedParameters",
        "--allowJs",
        "--checkJs",
        "--noEmit",
        "--strict",
        "--moduleDetection",
        "legacy",
    ]
    command = [str(shutil.which("tsc")), *strict, "--target", "es2023", "--lib", "es2023,dom,dom.iterable"]
    command += map(str, FILES)
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
