"""What makes the bare command ``pytest --nbval book/`` a strict check of the stored outputs.

nbval by itself passes a cell that was never run and does not look at pictures. Here such a cell
fails, and pictures are compared with a tolerance: fonts are drawn a little differently by another
version of FreeType.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

ROOT = Path(__file__).resolve().parent
STEP = 24  # a pixel differs when a channel is off by more than this, of 255
SHARE = 0.01  # of a picture's pixels may differ


settings.register_profile("patient", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    # Kernels are children of this process and start in book/: they have to find the package, and to
    # draw into the notebook even where the environment asks for windows.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ.pop("MPLBACKEND", None)
    # nbval would look for this file in the current folder; absolute, the command works from any.
    if config.getoption("nbval_sanitize_with", None) is None:
        config.option.nbval_sanitize_with = str(ROOT / "tests" / "nbval_sanitize.cfg")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Add to nbval's comparison of a cell what it leaves out."""
    if type(item).__name__ != "IPyNbCell":
        return (yield)
    cell: Any = item.cell  # type: ignore[attr-defined]
    if cell.source.strip() and cell.execution_count is None:
        pytest.fail("this cell has no stored run: python tools/nb.py build", pytrace=False)
    result = yield
    options = item.options  # type: ignore[attr-defined]
    if options["check"] and not options["skip"]:
        stored, new = pictures(cell.outputs), pictures(item.test_outputs)  # type: ignore[attr-defined]
        for number, pair in enumerate(zip(stored, new, strict=True)):
            fault = difference(*pair)
            if fault:
                raise cell_error(item, f"picture {number} is not the stored one: {fault}")
    return result


def cell_error(item: Any, message: str) -> Exception:
    from nbval.plugin import NbCellError

    return NbCellError(item.cell_num, message, item.cell.source)


def pictures(outputs: list[Any] | None) -> list[str]:
    """All pictures that a cell put out, in base64: by themselves, or inside of HTML."""
    found = []
    for data in (output.get("data", {}) for output in outputs or []):
        found += [data["image/png"]] if "image/png" in data else []
        found += re.findall(r"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)", data.get("text/html", ""))
    return found


def difference(stored: str, new: str) -> str | None:
    """How two base64 PNG files differ to the eye, or None where they do not."""
    if stored.strip() == new.strip():
        return None
    a, b = (np.asarray(Image.open(io.BytesIO(base64.b64decode(p))).convert("RGB"), int) for p in (stored, new))
    if a.shape != b.shape:
        return f"{a.shape[1]} x {a.shape[0]} pixels, now {b.shape[1]} x {b.shape[0]}"
    share = float((np.abs(a - b).max(axis=-1) > STEP).mean())
    return f"{share:.1%} of its pixels differ" if share > SHARE else None
