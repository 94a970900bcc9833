"""Which images the arguments of ``predict`` mean: files, folders, and patterns that no shell has expanded."""

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from detr_mini.commands.results import PICTURES
from detr_mini.data.image import FORMATS

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def find_images(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The image files that are meant, each once and in order, and what is wrong with the arguments that mean none.

    A folder stands for the images that lie in it, but not in folders of it, and a pattern for what fits it (``**`` for
    any folders). Neither stands for pictures that an earlier ``predict`` has written. A file that is not there is
    found out when it is read.
    """
    found: dict[Path, None] = {}
    faults = []
    for argument in arguments:
        path = Path(argument)
        files = [path]
        if _ADDRESS.match(argument):
            faults.append(
                f"{argument} is an address, and nothing is fetched from the network; download the image first"
            )
            continue
        if path.suffix.lower() in VIDEOS:
            faults.append(
                f"{argument} is a video, and its frames are wanted as pictures: mkdir {path.stem}, then "
                f"ffmpeg -i {argument} -vf fps=5 {path.stem}/%06d.jpg makes a folder of them, five for each second"
            )
            continue
        if path.is_dir():
            files = _images_among(path.iterdir())
            if not files:
                faults.append(f"the folder {path} has no images in it ({', '.join(FORMATS)} are read)")
        elif glob.has_magic(argument) and not path.exists():
            files = _images_among(map(Path, glob.glob(argument, recursive=True)))
            if not files:
                faults.append(f"no image fits {argument}")
        found |= dict.fromkeys(files)
    return list(found), faults


def _images_among(paths: Iterable[Path]) -> list[Path]:
    """Files with the ending of a format that is read."""
    endings = {ending for ending, format_ in Image.registered_extensions().items() if format_ in FORMATS}
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in endings
        and not path.name.startswith(".")
        and not path.name.endswith(PICTURES)
        and path.is_file()
    )
