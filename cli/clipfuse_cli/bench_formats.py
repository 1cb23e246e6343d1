"""``clipfuse bench`` for other programs and for documents: JSON, CSV, Markdown, each with every column."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clipfuse.bench import BenchGroup, BenchRow
from clipfuse.bench_cells import UNKNOWN, best_of, cell, trivial_text
from clipfuse.bench_columns import Column
from clipfuse.budget import Budget
from clipfuse.timing import Spread
from clipfuse_cli.bench_tables import ELSEWHERE, FITS, footnotes, title
from clipfuse_cli.tables import called

TRIVIAL = "trivial"
"""The kind of trivial rows."""


def as_json(groups: Sequence[BenchGroup], budget: Budget) -> str:
    """A list of groups."""
    values = []
    for group in groups:
        runs = [{**run.to_dict(), **({"fits": budget.fits(run)} if budget else {})} for run in group.runs]
        values.append({**asdict(group), "runs": runs})
    return json.dumps(values, indent=1)


def as_csv(groups: Sequence[BenchGroup], columns: Sequence[Column], budget: Budget) -> str:
    """A line for each run and each trivial row of each split. Scores have columns for the ends of their interval and
    their deviation, measurements for their quartiles; cells are empty where nothing is known."""
    lines = []
    for group in groups:
        about = {"split": group.split["name"], "split-digest": group.split["digest"]}
        lines += [{**about, **_trivial_line(row, columns)} for row in group.trivial]
        for run in group.runs:
            fits = {"fits": FITS[budget.fits(run)]} if budget else {}
            lines.append({**about, **_line(run, columns), **fits, "elsewhere": "; ".join(run.elsewhere)})
    names = dict.fromkeys(name for line in sorted(lines, key=len, reverse=True) for name in line)  # a run's has all
    out = io.StringIO()
    writer = csv.DictWriter(out, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().rstrip("\n")


def as_markdown(groups: Sequence[BenchGroup], columns: Sequence[Column], budget: Budget) -> str:
    """A table for each split, the best in bold."""
    shown = [column for column in columns if column.name != "run"]
    found = []
    for group in groups:
        heads = ["run", *(["fits"] if budget else []), *(column.title for column in shown)]
        numbers = ["---:" if column.better else "---" for column in shown]
        lines = [heads, ["---", *(["---"] if budget else []), *numbers]]
        for row in group.trivial:
            lines.append([row["name"], *([UNKNOWN] if budget else []), *(trivial_text(row, one) for one in shown)])
        best = [best_of(column, group.runs) for column in shown]
        for run in group.runs:
            fits = [FITS[budget.fits(run)]] if budget else []
            cells = [_text(column, run, value) for column, value in zip(shown, best, strict=True)]
            lines.append([called(run.name, run), *fits, *cells])
        table = "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)
        found.append("\n\n".join([title(group), table, *footnotes(group, shown, budget)]))
    return "\n\n".join(found)


def _line(run: BenchRow, columns: Sequence[Column]) -> dict[str, Any]:
    line: dict[str, Any] = {"run": run.name, "kind": run.kind, "repeats": run.repeats}
    for column in columns:
        line[column.name] = column.value(run)
        found = column.figure(run)
        if column.metric is not None:
            line |= _score_parts(column, run.intervals, run.deviations)
        elif isinstance(found, Spread):
            line |= {f"{column.name}-low": found.low, f"{column.name}-high": found.high}
    return line


def _trivial_line(row: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    line: dict[str, Any] = {"run": row["name"], "kind": TRIVIAL}
    for column in columns:
        if column.metric is not None:
            line[column.name] = row["scores"][column.metric]
            line |= _score_parts(column, row["intervals"], {})
    return line


def _score_parts(
    column: Column, intervals: Mapping[str, Sequence[float]], deviations: Mapping[str, float]
) -> dict[str, Any]:
    low, high = intervals.get(column.metric or "", (None, None))
    deviation = deviations.get(column.metric or "")
    return {f"{column.name}-low": low, f"{column.name}-high": high, f"{column.name}-deviation": deviation}


def _text(column: Column, run: BenchRow, best: Any) -> str:
    found = cell(column, run, best)
    text = f"**{found.text}**" if found.is_best else found.text
    return f"{text}{ELSEWHERE if found.is_elsewhere else ''} {found.beside}".rstrip()
