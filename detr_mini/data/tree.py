"""What lies in a folder and below it: looked through once.

Chapter: *Data preparation*, ``book/04_data``.
"""

import os
from pathlib import Path

from detr_mini.data.names import PICTURE_SUFFIXES, without_suffix

DEEPEST = 6  # folders below the root that are looked into
MOST_FOLDERS = 5_000
PASSED_OVER = (".", "__", "node_modules", "site-packages")


class Tree:
    """The files of a folder and of those below it, by folder; hidden ones are passed over, links are followed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[Path, frozenset[str]] = {}
        self.cut = False  # there is more than was looked through
        seen = set()
        for place, folders, files in os.walk(root, followlinks=True):
            path, real = Path(place), os.path.realpath(place)
            depth = len(path.parts) - len(root.parts)
            if real in seen or len(self.files) >= MOST_FOLDERS:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [] if depth == DEEPEST else sorted(f for f in folders if not f.startswith(PASSED_OVER))
            self.files[path] = frozenset(files)
        self._stems: dict[Path, set[str]] = {}

    @property
    def folders(self) -> list[Path]:
        """The folder itself and all below it."""
        return list(self.files)

    @property
    def json_files(self) -> list[Path]:
        """All files of that suffix, in order."""
        return [
            folder / file
            for folder, files in sorted(self.files.items())
            for file in sorted(files)
            if file.lower().endswith(".json") and not file.startswith(".")
        ]

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """All files that have one of these suffixes."""
        return [folder / f for folder, files in self.files.items() for f in files if f.lower().endswith(suffixes)]

    def has(self, folder: Path, name: str) -> bool:
        """Whether there is a file of this name in a folder or, where the name says so, below it."""
        inner, _, base = name.rpartition("/")
        return base in self.files.get(folder / inner if inner else folder, ())

    def stems(self, folder: Path) -> set[str]:
        """The names of the pictures in a folder and below it, without what tools write differently."""
        if not self._stems:
            self._stems = {path: set() for path in self.files}
            for path, files in self.files.items():
                stems = {self.stem_of(file) for file in files if os.path.splitext(file)[1].lower() in PICTURE_SUFFIXES}
                for above in (path, *path.parents):
                    if above in self._stems:
                        self._stems[above] |= stems
        return self._stems[folder]

    @staticmethod
    def stem_of(name: str) -> str:
        """The name of a picture without folders, suffix, and what tools write differently."""
        return without_suffix(name).rpartition("/")[2]
