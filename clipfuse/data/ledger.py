"""The ledger on disk: bad rows, and what was done to the others' inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clipfuse.data.dataset import LedgerEntry, Part
from clipfuse_cache.atomic import write_bytes


@dataclass(frozen=True)
class InputNote:
    """Something that was done to the inputs of so many rows before they were encoded ("truncated"), which is no fault.
    ``encoder``: by which, where others of its modality did not do it to the same rows."""

    part: Part
    note: str
    rows: int
    encoder: str | None = None

    def __str__(self) -> str:
        by = f" by {self.encoder}" if self.encoder is not None else ""
        return f"{self.rows:,} {'pictures' if self.part == 'image' else 'captions'} {self.note}{by}"


def write_ledger(path: Path, entries: Sequence[LedgerEntry], notes: Sequence[InputNote] = ()) -> None:
    """One JSON object a line: part, reason, file, line, id for what could not be used; then part, note, rows, encoder
    for what was done to inputs. An empty ledger is an empty file.

    Raises:
        DiskFull, CacheError: it can't be written; an older one is left as it was.
    """
    values = [*map(asdict, entries), *map(asdict, notes)]
    lines = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    write_bytes(path, lines.encode())
