"""Damaged rows of a delimited table: where such a row ends, and which fields it holds.

The standard reader stays the judge of what is well formed. Only a row that it refuses (a quote inside quotes
that is not doubled, a quote never closed) or that has the wrong number of fields comes here. Two things decide:
the row ends before the next line that begins a record, and its text is cut into as many fields as the header
names in the one way that leaves the least amiss. "Begins a record" and "amiss" are judged by what the
well-formed rows of the same table look like, column by column. A row with two equally good readings is not guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

Alphabet = frozenset[str]

MAX_LINES = 50  # a damaged row is not looked for further down than this
MAX_SURPLUS = 60  # more delimiters than this above the header's, and cutting is hopeless
MAX_CHUNK = 100_000  # characters
BUDGET = 5_000_000  # fields tried in one table, so that garbage costs seconds and not hours


class Shape(NamedTuple):
    """What the values of one column look like. ``alphabets`` is None for prose, where anything goes."""

    alphabets: frozenset[Alphabet] | None


class Cost(NamedTuple):
    """What is amiss in one way of cutting a row, the worst first."""

    unlike: int = 0  # fields that look like no value of their column
    merged: int = 0  # delimiters or line breaks outside quotes, kept as text
    unclosed: int = 0
    damaged: int = 0  # fields with a quote that is not doubled
    quotes: int = 0  # how many such quotes


class Cut(NamedTuple):
    """One way of cutting a damaged row."""

    cost: Cost
    fields: list[str]


@lru_cache(maxsize=4096)
def alphabet(value: str) -> Alphabet:
    """The kinds of characters in ``value``: letters, digits, white space, and every other one by itself."""
    return frozenset(
        "a" if c.isalpha() else "9" if c.isdigit() else " " if c.isspace() else c for c in set(value.strip())
    )


def learn_shapes(rows: Sequence[Sequence[str]], width: int) -> list[Shape] | None:
    """The shapes of all columns, from well-formed ``rows``; None where there are too few of them."""
    if len(rows) < 3:
        return None
    shapes = []
    for column in range(width):
        seen = Counter(alphabet(row[column]) for row in rows)
        prose = sum(count for kinds, count in seen.items() if "a" in kinds and " " in kinds)
        regular = prose <= 0.05 * len(rows) and len(seen) <= 12
        shapes.append(Shape(frozenset(seen) if regular else None))
    return shapes


class Repairer:
    """Repairs rows of one table.

    Args:
        text: the whole table.
        starts: where each line begins in ``text``, and its length at the end.
        delimiter: one character.
        width: fields that a row should have.
        shapes: as ``learn_shapes`` gives them.
    """

    def __init__(
        self, text: str, starts: Sequence[int], delimiter: str, width: int, shapes: list[Shape] | None
    ) -> None:
        self._text = text
        self._starts = starts
        self._delimiter = delimiter
        self._width = width
        self._shapes = shapes
        self._budget = BUDGET
        self._begins: dict[int, tuple[bool, bool]] = {}
        sign = re.escape(delimiter)
        self._field = re.compile(rf'"((?:[^"]++|"")*+)"(?={sign}|[\r\n]|\Z)|((?!")[^{sign}\r\n]*+)')

    def strict(self, line: int) -> tuple[list[str], int] | None:
        """The well-formed record that begins at ``line`` and the line after it; None where there is none.
        The same answer as ``csv.reader(strict=True)``, without its limit on the size of a field."""
        place, fields = self._starts[line], []
        while match := self._field.match(self._text, place):
            quoted = match[1]
            fields.append(match[2] if quoted is None else quoted.replace('""', '"'))
            place = match.end()
            if place < len(self._text) and self._text[place] == self._delimiter:
                place += 1
                continue
            after = line + 1
            while self._starts[after] < place:
                after += 1
            return fields, after
        return None

    def repair(self, line: int) -> tuple[list[str] | None, int]:
        """The fields of the damaged record at ``line`` (None: beyond repair) and the line after it."""
        found: list[tuple[Cut, int]] = []
        last = min(line + (MAX_LINES if self._budget > 0 else 1), len(self._starts) - 1)
        for after in range(line + 1, last + 1):
            cut = self._cut(line, after)
            if cut is not None:
                found.append((cut, after))
            exactly, perhaps = self._begins_record(after)
            if exactly or (perhaps and cut is not None and not cut.cost.unclosed):
                if cut is not None and not cut.cost.merged and not cut.cost.unlike:
                    return cut.fields, after
                break  # a row never reaches past the start of another
        if not found:
            return None, line + 1
        cut, after = min(found, key=lambda item: (item[0].cost[:3], item[1]))
        return cut.fields, after

    def _begins_record(self, line: int) -> tuple[bool, bool]:
        """Whether a record surely begins at ``line``, and whether one may."""
        if line not in self._begins:
            self._begins[line] = self._judge(line)
        return self._begins[line]

    def _judge(self, line: int) -> tuple[bool, bool]:
        if line >= len(self._starts) - 1 or self._text[self._starts[line]] in "\r\n":
            return True, True
        record = self.strict(line)
        if record is not None and len(record[0]) == self._width:
            alike = not any(self._unlike(column, value) for column, value in enumerate(record[0]))
            return alike, True
        for after in range(line + 1, min(line + 3, len(self._starts) - 1) + 1):
            cut = self._cut(line, after)
            if cut is not None and not cut.cost.unlike and not cut.cost.merged:
                return True, True
        return False, False

    def _unlike(self, column: int, value: str) -> bool:
        if self._shapes is None:
            return False
        alphabets = self._shapes[column].alphabets
        return alphabets is not None and alphabet(value) not in alphabets

    def _cut(self, line: int, after: int) -> Cut | None:
        """The one best way to cut these lines into fields; None: there is none, or no single best."""
        chunk = self._text[self._starts[line] : self._starts[after]].rstrip("\r\n")
        surplus = chunk.count(self._delimiter) + 1 - self._width
        self._budget -= 1 + len(chunk) // 1000
        if not 0 <= surplus <= MAX_SURPLUS or len(chunk) > MAX_CHUNK or self._budget <= 0:
            return None
        cuts = [-1, *(match.start() for match in re.finditer(re.escape(self._delimiter), chunk)), len(chunk)]
        # best[s]: the cheapest cut of the columns so far that has used up s surplus delimiters, and whether
        # another one costs the same.
        best: dict[int, tuple[Cost, list[str], bool]] = {0: (Cost(), [], False)}
        for column in range(self._width):
            ahead: dict[int, tuple[Cost, list[str], bool]] = {}
            for used, (cost, fields, tied) in best.items():
                first = cuts[column + used] + 1
                wanted = range(used, surplus + 1) if column + 1 < self._width else (surplus,)
                for now in wanted:
                    piece = chunk[first : cuts[column + 1 + now]]
                    self._budget -= 1 + len(piece) // 1000
                    read = self._read(piece, column)
                    if read is None:
                        continue
                    total = Cost(*(a + b for a, b in zip(cost, read[0], strict=True)))
                    known = ahead.get(now)
                    if known is None or total < known[0]:
                        ahead[now] = (total, [*fields, read[1]], tied)
                    elif total == known[0]:
                        ahead[now] = (known[0], known[1], True)
            best = ahead
        end = best.get(surplus)
        return None if end is None or end[2] else Cut(end[0], end[1])

    def _read(self, piece: str, column: int) -> tuple[Cost, str] | None:
        """One field from the text between two delimiters, and what is amiss with it."""
        bare = piece.strip(" \t")
        count = bare.count('"')
        if len(bare) > 1 and bare[0] == bare[-1] == '"':
            inner = bare[1:-1]
            value = inner.replace('""', '"')
            lone = inner.replace('""', "").count('"')
            return Cost(int(self._unlike(column, value)), 0, 0, int(lone > 0), lone), value
        breaks = piece.count(self._delimiter) + piece.count("\n") + piece.count("\r")
        if breaks and self._shapes is None:
            return None
        if breaks and self._shapes is not None and self._shapes[column].alphabets is not None:
            # "8,3,a road" of labels and captions: labels 8 and 3, or a caption "3,a road"? Both are tried,
            # so that a draw is seen as one.
            if "\n" in piece or "\r" in piece or '"' in piece:
                return None
            return Cost(int(self._unlike(column, piece.replace(self._delimiter, ""))), breaks), piece
        if bare[:1] == '"' and count % 2:
            value = bare[1:].replace('""', '"')
            return Cost(int(self._unlike(column, value)), breaks, 1, 0, count - 1), value
        # Quotes in pairs that do not enclose the whole field are text: "Hello" she said. It may also be half of
        # a field that goes on in the next line, and so counts as unclosed where it begins with one.
        return Cost(int(self._unlike(column, piece)), breaks, int(bare[:1] == '"'), int(count > 0), count), piece
