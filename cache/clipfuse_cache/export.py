"""One feature table as one plain file for other tools: HDF5, NumPy's .npz, or Parquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.atomic import NO_SPACE, temporary_beside
from clipfuse_cache.errors import CacheError, DiskFull
from clipfuse_cache.export_formats import Rows, load_pyarrow, shape_of, write_h5, write_npz, write_parquet
from clipfuse_cache.fingerprint import rows_digest
from clipfuse_cache.samples import Samples
from clipfuse_cache.table import FeatureTable

SUFFIXES = (".h5", ".npz", ".parquet")


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
        load_pyarrow()
    digests = samples.input_digests(table.description.modality)
    if not table.is_complete_for(rows_digest(samples.ids, digests)):
        raise CacheError(
            f"{table.description.name} is not complete for the samples of the cache", "Run clipfuse extract first"
        )
    write = {".h5": write_h5, ".npz": write_npz, ".parquet": write_parquet}[path.suffix]
    with _refusals(path), temporary_beside(path) as scratch, temporary_beside(path) as target:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("xb+") as features, target.open("xb+") as out:
            start, valid = _in_order(table, samples, features, progress)
            write(out, Rows(table, tuple(samples.ids), valid, features, start))
            out.flush()
            os.fsync(out.fileno())
        target.replace(path)
    return path.stat().st_size


def _in_order(
    table: FeatureTable, samples: Samples, out: BinaryIO, progress: Callable[[str, int, int], None] | None
) -> tuple[int, NDArray[np.bool_]]:
    """Write the features as a .npy file, each row at its sample's place. Returns where they begin, and validity."""
    header = {"descr": np.dtype(table.description.dtype).str, "fortran_order": False}
    np.lib.format.write_array_header_1_0(out, {**header, "shape": shape_of(table, len(samples))})
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
        missing = [name for name, there in zip(samples.ids, seen, strict=True) if not there]
        raise table.rows_missing(missing, len(samples))
    return start, valid


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """The operating system's refusals as errors of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFull(f"no space left to write {path}", "Free some space, or name another place") from error
        raise CacheError(f"can't write {path}: {error.strerror or error}") from error
