"""Where rows came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipfuse_cache.columns import Column


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from: ``line`` counts from 1 (for a JSON array: the number of the record)."""

    file: Path
    line: int


class Origins(Column[Origin]):
    """The origin of each row.

    Attributes:
        files: the tables, in the order in which rows came from them first.
        file_of: (rows,) uint16, index into ``files``.
        lines: (rows,) uint32.
    """

    def __init__(self, files: tuple[Path, ...], file_of: NDArray[np.uint16], lines: NDArray[np.uint32]) -> None:
        self.files = files
        self.file_of = file_of
        self.lines = lines

    @classmethod
    def of_file(cls, file: Path, lines: Iterable[int]) -> Origins:
        """Rows of one table."""
        numbers = np.fromiter(lines, dtype=np.uint32)
        return cls((file,), np.zeros(len(numbers), dtype=np.uint16), numbers)

    @classmethod
    def join(cls, parts: Sequence[Origins]) -> Origins:
        """The rows of several, one after the other."""
        files = tuple(dict.fromkeys(file for part in parts for file in part.files))
        places = [np.array([files.index(file) for file in part.files], dtype=np.uint16) for part in parts]
        return cls(
            files,
            np.concatenate([place[part.file_of] for place, part in zip(places, parts, strict=True)]),
            np.concatenate([part.lines for part in parts]),
        )

    def rows_of(self, file: Path) -> NDArray[np.int64]:
        """(n,) int64 indices of the rows that came from ``file``."""
        return np.flatnonzero(self.file_of == self.files.index(file) if file in self.files else self.file_of < 0)

    def __len__(self) -> int:
        return len(self.lines)

    def _item(self, row: int) -> Origin:
        return Origin(self.files[self.file_of[row]], int(self.lines[row]))

    def _block(self, start: int, end: int) -> list[Origin]:
        return [self._item(row) for row in range(start, end)]
