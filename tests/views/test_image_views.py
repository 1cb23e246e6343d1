"""Mirrored, turned and cropped pictures."""

import numpy as np
import pytest
from PIL import Image

from clipfuse.views import parse_views, rotation
from clipfuse.views.crop import Crop
from clipfuse.views.rotation import Rotation


def test_a_flip_is_a_mirror_image(picture):
    (flip,) = parse_views(["flip"])
    item = picture((20, 10))
    assert (np.asarray(flip.apply(item, bytes(16))) == np.asarray(item)[:, ::-1]).all()


@pytest.mark.parametrize("size", [(64, 48), (1, 1), (100, 1), (1, 100), (2100, 30)])
def test_a_rotation_has_no_black_corners(size, picture, digest):
    item = picture(size)
    for number in range(4):
        result = Rotation(45.0).apply(item, digest(number))
        assert result.size == size
        assert np.asarray(result).min() >= 60  # the item has nothing below 120; bicubic overshoots a little


def test_angles_fill_the_range(picture, digest):
    """A bright spot to the right of the centre moves up and down by no more than the angle, and nearly by all of it."""
    item = Image.new("RGB", (201, 201))
    item.paste((255, 255, 255), (177, 97, 184, 104))
    angles = []
    for number in range(60):
        light = np.asarray(Rotation(10.0).apply(item, digest(number))).astype(float).sum(axis=2)
        rows, columns = np.indices(light.shape) - 100
        angles.append(np.degrees(np.arctan2((light * rows).sum(), (light * columns).sum())))
    assert -10.2 < min(angles) < -8 and 8 < max(angles) < 10.2
    assert abs(np.mean(angles)) < 2.5


def waves(width, height):
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    grey = (128 + 60 * np.sin(across / 7) * np.cos(down / 9)).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[..., None], 3, axis=2))


def test_a_rotation_is_that_of_pillow_within_the_picture(monkeypatch):
    """Over the seams of tiles, too."""
    monkeypatch.setattr(rotation, "_TILE", 64)
    item = waves(210, 190)
    ours = np.asarray(rotation._rotate(item, np.radians(6))).astype(int)
    theirs = np.asarray(item.rotate(-6, Image.Resampling.BICUBIC)).astype(int)
    inner = np.s_[25:-25, 25:-25]
    assert np.abs(ours[inner] - theirs[inner]).max() <= 1


def test_what_comes_in_is_the_mirrored_picture():
    """The turned middle of a canvas that is laid out with mirror images is what comes out."""
    item = waves(60, 40)
    canvas = Image.fromarray(np.pad(np.asarray(item), ((20, 20), (20, 20), (0, 0)), mode="symmetric"))
    wanted = np.asarray(canvas.rotate(-15, Image.Resampling.BICUBIC)).astype(int)[20:-20, 20:-20]
    assert np.abs(np.asarray(rotation._rotate(item, np.radians(15))).astype(int) - wanted).max() <= 1


def test_crops_keep_half_the_picture_or_more(picture, digest):
    item = picture((120, 90))
    shapes = set()
    for number in range(200):
        crop = Crop(1).apply(item, digest(number))
        share, aspect = crop.width * crop.height / (120 * 90), crop.width / crop.height
        assert 0.48 < share <= 1 and 0.73 < aspect < 1.37
        shapes.add(crop.size)
    assert len(shapes) > 100


def test_a_panorama_is_cropped_in_its_own_aspect(picture, digest):
    item = picture((1200, 60))
    shares = [
        crop.width * crop.height / (1200 * 60)
        for n in range(40)
        if (crop := Crop(1).apply(item, digest(n))).width > 600
    ]
    assert len(shares) == 40
    assert 0.48 < min(shares) < 0.65 and 0.85 < max(shares) <= 1


def test_a_crop_is_a_part_of_the_picture(picture, digest):
    item = picture((30, 20))
    pixels = np.asarray(item)
    places = set()
    for number in range(40):
        part = np.asarray(Crop(2).apply(item, digest(number)))
        found = [
            (top, left)
            for top in range(20 - part.shape[0] + 1)
            for left in range(30 - part.shape[1] + 1)
            if (pixels[top : top + part.shape[0], left : left + part.shape[1]] == part).all()
        ]
        assert found
        places.add(found[0])
    assert len({top for top, _ in places}) > 2 and len({left for _, left in places}) > 2


def test_crops_of_one_picture_differ(picture, digest):
    views = parse_views(["crops:5"])
    assert len({view.apply(picture((100, 80)), digest(0)).tobytes() for view in views}) == 5
