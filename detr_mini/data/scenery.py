"""The background of a Tiny Town scene: the light of the hour, the lie of the land, and how both are drawn.

All lengths are scene pixels, y downwards. The ground is a plane seen from a camera ``eye`` meters above it, so a meter
at the height y of the picture measures (y - horizon) / eye pixels, and everything on the ground follows from that.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from detr_mini.data.sprites import Canvas, Colour, Point, chaikin, darker, lighter, mix, pick

SKY, GRASS, ROAD, WATER = 1, 2, 3, 4  # segment ids of the four kinds of stuff


@dataclass(frozen=True)
class Mood:
    """Color of one hour of the day. Pairs run from far to near; ``light`` dims what stands in the scene, of 255."""

    sky: tuple[Colour, ...]
    sun: Colour
    cloud: Colour
    hills: tuple[Colour, Colour]
    grass: tuple[Colour, Colour]
    road: tuple[Colour, Colour]
    water: tuple[Colour, Colour]
    light: Colour = (255, 255, 255)
    lit: bool = False  # lamps are on behind the windows


NOON = Mood(
    sky=((72, 158, 226), (142, 204, 244), (218, 240, 250)),
    sun=(255, 244, 190),
    cloud=(255, 255, 255),
    hills=((150, 192, 206), (134, 186, 130)),
    grass=((176, 212, 112), (134, 190, 78)),
    road=((158, 156, 166), (116, 114, 128)),
    water=((122, 198, 226), (44, 138, 196)),
)
MORNING = Mood(
    sky=((126, 190, 228), (196, 222, 230), (255, 240, 208)),
    sun=(255, 236, 170),
    cloud=(255, 250, 240),
    hills=((176, 196, 204), (160, 192, 146)),
    grass=((200, 218, 132), (150, 192, 90)),
    road=((172, 164, 164), (126, 120, 128)),
    water=((186, 220, 222), (74, 158, 186)),
    light=(255, 252, 244),
)
SUNSET = Mood(
    sky=((88, 74, 156), (226, 122, 150), (255, 206, 142)),
    sun=(255, 232, 150),
    cloud=(255, 186, 172),
    hills=((164, 116, 160), (128, 130, 116)),
    grass=((186, 182, 96), (128, 156, 78)),
    road=((160, 138, 154), (106, 94, 120)),
    water=((250, 184, 150), (110, 110, 178)),
    light=(255, 238, 226),
    lit=True,
)
GOLDEN = Mood(
    sky=((92, 160, 204), (190, 212, 208), (255, 222, 158)),
    sun=(255, 240, 176),
    cloud=(255, 240, 218),
    hills=((186, 176, 168), (176, 182, 110)),
    grass=((222, 208, 110), (176, 186, 80)),
    road=((174, 158, 150), (124, 112, 118)),
    water=((214, 214, 186), (72, 146, 176)),
    light=(255, 248, 232),
)
DUSK = Mood(
    sky=((84, 108, 176), (142, 164, 210), (236, 206, 210)),
    sun=(255, 250, 226),
    cloud=(188, 190, 222),
    hills=((112, 128, 172), (94, 136, 128)),
    grass=((134, 180, 124), (92, 148, 96)),
    road=((138, 138, 162), (96, 96, 122)),
    water=((160, 172, 210), (62, 100, 162)),
    light=(238, 238, 255),
    lit=True,
)
OVERCAST = Mood(
    sky=((138, 160, 178), (184, 200, 208), (226, 230, 228)),
    sun=(226, 230, 228),
    cloud=(236, 240, 242),
    hills=((158, 178, 180), (134, 172, 132)),
    grass=((168, 198, 122), (122, 168, 84)),
    road=((148, 150, 156), (108, 110, 120)),
    water=((160, 190, 200), (76, 130, 158)),
    light=(248, 250, 252),
)
MOODS = (NOON, NOON, NOON, MORNING, MORNING, SUNSET, SUNSET, GOLDEN, DUSK, OVERCAST)


@dataclass(frozen=True)
class Patch:
    """A piece of ground between two heights of the picture, with straight left and right sides."""

    kind: int
    top: float
    bottom: float
    left: tuple[float, float]  # x at the top and at the bottom
    right: tuple[float, float]
    bend: float = 0.0  # how far both sides swerve on the way, in pixels

    def span(self, y: float) -> tuple[float, float]:
        """Where the patch begins and ends at height y."""
        t = (y - self.top) / (self.bottom - self.top)
        swerve = self.bend * 4 * t * (1 - t) * (1 - t)  # strongest in the distance, as perspective has it
        return (
            self.left[0] + t * (self.left[1] - self.left[0]) + swerve,
            self.right[0] + t * (self.right[1] - self.right[0]) + swerve,
        )

    @property
    def crosses(self) -> bool:
        """Whether it runs across the whole picture."""
        return self.left == (-1.0, -1.0)

    def outline(self, inset: float = 0.0) -> list[Point]:
        """The corners, clockwise from the top left; ``inset`` leaves off that share of the width on either side."""
        steps = 24 if self.bend else 1
        heights = [self.top + (self.bottom - self.top) * i / steps for i in range(steps + 1)]
        spans = [(y, *self.span(y)) for y in heights]
        down = [(right - inset * (right - left), y) for y, left, right in spans]
        return [(left + inset * (right - left), y) for y, left, right in reversed(spans)] + down


@dataclass(frozen=True)
class Ground:
    """The lie of the land: patches in the order in which they are drawn, and the camera."""

    name: str
    width: int
    height: int
    horizon: float
    eye: float
    patches: tuple[Patch, ...]

    def meter(self, y: float) -> float:
        """Pixels per meter for what stands at height y."""
        return (y - self.horizon) / self.eye

    def kind_at(self, x: float, y: float) -> int:
        """The kind of stuff drawn last at a point on the ground."""
        found = SKY
        for patch in self.patches:
            left, right = patch.span(y)
            if patch.top <= y <= patch.bottom and left <= x <= right:
                found = patch.kind
        return found


def _strip(kind: int, width: int, top: float, bottom: float) -> Patch:
    return Patch(kind, top, bottom, (-1.0, -1.0), (width + 1.0, width + 1.0))


def lay_ground(rng: random.Random, width: int, height: int) -> Ground:
    """Draw one of six layouts by lot: street, avenue, green, lake, river, or a road along the shore."""
    name = pick(rng, ("street", "street", "avenue", "avenue", "green", "lake", "lake", "river", "shore", "shore"))
    horizon = height * rng.uniform(0.34, 0.46)
    eye = rng.uniform(2.1, 4.0)
    deep = height - horizon
    grass = _strip(GRASS, width, horizon, height + 1.0)
    vanishing = width * rng.uniform(0.3, 0.7)
    if name == "street":
        top = horizon + deep * rng.uniform(0.3, 0.42)
        return Ground(name, width, height, horizon, eye, (grass, _strip(ROAD, width, top, top + deep * 0.34)))
    if name == "lake":
        shore = horizon + deep * rng.uniform(0.5, 0.75)
        patches = (grass, _strip(WATER, width, horizon + deep * 0.03, shore))
        return Ground(name, width, height, horizon, eye, patches)
    if name == "shore":
        top = horizon + deep * rng.uniform(0.36, 0.46)
        road = _strip(ROAD, width, top + deep * 0.05, top + deep * 0.38)
        return Ground(
            name, width, height, horizon, eye, (grass, _strip(WATER, width, horizon + deep * 0.03, top), road)
        )
    if name == "green":
        return Ground(name, width, height, horizon, eye, (grass,))
    half = (3.6 if name == "avenue" else 4.2) * deep / eye
    bend = pick(rng, (0.0, -0.2, 0.2) if name == "avenue" else (-0.42, 0.42)) * width
    wide = 0.5 if name == "avenue" else width * 0.06
    way = Patch(
        ROAD if name == "avenue" else WATER,
        horizon + (0.0 if name == "avenue" else 1.0),
        height + 1.0,
        (vanishing - wide, vanishing - half),
        (vanishing + wide, vanishing + half),
        bend,
    )
    return Ground(name, width, height, horizon, eye, (grass, way))


def paint_scenery(canvas: Canvas, ground: Ground, mood: Mood, rng: random.Random) -> None:
    """Paint sky, hills and ground, labeling every pixel with the id of its stuff."""
    w, h = float(ground.width), ground.horizon
    canvas.gradient(((-1, -1), (w + 1, -1), (w + 1, h + 2), (-1, h + 2)), mood.sky, SKY)
    sun = w * rng.uniform(0.12, 0.88)
    _sun_and_clouds(canvas, ground, mood, sun, rng)
    _hills(canvas, ground, mood, rng)
    colours = {GRASS: mood.grass, ROAD: mood.road, WATER: mood.water}
    for patch in ground.patches:
        canvas.gradient(patch.outline(), colours[patch.kind], patch.kind)
        if patch.kind == WATER:
            _water(canvas, ground, patch, mood, sun, rng)
        elif patch.kind == ROAD:
            _road(canvas, ground, patch, mood, rng)
        else:
            _meadow(canvas, ground, mood, rng)


def _sun_and_clouds(canvas: Canvas, ground: Ground, mood: Mood, x: float, rng: random.Random) -> None:
    w, h = ground.width, ground.horizon
    y = h * rng.uniform(0.25, 0.85)
    if mood.sun != mood.sky[-1]:
        _glow(canvas, x, y, h * 0.75, mood.sun)
        canvas.ellipse(x, y, h * 0.12, h * 0.12, lighter(mood.sun, 0.3))
    for _ in range(pick(rng, (1, 2, 2, 3))):
        cx, cy, size = w * rng.random(), h * rng.uniform(0.12, 0.6), h * rng.uniform(0.14, 0.26)
        shade = mix(mood.cloud, mood.sky[1], 0.35)
        for dx, dy, r in (
            (-0.9, 0.1, 0.42),
            (0.9, 0.12, 0.38),
            (-0.3, -0.18, 0.6),
            (0.4, -0.1, 0.52),
            (0.0, 0.14, 0.5),
        ):
            canvas.ellipse(cx + dx * size, cy + dy * size + size * 0.1, r * size * 1.15, r * size * 0.62, shade)
        for dx, dy, r in (
            (-0.9, 0.1, 0.42),
            (0.9, 0.12, 0.38),
            (-0.3, -0.18, 0.6),
            (0.4, -0.1, 0.52),
            (0.0, 0.14, 0.5),
        ):
            canvas.ellipse(cx + dx * size, cy + dy * size, r * size * 1.1, r * size * 0.56, mood.cloud)


_SQUARES = np.add.outer(np.arange(-24, 25) ** 2, np.arange(-24, 25) ** 2)
_HALO = Image.fromarray((190 * np.clip(576 - _SQUARES, 0, 576) ** 2 // 576**2).astype(np.uint8))


def _glow(canvas: Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    (x0, y0), (x1, y1) = canvas.place([(x - r, y - r), (x + r, y + r)])
    halo = _HALO.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
    canvas.image.paste(Image.new("RGB", halo.size, colour), (x0, y0), halo)


def _hills(canvas: Canvas, ground: Ground, mood: Mood, rng: random.Random) -> None:
    w, h = float(ground.width), ground.horizon
    for colour, low, high in ((mood.hills[0], 0.12, 0.3), (mood.hills[1], 0.03, 0.16)):
        ridge: list[Point] = [(-0.2 * w, h - h * low)]
        x = -0.1 * w
        while x < 1.15 * w:
            ridge.append((x, h - h * rng.uniform(low, high)))
            x += w * rng.uniform(0.12, 0.25)
        ridge += [(1.3 * w, h), (1.3 * w, h + 2), (-0.3 * w, h + 2), (-0.3 * w, h)]
        outline = chaikin(ridge, times=3)
        canvas.gradient(outline, (colour, lighter(colour, 0.22)), GRASS)


def _meadow(canvas: Canvas, ground: Ground, mood: Mood, rng: random.Random) -> None:
    """Broad swathes of lighter grass, tufts and a few flowers, all as large as their distance asks."""
    far, near = mood.grass
    deep = ground.height - ground.horizon
    for _ in range(5):
        t = rng.random()
        x, y = ground.width * rng.random(), ground.horizon + deep * t
        canvas.ellipse(x, y, ground.width * rng.uniform(0.15, 0.4), 0.1 * deep * t, lighter(mix(far, near, t), 0.1))
    for _ in range(24):
        t = rng.uniform(0.12, 1.0)
        x, y, m = ground.width * rng.random(), ground.horizon + deep * t, deep * t * 0.05
        colour = mix(far, near, t)
        colour = darker(colour, 0.13) if rng.random() < 0.6 else lighter(colour, 0.25)
        for dx in (-0.8, 0.0, 0.8):
            root = x + dx * m * 0.4
            canvas.polygon(((root - m * 0.15, y), (x + dx * m, y - m * 1.5), (root + m * 0.15, y)), colour)
    for _ in range(pick(rng, (0, 3, 5))):
        t = rng.uniform(0.3, 1.0)
        x, y, m = ground.width * rng.random(), ground.horizon + deep * t, deep * t * 0.013
        petal = mix(pick(rng, FLOWERS), near, 0.2)
        for dx, dy in ((0.0, 0.0), (4.0, 1.0), (-3.0, 2.0), (2.0, -2.0)):
            canvas.ellipse(x + dx * m, y + dy * m, m, m * 0.8, petal)


FLOWERS: tuple[Colour, ...] = ((255, 255, 246), (255, 232, 120), (255, 190, 206))


def _road(canvas: Canvas, ground: Ground, road: Patch, mood: Mood, rng: random.Random) -> None:
    curb, paint = lighter(mood.road[0], 0.55), lighter(mood.road[0], 0.75)
    if road.crosses:
        _street_marks(
            canvas,
            ground,
            road,
            curb,
            paint,
            zebra=ground.width * rng.uniform(0.1, 0.8) if rng.random() < 0.35 else None,
        )
        return
    canvas.polygon(road.outline(), curb)
    canvas.gradient(road.outline(inset=0.03), mood.road, ROAD)
    foot, depth = road.bottom - ground.horizon, 1.0
    while depth > 0.04:  # dashes of equal length on the ground: their depths run in equal steps of 1 / depth
        near, far = ground.horizon + foot * depth, ground.horizon + foot / (1 / depth + 0.28)
        (nl, nr), (fl, fr) = road.span(near), road.span(far)
        n, f, nw, fw = (nl + nr) / 2, (fl + fr) / 2, (nr - nl) * 0.012, (fr - fl) * 0.012
        canvas.polygon(((n - nw, near), (f - fw, far), (f + fw, far), (n + nw, near)), paint)
        depth = 1 / (1 / depth + 0.6)


def _street_marks(
    canvas: Canvas, ground: Ground, road: Patch, curb: Colour, paint: Colour, zebra: float | None
) -> None:
    edge, w = (road.bottom - road.top) * 0.07, ground.width + 1.0
    for top in (road.top, road.bottom - edge * 1.4):
        canvas.polygon(((-1, top), (w, top), (w, top + edge), (-1, top + edge)), curb)
    y, middle = (road.top + road.bottom) / 2, ground.width / 2
    step = ground.meter(y) * 2.4
    for x in (i * step for i in range(int(w / step) + 1)):
        canvas.polygon(((x, y), (x + step * 0.5, y), (x + step * 0.48, y + edge), (x - step * 0.02, y + edge)), paint)
    if zebra is None:
        return
    top, bottom = road.top + 2 * edge, road.bottom - 2.4 * edge
    converge = ground.meter(top) / ground.meter(bottom)
    for i in range(5):
        x = zebra + step * 0.3 * i
        bar = [(x, bottom), (x + step * 0.16, bottom)]
        far = [(middle + (bx - middle) * converge, top) for bx, _ in reversed(bar)]
        canvas.polygon(bar + far, paint)


def _water(canvas: Canvas, ground: Ground, water: Patch, mood: Mood, sun: float, rng: random.Random) -> None:
    """Foam along the banks, ripples, and the path of light under the sun."""
    foam = lighter(mood.water[0], 0.7)
    if water.crosses:
        w, y = ground.width + 1.0, water.bottom
        canvas.polygon(((-1, y - 1.1), (w, y - 1.1), (w, y), (-1, y)), foam)
    else:
        canvas.polygon(water.outline(), foam)
        canvas.gradient(water.outline(inset=0.02), mood.water, WATER)
    for i in range(40):
        t = rng.random() * rng.random()
        y = water.top + (water.bottom - water.top) * (0.04 + 0.92 * t)
        left, right = water.span(y)
        long, thick = (right - left) * rng.uniform(0.03, 0.09), 0.25 + 0.5 * t
        x = left + 1.3 * long + (right - left - 2.6 * long) * rng.random()
        colour = mix(*mood.water, t)
        colour = lighter(colour, 0.4) if rng.random() < 0.6 else darker(colour, 0.14)
        if i % 3 == 0 and water.crosses and mood.sun != mood.sky[-1]:
            x, long, colour = sun + (x - sun) * 0.09, long * 0.7, mix(colour, mood.sun, 0.75)
        canvas.ellipse(x, y, long, thick, colour)


def grain(image: np.ndarray, rng: random.Random) -> np.ndarray:
    """Add a fine paper grain of at most two gray levels to an image (H, W, 3) uint8."""
    h, w = image.shape[:2]
    noise = np.frombuffer(rng.randbytes(h * w), np.uint8).reshape(h, w, 1).astype(np.int16)
    return np.clip(image + (noise % 5 - 2), 0, 255).astype(np.uint8)
