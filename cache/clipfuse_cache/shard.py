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
    """

    ids: tuple[str, ...]
    digests: NDArray[np.uint8]
    values: NDArray[Any]
    valid: NDArray[np.bool_]
    failures: Mapping[int, str] = field(default_factory=dict)

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
    return hdf5.build(
        {"format": FORMAT, "version": VERSION, "fingerprint": fingerprint, "index": index},
        {
            "ids": ids,
            "id_offsets": id_offsets,
            "digests": shard.digests,
            "values": shard.values,
            "valid": shard.valid.astype(np.uint8),
            "failures": np.frombuffer(failures, dtype=np.uint8),
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
    try:
        names = tuple(hdf5.unpack_strings(ids, id_offsets))
        reasons = {int(row): str(reason) for row, reason in json.loads(failures.tobytes())}
        return Shard(names, digests, values, valid.astype(np.bool_), reasons)
    except (ValueError, TypeError, RecursionError) as error:
        raise reader.corrupt(f"ids or failures can't be decoded ({error})") from error
