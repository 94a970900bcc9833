"""Turn the text of a chapter into its notebook, and keep the two in step.

    python tools/nb.py build [NAME ...]    run book/src/NAME.md, store book/NAME.ipynb with its outputs
    python tools/nb.py prose [NAME ...]    the same where no code has changed: the outputs are those of the last run
    python tools/nb.py check [NAME ...]    fail where a notebook is not what its text says

Without a name, every chapter. The notebook's bytes depend on the text and on what the code prints,
nothing else: no time, no path, no random id. When and how long it ran, and with which versions, is kept beside it in
book/execution.json. A chapter that fails leaves its old notebook as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
RECORDED = ("torch", "torchvision", "numpy", "scipy", "matplotlib", "pillow", "pycocotools")


def read_text(name: str, book: Path) -> NotebookNode:
    """The notebook that a chapter's text describes, without outputs."""
    path = book / "src" / f"{name}.md"
    if not path.is_file():
        raise SystemExit(f"{name}: there is no {path}")
    notebook = jupytext.read(path, fmt="md:myst")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        cell.id = cell_id(cell, seen)
        if "hide-input" in cell.metadata.get("tags", []):  # the page's word for it; this is Jupyter's
            cell.metadata.jupyter = {"source_hidden": True}
    return notebook


def cell_id(cell: NotebookNode, seen: dict[str, int]) -> str:
    """The cell's label, or a name made from its own text: it stays when other cells move."""
    label = cell.metadata.pop("label", None)
    if label and (label in seen or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", label)):
        raise SystemExit(f"{label!r} cannot be a label: it is used twice or has other signs than A-Z a-z 0-9 - _")
    name = label or hashlib.sha256(cell.source.encode()).hexdigest()[:8]
    seen[name] = seen.get(name, 0) + 1
    return name if seen[name] == 1 else f"{name}-{seen[name]}"


def normalize(notebook: NotebookNode) -> None:
    """Take out of the outputs what differs between two runs of the same code, in place."""
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
        cell.outputs = merge_streams(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            if output.output_type == "error":  # the frames hold the paths of this machine
                output.traceback = [f"{output.ename}: {output.evalue}"]


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """How a kernel cuts its prints into messages is chance: join neighbors of one stream."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def build(name: str, book: Path) -> list[str]:
    """Run a chapter's text from top to bottom, store it with its outputs, and say what went wrong."""
    start = time.perf_counter()
    notebook = read_text(name, book)
    resources = {"metadata": {"path": str(book)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False, resources=resources)
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError, TimeoutError) as error:
        return [f"{name}: a cell failed; the stored notebook is as it was\n{error}"]
    normalize(notebook)
    store(notebook, name, book)
    seconds = time.perf_counter() - start
    record(name, book, seconds)
    print(f"{name}: {seconds:.1f} s", flush=True)
    return []


def renew_prose(name: str, book: Path) -> list[str]:
    """Store a chapter's text with the outputs of its last run, if it has the very code that was run."""
    if faults := [fault for fault in check(name, book) if fault.endswith((" is missing", " build it again"))]:
        return faults
    notebook, ran = read_text(name, book), nbformat.read(book / f"{name}.ipynb", as_version=4)
    new, old = ([cell for cell in one.cells if cell.cell_type == "code"] for one in (notebook, ran))
    if [(cell.source, cell.metadata) for cell in new] != [(cell.source, cell.metadata) for cell in old]:
        return [f"{name}: its code is not what was run; build it"]
    for cell, before in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    notebook.metadata = ran.metadata  # the kernel has its say in it
    store(notebook, name, book)
    path = book / "execution.json"
    records = json.loads(path.read_text("utf-8"))
    records[name]["sha256"] = checksum(book / f"{name}.ipynb")
    write_records(records, path)
    return []


def store(notebook: NotebookNode, name: str, book: Path) -> None:
    unfinished = book / f"{name}.ipynb.tmp"
    unfinished.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")
    unfinished.replace(book / f"{name}.ipynb")


def record(name: str, book: Path, seconds: float) -> None:
    """Keep when, how long and with what a notebook ran, together with a checksum that ties it to this notebook."""
    path = book / "execution.json"
    records = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    notebook = nbformat.read(book / f"{name}.ipynb", as_version=4)
    records[name] = {
        "cells": sum(cell.cell_type == "code" for cell in notebook.cells),
        "seconds": round(seconds),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "with": {"Python": platform.python_version()} | {package: version(package) for package in RECORDED},
        "sha256": checksum(book / f"{name}.ipynb"),
    }
    write_records(records, path)


def write_records(records: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", "utf-8")


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check(name: str, book: Path) -> list[str]:
    """Where a chapter's notebook is not what its text says."""
    path = book / f"{name}.ipynb"
    if not path.is_file():
        return [f"{name}: {path} is missing"]
    wanted, stored = read_text(name, book).cells, nbformat.read(path, as_version=4).cells
    faults = [
        f"{name}: cell {number} is not what its text says: {want.source.splitlines()[:1]}"
        for number, (want, have) in enumerate(zip(wanted, stored, strict=False))
        if any(want[key] != have.get(key) for key in ("cell_type", "source", "metadata", "id"))
    ]
    told = book / "execution.json"
    if not told.is_file() or json.loads(told.read_text("utf-8")).get(name, {}).get("sha256") != checksum(path):
        faults.append(f"{name}: {told} tells of another run than the stored one: build it again")
    if len(wanted) != len(stored):
        faults.append(f"{name}: {len(stored)} cells stored, {len(wanted)} in the text")
    return faults


def orphans(book: Path) -> list[str]:
    """Notebooks without a text, which could never be made again."""
    texts = {p.stem for p in (book / "src").glob("*.md")}
    return [f"{p.stem}: {p} has no text in src/" for p in sorted(book.glob("*.ipynb")) if p.stem not in texts]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["build", "prose", "check"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a chapter, such as 01_tour; all by default")
    parser.add_argument("--book", type=Path, default=BOOK, help="the folder of the book")
    args = parser.parse_args(argv)
    # The kernel is a child of this process: it has to find the package, and to draw into the notebook.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ.pop("MPLBACKEND", None)
    names = [Path(n).stem for n in args.names] or sorted(p.stem for p in (args.book / "src").glob("*.md"))
    faults = orphans(args.book) if args.what == "check" else []
    for name in names:
        faults += {"build": build, "prose": renew_prose, "check": check}[args.what](name, args.book)
    print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
