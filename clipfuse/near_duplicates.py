"""Rows whose features are similar: an exact search over all pairs, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache import Features

TILE = 2048
"""Rows on each side of one block of pairs."""
_CHECKED = 16_384  # pairs looked up in another table at once
_EDGES = 1_000_000  # pairs held before they are reduced to as few as join the same rows


def connect_similar(features: Sequence[Features], similarity: float, *, tile: int = TILE) -> NDArray[np.int64]:
    """Pairs of rows that are similar, (pairs, 2) int64, the lower row first; where there are very many, fewer pairs
    that join the same rows into the same groups.

    Two rows are similar where the cosine of their features, in float32, is at least ``similarity`` in every one of
    ``features`` that holds both, and the first holds both. Every pair is looked at. Besides what it is given, the
    search takes memory for ``tile`` × ``tile`` cosines and two tiles of features, whatever the number of rows.

    Args:
        features: tables of the same rows, one token each; the first is searched, the others are asked about what was
            found. A row of zeros is similar to nothing.
        similarity: within (0, 1].
        tile: rows on each side of a block.
    """
    first, *others = [_Directions(one) for one in features]
    kept = np.zeros((0, 2), dtype=np.int64)
    for found in _search(first, similarity, tile):
        for start in range(0, len(found), _CHECKED):
            pairs = found[start : start + _CHECKED]
            for other in others:
                pairs = pairs[other.agrees(pairs, similarity)]
            kept = np.concatenate([kept, pairs])
        if len(kept) > _EDGES:
            kept = _spanning(kept, len(first))
    return kept


def connected(pairs: NDArray[np.int64], rows: int) -> NDArray[np.intp]:
    """Number of each row's group, (rows,), where rows that a chain of pairs joins are of one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.intp)


class _Directions:
    """A table's rows as vectors of length 1, made as they are asked for."""

    def __init__(self, features: Features) -> None:
        self._values: NDArray[Any] = features.values[:, 0]
        squares = [np.square(self.raw(slice(i, i + TILE))).sum(axis=1) for i in range(0, len(self._values), TILE)]
        length = np.sqrt(np.concatenate(squares)) if squares else np.zeros(0, dtype=np.float32)
        self.valid = features.valid & (length > 0)
        self._factor = np.where(self.valid, 1 / np.maximum(length, np.float32(1e-30)), 0).astype(np.float32)

    def __len__(self) -> int:
        return len(self._values)

    def raw(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(self._values[rows], dtype=np.float32)

    def of(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        return self.raw(rows) * self._factor[rows, None]

    def agrees(self, pairs: NDArray[np.int64], similarity: float) -> NDArray[np.bool_]:
        """Whether each pair is similar here too, or one of its rows is not here at all."""
        left, right = pairs.T
        cosines = np.einsum("ij,ij->i", self.of(left), self.of(right))
        return np.asarray((cosines >= np.float32(similarity)) | ~(self.valid[left] & self.valid[right]))


def _search(directions: _Directions, similarity: float, tile: int) -> Iterator[NDArray[np.int64]]:
    """Each block's similar pairs."""
    cut = np.float32(similarity)
    for top in range(0, len(directions), tile):
        upper = directions.of(slice(top, top + tile))
        for left in range(top, len(directions), tile):
            lower = upper if left == top else directions.of(slice(left, left + tile))
            near = upper @ lower.T >= cut
            if left == top:
                near = np.triu(near, 1)
            if near.any():
                yield np.argwhere(near) + np.array([top, left])


def _spanning(pairs: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Fewer pairs with the same groups: the first row of each with each of its others."""
    group = connected(pairs, rows)
    _, first = np.unique(group, return_index=True)
    here = np.arange(rows)
    others = first[group] != here
    return np.column_stack([first[group][others], here[others]])
