"""``samples.h5``: which samples a cache is about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache import hdf5
from clipfuse_cache.atomic import write_bytes
from clipfuse_cache.columns import Digests, OptionalStrings, Strings, places_of
from clipfuse_cache.errors import CacheError, CacheMissing
from clipfuse_cache.fingerprint import DIGEST_BYTES

FORMAT = "clipfuse-samples"
VERSION = 1


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a cache, in the order of their tables.

    Attributes:
        ids: unique ids.
        captions: None where a row has none.
        labels: (rows, labels) bool, or None for unlabelled tables.
        label_names: the columns of ``labels``.
        tables: file names of the tables that the rows came from, the main one first.
        table_of: (rows,) uint16, index into ``tables``.
        lines: (rows,) uint32, the line (or record) in that table.
        image_digests: (rows, 16) uint8, digest of each picture's file; zeros where there is none.
        image_stamps: (rows,) uint64, changes when the file does; spares reading it again.
        splits: what a split column says of each row; empty without one.
        numbers: (rows, number columns) float64, NaN where a row has none; None without such columns.
        number_names: the columns of ``numbers``.
        layout: how the main table was written, as JSON values; the cache only keeps it.
    """

    ids: Sequence[str]
    captions: Sequence[str | None]
    labels: NDArray[np.bool_] | None
    label_names: tuple[str, ...]
    tables: tuple[str, ...]
    table_of: NDArray[np.uint16]
    lines: NDArray[np.uint32]
    image_digests: NDArray[np.uint8]
    image_stamps: NDArray[np.uint64]
    splits: Sequence[str] = ()
    numbers: NDArray[np.float64] | None = None
    number_names: tuple[str, ...] = ()
    layout: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.ids)
        shapes = [x.shape for x in (self.table_of, self.lines, self.image_digests, self.image_stamps)]
        wanted = [(rows,), (rows,), (rows, DIGEST_BYTES), (rows,)]
        if len(self.captions) != rows or shapes != wanted:
            raise ValueError(f"{rows} ids, {len(self.captions)} captions, {shapes}")
        repeated = places_of(self.ids).first_repeated()
        if repeated is not None:
            raise ValueError(f"ids {repeated[0]} and {repeated[1]} are both {self.ids[repeated[0]]!r}")
        if len(self.splits) not in (0, rows):
            raise ValueError(f"{len(self.splits)} splits for {rows} rows")
        numbers = None if self.numbers is None else (*self.numbers.shape, self.numbers.dtype)
        if numbers != ((rows, len(self.number_names), np.float64) if self.number_names else None):
            raise ValueError(f"numbers {numbers} for {rows} rows and {len(self.number_names)} number names")
        labels = (rows, 0) if self.labels is None else self.labels.shape
        if labels != (rows, len(self.label_names)):
            raise ValueError(f"labels {labels} for {rows} rows and {len(self.label_names)} label names")

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        """Whether ``samples.h5`` would be the same file."""
        if not isinstance(other, Samples):
            return NotImplemented
        return all(_same(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)

    __hash__ = None  # type: ignore[assignment]

    def input_digests(self, modality: str) -> Digests:
        """(rows,) each row's input digest for "image" or "text"; 16 zero bytes where the input is absent."""
        if modality == "image":
            return Digests(self.image_digests)
        return Digests.of_strings(OptionalStrings.pack(self.captions))

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(n,) int64 positions of ``ids``. Raises CacheError for an id that is not there."""
        found = places_of(self.ids).find(ids)
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            raise CacheError(
                f"{len(unknown)} ids are not in the cache's samples, the first is {ids[unknown[0]]!r}",
                "Run clipfuse extract on the table that holds them",
            )
        return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return one is not None and other is not None and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, Mapping):
        return json.dumps(one) == json.dumps(other)  # tuples become lists in a file
    return bool(one == other)


def write_samples(path: Path, samples: Samples) -> None:
    """Replace ``samples.h5`` atomically. Raises DiskFull or CacheError where it can't be written."""
    ids, captions = Strings.pack(samples.ids), OptionalStrings.pack(samples.captions)
    splits = Strings.pack(samples.splits)
    labels = samples.labels if samples.labels is not None else np.zeros((len(samples), 0), dtype=np.bool_)
    words = {"labels": samples.label_names, "tables": samples.tables, "layout": samples.layout}
    numbers: dict[str, NDArray[np.float64]] = {}
    if samples.numbers is not None:  # without, the file is as it was before there were any
        words["numbers"], numbers["numbers"] = samples.number_names, samples.numbers
    names = json.dumps(words, ensure_ascii=False).encode()
    data = hdf5.build(
        {"format": FORMAT, "version": VERSION, "labelled": int(samples.labels is not None)},
        {
            "ids": ids.data,
            "id_offsets": ids.offsets,
            "captions": captions.strings.data,
            "caption_offsets": captions.strings.offsets,
            "caption_present": captions.present.astype(np.uint8),
            "splits": splits.data,
            "split_offsets": splits.offsets,
            "labels": labels.astype(np.uint8),
            "names": np.frombuffer(names, dtype=np.uint8),
            "table_of": samples.table_of,
            "lines": samples.lines,
            "image_digests": samples.image_digests,
            "image_stamps": samples.image_stamps,
            **numbers,
        },
    )
    write_bytes(path, data.data)


def read_samples(path: Path) -> Samples:
    """Read ``samples.h5``.

    Raises:
        CacheMissing: there is none.
        CacheCorrupt: it is damaged or of another version.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CacheMissing(f"{path.parent} is not a feature cache", "Run clipfuse extract to make one") from error
    except OSError as error:
        raise CacheError(f"can't read {path}: {error.strerror or error}") from error


def _read(file: BinaryIO, path: Path) -> Samples:
    with hdf5.Reader(file, str(path)) as reader:
        found = (reader.attribute("format"), reader.attribute("version"))
        if found != (FORMAT, VERSION):
            raise reader.corrupt(f"format and version are {found}, expected {(FORMAT, VERSION)}")
        digests = reader.dataset("image_digests", "uint8", (None, DIGEST_BYTES))
        rows = len(digests)
        labelled = reader.attribute("labelled") == 1
        labels = reader.dataset("labels", "uint8", (rows, None)).astype(np.bool_)
        present = reader.dataset("caption_present", "uint8", (rows,)).astype(np.bool_)
        try:
            names = json.loads(reader.dataset("names", "uint8", (None,)).tobytes())
            label_names, tables, layout = tuple(names["labels"]), tuple(names["tables"]), dict(names["layout"])
            number_names = tuple(names.get("numbers", ()))
            numbers = reader.dataset("numbers", "float64", (rows, len(number_names))) if number_names else None
            captions = _strings(reader, "captions", "caption_offsets", rows)
            return Samples(
                ids=_strings(reader, "ids", "id_offsets", rows),
                captions=OptionalStrings(captions, present),
                labels=labels if labelled else None,
                label_names=label_names,
                tables=tables,
                table_of=reader.dataset("table_of", "uint16", (rows,)),
                lines=reader.dataset("lines", "uint32", (rows,)),
                image_digests=digests,
                image_stamps=reader.dataset("image_stamps", "uint64", (rows,)),
                splits=_strings(reader, "splits", "split_offsets", None),
                numbers=numbers,
                number_names=number_names,
                layout=layout,
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise reader.corrupt(f"ids, captions or labels do not fit each other ({error})") from error


def _strings(reader: hdf5.Reader, data: str, offsets: str, rows: int | None) -> Strings:
    bounds = reader.dataset(offsets, "uint64", (None if rows is None else rows + 1,))
    return Strings.unpack(reader.dataset(data, "uint8", (None,)), bounds)
