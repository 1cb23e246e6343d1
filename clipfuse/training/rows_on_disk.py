"""Rows whose features don't fit in memory: blocks of shards, read ahead of the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.select_streams import as_streams
from clipfuse.stream_tables import StreamTables
from clipfuse.streams import Streams
from clipfuse.training.rows import Block
from clipfuse_cache import Places

BLOCKS_AT_ONCE = 3
"""One that is trained on, one that is being read, one shard file and its decoded form."""


@dataclass(frozen=True)
class RowsOnDisk:
    """Rows in the order of the first table's shards; blocks are whole shards of it where memory allows.

    Attributes:
        tables: what is read.
        places: stream -> where its rows are in its table, and in those of its views.
        targets: (rows, labels), on the device.
        bounds: start and stop of every block.
        own: streams of the table itself, of all rows: small enough to stay in memory.
        label_vectors, groups: see ``Rows``.
    """

    tables: StreamTables
    places: Mapping[str, Sequence[Places]]
    targets: torch.Tensor
    bounds: Sequence[tuple[int, int]]
    own: Streams = field(default_factory=lambda: Streams({}, {}))
    label_vectors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None

    @property
    def present(self) -> Mapping[str, torch.Tensor]:
        """Stream -> (rows,) bool."""
        found = {
            name: torch.from_numpy(places[0].valid).to(self.targets.device) for name, places in self.places.items()
        }
        return {**found, **self.own.present}

    @property
    def dims(self) -> dict[str, int]:
        """Stream -> width."""
        return {name: table.description.dim for name, table in self.tables.items()} | {
            name: value.shape[-1] for name, value in self.own.values.items()
        }

    def blocks(self, generator: torch.Generator | None = None) -> Iterator[Block]:
        """Every row once, the blocks in the order that ``generator`` draws, or in the rows' order."""
        numbers = range(len(self.bounds))
        order = numbers if generator is None else torch.randperm(len(numbers), generator=generator).tolist()
        with ThreadPoolExecutor(1) as reader:
            coming = None
            for number in order:
                ready, coming = coming, reader.submit(self._read, number)
                if ready is not None:
                    yield ready.result()
                    del ready
            if coming is not None:
                yield coming.result()

    def _read(self, number: int) -> Block:
        start, stop = self.bounds[number]
        rows = slice(start, stop)
        found = read_at(self.tables, self.places, rows, str(self.targets.device))
        return Block(start, stop, found.beside(self.own.rows(rows)))


def read_at(tables: StreamTables, places: Mapping[str, Sequence[Places]], rows: slice, device: str = "cpu") -> Streams:
    """The features at some of the places that :func:`locate_rows` found, with their views. Raises CacheCorrupt."""
    features = {
        name: (table.take_at(where[rows]) for table, where in zip(tables.with_views(name), those, strict=True))
        for name, those in places.items()
    }
    return as_streams(features, device)


def row_bytes(tables: StreamTables) -> int:
    """What one row takes of memory."""
    about = [table.description for table in tables.every_table()]
    return sum(one.tokens * one.dim * np.dtype(one.dtype).itemsize for one in about)


def locate_rows(tables: StreamTables, ids: Sequence[str]) -> tuple[dict[str, list[Places]], NDArray[np.int64]]:
    """Stream -> where its table, and those of its views, hold ``ids``; and the order in which the first one does.

    The places are in that order. Raises RowsMissing, CacheCorrupt.
    """
    found = {name: [table.locate(ids) for table in tables.with_views(name)] for name in tables}
    first = next(iter(found.values()))[0]
    order = np.lexsort((first.rows, first.shards))
    return {name: [places[order] for places in those] for name, those in found.items()}, order


def block_bounds(first: Places, row_bytes: int, memory_bytes: int) -> list[tuple[int, int]]:
    """Blocks of rows that are in the order of ``first``, so large that ``BLOCKS_AT_ONCE`` of them fit in memory.

    They end where a shard ends, unless one shard is larger than a block may be.
    """
    most = max(1, memory_bytes // (BLOCKS_AT_ONCE * row_bytes))
    ends = [*(np.flatnonzero(np.diff(first.shards)) + 1).tolist(), len(first)]
    bounds, start, shard_start = [], 0, 0
    for end in ends:
        if end - start > most and shard_start > start:
            bounds.append((start, shard_start))
            start = shard_start
        while end - start > most:
            bounds.append((start, start + most))
            start += most
        shard_start = end
    bounds.append((start, len(first)))
    return [(first_row, last) for first_row, last in bounds if last > first_row]
