"""Exercises: the solution passes its check, each common mistake is told apart, the skeleton stays unsolved."""

import pytest
import torch

from detr_mini.exercises import Solution, tour

SOLVED = [
    (tour.check_to_pixels, tour.to_pixels),
    (tour.check_says_no_object, tour.says_no_object),
    (tour.check_most_faithful_slot, tour.most_faithful_slot),
]


@pytest.mark.parametrize(("check", "solution"), SOLVED)
def test_the_solution_is_right(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out == f"{solution.__name__}: right\n"


@pytest.mark.parametrize(("check", "solution"), SOLVED)
def test_a_skeleton_is_unsolved(check, solution, capsys):
    check(lambda *_: None)
    assert capsys.readouterr().out == f"{solution.__name__}: not solved yet\n"


def boxes_as_xywh(boxes, height, width):
    scale = torch.tensor([width, height, width, height])
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], dim=1) * scale


MISTAKES = [
    (tour.check_to_pixels, boxes_as_xywh, "xywh"),
    (tour.check_to_pixels, lambda b, h, w: tour.to_pixels(b, w, h), "swapped"),
    (tour.check_to_pixels, lambda b, h, w: tour.to_pixels(b, 1, 1), "shares"),
    (tour.check_to_pixels, lambda b, h, w: b * torch.tensor([w, h, w, h]), "cxcywh"),
    (tour.check_to_pixels, lambda b, h, w: tour.to_pixels(b, h, w)[0], "shape should be (2, 4), not (4,)"),
    (tour.check_to_pixels, lambda b, h, w: tour.to_pixels(b, h, w).tolist(), "this is a list"),
    (tour.check_to_pixels, lambda b, h, w: tour.to_pixels(b, h, w) + 3, "numbers are not"),
    (tour.check_says_no_object, lambda x: x.argmax(-1) == 0, "Class 0"),
    (tour.check_says_no_object, lambda x: x.argmax(-1) != 4, "turn the answer round"),
    (tour.check_says_no_object, lambda x: x.softmax(-1)[..., -1] > 0.5, "more than half"),
    (tour.check_says_no_object, lambda x: x.argmax(-1), "numbers are not"),
    (tour.check_most_faithful_slot, lambda b: b[..., :2].var(0).sum(-1).argmax(), "moves most"),
    (tour.check_most_faithful_slot, lambda b: b.var(0).sum(-1).argmin(), "all four"),
    (tour.check_most_faithful_slot, lambda b: b[..., 0].var(0).argmin(), "cx alone"),
]


@pytest.mark.parametrize(("check", "mistake", "words"), MISTAKES)
def test_a_mistake_is_named(check, mistake, words, capsys):
    check(mistake)
    verdict = capsys.readouterr().out
    assert ": not yet. " in verdict
    assert words in verdict


def test_another_way_to_the_right_answer_passes(capsys):
    tour.check_most_faithful_slot(lambda b: b[..., :2].std(0).pow(2).sum(-1).argmin().item())
    assert capsys.readouterr().out == "most_faithful_slot: right\n"


def test_a_shown_solution_is_the_tested_source():
    html = Solution(tour.says_no_object)._repr_html_()
    assert html.startswith("<details")
    assert "logits.argmax(-1) == logits.shape[-1] - 1" in html
