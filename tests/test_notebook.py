"""The chapters' first cell: repeatable numbers, and figures that give the same bytes."""

from __future__ import annotations

import base64
import io
import itertools
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from detr_mini.colours import CARD, COLOURS, INK
from detr_mini.data import CocoDetection, eval_transforms, make_data
from detr_mini.teaching import notebook, pictures
from detr_mini.teaching.notebook import setup, show

pytestmark = pytest.mark.usefixtures("undo_setup")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """What show() hands to the notebook."""
    import IPython.display

    calls: list[tuple[dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, *, metadata, raw: calls.append((data, metadata[next(iter(metadata))]))
    )
    return calls


def draw(colours: int = 3) -> Figure:
    fig, ax = plt.subplots()
    for k in range(colours):
        ax.plot([0, 1], [k, k + 1])
    ax.set_title("three lines")
    return fig


def draws(seed: int) -> tuple[float, float]:
    setup(seed)
    return torch.rand(()).item(), np.random.rand()  # noqa: NPY002


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert draws(3) == draws(3)
    torch_a, numpy_a = draws(3)
    torch_b, numpy_b = draws(4)
    assert torch_a != torch_b
    assert numpy_a != numpy_b


def test_setup_does_not_depend_on_the_number_of_threads() -> None:
    torch.set_num_threads(2)
    setup()
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


def test_printed_tensors_fit_the_page() -> None:
    setup()
    assert max(map(len, repr(torch.rand(4, 50)).splitlines())) <= 76
    assert max(map(len, repr(np.full((4, 50), 1 / 3)).splitlines())) <= 76


def test_a_figure_gives_the_same_bytes_each_time(shown: list[Any]) -> None:
    setup()
    for _ in range(2):
        show(draw(), alt="Three rising lines, one above the other.")
    assert shown[0] == shown[1]
    assert b"matplotlib" not in base64.b64decode(shown[0][0]["image/png"]).lower()


def test_a_figure_carries_its_text_and_is_twice_as_dense_as_its_place(shown: list[Any]) -> None:
    setup()
    show(draw(), alt="Three rising lines,\n   one above the other.")
    data, about = shown[0]
    assert about["alt"] == data["text/plain"] == "Three rising lines, one above the other."
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.width == 2 * about["width"] == 2 * 576
    assert not plt.get_fignums(), "the figure would be shown a second time at the end of the cell"


def test_few_colours_are_stored_as_a_palette_and_many_in_full(shown: list[Any]) -> None:
    setup()
    show(draw(), alt="Three rising lines, one above the other.")
    fig, ax = plt.subplots()
    ax.imshow(torch.rand(60, 60, 3).numpy())
    show(fig, alt="Sixty by sixty random colors.")
    few, many = (Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) for data, _ in shown)
    assert (few.mode, many.mode) == ("P", "RGB")


def ramps_with_a_stripe() -> np.ndarray:
    """Thousands of soft colors, as of a sky over water, and one thin red line."""
    across, down = np.meshgrid(np.linspace(0, 1, 300), np.linspace(0, 1, 200))
    soft = np.stack([120 + 100 * across, 160 + 60 * down, 230 - 90 * across * down], axis=-1).round().astype(np.uint8)
    soft[100, 140:160] = (200, 30, 40)
    return soft


def test_a_soft_picture_gets_small_and_a_thin_line_keeps_its_colour() -> None:
    full = ramps_with_a_stripe()
    stored = Image.open(io.BytesIO(pictures.png(Image.fromarray(full))))
    assert stored.mode == "P"
    off = np.abs(np.asarray(stored.convert("RGB"), dtype=int) - full)
    assert off.mean() < 2.5
    assert off.max() < 6, "with Pillow's own palette it is 7"
    assert off[100, 140:160].max() <= 2
    assert pictures.png(Image.fromarray(full)) == pictures.png(Image.fromarray(full))


def test_a_picture_of_few_colours_keeps_each_of_them() -> None:
    few = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    stored = Image.open(io.BytesIO(pictures.png(Image.fromarray(few))))
    np.testing.assert_array_equal(np.asarray(stored.convert("RGB")), few)


@pytest.mark.parametrize("alt", ["", "   ", "A plot"])
def test_a_figure_without_a_real_text_is_refused(alt: str) -> None:
    with pytest.raises(ValueError, match="too short"):
        show(draw(), alt=alt)


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_text_on_the_card_has_enough_contrast() -> None:
    assert (luminance(CARD) + 0.05) / (luminance(INK) + 0.05) > 7


# Machado, Oliveira and Fernandes (2009), severity 1.0, for linear RGB: what each kind of eye sees.
SIGHT = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_stay_apart_for_colour_blind_readers(sight: str) -> None:
    rgb = np.array([mpl.colors.to_rgb(c) for c in COLOURS.values()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1) ** (1 / 2.4)
    for (a, x), (b, y) in itertools.combinations(zip(COLOURS, seen, strict=True), 2):
        assert np.linalg.norm(x - y) > 0.12, f"{a} and {b} look alike"


def test_every_line_takes_its_colour_from_the_palette() -> None:
    setup()
    lines = draw(6).axes[0].lines
    assert [line.get_color() for line in lines] == list(notebook.COLOURS.values())


def test_the_sample_is_the_item_of_the_data_set(tmp_path: Path) -> None:
    make_data(tmp_path, train=0, val=8, workers=1, progress=False)
    stored = CocoDetection(tmp_path, "val", eval_transforms(None))
    for index in range(8):
        image, target = notebook.sample(index)
        wanted_image, wanted = stored[index]
        assert target.keys() == wanted.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(target[key], value, msg=key)
        assert (image - wanted_image).abs().mean() < 0.1  # the file is a JPEG
