"""A table's columns of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.dataset import LedgerEntry
from clipfuse.data.decode import shorten
from clipfuse.data.records import Table


def read_numbers(
    table: Table, columns: Sequence[str], ids: Sequence[str], ledger: list[LedgerEntry]
) -> NDArray[np.float64]:
    """(rows, columns) float64; NaN where a cell is empty, or is no finite number: then the ledger says so, once a
    row."""
    numbers = np.full((len(table), len(columns)), np.nan)
    wrong: dict[int, list[str]] = {}
    for place, column in enumerate(columns):
        for row, text in enumerate(table.texts(column)):
            cell = text.strip()
            if not cell:
                continue
            value = _number(cell)
            if value is None:
                wrong.setdefault(row, []).append(f"{shorten(cell)!r} in column {column!r} is not a number")
            else:
                numbers[row, place] = value
    ledger.extend(
        LedgerEntry("numbers", "; ".join(reasons), str(table.path), table.records.lines[row], ids[row])
        for row, reasons in sorted(wrong.items())
    )
    return numbers


def _number(cell: str) -> float | None:
    """A finite number as most programs write it: 12, -0.5, 1e-3."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in cell else None  # Python reads 1_000
