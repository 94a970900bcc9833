"""Exercises: the solution passes its check, each typical mistake is told apart, the skeleton stays unsolved."""

import copy
import importlib
import pkgutil

import pytest
import torch

from detr_mini.teaching import exercises
from detr_mini.teaching.exercises import Exercise, Solution, exercise, tour
from detr_mini.teaching.verdict import difference

MODULES = [
    importlib.import_module(f"{exercises.__name__}.{module.name}")
    for module in pkgutil.iter_modules(exercises.__path__)
]
ALL = [
    pytest.param(found, id=f"{module.__name__.rpartition('.')[2]}-{name}")
    for module in MODULES
    for name, found in vars(module).items()
    if isinstance(found, Exercise)
]
each_exercise = pytest.mark.parametrize("one", ALL)


def verdict(one, answer, capsys):
    one.check(answer)
    return capsys.readouterr().out


def test_there_are_exercises():
    assert len(ALL) >= 3


@each_exercise
def test_the_solution_is_right(one, capsys):
    assert verdict(one, one.function, capsys) == f"{one.name}: right\n"


@each_exercise
def test_a_skeleton_is_unsolved(one, capsys):
    assert verdict(one, lambda *_: None, capsys) == f"{one.name}: not solved yet\n"


@each_exercise
def test_two_typical_mistakes_or_more_are_named(one, capsys):
    assert len(one.mistakes) >= 2
    for message, mistake in one.mistakes.items():
        assert len(message) >= 20
        assert verdict(one, mistake, capsys) == f"{one.name}: not yet. {message}\n"


@each_exercise
def test_nonsense_is_refused(one, capsys):
    for nonsense in ("yes", torch.full((7, 3), 0.123), -17):
        try:
            told = verdict(one, lambda *_, nonsense=nonsense: nonsense, capsys)
        except (TypeError, AttributeError, ValueError, IndexError, RuntimeError):
            continue  # a judge cannot even look at it
        assert told.startswith(f"{one.name}: not yet. "), nonsense


@each_exercise
def test_an_answer_may_change_its_arguments_in_place(one, capsys):
    """Each try gets arguments of its own."""

    def careless(*arguments):
        result = one.function(*arguments)
        for argument in arguments:
            if isinstance(argument, torch.Tensor) and argument.is_floating_point() and not argument.requires_grad:
                argument.zero_()
        return result

    wanted = copy.deepcopy(one.cases())
    assert "not solved" not in verdict(one, careless, capsys)
    for case, untouched in zip(one.cases(), wanted, strict=True):
        for argument, before in zip(case, untouched, strict=True):
            if isinstance(argument, torch.Tensor):
                assert difference(argument, before) is None
    assert verdict(one, one.function, capsys) == f"{one.name}: right\n"


def test_an_error_of_the_reader_is_shown_with_what_it_was_tried_on():
    def broken(boxes, height, width):
        raise KeyError("oops")

    with pytest.raises(KeyError) as caught:
        tour.to_pixels.check(broken)
    assert caught.value.__notes__ == ["This is your to_pixels, tried on a tensor of shape (2, 4), 100, 200."]


def test_another_way_to_the_right_answer_passes(capsys):
    told = verdict(tour.most_faithful_slot, lambda b: b[..., :2].std(0).pow(2).sum(-1).argmin().item(), capsys)
    assert told == "most_faithful_slot: right\n"


def test_a_judge_decides_where_several_answers_are_right(capsys):
    @exercise(mistakes={}, judge=lambda answer: None if answer % 2 == 0 else f"{answer} is odd.")
    def even():
        return 2

    assert verdict(even, lambda: 8, capsys) == "even: right\n"
    assert verdict(even, lambda: 3, capsys) == "even: not yet. 3 is odd.\n"


DIFFERENCES = [
    (torch.zeros(2), torch.zeros(2), None),
    (torch.tensor([0.1, 0.2]), torch.tensor([0.1, 0.2000001]), None),
    (torch.tensor([0.1, 0.2]), torch.tensor([0.1, 0.3]), "0.3 is expected at [1], not 0.2"),
    (torch.tensor([1, 2]), torch.tensor([[1, 2]]), "shape should be (1, 2), not (2,)"),
    ([0.0, 0.0], torch.zeros(2), "A tensor is wanted, this is [0.0, 0.0]"),
    (torch.zeros(0), torch.zeros(0, dtype=torch.int64), "type should be torch.int64, not torch.float32"),
    (torch.zeros(2), torch.zeros(2, dtype=torch.bool), "type should be torch.bool"),
    (torch.zeros(2, dtype=torch.int32), torch.zeros(2, dtype=torch.int64), None),
    (3, torch.tensor(3), None),
    (torch.tensor(3.0), 3.0, None),
    (4, 3, "3 is expected, not 4"),
    (torch.tensor(4), 3, "3 is expected, not 4"),
    ([1, 2], (1, 2), None),
    ([1, 3], (1, 2), "At number 1: 2 is expected, not 3"),
    ([1], (1, 2), "A tuple of length 2 is wanted"),
    ({"a": 1}, {"a": 2}, "At 'a': 2 is expected"),
    ({"b": 1}, {"a": 2}, "A dict with the keys a is wanted"),
    ("x", "y", "'y' is expected"),
    (float("nan"), float("nan"), None),
]


@pytest.mark.parametrize(("answer", "right", "words"), DIFFERENCES)
def test_a_difference_is_said_in_words(answer, right, words):
    told = difference(answer, right)
    assert told is None if words is None else words in told


def test_a_shown_solution_is_the_tested_source():
    html = Solution(tour.says_no_object.function)._repr_html_()
    assert html.startswith(
        '<details class="solution"><summary>Show a solution</summary><div class="highlight"><pre>def '
    )
    assert "logits.argmax(-1) == logits.shape[-1] - 1" in html
    assert "mistakes" not in html
