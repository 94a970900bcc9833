"""The pictures of layers."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch

from detr_mini.teaching.layers import layers_figure, reach_figure
from detr_mini.teaching.notebook import setup


@pytest.mark.usefixtures("undo_setup")
def test_every_block_has_its_norm_and_nothing_leaves_the_figure() -> None:
    setup()
    fig = layers_figure()
    fig.canvas.draw()
    (ax,) = fig.axes
    texts = [text for text in ax.texts if text.get_text()]
    words = [text.get_text() for text in texts]
    assert words.count("add, then norm") == 5
    assert [word for word in words if "attention" in word] == [
        "self-attention",
        "causal self-attention",
        "cross-attention",
    ]
    frame = fig.bbox
    for text in texts:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0, text.get_text()
        assert box.x1 <= frame.x1, text.get_text()
    boxes = [patch.get_window_extent() for patch in ax.patches]
    inside = [text for text in texts if text.get_text().startswith(("q", "add", "each", "cross", "causal"))]
    for text in inside:
        inner = text.get_window_extent()
        assert any(box.x0 <= inner.x0 and inner.x1 <= box.x1 for box in boxes), text.get_text()
    plt.close(fig)


def test_a_grid_shows_who_is_read_and_in_how_many_steps() -> None:
    fig = reach_figure({"back": torch.tensor([[1, 0], [2, 1]]), "all": torch.ones(2, 2)}, ["red", "bus"])
    back, every = fig.axes
    assert [ax.get_title() for ax in fig.axes] == ["back", "all"]
    assert sorted((*text.get_position(), text.get_text()) for text in back.texts) == [
        (0, 0, "1"),
        (0, 1, "2"),
        (1, 1, "1"),
    ]
    assert len(back.patches) == 3
    assert len(every.patches) == 4
    assert [label.get_text() for label in back.get_yticklabels()] == ["red", "bus"]
    assert back.get_ylim() == (1.5, -0.5), "rows grow downwards"
    plt.close(fig)
