"""The report's first section: what was trained on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from clipfuse.bench import bench_row
from clipfuse.leaks import Leak, describe_leaks
from clipfuse.modality import input_word
from clipfuse.report.content import Cell, Part, Section, Table, Words, number
from clipfuse.report.evidence import Evidence, Group

_PARTS = 3
"""Of an encoder's path and its output that are shown."""


def trained_section(groups: Sequence[Group]) -> Section:
    """A row a run; below it what has to be known of the rows, and every setting."""
    runs = sorted((one for group in groups for one in group.runs), key=lambda one: one.number)
    headings = (
        *("", "run", "model", "reads", "trained on", "tuned on", "tested on", "labels", "split"),
        *("parameters", "MB", "train s", "device", "created"),
    )
    parts: list[Part] = [Table(headings, (tuple(map(_row, runs)),))]
    parts += [Words(text, "warning") for text in _joined_warnings(runs)]
    parts += [
        Words(tomli_w.dumps(one.run.config.model_dump(mode="json", exclude_none=True)), "settings", _title(one))
        for one in runs
    ]
    lead = (
        "Training rows train, validation rows choose epochs, thresholds and calibration, test rows are only scored."
        " MB: head and encoders as stored."
    )
    return Section("trained", "What was trained on what", lead, tuple(parts))


def _row(one: Evidence) -> tuple[Cell, ...]:
    run, metrics = one.run, one.run.metrics
    row, rows = bench_row(run), metrics["rows"]
    reads = [f"{stream}: {_in_short(encoder)}" for stream, encoder in row.encoders.items()]
    reads += [own for own in run.own.dims if own not in row.encoders]
    size = None if row.total_bytes is None else row.total_bytes / 1e6
    return (
        Cell(one.letter),
        Cell(run.name),
        Cell(str(metrics["kind"]), beside=str(metrics.get("recipe") or "")),
        Cell("; ".join(reads)),
        *(number(rows[role], 0) for role in ("train", "validation", "test")),
        number(len(run.labels), 0),
        Cell(str(metrics["split"]["name"]), beside=str(metrics["split"]["method"])),
        number(row.parameters, 0),
        number(size, 1),
        number(row.train_seconds, 1),
        Cell(row.device),
        Cell(str(metrics["created"])[:16].replace("T", " ")),
    )


def _joined_warnings(runs: Sequence[Evidence]) -> list[str]:
    """Each warning once, the letters of the runs that it is about in front."""
    about: dict[str, list[str]] = {}
    for one in runs:
        for text in _warnings(one):
            about.setdefault(text, []).append(one.letter)
    return [f"{', '.join(letters)}: {text}" for text, letters in about.items()]


def _warnings(one: Evidence) -> list[str]:
    metrics, found = one.run.metrics, []
    gaps = {
        input_word(stream): roles["test"] for stream, roles in metrics.get("missing", {}).items() if roles.get("test")
    }
    if gaps:
        words = ", ".join(f"{count:,} have no {what}" for what, count in gaps.items())
        found.append(f"of its test rows {words}; they are scored all the same.")
    leaks = describe_leaks([_leak(leak, metrics["rows"]) for leak in metrics.get("leaks") or ()])
    if leaks:
        found.append(f"{leaks}. Scores on such rows flatter.")
    if one.is_cross_validation:
        found.append(
            "a cross-validation: every row was tested by a model that had not seen it, scores are"
            " means over the folds, and figures put all folds' rows together under one set of thresholds."
        )
    if metrics.get("refit") == "all":
        found.append("the kept model was trained again on every row; what is shown is from before that.")
    return found


def _leak(values: Mapping[str, Any], rows: Mapping[str, int]) -> Leak:
    """As it was kept; older runs don't say how many rows were looked at: all were."""
    return Leak(**{"looked_at": rows[values["role"]], **values, "first": tuple(values["first"])})


def _in_short(encoder: str) -> str:
    """Without most of a long path of files."""
    parts = encoder.split("/")
    return encoder if len(parts) <= _PARTS else "…/" + "/".join(parts[-_PARTS:])


def _title(one: Evidence) -> str:
    return f"Every setting of {one.letter}, {one.run.name}"
