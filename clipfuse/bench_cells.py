"""What stands in the cells of ``clipfuse bench``: the order of the runs, the best of each column, marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clipfuse.bench import BenchGroup, BenchRow
from clipfuse.bench_columns import COLUMNS, Column, Value
from clipfuse.timing import Spread


def sorted_by(group: BenchGroup, name: str) -> BenchGroup:
    """The group with the best run by that column first, or the first one by the alphabet. What was measured on another
    machine comes after that, and then what is not known.

    Raises:
        UnknownName: no such column.
    """
    column = COLUMNS.get(name)
    known = [row for row in group.runs if column.value(row) is not None]
    known.sort(key=column.value, reverse=column.better == "high")  # type: ignore[arg-type]
    known.sort(key=lambda row: not column.is_comparable(row))
    unknown = [row for row in group.runs if column.value(row) is None]
    return replace(group, runs=(*known, *unknown))


def best_of(column: Column, runs: Sequence[BenchRow]) -> Value:
    """The best value of those that can be compared; None where no value is better than another."""
    values = [column.value(row) for row in runs if column.is_comparable(row)]
    if not column.better or len(set(values)) < 2:
        return None
    return max(values) if column.better == "high" else min(values)  # type: ignore[type-var]


@dataclass(frozen=True)
class Cell:
    """What a table shows of one value: the text, what stands behind it (an interval, a deviation), whether it is the
    best of its column, and whether it was measured on another machine."""

    text: str
    beside: str = ""
    is_best: bool = False
    is_elsewhere: bool = False


UNKNOWN = "–"


def cell(column: Column, row: BenchRow, best: Value) -> Cell:
    """A run's cell; ``best``: of the column."""
    value = column.value(row)
    if value is None:
        return Cell(UNKNOWN)
    if isinstance(value, str):
        return Cell(value)
    beside = ""
    if column.metric is not None:
        beside = score_beside(column.metric, row.intervals, row.deviations)
    found = column.figure(row)
    if isinstance(found, Spread) and found.repeats > 1 and found.median:
        beside = f"±{(found.high - found.low) / 2 / found.median:.0%}"
    elsewhere = column.part in row.elsewhere
    return Cell(f"{value:,.{column.digits}f}", beside, value == best and not elsewhere, elsewhere)


def score_beside(metric: str, intervals: Mapping[str, Sequence[float]], deviations: Mapping[str, float]) -> str:
    """A score's deviation over seeds or folds, or its interval where there is none, as of an estimator that seeds don't
    change."""
    if round(deviations.get(metric, 0), 3) > 0 or (metric in deviations and metric not in intervals):
        return f"±{deviations[metric]:.3f}"
    if metric in intervals:
        low, high = intervals[metric]
        return f"{low:.3f}–{high:.3f}"
    return ""


def trivial_text(row: Mapping[str, Any], column: Column) -> str:
    """What stands in a trivial row: scores, with their interval."""
    value = None if column.metric is None else row["scores"][column.metric]
    if value is None:
        return UNKNOWN
    return f"{value:.3f} {score_beside(column.metric or '', row['intervals'], {})}".rstrip()
