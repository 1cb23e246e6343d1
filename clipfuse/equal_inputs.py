"""Rows with one and the same picture, or with the same words as caption."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache import Samples
from clipfuse_cache.fingerprint import NO_DIGEST

Keys = Sequence[Hashable | None]
"""One a row: rows with equal keys have equal inputs; None where there is no input."""


def picture_keys(samples: Samples) -> Keys:
    """The digest of each row's picture file, byte for byte."""
    return [None if digest == NO_DIGEST else digest for digest in samples.input_digests("image")]


def caption_keys(samples: Samples) -> Keys:
    """Each row's caption in lower case with single spaces; None where nothing is left."""
    return [" ".join((text or "").casefold().split()) or None for text in samples.captions]


def connect_equal(keys: Keys) -> NDArray[np.int64]:
    """(pairs, 2) int64: the first row of each key with each later row of that key."""
    first: dict[Hashable, int] = {}
    pairs = [(first[key], row) for row, key in enumerate(keys) if key is not None and first.setdefault(key, row) != row]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
