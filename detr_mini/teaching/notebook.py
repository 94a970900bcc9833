"""What every chapter's first cell asks for: repeatable numbers and one figure style.

``setup()`` fixes seeds, thread counts and print options, so that a chapter's stored outputs are the
ones a reader gets from the same versions. ``sample()`` is the scene that returns in every chapter, as
the model reads it. ``show(fig, alt=...)`` puts a figure on the page together with the sentence that
stands in for it where it cannot be seen.
"""

from __future__ import annotations

import base64
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_mini.colours import CARD, COLOURS, INK, QUIET
from detr_mini.teaching.pictures import CSS_DPI, checked_alt, drawn, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

SCENE = 88  # the validation scene on most pages: a road by a lake, small boats, a bus that the border cuts


def setup(seed: int = 0) -> None:
    """Make a notebook's numbers and figures repeatable; call it in the first cell.

    Sets the seeds of Python, NumPy and PyTorch, deterministic algorithms (an operation that has none
    warns), print options for a page 76 columns wide, and the book's figure style.

    PyTorch runs on one thread afterwards: sums over several threads are added in another order, so
    the last digits would depend on the reader's machine. A chapter's models are small enough not to
    miss the others; ``torch.set_num_threads`` brings them back.
    """
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (libraries that draw from the global generator)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by deterministic matmuls on CUDA
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_printoptions(precision=4, sci_mode=False, linewidth=76)
    np.set_printoptions(precision=4, suppress=True, linewidth=76)
    _set_figure_style()


def sample(index: int = SCENE, split: str = "val") -> tuple[Tensor, dict[str, Tensor]]:
    """A scene of Tiny Town, drawn and not read from a file: its normalized image ``(3, H, W)`` and its target.

    The target is what ``detr_mini.data.CocoDetection`` gives: ``labels`` ``(T,)``, ``boxes`` ``(T, 4)`` as cxcywh in
    [0, 1] and the rest. Crowds are left out.
    """
    import torch
    from torchvision import tv_tensors

    from detr_mini.data import draw_scene, eval_transforms
    from detr_mini.data.image import image_to_tensor
    from detr_mini.data.write_coco import FIRST_ID

    scene = draw_scene(index, split)
    objects = [thing for thing in scene.objects if not thing.iscrowd]
    xywh = torch.tensor([thing.bbox for thing in objects], dtype=torch.float32).reshape(-1, 4)
    low, size = xywh.chunk(2, dim=-1)
    canvas = scene.image.height, scene.image.width
    corners = torch.cat([low, low + size], dim=-1)
    target = {
        "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=canvas),  # type: ignore[call-overload]
        "labels": torch.tensor([thing.category_id for thing in objects], dtype=torch.int64),
        "area": torch.tensor([float(thing.area) for thing in objects]),
        "iscrowd": torch.zeros(len(objects), dtype=torch.int64),
        "image_id": torch.tensor(FIRST_ID[split] + index),
        "orig_size": torch.tensor(canvas),
        "size": torch.tensor(canvas),
    }
    return eval_transforms(None)(tv_tensors.Image(image_to_tensor(scene.image)), target)


def book_data(name: str) -> Path:
    """A file or folder of what the book alone reads, such as ``nano.jsonl``: it lies in ``book/data/`` of a checkout.

    Raises:
        FileNotFoundError: it is not there, as where the package was installed from a wheel and the notebook taken away.
    """
    checkout = Path(__file__).resolve().parents[2] / "book" / "data"
    for folder in (checkout, Path("data")):
        if (path := folder / name).exists():
            return path
    raise FileNotFoundError(
        f"there is no book/data/{name} here. This chapter reads what was stored on the way of a training, which the "
        f"package does not bring: run it in a checkout of the repository, or put a copy of its book/data here, as data"
    )


def _set_figure_style() -> None:
    import matplotlib as mpl

    mpl.rcParams.update(
        {
            "figure.figsize": (6.0, 3.4),
            "figure.dpi": CSS_DPI,
            "figure.facecolor": CARD,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.h_pad": 0.08,
            "figure.constrained_layout.w_pad": 0.08,
            "axes.facecolor": CARD,
            "axes.edgecolor": QUIET,
            "axes.labelcolor": INK,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "axes.prop_cycle": mpl.rcsetup.cycler(color=list(COLOURS.values())),
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "image.interpolation": "nearest",
            "image.cmap": "cividis",
        }
    )


def show(fig: Figure, *, alt: str) -> None:
    """Display a figure at its size in inches, sharp on dense screens, and close it.

    The picture's bytes depend on the figure alone. It is put out as a PNG with a palette, so that a check of stored
    outputs can compare pixels with a tolerance.

    Args:
        fig: the figure.
        alt: what the picture shows, in a sentence or two, for readers who do not see it; it becomes the image's text
            alternative in the built book and its plain-text form elsewhere.

    Raises:
        ValueError: ``alt`` is too short to say what there is to see.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    alt = checked_alt(alt)
    picture = {"image/png": base64.b64encode(png(drawn(fig))).decode("ascii"), "text/plain": alt}
    # With a width of its own, twice as dense a picture takes up the same space on the page.
    about: dict[str, Any] = {"image/png": {"alt": alt, "width": round(fig.get_figwidth() * CSS_DPI)}}
    plt.close(fig)
    display(picture, metadata=about, raw=True)  # type: ignore[no-untyped-call]
