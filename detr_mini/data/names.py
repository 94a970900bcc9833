"""Find the picture that a file name means, where no file has exactly that name.

Chapter: *Data preparation*, ``book/04_data``.
"""

import functools
import os
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

PICTURE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".jpx",
        ".j2c",
        ".avif",
        ".mpo",
        ".heic",
        ".heif",
    ]
)


class PictureFinder:
    """Tells which file below a folder the names in an annotation file mean.

    A name never leads out of the folder: what is found lies in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Whether there is a file of exactly this name; a folder or a pipe is none."""
        inner, _, base = name.rpartition("/")
        parts = inner.split("/")
        if name.startswith("/") or ".." in parts or base in ("", ".", ".."):
            return False
        return base in self._files("/".join(part for part in parts if part not in ("", ".")))

    def find(self, name: str) -> str | None:
        """The one file that a name can mean: other capitals, slashes, folders above it, Unicode form or suffix.

        None if there is no such file, or more than one.
        """
        wanted = plain(name)
        for key in (plain, without_suffix):
            index = self._index[key is without_suffix]
            parts = key(wanted).split("/")
            for first in range(len(parts)):  # ever fewer of the folders that the name begins with
                found = index.get("/".join(parts[first:]), [])
                if found:
                    return found[0] if len(found) == 1 else None
            found = [file for file in index.get("*" + parts[-1], []) if len(parts) == 1]  # a bare name, in any folder
            if found:
                return found[0] if len(found) == 1 else None
        return None

    @functools.cache  # noqa: B019 (as long-lived as the finder, which is there for one file)
    def _files(self, inner: str) -> frozenset[str]:
        """The names of the files right in a folder; none where there is no such folder."""
        try:
            with os.scandir(self.folder / inner) as entries:
                return frozenset(entry.name for entry in entries if entry.is_file())
        except (OSError, ValueError):  # ValueError: a name that no folder can have
            return frozenset()

    @functools.cached_property
    def _index(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Pictures by plain path, and by plain path without suffix; with ``*`` before it by plain name alone."""
        whole: dict[str, list[str]] = defaultdict(list)
        stems: dict[str, list[str]] = defaultdict(list)
        for place, folders, files in os.walk(self.folder):
            folders[:] = sorted(folder for folder in folders if not folder.startswith((".", "__MACOSX")))
            inner = Path(place).relative_to(self.folder).as_posix()
            for file in sorted(files):
                if PurePosixPath(file).suffix.lower() in PICTURE_SUFFIXES and os.path.isfile(os.path.join(place, file)):
                    path = file if inner == "." else f"{inner}/{file}"
                    for index, key in ((whole, plain(path)), (stems, without_suffix(path))):
                        index[key].append(path)
                        index["*" + key.rpartition("/")[2]].append(path)
        return whole, stems


def difference(name: str, found: str) -> str:
    """In what a name differs from that of the file that it means."""
    slashed = name.replace("\\", "/")
    if name.strip() == found:
        return "blanks around them"
    if slashed == found:
        return "a backslash between folders"
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", found):
        return "another form of Unicode"
    if name.casefold() == found.casefold():
        return "other capitals"
    base, other = slashed.rpartition("/")[2], found.rpartition("/")[2]
    if without_suffix(base) == without_suffix(other) and plain(base) != plain(other):
        return "another suffix"
    return "another folder before it" if plain(base) == plain(other) and base.strip() == other else "other signs"


def plain(name: str) -> str:
    """A name without what systems write differently."""
    if "://" in name:
        name = name.partition("?")[0]
    name = unicodedata.normalize("NFC", unquote(name).replace("\\", "/")).casefold()
    return "/".join(part.strip() for part in name.split("/") if part.strip() not in ("", ".", ".."))


def without_suffix(name: str) -> str:
    """A plain name without the suffix of a picture."""
    name = plain(name)
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in PICTURE_SUFFIXES else name
