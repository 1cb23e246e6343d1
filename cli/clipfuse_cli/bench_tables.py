"""The tables of ``clipfuse bench`` on a terminal: as many below each other as its width asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from clipfuse.bench import BenchGroup, BenchRow
from clipfuse.bench_cells import UNKNOWN, best_of, cell, trivial_text
from clipfuse.bench_columns import Column, usual_columns
from clipfuse.budget import NO_LIMITS, Budget
from clipfuse.run_words import verdict
from clipfuse_cli.console import output
from clipfuse_cli.tables import called, new_grid, plain

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

ELSEWHERE = "†"
FITS = {True: "yes", False: "no", None: "?"}
_WIDEST_NAME = 34
"""Longer names are folded where there is no room."""


def show_bench(group: BenchGroup, columns: Sequence[Column] | None = None, budget: Budget = NO_LIMITS) -> None:
    """All runs of one split, in the group's order; the usual columns if none are named."""
    console = output()
    console.print(title(group), markup=False)
    chosen = list(columns) if columns is not None else usual_columns(group.runs)
    for part in _parts(chosen, lambda some: _width(group, some, budget) <= console.width):
        console.print(_grid(group, part, budget))
    for line in footnotes(group, chosen, budget):
        console.print(line, markup=False)
    if group.runs:
        best = max(group.runs, key=lambda row: row.scores["micro_f1"] or 0.0)
        print(verdict(group.trivial, best))


def title(group: BenchGroup) -> str:
    """Which rows did what."""
    rows = group.rows
    return (
        f"{rows['test']:,} test rows, trained on {rows['train']:,}, tuned on {rows['validation']:,}"
        f" (split {group.split['name']})"
    )


def footnotes(group: BenchGroup, columns: Sequence[Column], budget: Budget) -> list[str]:
    """What the marks mean."""
    found = []
    parts = {column.part for column in columns if column.part is not None}
    others = {row.machines[part]: None for row in group.runs for part in row.elsewhere if part in parts}
    if others:
        found.append(f"{ELSEWHERE} on another machine, and not compared with the rest: {'; '.join(others)}")
    if budget:
        measures = "; clipfuse bench --rerun measures seconds" if budget.max_ms is not None else ""
        unknown = f" (?: not known here{measures})" if None in map(budget.fits, group.runs) else ""
        found.append(f"fits: {budget}{unknown}")
    return found


def _parts(columns: list[Column], fits: Callable[[list[Column]], bool]) -> list[list[Column]]:
    """The columns in tables that fit: what goes together in one, with what comes after it where there is room; in
    several only where there is none for it alone."""
    found: list[list[Column]] = [[]]
    for _, same in groupby(columns, key=lambda column: column.group):
        together = list(same)
        if fits([*found[-1], *together]):
            found[-1] += together
            continue
        found.append([])
        for column in together:
            if found[-1] and not fits([*found[-1], column]):
                found.append([])
            found[-1].append(column)
    return [part for part in found if part] or [[]]


def _width(group: BenchGroup, columns: Sequence[Column], budget: Budget) -> int:
    """How many characters a table takes when long names are folded."""
    from rich.console import Console

    names = _names(group)
    unfolded = Console(width=10_000).measure(_grid(group, columns, budget)).maximum
    return unfolded - max(0, max(map(len, names), default=0) - _WIDEST_NAME)


def _names(group: BenchGroup) -> list[str]:
    return [called(run.name, run) for run in group.runs]


def _grid(group: BenchGroup, columns: Sequence[Column], budget: Budget) -> Table:
    names = _names(group)
    narrowest = min(_WIDEST_NAME, max(map(len, names), default=0))
    headings = (*(["fits"] if budget else []), *(column.heading for column in columns))
    grid = new_grid("run", *headings, narrowest=narrowest)
    for column, shown in zip(columns, grid.columns[len(grid.columns) - len(columns) :], strict=True):
        if column.group == "words":
            shown.justify, shown.no_wrap, shown.overflow = "left", False, "fold"
    if any(column.metric is not None for column in columns):
        for row in group.trivial:
            scores = [trivial_text(row, column) for column in columns]
            grid.add_row(plain(row["name"]), *([UNKNOWN] if budget else []), *scores, style="dim")
        grid.add_section()
    best = [best_of(column, group.runs) for column in columns]
    for name, run in zip(names, group.runs, strict=True):
        fits = [FITS[budget.fits(run)]] if budget else []
        cells = [_cell(column, run, value) for column, value in zip(columns, best, strict=True)]
        grid.add_row(plain(name), *fits, *cells)
    return grid


def _cell(column: Column, run: BenchRow, best: Any) -> Text:
    from rich.text import Text

    found = cell(column, run, best)
    text = Text.assemble((found.text, "bold" if found.is_best else ""), ELSEWHERE if found.is_elsewhere else "")
    return text.append(f" {found.beside}", "dim") if found.beside else text
