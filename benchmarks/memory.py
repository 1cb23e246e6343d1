"""Peak memory of an extraction at 10,000 and at 1,000,000 different captions, each in a process of its own.

The captions are those of --data with a counter in each, or drawn ones; the encoder is a fake 384 wide, which takes no
time and no memory of its own: what is measured is the table, the pass and the cache.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import tempfile
import time
from pathlib import Path

from common import in_own_process, parser, report

from clipfuse.config import TableConfig
from clipfuse.data import load_dataset
from clipfuse.extract import ExtractOptions, extract
from clipfuse.testing import FakeFactory
from clipfuse_cache import FeatureCache

WIDTH = 384


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--counts", type=int, nargs="+", default=[10_000, 1_000_000])
    options.add_argument("--in-this-process", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.in_this_process:
        print(json.dumps(measure(chosen.in_this_process)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in [1_000, 5_000] if chosen.quick else chosen.counts:
            table = Path(folder) / f"captions-{count}.csv"
            write_captions(table, count, chosen.data)
            found = measure(table) if chosen.quick else in_own_process(__file__, "--in-this-process", table)
            rows.append({"captions": count, **found})
            table.unlink()
    report("memory", chosen, rows, {"width": WIDTH})


def write_captions(table: Path, count: int, source: Path | None) -> None:
    if source is None:
        captions = ["two people on bicycles beside a river", "a dog with a red ball in the park", "a plate of food"]
    else:
        captions = [caption for caption in load_dataset(TableConfig(table=source)).captions if caption]
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "caption"])
        for number in range(count):
            writer.writerow([f"row-{number:07d}", f"{captions[number % len(captions)]} {number}"])


def measure(table: Path) -> dict[str, float]:
    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    imported = peak()
    started = time.perf_counter()
    dataset = load_dataset(TableConfig(table=table))
    loaded, read = peak(), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        cache = FeatureCache(Path(folder))
        extract([FakeFactory(dim=WIDTH, modalities=("text",))], dataset, cache, ExtractOptions())
        extracted, done = peak(), time.perf_counter()
        extract([FakeFactory(dim=WIDTH, modalities=("text",))], dataset, cache, ExtractOptions())
    return {
        "MB at start": imported,
        "MB with the table": loaded,
        "MB at most": extracted,
        "MB at most, again": peak(),
        "read s": read - started,
        "extract s": done - read,
        "again s": time.perf_counter() - done,
    }


if __name__ == "__main__":
    main()
