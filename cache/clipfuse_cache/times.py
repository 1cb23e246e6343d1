"""How long a table's shards took to make: beside the shards, because it is another one each time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipfuse_cache.atomic import write_json
from clipfuse_cache.errors import CacheError
from clipfuse_cache.manifest import read_json

TIMES = "times.json"
_FORMAT = ("clipfuse-times", 1)


@dataclass(frozen=True)
class ShardTime:
    """What one shard took: its rows, the seconds of the process that made it, and the machine that this was on, as
    JSON values."""

    rows: int
    seconds: float
    machine: Mapping[str, Any]


def note_time(folder: Path, index: int, time: ShardTime) -> None:
    """Write down what shard ``index`` takes, in place of what is known of an earlier one. Hold the folder's lock.

    Raises:
        DiskFull, CacheError: it could not be written.
    """
    times = {**read_times(folder), index: time}
    machines: list[Mapping[str, Any]] = []
    for one in times.values():
        if one.machine not in machines:
            machines.append(one.machine)
    shards = [
        {"index": number, "rows": one.rows, "seconds": one.seconds, "machine": machines.index(one.machine)}
        for number, one in sorted(times.items())
    ]
    kind, version = _FORMAT
    write_json(folder / TIMES, {"format": kind, "version": version, "machines": machines, "shards": shards})


def read_times(folder: Path) -> dict[int, ShardTime]:
    """Shard -> what it took. Empty where nothing is known: an older table, or a file that is damaged, for a time is
    never worth an error."""
    try:
        value = read_json(folder / TIMES)
        if value is None or (value["format"], value["version"]) != _FORMAT:
            return {}
        machines = [dict(machine) for machine in value["machines"]]
        found = {
            int(one["index"]): ShardTime(int(one["rows"]), float(one["seconds"]), machines[one["machine"]])
            for one in value["shards"]
        }
    except (CacheError, KeyError, IndexError, TypeError, ValueError, OverflowError):
        return {}
    return {index: one for index, one in found.items() if math.isfinite(one.seconds) and one.seconds >= 0}
