"""The ledger of bad rows on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from clipfuse.data.dataset import LedgerEntry
from clipfuse_cache.atomic import write_bytes


def write_ledger(path: Path, entries: Sequence[LedgerEntry]) -> None:
    """One JSON object a line: part, reason, file, line, id. An empty ledger is an empty file.

    Raises:
        DiskFull, CacheError: it can't be written; an older one is left as it was.
    """
    lines = "".join(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
    write_bytes(path, lines.encode())
