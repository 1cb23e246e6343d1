"""Files that no kind person wrote, each with what must come of it. Run as a program, all of them are decoded with
hardly more memory than the largest picture that is allowed needs, and a line is printed for each that went wrong."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from clipfuse.data import pictures as told
from clipfuse.data.pictures import PictureError, decode_picture

MEMORY = 1_100_000_000
"""Bytes above what the interpreter has already; 100 million pixels as RGBA and as RGB are 800 MB. A WebP of that size
is not among them: libwebp itself takes twice as much."""
WITHOUT = -1
UNKNOWN = "not a picture of a known format"
RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


class Seen(NamedTuple):
    """What a file decodes to: its size, its first pixels (to within ``off``), what was done to it."""

    size: tuple[int, int]
    first: list[tuple[int, int, int]]
    treatments: tuple[str, ...] = ()
    off: int = 0


class Hostile(NamedTuple):
    """``expected``: what is seen, or the reason (a pattern) why nothing is. ``large``: takes seconds."""

    name: str
    make: Callable[[], bytes]
    expected: Seen | str
    large: bool = False


def complaint(case: Hostile) -> str | None:
    """What is wrong with what comes of it, None where all is right."""
    try:
        image, treatments = decode_picture(case.make())
    except PictureError as error:
        if isinstance(case.expected, str) and re.search(case.expected, str(error)):
            return None
        return f"{case.name}: {error}"
    first = [image.getpixel((x, 0)) for x in range(min(image.width, 3))]
    if isinstance(case.expected, str):
        return f"{case.name}: {image.size} {first} {treatments}"
    size, expected, phrases, off = case.expected
    near = np.abs(np.subtract(first[: len(expected)], expected)).max() <= off
    if image.mode == "RGB" and image.size == size and near and treatments == phrases:
        return None
    return f"{case.name}: {image.mode} {image.size} {first} {treatments}"


def save(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def red(kind: str, **options: object) -> bytes:
    return save(Image.new("RGB", (8, 8), RED), kind, **options)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(size: tuple[int, int], depth: int, colours: int, pixels: bytes, *before: tuple[bytes, bytes]) -> bytes:
    """``pixels``: compressed rows, each with its filter's byte, or a single such row as it is."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colours, 0, 0, 0))
    body = pixels if pixels[:1] == b"\x78" else zlib.compress(pixels)
    parts = [chunk(*each) for each in before]
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(parts) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(
    width: int, height: int, pixels: bytes, bits: list[int], photometric: int, strips: int = 1, **tags: int
) -> bytes:
    """Little-endian, not compressed; each of ``strips`` is the same ``pixels``. ``tags``: t284=2, t273=WITHOUT."""
    entries = {256: [width], 257: [height], 258: bits, 259: [1], 262: [photometric], 277: [len(bits)]}
    entries |= {273: [8] * strips, 278: [-(-height // strips)], 279: [len(pixels)] * strips}
    entries |= {int(name[1:]): [value] for name, value in tags.items()}
    entries = {tag: values for tag, values in entries.items() if values != [WITHOUT]}
    start = 8 + len(pixels)
    far, body = b"", struct.pack("<H", len(entries))
    for tag, values in sorted(entries.items()):
        data = struct.pack(f"<{len(values)}I", *values)
        where = data if len(data) == 4 else struct.pack("<I", start + 6 + 12 * len(entries) + len(far))
        far += data if len(data) > 4 else b""
        body += struct.pack("<HHI", tag, 4, len(values)) + where
    return b"II*\0" + struct.pack("<I", start) + pixels + body + bytes(4) + far


def bad_tag(tag: int, kind: int, count: int) -> bytes:
    """A TIFF one of whose tags claims ``count`` values at its end."""
    data = bytearray(tiff(2, 1, b"\x05\x07", [8], 1))
    place = data.index(struct.pack("<HHI", tag, 4, 1), 10)
    data[place : place + 12] = struct.pack("<HHII", tag, kind, count, len(data))
    return bytes(data)


def many_pages(count: int) -> bytes:
    """Each page's directory points at the next one."""
    data = tiff(2, 1, b"\x05\x07", [8], 1)
    directory = data[10:-4]
    parts = [directory + struct.pack("<I", 10 + (n + 1) * (len(directory) + 4)) for n in range(count - 1)]
    return data[:10] + b"".join(parts) + directory + bytes(4)


def page_that_is_its_own_next() -> bytes:
    data = tiff(2, 1, b"\x05\x07", [8], 1)
    return data[:-4] + data[4:8]


def large_png() -> bytes:
    rows, packer = (b"\0" + bytes(40_000)) * 100, zlib.compressobj(1)
    return png((10_000, 10_000), 8, 6, b"".join(packer.compress(rows) for _ in range(100)) + packer.flush())


def patched(data: bytes, marker: bytes, offset: int, value: int) -> bytes:
    place = data.index(marker) + offset
    return data[:place] + bytes([value]) + data[place + 1 :]


def cmyk() -> bytes:
    return save(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)


def bomb(kind: bytes, head: bytes, megabytes: int, count: int = 1) -> bytes:
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()
    return png((1, 1), 8, 2, b"\0\1\2\3", *[(kind, head + body)] * count)


def gif(frames: int) -> bytes:
    """A red picture, and smaller ones after it."""
    data = save(Image.new("P", (2, 2)), "GIF")
    start = data.index(b",")
    frame = data[start:-1]
    return data[:start] + frame * frames + b";"


def gif_frame(size: int, *, screen: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + bytes([*RED, *BLACK])
    return head + b"," + struct.pack("<HHHHB", 0, 0, size, size, 0) + b"\x02\x02\x4c\x01\0;"


def webp_canvas(width: int, height: int) -> bytes:
    body = b"VP8X" + struct.pack("<II", 10, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body += save(Image.new("RGB", (8, 8)), "WEBP", lossless=True)[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def bmp(width: int, height: int, bits: int, compression: int, body: bytes) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 2, 0)
    start = 14 + len(head) + 8
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + bytes(8) + body


def jpeg_comments() -> bytes:
    data = red("JPEG")
    return data[:2] + (b"\xff\xfe\xff\xff" + bytes(65_533)) * 300 + data[2:]


def mpo_of_billions() -> bytes:
    data = save(Image.new("RGB", (8, 8), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    place = data.index(struct.pack("<HHI", 0xB001, 4, 1))
    return data[: place + 8] + struct.pack("<I", 2**31) + data[place + 12 :]


def exif_that_loops() -> bytes:
    """A directory that names itself as the one with the camera's settings, and as the next."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return red("PNG", exif=b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 8))


def late_exif() -> bytes:
    """A PNG that says behind its pixels that they lie on their side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, marker = png((2, 1), 8, 0, b"\0\x07\x05"), chunk(b"IEND", b"")
    return plain.removesuffix(marker) + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + marker


def turned_tiff() -> bytes:
    return tiff(2, 1, b"\x07\x05", [8], 1, t274=6)


FLOATS = struct.pack("<3f", 1.0, float("nan"), -1e30)
SHORTS = struct.pack("<2H", 65_535, 0)
GREY_16 = (b"tRNS", struct.pack(">H", 0x1234))
RGB_16 = (b"tRNS", struct.pack(">3H", 0x1234, 0x1234, 0x1234))
GREY_7 = [(7, 7, 7)]
ON_WHITE, DEEP = (told.ON_WHITE,), (told.FROM_16_BITS,)
TOO_MANY = "pixels are more than|more than 100,000,000"

HOSTILE = [
    # another type than their names say
    Hostile("nothing", bytes, "empty"),
    Hostile("a page that was not found", lambda: b"<!DOCTYPE html><title>404</title>" + bytes(500), UNKNOWN),
    Hostile("svg", lambda: b'<svg><image href="file:///etc/passwd"/></svg>', UNKNOWN),
    Hostile("pdf", lambda: red("PDF"), UNKNOWN),
    Hostile("eps", lambda: red("EPS"), UNKNOWN),
    Hostile("psd", lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(2000), UNKNOWN),
    Hostile("a picture before a zip", lambda: red("PNG") + b"PK\3\4" + bytes(500), Seen((8, 8), [RED])),
    Hostile("a GIF's header before a script", lambda: b"GIF89a/*" + b"*/=1;//" * 30, UNKNOWN),
    # headers that lie
    Hostile("0 × 0", lambda: png((0, 0), 8, 2, b"\0"), UNKNOWN),
    Hostile("0 × 5", lambda: png((0, 5), 8, 2, b"\0"), UNKNOWN),
    Hostile("a PPM of negative size", lambda: b"P6\n-5 -5\n255\n" + bytes(75), UNKNOWN),
    Hostile("a PNG's header", lambda: png((65_535, 65_535), 8, 2, b"\0"), TOO_MANY),
    Hostile("a GIF's frame beyond its screen", lambda: gif_frame(65_535, screen=1), TOO_MANY),
    Hostile("a WebP's canvas", lambda: webp_canvas(12_000, 12_000), TOO_MANY),
    Hostile("a WebP's vast canvas", lambda: webp_canvas(2**24, 2**24), TOO_MANY),
    Hostile("a BMP upside down", lambda: bmp(10_001, -10_000, 24, 0, b""), TOO_MANY),
    Hostile("a TIFF's header", lambda: tiff(2**31, 2**31, b"\0", [8], 1), TOO_MANY),
    Hostile("a line", lambda: png((90_000_000, 1), 8, 2, b"\0"), "are a line"),
    Hostile("an MPO of billions", mpo_of_billions, Seen((8, 8), [RED], off=5)),
    # cut and damaged
    Hostile("half a JPEG", lambda: red("JPEG")[:-40], "can't be decoded"),
    Hostile("half a PNG", lambda: red("PNG")[:-30], "can't be decoded"),
    Hostile("packed pixels", lambda: patched(red("PNG"), b"IDAT", 6, 7), "can't be decoded"),
    Hostile("a checksum", lambda: patched(red("PNG"), b"IEND", -5, 7), "a checksum is wrong"),
    Hostile("a TIFF's strip beyond its end", lambda: tiff(200, 200, b"\0", [8], 1), "can't be decoded"),
    Hostile("a GIF's second frame", lambda: gif(1)[:-1] + b",\1", Seen((2, 2), [BLACK], (told.FROM_PALETTE,))),
    # what surrounds the pixels
    Hostile("zTXt of 20 MB", lambda: bomb(b"zTXt", b"a\0\0", 20), "too large"),
    Hostile("iCCP of 20 MB", lambda: bomb(b"iCCP", b"a\0\0", 20), "too large"),
    Hostile("70 zTXt of 1 MB", lambda: bomb(b"zTXt", b"a\0\0", 1, 70), "too large|text"),
    Hostile("comments of 20 MB", jpeg_comments, Seen((8, 8), [RED], off=5)),
    Hostile("EXIF that names itself", exif_that_loops, Seen((8, 8), [RED])),
    Hostile("EXIF behind the pixels", late_exif, Seen((1, 2), GREY_7, (told.TURNED,))),
    Hostile("a turned TIFF", turned_tiff, Seen((1, 2), GREY_7, (told.TURNED,))),
    # many frames
    Hostile("5,000 frames", lambda: gif(5000), Seen((2, 2), [BLACK], (told.FIRST_FRAME, told.FROM_PALETTE))),
    Hostile(
        "billions of frames in a PNG",
        lambda: png((1, 1), 8, 2, b"\0\1\2\3", (b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        Seen((1, 1), [(1, 2, 3)], (told.FIRST_FRAME,)),
    ),
    Hostile("3,000 pages", lambda: many_pages(3000), Seen((2, 1), [(5, 5, 5)], (told.FIRST_FRAME,))),
    Hostile("a page that is its own next", page_that_is_its_own_next, Seen((2, 1), [(5, 5, 5)])),
    # TIFFs
    Hostile("billions of bits", lambda: bad_tag(258, 3, 2**32 - 1), Seen((2, 1), [BLACK, BLACK])),
    Hostile("billions of strips", lambda: bad_tag(273, 4, 2**32 - 1), "can't be decoded|known"),
    Hostile("60,000 samples", lambda: tiff(2, 1, b"\0", [8], 1, t277=60_000), UNKNOWN),
    Hostile(
        "tiles of 2^31",
        lambda: tiff(9, 9, bytes(99), [8], 1, t273=WITHOUT, t322=2**31, t323=2**31, t324=8),
        "can't be decoded",
    ),
    Hostile(
        "deflated tiles of 2^31",
        lambda: tiff(9, 9, bytes(99), [8], 1, t259=8, t273=WITHOUT, t322=2**31, t323=2**31, t324=8),
        "decoded",
    ),
    Hostile("16 bits in planes", lambda: tiff(2, 1, bytes(4), [16] * 3, 2, 3, t284=2), "separate planes"),
    Hostile("32 bits, no sign", lambda: tiff(2, 1, b"\xff" * 4 + bytes(4), [32], 1), "more than 16 bits"),
    Hostile("12 bits", lambda: tiff(2, 1, b"\xff\xf0\0", [12], 1), Seen((2, 1), [WHITE, BLACK], (told.FROM_12_BITS,))),
    Hostile("white is 0", lambda: tiff(2, 1, SHORTS, [16], 0), Seen((2, 1), [BLACK, WHITE], DEEP)),
    Hostile(
        "not a number",
        lambda: tiff(3, 1, FLOATS, [32], 1, t339=3),
        Seen((3, 1), [WHITE, BLACK, BLACK], (told.FROM_FLOAT, told.DARKENED)),
    ),
    Hostile(
        "grey times alpha", lambda: tiff(1, 1, b"\x64\x80", [8, 8], 1, t338=1), Seen((1, 1), [(227,) * 3], ON_WHITE)
    ),
    # transparency in all its ways
    Hostile("1 bit", lambda: png((2, 1), 1, 0, b"\0\x80", (b"tRNS", b"\0\0")), Seen((2, 1), [WHITE, WHITE], ON_WHITE)),
    Hostile("4 bits", lambda: png((2, 1), 4, 0, b"\0\xf1", (b"tRNS", b"\0\1")), Seen((2, 1), [WHITE, WHITE], ON_WHITE)),
    Hostile(
        "16-bit grey",
        lambda: png((2, 1), 16, 0, b"\0\x12\x34\xff\0", GREY_16),
        Seen((2, 1), [WHITE, (254,) * 3], DEEP + ON_WHITE),
    ),
    Hostile(
        "16-bit colours",
        lambda: png((2, 1), 16, 2, b"\0" + b"\x12\x34" * 3 + b"\x34\x12" * 3, RGB_16),
        Seen((2, 1), [WHITE, (0x34,) * 3], DEEP + ON_WHITE),
    ),
    Hostile(
        "16-bit alpha",
        lambda: png((2, 1), 16, 6, b"\0" + b"\xff" * 8 + bytes(8)),
        Seen((2, 1), [WHITE, WHITE], DEEP + ON_WHITE),
    ),
    Hostile("an alpha that hides nothing", lambda: save(Image.new("RGBA", (8, 8), RED), "PNG"), Seen((8, 8), [RED])),
    Hostile(
        "a palette too short",
        lambda: png((2, 1), 8, 3, b"\0\0\xff", (b"PLTE", bytes(RED))),
        Seen((2, 1), [RED], (told.FROM_PALETTE,)),
    ),
    Hostile("no palette", lambda: png((2, 1), 8, 3, b"\0\0\xff"), "no palette"),
    Hostile("a PPM's palette", lambda: b"PyP\n2 1\n255\n\3\7", "no palette"),
    Hostile("a WebP", lambda: save(Image.new("RGBA", (8, 8), (*RED, 0)), "WEBP"), Seen((8, 8), [WHITE], ON_WHITE)),
    # JPEGs of printers and doctors
    Hostile("CMYK, inverted", cmyk, Seen((16, 16), [RED], (told.FROM_CMYK,), 5)),
    Hostile("YCCK", lambda: patched(cmyk(), b"Adobe", 11, 2), Seen((16, 16), [(179, 0, 227)], (told.FROM_CMYK,), 5)),
    Hostile("12-bit JPEG", lambda: patched(red("JPEG"), b"\xff\xc0", 4, 12), UNKNOWN),
    Hostile("progressive", lambda: red("JPEG", progressive=True), Seen((8, 8), [RED], off=5)),
    # little text, many pixels
    Hostile(
        "a run-length BMP",
        lambda: bmp(3000, 3000, 8, 1, b"\0\2\xff\xff" * 50 + b"\0\1"),
        Seen((3000, 3000), [BLACK], (told.FROM_PALETTE,)),
    ),
    Hostile("an endless comment", lambda: b"P6 #" + bytes(100_000), UNKNOWN + "|header"),
    Hostile("a long token", lambda: b"P3\n9 9\n255\n" + b"1" * 100_000, "can't be decoded"),
    # as large as is allowed
    Hostile(
        "floats",
        lambda: tiff(10_000, 10_000, struct.pack("<f", 0.5) * 1_000_000, [32], 1, 100, t339=3),
        Seen((10_000, 10_000), [(128,) * 3], (told.FROM_FLOAT,)),
        large=True,
    ),
    Hostile("RGBA", large_png, Seen((10_000, 10_000), [WHITE], ON_WHITE), large=True),
]


def main() -> None:
    """Decode them all with little memory."""
    import resource
    from pathlib import Path

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for case in HOSTILE:
        if wrong := complaint(case):
            print(wrong, flush=True)


if __name__ == "__main__":
    main()
