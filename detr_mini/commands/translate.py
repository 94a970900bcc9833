"""``detr-mini translate``."""

import argparse
import io
import sys
from pathlib import Path

from detr_mini.commands.options import PROGRAM, Commands, add_command, count
from detr_mini.errors import UnknownWordError

EXAMPLES = [
    '"two red cars left of a bus"',
    '"many people" "an orange bus behind a tree" --beams 4',
    "< sentences.txt",
]
CLOSED = """The shipped translator knows the sentences of a small grammar about the drawn town: up to six things of a
kind, or many, their color, their place, and what they are left or right of, in front of, behind, next to, above or
below. "There is" may be left out. Its words put together in other ways are translated, too, but what comes out means
nothing."""


def add(commands: Commands) -> None:
    """Add the command with its options."""
    summary = "translate English sentences about Tiny Town into Chinese, one a line"
    command = add_command(commands, "translate", run, summary, EXAMPLES)
    command.description = f"{command.description}\n\n{CLOSED}"
    command.add_argument(
        "sentences",
        nargs="*",
        metavar="SENTENCE",
        help="in quotation marks; without any, each line of the standard input is one",
    )
    command.add_argument(
        "--beams", type=count, default=1, metavar="N", help="beginnings kept while writing (default %(default)s)"
    )
    command.add_argument(
        "--weights", type=Path, metavar="FILE", help="of another translator (default: the shipped one)"
    )


def run(options: argparse.Namespace) -> None:
    """Translate and print."""
    from detr_mini.seq2seq_weights import SHIPPED, load_translator
    from detr_mini.translation import translate

    _speak_utf8(reading=not options.sentences)
    model = load_translator(options.weights or SHIPPED)
    sentences = options.sentences or sys.stdin.read().splitlines()
    try:
        translations = translate(model, sentences, beams=options.beams)
    except UnknownWordError as error:
        error.add_note(f"the words it knows: {', '.join(model.source.words if model.source else ())}")
        error.add_note(f"'{PROGRAM} translate --help' has sentences made of them")
        raise
    for translation in translations:
        print(translation)


def _speak_utf8(*, reading: bool) -> None:
    """Chinese comes out whatever the terminal's encoding, and what is read breaks nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    if reading and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
