"""A picture as in a mirror."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from clipfuse.encoders import Modality


@dataclass(frozen=True)
class Flip:
    """Left and right change places. Nothing of it is random."""

    modality: ClassVar[Modality] = "image"
    name: ClassVar[str] = "flip"

    def settings(self) -> str:
        """See :class:`clipfuse.views.View`."""
        return "flip version=1 axis=horizontal"

    def apply(self, item: Image.Image, digest: bytes) -> Image.Image:
        """A picture of the same size."""
        return item.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
