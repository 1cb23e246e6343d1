"""The formats that a feature table can be exported in."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.errors import CacheError
from clipfuse_cache.table import FeatureTable

_BLOCK_BYTES = 8 << 20


class Rows:
    """Everything that goes into the file: ids, validity, and the features as bytes of another file."""

    def __init__(
        self, table: FeatureTable, ids: tuple[str, ...], valid: NDArray[np.bool_], features: BinaryIO, start: int
    ) -> None:
        about = table.description
        self.about = about
        self.ids = ids
        self.valid = valid
        self.features = features
        self.dtype = np.dtype(about.dtype)
        self.width = about.tokens * about.dim
        self.shape = shape_of(table, len(ids))
        self._start = start

    def describe(self) -> dict[str, str | int]:
        """What the table is, for the file's own metadata."""
        about = self.about
        texts = {"encoder": dict(about.encoder), "provenance": dict(about.provenance)}
        return {
            "format": "clipfuse-export",
            "version": 1,
            "name": about.name,
            "fingerprint": about.fingerprint,
            "tokens": about.tokens,
            "dim": about.dim,
            "dtype": about.dtype,
            **{name: json.dumps(value, ensure_ascii=False, sort_keys=True) for name, value in texts.items()},
        }

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """(first row, (rows, tokens × dim)) in the order of the samples."""
        size = self.width * self.dtype.itemsize
        step = max(1, _BLOCK_BYTES // size)
        self.features.seek(self._start)
        for first in range(0, len(self.ids), step):
            rows = min(step, len(self.ids) - first)
            yield first, np.frombuffer(self.features.read(rows * size), self.dtype).reshape(rows, self.width)


def shape_of(table: FeatureTable, rows: int) -> tuple[int, ...]:
    """(rows, dim), or (rows, tokens, dim) where there are several tokens."""
    about = table.description
    return (rows, about.dim) if about.tokens == 1 else (rows, about.tokens, about.dim)


def write_h5(out: BinaryIO, rows: Rows) -> None:
    """HDF5 with fixed-width UTF-8 ids. Raises OSError where the disk is full."""
    sink = _Sink(out)
    ids = [name.encode() for name in rows.ids]
    width = max(map(len, ids), default=0) or 1
    try:
        with h5py.File(sink, "w") as file:
            file.attrs.update(rows.describe())
            file.create_dataset("ids", data=np.array(ids, f"S{width}").astype(h5py.string_dtype("utf-8", width)))
            file.create_dataset("valid", data=rows.valid)
            features = file.create_dataset("features", rows.shape, rows.dtype)
            for first, values in rows.blocks():
                features[first : first + len(values)] = values.reshape(-1, *rows.shape[1:])
                sink.check()
    finally:
        sink.check()  # before anything that HDF5 says of it


def write_npz(out: BinaryIO, rows: Rows) -> None:
    """An uncompressed .npz that needs no pickle. Raises OSError where the disk is full."""
    description = np.array(json.dumps(rows.describe(), ensure_ascii=False))
    small = {"ids": np.array(rows.ids, dtype=np.str_), "valid": rows.valid, "description": description}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, values in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
        with archive.open("features.npy", "w", force_zip64=True) as member:
            rows.features.seek(0)
            while block := rows.features.read(_BLOCK_BYTES):
                member.write(block)


def write_parquet(out: BinaryIO, rows: Rows) -> None:
    """Parquet, a row group for every block. Raises OSError where the disk is full."""
    arrow, parquet = load_pyarrow()
    vectors = arrow.list_(arrow.float32(), rows.width)  # float16 is beyond many readers
    schema = arrow.schema([("id", arrow.string()), ("valid", arrow.bool_()), ("features", vectors)])
    schema = schema.with_metadata({"clipfuse": json.dumps(rows.describe(), ensure_ascii=False)})
    with parquet.ParquetWriter(out, schema) as writer:
        for first, values in rows.blocks():
            flat = arrow.array(values.astype(np.float32).reshape(-1))
            part = slice(first, first + len(values))
            columns = [
                arrow.array(rows.ids[part], arrow.string()),
                arrow.array(rows.valid[part]),
                arrow.FixedSizeListArray.from_arrays(flat, rows.width),
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def load_pyarrow() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet. Raises CacheError where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise CacheError("writing Parquet needs pyarrow", "pip install 'clipfuse[parquet]'") from error
    return pyarrow, pyarrow.parquet


class _Sink(io.RawIOBase):
    """What HDF5 writes into: it never sees that the disk is full, which it answers with a crash. :meth:`check` says."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._out.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        found = self._out.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def write(self, data: Any) -> int:
        try:
            if self._error is None:
                self._out.write(data)
                self._out.flush()
        except OSError as error:
            self._error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            self._out.truncate(size)
        except OSError as error:
            self._error = self._error or error
        return size or 0
