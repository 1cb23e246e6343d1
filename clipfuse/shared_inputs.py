"""Which rows of two caches have the same picture or the same caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipfuse.equal_inputs import caption_keys, picture_keys
from clipfuse_cache import Samples


def share_an_input(
    samples: Samples, ids: Sequence[str], others: Samples, other_ids: Sequence[str]
) -> NDArray[np.bool_]:
    """(n,) bool: the rows ``ids`` of ``samples`` whose picture, byte for byte, or caption, but for case and spaces, is
    one of those that the rows ``other_ids`` of ``others`` have.

    Raises:
        CacheError: an id that is not there.
    """
    found = np.zeros(len(ids), dtype=np.bool_)
    rows, other_rows = samples.rows(ids), others.rows(other_ids)
    for keys_of in (picture_keys, caption_keys):
        keys, other_keys = keys_of(samples), keys_of(others)
        known = {other_keys[row] for row in other_rows} - {None}
        found |= np.array([keys[row] in known for row in rows], dtype=np.bool_)
    return found
