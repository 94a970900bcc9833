"""The image door: every common picture file as RGB, and a plain error for what is damaged, too large or no picture.

Chapter: *Data preparation*, ``book/04_data``.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from detr_mini.data.image_kinds import require_readable
from detr_mini.errors import ConfigError, ImageError

# What photographs and aerial pictures come in; EPS would start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
LIMIT = "DETR_MINI_MAX_PIXELS"  # an environment variable: what Pillow is allowed to decode
WHITE = 65_535  # of a 16-bit gray
ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {  # how to turn a picture of that orientation; 1 is upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATIONS_TURNED = (5, 6, 7, 8)  # of these, those that make height of width
# What Pillow says of a file that ends too early, in one format or another.
CUT_SHORT = ("truncated", "not enough image data", "broken data stream", "reached eof", "buffer is not large enough")


class Head(NamedTuple):
    """What the head of a picture file says: width and height before EXIF turns it, and the EXIF orientation."""

    stored: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once it is turned."""
        return self.stored[::-1] if self.orientation in ORIENTATIONS_TURNED else self.stored


def raise_limit() -> None:
    """Set Pillow's limit for the size of a picture to what the environment variable ``DETR_MINI_MAX_PIXELS`` says.

    Raises:
        ConfigError: it is no whole number above 0.
    """
    text = os.environ.get(LIMIT, "")
    if text and (not text.isascii() or not text.isdigit() or int(text) == 0):
        raise ConfigError(f"{LIMIT}={text}: must be a whole number of pixels above 0, such as 1000000000")
    if text:
        Image.MAX_IMAGE_PIXELS = int(text)


def read_image(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Tensor:
    """Read a picture file as RGB, (3, H, W) uint8, turned upright as its EXIF data says.

    With ``size``, the width and height that an annotation file gives, it is left as it is stored if that is its size
    only then: whoever annotated it has not seen it upright.

    Reads ``FORMATS`` in every mode that :func:`to_rgb` takes; of several frames the first. A file cut short is read
    only where all pixels are there: a PNG without its last chunk, but no JPEG without its end marker. A picture of more
    pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` is refused before it is decoded, since a few bytes can unpack to
    gigabytes.

    Raises:
        ImageError: the file cannot be read; the message names it, says why, and what to do.
    """
    with _opened(path) as file:
        if file.format == "JPEG2000":
            _require_end(path)
        file.load()
        head = _head(file)
        turn = UPRIGHT.get(head.orientation)
        stays = turn is None or is_annotated_as_stored(head, size)
        return to_rgb(file if stays else file.transpose(turn))  # type: ignore[arg-type]


def is_annotated_as_stored(head: Head, size: tuple[int, int] | None) -> bool:
    """Whether the width and height of an annotation file are those of the picture before EXIF turns it alone."""
    return size is not None and head.stored == size != head.upright


def head_of(path: str | os.PathLike[str]) -> Head:
    """Size and orientation of a picture, from the head of the file alone.

    Raises:
        ImageError: the file cannot be opened as an image, or is too large; its pixels may be damaged all the same.
    """
    with _opened(path) as file:
        return _head(file)


def _head(file: Image.Image) -> Head:
    orientation = file.getexif().get(ORIENTATION, 1)
    return Head(file.size, orientation if orientation in UPRIGHT else 1)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width that :func:`read_image` will give, from the head of the file alone.

    Raises:
        ImageError: the file cannot be opened as an image, or is too large; its pixels may be damaged all the same.
    """
    width, height = head_of(path).upright
    return height, width


def read_small(
    path: str | os.PathLike[str], side: int, size: tuple[int, int] | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """A picture file as RGB, turned as :func:`read_image` turns it, its long side ``side`` pixels at most.

    Of a large JPEG only what is needed is decoded, which takes a fraction of the time and memory. The width and height
    of the whole come with it.

    Raises:
        ImageError: as :func:`read_image`.
    """
    with _opened(path) as file:
        head = _head(file)
        stays = head.orientation not in UPRIGHT or is_annotated_as_stored(head, size)
        file.draft("RGB", (2 * side, 2 * side))
        file.load()
        turned = file if stays else file.transpose(UPRIGHT[head.orientation])
        small = Image.fromarray(to_rgb(turned).permute(1, 2, 0).numpy())  # type: ignore[arg-type]
        small.thumbnail((side, side), Image.Resampling.BICUBIC)
        return small, head.stored if stays else head.upright


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """An image file to read from; whatever goes wrong with it becomes an ImageError that names it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd metadata; the pixels are sound or refused
            raise_limit()
            require_readable(path)
            with open(path, "rb") as stream, Image.open(stream, formats=FORMATS) as file:
                _require_size(file)
                yield file
    except Exception as error:  # a damaged file can make Pillow raise anything, from OSError to SyntaxError
        if isinstance(error, ConfigError):
            raise
        empty = os.path.isfile(path) and os.path.getsize(path) == 0
        reason = "the file is empty (0 bytes). Write it again" if empty else _reason(error)
        raise ImageError(f"cannot read the picture {path}: {reason}") from error


def image_to_tensor(image: Image.Image) -> Tensor:
    """A PIL image as it is, EXIF rotation or not, as RGB, (3, H, W) uint8; see :func:`to_rgb`.

    Raises:
        ImageError: the picture cannot be used; the message names its file, if it has one.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return to_rgb(image)
    except Exception as error:  # an opened file is decoded only now
        name = getattr(image, "filename", "") or f"a PIL image, {image.mode}, {image.width} x {image.height}"
        raise ImageError(f"cannot use the picture {name}: {_reason(error)}") from error


def to_rgb(image: Image.Image) -> Tensor:
    """A PIL image as RGB, (3, H, W) uint8.

    Of 16-bit gray, 0 to 65,535 becomes 0 to 255. Transparency is left out: a pixel has the color that is stored for
    it, however transparent. Color profiles are not applied.

    Raises:
        ImageError: the picture has no pixels, or values of no fixed range (32-bit integers, floats).
    """
    if 0 in image.size:
        raise ImageError(f"it has no pixels ({image.width} x {image.height}). Leave it out")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int64).clip(0, WHITE)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))  # 65,535 / 255 = 257
    elif image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floats"
        raise ImageError(f"its values are {kind}, of which none is white. Save it with 8 or 16 bits a color")
    if image.mode != "RGB":
        image = image.convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _require_end(path: str | os.PathLike[str]) -> None:
    """Refuse a JPEG 2000 file without its end marker, which decodes to less than the picture without a word."""
    with open(path, "rb") as stream:
        if b"\xff\xd9" not in stream.read():
            raise OSError("image file is truncated (no end marker)")


def _require_size(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")


def _reason(error: Exception) -> str:
    """What is wrong with a picture, and what to do, for people; Pillow's own words in brackets."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return f"it is no picture, or its beginning is damaged ({', '.join(FORMATS)} are read). Write it again"
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"it is too large ({error}; the limit is {Image.MAX_IMAGE_PIXELS} pixels). If it is to be trusted, "
            f"set {LIMIT}=1000000000 in the environment or raise PIL.Image.MAX_IMAGE_PIXELS, else scale it down"
        )
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.strerror}. Check the name and the rights"
    if any(words in str(error).lower() for words in CUT_SHORT):
        return f"it ends before the picture is complete ({error}). Write it again"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it. Scale it down"
    return f"it is damaged ({error}). Write it again"
