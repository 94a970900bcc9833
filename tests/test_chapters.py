"""The anatomy of a chapter: what every one of them has to offer, whatever it is about."""

from __future__ import annotations

import ast
import importlib
import re
import statistics
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch

from detr_mini.modeling.config import CONFIGS
from detr_mini.modeling.detr import DETR
from detr_mini.teaching.exercises import Exercise
from detr_mini.teaching.notebook import sample

BOOK = Path(__file__).resolve().parent.parent / "book"
CHAPTERS = sorted(BOOK.glob("[0-9]*.ipynb"))
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)

DRAWS = ("draw", "plot", "print")  # a function with such a name is looked at, not asserted on
# What a drawing cell calls last.
FIGURES = ("show", "slider", "cell_picker", "slot_picker", "word_picker", "point_picker", "case")


class Chapter:
    def __init__(self, path: Path) -> None:
        self.cells: list[Any] = nbformat.read(path, as_version=4).cells
        self.code = [c for c in self.cells if c.cell_type == "code" and c.source.strip()]
        self.prose = "\n\n".join(c.source for c in self.cells if c.cell_type == "markdown")
        start = next((i for i, c in enumerate(self.cells) if "\n## Exercises" in f"\n{c.source}"), len(self.cells))
        self.lesson = [c for c in self.cells[:start] if c.cell_type == "code"]
        self.exercises = self.cells[start:]
        topic = path.stem.partition("_")[2]
        self.module = importlib.import_module(f"detr_mini.teaching.exercises.{topic}")

    def minutes(self) -> float:
        """Two hundred words of prose a minute, and twelve lines of code."""
        return len(self.prose.split()) / 200 + sum(len(cell.source.splitlines()) for cell in self.code) / 12

    def section(self, title: str) -> str:
        found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", self.prose, flags=re.M | re.S)
        assert found, f"there is no section {title!r}"
        return found[1]

    def questions(self) -> list[tuple[str, int, str]]:
        """What the page says it answers: the question, its number and its anchor on the page of all questions."""
        listed = re.search(r"^\*\*Questions this page answers\*\*\n\n((?:- .*\n(?:  .*\n)*)+)", self.prose, flags=re.M)
        assert listed, "the questions are a list"
        found = []
        for bullet in re.split(r"^- ", listed[1], flags=re.M)[1:]:
            parts = re.fullmatch(r"(.+\?)\s+\(\[(\d+)\]\(faq\.md#([\w-]+)\)\)\n", bullet)
            assert parts, f"not a question and its link: {bullet!r}"
            found.append((parts[1], int(parts[2]), parts[3]))
        return found


def printed(cell: Any) -> str:
    return "".join(o.get("text", "") for o in cell.outputs)


def html(cell: Any) -> str:
    return "".join(o.get("data", {}).get("text/html", "") for o in cell.outputs)


def is_folded(cell: Any) -> bool:
    return "hide-input" in cell.metadata.get("tags", [])


def only_draws(cell: Any) -> bool:
    """It ends with a figure, or defines functions that draw; it asserts nothing and defines nothing else."""
    tree = ast.parse(cell.source)
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    if any(isinstance(node, ast.Assert) for node in ast.walk(tree)) or not all(n.startswith("draw") for n in defined):
        return False
    match tree.body[-1]:
        case ast.FunctionDef():
            return True
        case ast.Expr(value=ast.Call(func=called)):
            return ast.unparse(called).rpartition(".")[2] in FIGURES and len(cell.source.splitlines()) > 3
    return False


@pytest.fixture
def chapter(path: Path) -> Chapter:
    return Chapter(path)


@each_chapter
def test_it_begins_with_goals_time_and_questions(chapter: Chapter) -> None:
    head, _, rest = chapter.prose.partition("**You will be able to**")
    assert head.startswith("# "), "a title comes first"
    goals = re.match(r"\s*((?:- .*\n(?:  .*\n)*)+)", rest)
    assert goals, "the goals are a list"
    assert 3 <= len(re.findall(r"^- ", goals[1], flags=re.M)) <= 5
    assert re.match(
        r"\s*\*\*Takes\*\* .*(second|minute).*\n?.*\*\*Builds on\*\* (?:.+\n)+\n\*\*Questions this page answers\*\*\n",
        rest[goals.end() :],
    )


@each_chapter
def test_it_says_which_questions_it_answers(chapter: Chapter) -> None:
    """In a learner's words, few of them, and each leads to its entry on the page of all questions."""
    anchors = faq_anchors()
    questions = chapter.questions()
    assert 1 <= len(questions) <= 6
    for question, number, anchor in questions:
        assert len(question.split()) <= 15, question
        assert anchor == anchors[number], question


@each_chapter
def test_the_diagram_comes_first_and_shows_where_we_are(chapter: Chapter) -> None:
    title, diagram, goals, imports = chapter.cells[:4]
    assert title.source.startswith("# ")
    assert "detr-diagram" in html(diagram)
    assert [cell.id for cell in chapter.code if "diagram(lit=" in cell.source] == [diagram.id]
    under, found, _ = goals.source.partition("**You will be able to**")
    assert found, "the goals follow the diagram"
    assert under.strip(), "a sentence under the diagram says what it shows"
    assert "setup()" in imports.source


@each_chapter
def test_cells_that_only_draw_are_folded_and_no_others(chapter: Chapter) -> None:
    """One line stands for them on the page. So do the diagram and the imports, and a few asides that may be skipped."""
    asides = [cell for cell in chapter.lesson if "aside" in cell.metadata.get("tags", [])]
    assert len(asides) <= 4
    for cell in chapter.lesson:
        assert is_folded(cell) == (cell in chapter.code[:2] or only_draws(cell) or cell in asides), cell.source
    assert not any(is_folded(cell) for cell in chapter.exercises)


@each_chapter
def test_its_last_sections_are_those_of_every_chapter(chapter: Chapter) -> None:
    titles = re.findall(r"^## (.*)$", chapter.prose, flags=re.M)
    wanted = ["Break it", "In the original code", "Exercises", "What to remember"]
    assert [title for title in titles if title in wanted] == wanted
    assert titles[-1] == "What to remember"
    rest = chapter.section("What to remember")
    assert re.search(r"^\|.*\|$", rest, flags=re.M), "shapes in and out, in a table"
    assert len(re.findall(r"^- ", rest, flags=re.M)) >= 3
    assert "**Test yourself.**" in rest
    assert "{cite}" in chapter.prose


@each_chapter
def test_the_questions_at_its_end_have_answers(chapter: Chapter) -> None:
    """Folded under them, a paragraph each at the least."""
    asked, _, rest = chapter.section("What to remember").partition("**Test yourself.**")[2].partition("\n\n")
    answers = re.match(
        r"<details><summary>Show the answers</summary>\n\n(.+?)\n\n</details>", rest.lstrip(), flags=re.S
    )
    assert answers, "a fold with the answers follows the questions"
    assert len(answers[1].split("\n\n")) >= asked.count("?") > 0


@each_chapter
def test_there_is_something_to_play_with(chapter: Chapter) -> None:
    assert any('<figure class="interactive"' in html(cell) for cell in chapter.lesson)


@each_chapter
def test_every_figure_says_what_it_shows(chapter: Chapter) -> None:
    for cell in chapter.code:
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert len(output.metadata["image/png"]["alt"]) >= 40, cell.source
        for alt in re.findall(r'<img [^>]*alt="([^"]*)"', html(cell)):
            assert len(alt) >= 40, cell.source


@each_chapter
def test_it_is_told_in_short_cells_and_more_prose_than_code(chapter: Chapter) -> None:
    code = [cell.source for cell in chapter.code if "page" not in cell.metadata.get("tags", [])]
    assert statistics.median(len(source.splitlines()) for source in code) <= 8
    assert len(chapter.prose.split()) >= sum(len(source.split()) for source in code)


@each_chapter
def test_shapes_are_noted_where_they_change(chapter: Chapter) -> None:
    noted = [line for cell in chapter.lesson for line in cell.source.splitlines() if re.search(r"#.*\(.*,.*\)", line)]
    assert len(noted) >= 6


@each_chapter
def test_every_function_is_asserted_on(chapter: Chapter) -> None:
    """By its name in a cell with an assertion, or within a function that is."""
    defined = {
        node.name: ast.unparse(node)
        for cell in chapter.lesson
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    proof = [
        "\n".join(line for line in cell.source.splitlines() if not line.startswith(("def ", "class ")))
        for cell in chapter.lesson
        if "assert" in cell.source
    ]
    unproven = set(defined)
    while found := {name for name in unproven if any(re.search(rf"\b{name}\b", text) for text in proof)}:
        unproven -= found
        proof = [defined[name] for name in found]
    unproven = {name for name in unproven if not name.startswith(DRAWS)}
    assert not unproven, f"no cell with an assertion uses {', '.join(sorted(unproven))}"


@each_chapter
def test_exercises_have_level_time_hint_check_and_solution(chapter: Chapter) -> None:
    text = "\n\n".join(cell.source for cell in chapter.exercises)
    heads = re.findall(r"^\*\*(\d)\. [^*]+\*\* \((easy|medium|hard), (\d+) minutes\)\.", text, flags=re.M)
    assert [int(number) for number, _, _ in heads] == list(range(1, len(heads) + 1))
    assert 3 <= len(heads) <= 5
    assert min(int(minutes) for _, _, minutes in heads) <= 5
    assert text.count("<details><summary>Show a hint</summary>") == len(heads)
    known = {name for name, found in vars(chapter.module).items() if isinstance(found, Exercise)}
    checked = re.findall(r"^exercises\.(\w+)\.check\((\w+)\)$", text, flags=re.M)
    assert [name for name, _ in checked] == [name for _, name in checked]
    assert [name for name, _ in checked] == re.findall(r"^exercises\.(\w+)\.solution$", text, flags=re.M)
    assert {name for name, _ in checked} == known
    assert len(checked) == len(heads)


@each_chapter
def test_skeletons_run_through_unsolved(chapter: Chapter) -> None:
    for cell in chapter.exercises:
        if name := re.search(r"^exercises\.(\w+)\.check\(", cell.source, flags=re.M):
            assert "your code here" in cell.source
            assert printed(cell).endswith(f"{name[1]}: not solved yet\n")


@each_chapter
def test_a_page_is_no_heavier_than_it_must_be(path: Path) -> None:
    assert path.stat().st_size < 4_000_000


def test_detr_in_one_page_is_one_page_and_borrows_nothing() -> None:
    chapter = Chapter(BOOK / "13_one_page.ipynb")
    page = [cell.source for cell in chapter.lesson if "page" in cell.metadata.get("tags", [])]
    assert 150 < sum(len(source.strip().splitlines()) for source in page) <= 200
    assert "detr_mini" not in "".join(page)
    numbered = re.findall(r"# \[(\d+)\]", "".join(page))
    assert sorted(map(int, numbered)) == list(range(1, 11))
    assert re.findall(r"^\| \[(\d+)\] \|", chapter.prose, flags=re.M) == [str(n) for n in range(1, 11)]


# --- the pages that gather what the chapters show

CORRECTIONS = 17  # wrong statements that are put right


def linked_cells(text: str) -> list[tuple[str, str]]:
    """Notebook and cell of every link in a page."""
    return re.findall(r"\]\((\w+)\.ipynb#cell-([A-Za-z0-9_-]+)\)", text)


def cell_ids(stem: str) -> set[str]:
    return {cell.id for cell in nbformat.read(BOOK / f"{stem}.ipynb", as_version=4).cells}


def faq_entries() -> dict[int, str]:
    text = (BOOK / "faq.md").read_text("utf-8")
    parts = re.split(r"^## (\d+)\. ", text, flags=re.M)
    return {int(number): body for number, body in zip(parts[1::2], parts[2::2], strict=True)}


def faq_anchors() -> dict[int, str]:
    """What each question's heading is called in a link: as on GitHub, and as MyST has it."""
    text = (BOOK / "faq.md").read_text("utf-8")
    headings = re.findall(r"^## ((\d+)\. .*)$", text, flags=re.M)
    return {int(number): re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading, number in headings}


def test_every_question_is_answered_and_linked_to_a_cell() -> None:
    entries = faq_entries()
    assert sorted(entries) == list(range(1, 37))
    for number, entry in entries.items():
        assert len(entry.split()) > 40, number
        assert linked_cells(entry), number
        assert "wait" not in entry, number


def test_a_chapter_that_claims_a_question_is_linked_from_its_answer() -> None:
    entries = faq_entries()
    for path in CHAPTERS:
        if path.stem == "01_tour":  # it answers in passing what later chapters show
            continue
        for question, number, _ in Chapter(path).questions():
            assert path.stem in {stem for stem, _ in linked_cells(entries[number])}, (path.stem, question)


def test_every_correction_is_proven_and_linked_to_a_cell() -> None:
    cells = nbformat.read(BOOK / "corrections.ipynb", as_version=4).cells
    said = [i for i, cell in enumerate(cells) if "**You may read**" in cell.source]
    assert len(said) == CORRECTIONS
    for i in said:
        assert "**True is**" in cells[i].source
        assert linked_cells(cells[i].source)
        assert "assert" in cells[i + 1].source


def test_linked_cells_exist() -> None:
    pages = [(BOOK / "faq.md").read_text("utf-8"), *(c.source for c in Chapter(BOOK / "01_tour.ipynb").cells)]
    pages += [c.source for c in nbformat.read(BOOK / "corrections.ipynb", as_version=4).cells]
    links = {link for page in pages for link in linked_cells(page)}
    known = {stem: cell_ids(stem) for stem, _ in links}
    assert [(stem, cell) for stem, cell in sorted(links) if cell not in known[stem]] == []


def test_the_first_page_lists_every_chapter_with_its_reading_time() -> None:
    rows = re.findall(
        r"^\| \[[^]]+\]\((\w+)\.ipynb\) \| .* \| (\d+) \| (\d+) \|$", (BOOK / "index.md").read_text(), flags=re.M
    )
    assert [stem for stem, _, _ in rows] == [path.stem for path in CHAPTERS]
    for path, (_, minutes, seconds) in zip(CHAPTERS, rows, strict=True):
        assert abs(int(minutes) - Chapter(path).minutes()) <= 5, path.stem
        assert int(seconds) <= 60
        head = re.search(r"\*\*Takes\*\* about (\d+) seconds", (BOOK / "src" / f"{path.stem}.md").read_text())
        assert head is not None, path.stem
        assert head[1] == seconds, path.stem


@pytest.mark.parametrize("stem", ["02_attention", "03_seq2seq"])
def test_what_detr_is_made_of_is_read_in_an_hour_each(stem: str) -> None:
    assert Chapter(BOOK / f"{stem}.ipynb").minutes() <= 60


def test_the_numbers_of_the_shapes_page_are_those_of_the_models() -> None:
    cells = [
        line.strip("| ").split(" | ") for line in (BOOK / "shapes.md").read_text().splitlines() if line[:3] == "| $"
    ]
    stated = {letter.strip("$"): (nano, published) for letter, _, nano, published in cells}
    for column, name in enumerate(("nano", "detr_resnet50")):
        config = CONFIGS[name]
        with torch.device("meta"):
            channels = DETR(config).backbone[0].num_channels[-1]
        wanted = {
            "C": f"{channels}",
            "d": f"{config.hidden_dim}",
            "N": f"{config.num_queries}",
            "K": f"{config.num_classes}",
            "L": f"{config.enc_layers}, {config.dec_layers}",
        }
        assert {letter: stated[letter][column] for letter in wanted} == wanted
    image, target = sample()
    assert (stated["H, W"][0], stated["T"][0]) == (f"{image.shape[1]}, {image.shape[2]}", f"{len(target['labels'])}")
    assert stated["h, w"][0] == f"{-(-image.shape[1] // 8)}, {-(-image.shape[2] // 8)}"
