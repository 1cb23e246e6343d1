"""Equal inputs that are labelled differently: one of the rows is wrong, or the labels are not clear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clipfuse.doctor.finding import Finding, Value
from clipfuse.doctor.subject import Subject
from clipfuse.equal_inputs import Keys, caption_keys, picture_keys

_WORDS = {"image": "pictures", "text": "captions"}


def conflicting_labels(subject: Subject, modality: str) -> Finding:
    """Groups of rows with an equal picture ("image") or caption ("text") whose labels differ; a row for each of their
    rows, the groups that differ most first."""
    words = _WORDS[modality]
    about = Finding(
        f"equal-{words}-different-labels",
        f"Equal {words}, different labels",
        f"Rows with equal {words} (case and space of captions left aside) that don't have the same labels: at least one"
        " of them is labelled wrongly, or what the labels mean is not clear.",
        "groups",
    )
    samples = subject.samples
    if samples.labels is None:
        return about.without("the rows have no labels")
    groups = _groups(picture_keys(samples) if modality == "image" else caption_keys(samples))
    found: list[tuple[int, list[int]]] = []
    for rows in groups:
        labels = samples.labels[rows]
        differing = int((labels.any(axis=0) & ~labels.all(axis=0)).sum())
        if differing:
            found.append((differing, rows))
    found.sort(key=lambda one: (-one[0], one[1]))
    lines: list[tuple[Value, ...]] = []
    for number, (differing, rows) in enumerate(found, start=1):
        labels = samples.labels[rows]
        disputed = np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0)).tolist()
        names = " | ".join(samples.label_names[label] for label in disputed)
        for row in rows:
            line = (number, differing, names, samples.ids[row], subject.role(row), subject.where(row))
            lines.append((*line, subject.labels(row), subject.caption(row)))
    columns = ("group", "labels that differ", "which", "id", "role", "line", "labels", "caption")
    done = about.found(columns, lines, len(groups), f"{len(lines):,} rows are in them" if lines else "")
    return replace(done, count=len(found))


def _groups(keys: Keys) -> list[list[int]]:
    """Rows of each key that several have."""
    groups: dict[object, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]
