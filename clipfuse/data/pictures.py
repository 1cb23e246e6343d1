"""From a picture's file to RGB pixels, for every encoder alike."""

from __future__ import annotations

import functools
import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

DECODER = "rgb-1"
"""Name of this way of decoding; part of every image encoder's fingerprint. Change it when pixels change."""

MAX_PIXELS = 100_000_000
MAX_RATIO = 1_000
"""Long side to short side: some encoders first make the short side 224 or more pixels."""
_ORIENTATION = 0x0112
_BACKGROUND = (255, 255, 255)
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")  # a JPEG may hold several pictures (MPO)


class PictureError(Exception):
    """A picture that can't be decoded; the text is the reason that the ledger shows."""


def decode_picture(data: bytes) -> Image.Image:
    """An RGB picture as a person would see it.

    EXIF orientation is applied, transparency is laid on white, 16-bit greys are scaled, palettes are converted before
    anything resizes them, and the first frame of an animation is taken.

    Raises:
        PictureError: empty, truncated, not a picture, an unusual format, more than 100 million pixels, or
            one side more than 1,000 times the other.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("the file is empty")
    _silence_pillow()
    try:
        picture: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise PictureError(f"{picture.width} × {picture.height} pixels are more than {MAX_PIXELS:,}")
        if max(picture.size) > MAX_RATIO * min(picture.size):
            raise PictureError(f"{picture.width} × {picture.height} pixels are a line, not a picture")
        picture.load()
        return _to_rgb(_upright(picture))
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"more than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise PictureError("not a picture of a known format") from error
    except Exception as error:  # on mangled files Pillow's parsers raise nearly anything
        raise PictureError(f"can't be decoded ({error or type(error).__name__})") from error


@functools.cache
def _silence_pillow() -> None:
    """Once and for good: ``warnings.catch_warnings`` is not safe in threads, and pictures are decoded in several.

    What Pillow warns of is either refused here (very many pixels) or a flaw in tags that nobody reads.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; damaged EXIF says nothing."""
    from PIL import Image

    try:
        orientation = picture.getexif().get(_ORIENTATION)
    except Exception:  # see above; viewers show such a picture too
        return picture
    turns = Image.Transpose
    turn = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }.get(orientation if isinstance(orientation, int) else 1)
    if turn is None:
        return picture
    turned = picture.transpose(turn)
    turned.info = picture.info  # transparency
    return turned


def _to_rgb(picture: Image.Image) -> Image.Image:
    from PIL import Image

    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _eight_bit_grey(picture)
    if picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
        with_alpha = picture.convert("RGBA")
        ground = Image.new("RGB", picture.size, _BACKGROUND)
        ground.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return ground
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bit_grey(picture: Image.Image) -> Image.Image:
    """Greys of more than 8 bits scaled to 8, floating-point ones too; nothing is cut off."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(picture).astype(np.float64), posinf=0, neginf=0)
    top = values.max(initial=0)
    if top > 65535:
        raise PictureError(f"grey values up to {top:.4g}, more than 16 bits")
    if top > 255:
        values = values // 257
    elif picture.mode == "F" and top <= 1:
        values = np.round(values * 255)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
