"""Detections and segments drawn into an image with Pillow: what ``detr-mini predict`` writes."""

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage
from torch import Tensor

from detr_mini.colours import CARD, COLOURS, INK

SMALLEST = 800  # pixels: a smaller image is enlarged until its long side has them, or no text would fit
LINE, RIM, TEXT = 0.0035, 0.0012, 0.018  # of the long side: a box's line, the light rim on either side of it, its text
BRIGHT = 0.5  # luminance from which on a label has dark text

THING, STUFF = 0.62, 0.34  # how much of a segment's look is its color
GRAY = 0.35  # how much the rest of it loses of its own colors
LIGHTER = (0, 0.15, -0.12, 0.08, -0.06)  # of things of one class, the steps in lightness from its color, in turn
TURNED = (0, 0.015, -0.02, -0.035, 0.03)  # and in hue, of the whole circle
OUTLINES = (
    (INK, 0.0073, 0.0016, 0.5),
    (CARD, 0.0026, 0.0005, 1.0),
)  # color; of the long side, width and blur; strength
GRID = 400  # pixels: the long side of the map on which a name's place is looked for
NAME, STUFF_NAME = 0.019, 0.017  # of the long side: the text of a thing and of stuff
FITS = 0.8  # of a name must lie in its segment

RGB: TypeAlias = tuple[int, int, int]
Numbers: TypeAlias = NDArray[np.int32]  # of each pixel (H, W): which segment of a list it is in, from 1; 0: in none


def draw_detections(image: Tensor, found: Mapping[str, Tensor], class_names: Mapping[int, str]) -> Image.Image:
    """An image with its detections: boxes in the color of their class, with name and score.

    Args:
        image: ``(3, H, W)`` uint8.
        found: from :func:`detr_mini.prediction.predict`: ``scores`` and ``labels`` ``(M,)``, ``boxes`` ``(M, 4)``.
        class_names: by category id; an id without a name is written as it is.

    Returns:
        ``image`` at its own size, or enlarged to ``SMALLEST`` pixels; lines and text follow the size.
    """
    picture, scale = _enlarged(image)
    boxes = [tuple(side * scale for side in box) for box in found["boxes"].tolist()]
    labels = found["labels"].tolist()
    colours = [_colour(label, class_names) for label in labels]
    texts = detection_texts(found, class_names)
    draw = ImageDraw.Draw(picture)
    marks = list(zip(boxes, colours, texts, strict=True))[::-1]  # the best scores come last, on top
    for box, colour, _ in marks:
        _draw_box(draw, box, colour)
    for box, colour, text in marks:
        _draw_label(draw, box, colour, text)
    return picture


def draw_panoptic(image: Tensor, found: Mapping[str, Any], class_names: Mapping[int, str]) -> Image.Image:
    """An image with its segments in the color of their class, a light line between them, and their names.

    Things of one class have shades of its color. Stuff has less color and a quieter name. A name is left out where it
    does not fit into its segment. Pixels without a segment stay as they are.

    Args:
        image: ``(3, H, W)`` uint8.
        found: from :func:`detr_mini.prediction.predict_panoptic`, or from a data set's ``panoptic``: ``ids``
            ``(H, W)``, and ``segments``, with ``id``, ``category_id``, ``isthing`` and ``area``.
        class_names: by category id; an id without a name is written as it is.

    Returns:
        ``image`` at its own size, or enlarged to ``SMALLEST`` pixels; lines and text follow the size.
    """
    picture, _ = _enlarged(image)
    segments = found["segments"]
    if not segments:
        return picture
    numbers = _numbered(found["ids"].numpy(), [segment["id"] for segment in segments])
    enlarged = _resized(numbers, picture.size)
    picture = _tinted(picture, enlarged, segments, class_names)
    _draw_outlines(picture, enlarged)
    _draw_names(picture, numbers, segments, class_names)
    return picture


def detection_texts(found: Mapping[str, Tensor], class_names: Mapping[int, str]) -> list[str]:
    """``dog 0.97`` and the like, one for each detection."""
    pairs = zip(found["labels"].tolist(), found["scores"].tolist(), strict=True)
    return [f"{class_names.get(label, label)} {score:.2f}" for label, score in pairs]


def _enlarged(image: Tensor) -> tuple[Image.Image, float]:
    """The image, its long side ``SMALLEST`` pixels at least, and by how much it was enlarged."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    scale = max(1.0, SMALLEST / max(picture.size))
    if scale > 1:
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
        )
    return picture, scale


def _colour(label: int, class_names: Mapping[int, str]) -> RGB:
    """The same for a class in every image: of the palette, and then hues far from those before."""
    number = sorted(class_names).index(label) if label in class_names else label
    if 0 <= number < len(COLOURS):
        red, green, blue = ImageColor.getrgb(list(COLOURS.values())[number])[:3]
        return red, green, blue
    lightness = (0.38, 0.5, 0.6, 0.47)[number % 4]
    return _from_hls(0.405 - 0.381966 * number, lightness, 0.65)  # the golden angle, which comes near no hue soon


def _shade(colour: RGB, number: int) -> RGB:
    """The color of the thing ``number``, from 0, of a class; five differ."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in colour))
    turn = number % len(LIGHTER)
    return _from_hls(hue + TURNED[turn], min(max(lightness + LIGHTER[turn], 0.2), 0.8), saturation)


def _from_hls(hue: float, lightness: float, saturation: float) -> RGB:
    red, green, blue = (round(255 * value) for value in colorsys.hls_to_rgb(hue % 1, lightness, saturation))
    return red, green, blue


def _draw_box(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: RGB) -> None:
    """The line of a box, with a light rim that keeps it visible on any ground."""
    long_side = max(draw.im.size)
    line, rim = max(2, round(LINE * long_side)), max(1, round(RIM * long_side))
    left, top, right, bottom = box
    for outline, width in ((CARD, line + 2 * rim), (colour, line)):
        half = width / 2
        draw.rectangle((left - half, top - half, right + half, bottom + half), outline=outline, width=width)


def _draw_label(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: RGB, text: str) -> None:
    """Name and score above a box; below its upper edge where there is no room, and never outside of the image."""
    width, height = draw.im.size
    size = max(13, round(TEXT * max(width, height)))
    font: Any = ImageFont.load_default(size)
    margin = size / 4
    text_width, text_height = font.getlength(text) + 2 * margin, size * 1.3
    left = min(max(box[0], 0), max(width - text_width, 0))
    top = box[1] - text_height if box[1] >= text_height else max(box[1], 0)
    draw.rectangle((left, top, left + text_width, top + text_height), fill=colour)
    ink = INK if _luminance(colour) > BRIGHT else "white"
    draw.text((left + margin, top + text_height / 2), text, fill=ink, font=font, anchor="lm")


def _luminance(colour: RGB) -> float:
    """How bright a color is to the eye, from 0 to 1 (Rec. 709, without the curve)."""
    red, green, blue = colour
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def _numbered(ids: NDArray[np.int64], known: Sequence[int]) -> Numbers:
    """For ids ``(H, W)`` of any size their places in ``known``, from 1, and 0 for those that it lacks."""
    order = np.argsort(known)
    ordered = np.asarray(known)[order]
    places = np.searchsorted(ordered, ids).clip(max=len(known) - 1)
    return np.where(ordered[places] == ids, order[places] + 1, 0).astype(np.int32)


def _resized(numbers: Numbers, size: tuple[int, int]) -> Numbers:
    """To width and height ``size``, each pixel as its nearest was."""
    return np.asarray(Image.fromarray(numbers).resize(size, Image.Resampling.NEAREST))


def _tinted(
    picture: Image.Image, numbers: Numbers, segments: Sequence[Mapping[str, Any]], class_names: Mapping[int, str]
) -> Image.Image:
    """The picture, grayer within segments and mixed there with the colors that they have."""
    seen: Counter[int] = Counter()
    colours: list[RGB] = [(0, 0, 0)]
    for segment in segments:
        label = segment["category_id"]
        colours.append(_shade(_colour(label, class_names), seen[label]))
        seen[label] += 1
    shares = [0, *(THING if segment["isthing"] else STUFF for segment in segments)]
    gray, colour = picture.convert("L").convert("RGB"), Image.fromarray(np.array(colours, np.uint8)[numbers])
    return Image.composite(
        colour,
        Image.composite(gray, picture, _mask(GRAY * (numbers > 0))),
        _mask(np.array(shares, np.float32)[numbers]),
    )


def _mask(shares: NDArray[np.floating[Any]]) -> Image.Image:
    """Of shares ``(H, W)`` in [0, 1], what Pillow takes for them."""
    return Image.fromarray((255 * shares).round().astype(np.uint8))


def _draw_outlines(picture: Image.Image, numbers: Numbers) -> None:
    """A light line along all borders, on a soft dark one that shows it on light ground."""
    long_side = max(picture.size)
    for colour, width, blur, strength in OUTLINES:
        window = 1 + max(1, round(width * long_side))  # one that moves over a border lies on both sides in a place less
        border = ndimage.maximum_filter(numbers, window) != ndimage.minimum_filter(numbers, window)
        picture.paste(colour, mask=_mask(strength * border).filter(ImageFilter.GaussianBlur(blur * long_side)))


def _draw_names(
    picture: Image.Image, numbers: Numbers, segments: Sequence[Mapping[str, Any]], class_names: Mapping[int, str]
) -> None:
    """The name of each segment where it has most room, if it fits there and covers no other name; things come first."""
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    scale = GRID / max(width, height)
    grid = _resized(numbers, (max(1, round(scale * width)), max(1, round(scale * height))))
    parts = ndimage.find_objects(grid, max_label=len(segments))
    taken: list[tuple[float, float, float, float]] = []
    for k in sorted(range(len(segments)), key=lambda k: (not segments[k]["isthing"], -segments[k]["area"])):
        label, thing = segments[k]["category_id"], segments[k]["isthing"]
        text, size = str(class_names.get(label, label)), round((NAME if thing else STUFF_NAME) * max(width, height))
        font: Any = ImageFont.load_default(size)
        text_width, text_height = font.getlength(text) + size / 2, size * 1.2
        found = parts[k] and _roomiest(grid[parts[k]] == k + 1, scale * text_width, scale * text_height)
        if not found:
            continue
        left = _between((found[0] + parts[k][1].start) / scale - text_width / 2, width - text_width)
        top = _between((found[1] + parts[k][0].start) / scale - text_height / 2, height - text_height)
        right, bottom = left + text_width, top + text_height
        if not any(left < c and a < right and top < d and b < bottom for a, b, c, d in taken):
            taken.append((left, top, right, bottom))
            center = (left + right) / 2, (top + bottom) / 2
            fill, stroke = ("white", size / 9) if thing else (CARD, size / 13)
            draw.text(center, text, fill=fill, font=font, anchor="mm", stroke_width=stroke, stroke_fill=INK)


def _roomiest(segment: NDArray[np.bool_], width: float, height: float) -> tuple[float, float] | None:
    """Where in a mask ``(h, w)``, as x and y, a rectangle lies inside with most room around it, or nearly inside.

    None where too much of it would lie outside.
    """
    inside = np.pad(segment, 1)
    window = max(1, round(height)), max(1, round(width))
    share = ndimage.uniform_filter(inside.astype(np.float32), window, mode="constant").round(2)
    room = ndimage.distance_transform_edt(inside)
    y, x = inside.nonzero()
    off = np.hypot(y - y.mean(), x - x.mean())  # from the middle, which is the better of equal places
    best = (2 * GRID * share[inside] + room[inside] - off / 10).argmax()
    return (x[best] - 0.5, y[best] - 0.5) if share[inside][best] >= FITS else None


def _between(value: float, most: float) -> float:
    """``value``, or the nearest to it from 0 to ``most``."""
    return max(0.0, min(value, most))
