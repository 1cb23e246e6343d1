"""One shard: a fixed block of rows of one feature table, as the bytes of one HDF5 file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache import hdf5
from clipfuse_cache.errors import CacheCorrupt, CacheError
from clipfuse_cache.fingerprint import DIGEST_BYTES

FORMAT = "clipfuse-shard"
VERSION = 1


@dataclass(frozen=True)
class Shard:
    """Rows of features.

    Attributes:
        ids: one per row, unique.
        digests: (rows, 16) uint8, the digest of each row's input; zeros where the input was absent.
        values: (rows, tokens, dim) float16 or float32; zeros where not valid.
        valid: (rows,) bool; False where the input was absent or could not be read.
        failures: row -> reason, for inputs that were there and could not be read.
        notes: what was done to inputs that gave features ("truncated", "transparency laid on white") -> their rows,
            ascending.
    """

    ids: tuple[str, ...]
    digests: NDArray[np.uint8]
    values: NDArray[Any]
    valid: NDArray[np.bool_]
    failures: Mapping[int, str] = field(default_factory=dict)
    notes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.ids)
        if (
            self.values.ndim != 3
            or self.values.shape[0] != rows
            or self.valid.shape != (rows,)
            or self.digests.shape != (rows, DIGEST_BYTES)
            or len(set(self.ids)) != rows
        ):
            raise ValueError(
                f"{len(set(self.ids))} ids for {rows} rows, digests {self.digests.shape}, values {self.values.shape}, "
                f"valid {self.valid.shape}"
            )
        named = {*self.failures, *(row for noted in self.notes.values() for row in noted)}
        if named and not 0 <= min(named) <= max(named) < rows:
            raise ValueError(f"failures and notes name rows {min(named)} to {max(named)} of {rows}")
        if any(not noted or list(noted) != sorted(set(noted)) for noted in self.notes.values()):
            raise ValueError("the rows of a note must be ascending, and there must be some")


def encode_shard(shard: Shard, *, fingerprint: str, index: int) -> hdf5.Sealed:
    """A shard's file; equal shards give equal bytes.

    Raises:
        CacheError: a row is not finite.
    """
    if not np.isfinite(shard.values).all():
        row = int(np.argmin(np.isfinite(shard.values).all(axis=(1, 2))))
        raise CacheError(f"features of row {shard.ids[row]!r} are not finite as {shard.values.dtype}")
    ids, id_offsets = hdf5.pack_strings([name.encode() for name in shard.ids])
    failures = json.dumps([[row, reason] for row, reason in sorted(shard.failures.items())]).encode()
    notes = json.dumps([[word, list(map(int, rows))] for word, rows in sorted(shard.notes.items())]).encode()
    return hdf5.build(
        {"format": FORMAT, "version": VERSION, "fingerprint": fingerprint, "index": index},
        {
            "ids": ids,
            "id_offsets": id_offsets,
            "digests": shard.digests,
            "values": shard.values,
            "valid": shard.valid.astype(np.uint8),
            "failures": np.frombuffer(failures, dtype=np.uint8),
            "notes": np.frombuffer(notes, dtype=np.uint8),
        },
    )


class ShardReader:
    """An open shard, of which the values are still to be read. Made by :func:`open_shard`.

    Attributes:
        file: what it is read from; its SHA-256 has been checked.
        shape: (rows, tokens, dim) of the values.
        dtype: of the values.
        ids, digests, valid, failures, notes: see :class:`Shard`.

    Raises:
        CacheCorrupt: a part is not what a shard has there.
    """

    def __init__(self, file: hdf5.Reader, tokens: int, dim: int, dtype: str) -> None:
        ids = file.dataset("ids", "uint8", (None,))
        self.digests = file.dataset("digests", "uint8", (None, DIGEST_BYTES))
        rows = len(self.digests)
        offsets = file.dataset("id_offsets", "uint64", (rows + 1,))
        self.file = file
        self.shape = (rows, tokens, dim)
        self.dtype = dtype
        file.check("values", dtype, self.shape)
        self.valid = file.dataset("valid", "uint8", (rows,)).astype(np.bool_)
        failures, notes = (file.dataset(part, "uint8", (None,)) for part in ("failures", "notes"))
        try:
            self.ids = tuple(hdf5.unpack_strings(ids, offsets))
            if len(set(self.ids)) != rows:
                raise ValueError("an id stands there twice")
            self.failures = {_row(row): _word(reason) for row, reason in json.loads(failures.tobytes())}
            self.notes = {_word(word): tuple(map(_row, where)) for word, where in json.loads(notes.tobytes())}
        except (ValueError, TypeError, RecursionError) as error:
            raise self._undecodable(error) from error

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)

    def values(self, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """(rows, tokens, dim), read ``into`` an array of that shape and the shard's dtype, contiguous, or a new one."""
        return self.file.dataset("values", self.dtype, self.shape, into)

    def whole(self) -> Shard:
        """All that it holds."""
        values = self.values()
        try:
            return Shard(self.ids, self.digests, values, self.valid, self.failures, self.notes)
        except ValueError as error:
            raise self._undecodable(error) from error

    def _undecodable(self, error: Exception) -> CacheCorrupt:
        return self.file.corrupt(f"ids, failures or notes can't be decoded ({error})")


def open_shard(
    source: bytes | BinaryIO,
    name: str,
    *,
    fingerprint: str,
    index: int,
    tokens: int,
    dim: int,
    dtype: str,
    sha256: str | None = None,
) -> ShardReader:
    """A shard from its file, checked against what its table expects. ``name`` is for messages, ``sha256`` what the
    file must hash to where that is known (see :class:`hdf5.Reader`).

    Raises:
        CacheCorrupt: not a shard of this table and index, or damaged.
    """
    with ExitStack() as opened:
        file = opened.enter_context(hdf5.Reader(source, name, sha256))
        found = [file.attribute(key) for key in ("format", "version", "fingerprint", "index")]
        expected = [FORMAT, VERSION, fingerprint, index]
        if found != expected:
            raise file.corrupt(f"header is {found}, expected {expected}")
        shard = ShardReader(file, tokens, dim, dtype)
        opened.pop_all()  # whoever asked for it closes it
        return shard


def _row(value: Any) -> int:
    if type(value) is not int:  # True is an int, too
        raise ValueError(f"{value!r} is not a row")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    return value
