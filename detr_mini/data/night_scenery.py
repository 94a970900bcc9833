"""The night of Night Harbor: sky, moon, shore and water, and how figures, lamps and reflections come into it.

Everything is whole numbers: gradients, glows, waves, fog and noise are integer arrays, and figures are drawn four
times as large, as whole-number polygons, and averaged. So the pixels are the same on every machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from detr_mini.data.night_sprites import Figure
from detr_mini.data.sprites import Colour, Shape, mix, pick

FINE = 4  # a figure is drawn this many times as large


@dataclass(frozen=True)
class Mood:
    """One kind of night. ``sky`` runs from the zenith to the horizon, ``water`` from far to near."""

    sky: tuple[Colour, ...]
    water: tuple[Colour, Colour]
    hills: Colour
    fog: Colour
    light: Colour  # dims what does not shine, of 255
    stars: int = 0
    haze: int = 0  # of 255: how much fog lies at the horizon
    cloud: int = 0
    moon: bool = True
    aurora: bool = False
    rain: bool = False


CLEAR = Mood(
    ((8, 12, 40), (20, 36, 88), (62, 86, 138)), ((44, 66, 116), (10, 18, 46)), (20, 26, 54), (92, 108, 148),
    (168, 178, 214), stars=150, haze=40, cloud=60,
)  # fmt: skip
TWILIGHT = Mood(
    ((26, 24, 72), (104, 62, 128), (240, 142, 112)), ((196, 118, 122), (30, 26, 66)), (46, 32, 70), (190, 120, 130),
    (196, 176, 196), stars=50, haze=30, cloud=110,
)  # fmt: skip
BLUE_HOUR = Mood(
    ((20, 40, 96), (58, 98, 160), (166, 184, 204)), ((122, 148, 184), (24, 48, 92)), (40, 60, 100), (150, 170, 196),
    (186, 196, 222), stars=24, haze=36, cloud=90,
)  # fmt: skip
NORTHERN = Mood(
    ((6, 14, 34), (12, 40, 62), (36, 84, 92)), ((32, 78, 88), (6, 20, 38)), (12, 28, 40), (70, 112, 118),
    (160, 190, 200), stars=130, haze=24, moon=False, aurora=True,
)  # fmt: skip
FOGGY = Mood(
    ((40, 48, 70), (66, 78, 100), (112, 124, 140)), ((98, 110, 128), (36, 46, 64)), (70, 82, 102), (124, 134, 150),
    (180, 186, 200), haze=200, cloud=70,
)  # fmt: skip
RAINY = Mood(
    ((18, 24, 38), (36, 48, 68), (78, 92, 112)), ((66, 80, 100), (18, 26, 42)), (34, 42, 60), (92, 104, 122),
    (166, 176, 198), haze=84, cloud=130, moon=False, rain=True,
)  # fmt: skip
MOODS = (CLEAR, CLEAR, CLEAR, TWILIGHT, TWILIGHT, BLUE_HOUR, BLUE_HOUR, NORTHERN, NORTHERN, FOGGY, RAINY)


def _noise(height: int, width: int, salt: int) -> np.ndarray:
    """Bytes (height, width) uint8 that look random and are the same everywhere: an integer hash of their places."""
    x = np.arange(height * width, dtype=np.uint32) + np.uint32(salt * 1_000_003)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return ((x ^ (x >> np.uint32(16))) >> np.uint32(24)).astype(np.uint8).reshape(height, width)


def _stretched(rows: int, columns: int, height: int, width: int, salt: int) -> np.ndarray:
    """Smooth noise (height, width) int32 that repeats at its borders, of ``rows`` x ``columns`` random values."""
    wrapped = np.pad(_noise(rows, columns, salt), 2, mode="wrap")
    tall, wide = height // rows, width // columns
    large = Image.fromarray(wrapped).resize((wide * (columns + 4), tall * (rows + 4)), Image.Resampling.BICUBIC)
    return np.asarray(large, dtype=np.int32)[2 * tall : -2 * tall, 2 * wide : -2 * wide]


@lru_cache(maxsize=1)
def _clouds() -> np.ndarray:
    """Clouds (512, 1024) uint8: noise of four sizes, the coarser the stronger."""
    layers = [(8, 4, 8), (4, 8, 16), (2, 16, 32), (1, 64, 128)]
    mixed = np.stack([w * _stretched(r, c, 512, 1024, w) for w, r, c in layers]).sum(0, dtype=np.int32)
    return (mixed // 15).astype(np.uint8)


@lru_cache(maxsize=1)
def _waves() -> np.ndarray:
    """Waves (512, 1024) int32 from -128 to 127, long from left to right."""
    mixed = (2 * _stretched(64, 16, 512, 1024, 11) + 2 * _stretched(128, 64, 512, 1024, 12)) // 4
    return np.clip((mixed - 128) * 3 // 2, -128, 127)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """The noise of a camera (3, 512, 1024) int16: of brightness, and half as much of color."""
    layers = [
        np.stack([_noise(512, 1024, first + i) for i in range(4)]).sum(0, dtype=np.int32) - 510
        for first in (20, 30, 34, 38)
    ]
    gray, tint = layers[0], np.stack(layers[1:])
    return (gray + tint // 2).astype(np.int16)


def _crop(field: np.ndarray, height: int, width: int, rng: random.Random) -> np.ndarray:
    """A window of a field at a random place, mirrored by lot."""
    y, x = int(rng.random() * (field.shape[-2] - height)), int(rng.random() * (field.shape[-1] - width))
    window = field[..., y : y + height, x : x + width]
    return window[..., ::-1] if rng.random() < 0.5 else window


@lru_cache(maxsize=256)
def _halo(radius: int) -> np.ndarray:
    """The glow of a lamp (2 radius + 1, the same) int32, from 255 in the middle to 0 at ``radius``."""
    square = np.arange(-radius, radius + 1, dtype=np.int64) ** 2
    rest = np.clip(radius * radius - square[:, None] - square, 0, None) * 1024 // (radius * radius)
    soft = rest * rest // 1024 * rest // 1024  # (1 - d^2 / r^2)^3
    return ((soft * soft // 1024 * 3 + soft) * 255 // 4096).astype(np.int32)


def _ramp(colours: tuple[Colour, ...], length: int) -> np.ndarray:
    """Colors (3, length, 1) int32 that run evenly through ``colours``."""
    steps = len(colours) - 1
    at = np.arange(length) * steps * 256 // max(length, 1)
    part = np.minimum(at // 256, steps - 1)
    table, share = np.array(colours, dtype=np.int32), (at - 256 * part)[:, None]
    return ((table[part] * (256 - share) + table[part + 1] * share) // 256).T[..., None]


def _planes(colour: Colour) -> np.ndarray:
    """A color (3, 1, 1) int32, to be spread over the three planes of a picture."""
    return np.array(colour, dtype=np.int32)[:, None, None]


class Night:
    """A picture that is being painted: ``rgb`` (3, H, W) int32, and ``ids`` (H, W) uint8, 0 where no object is."""

    def __init__(self, width: int, height: int, horizon: int, mood: Mood, rng: random.Random) -> None:
        self.width, self.height, self.horizon, self.mood = width, height, horizon, mood
        self.ids = np.zeros((height, width), np.uint8)
        self.rgb = np.empty((3, height, width), np.int32)
        self.rgb[:, :horizon] = _ramp(mood.sky, horizon)
        self.rgb[:, horizon:] = _ramp(mood.water, height - horizon)
        self.waves = self._sea(rng)
        self._sky(rng)
        self._shore(rng)
        self._water(rng)

    # --- light -------------------------------------------------------------------------------------------------------

    def _shine(self, y0: int, x0: int, amount: np.ndarray, colour: Colour) -> None:
        """Add light of a color, ``amount`` (h, w) of 255 with its corner at (y0, x0); bright pixels take less of it."""
        top, left = max(y0, 0), max(x0, 0)
        amount = amount[top - y0 : max(self.height - y0, 0), left - x0 : max(self.width - x0, 0)]
        if amount.size:
            window = self.rgb[:, top : top + amount.shape[0], left : left + amount.shape[1]]
            light = (amount * _planes(colour)) >> 8
            window += (light * (255 - window)) >> 8

    def glow(self, x: float, y: float, reach: float, colour: Colour, power: int) -> None:
        """The glow of a lamp at (x, y) that ends ``reach`` pixels away."""
        radius = max(2, round(reach))
        self._shine(round(y) - radius, round(x) - radius, _halo(radius) * power // 255, colour)

    def _streak(self, x: float, y: float, length: float, wide: float, colour: Colour, power: int) -> None:
        """The broken, upright reflection of a light in the water, from y down; ``wide`` is half its width."""
        y0, y1 = max(round(y), self.horizon), min(round(y + length), self.height)
        half = max(2, round(wide))
        x0, x1 = max(round(x) - 2 * half, 0), min(round(x) + 2 * half + 1, self.width)
        if y0 >= y1 or x0 >= x1:
            return
        waves = self.waves[y0:y1, x0:x1]
        away = np.arange(x0, x1) - round(x) + waves * half // 160
        across = np.clip(half * half - away * away, 0, None) * 255 // (half * half)
        rest = np.clip(round(y + length) - np.arange(y0, y1), 0, None) * 255 // max(round(length), 1)
        broken = np.clip(waves + 96, 0, 160)
        self._shine(y0, x0, across * rest[:, None] // 255 * broken // 160 * power // 255, colour)

    def _veil(self, y0: int, amount: np.ndarray, colour: Colour) -> None:
        """Lay a color over the rows from y0 on; ``amount`` (rows, W) says how much of it, of 255."""
        rows = self.rgb[:, y0 : y0 + amount.shape[0]]
        rows += ((_planes(colour) - rows) * amount) >> 8

    # --- sky, shore and water ----------------------------------------------------------------------------------------

    def _sky(self, rng: random.Random) -> None:
        mood, h, w = self.mood, self.horizon, self.width
        for _ in range(mood.stars * h * w // 40_000):
            y, x, power = int(h * rng.random() * 0.95), int(w * rng.random()), int(250 * rng.random() * rng.random())
            power = power * (h - y) // h
            self.rgb[:, y, x] += (255 - self.rgb[:, y, x]) * (power + 20) // 275
            if power > 130:
                self.glow(x, y, 3, (220, 226, 255), power)
        if mood.aurora:
            self._aurora(rng)
        self.moon = w * (0.12 + 0.76 * rng.random())
        if mood.moon:
            up, radius = h * (0.16 + 0.5 * rng.random()), h * (0.05 + 0.03 * rng.random())
            self.glow(self.moon, up, radius * 9, (188, 200, 236), 120)
            self._disc(self.moon, up, radius, (252, 246, 226))
        if mood.cloud:
            cloud = _crop(_clouds(), h, w, rng).astype(np.int32)
            self._veil(0, np.clip((cloud - 128) * 4, 0, 255) * mood.cloud // 255, mood.sky[-1])

    def _disc(self, x: float, y: float, r: float, colour: Colour) -> None:
        """The moon with its dark seas."""
        around = int(r) + 2
        tile = Image.new("L", (2 * around * FINE, 2 * around * FINE))
        draw = ImageDraw.Draw(tile)
        for dx, dy, radius, shade in (
            (0, 0, 1, 255),
            (-0.3, -0.25, 0.3, 214),
            (0.25, 0.2, 0.36, 222),
            (0.3, -0.4, 0.18, 218),
        ):
            middle = [round((around + d * r) * FINE) for d in (dx, dy)]
            reach = round(radius * r * FINE)
            draw.ellipse((middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach), shade)
        self._shine(round(y) - around, round(x) - around, np.asarray(tile.reduce(FINE), dtype=np.int32), colour)

    def _aurora(self, rng: random.Random) -> None:
        """Curtains of light: the lower hem waves, the light fades upward."""
        h, w = self.horizon, self.width
        for colour, power in (((70, 240, 160), 150), ((150, 110, 240), 110)):
            rough = np.cumsum(_crop(_clouds(), 1, w + 48, rng)[0].astype(np.int32))
            rows = (rough[48:] - rough[:-48]) // 48
            pleats = _crop(_clouds(), 1, w // 2 + 1, rng)[0].astype(np.int32).repeat(2)[:w]
            hem = h * (3 + int(3 * rng.random())) // 10 + (rows - 128) * h // 120
            up = hem - np.arange(h)[:, None]
            long = h * 6 // 10
            fade = np.where(
                up >= 0, np.clip(long - up, 0, None) * 255 // long, np.clip(255 + up * 1024 // (h * 16 // 10), 0, 255)
            )
            self._shine(0, 0, fade * fade // 255 * np.clip(pleats * 2 - 120, 30, 255) // 255 * power // 255, colour)

    def _shore(self, rng: random.Random) -> None:
        """Hills along the horizon, and a town with lit windows at their foot."""
        h, w = self.horizon, self.width
        for share, tall in ((0.55, 5), (0.85, 10)):
            ridge = _crop(_clouds(), 2, w, rng)[0].astype(np.int32) * h * 16 // (tall * 128) - h * 16 // (2 * tall)
            cover = np.clip(ridge - (h - np.arange(h)[:, None]) * 16 + 16, 0, 16) * 255 // 16
            far = self.mood.fog if share < 0.6 else self.mood.hills
            self._veil(0, cover, mix(self.mood.hills, far, 0.4))
        self.town: list[tuple[int, Colour]] = []
        for _ in range(pick(rng, (0, 1, 2, 3))):
            middle, spread = w * rng.random(), w * (0.05 + 0.13 * rng.random())
            self.glow(middle, h, spread * 1.4, (255, 190, 120), 50)
            for _ in range(int(10 + spread / 2)):
                x = int(middle + spread * (rng.random() + rng.random() - 1))
                y = h - 2 - int(h * 0.05 * rng.random() * rng.random())
                colour = pick(rng, ((255, 206, 130), (255, 226, 170), (255, 180, 96), (220, 232, 255)))
                if 0 <= x < w:
                    power = 110 + int(rng.random() * 130)
                    self.rgb[:, y, x] += (np.array(colour) - self.rgb[:, y, x]) * power // 255
                    self.town.append((x, colour))

    def _sea(self, rng: random.Random) -> np.ndarray:
        """The waves of each pixel of the water as the perspective has them, (H, W) int32; 0 above the horizon."""
        deep = self.height - self.horizon
        away = 1 + np.arange(deep)
        distance = 100 * 512 // (away + 3)
        rows = distance // 4 + int(512 * rng.random())
        columns = (np.arange(self.width) - self.width // 2) * distance[:, None] // 160 + int(1024 * rng.random())
        waves = np.zeros((self.height, self.width), np.int32)
        waves[self.horizon :] = _waves()[rows[:, None] % 512, columns % 1024]
        return waves

    def _water(self, rng: random.Random) -> None:
        deep = self.height - self.horizon
        waves = self.waves[self.horizon :]
        near = (18 + 10 * np.arange(deep) // deep)[:, None]
        tint = _planes(self.mood.sky[-1]) // 3 + 40
        self.rgb[:, self.horizon :] += (waves * tint * near) >> 13
        np.clip(self.rgb, 0, 255, out=self.rgb)
        if self.mood.moon:
            self._moonlight()
        for x, colour in self.town:
            self._streak(x, self.horizon, 6 + deep * 0.2 * rng.random(), 2, colour, 90)
        if self.mood.haze:
            self.haze(self.horizon, rng)

    def _moonlight(self) -> None:
        """The path of the moon on the water: the crests of waves under it, wider the nearer they are."""
        deep = self.height - self.horizon
        half = (self.width // 30 + np.arange(deep) * 5 // 16)[:, None]
        away = np.arange(self.width) - int(self.moon)
        across = np.clip(half * half - away * away, 0, None) * 255 // (half * half)
        near = (256 - np.arange(deep) * 110 // deep)[:, None]
        crest = np.clip(self.waves[self.horizon :] * 3 - 30, 10, 200) * near // 256
        self._shine(self.horizon, 0, across * crest // 255, (236, 232, 214))

    def haze(self, middle: int, rng: random.Random) -> None:
        """A bank of fog around a height of the picture."""
        reach = self.height // 4
        y0, y1 = max(middle - reach, 0), min(middle + reach // 2, self.height)
        up = np.arange(y0, y1) - middle
        rest = np.where(up < 0, reach + up, reach - 2 * up) * 255 // reach
        cloud = _crop(_clouds(), y1 - y0, self.width, rng).astype(np.int32)
        self._veil(
            y0,
            (rest * rest // 255)[:, None] * np.clip(cloud + 60, 0, 255) // 255 * self.mood.haze // 255,
            self.mood.fog,
        )

    # --- figures -----------------------------------------------------------------------------------------------------

    def place(self, figure: Figure, x: float, y: float, size: float, half: float, segment: int, floats: bool) -> int:
        """Put a figure with its foot at (x, y), mirrored if ``size`` is negative; returns how many pixels it covers.

        Its reflection and the glow of its lamps come with it, and belong to no segment.
        """
        tall, wide = abs(size), abs(size) * half
        x0, x1 = max(int(x - wide) - 3, -40), min(int(x + wide) + 4, self.width + 40)
        y0, y1 = max(int(y - 1.1 * tall) - 3, 0), int(y + 0.06 * tall) + 3
        if x1 <= x0 or y1 <= y0:
            return 0
        colours, alpha = self._tile(figure, (x0, y0, x1, y1), x, y, size)
        if floats:
            self._mirror(colours, alpha, x0, y0, round(y))
            for lamp in figure.lamps:
                lx, ly = x + lamp.x * size, y - lamp.y * tall
                self._streak(lx, y, (y - ly) * 1.6 + 8, tall * lamp.reach * 0.12 + 1, lamp.colour, lamp.power * 3 // 4)
        whole = self._paste(colours, alpha, x0, y0, segment)
        for lamp in figure.lamps:
            self.glow(x + lamp.x * size, y - lamp.y * tall, lamp.reach * tall, lamp.colour, lamp.power)
        return whole

    def _tile(
        self, figure: Figure, corners: tuple[int, int, int, int], x: float, y: float, size: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The figure's colors times its cover (3, h, w), and its cover (h, w) of 255, both int32."""
        x0, y0, x1, y1 = corners
        ink = Image.new("RGB", ((x1 - x0) * FINE, (y1 - y0) * FINE))
        cover = Image.new("L", ink.size)
        paint, label = ImageDraw.Draw(ink), ImageDraw.Draw(cover)
        light = self.mood.light
        for i, shape in enumerate((*figure.body, *figure.lit)):
            spots = [
                (round((x - x0 + px * size) * FINE), round((y - y0 - py * abs(size)) * FINE)) for px, py in shape.points
            ]
            colour = shape.colour
            if i < len(figure.body):
                colour = (colour[0] * light[0] // 255, colour[1] * light[1] // 255, colour[2] * light[2] // 255)
            _fill(paint, shape, spots, colour)
            _fill(label, shape, spots, 255)
        colours = np.asarray(ink.reduce(FINE), dtype=np.int32).transpose(2, 0, 1)
        alpha = np.asarray(cover.reduce(FINE), dtype=np.int32)
        fog = self.mood.haze * max(0, 60 - (round(y) - self.horizon)) // 110 if figure.body else 0
        if fog > 0:
            veil = alpha * _planes(self.mood.fog) // 255
            colours = colours + (veil - colours) * fog // 255
        rim = np.zeros_like(alpha)
        rim[1:] = np.clip(alpha[1:] - alpha[:-1], 0, None)
        return colours + rim * _planes(light) // 255 * 2 // 5, alpha

    def _paste(self, colours: np.ndarray, alpha: np.ndarray, x0: int, y0: int, segment: int) -> int:
        left, bottom = max(-x0, 0), self.height - y0
        colours, alpha = colours[:, :bottom, left : self.width - x0], alpha[:bottom, left : self.width - x0]
        place = np.s_[y0 : y0 + alpha.shape[0], x0 + left : x0 + left + alpha.shape[1]]
        self.rgb[:, *place] = ((self.rgb[:, *place] * (256 - alpha)) >> 8) + colours
        seen = alpha >= 128
        self.ids[place][seen] = segment
        return int(seen.sum())

    def _mirror(self, colours: np.ndarray, alpha: np.ndarray, x0: int, y0: int, foot: int) -> None:
        """The figure upside down in the water below its foot, torn by the waves."""
        tall = min(foot - y0, alpha.shape[0])
        y1 = min(foot + tall * 4 // 5, self.height)
        left, right = max(x0, 0), min(x0 + alpha.shape[1], self.width)
        if y1 <= foot or right <= left or foot < 0:
            return
        down = np.arange(y1 - foot)[:, None]
        waves = self.waves[foot:y1, left:right]
        rows = np.clip(tall - 1 - down * 5 // 4 + waves * (4 + down) // 512, 0, tall - 1)
        columns = np.clip(np.arange(left, right) - x0 + waves * (16 + down) // 420, 0, alpha.shape[1] - 1)
        share = 120 - 90 * down // max(y1 - foot, 1)
        window = self.rgb[:, foot:y1, left:right]
        window += (colours[:, rows, columns] - alpha[rows, columns] * window // 255) * share // 255

    def beam(self, x: float, y: float, reach: float, rng: random.Random) -> None:
        """The two beams of a lighthouse whose lamp is at (x, y)."""
        tilt = (rng.random() - 0.5) * 0.5
        long = round(reach)
        tall = long * 22 // 64 + 4  # the beams stay within: their slope is at most a quarter, their spread a twelfth
        rows, columns = np.arange(-tall, tall + 1)[:, None], np.arange(-long, long + 1)
        middle = columns * int(tilt * 256) // 256
        half = 2 + np.abs(columns) * 22 // 256 + 1
        across = np.clip(half - np.abs(rows - middle), 0, None) * 255 // half
        fade = np.clip(long - np.abs(columns), 0, None) * 255 // long
        self._shine(round(y) - tall, round(x) - long, across * fade // 255 * 110 // 255, (255, 240, 196))

    # --- the end -----------------------------------------------------------------------------------------------------

    def result(self, rng: random.Random) -> np.ndarray:
        """The picture (H, W, 3) uint8, as a camera would have taken it: rain, darker corners, and noise."""
        if self.mood.rain:
            self._rain(rng)
        h, w = self.height, self.width
        away = ((np.arange(h) * 2 - h) ** 2 * 256 // (h * h))[:, None] + (np.arange(w) * 2 - w) ** 2 * 256 // (w * w)
        shown = self.rgb * (256 - away * 48 // 256) >> 8
        noise = _crop(_grain(), h, w, rng)
        shown += (noise * (8 + ((255 - shown) >> 5))) >> 9
        return np.ascontiguousarray(np.clip(shown, 0, 255).astype(np.uint8).transpose(1, 2, 0))

    def _rain(self, rng: random.Random) -> None:
        sheet = Image.new("L", (self.width * 2, self.height * 2))
        draw = ImageDraw.Draw(sheet)
        slant = rng.random() - 0.5
        for _ in range(self.width * self.height // 340):
            x, y, long = 2.2 * self.width * rng.random() - 20, 2 * self.height * rng.random(), 8 + 22 * rng.random()
            draw.line((round(x), round(y), round(x + slant * long), round(y + long)), 40 + int(70 * rng.random()))
        self._shine(0, 0, np.asarray(sheet.reduce(2), dtype=np.int32), (200, 214, 236))


def _fill(draw: ImageDraw.ImageDraw, shape: Shape, spots: list[tuple[int, int]], ink: Colour | int) -> None:
    if not shape.oval:
        draw.polygon(spots, ink)
        return
    (ax, ay), (bx, by) = spots
    draw.ellipse((min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)), ink)
