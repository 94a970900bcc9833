"""What the Makefile would do: the environment it keeps, and the one it makes anew."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked of the ``make`` that runs these tests is not asked of theirs."""
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "PYTHON"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile and what it looks at."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def have_environment(project: Path, version: str) -> None:
    """A .venv that is ready and whose Python says that it is of this version."""
    (project / ".venv" / "bin").mkdir(parents=True)
    python = project / ".venv" / "bin" / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    (project / ".venv" / ".ready").touch()


def plan(project: Path, *arguments: str) -> str:
    """What ``make`` would run, without running it."""
    result = subprocess.run(["make", "--dry-run", *arguments], cwd=project, capture_output=True, text=True, check=True)
    return result.stdout


@pytest.mark.parametrize("target", ["lint", "book", "slides", "test"])
def test_another_python_than_that_of_the_environment_makes_a_new_one(project: Path, target: str) -> None:
    have_environment(project, "3.10")
    commands = plan(project, target, f"PYTHON={sys.executable}")
    assert "There is a .venv with Python 3.10" in commands
    assert commands.count('test -z "other-python"') == 1
    assert "pip install" in commands


def test_the_same_python_keeps_it(project: Path) -> None:
    have_environment(project, OWN)
    assert "venv --clear" not in plan(project, "lint", f"PYTHON={sys.executable}")


def test_without_a_wish_any_environment_is_kept(project: Path) -> None:
    have_environment(project, "3.10")
    assert "venv --clear" not in plan(project, "lint")


def test_a_python_that_is_not_there_is_named_beside_an_environment_too(project: Path) -> None:
    have_environment(project, OWN)
    make = ["make", "lint", "PYTHON=python3.99"]
    result = subprocess.run(make, cwd=project, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "There is no 'python3.99' here" in result.stderr
    assert (project / ".venv" / ".ready").exists()


def test_a_new_environment_has_the_python_that_was_asked_for(project: Path) -> None:
    have_environment(project, "3.10")
    (project / "requirements.txt").write_text("")
    make = ["make", ".venv/.ready", f"PYTHON={sys.executable}"]
    result = subprocess.run(make, cwd=project, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    version = subprocess.run([project / ".venv/bin/python", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith(f"Python {OWN}.")
    assert "is up to date" in subprocess.run(make, cwd=project, capture_output=True, text=True, check=True).stdout


def test_help_lists_every_target(project: Path) -> None:
    listed = subprocess.run(["make"], cwd=project, capture_output=True, text=True, check=True).stdout
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY"))
    for target in set(phony.split()[1:]) - {"other-python"}:
        assert f"\n  {target} " in listed


def test_a_new_book_leaves_the_slides(project: Path) -> None:
    have_environment(project, OWN)
    for name in ("html", ".doctrees", "slides"):
        (project / "_build" / name).mkdir(parents=True)
    (removed,) = re.findall(r"^rm -rf (.*)$", plan(project, "book"), flags=re.MULTILINE)
    assert set(removed.split()) == {"_build/html", "_build/.doctrees"}
