"""What a chapter's text holds for an assignment: title, prompts, skeletons, hints, and questions to think about."""

import ast
import importlib
import inspect
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from detr_mini.errors import DataError, NotFoundError
from detr_mini.teaching.exercises import Exercise, Solution

BOOK = Path(__file__).resolve().parent.parent.parent / "book"
POINTS = {"easy": 2, "medium": 4, "hard": 6}  # half of them for the visible check, half for the hidden one
FIGURES = {  # the figure that is asked about: its cell in the chapter; the others have drawings that need a script
    "01_tour": "fig-before-after",
    "02_attention": "fig-square-root",
    "03_seq2seq": "fig-layers",
    "04_data": "fig-crowd",
    "05_nested_tensor": "fig-padding",
    "06_backbone": "fig-recall-by-size",
    "08_encoder": "fig-depth",
    "09_decoder": "fig-probe",
    "10_detr": "fig-kinds",
    "11_matcher": "fig-settling",
    "12_loss": "fig-plateau",
    "14_train": "fig-log",
    "15_evaluate": "fig-curve",
    "16_slots": "fig-training",
    "17_attention_maps": "fig-wrong-maps",
    "18_ablations": "fig-all",
    "19_deformable_attention": "fig-times",
    "20_deformable_detr": "fig-curves",
    "21_panoptic": "fig-log",
    "22_own_pictures": "fig-numbers",
    "23_museum": "fig-first-loss",
}


@dataclass(frozen=True)
class Task:
    """One exercise of a chapter, as its text has it."""

    title: str
    level: str
    minutes: int
    prompt: str
    hint: str
    skeleton: str
    exercise: Exercise

    @property
    def points(self) -> int:
        return POINTS[self.level]

    def solved(self) -> str:
        """The skeleton with the body of the solution, between the marks that nbgrader cuts out."""
        body = ["    ### BEGIN SOLUTION", *solution_lines(self.exercise), "    ### END SOLUTION"]
        return self.skeleton.replace("    return None  # your code here", "\n".join(body))


@dataclass(frozen=True)
class Chapter:
    """A chapter's name, such as ``11_matcher``, its title, exercises, and questions with answers."""

    name: str
    title: str
    tasks: list[Task]
    questions: list[tuple[str, str]]
    imports: list[str]

    @property
    def topic(self) -> str:
        return self.name.partition("_")[2]


def names(book: Path = BOOK) -> list[str]:
    """The chapters, in order.

    Raises:
        NotFoundError: the texts are not there.
    """
    found = sorted(path.stem for path in (book / "src").glob("[0-9][0-9]_*.md"))
    if not found:
        raise NotFoundError(
            f"{book / 'src'} has no chapters: prompts stand in the book's texts, which are no part of an installed "
            "package. Run this in a clone of the repository (pip install -e .), or name its folder: --book CLONE/book"
        )
    return found


def read(name: str, book: Path = BOOK) -> Chapter:
    """Read a chapter's text.

    Raises:
        DataError: its exercises or questions have another form than those of the book.
    """
    text = (book / "src" / f"{name}.md").read_text("utf-8")
    title = re.search(r"^# (.+)$", text, flags=re.M)
    part = re.search(r"^## Exercises$(.*?)^## What to remember$", text, flags=re.M | re.S)
    if title is None or part is None:
        raise DataError(f"{name}.md has no title, or no section 'Exercises' before 'What to remember'")
    module = importlib.import_module(f"detr_mini.teaching.exercises.{name.partition('_')[2]}")
    found = [_task(block, vars(module)) for block in re.split(r"^(?=\*\*\d+\. )", part[1], flags=re.M)[1:]]
    return Chapter(name, title[1], found, _questions(name, text), imports_of(module, [t.exercise for t in found]))


def _task(block: str, known: dict[str, object]) -> Task:
    head = re.match(r"\*\*(\d+\. .+?)\*\* \((\w+), (\d+) minutes\)\.\s*(.*?)\n<details>", block, flags=re.S)
    hint = re.search(r"<details><summary>Show a hint</summary>\n(.*?)</details>", block, flags=re.S)
    code = re.search(r"```\{code-cell\} python\n:label: exercise-.*?\n(.*?)^```", block, flags=re.M | re.S)
    name = re.search(r"^exercises\.(\w+)\.check\(", block, flags=re.M)
    if head is None or hint is None or code is None or name is None:
        raise DataError(f"an exercise has another form than those of the book: {block[:60]!r}")
    skeleton = re.sub(r"^(from detr_mini\.teaching\.exercises .*|exercises\..*)\n", "", code[1], flags=re.M).strip()
    one = known[name[1]]
    assert isinstance(one, Exercise)
    return Task(head[1], head[2], int(head[3]), plain(head[4]), plain(hint[1]), skeleton, one)


def _questions(name: str, text: str) -> list[tuple[str, str]]:
    found = re.search(
        r"\*\*Test yourself\.\*\*(.*?)\n\n<details><summary>Show the answers</summary>\n\n(.*?)\n\n</details>",
        text,
        flags=re.S,
    )
    if found is None:
        raise DataError(f"{name}.md has no 'Test yourself' with answers")
    asked = [" ".join(part.split()) for part in re.split(r"(?<=\?)\s+", plain(found[1]))]
    asked = [
        part
        for one in asked
        for part in (re.split(r"(?<=\.) ", one, maxsplit=1) if one.startswith("Explain") else [one])
    ]
    answers = [plain(part) for part in found[2].split("\n\n")]
    if len(asked) != len(answers):
        raise DataError(f"{name}.md: 'Test yourself' has {len(asked)} questions and {len(answers)} answers")
    return list(zip(asked, answers, strict=True))


def plain(text: str) -> str:
    """Markdown without what only the book understands: citations, and links between its pages."""
    text = re.sub(r"\s*\{cite\}`[^`]*`", "", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text).strip()


def solution_lines(one: Exercise) -> list[str]:
    """The body of a solution, its docstring left out, as it stands in the module."""
    lines = Solution(one.function).source.rstrip().splitlines()
    (function,) = ast.parse("\n".join(lines)).body
    assert isinstance(function, ast.FunctionDef)
    documented = ast.get_docstring(function) is not None
    start = (function.body[0].end_lineno or 0) if documented else function.body[0].lineno - 1
    return lines[start:]


def imports_of(module: ModuleType, exercises: list[Exercise]) -> list[str]:
    """The imports and names of types that the bodies of a module's solutions need; PyTorch in any case."""
    bodies = [ast.parse(textwrap.dedent("\n".join(solution_lines(one)))) for one in exercises]
    nodes = [node for body in bodies for node in ast.walk(body)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)} | {"torch"}
    lines = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
            if node.names:
                lines.append(ast.unparse(node))
        elif isinstance(node, ast.Assign) and {getattr(target, "id", None) for target in node.targets} & used:
            lines.append(ast.unparse(node))  # a name for a type, such as Words
    inner = [ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return list(dict.fromkeys([*lines, *inner]))
