"""What each sample's picture and caption are, by digest, so that only new and changed ones are encoded."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np

from clipfuse.data.dataset import Dataset, ImageRef, LedgerEntry, Part
from clipfuse.data.image_names import make_stamp
from clipfuse_cache import Samples
from clipfuse_cache.fingerprint import NO_DIGEST, input_digest

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total); total 0 means that there is nothing to do."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_samples(
    dataset: Dataset, previous: Samples | None, progress: Progress = no_progress
) -> tuple[Samples, list[LedgerEntry]]:
    """The cache's record of a data set, and the pictures that could not be read at all.

    A picture's file is read and hashed once; where its stamp (size, time, place) is the one that ``previous`` knows,
    the digest from there is taken: an edit that keeps a file's place, size and time is not seen.
    """
    known = {}
    if previous is not None:
        stamps = previous.image_stamps.tolist()
        known = {(name, stamps[row]): previous.image_digests[row].tobytes() for row, name in enumerate(previous.ids)}
    digests = [NO_DIGEST] * len(dataset)
    stamps = np.zeros(len(dataset), dtype=np.uint64)
    to_read = []
    problems: dict[int, str] = {}
    for row, picture in enumerate(dataset.images):
        if picture is None:
            continue
        try:
            stamps[row] = _stamp(picture)
        except OSError as error:
            problems[row] = f"can't be read ({error.strerror or error})"
            continue
        digest = known.get((dataset.ids[row], int(stamps[row])), NO_DIGEST)
        if digest == NO_DIGEST:
            to_read.append(row)
        digests[row] = digest

    def read(row: int) -> bytes | str:
        picture = dataset.images[row]
        assert picture is not None
        try:
            return input_digest(picture.read())
        except OSError as error:
            return f"can't be read ({error.strerror or error})"

    with ThreadPoolExecutor(min(8, 2 * cpu_count())) as pool:
        for done, (row, found) in enumerate(zip(to_read, pool.map(read, to_read), strict=True), start=1):
            if isinstance(found, bytes):
                digests[row] = found
            else:
                problems[row] = found
                stamps[row] = 0
            progress("reading pictures", done, len(to_read))

    tables = tuple(dict.fromkeys(origin.file for origin in dataset.origins))
    places = {file: place for place, file in enumerate(tables)}
    samples = Samples(
        ids=dataset.ids,
        captions=dataset.captions,
        labels=dataset.labels,
        label_names=dataset.label_names,
        tables=tuple(file.name for file in tables),
        table_of=np.array([places[origin.file] for origin in dataset.origins], dtype=np.uint16),
        lines=np.array([origin.line for origin in dataset.origins], dtype=np.uint32),
        image_digests=np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, len(NO_DIGEST)),
        image_stamps=stamps,
        splits=dataset.splits,
        layout=asdict(dataset.layout),
    )
    return samples, [row_entry(dataset, row, "image", reason) for row, reason in sorted(problems.items())]


def _stamp(picture: ImageRef) -> int:
    """The file's stamp, and another one for another place: two files can have one size and one time."""
    place = f"{picture.source.path.absolute()}\0{picture.key}"
    return make_stamp(picture.stamp(), zlib.crc32(place.encode(errors="surrogatepass")))


def row_entry(dataset: Dataset, row: int, part: Part, reason: str) -> LedgerEntry:
    """A ledger entry about one part of one row."""
    origin = dataset.origins[row]
    return LedgerEntry(part, reason, str(origin.file), origin.line, dataset.ids[row])
