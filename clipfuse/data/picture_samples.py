"""How a picture's file stores its samples, where Pillow does not say so itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from PIL import ImageFile

_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339  # TIFF tags


class Samples(NamedTuple):
    """Samples as they lie in the file.

    Attributes:
        bits: of one sample.
        unsigned: 32 bits without a sign, which Pillow reads as if they had one.
        white_is_zero: so says a TIFF; Pillow minds it up to 8 bits.
        readable: False for planes that Pillow reads as if they had 8 bits and 0 were black, and says nothing.
    """

    bits: int = 8
    unsigned: bool = False
    white_is_zero: bool = False
    readable: bool = True

    def to_eight_bits(self, value: int) -> int:
        """A sample's value as Pillow scales it."""
        return value >> 8 if self.bits == 16 else value * 255 // (2**self.bits - 1)


def read_samples(file: ImageFile.ImageFile) -> Samples:
    """From the header of a picture that is open and not loaded yet."""
    if not file.tile:
        return Samples()
    codec, _, _, layout = file.tile[0]
    if file.format == "PNG":
        _, _, bits = str(layout).rstrip("B").partition(";")  # "RGB;16B"
        return Samples(int(bits) if bits.isdigit() else 8)
    if file.format == "PPM" and isinstance(layout, tuple) and codec.startswith("ppm"):
        return Samples(16 if int(str(layout[1])) > 255 else 8)  # its greatest value
    if file.format == "PPM":
        return Samples(16 if file.mode == "I" else 8)
    if file.format != "TIFF":
        return Samples()
    bits = max(_tag(file, _BITS, (1,)))
    white_is_zero = _tag(file, _PHOTOMETRIC, 0) == 0
    planes = codec == "raw" and _tag(file, _PLANES, 1) == 2
    return Samples(
        bits,
        unsigned=bits == 32 and max(_tag(file, _SAMPLE_FORMAT, (1,))) == 1,
        white_is_zero=white_is_zero,
        readable=not planes or (bits == 8 and not white_is_zero),
    )


def _tag(file: ImageFile.ImageFile, tag: int, otherwise: Any) -> Any:
    return file.tag_v2.get(tag, otherwise)  # type: ignore[attr-defined]
