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
from clipfuse_cache.columns import places_of
from clipfuse_cache.fingerprint import DIGEST_BYTES, NO_DIGEST, input_digest

_BLOCK = 4096  # pictures that are under way at once

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
    known = _known_digests(dataset, previous)
    digests = np.zeros((len(dataset), DIGEST_BYTES), dtype=np.uint8)
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
        digest = known(row, int(stamps[row]))
        if digest == NO_DIGEST:
            to_read.append(row)
        else:
            digests[row] = np.frombuffer(digest, dtype=np.uint8)

    def read(row: int) -> bytes | str:
        picture = dataset.images[row]
        assert picture is not None
        try:
            return input_digest(picture.read())
        except OSError as error:
            return f"can't be read ({error.strerror or error})"

    with ThreadPoolExecutor(min(8, 2 * cpu_count())) as pool:
        for start in range(0, len(to_read), _BLOCK):
            block = to_read[start : start + _BLOCK]
            for done, (row, found) in enumerate(zip(block, pool.map(read, block), strict=True), start=start + 1):
                if isinstance(found, bytes):
                    digests[row] = np.frombuffer(found, dtype=np.uint8)
                else:
                    problems[row] = found
                    stamps[row] = 0
                progress("reading pictures", done, len(to_read))

    samples = Samples(
        ids=dataset.ids,
        captions=dataset.captions,
        labels=dataset.labels,
        label_names=dataset.label_names,
        tables=tuple(file.name for file in dataset.origins.files),
        table_of=dataset.origins.file_of,
        lines=dataset.origins.lines,
        image_digests=digests,
        image_stamps=stamps,
        splits=dataset.splits,
        numbers=dataset.numbers,
        number_names=dataset.number_names,
        layout=asdict(dataset.layout),
    )
    return samples, [row_entry(dataset, row, "image", reason) for row, reason in sorted(problems.items())]


def _known_digests(dataset: Dataset, previous: Samples | None) -> Callable[[int, int], bytes]:
    """The digest that ``previous`` has for a row's picture if its stamp is this one; 16 zero bytes for other rows."""
    if previous is None or not any(dataset.images):
        return lambda row, stamp: NO_DIGEST
    places, digests, stamps = places_of(previous.ids).find(dataset.ids), previous.image_digests, previous.image_stamps

    def known(row: int, stamp: int) -> bytes:
        place = places[row]
        return digests[place].tobytes() if place >= 0 and int(stamps[place]) == stamp else NO_DIGEST

    return known


def _stamp(picture: ImageRef) -> int:
    """The file's stamp, and another one for another place: two files can have one size and one time."""
    place = f"{picture.source.path.absolute()}\0{picture.key}"
    return make_stamp(picture.stamp(), zlib.crc32(place.encode(errors="surrogatepass")))


def row_entry(dataset: Dataset, row: int, part: Part, reason: str) -> LedgerEntry:
    """A ledger entry about one part of one row."""
    origin = dataset.origins[row]
    return LedgerEntry(part, reason, str(origin.file), origin.line, dataset.ids[row])
