"""Ways of keeping a matrix of features on disk: clipfuse's cache, and what one would take without it.

Each of the others keeps the ids beside the values, so that rows can be asked for by id, and joins them here by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from clipfuse_cache import FeatureCache, FeatureTable, Samples, Shard, TableDescription
from clipfuse_cache.fingerprint import fingerprint
from clipfuse_cache.hdf5 import CHUNK_ROWS
from clipfuse_cache.verify import verify

SHARD_ROWS = 2048  # as stage one writes them


@dataclass(frozen=True)
class Matrix:
    """What is written: ids, one per row, and (rows, dim) float16 values."""

    ids: tuple[str, ...]
    values: NDArray[np.float16]


class Format(Protocol):
    """One way of keeping a :class:`Matrix` in a folder of its own.

    Attributes:
        name: for the table.
        checks: which damage a reader notices.
        killed: what is left where the writer is killed.
        joins: how rows are found by id.
        syncs: it flushes its files to disk itself.
    """

    name: str
    checks: str
    killed: str
    joins: str
    syncs: bool

    def write(self, folder: Path, matrix: Matrix) -> None:
        """Write everything into an empty folder."""

    def open(self, folder: Path) -> object:
        """Everything that can be done before the first row is read."""

    def whole(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        """(rows, dim) all rows; ``ids`` are all of them in their order, and only clipfuse looks at them."""

    def some(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        """(n, dim) the rows of ``ids``, in their order."""


class Clipfuse:
    name = "clipfuse cache"
    checks = "any: SHA-256 of every shard at every read"
    killed = "finished shards stay, and writing goes on from there"
    joins = "yes"
    syncs = True

    def write(self, folder: Path, matrix: Matrix) -> None:
        rows = len(matrix.ids)
        samples = Samples(
            ids=matrix.ids,
            captions=matrix.ids,
            labels=None,
            label_names=(),
            tables=("drawn.csv",),
            table_of=np.zeros(rows, np.uint16),
            lines=np.arange(2, rows + 2, dtype=np.uint32),
            image_digests=np.zeros((rows, 16), np.uint8),
            image_stamps=np.zeros(rows, np.uint64),
        )
        cache = FeatureCache(folder)
        cache.write_samples(samples)
        encoder = {"modality": "text", "output": "drawn", "view": "identity", "storage": "float16"}
        about = TableDescription(
            "drawn/text/drawn", fingerprint(encoder), encoder, 1, matrix.values.shape[1], "float16"
        )
        digests = samples.input_digests("text")
        writer = cache.writer(about, matrix.ids, digests, shard_rows=SHARD_ROWS, batch_size=SHARD_ROWS)
        writer.begin()
        for index in writer.missing():
            places = writer.rows_of(index)
            values = matrix.values[places][:, None]
            shard = Shard(
                tuple(matrix.ids[place] for place in places),
                digests.array[places],
                values,
                np.ones(len(places), np.bool_),
            )
            writer.write(index, shard)
        writer.commit()

    def open(self, folder: Path) -> FeatureTable:
        (table,) = FeatureCache(folder).tables()
        return table

    def whole(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        return self.some(folder, ids)

    def some(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        return self.open(folder).take(ids).values[:, 0]

    def verify(self, folder: Path) -> None:
        assert not verify(FeatureCache(folder)).problems


class Npy:
    name = ".npy"
    checks = "none of the values"
    killed = "a file cut short"
    joins = "by a join of one's own with a second file"
    syncs = False

    def write(self, folder: Path, matrix: Matrix) -> None:
        np.save(folder / "values.npy", matrix.values)
        np.save(folder / "ids.npy", np.array(matrix.ids, dtype=np.bytes_))

    def open(self, folder: Path) -> NDArray[Any]:
        found: NDArray[Any] = np.load(folder / "values.npy", mmap_mode="r")
        return found

    def whole(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        found: NDArray[Any] = np.load(folder / "values.npy")
        return found

    def some(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        return np.asarray(self.open(folder)[places(np.load(folder / "ids.npy"), ids)])


class PlainHdf5:
    """h5py as it comes, one dataset; or in the chunks and with the checksums that clipfuse's shards have."""

    killed = "a file that can't be opened"
    joins = "by a join of one's own with a second dataset"
    syncs = False

    def __init__(self, name: str, *, chunks: bool | int, fletcher32: bool = False) -> None:
        self.name = name
        self.checks = "nearly any in the values: fletcher32" if fletcher32 else "none of the values"
        self.chunks = chunks
        self.fletcher32 = fletcher32

    def write(self, folder: Path, matrix: Matrix) -> None:
        rows, dim = matrix.values.shape
        own = self.chunks if isinstance(self.chunks, bool) else (min(self.chunks, rows), dim)
        with h5py.File(folder / "features.h5", "w") as file:
            file.create_dataset("values", data=matrix.values, chunks=own or None, fletcher32=self.fletcher32)
            file["ids"] = np.array(matrix.ids, dtype=np.bytes_)

    def open(self, folder: Path) -> None:
        with h5py.File(folder / "features.h5") as file:
            assert file["values"].shape

    def whole(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        with h5py.File(folder / "features.h5") as file:
            return np.asarray(file["values"][()])

    def some(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        with h5py.File(folder / "features.h5") as file:
            wanted = places(file["ids"][()], ids)
            ascending, back = np.unique(wanted, return_inverse=True)  # h5py takes no others
            return np.asarray(file["values"][ascending][back])


class Parquet:
    """pyarrow's Parquet: a column of lists of fixed length, in pyarrow's row groups, neither dictionary nor
    compression, which only cost time on such numbers."""

    checks = "none of the values"
    killed = "a file that can't be opened"
    joins = "by a join of one's own with a second column"
    syncs = False

    def __init__(self, dtype: str) -> None:
        self.name = f"Parquet, {dtype}"
        self.dtype = np.dtype(dtype)

    def write(self, folder: Path, matrix: Matrix) -> None:
        import pyarrow
        from pyarrow import parquet

        flat = pyarrow.array(matrix.values.astype(self.dtype, copy=False).reshape(-1))
        vectors = pyarrow.FixedSizeListArray.from_arrays(flat, matrix.values.shape[1])
        table = pyarrow.table({"id": pyarrow.array(matrix.ids), "values": vectors})
        parquet.write_table(table, folder / "features.parquet", use_dictionary=False, compression="none")

    def open(self, folder: Path) -> object:
        from pyarrow import parquet

        return parquet.ParquetFile(folder / "features.parquet")

    def whole(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        from pyarrow import parquet

        return _matrix(parquet.read_table(folder / "features.parquet", columns=["values"])["values"])

    def some(self, folder: Path, ids: Sequence[str]) -> NDArray[Any]:
        from pyarrow import parquet

        table = parquet.read_table(folder / "features.parquet")
        return _matrix(table["values"].take(places(table["id"].to_pylist(), ids)))


def _matrix(column: Any) -> NDArray[Any]:
    """(rows, dim) of a column of lists, in one piece as everybody else gives it."""
    parts = [part.flatten().to_numpy().reshape(len(part), -1) for part in column.chunks]
    return np.concatenate(parts) if len(parts) > 1 else np.array(parts[0])


def places(stored: Any, wanted: Sequence[str]) -> NDArray[np.int64]:
    """(n,) rows of ``wanted`` among the stored ids: bytes or strings."""
    names = stored.astype(str).tolist() if isinstance(stored, np.ndarray) else stored
    row_of = {name: row for row, name in enumerate(names)}
    return np.array([row_of[name] for name in wanted])


FORMATS: tuple[Format, ...] = (
    Clipfuse(),
    Npy(),
    PlainHdf5("h5py, contiguous", chunks=False),
    PlainHdf5("h5py, its own chunks", chunks=True),
    PlainHdf5("h5py, clipfuse's chunks", chunks=CHUNK_ROWS, fletcher32=True),
    Parquet("float16"),
    Parquet("float32"),
)
