"""Delimited text to rows: the standard reader's semantics, and repair where a row is damaged."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clipfuse.data.csv_repair import Repairer, learn_shapes
from clipfuse_cache.columns import Column, Packer, Strings

_SAMPLE = 2000  # well-formed rows that are enough to learn what a column looks like
_DELIMITERS = ",;\t|"
_LINE_END = re.compile(r"\r\n|\r|\n")


class Rows(Column[tuple[int, list[str]]]):
    """(line, fields) of each row. ``lines``: (rows,); ``cells``: (rows × width,), row by row."""

    def __init__(self, lines: Sequence[int], cells: Strings, width: int) -> None:
        self.lines = lines
        self.cells = cells
        self.width = width

    def __len__(self) -> int:
        return len(self.lines)

    def _item(self, row: int) -> tuple[int, list[str]]:
        return self.lines[row], list(self.cells[row * self.width : (row + 1) * self.width])

    def _block(self, start: int, end: int) -> list[tuple[int, list[str]]]:
        return [self._item(row) for row in range(start, end)]


@dataclass(frozen=True, slots=True)
class CsvRows:
    """A delimited table. ``rows``: each as wide as ``header``. ``lost``: (line, reason) of rows
    that can't be read. ``repaired``: lines of rows that were damaged and could be read all the same."""

    header: list[str]
    rows: Rows
    lost: list[tuple[int, str]]
    repaired: list[int]


def read_rows(text: str, delimiter: str) -> CsvRows:
    """All rows of ``text``, whose first record names the columns. Blank lines are passed over.

    A well-formed table gives exactly what ``csv.reader`` gives. Lines end in LF, CRLF or CR.
    """
    lines = _Lines(text)
    plain = Repairer(text, lines.starts, delimiter, 0, None)  # only for its strict reading
    header: list[str] = []
    begin = 0
    while not header and begin < len(lines):
        record = plain.strict(begin)
        # A damaged header is read leniently: its names are checked by whoever looks for columns.
        lenient = [name.strip('" ') for name in lines[begin].rstrip("\r\n").split(delimiter)]
        fields, begin = record or (lenient, begin + 1)
        header = [] if fields == [""] and not lines[begin - 1].strip("\r\n") else fields
    width = len(header)
    good, damage = _sample(lines, begin, delimiter, width, plain)
    repairer = Repairer(text, lines.starts, delimiter, width, learn_shapes(good, width) if damage else None)
    return _read(lines, begin, delimiter, header, repairer)


def find_delimiter(text: str) -> str:
    """The delimiter of a .csv: a comma, unless the header has none and has another of the usual ones."""
    end = _LINE_END.search(text)
    head = text if end is None else text[: end.start()]
    counts = {sign: head.count(sign) for sign in _DELIMITERS}
    return "," if counts[","] or not any(counts.values()) else max(counts, key=lambda sign: counts[sign])


class _Lines:
    """The lines of a text with their ends, cut when they are asked for. ``starts``: (lines + 1,)."""

    def __init__(self, text: str) -> None:
        self.starts = array("q", [0])
        self.starts.extend(match.end() for match in _LINE_END.finditer(text))
        if self.starts[-1] < len(text):
            self.starts.append(len(text))
        self._text = text

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, line: int) -> str:
        return self._text[self.starts[line] : self.starts[line + 1]]


def _well_formed(lines: _Lines, begin: int, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """(first line, line after, fields) of each record until one that the standard reader refuses."""
    position = begin

    def feed() -> Iterator[str]:
        nonlocal position
        while position < len(lines):
            position += 1
            yield lines[position - 1]

    first = begin
    try:
        for fields in csv.reader(feed(), delimiter=delimiter, strict=True):
            yield first, position, fields
            first = position
    except csv.Error:
        return


def _sample(lines: _Lines, begin: int, delimiter: str, width: int, plain: Repairer) -> tuple[list[list[str]], bool]:
    """The first well-formed rows, and whether any row is damaged.

    The row after a damaged one is left out: it may be the rest of it, and well formed only by chance.
    """
    good: list[list[str]] = []
    damage = suspect = False
    at = begin
    while at < len(lines) and not (damage and len(good) >= _SAMPLE):
        for _, after, fields in _well_formed(lines, at, delimiter):
            at = after
            if len(fields) == width:
                if len(good) < _SAMPLE and not suspect:
                    good.append(fields)
                suspect = False
            elif fields:
                damage = suspect = True
        if at < len(lines):  # refused: damaged, or only larger than the reader's limit
            record = plain.strict(at)
            suspect = suspect or record is None
            damage = damage or record is None
            at = at + 1 if record is None else record[1]
    return good, damage


def _read(lines: _Lines, begin: int, delimiter: str, header: list[str], repairer: Repairer) -> CsvRows:
    width = len(header)
    numbers, cells = array("q"), Packer()
    lost: list[tuple[int, str]] = []
    repaired: list[int] = []
    at = begin

    def keep(line: int, fields: list[str]) -> None:
        numbers.append(line + 1)
        for field in fields:
            cells.add(field)

    def mend(line: int, fields: list[str] | None) -> int:
        mended, after = repairer.repair(line)
        if mended is None:
            lost.append((line + 1, _why(fields, width)))
        else:
            keep(line, mended)
            repaired.append(line + 1)
        return after

    def take(line: int, after: int, fields: list[str]) -> int:
        surplus = len(fields) - width
        if surplus > 0 and after == line + 1 and lines[line].rstrip("\r\n").endswith(delimiter * surplus):
            fields = fields[:width]  # a spreadsheet's empty cells at the end
        if len(fields) != width:
            return mend(line, fields) if fields else after
        keep(line, fields)
        return after

    while at < len(lines):
        for line, after, fields in _well_formed(lines, at, delimiter):
            at = take(line, after, fields)
            if at != after:
                break  # a repair reached further, or less far, than the standard reader
        else:
            if at < len(lines):
                record = repairer.strict(at)
                at = mend(at, None) if record is None else take(at, record[1], record[0])
    rows = Rows(numbers, cells.strings(), width)
    return CsvRows(header, rows, lost, repaired)


def _why(fields: list[str] | None, width: int) -> str:
    if fields is None:
        return f"quotes that can't be read as {width} fields"
    return f"{len(fields)} fields where the header names {width} columns"
