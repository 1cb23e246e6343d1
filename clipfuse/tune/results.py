"""What a search has found so far, kept so that it can go on: one JSON object a line, one line a setting and seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from clipfuse.errors import RunError
from clipfuse_cache.atomic import write_bytes

FILE_NAME = "results.jsonl"


@dataclass(frozen=True)
class Result:
    """One training.

    Attributes:
        key: SHA-256 of everything that decides it: all settings, the seed among them, rows, labels, features.
        settings: what was set of the space.
        seed: of weights, orders, dropout and folds.
        scores: metric -> value on the validation rows at threshold 0.5; empty where it could not be trained.
        seconds: its share of the wall clock of what was trained together with it.
        parameters: trained numbers.
        best_epochs: part -> the epoch that was kept.
        error: why it could not be trained.
    """

    key: str
    settings: Mapping[str, Any]
    seed: int
    scores: Mapping[str, float | None]
    seconds: float
    parameters: int
    best_epochs: Mapping[str, int]
    error: str | None = None


class Results:
    """The results in a folder; the file is replaced whole, so that it is never half a line."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._found = {result.key: result for result in _read(self.path)}

    def get(self, key: str) -> Result | None:
        """The training with that key, if it was finished."""
        return self._found.get(key)

    def add(self, results: Iterable[Result]) -> None:
        """Keep more. Raises DiskFull, CacheError."""
        self._found |= {result.key: result for result in results}
        lines = (json.dumps(asdict(result), ensure_ascii=False) + "\n" for result in self._found.values())
        write_bytes(self.path, "".join(lines).encode())

    def __len__(self) -> int:
        return len(self._found)


def _read(path: Path) -> list[Result]:
    if not path.exists():
        return []
    names = {field.name for field in fields(Result)}
    found = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            if not isinstance(values, dict) or set(values) != names:
                raise ValueError(f"a line should have the keys {sorted(names)}")
            found.append(Result(**values))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} can't be read ({error})", "Delete it: its settings are then trained again") from error
    return found
