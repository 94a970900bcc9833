"""``python -m benchmarks``: measure detr_mini against its peers and write a table."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import course, deformable, loss, masks, models, seq2seq, training
from benchmarks.measure import Settings
from benchmarks.report import Case, table

GROUPS = (loss, models, masks, deformable, seq2seq, training, course)
CASES: dict[str, Case] = {name: case for group in GROUPS for name, case in group.CASES.items()}
CUDA_CASES: dict[str, Case] = training.CUDA_CASES
RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
EXAMPLES = """examples:
  python -m benchmarks                                  all of it, into benchmarks/RESULTS.md
  python -m benchmarks loss-b2-t20 operators            two cases, printed only
  python -m benchmarks --device cuda --out cuda.md      on a GPU, with the training step of DETR-R50
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases asked for, or all of them."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    settings = Settings(options.rounds, torch.device(options.device))
    cases = CASES | (CUDA_CASES if options.device == "cuda" else {})
    rows = []
    for name in options.cases or cases:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows.append(cases[name](settings))
    text = table(rows, settings.device, settings.rounds)
    print(text)
    out = options.out or (None if options.cases else RESULTS)
    if out is not None:
        out.write_text(text, encoding="utf-8")
        print(f"written to {out}", file=sys.stderr)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says, or a message and exit code 2."""
    names = ", ".join([*CASES, *(f"{name} (needs CUDA)" for name in CUDA_CASES)])
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure detr_mini against Hugging Face and plain forms, and write a Markdown table.",
        epilog=f"cases: {names}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to measure (default: everything)")
    parser.add_argument("--rounds", type=_positive, default=15, help="samples of each side (default: %(default)s)")
    parser.add_argument("--threads", type=_positive, default=2, help="threads on the CPU (default: %(default)s)")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=default, help="default: cuda if there is one")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the table there (default: benchmarks/RESULTS.md for all cases)"
    )
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device here; use --device cpu")
    for name in options.cases:
        if name not in CASES | CUDA_CASES:
            parser.error(f"there is no case {name!r}; there are {names}")
        if name in CUDA_CASES and options.device != "cuda":
            parser.error(f"{name} needs CUDA")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


if __name__ == "__main__":
    main()
