"""Delimited text to rows: the standard reader's semantics, and repair where a row is damaged."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from clipfuse.data.csv_repair import Repairer, learn_shapes

_SAMPLE = 2000  # well-formed rows that are enough to learn what a column looks like
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class CsvRows:
    """A delimited table. ``rows``: (line, fields), each as wide as ``header``. ``lost``: (line, reason) of rows
    that can't be read. ``repaired``: lines of rows that were damaged and could be read all the same."""

    header: list[str]
    rows: list[tuple[int, list[str]]]
    lost: list[tuple[int, str]]
    repaired: list[int]


def read_rows(text: str, delimiter: str) -> CsvRows:
    """All rows of ``text``, whose first record names the columns. Blank lines are passed over.

    A well-formed table gives exactly what ``csv.reader`` gives. Lines end in LF, CRLF or CR.
    """
    lines = list(io.StringIO(text, newline=""))
    starts = list(accumulate((len(line) for line in lines), initial=0))
    plain = Repairer(text, starts, delimiter, 0, None)  # only for its strict reading
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
    repairer = Repairer(text, starts, delimiter, width, learn_shapes(good, width) if damage else None)
    return _read(lines, begin, delimiter, header, repairer)


def find_delimiter(text: str) -> str:
    """The delimiter of a .csv: a comma, unless the header has none and has another of the usual ones."""
    head = next(iter(io.StringIO(text, newline="")), "")
    counts = {sign: head.count(sign) for sign in _DELIMITERS}
    return "," if counts[","] or not any(counts.values()) else max(counts, key=lambda sign: counts[sign])


def _well_formed(lines: list[str], begin: int, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
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


def _sample(lines: list[str], begin: int, delimiter: str, width: int, plain: Repairer) -> tuple[list[list[str]], bool]:
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


def _read(lines: list[str], begin: int, delimiter: str, header: list[str], repairer: Repairer) -> CsvRows:
    width = len(header)
    rows: list[tuple[int, list[str]]] = []
    lost: list[tuple[int, str]] = []
    repaired: list[int] = []
    at = begin

    def mend(line: int, fields: list[str] | None) -> int:
        mended, after = repairer.repair(line)
        if mended is None:
            lost.append((line + 1, _why(fields, width)))
        else:
            rows.append((line + 1, mended))
            repaired.append(line + 1)
        return after

    def take(line: int, after: int, fields: list[str]) -> int:
        surplus = len(fields) - width
        if surplus > 0 and after == line + 1 and lines[line].rstrip("\r\n").endswith(delimiter * surplus):
            fields = fields[:width]  # a spreadsheet's empty cells at the end
        if len(fields) != width:
            return mend(line, fields) if fields else after
        rows.append((line + 1, fields))
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
    return CsvRows(header, rows, lost, repaired)


def _why(fields: list[str] | None, width: int) -> str:
    if fields is None:
        return f"quotes that can't be read as {width} fields"
    return f"{len(fields)} fields where the header names {width} columns"
