"""Labels that are probably wrong, by what models say of rows that they have not seen.

Confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"), for
each label by itself. A row counts as confidently having a label where its probability is at least the mean probability
of the rows that are given it, and as confidently lacking it likewise; the rows that are confidently on the other side
than they are given tell how many are wrong, and so many of the least probable cells are suspect ("prune by noise
rate"). So a label that models are unsure of is not suspect for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipfuse.doctor.finding import Finding, Value
from clipfuse.doctor.subject import Subject

FEWEST = 5
"""Rows on each side that a label needs: a mean over less means little."""


@dataclass(frozen=True)
class Suspects:
    """Cells that are probably wrong.

    Attributes:
        cells: (rows, labels) bool.
        confidence: (rows, labels) float64, the probability of what the table says; the lower, the worse.
        judged: (labels,) bool, the labels that could be looked at.
    """

    cells: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    judged: NDArray[np.bool_]


def find_suspects(probabilities: NDArray[np.float64], targets: NDArray[np.bool_]) -> Suspects:
    """The cells that are probably wrong; of each side of each label as many as the model's confident rows tell.

    Args:
        probabilities: (rows, labels) within [0, 1], of models that had not seen the row; NaN where there was none.
        targets: (rows, labels), the labels as they are given.
    """
    known = ~np.isnan(probabilities)
    confidence = np.where(targets, probabilities, 1 - probabilities)
    cells, judged = np.zeros(targets.shape, dtype=bool), np.zeros(targets.shape[1], dtype=bool)
    for label in range(targets.shape[1]):
        rows = np.flatnonzero(known[:, label])
        p, given = probabilities[rows, label], targets[rows, label]
        if min(given.sum(), (~given).sum()) < FEWEST:
            continue
        judged[label] = True
        has, lacks = p >= p[given].mean(), 1 - p >= (1 - p[~given]).mean()
        both = has & lacks  # then the more probable side counts
        has, lacks = has & ~(both & (p < 0.5)), lacks & ~(both & (p >= 0.5))
        for side, same, opposite in ((given, has, lacks), (~given, lacks, has)):
            right, wrong = int((same & side).sum()), int((opposite & side).sum())
            count = round(wrong / (right + wrong) * side.sum()) if wrong else 0
            worst = rows[side][np.argsort(confidence[rows[side], label], kind="stable")[:count]]
            cells[worst[confidence[worst, label] < 0.5], label] = True
    return Suspects(cells, confidence, judged)


def wrong_labels(subject: Subject) -> Finding:
    """Cells that are probably wrong, the least probable first."""
    about = Finding(
        "likely-wrong-labels",
        "Labels that are probably wrong",
        "Confident learning (Northcutt et al. 2021), label by label: models that had not seen the row find the opposite"
        " more probable, and are sure enough of their rows to tell about how many are wrong. Look at them; some are"
        " only hard.",
        "cells",
    )
    samples = subject.samples
    if samples.labels is None:
        return about.without("the rows have no labels")
    if subject.out_of_fold is None:
        return about.without("there are no probabilities of models that had not seen the rows")
    probabilities = subject.out_of_fold.probabilities
    found = find_suspects(probabilities, samples.labels)
    rows, labels = np.nonzero(found.cells)
    order = np.argsort(found.confidence[rows, labels], kind="stable")
    lines: list[tuple[Value, ...]] = []
    for row, label in zip(rows[order].tolist(), labels[order].tolist(), strict=True):
        given = bool(samples.labels[row, label])
        said = round(float(probabilities[row, label]), 4)
        line = (samples.ids[row], subject.role(row), subject.where(row), samples.label_names[label])
        lines.append((*line, "remove" if given else "add", said, subject.labels(row), subject.caption(row)))
    columns = ("id", "role", "line", "label", "suggestion", "probability", "labels", "caption")
    asked = int((~np.isnan(probabilities[:, found.judged])).sum())
    rare = int((~found.judged).sum())
    remove = int((found.cells & samples.labels).sum())
    detail = [f"{remove:,} to remove, {len(lines) - remove:,} to add", f"by {subject.out_of_fold.source}"]
    detail += [f"{rare:,} labels are too rare to say"] if rare else []
    return about.found(columns, lines, asked, "; ".join(detail))


def suspects_by_label(subject: Subject) -> Finding:
    """How many of each label's cells are suspect, the label with the largest share first."""
    about = Finding(
        "likely-wrong-by-label",
        "Labels that are often wrong",
        "How many of the rows with a label probably should not have it, and how many others probably should: many of"
        " both mean that the label is not clear, many missing ones that it was not always looked for.",
        "labels",
    )
    samples = subject.samples
    if samples.labels is None or subject.out_of_fold is None:
        return about.without("see above")
    probabilities = subject.out_of_fold.probabilities
    found = find_suspects(probabilities, samples.labels)
    lines: list[tuple[Value, ...]] = []
    for label in np.flatnonzero(found.judged).tolist():
        known = ~np.isnan(probabilities[:, label])
        given = samples.labels[:, label]
        remove, add = (int((found.cells[:, label] & side).sum()) for side in (given, ~given))
        if remove + add:
            support = int((known & given).sum())
            lines.append((samples.label_names[label], support, remove, add, round((remove + add) / support, 4)))
    lines.sort(key=lambda line: -float(line[4] or 0))
    columns = ("label", "rows with it", "to remove", "to add", "share of the rows with it")
    return about.found(columns, lines, int(found.judged.sum()))
