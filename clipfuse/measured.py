"""Timing that is measured again after a training, beside the run: one measurement for each machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clipfuse.errors import CacheError
from clipfuse.timing import Timing
from clipfuse_cache.atomic import write_json
from clipfuse_cache.manifest import read_json

FILE = "timing.json"


@dataclass(frozen=True)
class Measured:
    """How fast a run predicts on one machine.

    Attributes:
        machine: see :func:`clipfuse.machine.compared_machine`.
        created: when, in ISO 8601.
        features: from features in memory.
        end_to_end: from pictures and captions on disk, encoders in memory; None where it could not be measured.
    """

    machine: Mapping[str, Any]
    created: str
    features: Timing
    end_to_end: Timing | None

    @classmethod
    def now(cls, machine: Mapping[str, Any], features: Timing, end_to_end: Timing | None) -> Measured:
        """With the time that it is."""
        return cls(machine, datetime.now().astimezone().isoformat(timespec="seconds"), features, end_to_end)


def write_measured(run: Path, measured: Measured) -> None:
    """Keep it in a run's folder, in place of an earlier one of the same machine.

    Raises:
        DiskFull, CacheError: it could not be written.
    """
    others = [one for one in read_measured(run) if one.machine != measured.machine]
    values = [asdict(one) for one in (*others, measured)]
    write_json(run / FILE, {"format": "clipfuse-timing", "version": 1, "measured": values})


def read_measured(run: Path) -> list[Measured]:
    """What was measured of the run in that folder, the newest last. A damaged file counts as none."""
    try:
        value = read_json(run / FILE)
        if value is None or (value["format"], value["version"]) != ("clipfuse-timing", 1):
            return []
        return [
            Measured(
                dict(one["machine"]),
                str(one["created"]),
                Timing.from_dict(one["features"]),
                None if one["end_to_end"] is None else Timing.from_dict(one["end_to_end"]),
            )
            for one in value["measured"]
        ]
    except (CacheError, KeyError, TypeError, ValueError):
        return []
