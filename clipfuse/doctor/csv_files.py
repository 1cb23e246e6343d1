"""Findings as CSV, for people who mend them in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from clipfuse.doctor.finding import Finding, Value
from clipfuse.errors import CacheError
from clipfuse_cache.atomic import write_bytes

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a spreadsheet take a text for a formula, or a cell for several; wide forms count as the narrow ones."""


def write_findings(folder: Path, findings: Sequence[Finding]) -> list[Path]:
    """NAME.csv for each finding that found something, in UTF-8 with a mark at its start, as spreadsheets want it. A
    text that a spreadsheet would run as a formula has an apostrophe in front. A table of before, of what is no longer
    found, is deleted.

    Raises:
        DiskFull, CacheError: a file can't be written; an older one is left as it was.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"can't make {folder}: {error.strerror or error}", "Name another folder with -o") from error
    written = []
    for finding in findings:
        path = folder / f"{finding.name}.csv"
        if finding.rows:
            write_bytes(path, as_csv(finding))
            written.append(path)
        elif not finding.skipped:
            _delete(path)
    return written


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CacheError(f"can't delete {path}, which is of before: {error.strerror or error}") from error


def as_csv(finding: Finding) -> bytes:
    """A finding's rows, the worst first."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(_safe, finding.columns))
    writer.writerows([_safe(value) for value in row] for row in finding.rows)
    # lone surrogates can't be written in UTF-8, and no cache holds any
    return out.getvalue().encode("utf-8-sig", "replace")


def _safe(value: Value) -> Value:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return "'" + value
    return value
