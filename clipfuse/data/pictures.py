"""From a picture's file to RGB pixels, for every encoder alike; what was done on the way is told."""

from __future__ import annotations

import functools
import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from clipfuse.data.picture_samples import Samples, read_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image, ImageFile

DECODER = "rgb-2"
"""Name of this way of decoding; part of every image encoder's fingerprint. Change it when pixels change."""

MAX_PIXELS = 100_000_000
MAX_RATIO = 1_000
"""Long side to short side: some encoders first make the short side 224 or more pixels."""

TURNED = "turned as their EXIF says"
ON_WHITE = "laid on white where transparent"
FROM_PALETTE = "converted from a palette"
FROM_CMYK = "converted from CMYK"
FROM_YCBCR = "converted from YCbCr"
FROM_LAB = "converted from Lab"
FROM_16_BITS = "scaled from 16 bits"
FROM_12_BITS = "scaled from 12 bits"
AS_8_BITS = "taken as 8 bits though stored in more"
FROM_FLOAT = "converted from floating point"
DARKENED = "made black where negative or not a number"
FIRST_FRAME = "cut to their first frame"

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")  # a JPEG may hold several pictures (MPO)
_COLOURS = {"P": FROM_PALETTE, "PA": FROM_PALETTE, "CMYK": FROM_CMYK, "YCbCr": FROM_YCBCR, "LAB": FROM_LAB}
_BACKGROUND = (255, 255, 255)
_STRIP = 1 << 16  # pixels that numpy has in hand at once: a processor's cache holds them
_ORIENTATION = 0x0112


class PictureError(Exception):
    """A picture that can't be decoded; the text is the reason that the ledger shows."""


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        image: RGB, 8 bits.
        treatments: what was done to it that changes what is seen; each reads well after "12 pictures".
    """

    image: Image.Image
    treatments: tuple[str, ...]


def decode_picture(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """An RGB picture as a person would see it.

    EXIF orientation is applied, transparency is laid on white, more than 8 bits are scaled to 8, palettes are converted
    before anything resizes them, and the first frame of an animation (the first page, the first picture of an MPO) is
    taken. Colour profiles are ignored, as they were when the encoders were trained.

    Raises:
        MemoryError: the machine has none left.
        PictureError: empty, truncated, not a picture, an unusual format, more than ``max_pixels`` pixels (at most 100
            million), or one side more than 1,000 times the other.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("the file is empty")
    _silence_pillow()
    try:
        return _decode(data, min(max_pixels, MAX_PIXELS))
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"more than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise PictureError("not a picture of a known format") from error
    except MemoryError as error:
        if not _memory_left():
            raise  # the machine's trouble and not the picture's
        raise PictureError("can't be decoded (it needs too much memory)") from error
    except Exception as error:  # on mangled files Pillow's parsers raise nearly anything
        raise PictureError(f"can't be decoded ({error or type(error).__name__})") from error


def _memory_left() -> bool:
    """Whether there is room for a picture of ordinary claims, so that one that found none claimed too much."""
    try:
        bytearray(4 * MAX_PIXELS)
    except MemoryError:
        return False
    return True


@functools.cache
def _silence_pillow() -> None:
    """Once and for good: ``warnings.catch_warnings`` is not safe in threads, and pictures are decoded in several.

    What Pillow warns of is either refused here (very many pixels) or a flaw in tags that nobody reads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise PictureError(f"{width} × {height} pixels are more than {max_pixels:,}")
    if max(size) > MAX_RATIO * min(size):
        raise PictureError(f"{width} × {height} pixels are a line, not a picture")


def _webp_size(data: bytes) -> tuple[int, int]:
    """What a WebP's header claims, (1, 1) for other files: Pillow allocates all of it, twice, before it says so."""
    kind, head = data[12:16], data[20:30]
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(head) < 10:
        return 1, 1
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        both = int.from_bytes(head[1:5], "little")
        return 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    return max(1, int.from_bytes(head[6:8], "little") & 0x3FFF), max(1, int.from_bytes(head[8:], "little") & 0x3FFF)


def _is_animated(picture: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether there is a second frame; it is not decoded, and further ones are not looked for."""
    from PIL import Image

    if picture.format == "GIF":  # it looks for the second frame, and a damaged one must not harm the first
        try:
            return bool(Image.open(io.BytesIO(data), formats=("GIF",)).is_animated)  # type: ignore[attr-defined]
        except Exception:
            return False
    # the other pictures of an MPO are previews that most telephones write: no word about them
    return picture.format != "MPO" and bool(getattr(picture, "is_animated", False))


def _decode(data: bytes, max_pixels: int) -> Picture:
    """Each step lets go of the picture before it: one of 100 million pixels has 400 MB."""
    from PIL import Image

    _check_size(_webp_size(data), max_pixels)
    picture: Image.Image = (file := Image.open(io.BytesIO(data), formats=_FORMATS))
    _check_size(file.size, max_pixels)
    treatments = [FIRST_FRAME] if _is_animated(file, data) else []
    samples = read_samples(file)
    turn = _turn(file) if file.format == "TIFF" else None  # Pillow turns it while it loads it, and forgets that it did
    del file
    if not samples.readable:
        raise PictureError("a TIFF with separate planes that can't be read")
    picture.load()
    if picture.format == "PNG":
        _check_sums(data)
    turn_left = _turn(picture)  # a PNG is read to its end for this: it must be loaded
    if picture.mode in {"P", "PA"} and picture.palette is None:
        raise PictureError("it has no palette")
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _eight_bit_grey(picture, samples, treatments)
    elif samples.bits > 8:
        treatments.append(FROM_16_BITS)  # by Pillow
    if picture.mode in _COLOURS:
        treatments.append(_COLOURS[picture.mode])
    if picture.mode in {"RGBA", "LA", "La", "PA"} or "transparency" in picture.info:
        picture = _with_alpha(picture, samples)
        picture = _on_white(picture, treatments)
    elif picture.mode != "RGB":
        picture = picture.convert("RGB")
    if turn_left is not None:
        picture = picture.transpose(turn_left)
    if turn is not None or turn_left is not None:
        treatments.append(TURNED)
    return Picture(picture, tuple(treatments))


def _check_sums(data: bytes) -> None:
    """Of a PNG's pixels. Pillow leaves them out, and damaged pixels may be unpacked without complaint."""
    start = 8
    while (kind := data[start + 4 : start + 8]) not in {b"IEND", b""}:
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        found = zlib.crc32(memoryview(data)[start + 4 : end])
        if kind == b"IDAT" and found != int.from_bytes(data[end : end + 4], "big"):
            raise PictureError("a damaged PNG (a checksum is wrong)")
        start = end + 4


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """What its EXIF orientation asks for; damaged EXIF asks for nothing."""
    from PIL import Image

    try:
        orientation = picture.getexif().get(_ORIENTATION)
    except Exception:  # viewers show such a picture too
        return None
    turns = Image.Transpose
    return {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(orientation if isinstance(orientation, int) else 1)


def _with_alpha(picture: Image.Image, samples: Samples) -> Image.Image:
    seen_through = picture.info.get("transparency")  # as the file's samples are; Pillow compares its own of 8 bits
    if picture.mode == "RGB" and isinstance(seen_through, tuple) and samples.bits == 16:
        picture.info["transparency"] = tuple(map(samples.to_eight_bits, seen_through))
    elif picture.mode == "L" and isinstance(seen_through, int) and samples.bits < 8:
        picture.info["transparency"] = samples.to_eight_bits(seen_through)
    if picture.mode == "La":
        picture = picture.convert("LA")
    return picture if picture.mode == "RGBA" else picture.convert("RGBA")


def _on_white(picture: Image.Image, treatments: list[str]) -> Image.Image:
    from PIL import Image

    if picture.getchannel("A").getextrema()[0] == 255:
        return picture.convert("RGB")
    treatments.append(ON_WHITE)
    ground = Image.new("RGB", picture.size, _BACKGROUND)
    ground.paste(picture, mask=picture)
    return ground


def _eight_bit_grey(picture: Image.Image, samples: Samples, treatments: list[str]) -> Image.Image:
    """Greys of more than 8 bits scaled to 8, floating-point ones too; nothing bright is cut off."""
    import numpy as np
    from PIL import Image

    top, darkened = _range(picture, samples)
    if top > 65535:
        raise PictureError(f"grey values up to {top:.4g}, more than 16 bits")
    is_float, seen_through, see_through = picture.mode == "F", picture.info.get("transparency"), False
    grey = Image.new("L", picture.size)
    for row, values in _strips(picture, samples):
        found = np.nan_to_num(values, posinf=0, neginf=0) if is_float else values
        if top > 255:
            found = np.floor(found / 257) if is_float else found // 257
        elif is_float and top <= 1:
            found = np.round(found * 255)
        strip = np.clip(found, 0, 255).astype(np.uint8)
        if samples.white_is_zero and not is_float:
            strip = 255 - strip
        if seen_through is not None:
            strip[values == seen_through] = 255
            see_through = see_through or bool((values == seen_through).any())
        grey.paste(Image.fromarray(strip), (0, row))
    if is_float:
        treatments.append(FROM_FLOAT)
    elif top > 255:
        treatments.append(FROM_12_BITS if samples.bits == 12 else FROM_16_BITS)
    else:
        treatments.append(AS_8_BITS)
    treatments += [DARKENED] * darkened + [ON_WHITE] * see_through
    return grey


def _range(picture: Image.Image, samples: Samples) -> tuple[float, bool]:
    """The greatest value, and whether there are some that can only be black."""
    import numpy as np

    top, darkened = 0.0, False
    for _, values in _strips(picture, samples):
        finite = np.nan_to_num(values, posinf=0, neginf=-1)
        top = max(top, float(finite.max(initial=0)))
        darkened = darkened or bool(finite.min(initial=0) < 0) or not np.isfinite(values).all()
    return top, darkened


def _strips(picture: Image.Image, samples: Samples) -> Iterator[tuple[int, NDArray[Any]]]:
    """The first row of each strip, and its values (rows, width), float64 or int64: a whole picture's would take
    8 bytes a pixel."""
    import numpy as np

    rows = max(1, _STRIP // picture.width)
    for row in range(0, picture.height, rows):
        strip = picture.crop((0, row, picture.width, min(row + rows, picture.height)))
        values: NDArray[Any] = np.asarray(strip).astype(np.float64 if picture.mode == "F" else np.int64)
        if samples.unsigned and picture.mode == "I":
            values[values < 0] += 2**32
        if samples.bits == 12:
            values = values * 16 + values // 256  # 4095 is 65535
        yield row, values
