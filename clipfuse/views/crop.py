"""A part of a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from clipfuse.encoders import Modality
from clipfuse.views.view import random_numbers

AREA = (0.5, 1.0)
"""Share of the picture that a crop keeps."""
ASPECT = (3 / 4, 4 / 3)
"""Width to height of a crop."""
_TRIES = 10


@dataclass(frozen=True)
class Crop:
    """The ``index``-th random crop (1, 2, ...), as Inception was trained with (Szegedy et al., "Going Deeper with
    Convolutions", CVPR 2015, section 6).

    Area uniform in 50 to 100 % of the picture (they took 8 to 100 %: a label's object must still be there), aspect
    log-uniform in 3/4 to 4/3, place uniform. Where ten draws don't fit, as in a panorama, the crop has the picture's
    own aspect. An encoder resizes it afterwards, so the crop isn't.
    """

    index: int
    modality: ClassVar[Modality] = "image"

    @property
    def name(self) -> str:
        """ "crop-1"."""
        return f"crop-{self.index}"

    def settings(self) -> str:
        """See :class:`clipfuse.views.View`."""
        return f"crop version=1 index={self.index} area=0.5-1 aspect=3/4-4/3 tries={_TRIES}"

    def apply(self, item: Image.Image, digest: bytes) -> Image.Image:
        """A picture of 1 to ``item``'s width × 1 to ``item``'s height pixels."""
        draw = random_numbers(self.settings(), digest).random
        for _ in range(_TRIES):
            area = item.width * item.height * (AREA[0] + (AREA[1] - AREA[0]) * draw())
            aspect = math.exp(math.log(ASPECT[0]) + (math.log(ASPECT[1]) - math.log(ASPECT[0])) * draw())
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 1 <= width <= item.width and 1 <= height <= item.height:
                break
        else:
            side = math.sqrt(AREA[0] + (AREA[1] - AREA[0]) * draw())
            width, height = max(1, round(item.width * side)), max(1, round(item.height * side))
        left = int(draw() * (item.width - width + 1))
        top = int(draw() * (item.height - height + 1))
        return item.crop((left, top, left + width, top + height))
