"""One feature table as one plain file for other tools: HDF5, NumPy's .npz, or Parquet."""

from __future__ import annotations

import io
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.atomic import _NO_SPACE
from clipfuse_cache.errors import CacheError, DiskFull, RowsMissing
from clipfuse_cache.fingerprint import rows_digest
from clipfuse_cache.samples import Samples
from clipfuse_cache.table import FeatureTable

SUFFIXES = (".h5", ".npz", ".parquet")
_BLOCK_BYTES = 8 << 20


def export_table(
    table: FeatureTable,
    samples: Samples,
    path: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> int:
    """Write ``table``'s features of ``samples``, in their order, to ``path``, whose suffix says in which format.

    ``ids``: (rows,) strings. ``features``: (rows, dim), or (rows, tokens, dim) where there are several tokens, in the
    table's dtype; in Parquet one list of tokens × dim float32 a row. ``valid``: (rows,) bool; features are zeros where
    not. What the table is goes along as JSON: attributes in HDF5, ``description`` in .npz, "clipfuse" in Parquet's
    metadata. The file is complete or absent. A copy of the features is written beside it meanwhile, so that memory
    holds one shard at a time.

    Returns:
        Bytes of the file.

    Raises:
        CacheError: the suffix is another one, the file exists and ``overwrite`` is off, the table is not complete for
            ``samples``, or there is no pyarrow for Parquet.
        CacheCorrupt: a shard is damaged.
        DiskFull: no space left.
    """
    if path.suffix not in SUFFIXES:
        raise CacheError(f"{path}: the format is told by the name's end", f"Use one of {', '.join(SUFFIXES)}")
    if path.exists() and not overwrite:
        raise CacheError(f"{path} exists", "Name another file, or replace it with --force")
    if path.suffix == ".parquet":
        _pyarrow()
    digests = samples.input_digests(table.description.modality)
    if not table.is_complete_for(rows_digest(samples.ids, digests)):
        raise CacheError(
            f"{table.description.name} is not complete for the samples of the cache", "Run clipfuse extract first"
        )
    write = {".h5": _write_h5, ".npz": _write_npz, ".parquet": _write_parquet}[path.suffix]
    with _refusals(path), _temporary(path) as scratch, _temporary(path) as target:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("xb+") as features, target.open("xb+") as out:
            start, valid = _in_order(table, samples, features, progress)
            write(out, _Rows(table, samples.ids, valid, features, start))
            out.flush()
            os.fsync(out.fileno())
        target.replace(path)
    return path.stat().st_size


class _Rows:
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
        self.shape = _shape(table, len(ids))
        self._start = start

    def describe(self) -> dict[str, str | int]:
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


def _shape(table: FeatureTable, rows: int) -> tuple[int, ...]:
    about = table.description
    return (rows, about.dim) if about.tokens == 1 else (rows, about.tokens, about.dim)


def _in_order(
    table: FeatureTable, samples: Samples, out: BinaryIO, progress: Callable[[str, int, int], None] | None
) -> tuple[int, NDArray[np.bool_]]:
    """Write the features as a .npy file, each row at its sample's place. Returns where they begin, and validity."""
    header = {"descr": np.dtype(table.description.dtype).str, "fortran_order": False}
    np.lib.format.write_array_header_1_0(out, {**header, "shape": _shape(table, len(samples))})
    start = out.tell()
    place_of = {name: place for place, name in enumerate(samples.ids)}
    valid, seen = np.zeros((2, len(samples)), np.bool_)
    for done, shard in enumerate(table.shards(), start=1):  # first to last: of a row's several values the last stays
        pairs = [(place_of[name], row) for row, name in enumerate(shard.ids) if name in place_of]
        if pairs:
            places, rows = np.array(pairs, dtype=np.int64).T
            valid[places], seen[places] = shard.valid[rows], True
            size = shard.values[0].nbytes
            for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(places) != 1) + 1):
                out.seek(start + int(places[run[0]]) * size)
                out.write(shard.values[rows[run]].tobytes())
        if progress is not None:
            progress("reading shards", done, len(table.manifest.shards))
    if not seen.all():
        raise RowsMissing(f"{int((~seen).sum())} rows are not in {table.folder}", "Run clipfuse extract again")
    return start, valid


def _write_h5(out: BinaryIO, rows: _Rows) -> None:
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


def _write_npz(out: BinaryIO, rows: _Rows) -> None:
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


def _write_parquet(out: BinaryIO, rows: _Rows) -> None:
    arrow, parquet = _pyarrow()
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


def _pyarrow() -> tuple[Any, Any]:
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


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside ``path``; what is there in the end is removed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """The operating system's refusals as errors of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFull(f"no space left to write {path}", "Free some space, or name another place") from error
        raise CacheError(f"can't write {path}: {error.strerror or error}") from error
