"""Rows, the table made of them, and the machine they were measured on."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.measure import Comparison, Settings

PACKAGES = ("torch", "torchvision", "transformers", "scipy")
HEADER = ("what", "peer", "peer, median [quartiles]", "ours, median [quartiles]", "peer / ours", "target", "")


@dataclass(frozen=True)
class Row:
    """One line of the table; ``why`` says under it what stands in the way of a target that is missed."""

    what: str
    peer: str
    theirs: str
    ours: str
    ratio: str
    target: str
    reached: bool
    why: str = ""


Case = Callable[[Settings], Row]


def timed_row(what: str, peer: str, comparison: Comparison, target: float, why: str = "") -> Row:
    """The line of two times, whose ratio should be ``target`` at least."""
    return Row(
        what,
        peer,
        comparison.peer.show(1e3, "ms"),
        comparison.ours.show(1e3, "ms"),
        comparison.ratio.show(),
        f"at least {target:g}",
        comparison.ratio.median >= target,
        why,
    )


def memory_row(what: str, peer: str, their_bytes: int, our_bytes: int, target: float) -> Row:
    """The line of two peaks of memory, whose ratio should be ``target`` at least."""
    ratio = their_bytes / our_bytes
    theirs, ours = (f"{count / 2**20:.0f} MiB" for count in (their_bytes, our_bytes))
    return Row(what, peer, theirs, ours, f"{ratio:.2f}", f"at least {target:g}", ratio >= target)


def table(rows: Sequence[Row], device: torch.device, rounds: int) -> str:
    """All of it in Markdown."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Both sides work on equal weights and inputs, and their results were compared before",
        "the clock started. Ratios are those of the two samples of a round, so they need not be the ratio of the",
        f"medians beside them. Rounds: at most {rounds}.",
        "",
        "| " + " | ".join(("machine", "")) + " |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in machine(device).items()),
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + "---|" * len(HEADER),
    ]
    for row in rows:
        cells = (row.what, row.peer, row.theirs, row.ours, row.ratio, row.target)
        lines.append("| " + " | ".join((*cells, "reached" if row.reached else "**missed**")) + " |")
    if reasons := [f"- Missed, {row.what}: {row.why}" for row in rows if row.why and not row.reached]:
        lines += ["", *reasons]
    return "\n".join(lines) + "\n"


def machine(device: torch.device) -> dict[str, str]:
    """Processor, memory, GPU, versions and the day."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "threads used": str(torch.get_num_threads()),
        "memory": f"{memory:.0f} GiB",
        "GPU": torch.cuda.get_device_name(device) if device.type == "cuda" else "none used",
        "python": platform.python_version(),
    }
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return facts | versions | {"date": datetime.date.today().isoformat()}


def _processor() -> str:
    """Its name, and where Linux tells them its instructions for bf16, without which autocast gains nothing."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    lines = [line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line]
    facts = {name.strip(): value.strip() for name, value in lines}
    bf16 = [flag for flag in facts.get("flags", "").split() if "bf16" in flag]
    return ", ".join([facts.get("model name", platform.machine()), " and ".join(bf16) or "no bf16"])
