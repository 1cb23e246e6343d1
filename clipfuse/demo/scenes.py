"""The demo's data set: drawn scenes with captions and several labels, in which picture and caption complement each
other as they do in life: a caption leaves things out, and a picture doesn't show all that is there.

What is there is drawn by lot first, by the place's own chances: these are the labels. Then, independently, the caption
leaves each of them out and the picture hides it, at the label's two rates (``THINGS``):

* left out of the caption: 5% (dog) to 45% (car, tree). People write of the dog and the kite; what always
  stands in a street goes without saying.
* hidden in the picture: 6% (car, tree) to 50% (ball). What is small or moves is far away, behind something or cut off
  at the frame, a third of the time each.

So a head on pictures and a head on captions each miss what the other one knows, and a fusion of both can win; what is
neither told nor shown, nobody finds. Beyond these rates nothing is arranged row by row. One caption in ten also names
something that is no label of its row ("no boat in sight", "a hot dog on a plate"), and bushes, crates, benches and
clouds stand about, so that a word or a shape alone is no proof.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from clipfuse.demo import backgrounds, shapes
from clipfuse.demo.backgrounds import HEIGHT, WIDTH
from clipfuse.demo.shapes import Brush
from clipfuse.errors import ConfigError

NO_CAPTION = 0.05
BROKEN = ("empty", "truncated", "text")
MISSING = 2


@dataclass(frozen=True)
class Thing:
    """One label. ``untold``: how often a caption leaves it out; ``hidden``: how often the picture hides it;
    ``size``: its usual height as a part of the picture's."""

    draw: Callable[[Brush], None]
    where: Literal["ground", "air", "water"]
    size: float
    untold: float
    hidden: float
    words: str


@dataclass(frozen=True)
class Place:
    """A background: how it is called, where its ground begins, how likely each label is there."""

    draw: Callable[[np.random.Generator], Image.Image]
    words: str
    ground: float
    cover: Callable[[Brush], None]
    chances: dict[str, float]


THINGS = {
    "person": Thing(shapes.person, "ground", 0.5, 0.15, 0.35, "a man|a woman|a person|a young man|a young woman"),
    "dog": Thing(shapes.dog, "ground", 0.33, 0.05, 0.45, "a dog|a puppy|a cute dog|a small dog|a big dog"),
    "cat": Thing(shapes.cat, "ground", 0.36, 0.06, 0.45, "a cat|a kitten|a fluffy cat|a little cat"),
    "boat": Thing(shapes.boat, "water", 0.4, 0.2, 0.25, "a boat|a sailboat|a small ship|a boat with a sail"),
    "car": Thing(shapes.car, "ground", 0.3, 0.45, 0.06, "a car|a taxi|a parked car|an old car"),
    "traffic light": Thing(
        shapes.traffic_light, "ground", 0.62, 0.4, 0.08, "a traffic light|traffic lights|a traffic signal|a stop light"
    ),
    "umbrella": Thing(
        shapes.umbrella, "ground", 0.5, 0.1, 0.3, "an umbrella|an open umbrella|a colorful umbrella|a large umbrella"
    ),
    "kite": Thing(shapes.kite, "air", 0.36, 0.06, 0.45, "a kite|a colorful kite|a kite in the air|a flying kite"),
    "ball": Thing(shapes.ball, "ground", 0.24, 0.06, 0.5, "a ball|a beach ball|a soccer ball|a round ball"),
    "tree": Thing(shapes.tree, "ground", 0.72, 0.45, 0.06, "a tree|trees|a tall tree|a green tree"),
    "house": Thing(shapes.house, "ground", 0.5, 0.35, 0.08, "a house|a small house|a brick house|a farm house"),
}

PLACES = (
    Place(
        backgrounds.beach,
        "on the beach|at the seaside|by the ocean|on the sand",
        0.66,
        shapes.bush,
        {"person": 0.4, "dog": 0.2, "boat": 0.5, "umbrella": 0.6, "kite": 0.3, "ball": 0.4},
    ),
    Place(
        backgrounds.lake,
        "by the lake|near the water|at a lake in the hills|on the shore",
        0.76,
        shapes.bush,
        {"person": 0.3, "dog": 0.2, "boat": 0.75, "tree": 0.5, "house": 0.35},
    ),
    Place(
        backgrounds.meadow,
        "in a meadow|in a grassy field|in the park|on the green grass",
        0.58,
        shapes.bush,
        {"person": 0.3, "dog": 0.45, "kite": 0.55, "ball": 0.4, "tree": 0.5},
    ),
    Place(
        backgrounds.street,
        "on a city street|in town|at the side of the road|downtown",
        0.72,
        shapes.crate,
        {"person": 0.5, "dog": 0.15, "car": 0.75, "traffic light": 0.6, "umbrella": 0.3},
    ),
    Place(
        backgrounds.night,
        "at night|in the dark city|under the moon|on a street at night",
        0.72,
        shapes.crate,
        {"person": 0.3, "cat": 0.45, "car": 0.6, "traffic light": 0.55},
    ),
    Place(
        backgrounds.snow,
        "in the snow|on a snowy day|in winter|on a white field",
        0.58,
        shapes.bush,
        {"person": 0.4, "dog": 0.45, "tree": 0.6, "house": 0.65},
    ),
    Place(
        backgrounds.room,
        "in the living room|at home|in a room|on the wooden floor",
        0.74,
        shapes.crate,
        {"person": 0.4, "dog": 0.35, "cat": 0.65, "ball": 0.45},
    ),
)

TEMPLATES = (
    "{things} {place}",
    "{things} {place}",
    "{things} {place}",
    "a photo of {things}",
    "a photo of {things} {place}",
    "there is {things} {place}",
    "a picture of {things}",
    "{things}",
)
NOTHING_TOLD = ("a quiet day {place}", "a view {place}", "nothing much going on {place}", "what a scene {place}")
ASIDES = (
    "no {other} in sight",
    "without any {other}",
    "but not a single {other}",
    "with some flowers",
    "with an old crate",
    "with a sandwich left behind",
    "with a hot dog on a plate",
    "and a bottle of water",
)


def draw_dataset(folder: Path, *, rows: int = 1500, seed: int = 7) -> Path:
    """Draws ``folder/images/*.jpg`` (160 by 120) and writes ``folder/scenes.csv``, whose path it returns.

    The columns are ``filename``, ``caption`` and ``labels`` (joined by "|"). 5% of the rows have no caption. As in any
    real collection a few pictures are bad: three can't be read (an empty file, a truncated JPEG, a text named .jpg) and
    two are not there; these five have captions. The same seed gives the same bytes (on one version of Pillow).

    Raises:
        ConfigError: fewer than 20 rows (too few for the bad ones among them) or a negative seed.
    """
    if rows < 20:
        raise ConfigError(f"the demo needs at least 20 rows, not {rows}")
    if seed < 0:
        raise ConfigError(f"a seed is 0 or more, not {seed}")
    images, table = folder / "images", folder / "scenes.csv"
    images.mkdir(parents=True, exist_ok=True)
    table.unlink(missing_ok=True)
    order = np.random.default_rng(seed).permutation(rows).tolist()
    bad = dict(zip(order, (*BROKEN, *["missing"] * MISSING), strict=False))
    silent = set(order[len(bad) : len(bad) + round(NO_CAPTION * rows)])
    lines = [("filename", "caption", "labels")]
    for row in range(rows):
        image, caption, labels = _scene(np.random.default_rng((seed, row)))
        path = images / f"scene-{row:04d}.jpg"
        _write(path, image, bad.get(row, "whole"))
        lines.append((path.name, "" if row in silent else caption, "|".join(labels)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    unfinished = table.with_suffix(".partial")
    unfinished.write_text(text.getvalue(), encoding="utf-8", newline="\n")
    unfinished.replace(table)
    return table


def _write(path: Path, image: Image.Image, state: str) -> None:
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=85)
    whole = jpeg.getvalue()
    contents = {"whole": whole, "empty": b"", "truncated": whole[: len(whole) // 3], "text": b"this is not a picture\n"}
    if state == "missing":
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(contents[state])


def _scene(rng: np.random.Generator) -> tuple[Image.Image, str, list[str]]:
    """One picture, its caption and its labels."""
    place = PLACES[rng.integers(len(PLACES))]
    present = [label for label, chance in place.chances.items() if rng.random() < chance]
    hidden = {label for label in present if rng.random() < THINGS[label].hidden}
    told = [label for label in present if rng.random() >= THINGS[label].untold]
    return _draw(rng, place, present, hidden), _caption(rng, place, present, told), present


def _draw(rng: np.random.Generator, place: Place, present: list[str], hidden: set[str]) -> Image.Image:
    """The picture: the farther things first, side by side as far as there is room; then light and noise."""
    image, indoors = place.draw(rng), place.draw is backgrounds.room
    if not indoors and rng.random() < 0.4:
        shapes.cloud(Brush(image, rng, rng.uniform(0, WIDTH), rng.uniform(30, 60), rng.uniform(20, 40)))
    slots = (rng.permutation(len(present)) + rng.uniform(0.25, 0.75, len(present))) / max(len(present), 1)
    feet = {"ground": (place.ground, 0.97), "water": (0.52, 0.6), "air": (0.2, 0.45)}
    spots = [(rng.uniform(*feet[THINGS[label].where]), label, slot) for label, slot in zip(present, slots, strict=True)]
    for decoy in (place.cover, shapes.crate, shapes.bench):
        if rng.random() < 0.12 and not (indoors and decoy is shapes.bench):
            decoy(
                Brush(image, rng, rng.uniform(0, WIDTH), rng.uniform(place.ground, 0.95) * HEIGHT, rng.uniform(30, 50))
            )
    for foot, label, slot in sorted(spots):
        _put(image, rng, place, label, slot * WIDTH, foot * HEIGHT, int(rng.integers(3)) if label in hidden else None)
    pixels = np.asarray(image.reduce(2), np.float32)
    pixels = pixels * rng.uniform(0.85, 1.1) + rng.uniform(2, 7) * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _put(
    image: Image.Image, rng: np.random.Generator, place: Place, label: str, x: float, y: float, how: int | None
) -> None:
    """Draws one thing at its place; hidden: far away (0), behind something (1) or cut off at the frame (2)."""
    thing = THINGS[label]
    size = thing.size * HEIGHT * rng.uniform(0.75, 1.25)
    if how == 0:
        size *= rng.uniform(0.12, 0.2)
    if how == 2:
        x = rng.choice([-0.36 * size, WIDTH + 0.36 * size])
    thing.draw(Brush(image, rng, x, y, size))
    if how == 1:
        cover = shapes.cloud if thing.where == "air" else place.cover
        cover(Brush(image, rng, x, y + 2, size * 1.1))


def _caption(rng: np.random.Generator, place: Place, present: list[str], told: list[str]) -> str:
    """The caption: what is told, in any order; sometimes what is not there, or something that is no label."""

    def pick(choices: tuple[str, ...] | list[str]) -> str:
        return choices[rng.integers(len(choices))]

    names = [pick(THINGS[told[i]].words.split("|")) for i in rng.permutation(len(told))]
    things = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    caption = pick(TEMPLATES if told else NOTHING_TOLD).format(things=things, place=pick(place.words.split("|")))
    if rng.random() < 0.1:
        other = pick([label for label in THINGS if label not in present])
        caption += ", " + pick(ASIDES).format(other=other)
    return caption[0].upper() + caption[1:] + pick(["", "."])
