"""Any bytes become RGB pixels as a person would see them, or a reason why not."""

from __future__ import annotations

import contextlib
import functools
import io
import random
import runpy
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from clipfuse.data import pictures as told
from clipfuse.data.pictures import MAX_PIXELS, PictureError, decode_picture
from clipfuse.extract import ExtractOptions, extract
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset
from clipfuse_cache import FeatureCache

# pytest sets the filters back that clipfuse sets once
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:::PIL.{module}") for module in ("Image", "TiffImagePlugin", "JpegImagePlugin")
]

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pixels(data):
    picture = decode_picture(data).image
    assert picture.mode == "RGB"
    return np.asarray(picture)


def colours():
    """4 × 6: a red, a green and a blue corner, and a ramp of greys elsewhere."""
    values = np.repeat(np.arange(24, dtype=np.uint8).reshape(4, 6, 1) * 8 + 20, 3, axis=2)
    values[0, 0], values[0, -1], values[-1, 0] = RED, GREEN, BLUE
    return Image.fromarray(values)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_rgb_as_it_is(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(pixels(save(colours(), kind, **options)), np.asarray(colours()))


def test_jpeg_gif_and_mpo():
    for data in (save(colours().resize((60, 40)), "JPEG", quality=95), save(colours(), "GIF")):
        assert np.abs(pixels(data)[0, 0].astype(int) - RED).max() < 30
    both = save(colours(), "MPO", save_all=True, append_images=[Image.new("RGB", (6, 4))])
    assert pixels(both).shape == (4, 6, 3)
    assert decode_picture(both).treatments == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_greys_and_palettes(mode, kind):
    picture = colours().convert(mode)
    assert np.array_equal(pixels(save(picture, kind)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_other_colour_spaces(mode, kind):
    if mode == "LAB":
        from PIL import ImageCms

        lab = ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(colours(), ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
        if kind == "JPEG":
            pytest.skip("there is no such JPEG")
    else:
        picture = colours().convert(mode)
    data = save(picture.resize((60, 40), Image.Resampling.NEAREST), kind)
    assert Image.open(io.BytesIO(data)).mode in {mode, "RGB"}
    found = pixels(data)
    assert np.abs(found[5, 5].astype(int) - RED).max() < 60
    assert np.abs(found[5, 55].astype(int) - GREEN).max() < 60


def transparent(mode):
    """Left half a colour at full strength, right half a hidden colour that nobody sees."""
    values = np.zeros((2, 8, 4), dtype=np.uint8)
    values[:, :4], values[:, 4:] = (*RED, 255), (*BLUE, 0)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")])
def test_transparency_is_laid_on_white(mode, kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = pixels(save(transparent(mode), kind, **options))
    assert tuple(found[0, 0]) == (RED if mode == "RGBA" else (76, 76, 76))
    assert (found[:, 4:] == 255).all()


def test_half_transparency_is_half_white():
    data = save(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG")
    assert set(pixels(data)[0, 0].tolist()) <= {126, 127, 128}


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palettes(kind):
    picture = Image.new("P", (4, 2))
    picture.putpalette([*BLUE, *RED])
    picture.putpixel((0, 0), 1)
    found = pixels(save(picture, kind, transparency=0))
    assert tuple(found[0, 0]) == RED
    assert (found[1] == 255).all()


def test_palettes_with_an_alpha_for_each_colour():
    picture = Image.new("P", (3, 1))
    picture.putpalette([*BLUE, *RED, *GREEN])
    picture.putdata([0, 1, 2])
    found = pixels(save(picture, "PNG", transparency=bytes([0, 255, 128])))
    assert [tuple(colour) for colour in found[0]] == [WHITE, RED, (127, 255, 127)]


def test_palette_with_alpha_channel():
    picture = transparent("RGBA").convert("PA")
    found = pixels(save(picture, "TIFF"))
    assert Image.open(io.BytesIO(save(picture, "TIFF"))).mode == "PA"
    assert tuple(found[0, 0]) == RED
    assert (found[:, 4:] == 255).all()


def test_one_transparent_colour():
    found = pixels(save(colours(), "PNG", transparency=GREEN))
    assert [tuple(found[0, 0]), tuple(found[0, -1])] == [RED, WHITE]


RAMP = np.linspace(0, 1, 32, dtype=np.float32).reshape(4, 8)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.uint16), "TIFF"),
        ((RAMP * 65535).astype(np.int32), "TIFF"),
        ((RAMP * 255).astype(np.int32), "TIFF"),
        (RAMP, "TIFF"),
        (RAMP * 255, "TIFF"),
        (RAMP * 65535, "TIFF"),
    ],
    ids=["16 bits", "16 bits TIFF", "32 bits", "8 of 32 bits", "float to 1", "float to 255", "float to 65535"],
)
def test_deep_greys_are_scaled_not_cut(values, kind):
    found = pixels(save(Image.fromarray(values), kind))
    assert np.abs(found[..., 0] - RAMP * 255).max() <= 1
    assert (found[..., 0] == found[..., 2]).all()


def test_greys_that_no_scale_is_known_for():
    for values in ((RAMP * 2e9).astype(np.int32), RAMP * 1e9):
        with pytest.raises(PictureError, match="more than 16 bits"):
            decode_picture(save(Image.fromarray(values), "TIFF"))


def test_not_a_number_is_black():
    values = RAMP.copy()
    values[0, :3] = [np.nan, np.inf, -np.inf]
    found = pixels(save(Image.fromarray(values), "TIFF"))
    assert (found[0, :3] == 0).all() and found[-1, -1, 0] == 255


TURNS = [lambda x: x, np.fliplr, lambda x: np.rot90(x, 2), np.flipud]
TURNS += [lambda x: x.swapaxes(0, 1), lambda x: np.rot90(x, 1), lambda x: np.rot90(x, 2).swapaxes(0, 1)]
TURNS += [lambda x: np.rot90(x, 3)]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation, kind):
    """The camera's pixels are stored turned; all are shown upright."""
    upright = np.asarray(colours() if kind != "JPEG" else colours().resize((96, 64), Image.Resampling.NEAREST))
    stored = np.ascontiguousarray(TURNS[orientation - 1](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    found = pixels(save(Image.fromarray(stored), kind, exif=exif, **options))
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).max() <= (60 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(save(colours(), "PNG", exif=exif)), np.asarray(colours()))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"]
)
def test_damaged_exif_is_no_damage_to_the_picture(exif):
    for kind in ("PNG", "JPEG", "WEBP"):
        assert pixels(save(colours(), kind, exif=exif)).shape == (4, 6, 3)


def test_mangled_exif_is_no_damage_to_the_picture():
    """Reading one tag of it is enough; Pillow's own way writes it all again, and fails at some of these."""
    exif, chance = Image.Exif(), random.Random(1)
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x829A: (1, 50)}
    for _ in range(300):
        mangled = bytearray(exif.tobytes())
        for _ in range(3):
            mangled[chance.randrange(6, len(mangled))] = chance.randrange(256)
        assert pixels(save(colours(), "JPEG", exif=bytes(mangled))).shape in {(4, 6, 3), (6, 4, 3)}


def test_transparency_is_kept_through_a_turn():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("P", (4, 2))
    picture.putpalette([*BLUE, *RED])
    picture.putpixel((0, 0), 1)
    found = pixels(save(picture, "PNG", transparency=0, exif=exif))
    assert found.shape == (4, 2, 3)
    assert sorted(map(tuple, found.reshape(-1, 3).tolist())) == sorted([RED, *[WHITE] * 7])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = save(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (pixels(data) == RED).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 1000), (1000, 1), (5, 5000)])
def test_extreme_shapes(width, height):
    assert pixels(save(Image.new("RGB", (width, height), RED), "PNG")).shape == (height, width, 3)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (2, 2001)])
def test_lines_are_refused(size):
    """An encoder that makes the short side 224 would make the other one 1,120,000."""
    with pytest.raises(PictureError, match=f"{size[0]} × {size[1]} pixels are a line"):
        decode_picture(save(Image.new("RGB", size, RED), "PNG"))


NOT_PICTURES = {
    "text": b"this is no picture\n" * 20,
    "html": b"<html><body>404 Not Found</body></html>",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "zeros": bytes(1000),
    "noise": random.Random(0).randbytes(2000),
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_no_picture(name):
    with pytest.raises(PictureError, match="not a picture of a known format"):
        decode_picture(NOT_PICTURES[name])


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "TGA", "PCX", "SGI", "JPEG2000", "DDS", "XBM"])
def test_unusual_formats_are_refused(kind):
    picture = Image.new("1" if kind == "XBM" else "RGB", (32, 32))
    with pytest.raises(PictureError, match="not a picture of a known format"):
        decode_picture(save(picture, kind))


def test_an_empty_file():
    with pytest.raises(PictureError, match="empty"):
        decode_picture(b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF"])
def test_cut_short(kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = save(Image.fromarray(noise), kind)
    for share in (0.05, 0.5, 0.9):
        with pytest.raises(PictureError) as caught:
            decode_picture(data[: int(len(data) * share)])
        assert "0x" not in str(caught.value)  # the reason is kept in the cache: the same in every run


def test_a_jpeg_with_zeroed_bytes_is_a_picture_or_a_reason():
    """Many decode without complaint: what is lost looks grey. Nothing in the file says so."""
    data = bytearray(save(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG"))
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    with contextlib.suppress(PictureError):
        assert pixels(bytes(data)).shape == (64, 64, 3)


def png_header(width, height):
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(body)) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    data = zlib.compress(bytes(100))
    rest = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return b"\x89PNG\r\n\x1a\n" + chunk + rest


def bmp_header(width, height):
    return b"BM" + struct.pack("<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif_header(width, height):
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame + b"\x02\x02\x4c\x01\0;"


@pytest.mark.parametrize("header", [png_header, bmp_header, gif_header])
@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (30_000, 40_000), (65_535, 65_535)])
def test_a_bomb_is_refused_by_its_header(header, width, height, monkeypatch):
    def never(*_):
        raise AssertionError("it was decoded")

    for plugin in (PngImagePlugin.PngImageFile, Image.Image):
        monkeypatch.setattr(plugin, "load", never)
    with pytest.raises(PictureError, match=f"more than {MAX_PIXELS:,}"):
        decode_picture(header(width, height))


def test_a_picture_below_the_cap_makes_no_warning(monkeypatch):
    """Pillow warns from 89 million pixels on; here from 20."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode_picture.__globals__["_silence_pillow"].cache_clear()
        assert decode_picture(save(colours(), "PNG")).image.size == (6, 4)
    assert not seen


def test_threads_leave_the_warning_filters_alone(monkeypatch):
    """Two threads inside Pillow at once, the first to come the first to leave."""
    data, whole = save(colours(), "PNG"), Image.open
    decode_picture(data)
    before = list(warnings.filters)
    second_is_in, first_is_out = threading.Event(), threading.Event()
    started = []

    def slow(*args, **options):
        started.append(threading.get_ident())
        if len(started) == 1:
            assert second_is_in.wait(30)
        else:
            second_is_in.set()
            assert first_is_out.wait(30)
        return whole(*args, **options)

    monkeypatch.setattr(Image, "open", slow)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(decode_picture, data) for _ in range(2)]
        wait(running, return_when=FIRST_COMPLETED)
        first_is_out.set()
        assert [one.result().image.size for one in running] == [(6, 4)] * 2
    assert list(warnings.filters) == before


@functools.cache
def seeds():
    base = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [base.transpose(Image.Transpose.ROTATE_180)]}
    made = [save(base, "JPEG", exif=exif), save(base, "JPEG", progressive=True), save(base, "PNG", exif=exif)]
    made += [save(base.quantize(16), "PNG", transparency=3), save(base.convert("LA"), "PNG"), save(base, "PPM")]
    made += [save(base, "GIF", **frames), save(base, "WEBP", **frames), save(base, "WEBP", exif=exif)]
    made += [save(base, "TIFF", compression=how) for how in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")]
    made += [
        save(base, "BMP"),
        save(base.quantize(16), "BMP"),
        save(base.convert("RGBA"), "BMP"),
        save(base, "MPO", **frames),
    ]
    return made


@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_mutated_files_are_pictures_or_reasons(which, seed):
    chance = random.Random(seed)
    data = bytearray(seeds()[which])
    for _ in range(chance.randint(1, 8)):
        place = chance.random() ** chance.choice([1, 3])  # headers are where parsers stumble
        data[int(place * len(data))] = chance.choice([0, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    kept = chance.uniform(0.3, 1) if chance.random() < 0.3 else 1
    try:
        picture = decode_picture(bytes(data[: int(kept * len(data))])).image
    except PictureError as error:
        assert str(error) and "0x" not in str(error)
    else:
        assert picture.mode == "RGB"
        assert picture.width * picture.height <= MAX_PIXELS


HOSTILE = Path(__file__).with_name("hostile_pictures.py")


def test_hostile_pictures_are_seen_or_refused():
    corpus = runpy.run_path(str(HOSTILE))
    cases = [case for case in corpus["HOSTILE"] if not case.large]
    assert len(cases) >= 25
    assert [wrong for case in cases if (wrong := corpus["complaint"](case))] == []


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
def test_hostile_pictures_need_little_memory_and_end_nothing():
    """Those of 100 million pixels among them."""
    done = subprocess.run([sys.executable, HOSTILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "PPM", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_nothing_is_told_of_plain_pictures(kind, mode):
    assert decode_picture(save(colours().convert(mode), kind)).treatments == ()


def test_all_that_was_done_is_told_once_and_in_order():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("P", (4, 2))
    picture.putpalette([*BLUE, *RED])
    picture.putpixel((0, 0), 1)
    data = save(picture, "PNG", save_all=True, append_images=[picture.rotate(180)], transparency=0, exif=exif)
    phrases = (told.FIRST_FRAME, told.FROM_PALETTE, told.ON_WHITE, told.TURNED)
    assert decode_picture(data).treatments == phrases


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_a_turn_is_told(kind):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        found = decode_picture(save(colours(), kind, exif=exif))
        assert found.treatments == ((told.TURNED,) if orientation > 1 else ())
        assert found.image.size == ((6, 4) if orientation < 5 else (4, 6))


@pytest.mark.parametrize(
    ("values", "phrase"),
    [
        ((RAMP * 65535).astype(np.uint16), told.FROM_16_BITS),
        ((RAMP * 65535).astype(np.int32), told.FROM_16_BITS),
        ((RAMP * 255).astype(np.uint16), told.AS_8_BITS),
        (RAMP, told.FROM_FLOAT),
        (RAMP * 65535, told.FROM_FLOAT),
    ],
)
def test_how_deep_greys_were_made_shallow_is_told(values, phrase):
    assert decode_picture(save(Image.fromarray(values), "TIFF")).treatments == (phrase,)
    negative = values.astype(np.float32) - 1
    assert decode_picture(save(Image.fromarray(negative), "TIFF")).treatments == (told.FROM_FLOAT, told.DARKENED)


def test_strips_are_one_picture(monkeypatch):
    """What is scaled a few rows at a time is scaled alike."""
    values = (np.random.default_rng(0).random((37, 11)) * 60_000).astype(np.uint16)
    for scaled in (Image.fromarray(values), Image.fromarray(values.astype(np.float32))):
        whole = pixels(save(scaled, "TIFF"))
        assert np.array_equal(whole[..., 0], values // 257)
        with monkeypatch.context() as patch:
            patch.setattr(told, "_STRIP", 25)
            assert np.array_equal(pixels(save(scaled, "TIFF")), whole)


def test_extract_counts_what_was_done_to_pictures(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {f"p{n}": save(Image.new("RGBA", (3, 2), (n, 0, 0, n % 2 * 255)), "PNG") for n in range(10)}
    files |= {"q": save(colours(), "PNG", exif=exif), "r": save(colours(), "PNG", exif=exif)}
    dataset = fake_dataset(MemoryImages(files), dict.fromkeys(files, "a caption"))
    report = extract([FakeFactory()], dataset, FeatureCache(tmp_path), ExtractOptions(shard_rows=4, batch_size=3))
    assert [str(note) for note in report.notes] == [
        "5 pictures laid on white where transparent",
        "2 pictures turned as their EXIF says",
    ]
    assert not report.ledger
