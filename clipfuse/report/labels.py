"""The labels one by one: scores as bars, curves, and which of them go together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipfuse.bench_cells import UNKNOWN
from clipfuse.report.content import Cell, Drawing, Drawings, Part, Section, Table, number
from clipfuse.report.curves import co_occurrence
from clipfuse.report.evidence import Group
from clipfuse.report.figures import draw_label
from clipfuse.report.svg import SvgSheet

DRAWN = 24
"""Labels with curves: the most frequent ones."""
_BESIDE = 20
"""Labels in a table of co-occurrence."""
_DARKEST = 9


def labels_section(group: Group) -> Section:
    """F1, AP and support of each label by each run, as bars; the best F1 of the first run on top."""
    runs = group.runs
    each = [one.label_scores for one in runs]
    most = max((int(label["support"]) for label in each[0]), default=0) or 1
    letters = [f" {one.letter}" if len(runs) > 1 else "" for one in runs]
    headings = ["label", "support"]
    headings += [f"{what}{letter}" for what in ("F1", "AP") for letter in letters]
    headings += [f"{what}{letter}" for letter in letters for what in ("precision", "recall", "threshold")]
    rows = []
    for place in sorted(range(len(group.labels)), key=lambda n: (-each[0][n]["f1"], -each[0][n]["support"])):
        support = each[0][place]["support"]
        cells = [Cell(group.labels[place]), number(support, 0, bar=support / most)]
        for what in ("f1", "average_precision"):
            cells += [number(one[place][what], bar=one[place][what]) for one in each]
        for one, found in zip(runs, each, strict=True):
            cells += [number(found[place][what]) for what in ("precision", "recall")]
            cells.append(number(float(one.thresholds[place])))
        rows.append(tuple(cells))
    lead = (
        "Support: test rows that have the label. F1 is of the chosen labels, AP (average precision) of the order of"
        " probabilities; it has no value without a positive row."
    )
    return Section(f"labels-{group.first.number}", "Labels", lead, (Table(tuple(headings), (tuple(rows),)),))


def curves_section(group: Group, sheet: SvgSheet) -> Section:
    """Precision-recall and threshold curves of the most frequent labels."""
    support = group.first.targets.sum(axis=0)
    shown = np.argsort(-support, kind="stable")[:DRAWN].tolist()
    drawings = []
    for label in shown:
        svg = sheet.take(draw_label(label, group.runs), "precision by recall, and F1 by threshold")
        scores = [(one.letter, one.label_scores[label]) for one in group.runs]
        detail = "; ".join(
            f"{letter if len(scores) > 1 else ''} AP {_text(found['average_precision'])}, F1 {found['f1']:.3f}".strip()
            for letter, found in scores
        )
        drawings.append(Drawing(svg, group.labels[label], f"{int(support[label]):,} rows · {detail}"))
    left_out = len(group.labels) - len(shown)
    lead = "Left: precision by recall. Right: F1 by the label's threshold. Marked: the threshold that was chosen."
    if left_out:
        lead += f" The {len(shown)} most frequent labels; {left_out:,} rarer ones stand in the table above."
    parts: tuple[Part, ...] = (Drawings(tuple(drawings), is_small=True),)
    return Section(f"curves-{group.first.number}", "Precision, recall and thresholds by label", lead, parts)


def together_section(group: Group) -> Section | None:
    """Which labels stand on the same rows: in truth, and as each run chooses. None for a single label."""
    if len(group.labels) < 2:
        return None
    shown = np.argsort(-group.first.targets.sum(axis=0), kind="stable")[:_BESIDE]
    names = [group.labels[label] for label in shown]
    rows = f"{len(group.first.ids):,} test rows"
    parts: list[Part] = [_matrix(group.first.targets[:, shown], names, f"Truth, {rows}")]
    for one in group.runs:
        parts.append(_matrix(one.chosen[:, shown], names, f"As {one.letter} chooses, {rows}"))
    lead = (
        "Rows that have the label of the line and that of the column; on the diagonal, all rows with the label. The"
        " darker, the larger the share of the line's rows."
    )
    if len(names) < len(group.labels):
        lead += f" The {len(names)} most frequent labels of {len(group.labels):,}."
    return Section(f"together-{group.first.number}", "Labels that stand together", lead, tuple(parts))


def _matrix(chosen: NDArray[np.bool_], names: list[str], title: str) -> Table:
    counts = co_occurrence(chosen)
    lines = []
    for name, line, all_of_them in zip(names, counts.tolist(), counts.diagonal().tolist(), strict=True):
        cells = [Cell(f"{n:,}", n, shade=round(_DARKEST * n / all_of_them) if all_of_them else 0) for n in line]
        lines.append((Cell(name), *cells))
    return Table(("", *names), (tuple(lines),), title, is_matrix=True)


def _text(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"
