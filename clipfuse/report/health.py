"""What the checks of the data found, as a section."""

from __future__ import annotations

from collections.abc import Sequence

from clipfuse.doctor.finding import Finding, Value
from clipfuse.report.content import Cell, Part, Section, Table, Words

_SHOWN = 8
"""Rows of each finding."""


def health_section(findings: Sequence[Finding]) -> Section:
    """Counts of all checks, then the worst rows of those that found something."""
    overview = tuple(
        (
            Cell(one.title),
            Cell("–") if one.skipped else Cell(f"{one.count:,}", one.count),
            Cell(one.unit),
            Cell("–") if one.skipped else Cell(f"{one.looked_at:,} {one.looked_at_unit}", one.looked_at),
            Cell(f"not looked for: {one.skipped}" if one.skipped else one.detail),
        )
        for one in findings
    )
    parts: list[Part] = [Table(("check", "found", "what", "among", ""), (overview,))]
    for one in findings:
        if one.rows:
            title = f"{one.title}: {'the worst ' if len(one.rows) > _SHOWN else ''}{min(_SHOWN, len(one.rows)):,}"
            rows = tuple(tuple(map(_cell, row)) for row in one.rows[:_SHOWN])
            parts += [Table(one.columns, (rows,), title), Words(one.explanation, "detail")]
    lead = "What is wrong with the data, as far as it can be told. clipfuse doctor writes all rows as CSV."
    return Section("health", "Data health", lead, tuple(parts))


def _cell(value: Value) -> Cell:
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(f"{value:,}", value)
    if isinstance(value, float):
        return Cell(f"{value:.3f}", value)
    return Cell("" if value is None else value)
