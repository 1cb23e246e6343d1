"""Rows that lack their picture, their caption or any label, and what could not be read."""

from __future__ import annotations

import json
from dataclasses import replace

from clipfuse.doctor.finding import Finding, Value
from clipfuse.doctor.subject import Subject
from clipfuse_cache.fingerprint import NO_DIGEST


def missing_parts(subject: Subject) -> Finding:
    """A line for each part of a row that is not there, those that failed first."""
    about = Finding(
        "missing-parts",
        "Missing parts",
        "Rows without a picture, without a caption or without any label, pictures that could not be read, and rows that"
        " were left out. Such rows train and are predicted by what they have; no label may be right, or forgotten.",
        "rows",
    )
    samples = subject.samples
    lines: list[tuple[Value, ...]] = []
    reasons = _reasons(subject)
    counts = {"picture": 0, "caption": 0, "label": 0}
    digests = samples.input_digests("image")
    has_pictures = any(digest != NO_DIGEST for digest in digests)
    has_captions = any(caption is not None for caption in samples.captions)
    failed = {name: why for table in subject.cache.tables() for name, why in table.failures().items()}
    for row, name in enumerate(samples.ids):
        gaps = []
        if has_pictures and (digests[row] == NO_DIGEST or name in failed):
            gaps.append(("picture", reasons.get((name, "image")) or failed.get(name) or "there is none"))
        if has_captions and samples.captions[row] is None:
            gaps.append(("caption", reasons.get((name, "text")) or "there is none"))
        if samples.labels is not None and not samples.labels[row].any():
            gaps.append(("label", reasons.get((name, "labels")) or "it has none"))
        for part, why in gaps:
            counts[part] += 1
            lines.append((part, why, name, subject.role(row), subject.where(row), subject.caption(row)))
    left_out = reasons.get(("", "row"))
    detail = [f"{count:,} without {part}" for part, count in counts.items() if count]
    detail += [f"{left_out} rows left out of the tables, see {subject.cache.ledger.name}"] if left_out else []
    lines.sort(key=lambda line: (line[0] == "label", str(line[1]).startswith(("there is none", "it has none"))))
    found = about.found(("missing", "why", "id", "role", "line", "caption"), lines, len(samples), ", ".join(detail))
    return replace(found, count=len({line[2] for line in lines}))


def _reasons(subject: Subject) -> dict[tuple[str, str], str]:
    """(id, part) -> what the cache's ledger says; under ("", "row") how many rows were left out."""
    found: dict[tuple[str, str], str] = {}
    left_out = 0
    try:
        lines = subject.cache.ledger.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return found
    for line in lines:
        try:
            entry = json.loads(line)
            part, reason = str(entry["part"]), str(entry["reason"])
        except (ValueError, KeyError, TypeError):  # a note about inputs, or damage: nothing hangs on it
            continue
        if part == "row":
            left_out += 1
        elif entry.get("id") is not None:
            found[str(entry["id"]), part] = reason
    if left_out:
        found["", "row"] = f"{left_out:,}"
    return found
