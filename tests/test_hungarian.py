"""The steps of the Hungarian algorithm, drawn."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from detr_mini.teaching.hungarian import Step, draw_step, sentence

COSTS = np.array([[7, 1, 6], [8, 1, 3], [5, 8, 5]])
REDUCED = np.array([[6, 0, 5], [7, 0, 2], [0, 3, 0]])
SHIFTED = np.array([[4, 0, 3], [5, 0, 0], [0, 5, 0]])


def drawn(step: Step, before: np.ndarray = REDUCED) -> Figure:
    figure = draw_step(step, COSTS, before)
    plt.close(figure)
    return figure


def test_chosen_cells_are_circled_in_both_tables_and_lines_drawn_in_the_first() -> None:
    left, right = drawn(Step("cover", REDUCED, {1: 0, 0: 2}, ([2], [1]))).axes
    for ax, table in ((left, REDUCED), (right, COSTS)):
        assert [patch.center for patch in ax.patches if isinstance(patch, Circle)] == [(1, 0), (0, 2)]
        assert [text.get_text() for text in ax.texts] == [str(n) for n in table.flat]
    assert [np.asarray(line.get_xydata()).tolist() for line in left.lines] == [
        [[-0.5, 2], [2.5, 2]],
        [[1, -0.5], [1, 2.5]],
    ]
    assert not right.lines
    assert (left.images[0].get_array() == (REDUCED == 0)).all()


def test_a_step_says_its_numbers() -> None:
    def said(what: str, table: np.ndarray = REDUCED, chosen: dict[int, int] | None = None) -> str:
        return sentence(Step(what, table, chosen or {}, ([], [])), COSTS, REDUCED)

    assert "2 zeros" in said("choose", chosen={1: 0, 0: 2})
    assert "3 are needed" in said("choose", chosen={1: 0, 0: 2})
    assert said("choose", chosen={1: 0, 2: 1, 0: 2}).endswith("Done.")
    assert "2 lines" in said("cover", chosen={1: 0, 0: 2})
    assert "is 2: take it" in said("shift", SHIFTED)
    no_crossing = Step("shift", np.array([[0, 0], [0, 1]]), {}, ([], [0]))
    assert "is 2: take it" in sentence(no_crossing, COSTS, np.array([[0, 2], [0, 3]]))
    assert said("end", chosen={1: 0, 2: 1, 0: 2}).endswith("least sum is 9.")  # 1 + 3 + 5


@pytest.mark.parametrize("what", ["start", "shift"])
def test_one_line_of_text_takes_as_much_room_as_two(what: str) -> None:
    suptitle = drawn(Step(what, SHIFTED, {}, ([], []))).get_suptitle()
    assert len(suptitle.split("\n")) == 2


def test_an_unknown_step_is_named() -> None:
    with pytest.raises(ValueError, match="'jump' is no step"):
        drawn(Step("jump", REDUCED, {}, ([], [])))
