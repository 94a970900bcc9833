"""``detr-mini course``: assignments for a class, their grading, and the final project."""

import argparse
import json
import os
import sys
from pathlib import Path

from detr_mini.commands.options import Commands, add_command, count, count_or_none
from detr_mini.errors import ConfigError, NotFoundError, StorageError, UserError

EXAMPLES = [
    "make spring --seed 2027",
    "make spring --chapters 11 12 14",
    "check 11_matcher.ipynb",
    "check handed_in/kim/11_matcher.ipynb --course spring",
    "score handed_in/kim/run --name kim",
    "leaderboard lines",
]
SECRET = "DETR_MINI_SECRET"


def add(commands: Commands) -> None:
    """Add the command with its options."""
    summary = "make assignments of the book's exercises, grade them, and score the runs of the final project"
    command = add_command(commands, "course", run, summary, EXAMPLES)
    parts = command.add_subparsers(dest="part", required=True, metavar="make|check|score|leaderboard")
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
    score = parts.add_parser(
        "score", help="check a run of the final project, measure it on hidden scenes, print a line"
    )
    score.add_argument("folder", type=Path, metavar="RUN", help="the folder that train --out wrote")
    score.add_argument("--name", metavar="TEXT", help="of the team (default: that of the folder)")
    leaderboard = parts.add_parser("leaderboard", help="write the page of all lines, DIR/leaderboard.html")
    leaderboard.add_argument("folder", type=Path, metavar="DIR", help="with the lines of score, in files *.jsonl")
    for part in (score, leaderboard):
        part.add_argument(
            "--secret", metavar="TEXT", help=f"what scenes and signatures are made from (default: ${SECRET})"
        )


def run(options: argparse.Namespace) -> None:
    """Do one of the parts."""
    {"make": _make, "check": _check, "score": _score, "leaderboard": _leaderboard}[options.part](options)


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


def _score(options: argparse.Namespace) -> None:
    from detr_mini.classroom.project import score

    secret = _secret(options)
    line = score(options.folder, secret, options.name or options.folder.resolve().name)
    print(json.dumps(line))
    print(f"AP {line['AP']:.3f} ± {line['error']:.3f} on hidden scenes, {line['minutes']:.1f} minutes", file=sys.stderr)


def _leaderboard(options: argparse.Namespace) -> None:
    from detr_mini.classroom.leaderboard import page
    from detr_mini.classroom.project import read_lines
    from detr_mini.files import write_atomically

    lines, target = read_lines(options.folder, _secret(options)), options.folder / "leaderboard.html"
    try:
        write_atomically(target, page(lines).encode())
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from None
    print(f"{target}: {len(lines)} detectors, the best is {lines[0]['name']} with AP {lines[0]['AP']:.3f}")


def _secret(options: argparse.Namespace) -> str:
    secret = options.secret or os.environ.get(SECRET)
    if not secret:
        raise ConfigError(f"a secret is wanted: --secret TEXT, or export {SECRET}=TEXT, which stays out of the history")
    return str(secret)
