"""Name the kind of a file that is no picture, or one that Pillow does not read, and say what to do with it.

Chapter: *Data preparation*, ``book/04_data``.
"""

import os
import re
from pathlib import Path

from detr_mini.errors import ImageError

RAW = frozenset(  # files of cameras; in some Pillow finds a thumbnail
    [
        *(".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw"),
        *(".3fr", ".iiq"),
    ]
)
BEGINNINGS: tuple[tuple[str, str], ...] = (  # what a file begins with, as a regular expression, and what to say of it
    (
        r"....ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)",
        "it is HEIC, a phone's format, which is not read. Save it as JPEG (heif-convert a.heic a.jpg); "
        "the annotations may keep the old name",
    ),
    (r"....ftyp(?!avi[fs])|\x1aE\xdf\xa3|RIFF....AVI ", "it is a film. Save its frames as JPEG or PNG"),
    (r"\xff\n|....JXL ", "it is JPEG XL, which is not read. Save it as JPEG or PNG (djxl a.jxl a.png)"),
    (r"version https://git-lfs", "it is a pointer of Git LFS, and not the picture. Fetch it: git lfs pull"),
    (r"\s*<(!doctype html|html)", "it is a web page: something went wrong when it was fetched. Fetch it again"),
    (r"\s*(<\?xml.*?)?(<!--.*?-->\s*)?(<!doctype svg.*?)?<svg", "it is SVG, a drawing of lines. Save it as PNG"),
    (r"%PDF", "it is PDF. Save its pages as PNG (pdftoppm -png a.pdf a)"),
    (r"PK\x03\x04|\x1f\x8b|7z\xbc|Rar!", "it is an archive. Unpack it"),
    (r".{128}DICM", "it is DICOM, a medical format. Save it with 8 bits a color as PNG"),
    (r"\x93NUMPY", "it is an array of NumPy. Save it as PNG"),
    (r"8BPS", "it is of Photoshop. Save it as PNG"),
    (r"v/1\x01|#\?RADIANCE", "its values are light, without a white. Save it with 8 or 16 bits a color as PNG"),
)


def require_readable(path: str | os.PathLike[str]) -> None:
    """Refuse what is known to be no picture that Pillow reads.

    Raises:
        ImageError: it is of such a kind; the text says which, and what to do.
        OSError: it cannot be opened.
    """
    if Path(path).suffix.lower() in RAW:
        raise ImageError("it is a raw file of a camera, which is not developed here. Save it as JPEG or PNG")
    with open(path, "rb") as stream:
        head = stream.read(512).decode("latin-1")
    for pattern, text in BEGINNINGS:
        if re.match(pattern, head, re.S | re.I if "<" in pattern else re.S):
            raise ImageError(text)
