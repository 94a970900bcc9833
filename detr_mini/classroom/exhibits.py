"""The museum of bugs as an assignment: for each exhibit its evidence, and a function that names the cause.

Which exhibit comes when follows from the course's seed. Runs are others than those of the book's page, with the same
causes. What is right, and what is said to each wrong cause, is in the hidden cases alone.
"""

import base64
import random
from collections.abc import Iterator

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from detr_mini.classroom.checks import Trial
from detr_mini.teaching import museum
from detr_mini.teaching.museum_causes import CAUSES

CHAPTER = "23_museum"
SEED = 1  # of the runs: the book shows those of seed 0
POINTS = 2
ABOUT = """## Exhibits

Each is a detector with one fault, beside its healthy twin: the same run without the fault. Find out what is wrong, and
let the function return the name of the cause. No cause comes twice, and some come nowhere. The check below a function
says only whether the name is one of these:

{causes}"""


def order(seed: int) -> list[museum.Exhibit]:
    """The exhibits of a course, in its order."""
    found = museum.exhibits(SEED)
    random.Random(f"{seed}/museum").shuffle(found)
    return found


def cells(seed: int) -> Iterator[tuple[NotebookNode, str, int]]:
    """The cells of all exhibits, each with its name for nbgrader and its points; no name for text."""
    groups = "\n".join(f"- {group}: {', '.join(names)}" for group, names in museum.by_group().items())
    yield new_markdown_cell(ABOUT.format(causes=groups), id="exhibits"), "", 0
    for place, exhibit in enumerate(order(seed), start=1):
        name = f"exhibit_{place}"
        yield _evidence(exhibit, place), "", 0
        yield new_code_cell(_solved(name, museum.answer(exhibit.number)), id=name.replace("_", "-")), name, 0
        yield new_code_cell(_check(f'cause("{name}", {name})'), id=f"check-{place}"), f"check-{name}", 0
        hidden = _check(f'hidden("{CHAPTER}", "{name}", {name})')
        lines = ["# Graded by the cause. Leave this cell as it is.", "### BEGIN HIDDEN TESTS", hidden]
        yield new_code_cell("\n".join([*lines, "### END HIDDEN TESTS"]), id=f"hidden-{place}"), f"hidden-{name}", POINTS


def trials(seed: int) -> dict[str, Trial]:
    """The hidden cases: the cause, and what is said to every other one."""
    found = {}
    for place, exhibit in enumerate(order(seed), start=1):
        said = {name: museum.verdict(exhibit, name) for name in CAUSES}
        right = [name for name, one in said.items() if one.right]
        wrong = {f"{name}: {one.text}": [name] for name, one in said.items() if not one.right}
        found[f"exhibit_{place}"] = Trial(cases=[()], right=right, wrong=wrong)
    return found


def _evidence(exhibit: museum.Exhibit, place: int) -> NotebookNode:
    import matplotlib.pyplot as plt

    from detr_mini.teaching.museum_figures import evidence
    from detr_mini.teaching.pictures import drawn, light_webp

    text, attachments = [f"### Exhibit {place}"], {}
    for title, (figure, alt) in evidence(exhibit).items():
        name = f"{title.lower()}.webp"
        text.append(f"**{title}**\n\n![{alt}](attachment:{name})")
        attachments[name] = {"image/webp": base64.b64encode(light_webp(drawn(figure, 1.25))).decode()}
        plt.close(figure)
    cell = new_markdown_cell("\n\n".join(text), id=f"evidence-{place}")
    cell["attachments"] = attachments
    return cell


def _solved(name: str, cause: str) -> str:
    doc = '    """The name of a cause."""'
    return f'def {name}():\n{doc}\n    ### BEGIN SOLUTION\n    return "{cause}"\n    ### END SOLUTION'


def _check(call: str) -> str:
    lines = ["from importlib import reload", "", "from detr_mini.classroom import checks", "", f"reload(checks).{call}"]
    return "\n".join(lines)
