"""What a user gets who installs the package alone: the wheel, what it asks for, and that it works without the rest."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from detr_mini.commands.cli import make_parser
from detr_mini.data import draw_scene

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"detr_mini", "benchmarks", "conftest"} | {path.stem for path in ROOT.glob("t*s/*.py")}  # tools, tests
# The parts of the package that only draw figures or are for notebooks: what they import may be in an extra.
EXTRA = {"exporting.py": "onnx", "plots.py": "plots", "teaching": "chapters", "classroom": "classroom"}


# --- what is imported is declared


def imports(path: Path) -> set[str]:
    """The top names of other projects that a file imports, at its head or later."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - OWN


def declared(extra: str | None = None) -> set[str]:
    """The projects that pyproject.toml names in the core, and in an extra with those it is built on."""
    lines = PROJECT["dependencies"] + (PROJECT["optional-dependencies"][extra] if extra else [])
    asked = [Requirement(line) for line in lines]
    names = {canonicalize_name(requirement.name) for requirement in asked if requirement.name != PROJECT["name"]}
    return names.union(*(declared(name) for one in asked if one.name == PROJECT["name"] for name in one.extras))


FILES = dict.fromkeys((ROOT / "detr_mini").rglob("*.py"))
FILES |= {path: EXTRA[part] for path in FILES for part in path.relative_to(ROOT / "detr_mini").parts if part in EXTRA}
FILES |= dict.fromkeys((ROOT / "tools").glob("*.py"), "book")
FILES |= dict.fromkeys([ROOT / "conftest.py", *ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py")], "dev")


def test_all_that_is_imported_is_declared() -> None:
    brought_by = packages_distributions()
    for path, extra in FILES.items():
        for name in imports(path):
            projects = {canonicalize_name(project) for project in brought_by.get(name, [name])}
            assert projects & declared(extra), f"{path.relative_to(ROOT)} imports {name}, which nothing declares"


def test_the_pins_are_versions_that_the_package_allows() -> None:
    pins = [
        Requirement(line.split("#")[0]) for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line
    ]
    pinned = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins}
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for asked in (Requirement(line) for line in lines):
            if asked.name != PROJECT["name"]:
                assert pinned[canonicalize_name(asked.name)] in asked.specifier, (
                    f"{asked} and requirements.txt disagree"
                )


# --- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: building leaves folders behind."""
    copy = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "detr_mini", copy / "detr_mini", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", copy / "dist", copy)
    (built,) = (copy / "dist").glob("*.whl")
    return Path(built)


def pip(python: str | Path, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", python, "--no-input", *arguments]
    # With the checkout on PYTHONPATH, pip would take the package for installed.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def test_the_wheel_has_all_of_the_package_and_nothing_of_the_book(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
        translator, deformable, panoptic = (
            sum(size for name, size in sizes.items() if f"checkpoints/{model}." in name)
            for model in ("translator", "deformable_nano", "mini_panoptic")
        )
        towns = sum(size for name, size in sizes.items() if re.search(r"checkpoints/(nano|mini)\.", name))
        assert towns < 3_600_000
        assert wheel.stat().st_size - translator - deformable - panoptic - towns < 600_000, "code and pages"
        assert max(translator, deformable) < 2_000_000
        assert panoptic < 3_000_000
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    kinds = {".py", ".typed", ".js", ".css", ".html", ".safetensors", ".json", ".md"}
    wanted = [path for path in (ROOT / "detr_mini").rglob("*") if path.suffix in kinds]
    assert packed == {path.relative_to(ROOT).as_posix() for path in wanted}
    assert {"detr_mini/py.typed", "detr_mini/checkpoints/nano.safetensors", "detr_mini/checkpoints/mini.json"} <= packed


def test_the_package_page_names_who_made_it_and_links_to_nothing_that_is_not_there(metadata: Message) -> None:
    assert metadata["Author"] == "The authors of detr_mini"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    text = str(metadata.get_payload())
    assert "pip install" in text
    assert "drawn town" in text, "what the shipped models do not know"
    links = re.findall(r"\]\(([^)]*)\)|(?:src|href)=\"([^\"]*)\"", text)
    assert all(link.startswith("https://") for pair in links for link in pair if link)


def test_the_core_asks_for_no_matplotlib(metadata: Message) -> None:
    asked = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert {"torch", "pillow"} <= {one.name for one in asked if one.marker is None}
    assert not {"matplotlib", "ipython"} & {one.name for one in asked if one.marker is None}


# --- the README


README = (ROOT / "README.md").read_text("utf-8")


def test_the_readme_links_to_files_that_are_there_and_its_pictures_are_small_and_said_in_words() -> None:
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", README)
    assert len(pictures) >= 3
    for alt, name in pictures:
        assert len(alt.split()) > 10
        assert (ROOT / name).stat().st_size < 150_000
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert link[1:] in headings if link.startswith("#") else (ROOT / link).exists(), link


@pytest.mark.slow
def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ten_lines, published, deployed = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    build, load = published.splitlines()
    elsewhere = ("torch.compile", "torch.onnx")  # slow, and of other projects
    lines = [*ten_lines.splitlines(), *deployed.splitlines(), build]
    exec("\n".join(line for line in lines if not any(call in line for call in elsewhere)), {})
    assert "detr-r50-e632da11.pth" in load, "a file that is not here"


def test_every_command_of_the_readme_is_one() -> None:
    told = re.findall(r"`(?:python -m detr_mini|detr-mini) ([a-z][^`]*)`", README)
    assert len(told) >= 6
    for command in told:
        make_parser().parse_args(command.split())


# --- a fresh environment with the wheel alone


def needed(project: str, seen: dict[str, None]) -> dict[str, None]:
    """A project and all that it asks for, as pip would install them."""
    if canonicalize_name(project) in seen:
        return seen
    seen[canonicalize_name(project)] = None
    for requirement in map(Requirement, distribution(project).requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            try:
                needed(requirement.name, seen)
            except PackageNotFoundError:  # such as CUDA's where PyTorch came without
                del seen[canonicalize_name(requirement.name)]
    return seen


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ``bin`` of an environment with the wheel and what its core asks for, linked instead of downloaded."""
    folder = tmp_path_factory.mktemp("fresh") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip(folder / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    projects: dict[str, None] = {}
    for line in PROJECT["dependencies"]:
        needed(Requirement(line).name, projects)
    for project in projects:
        files = distribution(project).files or []
        for name in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(distribution(project).locate_file(name))
    yield folder / "bin"
    shutil.rmtree(folder)


def alone(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_wheel_alone_predicts(fresh: Path, tmp_path: Path) -> None:
    draw_scene(88).image.save(tmp_path / "scene.png")
    result = alone(fresh / "detr-mini", "predict", "scene.png", "--weights", "nano", "--out", "found", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert alone(fresh / "python", "-c", "import matplotlib", folder=tmp_path).returncode == 1
    (told,) = (tmp_path / "found").glob("*.json")
    assert len(json.loads(told.read_text())["detections"]) > 3
    assert len(list((tmp_path / "found").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("module", "extra"), [("plots", "plots"), ("teaching", "chapters")])
def test_what_needs_matplotlib_says_how_to_get_it(fresh: Path, tmp_path: Path, module: str, extra: str) -> None:
    result = alone(fresh / "python", "-c", f"import detr_mini.{module}", folder=tmp_path)
    assert result.stderr.splitlines()[-1].endswith(f'pip install "detr-mini[{extra}]"'), result.stderr


DETECTORS = ("detr.DETR", "segmentation.DETRSegmentation", "deformable_detr.DeformableDETR")
TYPED = """import detr_mini
reveal_type(detr_mini.load("nano"))
reveal_type(detr_mini.build("nano"))
reveal_type(detr_mini.predict(detr_mini.load("nano"), ["a.png"]))
"""


@pytest.mark.slow
def test_a_strict_user_sees_types(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(TYPED)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", fresh / "python"]
    result = alone(*mypy, "--cache-dir", ROOT / ".mypy_cache" / "user", "user.py", folder=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    revealed = re.findall(r'Revealed type is "(.*)"', result.stdout)
    assert revealed[0] == revealed[1] == " | ".join(f"detr_mini.modeling.{name}" for name in DETECTORS)
    assert "Any" not in revealed[2]
    assert "torch._tensor.Tensor" in revealed[2]
