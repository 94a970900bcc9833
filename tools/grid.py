"""Runs of a grid side by side, each stored as a file of its own when it is finished."""

from argparse import Namespace
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path


def run_grid(
    run: Callable[[str, int, Path, Path], str], wanted: Iterable[tuple[str, int]], stored: Path, options: Namespace
) -> None:
    """Make what is not ``stored`` yet as ``NAME-SEED.json``, or with ``options.anew`` all, and print each run's line.

    Args:
        run: makes one of them, from its name, its seed, ``options.data`` and ``options.out``.
        wanted: names and seeds.
        stored: the folder with the files of finished runs.
        options: also ``jobs``, how many processes there are.
    """
    todo = [(n, s) for n, s in wanted if options.anew or not (stored / f"{n}-{s}.json").exists()]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(run, name, seed, options.data, options.out) for name, seed in todo]
        for done in as_completed(runs):
            print(done.result(), flush=True)
