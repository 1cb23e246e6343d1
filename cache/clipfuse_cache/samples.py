"""``samples.h5``: which samples a cache is about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache import hdf5
from clipfuse_cache.atomic import write_bytes
from clipfuse_cache.errors import CacheError, CacheMissing
from clipfuse_cache.fingerprint import DIGEST_BYTES, NO_DIGEST, input_digest

FORMAT = "clipfuse-samples"
VERSION = 1


@dataclass(frozen=True)
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
        layout: how the main table was written, as JSON values; the cache only keeps it.
    """

    ids: tuple[str, ...]
    captions: tuple[str | None, ...]
    labels: NDArray[np.bool_] | None
    label_names: tuple[str, ...]
    tables: tuple[str, ...]
    table_of: NDArray[np.uint16]
    lines: NDArray[np.uint32]
    image_digests: NDArray[np.uint8]
    image_stamps: NDArray[np.uint64]
    splits: tuple[str, ...] = ()
    layout: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.ids)
        shapes = [x.shape for x in (self.table_of, self.lines, self.image_digests, self.image_stamps)]
        wanted = [(rows,), (rows,), (rows, DIGEST_BYTES), (rows,)]
        if len(self.captions) != rows or len(set(self.ids)) != rows or shapes != wanted:
            raise ValueError(
                f"{rows} ids, {len(set(self.ids))} of them different, {len(self.captions)} captions, {shapes}"
            )
        if len(self.splits) not in (0, rows):
            raise ValueError(f"{len(self.splits)} splits for {rows} rows")
        labels = (rows, 0) if self.labels is None else self.labels.shape
        if labels != (rows, len(self.label_names)):
            raise ValueError(f"labels {labels} for {rows} rows and {len(self.label_names)} label names")

    def __len__(self) -> int:
        return len(self.ids)

    def input_digests(self, modality: str) -> list[bytes]:
        """Each row's input digest for "image" or "text"; 16 zero bytes where the input is absent."""
        if modality == "image":
            return [digest.tobytes() for digest in self.image_digests]
        return [NO_DIGEST if text is None else input_digest(text.encode()) for text in self.captions]

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """(n,) int64 positions of ``ids``. Raises CacheError for an id that is not there."""
        place = {name: row for row, name in enumerate(self.ids)}
        unknown = [name for name in ids if name not in place]
        if unknown:
            raise CacheError(
                f"{len(unknown)} ids are not in the cache's samples, the first is {unknown[0]!r}",
                "Run clipfuse extract on the table that holds them",
            )
        return np.array([place[name] for name in ids], dtype=np.int64)


def write_samples(path: Path, samples: Samples) -> None:
    """Replace ``samples.h5`` atomically. Raises DiskFull or CacheError where it can't be written."""
    ids, id_offsets = hdf5.pack_strings([name.encode() for name in samples.ids])
    captions, caption_offsets = hdf5.pack_strings([(text or "").encode() for text in samples.captions])
    splits, split_offsets = hdf5.pack_strings([name.encode() for name in samples.splits])
    present = np.array([text is not None for text in samples.captions], dtype=np.uint8)
    labels = samples.labels if samples.labels is not None else np.zeros((len(samples), 0), dtype=np.bool_)
    words = {"labels": samples.label_names, "tables": samples.tables, "layout": samples.layout}
    names = json.dumps(words, ensure_ascii=False).encode()
    data = hdf5.build(
        {"format": FORMAT, "version": VERSION, "labelled": int(samples.labels is not None)},
        {
            "ids": ids,
            "id_offsets": id_offsets,
            "captions": captions,
            "caption_offsets": caption_offsets,
            "caption_present": present,
            "splits": splits,
            "split_offsets": split_offsets,
            "labels": labels.astype(np.uint8),
            "names": np.frombuffer(names, dtype=np.uint8),
            "table_of": samples.table_of,
            "lines": samples.lines,
            "image_digests": samples.image_digests,
            "image_stamps": samples.image_stamps,
        },
    )
    write_bytes(path, data)


def read_samples(path: Path) -> Samples:
    """Read ``samples.h5``.

    Raises:
        CacheMissing: there is none.
        CacheCorrupt: it is damaged or of another version.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CacheMissing(f"{path.parent} is not a feature cache", "Run clipfuse extract to make one") from error
    except OSError as error:
        raise CacheError(f"can't read {path}: {error.strerror or error}") from error
    with hdf5.Reader(data, str(path)) as reader:
        found = (reader.attribute("format"), reader.attribute("version"))
        if found != (FORMAT, VERSION):
            raise reader.corrupt(f"format and version are {found}, expected {(FORMAT, VERSION)}")
        digests = reader.dataset("image_digests", "uint8", (None, DIGEST_BYTES))
        rows = len(digests)
        labelled = reader.attribute("labelled") == 1
        labels = reader.dataset("labels", "uint8", (rows, None)).astype(np.bool_)
        present = reader.dataset("caption_present", "uint8", (rows,))
        try:
            names = json.loads(reader.dataset("names", "uint8", (None,)).tobytes())
            label_names, tables, layout = tuple(names["labels"]), tuple(names["tables"]), dict(names["layout"])
            ids = hdf5.unpack_strings(
                reader.dataset("ids", "uint8", (None,)), reader.dataset("id_offsets", "uint64", (rows + 1,))
            )
            captions = hdf5.unpack_strings(
                reader.dataset("captions", "uint8", (None,)),
                reader.dataset("caption_offsets", "uint64", (rows + 1,)),
            )
            splits = hdf5.unpack_strings(
                reader.dataset("splits", "uint8", (None,)), reader.dataset("split_offsets", "uint64", (None,))
            )
            return Samples(
                ids=tuple(ids),
                captions=tuple(text if there else None for text, there in zip(captions, present, strict=True)),
                labels=labels if labelled else None,
                label_names=label_names,
                tables=tables,
                table_of=reader.dataset("table_of", "uint16", (rows,)),
                lines=reader.dataset("lines", "uint32", (rows,)),
                image_digests=digests,
                image_stamps=reader.dataset("image_stamps", "uint64", (rows,)),
                splits=tuple(splits),
                layout=layout,
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise reader.corrupt(f"ids, captions or labels do not fit each other ({error})") from error
