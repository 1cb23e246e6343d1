"""The pictures and captions of the few rows that a report shows."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from clipfuse.data.dataset import Dataset, ImageRef, ImageSource
from clipfuse.data.pictures import PictureError, decode_picture
from clipfuse.errors import ImageSourceError
from clipfuse_cache import Samples
from clipfuse_cache.columns import places_of
from clipfuse_cache.fingerprint import NO_DIGEST, input_digest

SIDE = 192
"""Pixels of a thumbnail's longer side."""
_QUALITY = 72


@dataclass(frozen=True)
class RowInputs:
    """Where pictures and captions are.

    Attributes:
        samples: the cache's, with captions and the digest of each picture; None where there is no cache.
        dataset: the tables that the rows came from; None where they are not known.
        images: pictures that are called by the rows' ids, where no table names them.
    """

    samples: Samples | None = None
    dataset: Dataset | None = None
    images: ImageSource | None = None

    def caption(self, name: str) -> str | None:
        """A row's caption; None where it has none, or it is not to be found."""
        for known in (self.samples, self.dataset):
            place = -1 if known is None else _place(known.ids, name)
            if known is not None and place >= 0:
                return known.captions[place]
        return None

    def thumbnail(self, name: str) -> tuple[str, str]:
        """A row's picture as a data URI, or "" and why there is none."""
        digest = self._digest(name)
        if digest == NO_DIGEST:
            return "", "no picture"
        picture = self._picture(name)
        if picture is None:
            where = (
                "no table or pictures known" if self.dataset is None and self.images is None else "picture not found"
            )
            return "", where
        try:
            data = picture.read()
            if digest is not None and input_digest(data) != digest:
                return "", "another picture than the one that was encoded"
            return _thumbnail(data), ""
        except (OSError, PictureError) as error:
            return "", f"picture can't be shown ({error})"

    def _digest(self, name: str) -> bytes | None:
        place = -1 if self.samples is None else _place(self.samples.ids, name)
        return None if self.samples is None or place < 0 else self.samples.image_digests[place].tobytes()

    def _picture(self, name: str) -> ImageRef | None:
        place = -1 if self.dataset is None else _place(self.dataset.ids, name)
        if self.dataset is not None and place >= 0:
            return self.dataset.images[place]
        try:
            key = None if self.images is None else self.images.find(name)
        except ImageSourceError:
            return None
        return None if self.images is None or key is None else ImageRef(self.images, key)


def _place(ids: object, name: str) -> int:
    return int(places_of(ids).find([name])[0])  # type: ignore[arg-type]


def _thumbnail(data: bytes) -> str:
    picture = decode_picture(data).image
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY)  # anew from the pixels: nothing else of the file comes along
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
