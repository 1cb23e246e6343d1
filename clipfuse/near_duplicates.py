"""Rows whose features are similar: an exact search over all pairs, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.stream_tables import StreamTables
from clipfuse_cache import Features, FeatureTable, Places

TILE = 2048
"""Rows on each side of one block of pairs."""
HELD = 1 << 26
"""Bytes of features, as float32, that are in memory at once on each side."""
_CHECKED = 16_384  # pairs looked up in another table at once
_AVERAGED = 4096  # rows that a mean is taken over
_EDGES = 1_000_000  # pairs held before they are reduced to as few as join the same rows

Rows = slice | NDArray[np.int64]


@dataclass(frozen=True)
class Readable:
    """Features that are read as they are needed.

    Attributes:
        valid: (rows,) bool.
        dim: their width.
        read: slice or row numbers -> (n, dim) numbers.
    """

    valid: NDArray[np.bool_]
    dim: int
    read: Callable[[Rows], NDArray[Any]]

    @classmethod
    def of(cls, features: Features) -> Readable:
        """Those in memory, one token each."""
        values = features.values[:, 0]
        return cls(features.valid, values.shape[1], lambda rows: values[rows])

    @classmethod
    def from_table(cls, table: FeatureTable, places: Places) -> Readable:
        """Those at ``places``, one token each."""
        return cls(places.valid, table.description.dim, lambda rows: table.take_at(places[rows]).values[:, 0])

    def rows(self, rows: NDArray[np.int64]) -> Readable:
        """Some of them."""
        return Readable(self.valid[rows], self.dim, lambda some: self.read(rows[some]))

    def centre(self) -> NDArray[np.float32]:
        """(dim,) their mean, over some of them where they are many. Some encoders' outputs all point about one way, so
        that any two rows are similar (Ethayarajh 2019, "How Contextual are Contextualized Word Representations?")."""
        some = np.flatnonzero(self.valid)
        some = some[:: 1 + len(some) // _AVERAGED]
        read = np.asarray(self.read(some), dtype=np.float32)
        return read.mean(axis=0) if len(some) else np.zeros(self.dim, dtype=np.float32)

    def minus(self, centre: NDArray[np.float32]) -> Readable:
        """Them without what ``centre``, (dim,), says that they have in common."""
        return Readable(self.valid, self.dim, lambda rows: np.asarray(self.read(rows), dtype=np.float32) - centre)


def centred(tables: Iterable[FeatureTable], ids: Sequence[str]) -> list[Readable]:
    """The features of ``ids`` in each table without their mean. Raises RowsMissing, CacheCorrupt."""
    readable = [Readable.from_table(table, table.locate(ids)) for table in tables]
    return [one.minus(one.centre()) for one in readable]


def compared(tables: StreamTables) -> list[str]:
    """The streams by which rows are compared: pictures where there are any of one token, else captions."""
    single = [name for name in tables if tables[name].description.tokens == 1]
    of_modality = (
        [name for name in single if tables[name].description.modality == modality] for modality in ("image", "text")
    )
    return next((names for names in of_modality if names), [])


def connect_similar(
    features: Sequence[Readable], similarity: float, *, tile: int = TILE, held: int = HELD
) -> NDArray[np.int64]:
    """Pairs of rows that are similar, (pairs, 2) int64, the lower row first; where there are very many, fewer pairs
    that join the same rows into the same groups.

    Two rows are similar where the cosine of their features, in float32, is at least ``similarity`` in every one of
    ``features`` that holds both, and the first holds both. Every pair is looked at. The search takes memory for
    ``tile`` × ``tile`` cosines and twice ``held``, whatever the number of rows.

    Args:
        features: tables of the same rows; the first is searched, the others are asked about what was found. A row of
            zeros is similar to nothing.
        similarity: within (0, 1].
        tile: rows on each side of a block.
        held: bytes of features in memory on each side.
    """
    tables = [_Directions(one, held) for one in features]
    kept = np.zeros((0, 2), dtype=np.int64)
    for pairs in _similar(tables, tables, similarity, tile, once=True):
        kept = np.concatenate([kept, pairs])
        if len(kept) > _EDGES:
            kept = _spanning(kept, len(tables[0]))
    return kept


def first_similar(
    features: Sequence[Readable],
    others: Sequence[Readable],
    similarity: float,
    *,
    tile: int = TILE,
    held: int = HELD,
) -> NDArray[np.int64]:
    """For each row the first of the ``others`` that is similar to it (see :func:`connect_similar`), (rows,) int64, -1
    where there is none.

    Args:
        features: tables of some rows.
        others: the same tables of other rows.
        similarity, tile, held: as of :func:`connect_similar`.
    """
    left, right = ([_Directions(one, held) for one in side] for side in (features, others))
    found = np.full(len(left[0]), len(right[0]), dtype=np.int64)
    for pairs in _similar(left, right, similarity, tile, once=False):
        np.minimum.at(found, pairs[:, 0], pairs[:, 1])
    return np.where(found < len(right[0]), found, -1)


def connected(pairs: NDArray[np.int64], rows: int) -> NDArray[np.intp]:
    """Number of each row's group, (rows,), where rows that a chain of pairs joins are of one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(rows, rows))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.intp)


class _Directions:
    """A table's rows as vectors of length 1, made as they are asked for; zeros where there is no vector."""

    def __init__(self, features: Readable, held: int) -> None:
        self._features = features
        self._step = max(1, held // (4 * features.dim))  # rows in memory

    def __len__(self) -> int:
        return len(self._features.valid)

    def of(self, rows: Rows) -> NDArray[np.float32]:
        values = np.asarray(self._features.read(rows), dtype=np.float32)
        length = np.sqrt(np.square(values).sum(axis=1))
        there = self._features.valid[rows] & (length > 0)
        return values * np.where(there, 1 / np.maximum(length, np.float32(1e-30)), 0).astype(np.float32)[:, None]

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """First row and directions of as many rows as are held at once."""
        for start in range(0, len(self), self._step):
            yield start, self.of(slice(start, start + self._step))


def _similar(
    left: Sequence[_Directions], right: Sequence[_Directions], similarity: float, tile: int, *, once: bool
) -> Iterator[NDArray[np.int64]]:
    """Pairs (row on the left, row on the right) that every table says are similar, some at a time; ``once``: both
    sides are the same rows, and of each pair only the one with the lower row first is wanted."""
    (first, *others), (first_right, *others_right) = left, right
    for found in _search(first, first_right, similarity, tile, once=once):
        for start in range(0, len(found), _CHECKED):
            pairs = found[start : start + _CHECKED]
            for one, other in zip(others, others_right, strict=True):
                pairs = pairs[_agree(one, other, pairs, similarity)]
            yield pairs


def _agree(left: _Directions, right: _Directions, pairs: NDArray[np.int64], similarity: float) -> NDArray[np.bool_]:
    """Whether each pair is similar here too, or one of its rows is not here at all."""
    one, other = left.of(pairs[:, 0]), right.of(pairs[:, 1])
    cosines = np.einsum("ij,ij->i", one, other)
    return np.asarray((cosines >= np.float32(similarity)) | ~(one.any(axis=1) & other.any(axis=1)))


def _search(
    left: _Directions, right: _Directions, similarity: float, tile: int, *, once: bool
) -> Iterator[NDArray[np.int64]]:
    """Each tile's similar pairs."""
    cut = np.float32(similarity)
    for top, upper in left.blocks():
        for beside, lower in right.blocks():
            if once and beside < top:
                continue
            for i in range(0, len(upper), tile):
                for j in range(i if once and beside == top else 0, len(lower), tile):
                    near = upper[i : i + tile] @ lower[j : j + tile].T >= cut
                    if once and top + i == beside + j:
                        near = np.triu(near, 1)
                    if near.any():
                        yield np.argwhere(near) + np.array([top + i, beside + j])


def _spanning(pairs: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Fewer pairs with the same groups: the first row of each with each of its others."""
    group = connected(pairs, rows)
    _, first = np.unique(group, return_index=True)
    here = np.arange(rows)
    others = first[group] != here
    return np.column_stack([first[group][others], here[others]])
