"""Reading a feature table."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.errors import CacheCorrupt, CacheError, CacheMissing, RowsMissing
from clipfuse_cache.manifest import (
    Manifest,
    ShardEntry,
    TableDescription,
    is_done,
    read_manifest,
    read_plan,
    shard_file,
)
from clipfuse_cache.shard import Shard, ShardReader, open_shard
from clipfuse_cache.times import ShardTime, read_times

T = TypeVar("T")


class Features(NamedTuple):
    """Rows of a table. ``values``: (rows, tokens, dim) in the table's dtype, zeros where not valid;
    ``valid``: (rows,) bool."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Places:
    """Where some rows' features are: (n,) int32 numbers of their shards, (n,) int32 rows there, and (n,) bool, whether
    they are valid."""

    shards: NDArray[np.int32]
    rows: NDArray[np.int32]
    valid: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: slice | NDArray[np.int64]) -> Places:
        return Places(self.shards[some], self.rows[some], self.valid[some])


class FeatureTable:
    """One encoder output of every sample. Open it with :meth:`open`; nothing but the manifest is read then."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> FeatureTable:
        """Read the manifest of the table in ``folder``.

        Raises:
            CacheMissing: the table is not complete (no manifest).
            CacheCorrupt: the manifest can't be used.
        """
        manifest = read_manifest(folder)
        if manifest is None:
            raise CacheMissing(f"{folder} holds no complete feature table", "Run clipfuse extract")
        return cls(folder, manifest)

    @property
    def description(self) -> TableDescription:
        """What the table holds."""
        return self.manifest.table

    def is_complete_for(self, inputs: str) -> bool:
        """True when the table was last made complete for these rows (see ``rows_digest``) and every shard file
        still has its size. Their contents are checked when they are read."""
        return self.manifest.inputs == inputs and all(
            file_size(self.folder / shard_file(entry.index)) == entry.bytes for entry in self.manifest.shards
        )

    @property
    def is_untidy(self) -> bool:
        """True when a kill right after the manifest was written left its plan; ``TableWriter.commit`` removes it.
        Raises CacheCorrupt where a plan can't be read."""
        plan = read_plan(self.folder)
        return plan is not None and is_done(plan, self.manifest)

    def shards(self) -> Iterator[Shard]:
        """All shards, first to last, each checked against its SHA-256 before HDF5 sees it.

        Raises:
            CacheCorrupt: a shard is missing, changed or damaged.
        """
        return (shard.whole() for shard in self._each(self.manifest.shards))

    def take(self, ids: Sequence[str]) -> Features:
        """The features of ``ids``, in their order.

        Raises:
            RowsMissing: ids that the table does not hold.
            CacheCorrupt: a shard is missing, changed or damaged.
        """
        about = self.description
        values = np.zeros((len(ids), about.tokens, about.dim), dtype=about.dtype)
        valid = np.zeros(len(ids), dtype=np.bool_)
        place_of: dict[str, int] = {}
        first = np.fromiter(map(place_of.setdefault, ids, range(len(ids))), np.int64, len(ids))
        # backwards, because a row that was encoded again stands in a later shard
        for shard in self._each(reversed(self.manifest.shards)):
            places = np.fromiter(map(place_of.pop, shard.ids, repeat(-1)), np.int64, len(shard.ids))
            rows = np.flatnonzero(places >= 0)
            if len(rows):
                valid[places[rows]] = shard.valid[rows]
                start, end = places[0], places[0] + len(places)
                if len(rows) == len(places) and np.array_equal(places, np.arange(start, end)):
                    shard.values(into=values[start:end])
                else:
                    values[places[rows]] = shard.values()[rows]
            if not place_of:
                break
        if place_of:
            raise self.rows_missing(list(place_of), len(ids))
        again = np.flatnonzero(first != np.arange(len(ids)))  # asked for more than once
        values[again], valid[again] = values[first[again]], valid[first[again]]
        return Features(values, valid)

    def locate(self, ids: Sequence[str]) -> Places:
        """Where the features of ``ids`` are, so that blocks of them can be read on their own. Reads every shard once.

        Raises:
            RowsMissing: ids that the table does not hold.
            CacheCorrupt: a shard is missing, changed or damaged.
        """
        place_of = {name: place for place, name in enumerate(ids)}
        shards = np.full(len(ids), -1, dtype=np.int32)
        rows = np.zeros(len(ids), dtype=np.int32)
        valid = np.zeros(len(ids), dtype=np.bool_)
        for number, shard in enumerate(self._each(self.manifest.shards)):  # a row that was encoded again is found last
            places = np.fromiter(map(place_of.get, shard.ids, repeat(-1)), np.int64, len(shard.ids))
            here = np.flatnonzero(places >= 0)
            shards[places[here]], rows[places[here]], valid[places[here]] = number, here, shard.valid[here]
        missing = [ids[place] for place in np.flatnonzero(shards < 0).tolist()]
        if missing:
            raise self.rows_missing(missing, len(ids))
        return Places(shards, rows, valid)

    def take_at(self, places: Places) -> Features:
        """The features at ``places``, in their order. Reads the shards that hold any of them, one after the other.

        Raises:
            CacheCorrupt: a shard is missing, changed or damaged.
        """
        about = self.description
        values = np.zeros((len(places), about.tokens, about.dim), dtype=about.dtype)
        memory = io.BytesIO()
        for number in np.unique(places.shards):  # none is read ahead: who asks so has little memory
            taken = places.shards == number
            with self._open(self.manifest.shards[number], memory) as shard:
                values[taken] = shard.values()[places.rows[taken]]
        return Features(values, places.valid)

    def rows_missing(self, missing: Sequence[str], asked: int) -> RowsMissing:
        """The error to raise where the table lacks ``missing``, at least one, of ``asked`` ids."""
        where = "with features of them" if self.description.is_imported else "on the table that holds them"
        return RowsMissing(
            f"{len(missing)} of {asked} rows are not in {self.folder}, the first is {missing[0]!r}",
            f"Run {self.description.command} {where}",
        )

    def input_digests(self) -> dict[str, bytes]:
        """id -> digest of the input that its features were made from. Reads every shard."""
        return {
            name: digest.tobytes()
            for shard in self._each(self.manifest.shards)
            for name, digest in zip(shard.ids, shard.digests, strict=True)
        }

    def times(self) -> list[ShardTime | None]:
        """What each shard took to make, in the manifest's order; None where that is not known."""
        known = read_times(self.folder)
        return [known.get(entry.index) for entry in self.manifest.shards]

    def failures(self) -> dict[str, str]:
        """id -> reason, for rows whose input could not be read. Reads the shards that have any."""
        return self._said(lambda entry: entry.failed, lambda shard: shard.failures)

    def notes(self) -> dict[str, tuple[str, ...]]:
        """id -> what was done to its input ("truncated", ...), in the words' order. Reads the shards that have any."""
        return self._said(lambda entry: len(entry.notes), _words_by_row)

    def _said(self, count: Callable[[ShardEntry], int], of: Callable[[Shard], Mapping[int, T]]) -> dict[str, T]:
        """id -> what the last shard that has it says ``of`` its row, where it says anything."""
        found: dict[str, T] = {}
        for entry in self.manifest.shards:
            if count(entry) or found:  # a later shard can take back what an earlier one said
                _, shard = read_shard(self.folder, self.description, entry.index, entry.sha256)
                said = of(shard)
                for row, name in enumerate(shard.ids):
                    found.pop(name, None)
                    if row in said:
                        found[name] = said[row]
        return found

    def _each(self, entries: Iterable[ShardEntry]) -> Iterator[ShardReader]:
        """These shards, each checked against its SHA-256 before HDF5 sees it, and open until the next is asked for.
        The file of the next one is read and hashed meanwhile."""
        memory = cycle([io.BytesIO(), io.BytesIO()])  # fresh memory for each would take longer than hashing it
        coming: Future[ShardReader] | None = None
        with ThreadPoolExecutor(1) as ahead:
            try:
                for entry in (*entries, None):
                    ready, coming = coming, None if entry is None else ahead.submit(self._open, entry, next(memory))
                    if ready is not None:
                        with ready.result() as shard:
                            yield shard
            finally:  # what was opened for somebody who wants no more
                if coming is not None:
                    with suppress(CacheError), coming.result():
                        pass

    def _open(self, entry: ShardEntry, memory: io.BytesIO) -> ShardReader:
        return _opened(self.folder, self.description, entry.index, entry.sha256, memory)


def _words_by_row(shard: Shard) -> dict[int, tuple[str, ...]]:
    words: dict[int, tuple[str, ...]] = {}
    for word, rows in sorted(shard.notes.items()):
        for row in rows:
            words[row] = (*words.get(row, ()), word)
    return words


def read_shard(folder: Path, about: TableDescription, index: int, sha256: str | None) -> tuple[ShardEntry, Shard]:
    """What a manifest says of shard ``index``, and what it holds. ``sha256``: what its file must hash to, where that is
    known.

    Raises:
        CacheCorrupt: it is missing, changed, damaged or not a shard of this table and index.
        CacheError: it can't be read.
    """
    with _opened(folder, about, index, sha256, io.BytesIO()) as reader:
        shard = reader.whole()
        return shard_entry(index, reader.file.bytes, reader.file.sha256, shard), shard


def _opened(folder: Path, about: TableDescription, index: int, sha256: str | None, memory: io.BytesIO) -> ShardReader:
    """Shard ``index``, its file in ``memory`` in place of what was there."""
    path = folder / shard_file(index)
    try:
        _read_file(path, memory)
    except FileNotFoundError as error:
        raise CacheCorrupt(f"{path} is missing", "Run clipfuse extract to make it again") from error
    except OSError as error:
        raise CacheError(f"can't read {path}: {error.strerror or error}") from error
    return open_shard(
        memory,
        str(path),
        fingerprint=about.fingerprint,
        index=index,
        tokens=about.tokens,
        dim=about.dim,
        dtype=about.dtype,
        sha256=sha256,
    )


def _read_file(path: Path, memory: io.BytesIO) -> None:
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        memory.write(bytes(max(0, size - memory.seek(0, io.SEEK_END))))
        with memory.getbuffer() as all_of_it:
            start = 0
            while count := file.readinto(all_of_it[start:size]):
                start += count
        memory.truncate(start)


def shard_entry(index: int, size: int, sha256: str, shard: Shard) -> ShardEntry:
    """What a manifest says of shard ``index``, whose file has ``size`` bytes and this SHA-256."""
    return ShardEntry(
        index=index,
        bytes=size,
        sha256=sha256,
        rows=len(shard.ids),
        valid=int(shard.valid.sum()),
        failed=len(shard.failures),
        notes={word: len(rows) for word, rows in sorted(shard.notes.items())},
    )


def file_size(path: Path) -> int:
    """Its size, or -1 where there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
