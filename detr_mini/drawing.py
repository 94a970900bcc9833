"""Detections drawn into an image with Pillow: what ``detr-mini predict`` writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from detr_mini.colours import CARD, COLOURS, INK

SMALLEST = 800  # pixels: a smaller image is enlarged until its long side has them, or no text would fit
LINE, RIM, TEXT = 0.0035, 0.0012, 0.018  # of the long side: a box's line, the light rim on either side of it, its text
BRIGHT = 0.5  # luminance from which on a label has dark text


def draw_detections(image: Tensor, found: Mapping[str, Tensor], class_names: Mapping[int, str]) -> Image.Image:
    """An image with its detections: boxes in the color of their class, with name and score.

    Args:
        image: ``(3, H, W)`` uint8.
        found: from :func:`detr_mini.prediction.predict`: ``scores`` and ``labels`` ``(M,)``, ``boxes`` ``(M, 4)``.
        class_names: by category id; an id without a name is written as it is.

    Returns:
        ``image`` at its own size, or enlarged to ``SMALLEST`` pixels; lines and text follow the size.
    """
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    scale = max(1.0, SMALLEST / max(picture.size))
    if scale > 1:
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
        )
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


def detection_texts(found: Mapping[str, Tensor], class_names: Mapping[int, str]) -> list[str]:
    """``dog 0.97`` and the like, one for each detection."""
    pairs = zip(found["labels"].tolist(), found["scores"].tolist(), strict=True)
    return [f"{class_names.get(label, label)} {score:.2f}" for label, score in pairs]


def _colour(label: int, class_names: Mapping[int, str]) -> str:
    """The same for a class in every image; with more classes than colors some share one."""
    known = sorted(class_names)
    number = known.index(label) if label in class_names else label
    return list(COLOURS.values())[number % len(COLOURS)]


def _draw_box(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: str) -> None:
    """The line of a box, with a light rim that keeps it visible on any ground."""
    long_side = max(draw.im.size)
    line, rim = max(2, round(LINE * long_side)), max(1, round(RIM * long_side))
    left, top, right, bottom = box
    for outline, width in ((CARD, line + 2 * rim), (colour, line)):
        half = width / 2
        draw.rectangle((left - half, top - half, right + half, bottom + half), outline=outline, width=width)


def _draw_label(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: str, text: str) -> None:
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


def _luminance(colour: str) -> float:
    """How bright a color is to the eye, from 0 to 1 (Rec. 709, without the curve)."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
