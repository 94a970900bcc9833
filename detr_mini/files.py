"""Writing a file so that a power cut leaves the old one or the new one, never half of either."""

import contextlib
import hashlib
import os
import re
from pathlib import Path

from detr_mini.errors import WeightsError

CHECKSUM_DIGITS = 16


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or nothing: the old file, if there is one, stays until the new one is on the disk."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the new name is on the disk only with its folder; Windows has no such call
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def checksum(data: bytes) -> str:
    """The first digits of the SHA-256 of ``data``, to be put at the end of a file's name."""
    return hashlib.sha256(data).hexdigest()[:CHECKSUM_DIGITS]


def require_named_checksum(path: Path) -> None:
    """Refuse a file that is not what its name says, as in ``detr-r50-e632da11.pth``; other names say nothing.

    The published checkpoints carry the first 8 digits of their SHA-256 in their names, our own carry 16.

    Raises:
        WeightsError: the checksum of the content is another one.
    """
    # Eight digits without a letter among them are rather a date.
    named = re.search(rf"-((?=\d*[a-f])[0-9a-f]{{8}}|[0-9a-f]{{{CHECKSUM_DIGITS}}})\.\w+$", path.name)
    if named is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()[: len(named[1])]
    if found != named[1]:
        raise WeightsError(
            f"{path} is damaged: the SHA-256 of its content begins with {found}, not with {named[1]} as its name says; "
            f"copy or download it again"
        )
