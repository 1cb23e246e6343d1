"""Rows as a program gives them: pictures, captions and numbers in lists of one length."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipfuse.data.dataset import Part
from clipfuse.data.decode import clean
from clipfuse.data.pictures import PictureError
from clipfuse.live import PictureFile

Picture = str | PathLike[str] | bytes | Image.Image | None
"""A picture's path, its file's content, or what PIL opened; None where a row has none."""
Numbers = Mapping[str, Sequence[float | None]]
"""Column -> a number a row; None or NaN where a row has none."""

_IN_PNG = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


@dataclass(frozen=True)
class GivenRows:
    """All that has a value per row has the same length.

    Attributes:
        pictures: None where a row has none.
        captions: never blank; None where a row has none.
        number_names: the columns of ``numbers``.
        numbers: (rows, columns) float64, finite, or NaN where a row has none.
        problems: one a row: "numbers" -> what is no number.
    """

    pictures: Sequence[PictureFile | None]
    captions: Sequence[str | None]
    number_names: tuple[str, ...]
    numbers: NDArray[np.float64]
    problems: tuple[Mapping[Part, str], ...]

    def __len__(self) -> int:
        return len(self.captions)

    @classmethod
    def of(
        cls, images: Sequence[Picture] | None, captions: Sequence[str | None] | None, numbers: Numbers | None
    ) -> GivenRows:
        """See :meth:`clipfuse.loaded_run.LoadedRun.predict`. Raises TypeError, ValueError."""
        for name, given in (("images", images), ("captions", captions)):
            if isinstance(given, str | bytes | PathLike | Image.Image):
                raise TypeError(f"{name} should be a list with one a row, not {type(given).__name__}")
        sizes = {
            **({"images": len(images)} if images is not None else {}),
            **({"captions": len(captions)} if captions is not None else {}),
            **{f"numbers[{name!r}]": len(values) for name, values in (numbers or {}).items()},
        }
        if not sizes:
            raise ValueError("nothing to predict is given: images, captions or numbers")
        if len(set(sizes.values())) > 1:
            raise ValueError(f"rows differ in number: {', '.join(f'{name} {n}' for name, n in sizes.items())}")
        rows = next(iter(sizes.values()))
        values, problems = _numbers(numbers or {}, rows)
        return cls(
            [_picture(one) for one in images] if images is not None else [None] * rows,
            [_caption(one) for one in captions] if captions is not None else [None] * rows,
            tuple(numbers or ()),
            values,
            problems,
        )


@dataclass(frozen=True)
class _OnDisk:
    path: Path

    def read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except ValueError as error:  # a zero byte in its name
            raise PictureError("can't be read (not a file's name)") from error


@dataclass(frozen=True)
class _InMemory:
    data: bytes

    def read(self) -> bytes:
        return self.data


@dataclass(frozen=True)
class _Opened:
    image: Image.Image

    def read(self) -> bytes:
        """As a file without loss, so that it is treated as one from disk is: orientation, transparency, depth."""
        out = io.BytesIO()
        try:
            exif = self.image.getexif()
            if self.image.mode in _IN_PNG:
                self.image.save(out, "PNG", compress_level=1, exif=exif)
            else:
                self.image.save(out, "TIFF", exif=exif)
        except MemoryError:
            raise
        except Exception as error:  # a file that PIL opened and can't decode; each format has its own
            raise PictureError(f"can't be decoded ({error or type(error).__name__})") from error
        return out.getvalue()


def _picture(given: Picture) -> PictureFile | None:
    if given is None:
        return None
    if isinstance(given, bytes | bytearray | memoryview):
        return _InMemory(bytes(given))
    if isinstance(given, Image.Image):
        return _Opened(given)
    if isinstance(given, str | PathLike):
        return _OnDisk(Path(given))
    raise TypeError(f"a picture should be a path, bytes or a PIL image, not {type(given).__name__}")


def _caption(given: str | None) -> str | None:
    if given is None or given != given:  # NaN: what data frames have in an empty cell
        return None
    if not isinstance(given, str):
        raise TypeError(f"a caption should be a string, not {type(given).__name__}")
    return clean(given) if given.strip() else None


def _numbers(given: Numbers, rows: int) -> tuple[NDArray[np.float64], tuple[Mapping[Part, str], ...]]:
    values = np.full((rows, len(given)), np.nan)
    wrong: list[list[str]] = [[] for _ in range(rows)]
    for place, (name, column) in enumerate(given.items()):
        for row, cell in enumerate(column):
            if cell is None:
                continue
            value = _number(cell)
            if value is None:
                wrong[row].append(f"{cell!r:.60} in {name!r} is not a finite number")
            else:
                values[row, place] = value
    return values, tuple({"numbers": "; ".join(reasons)} if reasons else {} for reasons in wrong)


def _number(cell: float) -> float | None:
    """None where it is infinite, too large for a float, or nothing that counts as a number; NaN stays."""
    try:
        value = float(cell) if not isinstance(cell, str | bytes | bool) else math.inf
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isinf(value) else value
