"""``detr-mini course``: assignments for a class, and their grading."""

import argparse
from pathlib import Path

from detr_mini.commands.options import Commands, add_command, count, count_or_none
from detr_mini.errors import NotFoundError, UserError

EXAMPLES = [
    "make spring --seed 2027",
    "make spring --chapters 11 12 14",
    "check 11_matcher.ipynb",
    "check handed_in/kim/11_matcher.ipynb --course spring",
]


def add(commands: Commands) -> None:
    """Add the command with its options."""
    summary = "make assignments of the book's exercises, and grade them"
    command = add_command(commands, "course", run, summary, EXAMPLES)
    parts = command.add_subparsers(dest="part", required=True, metavar="make|check")
    make = parts.add_parser("make", help="write a course folder for nbgrader")
    make.add_argument("folder", type=Path, metavar="DIR", help="a new folder, for the teacher alone")
    make.add_argument("--chapters", nargs="+", default=[], metavar="N", help="such as 11 or 11_matcher (default all)")
    make.add_argument(
        "--seed", type=count_or_none, metavar="N", help="what all numbers are drawn from; keep it (default: drawn)"
    )
    make.add_argument("--book", type=Path, metavar="DIR", help="the book's folder (default that of this clone)")
    check = parts.add_parser("check", help="grade one notebook, in a process of its own")
    check.add_argument("file", type=Path, metavar="FILE", help="with the name of its assignment, as it was handed out")
    check.add_argument("--course", type=Path, metavar="DIR", help="the course folder: its checks, and hidden ones")
    check.add_argument(
        "--seconds", type=count, default=300, metavar="N", help="how long it may take (default %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    """Make or check."""
    if options.part == "make":
        _make(options)
    else:
        _check(options)


def _make(options: argparse.Namespace) -> None:
    try:
        from detr_mini.classroom.chapters import BOOK
        from detr_mini.classroom.course import make
    except ModuleNotFoundError as error:
        if str(error.name).startswith("detr_mini"):
            raise NotFoundError("this is the package for students, which cannot make a course") from None
        raise NotFoundError(f'{error.name} is missing: pip install -e ".[classroom]" brings it') from None
    seed = make(options.folder, options.chapters, options.seed, options.book or BOOK)
    made = sorted(path.name for path in (options.folder / "source").iterdir())
    print(f"{options.folder}: {len(made)} assignments ({', '.join(made)}), drawn from --seed {seed}")
    print(f"students install {options.folder / 'students'}/*.whl; hand nothing else out of this folder")
    print(f"cd {options.folder}; nbgrader generate_assignment {made[0]}    # what students get, in release/{made[0]}")


def _check(options: argparse.Namespace) -> None:
    try:
        from detr_mini.classroom.grade import grade
    except ModuleNotFoundError as error:
        raise NotFoundError(f'{error.name} is missing: pip install "detr-mini[chapters]" brings it') from None
    grades = grade(options.file, options.course, options.seconds)
    for one in grades:
        print(f"{one.points:2} of {one.of}  {one.check:32} {one.message}")
    points, of = sum(one.points for one in grades), sum(one.of for one in grades)
    print(f"{points} of {of} points; questions are graded by a person")
    if points < of:
        raise UserError(f"{options.file} has {points} of {of} points")
