"""One shard: a fixed block of rows of one feature table, as the bytes of one HDF5 file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache import hdf5
from clipfuse_cache.errors import CacheError
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


def encode_shard(shard: Shard, *, fingerprint: str, index: int) -> bytes:
    """The bytes of a shard's file; equal shards give equal bytes.

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


def decode_shard(
    data: bytes,
    name: str,
    *,
    fingerprint: str,
    index: int,
    tokens: int,
    dim: int,
    dtype: str,
    sha256: str | None = None,
) -> Shard:
    """A shard from its file's bytes, checked against what its table expects. ``name`` is for messages,
    ``sha256`` what the bytes must hash to where that is known (see :class:`hdf5.Reader`).

    Raises:
        CacheCorrupt: not a shard of this table and index, or damaged.
    """
    with hdf5.Reader(data, name, sha256) as reader:
        found = [reader.attribute(key) for key in ("format", "version", "fingerprint", "index")]
        expected = [FORMAT, VERSION, fingerprint, index]
        if found != expected:
            raise reader.corrupt(f"header is {found}, expected {expected}")
        ids = reader.dataset("ids", "uint8", (None,))
        digests = reader.dataset("digests", "uint8", (None, DIGEST_BYTES))
        rows = len(digests)
        id_offsets = reader.dataset("id_offsets", "uint64", (rows + 1,))
        values = reader.dataset("values", dtype, (rows, tokens, dim))
        valid = reader.dataset("valid", "uint8", (rows,))
        failures = reader.dataset("failures", "uint8", (None,))
        notes = reader.dataset("notes", "uint8", (None,))
    try:
        names = tuple(hdf5.unpack_strings(ids, id_offsets))
        reasons = {_row(row): _word(reason) for row, reason in json.loads(failures.tobytes())}
        noted = {_word(word): tuple(map(_row, rows)) for word, rows in json.loads(notes.tobytes())}
        return Shard(names, digests, values, valid.astype(np.bool_), reasons, noted)
    except (ValueError, TypeError, RecursionError) as error:
        raise reader.corrupt(f"ids, failures or notes can't be decoded ({error})") from error


def _row(value: Any) -> int:
    if type(value) is not int:  # True is an int, too
        raise ValueError(f"{value!r} is not a row")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    return value
