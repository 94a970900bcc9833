"""The book: texts and notebooks in step, what nbval cannot see, and the built site.

``pytest --nbval book/`` compares the outputs themselves; here is what has to hold around them.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
NB = [sys.executable, str(ROOT / "tools" / "nb.py")]
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(home|root|Users|tmp|work|usr|opt|mnt|private|var)/|[A-Z]:\\\\")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def code_cells(path: Path) -> list[Any]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code" and c.source.strip()]


def load_nb() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nb", ROOT / "tools" / "nb.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(book: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the complaints of ``python tools/nb.py check``."""
    return load_nb().main(["check", "--book", str(book)]), capsys.readouterr().err


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


# --- the notebooks


def test_there_are_chapters() -> None:
    assert NOTEBOOKS


def test_notebooks_are_what_their_texts_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(BOOK, capsys) == (0, "")


@each_notebook
def test_every_code_cell_has_run_in_order(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@each_notebook
def test_cells_are_short_enough_to_read(path: Path) -> None:
    for cell in code_cells(path):
        lines = cell.source.splitlines()
        assert len(lines) <= 30, f"{len(lines)} lines: {lines[0]}"
        assert max(map(len, lines)) <= 76, max(lines, key=len)


@each_notebook
def test_outputs_hold_no_warning_and_no_path(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.get("name") != "stderr", output.text
            written = json.dumps({k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")})
            written += json.dumps([output.get("text"), output.get("evalue"), output.get("traceback")])
            found = ABSOLUTE_PATH.search(written)
            assert not found, written[max(0, found.start() - 40) : found.end() + 40]


@each_notebook
def test_few_outputs_are_left_unchecked(path: Path) -> None:
    def unchecked(cell: Any) -> bool:
        tags = cell.metadata.get("tags", [])
        return "NBVAL_" in cell.source or any(tag.startswith("nbval-") for tag in tags)

    assert sum(map(unchecked, code_cells(path))) <= 1


@each_notebook
def test_every_figure_says_what_it_shows(path: Path) -> None:
    for cell in code_cells(path):
        pictures = [o for o in cell.outputs if any(k.startswith("image/") for k in o.get("data", {}))]
        assert len(pictures) <= 1, "a cell shows one figure: its text alternative is the cell's"
        for output in pictures:
            alt = output.metadata.get("image/png", {}).get("alt", output.data["text/plain"])
            assert len(alt) >= 15, f"no text: use detr_mini.teaching.notebook.show in {cell.source[:60]!r}"


# --- tools/nb.py

CHAPTER = """# A chapter

```{code-cell} python
import os, sys, time
print("a")
time.sleep(0.1)
sys.stdout.flush()
print("b", os.path.basename(os.getcwd()))
```

```{code-cell} python
:label: on-purpose
:tags: [raises-exception]
raise ValueError("on purpose")
```
"""


def make_book(folder: Path, text: str) -> Path:
    book = folder / "book"
    (book / "src").mkdir(parents=True)
    (book / "src" / "01_one.md").write_text(text)
    return book


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    book = make_book(tmp_path_factory.mktemp("built"), CHAPTER)
    result = run(*NB, "build", "--book", book)
    assert result.returncode == 0, result.stderr
    return book


def test_a_second_run_gives_the_same_bytes_and_checks(built: Path) -> None:
    stored = built / "01_one.ipynb"
    before = stored.read_bytes()
    stored.write_text("{}")
    assert run(*NB, "build", "01_one", "--book", built).returncode == 0
    assert stored.read_bytes() == before
    assert run(*NB, "check", "--book", built).returncode == 0


def test_outputs_are_stored_without_what_differs_between_runs(built: Path) -> None:
    first, second = code_cells(built / "01_one.ipynb")
    assert [output.text for output in first.outputs] == ["a\nb book\n"]
    assert second.outputs[0].traceback == ["ValueError: on purpose"]
    assert (second.id, dict(second.metadata)) == ("on-purpose", {"tags": ["raises-exception"]})
    assert b'execution"' not in (built / "01_one.ipynb").read_bytes()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (CHAPTER.replace('"a"', '"c"'), "cell 1 is not what its text says"),
        (CHAPTER + "\n\n```{code-cell} python\n1\n```\n", "3 cells stored, 4 in the text"),
        (CHAPTER.replace("[raises-exception]", "[hide-input]"), "cell 2 is not what its text says"),
        (CHAPTER.replace("# A chapter", "# Another"), "cell 0 is not what its text says"),
    ],
    ids=["code", "one more cell", "tags", "prose"],
)
def test_a_text_edited_without_a_run_is_found(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    book = make_book(tmp_path, text)
    (book / "01_one.ipynb").write_bytes((built / "01_one.ipynb").read_bytes())
    code, told = check(book, capsys)
    assert code == 1
    assert complaint in told


def test_new_prose_keeps_the_outputs_of_the_run(tmp_path: Path) -> None:
    book = make_book(tmp_path, CHAPTER)
    assert run(*NB, "build", "--book", book).returncode == 0
    told = json.loads((book / "execution.json").read_text())["01_one"]
    (book / "src" / "01_one.md").write_text(CHAPTER.replace("# A chapter", "# Another") + "\nThe end.\n")
    assert run(*NB, "prose", "--book", book).returncode == 0
    assert run(*NB, "check", "--book", book).returncode == 0
    stored = (book / "01_one.ipynb").read_bytes()
    now = json.loads((book / "execution.json").read_text())["01_one"]
    assert now["sha256"] != told["sha256"]
    assert now | {"sha256": ""} == told | {"sha256": ""}
    assert run(*NB, "build", "--book", book).returncode == 0
    assert (book / "01_one.ipynb").read_bytes() == stored


@pytest.mark.parametrize(("old", "new"), [('"a"', '"c"'), ("[raises-exception]", "[raises-exception, hide-input]")])
def test_new_prose_does_not_bring_in_code_that_was_not_run(built: Path, tmp_path: Path, old: str, new: str) -> None:
    book = make_book(tmp_path, CHAPTER.replace(old, new))
    for name in ("01_one.ipynb", "execution.json"):
        (book / name).write_bytes((built / name).read_bytes())
    result = run(*NB, "prose", "--book", book)
    assert result.returncode == 1
    assert "01_one: its code is not what was run; build it" in result.stderr
    assert (book / "01_one.ipynb").read_bytes() == (built / "01_one.ipynb").read_bytes()


def test_new_prose_needs_the_notebook_that_was_run(built: Path, tmp_path: Path) -> None:
    book = make_book(tmp_path, CHAPTER)
    assert "is missing" in run(*NB, "prose", "--book", book).stderr
    (book / "01_one.ipynb").write_bytes((built / "01_one.ipynb").read_bytes().replace(b"b book", b"by hand"))
    (book / "execution.json").write_bytes((built / "execution.json").read_bytes())
    assert "tells of another run" in run(*NB, "prose", "--book", book).stderr


@pytest.mark.parametrize("label", ["a b", "twice"])
def test_a_label_that_cannot_name_a_cell_is_refused(tmp_path: Path, label: str) -> None:
    book = make_book(tmp_path, f"```{{code-cell}} python\n:label: {label}\nx = 1\n```\n\n" * 2)
    result = run(*NB, "build", "--book", book)
    assert result.returncode == 1
    assert f"'{label}' cannot be a label" in result.stderr


def test_a_notebook_without_a_text_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = make_book(tmp_path, CHAPTER)
    (book / "02_two.ipynb").write_text("{}")
    code, told = check(book, capsys)
    assert code == 1
    assert re.search("01_one.* is missing", told)
    assert re.search("02_two.* has no text", told)


def test_a_chapter_that_fails_leaves_its_notebook_alone(tmp_path: Path) -> None:
    book = make_book(tmp_path, CHAPTER.replace(":tags: [raises-exception]\n", ""))
    (book / "01_one.ipynb").write_text("what was there")
    result = run(*NB, "build", "--book", book)
    assert result.returncode == 1
    assert "on purpose" in result.stderr
    assert (book / "01_one.ipynb").read_text() == "what was there"
    assert [p.name for p in book.iterdir() if p.is_file()] == ["01_one.ipynb"]


# --- conftest.py: a change to what is stored has to fail

PICTURE = """
import base64, io
from IPython.display import display
from PIL import Image
file = io.BytesIO()
Image.linear_gradient("L").convert("RGB").save(file, "png")
data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": "A gray ramp."}
display(data, raw=True)
"""


def repainted(picture: str, shift: int) -> str:
    """The same picture with every value a little higher."""
    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(picture))).point(lambda v: min(255, v + shift)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def shift_picture(cell: Any, shift: int) -> None:
    data = cell.outputs[0].data
    data["image/png"] = repainted(data["image/png"], shift)


# For each: a cell's code, what is changed in what it stored, and whether it may still pass.
CHANGES: list[tuple[str, str, Callable[[Any], object], bool]] = [
    ("a number", "print(0.1429)", lambda cell: None, True),
    ("another number", "print(0.1429)", lambda cell: cell.outputs[0].update(text="0.1428\n"), False),
    ("a figure", PICTURE, lambda cell: None, True),
    ("almost the same figure", PICTURE, lambda cell: shift_picture(cell, 5), True),
    ("another figure", PICTURE, lambda cell: shift_picture(cell, 60), False),
    ("another text for a figure", PICTURE, lambda cell: cell.outputs[0].data.update({"text/plain": "Gray."}), False),
    ("no figure", PICTURE, lambda cell: cell.update(outputs=[]), False),
    ("a figure too many", PICTURE, lambda cell: cell.update(outputs=cell.outputs * 2), False),
    ("no output", "print(0.1429)", lambda cell: cell.update(outputs=[]), False),
    ("never run", "print(0.1429)", lambda cell: cell.update(outputs=[], execution_count=None), False),
    ("only the text of a figure", PICTURE, lambda cell: cell.outputs[0].data.pop("image/png"), False),
    ("a figure of its own", "import matplotlib.pyplot as plt\nplt.close(plt.figure())", lambda cell: None, True),
    ("never run and silent", "x = 1", lambda cell: cell.update(execution_count=None), False),
]


def test_nbval_fails_on_each_change_of_what_is_stored(tmp_path: Path) -> None:
    text = "# A\n" + "".join(f"\n```{{code-cell}} python\n{code.strip()}\n```\n" for _, code, _, _ in CHANGES)
    book = make_book(tmp_path, text)
    unusable = {"MPLBACKEND": "windows"}
    assert run(*NB, "build", "--book", book, **unusable).returncode == 0
    notebook = nbformat.read(book / "01_one.ipynb", as_version=4)
    for cell, (_, _, change, _) in zip(notebook.cells[1:], CHANGES, strict=True):
        change(cell)
    nbformat.write(notebook, book / "01_one.ipynb")
    result = run(
        *[sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)],
        *["--nbval", str(book)],
        *["-p", "conftest", "-p", "no:cacheprovider", "-rA"],
        **unusable,
        PYTHONPATH=str(ROOT),
    )
    passed = [int(n) for n in re.findall(r"^PASSED .*::Cell (\d+)", result.stdout, flags=re.M)]
    wanted = [n for n, change in enumerate(CHANGES) if change[-1]]
    assert sorted(passed) == wanted, [CHANGES[n][0] for n in set(passed) ^ set(wanted)] or result.stdout
    assert len(re.findall(r"^FAILED", result.stdout, flags=re.M)) == len(CHANGES) - len(wanted), result.stdout


# --- the built site


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, BeautifulSoup]:
    found = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]  # the theme's templates
    return {path: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in found}


def attributes(soup: BeautifulSoup, names: dict[str, str]) -> list[str]:
    """The values of tag attributes, such as {"img": "src"}."""
    found = [tag.get(name) for element, name in names.items() for tag in soup.find_all(element)]
    return [value for value in found if isinstance(value, str)]


LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


def test_every_chapter_has_a_page(site: Path) -> None:
    assert all((site / "book" / f"{path.stem}.html").is_file() for path in NOTEBOOKS)


def test_no_page_loads_anything_from_the_network(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    outside = re.compile(r"^(https?:)?//")
    for path, soup in pages.items():
        loaded = attributes(soup, LOADS) + re.findall(r"url\(['\"]?([^)'\"]+)", str(soup.find_all("style")))
        assert not [url for url in loaded if outside.match(url)], path
        scripts = " ".join(script.get_text() for script in soup.find_all("script"))
        assert not re.search(r"(import|fetch|src\s*=)\s*\(?['\"]https?://", scripts), path
    for sheet in site.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text("utf-8"), flags=re.S)
        assert not re.search(r"(url\(['\"]?|@import\s+['\"])(https?:)?//", text), sheet


def test_every_picture_has_a_text_that_is_not_a_file_name(pages: dict[Path, BeautifulSoup]) -> None:
    pictures = [(path, tag) for path, soup in pages.items() for tag in soup.find_all("img")]
    for path, tag in pictures:
        if tag.find_parent("a", class_="logo"):
            assert tag.get("alt") == "", "the mark says nothing that the name beside it does not"
            continue
        alt = str(tag.get("alt", ""))
        assert len(alt) >= 15, f"{path.name}: {tag}"
        assert not re.search(r"\.(png|svg|jpe?g)$", alt), f"{path.name}: {tag}"


def test_every_internal_link_resolves(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    anchors = {path: {str(tag["id"]) for tag in soup.find_all(id=True)} for path, soup in pages.items()}
    checked = 0
    for path, soup in pages.items():
        for url in attributes(soup, {**LOADS, "a": "href"}):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(site)} points to {url}"
            if parts.fragment and target in anchors and not url.startswith("javascript"):
                assert unquote(parts.fragment) in anchors[target], f"{path.relative_to(site)}: no {url}"
            checked += 1
    assert checked > 20


def test_formulas_are_typeset_by_the_site_itself(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    with_math = {path: soup for path, soup in pages.items() if soup.select(".math")}
    for path, soup in with_math.items():
        scripts = [str(tag["src"]) for tag in soup.select("script[src*=mathjax]") if isinstance(tag, Tag)]
        assert scripts, path
        assert all((path.parent / script.split("?")[0]).is_file() for script in scripts), path
    assert any(site.glob("_static/mathjax/output/chtml/fonts/woff-v2/*.woff")), "formulas need their fonts"
