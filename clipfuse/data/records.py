"""A table file as records: one ``{column: value}`` per row, with the line that it stands on."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.csv_records import Rows, find_delimiter, read_rows
from clipfuse.data.dataset import LedgerEntry
from clipfuse.data.decode import SUFFIXES, clean, name_lines, read_text, shorten
from clipfuse.data.json_records import read_json, read_json_lines
from clipfuse.errors import TableError
from clipfuse_cache.columns import Column, Strings

Format = Literal["csv", "tsv", "json", "jsonl"]


@dataclass(frozen=True, slots=True)
class Record:
    """One row. ``line`` counts from 1; in a JSON array it is the number of the record."""

    line: int
    values: dict[str, Any]

    def text(self, column: str | None) -> str:
        """The cell as text; empty where the row has no such cell or it holds null or NaN."""
        return "" if column is None else cell_text(self.values.get(column))


class Records(Column[Record]):
    """All rows. ``lines``: (rows,) where each stands."""

    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    @abstractmethod
    def values(self, column: str) -> Iterator[Any]:
        """(rows,) one column's cells; None where a row has none."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> Records:
        """Some of the rows."""

    def _block(self, start: int, end: int) -> list[Record]:
        return [self._item(row) for row in range(start, end)]


@dataclass(frozen=True)
class Table:
    """A table as it was read. ``ledger`` holds the rows that can't be; ``notes`` what had to be assumed."""

    path: Path
    format: Format
    columns: tuple[str, ...]
    records: Records
    ledger: list[LedgerEntry]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.records)

    def texts(self, column: str) -> Iterator[str]:
        """(rows,) one column's cells as text; see :func:`cell_text`."""
        return map(cell_text, self.records.values(column))

    def only(self, rows: NDArray[np.int64]) -> Table:
        """The table with these rows."""
        return replace(self, records=self.records.take(rows))


def read_table(path: Path) -> Table:
    """Read a .csv, .tsv, .json or .jsonl.

    Raises:
        TableError: there is no such table, it is empty, it is no text, or no row of it can be read.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES and not path.is_dir():
        known = "Known: " + ", ".join(SUFFIXES)
        raise TableError(f"{path} is no table that clipfuse reads ({suffix or 'no suffix'})", known)
    text, notes = read_text(path)
    kind = SUFFIXES[suffix]
    table = _read_objects(path, text, kind, notes) if kind in ("json", "jsonl") else _read_csv(path, text, kind, notes)
    if not table.records:
        if not table.ledger:
            raise TableError(f"{path} has no rows", "It needs at least one row below its column names")
        first = table.ledger[0]
        problem = f"no row of {path} can be read; {first.file}:{first.line}: {first.reason}"
        raise TableError(problem, f"The columns are: {name_columns(table.columns)}" if table.columns else "")
    return table


def cell_text(value: object) -> str:
    """A cell as text: null and NaN are empty, whole floats lose their ".0", true and false are small."""
    if isinstance(value, str):
        return clean(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return clean(str(value))


def name_columns(columns: Sequence[str]) -> str:
    """The columns for a message, not too many and not too long."""
    shown = ", ".join(repr(shorten(name)) for name in columns[:20])
    return shown if len(columns) <= 20 else f"{shown}, … ({len(columns)} in all)"


class _CsvRecords(Records):
    def __init__(self, columns: tuple[str, ...], rows: Rows) -> None:
        self.lines = rows.lines
        self._columns = columns
        self._rows = rows

    def values(self, column: str) -> Iterator[Any]:
        place, width, cells = self._columns.index(column), self._rows.width, self._rows.cells
        return (cells[row * width + place] for row in range(len(self.lines)))

    def take(self, rows: NDArray[np.int64]) -> Records:
        chosen = rows.tolist()
        cells = Strings.pack(cell for row in chosen for cell in self._rows[row][1])
        return _CsvRecords(self._columns, Rows([self.lines[row] for row in chosen], cells, self._rows.width))

    def _item(self, row: int) -> Record:
        line, fields = self._rows[row]
        return Record(line, dict(zip(self._columns, fields, strict=True)))


class _JsonRecords(Records):
    def __init__(self, records: list[Record]) -> None:
        self.lines = [record.line for record in records]
        self._records = records

    def values(self, column: str) -> Iterator[Any]:
        return (record.values.get(column) for record in self._records)

    def take(self, rows: NDArray[np.int64]) -> Records:
        return _JsonRecords([self._records[row] for row in rows])

    def _item(self, row: int) -> Record:
        return self._records[row]


def _read_csv(path: Path, text: str, kind: str, notes: tuple[str, ...]) -> Table:
    delimiter = "\t" if kind == "tsv" else find_delimiter(text)
    if kind == "csv" and delimiter != ",":
        name = {";": "a semicolon", "\t": "a tab", "|": "a pipe"}[delimiter]
        notes = (*notes, f"columns separated by {name}")
    found = read_rows(text, delimiter)
    if found.repaired:
        count = len(found.repaired)
        rows = "1 damaged row" if count == 1 else f"{count} damaged rows"
        notes = (*notes, f"{rows} repaired (quotes or delimiters) on {name_lines(found.repaired)}")
    columns = _header(path, found.header)
    records = _CsvRecords(columns, found.rows)
    ledger = [LedgerEntry("row", reason, str(path), line) for line, reason in found.lost]
    return Table(path, "tsv" if kind == "tsv" else "csv", columns, records, ledger, notes)


def _header(path: Path, names: list[str]) -> tuple[str, ...]:
    """The names of the columns. Nameless ones (an index, a comma too many) get a name that no other has."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name.strip()]
    if twice:
        problem = f"{path} has several columns called {shorten(repr(twice[0]))}"
        raise TableError(problem, "Rename all but one in its first line")
    columns: list[str] = []
    for number, name in enumerate(names, start=1):
        label = name if name.strip() else f"column {number}"
        while label != name and (label in names or label in columns):
            label += "'"
        columns.append(label)
    return tuple(columns)


def _read_objects(path: Path, text: str, kind: str, notes: tuple[str, ...]) -> Table:
    if kind == "json":
        objects, lost, is_lines = read_json(path, text)
        if is_lines:
            notes = (*notes, f"{path.name} read as JSON Lines")
    else:
        (objects, lost), is_lines = read_json_lines(text), True
    columns = tuple(dict.fromkeys(clean(key) for _, item in objects for key in item))
    records = _JsonRecords([Record(line, {clean(key): value for key, value in item.items()}) for line, item in objects])
    ledger = [LedgerEntry("row", reason, str(path), line) for line, reason in lost]
    return Table(path, "jsonl" if is_lines else "json", columns, records, ledger, notes)
