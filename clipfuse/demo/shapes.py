"""What stands in the demo's scenes, one function each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

DARK: Colour = (38, 38, 44)
BRIGHT: tuple[Colour, ...] = (
    (214, 48, 44), (38, 92, 190), (244, 196, 40), (230, 112, 34), (148, 60, 150), (40, 150, 140),
)  # fmt: skip
FUR: tuple[Colour, ...] = ((150, 98, 52), (206, 164, 104), (92, 62, 40), (236, 226, 208))
STRIPED_FUR: tuple[Colour, ...] = ((222, 138, 58), (120, 120, 126), (44, 42, 46))


def pick_colour(rng: np.random.Generator, choices: Sequence[Colour], jitter: int = 14) -> Colour:
    """One of the colours, a little off."""
    base = np.array(choices[int(rng.integers(len(choices)))])
    light, tint = rng.integers(-jitter, jitter + 1), rng.integers(-4, 5, 3)
    red, green, blue = np.clip(base + light + tint, 0, 255)
    return int(red), int(green), int(blue)


class Brush:
    """Draws one object in its own units: x from its middle, y upwards from its foot, 1.0 is ``size`` pixels."""

    def __init__(
        self, image: Image.Image, rng: np.random.Generator, x: float = 0, y: float = 0, size: float = 1
    ) -> None:
        self.image, self.draw, self.rng = image, ImageDraw.Draw(image), rng
        self.x, self.y, self.size = x, y, size
        self.side = 1 if rng.random() < 0.5 else -1

    def colour(self, choices: Sequence[Colour], jitter: int = 14) -> Colour:
        """One of the colours, a little off."""
        return pick_colour(self.rng, choices, jitter)

    def at(self, x: float, y: float) -> Point:
        """The pixel of a point in the object's units."""
        return self.x + self.side * x * self.size, self.y - y * self.size

    def shape(self, colour: Colour, *points: Point) -> None:
        """A filled polygon."""
        self.draw.polygon([self.at(*point) for point in points], fill=colour)

    def box(self, colour: Colour, left: float, low: float, right: float, high: float) -> None:
        """A filled rectangle."""
        self.shape(colour, (left, low), (right, low), (right, high), (left, high))

    def oval(self, colour: Colour, x: float, y: float, wide: float, high: float) -> None:
        """A filled ellipse by its middle and radii."""
        (px, py), rx, ry = self.at(x, y), wide * abs(self.size), high * abs(self.size)
        self.draw.ellipse((px - rx, py - ry, px + rx, py + ry), fill=colour)

    def line(self, colour: Colour, width: float, *points: Point) -> None:
        """A line through points, its width in the object's units."""
        pixels = max(1, round(width * abs(self.size)))
        self.draw.line([self.at(*point) for point in points], fill=colour, width=pixels, joint="curve")


# Objects


def person(b: Brush) -> None:
    """Somebody standing or walking."""
    shirt, trousers, hair = b.colour(BRIGHT), b.colour([DARK, (60, 70, 110), (120, 100, 80)]), b.colour(FUR)
    skin = b.colour([(226, 178, 140), (150, 104, 72), (98, 66, 48)])
    b.line(trousers, 0.09, (-0.05, 0.5), (-0.09, 0))
    b.line(trousers, 0.09, (0.05, 0.5), (0.1, 0))
    b.line(skin, 0.06, (-0.11, 0.74), (-0.19, 0.46))
    b.line(skin, 0.06, (0.11, 0.74), (0.21, 0.52))
    b.shape(shirt, (-0.13, 0.8), (0.13, 0.8), (0.1, 0.44), (-0.1, 0.44))
    b.oval(skin, 0, 0.89, 0.075, 0.095)
    b.oval(hair, -0.01, 0.945, 0.08, 0.055)


def dog(b: Brush) -> None:
    """A dog from the side."""
    fur = b.colour(FUR)
    for x in (-0.36, -0.24, 0.2, 0.32):
        b.line(fur, 0.1, (x, 0.4), (x, 0))
    b.line(fur, 0.08, (-0.4, 0.55), (-0.62, 0.85))
    b.oval(fur, 0, 0.48, 0.46, 0.19)
    b.oval(fur, 0.46, 0.76, 0.2, 0.18)
    b.oval(fur, 0.63, 0.7, 0.16, 0.09)
    b.oval(DARK, 0.78, 0.73, 0.045, 0.045)
    b.oval(DARK, 0.5, 0.82, 0.03, 0.03)
    b.oval((70, 46, 30), 0.34, 0.72, 0.07, 0.17)
    b.line((200, 40, 40), 0.06, (0.3, 0.56), (0.48, 0.58))


def cat(b: Brush) -> None:
    """A cat that sits and looks at you."""
    fur = b.colour(STRIPED_FUR)
    b.line(fur, 0.09, (0.2, 0.08), (0.48, 0.12), (0.52, 0.4))
    b.oval(fur, 0, 0.3, 0.27, 0.32)
    b.oval((244, 240, 230), 0, 0.28, 0.12, 0.2)
    b.oval(fur, 0, 0.72, 0.24, 0.2)
    for side in (-1, 1):
        b.shape(fur, (side * 0.23, 0.74), (side * 0.22, 1.02), (side * 0.05, 0.88))
        b.oval((150, 210, 80), side * 0.1, 0.75, 0.055, 0.05)
        b.oval(DARK, side * 0.1, 0.75, 0.02, 0.05)
        b.line((250, 250, 250), 0.015, (side * 0.05, 0.66), (side * 0.34, 0.64))
        b.oval(fur, side * 0.12, 0.04, 0.1, 0.06)
    b.oval((230, 130, 130), 0, 0.67, 0.03, 0.025)


def boat(b: Brush) -> None:
    """A sailing boat."""
    hull, sail = b.colour(BRIGHT), b.colour([(250, 248, 240), (250, 248, 240), (220, 70, 60)])
    b.line((96, 70, 44), 0.03, (0, 0.2), (0, 1))
    b.shape(sail, (0.03, 0.98), (0.03, 0.3), (0.46, 0.3))
    b.shape(sail, (-0.03, 0.9), (-0.03, 0.3), (-0.3, 0.3))
    b.shape(hull, (-0.5, 0.24), (0.58, 0.24), (0.4, 0), (-0.38, 0))
    b.line((250, 250, 250), 0.03, (-0.48, 0.2), (0.55, 0.2))


def car(b: Brush) -> None:
    """A car from the side."""
    paint = b.colour([*BRIGHT, (230, 230, 232)])
    b.shape(paint, (-0.62, 0.52), (-0.42, 0.94), (0.3, 0.94), (0.6, 0.52))
    b.shape((176, 212, 230), (-0.5, 0.54), (-0.36, 0.86), (-0.06, 0.86), (-0.06, 0.54))
    b.shape((176, 212, 230), (0.02, 0.54), (0.02, 0.86), (0.26, 0.86), (0.48, 0.54))
    b.box(paint, -0.95, 0.18, 1.0, 0.55)
    b.box((250, 236, 150), 0.88, 0.36, 1.0, 0.48)
    b.box((200, 30, 30), -0.95, 0.36, -0.87, 0.48)
    for x in (-0.55, 0.6):
        b.oval(DARK, x, 0.18, 0.2, 0.2)
        b.oval((190, 190, 196), x, 0.18, 0.09, 0.09)


def traffic_light(b: Brush) -> None:
    """A traffic light, one of its three lamps lit."""
    lit = b.rng.integers(3)
    b.line((70, 72, 76), 0.05, (0, 0.5), (0, 0))
    b.box((24, 26, 28), -0.13, 0.48, 0.13, 1.0)
    lamps: tuple[Colour, ...] = ((250, 40, 30), (255, 190, 30), (40, 220, 90))
    for place, (red, green, blue) in enumerate(lamps):
        lamp = (red, green, blue) if place == lit else (red // 2, green // 2, blue // 2)
        b.oval(lamp, 0, 0.91 - 0.17 * place, 0.072, 0.072)


def umbrella(b: Brush) -> None:
    """An open umbrella in two colours."""
    cloth = (b.colour(BRIGHT), b.colour([(250, 246, 236), *BRIGHT]))
    b.line((110, 84, 60), 0.035, (0, 0.95), (0, 0.04), (0.08, 0), (0.13, 0.06))
    rim = [(-math.cos(math.pi * i / 12), 0.52 + 0.44 * math.sin(math.pi * i / 12)) for i in range(13)]
    for i in range(0, 12, 2):
        points = [(0.56 * x, y) for x, y in rim[i : i + 3]]
        b.shape(cloth[i // 2 % 2], (0.56 * (i - 6) / 6, 0.52), *points, (0.56 * (i - 4) / 6, 0.52), (0, 0.96))


def kite(b: Brush) -> None:
    """A kite with its tail."""
    first, second = b.colour(BRIGHT), b.colour([(250, 246, 236), *BRIGHT])
    tail = [(0.1 * math.sin(i * 1.3) - 0.07 * i, 0.3 - 0.13 * i) for i in range(8)]
    b.line((90, 90, 96), 0.02, *tail)
    for x, y in tail[2::2]:
        b.shape(second, (x - 0.09, y + 0.05), (x + 0.09, y - 0.05), (x + 0.09, y + 0.05), (x - 0.09, y - 0.05))
    b.shape(first, (0, 0.3), (-0.36, 0.75), (0, 1.05), (0.36, 0.75))
    b.shape(second, (0, 0.3), (0.36, 0.75), (0, 0.75))
    b.shape(second, (0, 1.05), (-0.36, 0.75), (0, 0.75))


def ball(b: Brush) -> None:
    """A ball with coloured wedges."""
    first, second = b.colour(BRIGHT), b.colour([(250, 250, 244)])
    (x, y), radius = b.at(0, 0.5), 0.5 * b.size
    turn = float(b.rng.uniform(0, 120))
    for i in range(6):
        b.draw.pieslice(
            (x - radius, y - radius, x + radius, y + radius),
            turn + 60 * i,
            turn + 60 * i + 60,
            fill=(first, second)[i % 2],
        )
    b.oval((250, 220, 70), 0, 0.5, 0.1, 0.1)


def tree(b: Brush) -> None:
    """A broad tree or a fir."""
    leaf = b.colour([(62, 128, 58), (84, 146, 60), (44, 100, 62)], 18)
    b.box((100, 72, 46), -0.05, 0, 0.05, 0.5)
    if b.rng.random() < 0.35:
        for low in (0.18, 0.42, 0.66):
            wide = 0.36 - 0.3 * (low - 0.18)
            b.shape(leaf, (-wide, low), (wide, low), (0, low + 0.4))
        return
    for x, y, radius in ((-0.17, 0.6, 0.2), (0.18, 0.6, 0.2), (0, 0.78, 0.25), (0.02, 0.56, 0.2)):
        b.oval(leaf, x, y, radius, radius)
    b.oval((min(leaf[0] + 22, 255), min(leaf[1] + 26, 255), leaf[2]), -0.07, 0.84, 0.13, 0.11)


def house(b: Brush) -> None:
    """A small house with a pitched roof."""
    wall = b.colour([(236, 220, 190), (214, 150, 120), (240, 236, 226), (176, 190, 200)])
    b.box((130, 80, 70), 0.26, 0.7, 0.36, 1.02)
    b.box(wall, -0.5, 0, 0.5, 0.58)
    b.shape(b.colour([(170, 62, 46), (120, 70, 56), (90, 92, 104)]), (-0.6, 0.56), (0.6, 0.56), (0, 1))
    b.box((104, 66, 42), -0.1, 0, 0.1, 0.36)
    for x in (-0.32, 0.32):
        b.box((250, 250, 246), x - 0.12, 0.2, x + 0.12, 0.44)
        b.box((130, 180, 214), x - 0.1, 0.22, x + 0.1, 0.42)


# What stands in the way, and what is there but is no label


def bush(b: Brush) -> None:
    """A bush; covers what stands behind it."""
    leaf = b.colour([(74, 118, 62), (58, 100, 58), (104, 130, 70)])
    for x, y, radius in ((-0.34, 0.3, 0.3), (0.34, 0.3, 0.3), (0, 0.5, 0.42), (0, 0.22, 0.36)):
        b.oval(leaf, x, y, radius, radius)


def crate(b: Brush) -> None:
    """A wooden box; covers what stands behind it."""
    wood = b.colour([(176, 134, 88), (150, 112, 74)])
    b.box(wood, -0.5, 0, 0.5, 0.95)
    for y in (0.05, 0.48, 0.9):
        b.line((110, 80, 50), 0.03, (-0.5, y), (0.5, y))
    b.line((110, 80, 50), 0.03, (-0.48, 0.05), (0.48, 0.9))


def bench(b: Brush) -> None:
    """A park bench."""
    wood = b.colour([(140, 96, 60), (112, 84, 62)])
    for x in (-0.7, 0.7):
        b.line(DARK, 0.08, (x, 0), (x, 0.95))
    for y in (0.45, 0.7, 0.9):
        b.line(wood, 0.12, (-0.85, y), (0.85, y))


def cloud(b: Brush) -> None:
    """A cloud."""
    white = b.colour([(246, 248, 250)], 6)
    for x, y, radius in ((-0.5, 0.3, 0.28), (0, 0.42, 0.42), (0.5, 0.3, 0.3)):
        b.oval(white, x, y, radius * 1.3, radius)
