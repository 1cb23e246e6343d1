"""The feature cache beside .npy, plain HDF5 and Parquet: writing, opening, checking, reading whole, reading some rows.

All write the same values and flush them to disk. "Cold" is read after the operating system was asked to forget the
files' pages (None where it does not: the bytes are counted that came from the disk), "warm" right after. A figure is
the median of the repeats, in each of which every format has its turn; MB are those of the float16 values, whatever
a format makes of them. "hash s" is what SHA-256 alone takes over the cache's files: no reader that checks its bytes
can do with less. "loads" are the processes that wanted the machine's cores (a minute's mean) before the first size and
after each: where they are more than the cores, compare only figures of one run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, print_table, report, timed
from formats import FORMATS, Clipfuse, Format, Matrix

from clipfuse_cache import FeatureCache


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--cache", type=Path, help="a cache of your own: the values of its first table")
    options.add_argument("--sizes", type=int, nargs="+", default=[25_000, 200_000], help="rows")
    options.add_argument("--dim", type=int, default=768)
    options.add_argument("--some", type=int, default=2_000, help="rows that are asked for by id")
    options.add_argument("--folder", type=Path, help="where to write; it says which disk is measured")
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.sizes, chosen.dim, chosen.some, chosen.repeats = [300], 16, 20, 1
    rows, loads = [], [os.getloadavg()[0]]
    for size in chosen.sizes:
        matrix = stored(chosen.cache, size) if chosen.cache else drawn(size, chosen.dim)
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            rows += measure(matrix, chosen.some, chosen.repeats, Path(folder))
        loads.append(os.getloadavg()[0])
    gives = [
        {
            "format": one.name,
            "damage that a reader notices": one.checks,
            "killed while writing": one.killed,
            "rows by id": one.joins,
        }
        for one in FORMATS
    ]
    facts = {"dim": matrix.values.shape[1], "some": chosen.some, "repeats": chosen.repeats, "loads": loads}
    report("cache", chosen, rows, {**facts, "gives": gives})
    print_table("what each gives", gives)


def drawn(rows: int, dim: int) -> Matrix:
    rng = np.random.default_rng(rows)
    values = rng.standard_normal((rows, dim), dtype=np.float32).astype(np.float16)
    return Matrix(tuple(f"picture-{row:08d}" for row in range(rows)), values)


def stored(cache: Path, rows: int) -> Matrix:
    ids = tuple(FeatureCache(cache).samples().ids[:rows])
    values = FeatureCache(cache).tables()[0].take(ids).values
    return Matrix(ids, values.reshape(len(ids), -1).astype(np.float16))


def measure(matrix: Matrix, some: int, repeats: int, folder: Path) -> list[dict[str, Any]]:
    """One row for each format."""
    wanted = np.random.default_rng(0).choice(len(matrix.ids), size=min(some, len(matrix.ids)), replace=False)
    found: dict[str, dict[str, list[float]]] = {one.name: {} for one in FORMATS}
    sizes = {}
    for repeat in range(repeats):
        for one in FORMATS:
            place = folder / f"{one.name}-{repeat}"
            place.mkdir()
            for what, seconds in one_turn(one, matrix, wanted, place).items():
                found[one.name].setdefault(what, []).append(seconds)
            sizes[one.name] = sum(path.stat().st_size for path in files(place))
            shutil.rmtree(place)
    return [row(one, matrix, found[one.name], sizes[one.name]) for one in FORMATS]


def one_turn(one: Format, matrix: Matrix, wanted: np.ndarray[Any, Any], place: Path) -> dict[str, float]:
    """Seconds of each step; cold ones are left out where nothing came from the disk."""
    ids = [matrix.ids[row] for row in wanted]
    seconds = {"write": timed(lambda: one.write(place, matrix))}
    if not one.syncs:
        seconds["unsynced"] = seconds["write"]
        seconds["write"] += timed(lambda: sync(place))
    seconds["open"] = timed(lambda: one.open(place))
    for what, read, expected in (
        ("whole", lambda: one.whole(place, matrix.ids), matrix.values),
        ("some", lambda: one.some(place, ids), matrix.values[wanted]),
    ):
        forget(place)
        before = bytes_from_disk()
        started = time.perf_counter()
        values = read()
        cold = time.perf_counter() - started
        assert np.array_equal(values, expected)
        if bytes_from_disk() - before >= expected.nbytes // 2:
            seconds[f"{what} cold"] = cold
        del values
        seconds[f"{what} warm"] = timed(read)
    if isinstance(one, Clipfuse):
        seconds["verify"] = timed(lambda: one.verify(place))
        data = [path.read_bytes() for path in files(place)]
        seconds["hash"] = timed(lambda: [hashlib.sha256(part).digest() for part in data])
    return seconds


def row(one: Format, matrix: Matrix, found: dict[str, list[float]], size: int) -> dict[str, Any]:
    middle = {what: statistics.median(seconds) for what, seconds in found.items()}
    megabytes = matrix.values.nbytes / 1e6

    def rate(what: str) -> float | None:
        return megabytes / middle[what] if what in middle else None

    def thousandths(what: str) -> float | None:
        return middle[what] * 1e3 if what in middle else None

    return {
        "rows": len(matrix.ids),
        "format": one.name,
        "write s": middle["write"],
        "write MB/s": rate("write"),
        "not flushed s": middle.get("unsynced"),
        "open ms": thousandths("open"),
        "verify s": middle.get("verify"),
        "whole cold s": middle.get("whole cold"),
        "cold MB/s": rate("whole cold"),
        "whole warm s": middle["whole warm"],
        "warm MB/s": rate("whole warm"),
        "some cold ms": thousandths("some cold"),
        "some warm ms": thousandths("some warm"),
        "hash s": middle.get("hash"),
        "MB on disk": size / 1e6,
    }


def files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file())


def sync(place: Path) -> None:
    """Flush files and folder to disk, as the cache does of itself."""
    for path in [*files(place), place]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def forget(place: Path) -> None:
    """Ask the operating system to drop the files' pages from memory."""
    for path in files(place):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # what is not on disk yet can't be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def bytes_from_disk() -> int:
    """What this process has read from disk so far; 0 where that can't be known."""
    try:
        counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(counters["read_bytes"])
    except (OSError, KeyError, ValueError):
        return 0


if __name__ == "__main__":
    main()
