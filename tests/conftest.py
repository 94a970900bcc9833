"""What several tests share: a small Tiny Town, the rendered book, and the rule for tests that need a GPU."""

import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from filelock import FileLock  # comes with torch
from hypothesis import settings

from detr_mini.data import read_image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("fuzz", deadline=None, max_examples=10_000)  # see test_fuzz.py

# Small tensors gain nothing from threads that wait for each other on a busy machine. Where several processes test side
# by side, each has one thread, and so have the processes that it starts: their numbers are compared with its own.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
elif "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadgroup`` one process has all tests of the PDF: it prints and reads it once, and no other waits.

    The mark ``xdist_group`` would say the same, but xdist 3.8 writes it where pytest 9 does not look.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class Scheduling(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "pdf" if "test_pdf.py" in nodeid else nodeid

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Tiny Town of 32 training and 12 validation scenes, to read and never to change."""
    from detr_mini.data import make_data

    folder = tmp_path_factory.mktemp("town") / "tiny_town"
    make_data(folder, train=32, val=12, workers=1)
    return folder


@pytest.fixture
def town_copy(town: Path, tmp_path: Path) -> Path:
    """A Tiny Town of the test's own, to spoil."""
    return Path(shutil.copytree(town, tmp_path / "town_copy"))


@contextmanager
def _undone() -> Iterator[None]:
    """Leave the process as it was: a chapter's ``setup()`` changes the settings of whole libraries."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import numpy as np

    threads, options = torch.get_num_threads(), np.get_printoptions()
    with mpl.rc_context():
        mpl.use("agg")
        yield
    plt.close("all")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.set_printoptions(profile="default")
    np.set_printoptions(**options)


@pytest.fixture
def undo_setup() -> Iterator[None]:
    """For a test that calls ``setup()``."""
    with _undone():
        yield


@pytest.fixture(scope="module")
def undo_setup_at_end() -> Iterator[None]:
    """For a file whose tests share what ``setup()`` was called for."""
    with _undone():
        yield


@pytest.fixture
def alive_images(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[int]]:
    """Given where ``read_image`` is looked up: a list that grows by how many images are in memory at each reading."""

    def watch(where: str) -> list[int]:
        alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
        counts: list[int] = []

        def read(path: Path) -> torch.Tensor:
            image = read_image(path)
            alive.add(image)
            counts.append(len(alive))
            return image

        monkeypatch.setattr(where, read)
        return counts

    return watch


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered book, built once a run: of several processes the first one builds it, and the others wait."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of the folders that the processes have for themselves
    html = shared / "site"
    with FileLock(shared / "site.lock"):
        if not html.is_dir():
            build_book(shared / "build").rename(html)
    return html


def build_book(out: Path) -> Path:
    builder = Path(sys.executable).with_name("jupyter-book")
    options = ["-W", "-n", "--keep-going", "--path-output", str(out)]
    result = subprocess.run([builder, "build", ROOT, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium, one a process. It ends with its module: where Playwright runs, no other event loop can."""
    from browser import find_chromium, launch
    from playwright.sync_api import sync_playwright

    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright, launch(playwright, program) as started:
        yield started
