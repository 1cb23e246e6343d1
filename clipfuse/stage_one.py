"""What stage one cost that a model's features come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clipfuse_cache import FeatureTable, ShardTime
from clipfuse_cache.fingerprint import canonical_json


@dataclass(frozen=True)
class StageOne:
    """Of all the encoders and views that a model reads, one after the other, weights in memory.

    Attributes:
        rows_per_second: of one process, through all of them.
        seconds: of all processes together, for the tables as they are; None where some shards' are not known.
        machines: what it ran on.
    """

    rows_per_second: float
    seconds: float | None
    machines: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> StageOne:
        """From what :meth:`to_dict` gave. Raises KeyError, TypeError where it is something else."""
        return cls(value["rows_per_second"], value["seconds"], tuple(value["machines"]))


def stage_one(tables: Iterable[FeatureTable]) -> StageOne | None:
    """What these tables took; outputs of one forward pass count once. None where of one of them nothing is known: it
    is older than the notes, or was imported."""
    passes: dict[bytes, list[ShardTime | None]] = {}
    for table in tables:
        encoder = {
            name: value for name, value in table.description.encoder.items() if name not in ("output", "storage")
        }
        passes.setdefault(canonical_json(encoder), table.times())
    seconds_a_row, total = 0.0, 0.0
    machines: dict[bytes, Mapping[str, Any]] = {}
    complete = True
    for times in passes.values():
        known = [one for one in times if one is not None]
        rows, seconds = sum(one.rows for one in known), sum(one.seconds for one in known)
        if not rows or not seconds:
            return None
        seconds_a_row += seconds / rows
        total += seconds
        complete = complete and len(known) == len(times)
        machines |= {canonical_json(one.machine): one.machine for one in known}
    if not passes:
        return None
    return StageOne(1 / seconds_a_row, total if complete else None, tuple(machines.values()))
