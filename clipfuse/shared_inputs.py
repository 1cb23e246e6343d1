"""Which rows of two caches are the same thing: the same picture, the same caption, or features that are similar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipfuse.equal_inputs import caption_keys, picture_keys
from clipfuse.near_duplicates import Readable, compared, first_similar
from clipfuse.stream_tables import StreamTables
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


def are_similar(
    tables: StreamTables, ids: Sequence[str], others: StreamTables, other_ids: Sequence[str], similarity: float
) -> NDArray[np.bool_]:
    """(n,) bool: the rows ``ids`` of ``tables`` whose centred features have a cosine of at least ``similarity`` with
    those of one of the rows ``other_ids`` of ``others``, in every table of pictures, or of captions if there are none.

    Tables of several tokens are not looked at.

    Raises:
        RowsMissing, CacheCorrupt: features that are not there, or damaged.
    """
    names = compared(tables)
    if not names or not len(other_ids):
        return np.zeros(len(ids), dtype=np.bool_)
    here, there = (
        [Readable.from_table(side[name], side[name].locate(rows)) for name in names]
        for side, rows in ((tables, ids), (others, other_ids))
    )
    centres = [one.centre() for one in here]
    ours, theirs = ([one.minus(centre) for one, centre in zip(side, centres, strict=True)] for side in (here, there))
    return first_similar(ours, theirs, similarity) >= 0
