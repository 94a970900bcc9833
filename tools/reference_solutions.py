"""Train the three reference solutions of the final project, and measure them on scenes of a secret seed.

    python tools/reference_solutions.py --data data/tiny_town           # what is not there yet, one after another
    python tools/reference_solutions.py --data data/tiny_town quick     # one of them

A finished one is stored at once in ``book/data/project.json``: AP, minutes by the clock, which the rules are about, and
minutes of the processor, which say what they would be on two cores that do nothing else. Let nothing else run beside.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from detr_mini.classroom import project
from detr_mini.files import write_atomically
from detr_mini.weights import load_detector

STORED = Path(__file__).resolve().parent.parent / "book" / "data" / "project.json"
SECRET = "reference"  # no class has this one
SOLUTIONS = {  # options of detr-mini train
    "nano": "--config nano --recipe nano --epochs 2",
    "quick": "--config nano --recipe quick --epochs 2",
    "deformable": "--config deformable_nano --recipe deformable_nano --epochs 2",
}


def train(name: str, data: Path, out: Path) -> float:
    """Train one anew; returns minutes of the processor."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "detr_mini", "train", "--data", str(data), "--out", str(out), "--workers", "1"]
    before = _spent()
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # and a process that reads: any two cores give the same weights
    subprocess.run([*command, *SOLUTIONS[name].split()], env=one_thread, check=True)
    return (_spent() - before) / 60


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def entry(name: str, run: Path, processor: float) -> dict[str, object]:
    """What is stored of a run, whether or not it was in time: the machine may have had other work."""
    log = (run / "log.jsonl").read_text("utf-8").splitlines()
    model = load_detector(run / "model.safetensors")
    return {
        "options": SOLUTIONS[name],
        **project.measure(model, SECRET),
        "minutes": round(json.loads(log[-1])["seconds"] / 60, 1),
        "processor_minutes": round(processor, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(SOLUTIONS)} (default: the missing ones)"
    )
    parser.add_argument("--data", type=Path, default=Path("data/tiny_town"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/project"), metavar="DIR", help="for the runs")
    options = parser.parse_args()
    stored = json.loads(STORED.read_text("utf-8")) if STORED.exists() else {}
    for name in options.names or [name for name in SOLUTIONS if name not in stored]:
        if name not in SOLUTIONS:
            parser.error(f"there is no {name!r}; there are {', '.join(SOLUTIONS)}")
        processor = train(name, options.data, options.out / name)
        stored[name] = entry(name, options.out / name, processor)
        kept = {name: stored[name] for name in SOLUTIONS if name in stored}
        write_atomically(STORED, (json.dumps(kept, indent=2) + "\n").encode())
        print(f"{name}: {json.dumps(stored[name])}", flush=True)


if __name__ == "__main__":
    main()
