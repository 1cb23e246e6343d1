"""How long a table's shards took to make: beside the shards, because it is another one each time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipfuse_cache.atomic import append_line
from clipfuse_cache.errors import CacheError
from clipfuse_cache.manifest import read_json

TIMES = "times.jsonl"
OLD_TIMES = "times.json"
_OLD_FORMAT = ("clipfuse-times", 1)
_DAMAGED = (CacheError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError)


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
    value = {"index": index, "rows": time.rows, "seconds": time.seconds, "machine": dict(time.machine)}
    append_line(folder / TIMES, json.dumps(value, ensure_ascii=False))


def read_times(folder: Path) -> dict[int, ShardTime]:
    """Shard -> what it took, the last line that is about it. What is damaged is left out, for a time is never worth an
    error."""
    found = _read_old(folder)
    try:
        lines = (folder / TIMES).read_bytes().splitlines()
    except OSError:
        lines = []
    for line in lines:
        with suppress(*_DAMAGED):
            value = json.loads(line)
            found[int(value["index"])] = _time(value, value["machine"])
    return found


def _time(value: Any, machine: Any) -> ShardTime:
    seconds = float(value["seconds"])
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{seconds} seconds")
    return ShardTime(int(value["rows"]), seconds, dict(machine))


def _read_old(folder: Path) -> dict[int, ShardTime]:
    """Of the file in which all of them stood, written again for each shard."""
    found: dict[int, ShardTime] = {}
    with suppress(*_DAMAGED):
        value = read_json(folder / OLD_TIMES)
        if value is not None and (value["format"], value["version"]) == _OLD_FORMAT:
            machines = value["machines"]
            found = {int(one["index"]): _time(one, machines[one["machine"]]) for one in value["shards"]}
    return found
