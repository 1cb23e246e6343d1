"""Pictures and captions for views, and one view of every family."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

SIZES = [(64, 48), (48, 64), (1, 1), (100, 1), (1, 100), (2, 3), (1500, 20), (37, 1300)]
CAPTIONS = [
    "Two men are riding bicycles along the street near a large building.",
    "  A  young WOMAN\tholding an umbrella,\nsmiling at (several) cats! ",
    "x",
    "a",
    "... !",
    "   ",
    "",
]


def make_picture(size, seed=0):
    """Noise over a gradient, so that every pixel has a place of its own; never dark."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(120, 160, (height, width, 3), dtype=np.uint8)
    pixels[..., 0] += np.linspace(0, 90, width, dtype=np.uint8)[None, :]
    pixels[..., 1] += np.linspace(0, 90, height, dtype=np.uint8)[:, None]
    return Image.fromarray(pixels)


def make_digest(number):
    return hashlib.sha256(str(number).encode()).digest()[:16]


@pytest.fixture(scope="session")
def picture():
    return make_picture


@pytest.fixture(scope="session")
def digest():
    return make_digest


@pytest.fixture(scope="session")
def items():
    """``items(modality)`` -> inputs of every awkward kind."""
    return lambda modality: [make_picture(size) for size in SIZES] if modality == "image" else CAPTIONS


@pytest.fixture(scope="session")
def plain():
    """``plain(view's result)`` -> something to compare."""
    return lambda item: item if isinstance(item, str) else (item.mode, item.size, item.tobytes())
