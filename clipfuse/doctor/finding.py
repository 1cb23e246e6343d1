"""What a check of the data finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Value = str | int | float | bool | None
Unit = Literal["rows", "pairs", "labels", "cells", "groups"]


@dataclass(frozen=True)
class Finding:
    """One check's outcome.

    Attributes:
        name: of its CSV, and in JSON.
        title: what was looked for, in a few words.
        explanation: how it was found, and what to do about it.
        unit: what is counted; a cell is one label of one row.
        looked_at: how many were looked at; for pairs, how many rows.
        count: how many were found.
        columns: of ``rows``.
        rows: what was found, the worst first; all of it, but of very many pairs (``detail`` says so).
        detail: a sentence with further counts, or "".
        skipped: why nothing could be looked for; "" where it was.
    """

    name: str
    title: str
    explanation: str
    unit: Unit
    looked_at: int = 0
    count: int = 0
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()
    detail: str = ""
    skipped: str = ""

    def found(
        self, columns: Sequence[str], rows: Sequence[tuple[Value, ...]], looked_at: int, detail: str = ""
    ) -> Finding:
        """The same with what was found: a row for each."""
        return replace(
            self, columns=tuple(columns), rows=tuple(rows), count=len(rows), looked_at=looked_at, detail=detail
        )

    def without(self, reason: str) -> Finding:
        """The same where it could not be looked for."""
        return replace(self, skipped=reason)

    @property
    def looked_at_unit(self) -> str:
        """What was looked at: pairs are looked for among rows."""
        return "rows" if self.unit == "pairs" else self.unit

    @property
    def summary(self) -> str:
        """Its counts as a sentence without an end."""
        if self.skipped:
            return f"not looked for: {self.skipped}"
        unit = self.unit if self.count != 1 else self.unit.removesuffix("s")
        beside = f" ({self.detail})" if self.detail else ""
        return f"{self.count:,} {unit} among {self.looked_at:,} {self.looked_at_unit}{beside}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values; rows as objects."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {**asdict(replace(self, rows=())), "columns": list(self.columns), "rows": rows}
