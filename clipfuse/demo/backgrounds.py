"""Where the demo's scenes take place, one function each: an empty picture at twice the final size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipfuse.demo.shapes import Brush, Colour, pick_colour

WIDTH, HEIGHT = 320, 240

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((84, 152, 222), (196, 226, 244)),
    ((150, 176, 200), (222, 228, 232)),
    ((108, 112, 176), (250, 190, 140)),
)


def _bands(*stops: tuple[float, Colour]) -> Image.Image:
    """Colours blended downwards, each at its height (0 is the top); two at one height make an edge."""
    rows, places = np.linspace(0, 1, HEIGHT), [place for place, _ in stops]
    channels = [np.interp(rows, places, [colour[i] for _, colour in stops]) for i in range(3)]
    column = np.stack(channels, axis=1).astype(np.uint8)[:, None, :]
    return Image.fromarray(column).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)


def _pixels(image: Image.Image, rng: np.random.Generator) -> Brush:
    """A brush over the whole picture, in pixels, y downwards from the top."""
    brush = Brush(image, rng, size=-1)
    brush.side = -1
    return brush


def _under_sky(rng: np.random.Generator, horizon: float, *ground: tuple[float, Colour]) -> Brush:
    high, low = SKIES[rng.choice(3, p=(0.6, 0.25, 0.15))]
    return _pixels(_bands((0, high), (horizon, low), (horizon, ground[0][1]), *ground), rng)


def beach(rng: np.random.Generator) -> Image.Image:
    """Sky, sea with waves, sand."""
    sea: Colour = (44, 122, 168)
    b = _under_sky(rng, 0.42, (0.42, sea), (0.6, (110, 190, 200)), (0.6, (236, 212, 160)), (1, (214, 180, 120)))
    for _ in range(14):
        x, y = rng.uniform(0, WIDTH), rng.uniform(0.45, 0.6) * HEIGHT
        b.line((226, 242, 246), 1.5, (x, y), (x + rng.uniform(10, 34), y))
    b.line((250, 250, 246), 4, *[(x, 0.6 * HEIGHT + rng.uniform(-2, 2)) for x in range(0, WIDTH + 20, 20)])
    for x, y in rng.uniform((0, 150), (WIDTH, HEIGHT), (60, 2)):
        b.oval((196, 160, 106), x, y, 1.2, 1)
    return b.image


def lake(rng: np.random.Generator) -> Image.Image:
    """Hills behind water, a grassy shore in front."""
    b = _under_sky(
        rng, 0.42, (0.42, (120, 160, 180)), (0.72, (52, 100, 138)), (0.72, (110, 146, 70)), (1, (82, 118, 52))
    )
    for colour, top in (((128, 150, 166), 66), ((88, 122, 104), 82)):
        ridge = [(x, top + rng.uniform(-20, 12)) for x in range(0, WIDTH + 40, 40)]
        b.shape(colour, (0, 101), *ridge, (WIDTH, 101))
    for _ in range(12):
        x, y = rng.uniform(0, WIDTH), rng.uniform(106, 168)
        b.line((178, 206, 216), 1.5, (x, y), (x + rng.uniform(14, 40), y))
    return b.image


def meadow(rng: np.random.Generator) -> Image.Image:
    """Rolling grass with flowers."""
    b = _under_sky(rng, 0.5, (0.5, (136, 178, 84)), (1, (84, 140, 50)))
    b.oval((146, 188, 100), rng.uniform(0, 140), 140, 150, 44)
    b.oval((120, 166, 80), rng.uniform(180, WIDTH), 140, 170, 40)
    for x, y in rng.uniform((0, 130), (WIDTH, HEIGHT), (90, 2)):
        b.line((70, 122, 44), 1.2, (x, y), (x + 2, y - 6))
    for x, y in rng.uniform((0, 140), (WIDTH, HEIGHT), (24, 2)):
        b.oval(b.colour([(250, 250, 244), (250, 214, 70), (220, 80, 110)]), x, y, 2, 2)
    return b.image


def _blocks(b: Brush, walls: tuple[Colour, ...], panes: tuple[Colour, ...]) -> None:
    """A row of tall buildings down to the pavement."""
    left = -20.0
    while left < WIDTH:
        wide, top = b.rng.uniform(46, 84), b.rng.uniform(10, 80)
        b.box(b.colour(walls), left, top, left + wide, 150)
        for x in np.arange(left + 8, left + wide - 12, 16):
            for y in np.arange(top + 10, 130, 20):
                b.box(panes[b.rng.integers(len(panes))], x, y, x + 8, y + 11)
        left += wide


def street(rng: np.random.Generator) -> Image.Image:
    """Tall buildings, a pavement, a road."""
    b = _under_sky(rng, 0.62, (0.62, (178, 174, 168)), (0.72, (190, 186, 180)), (0.72, (92, 94, 98)), (1, (70, 72, 76)))
    _blocks(b, ((176, 130, 110), (150, 150, 156), (196, 184, 160), (124, 110, 110)), ((210, 226, 236), (90, 104, 120)))
    for x in range(int(rng.integers(-40, 0)), WIDTH, 60):
        b.box((236, 236, 230), x, 204, x + 32, 209)
    return b.image


def night(rng: np.random.Generator) -> Image.Image:
    """A dark town with lit windows under the moon and the stars."""
    b = _pixels(_bands((0, (10, 14, 40)), (0.62, (52, 52, 96)), (0.62, (54, 54, 66)), (1, (34, 34, 46))), rng)
    for x, y in rng.uniform((0, 0), (WIDTH, 120), (50, 2)):
        b.oval((236, 236, 220), x, y, 1, 1)
    b.oval((248, 240, 206), rng.uniform(30, WIDTH - 30), rng.uniform(18, 40), 13, 13)
    _blocks(b, ((34, 34, 54), (44, 40, 60), (26, 30, 46)), ((250, 214, 120), (30, 32, 48), (30, 32, 48)))
    for x in range(int(rng.integers(-40, 0)), WIDTH, 60):
        b.box((150, 150, 130), x, 204, x + 32, 208)
    return b.image


def snow(rng: np.random.Generator) -> Image.Image:
    """A white field, snow still falling."""
    b = _pixels(_bands((0, (170, 186, 206)), (0.5, (214, 222, 232)), (0.5, (236, 240, 246)), (1, (248, 250, 254))), rng)
    for x, wide in ((rng.uniform(0, 120), 150), (rng.uniform(190, WIDTH), 170)):
        b.oval((228, 234, 244), x, 138, wide, 34)
    for x, y in rng.uniform((0, 0), (WIDTH, HEIGHT), (110, 2)):
        b.oval((255, 255, 255), x, y, 1.8, 1.8)
    return b.image


def room(rng: np.random.Generator) -> Image.Image:
    """A papered wall with a picture and a window, a wooden floor, perhaps a sofa."""
    wall = pick_colour(rng, [(226, 210, 186), (186, 206, 196), (220, 190, 186), (190, 196, 220)])
    b = _pixels(_bands((0, wall), (0.66, wall), (0.66, (176, 128, 84)), (1, (140, 96, 60))), rng)
    stripe = (wall[0] - 12, wall[1] - 12, wall[2] - 12)
    for x in range(0, WIDTH, 32):
        b.box(stripe, x, 0, x + 12, 158)
    for y in (172, 190, 212):
        b.line((120, 82, 52), 1.5, (0, y), (WIDTH, y))
    left = rng.uniform(20, 210)
    b.box((246, 244, 238), left, 24, left + 80, 104)
    b.box(b.colour([(150, 196, 232), (196, 214, 226)]), left + 6, 30, left + 74, 98)
    b.box((246, 244, 238), left + 37, 24, left + 43, 104)
    if rng.random() < 0.5:
        cloth, left = b.colour([(150, 60, 60), (70, 100, 130), (96, 120, 84)]), rng.uniform(20, 170)
        b.box(cloth, left, 110, left + 130, 180)
        b.box((cloth[0] - 20, cloth[1] - 20, cloth[2] - 20), left - 12, 136, left + 142, 182)
    return b.image
