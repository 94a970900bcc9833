"""Writing a file so that a power cut leaves the old one or the new one, never half of either."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file in the same folder, which takes the place of ``path`` once it is complete and on the disk.

    If the block raises, the temporary file goes and ``path`` stays as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or nothing."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
