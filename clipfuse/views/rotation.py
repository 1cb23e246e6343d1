"""A picture held slightly askew."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipfuse.encoders import Modality
from clipfuse.views.view import random_numbers

_TILE = 1024  # pixels, each way
_MARGIN = 3  # pixels around a tile that bicubic interpolation reads


@dataclass(frozen=True)
class Rotation:
    """The picture turned about its centre by an angle drawn uniformly from ± ``degrees``, bicubic, in the same size.

    What comes in at the corners is the picture mirrored at its edges. Black triangles would be a mark that no photo
    has; the largest upright rectangle within the turned picture would lose much of it (a third of the area of a 3:2
    photo at 10°, nearly all of a panorama) and turn the view into a zoom.
    """

    degrees: float
    modality: ClassVar[Modality] = "image"

    @property
    def name(self) -> str:
        """ "rotate-10"."""
        return f"rotate-{self.degrees:g}"

    def settings(self) -> str:
        """See :class:`clipfuse.views.View`."""
        return f"rotate version=1 degrees={float(self.degrees)!r} resample=bicubic corners=mirrored"

    def apply(self, item: Image.Image, digest: bytes) -> Image.Image:
        """A picture of the same size."""
        draw = float(random_numbers(self.settings(), digest).random())
        return _rotate(item, math.radians(self.degrees * (2 * draw - 1)))


def _rotate(picture: Image.Image, angle: float) -> Image.Image:
    """By tiles, each from the part of the mirrored plane below it: a long panorama needs no square canvas."""
    pixels = np.asarray(picture)
    turned = Image.new(picture.mode, picture.size)
    for top in range(0, picture.height, _TILE):
        for left in range(0, picture.width, _TILE):
            size = (min(_TILE, picture.width - left), min(_TILE, picture.height - top))
            turned.paste(_tile(pixels, left, top, size, angle), (left, top))
    return turned


def _tile(pixels: NDArray[np.uint8], left: int, top: int, size: tuple[int, int], angle: float) -> Image.Image:
    height, width = pixels.shape[:2]
    cos, sin = math.cos(angle), math.sin(angle)
    # a point (x, y) of the result comes from (cos·x + sin·y + x0, cos·y - sin·x + y0)
    x0 = width / 2 - cos * width / 2 - sin * height / 2
    y0 = height / 2 + sin * width / 2 - cos * height / 2
    corners = [(x, y) for x in (left, left + size[0]) for y in (top, top + size[1])]
    from_x = [cos * x + sin * y + x0 for x, y in corners]
    from_y = [cos * y - sin * x + y0 for x, y in corners]
    columns = np.arange(math.floor(min(from_x)) - _MARGIN, math.ceil(max(from_x)) + _MARGIN)
    rows = np.arange(math.floor(min(from_y)) - _MARGIN, math.ceil(max(from_y)) + _MARGIN)
    source = Image.fromarray(pixels[_mirrored(rows, height)][:, _mirrored(columns, width)])
    shift_x = cos * left + sin * top + x0 - int(columns[0])
    shift_y = cos * top - sin * left + y0 - int(rows[0])
    turn = (cos, sin, shift_x, -sin, cos, shift_y)
    return source.transform(size, Image.Transform.AFFINE, turn, Image.Resampling.BICUBIC)


def _mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Where each of ``places`` falls in 0 … length - 1 when the plane is mirrored at both ends, again and again."""
    folded = places % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)
