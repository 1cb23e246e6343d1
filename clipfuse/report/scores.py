"""Scores with their intervals, beside the trivial rows; modalities alone and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipfuse.bench import bench_row
from clipfuse.bench_cells import score_beside
from clipfuse.bench_columns import SCORES
from clipfuse.compare import paired
from clipfuse.errors import RunError
from clipfuse.report.content import Cell, Drawing, Drawings, Part, Section, Table, Words, number
from clipfuse.report.evidence import Group
from clipfuse.report.figures import draw_intervals
from clipfuse.report.svg import SvgSheet


def scores_section(group: Group, sheet: SvgSheet) -> Section:
    """Every score of every run below those of the trivial rows, and how far the runs are apart."""
    metrics = group.first.run.metrics
    trivial = [_row("", row["name"], row["scores"], row["intervals"], {}, {}) for row in metrics["trivial"]]
    rows = [(one, bench_row(one.run)) for one in group.runs]
    known = {metric: [row.scores[metric] for _, row in rows] for metric in SCORES}
    best = {
        metric: max(value for value in values if value is not None)
        for metric, values in known.items()
        if sum(value is not None for value in values) > 1
    }
    models = [
        _row(one.letter, f"{row.name} ({row.kind})", row.scores, row.intervals, row.deviations, best)
        for one, row in rows
    ]
    table = Table(("", "predicted by", *SCORES.values()), (tuple(trivial), tuple(models)))
    lines = [(one.letter, one.number, row.scores["micro_f1"], _span(row, "micro_f1")) for one, row in rows]
    bar = max(row["scores"]["micro_f1"] for row in metrics["trivial"])
    figure = draw_intervals(lines, "micro-F1", bar=bar)
    parts: list[Part] = [
        Words(_verdict(group)),
        table,
        Drawings((Drawing(sheet.take(figure, "micro-F1 of each run with its interval"), detail=_BAR),)),
    ]
    differences = _differences(group)
    if differences:
        parts.append(
            Table(
                ("", "run", "micro-F1 less that of the first run", "95% interval", ""), (differences,), "How far apart"
            )
        )
    lead = (
        f"On {metrics['rows']['test']:,} test rows. Beside a score: its 95% bootstrap interval over these rows, or ±"
        " the standard deviation over repeats. The trivial rows look at no picture and no caption; a model has to beat"
        " them."
    )
    return Section(f"scores-{group.first.number}", "Scores", lead, tuple(parts))


_BAR = "Dotted: the best trivial row."


def modalities_section(group: Group, sheet: SvgSheet) -> Section | None:
    """The same test rows with one modality and with all; None where no run reads several."""
    having = [one for one in group.runs if one.run.metrics.get("modalities")]
    if not having:
        return None
    rows: list[tuple[Cell, ...]] = []
    lines: list[tuple[str, int, float | None, Sequence[float] | None]] = []
    for one in having:
        found = one.run.metrics["modalities"]
        rows += [_row(one.letter, name, row["scores"], row["intervals"], {}, {}) for name, row in found.items()]
        lines += [
            (f"{one.letter} {name}", one.number, row["scores"]["micro_f1"], row["intervals"].get("micro_f1"))
            for name, row in found.items()
        ]
    lead = "What the same models say of the same test rows when they see one modality alone, and when they see all."
    table = Table(("", "test rows with", *SCORES.values()), (tuple(rows),))
    svg = sheet.take(draw_intervals(lines, "micro-F1"), "micro-F1 with each modality alone and together")
    return Section(
        f"modalities-{group.first.number}",
        "Modalities alone and together",
        lead,
        (table, Drawings((Drawing(svg),))),
    )


def _row(
    letter: str,
    name: str,
    scores: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float]],
    deviations: Mapping[str, float],
    best: Mapping[str, float],
) -> tuple[Cell, ...]:
    cells = [Cell(letter), Cell(name)]
    for metric in SCORES:
        value = scores[metric]
        if value is None:
            cells.append(number(None))
            continue
        beside = score_beside(metric, intervals, deviations)
        cells.append(Cell(f"{value:.3f}", value, beside, is_best=best.get(metric) == value))
    return tuple(cells)


def _span(row: Any, metric: str) -> Sequence[float] | None:
    value = row.scores[metric]
    if metric in row.deviations and value is not None:
        return value - row.deviations[metric], value + row.deviations[metric]
    found: Sequence[float] | None = row.intervals.get(metric)
    return found


def _verdict(group: Group) -> str:
    """Whether the best run beats what is trivial."""
    rows = [(one.letter, bench_row(one.run)) for one in group.runs]
    letter, best = max(rows, key=lambda found: found[1].scores["micro_f1"] or 0.0)
    trivial = max(group.first.run.metrics["trivial"], key=lambda row: row["scores"]["micro_f1"])
    value, bar = best.scores["micro_f1"] or 0.0, trivial["scores"]["micro_f1"]
    span = _span(best, "micro_f1")
    against = f"the best trivial row ({trivial['name']}, {bar:.3f})"
    if value <= bar:
        return f"{letter} has micro-F1 {value:.3f} and does not beat {against}."
    by = "by less than its interval" if span is not None and span[0] <= bar else "by more than its interval"
    return f"{letter} has micro-F1 {value:.3f} and beats {against}{'' if span is None else ' ' + by}."


def _differences(group: Group) -> tuple[tuple[Cell, ...], ...]:
    """Each further run beside the first one, on the same drawn rows."""
    rows = []
    for one in group.runs[1:]:
        try:
            found = paired(group.first.run, one.run)
        except RunError as error:
            rows.append((Cell(one.letter), Cell(one.run.name), number(None), Cell("–"), Cell(error.problem)))
            continue
        low, high, difference = -found.high, -found.low, -found.observed
        tells = "these rows don't tell them apart" if low <= 0 <= high else "better" if difference > 0 else "worse"
        rows.append(
            (
                Cell(one.letter),
                Cell(one.run.name),
                Cell(f"{difference:+.3f}", difference),
                Cell(f"{low:+.3f} to {high:+.3f}", low),
                Cell(tells),
            )
        )
    return tuple(rows)
