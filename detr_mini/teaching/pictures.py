"""How figures are stored: at twice the density of their place on the page, in as few bytes as the eye allows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

CSS_DPI = 96  # pixels of a page per inch of a figure
SHARPNESS = 2  # pixels stored per pixel of the page: what a dense screen shows
COLOURS = 256  # of a palette
ROUNDS = 6  # of moving them; further ones change nothing that can be seen
LOSS = 2.5  # mean change of a channel, of 255, beyond which a picture keeps its colors


def checked_alt(alt: str) -> str:
    """The sentence that stands in for a picture, on one line.

    Raises:
        ValueError: it is too short to say what there is to see.
    """
    alt = " ".join(alt.split())
    if len(alt) < 15:
        raise ValueError(f"alt={alt!r} is too short: say in a sentence what there is to see")
    return alt


def drawn(figure: Figure, sharpness: float = SHARPNESS) -> Image.Image:
    """A figure as a picture in RGB, of so many pixels for each of the page; its bytes depend on the figure alone."""
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=CSS_DPI * sharpness, facecolor=figure.get_facecolor())
    return Image.open(raw).convert("RGB")


def png(picture: Image.Image) -> bytes:
    """A PNG with a palette, a third of the size in full colors; in full where 256 colors can be told from them."""
    few = with_palette(picture)
    loss = np.abs(np.asarray(few.convert("RGB"), dtype=int) - np.asarray(picture, dtype=int)).mean()
    file = io.BytesIO()
    (few if loss < LOSS else picture).save(file, format="png", optimize=True)
    return file.getvalue()


def webp(picture: Image.Image) -> bytes:
    """A drawing of few colors as it is; a picture of many a little simplified, which makes it ten times smaller."""
    file = io.BytesIO()
    picture.save(file, "webp", lossless=picture.getcolors(2000) is not None, quality=85, method=4)
    return file.getvalue()


def light_webp(picture: Image.Image) -> bytes:
    """For a page with dozens of them: a drawing in 64 colors, a picture of many simplified further; half the size."""
    from PIL import Image

    file, drawing = io.BytesIO(), picture.getcolors(5000) is not None
    few = picture.quantize(64, dither=Image.Dither.NONE).convert("RGB") if drawing else picture
    few.save(file, "webp", lossless=drawing, quality=85 if drawing else 60, method=4)
    return file.getvalue()


def with_palette(picture: Image.Image) -> Image.Image:
    """The same picture in at most 256 colors, none of them dithered.

    The palette is cut from the set of all colors and then moved by k-means. A color weighs less than its pixels do,
    so that small things keep theirs.
    """
    from PIL import Image

    rgb = np.asarray(picture).astype(np.int32)  # (H, W, 3)
    codes, where, counts = np.unique(rgb @ [1 << 16, 1 << 8, 1], return_inverse=True, return_counts=True)
    colours = codes[:, None] // [1 << 16, 1 << 8, 1] % 256  # (U, 3), each color once
    palette, nearest = colours, np.arange(len(colours))
    if len(colours) > COLOURS:
        palette, nearest = _palette(colours, weights=counts**0.7)
    few = Image.fromarray(nearest[where].reshape(rgb.shape[:2]).astype(np.uint8), mode="P")
    few.putpalette(palette.astype(np.uint8).tobytes())
    return few


def _palette(colours: np.ndarray, *, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A palette ``(256, 3)`` for colors ``(U, 3)``, and which of it each takes: ``(U,)``."""
    from PIL import Image
    from scipy.spatial import cKDTree

    cut = Image.fromarray(colours.astype(np.uint8)[None]).quantize(COLOURS, Image.Quantize.MEDIANCUT)
    palette = np.array(cut.getpalette(), dtype=float).reshape(-1, 3)[:COLOURS]
    for _ in range(ROUNDS):
        nearest = cKDTree(palette).query(colours)[1]
        total = np.bincount(nearest, weights, len(palette))
        sums = np.stack([np.bincount(nearest, weights * channel, len(palette)) for channel in colours.T], axis=1)
        palette[total > 0] = sums[total > 0] / total[total > 0, None]
    palette = palette.round()
    return palette, cKDTree(palette).query(colours)[1]
